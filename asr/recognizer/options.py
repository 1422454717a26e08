"""Options of one call of `Recognizer.transcribe`."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from asr.config import DecoderConfig
from asr.errors import InputError
from asr.frozen import FrozenDict
from asr.graph.slots import Filler
from asr.search.new_words import NewWord
from asr.search.second_pass import Rescorer
from asr.text.clean import LANGUAGES

_OF_SEARCH = ("beam", "lattice_beam", "nbest", "mbr", "confusion", "rescore_order")
_OF_DECODER = (*_OF_SEARCH, "reject_below", "remove")
NEW_WORDS = 'a list of words or asr.NewWord("word", [["P", "H"]]), not a mapping'  # what is expected


@dataclass(frozen=True)
class DecodingOptions:
    """Options of one call; None leaves the model's own value. Immutable, hashable and picklable.

    beam           cost above the best path at which a path is dropped, in nats; above 0; greedy search has
                   one with phrases only
    lattice_beam   cost above the best path up to which alternatives are kept, in nats; at most `beam`
    nbest          number of readings to return: the best and its alternatives; more than one needs a lattice
    mbr            the words of least expected word errors instead of those of the cheapest path; needs a lattice
    confusion      `Hypothesis.confusion` holds the words that compete at each place; needs a lattice
    phrases        phrases to boost, each with its boost in nats: {"new york": 3.0} (asr.search.phrases)
    new_words      words that this call adds to a dynamic graph, as text or `NewWord` (asr.search.new_words); with a
                   word list or grammar, the pronunciations of its words
    word_list      the utterance is exactly one of these words or phrases; a mapping gives their weights
    grammar        the utterance is a sentence of this JSGF grammar: a path, or the text beginning with `#JSGF`
    reject_below   words with a lower confidence are left out of `Hypothesis.text`; 0 to 1
    remove         words that are left out of `Hypothesis.text`, such as fillers; [] leaves all in
    written        numbers, dates, amounts and letters as they are written: "$5" for "five dollars" (English, Korean)
    punctuate      commas, full stops, question marks and, in English, capital letters
    language       en or ko: that of `written` and `punctuate`; None tells it by the recogniser's words
    slots          what fills the slots of the language model: {"<name>": ["john", "mary ann"]} (asr.graph.slots), or
                   a JSGF grammar whose public rules are the slots: a path, or the text beginning with `#JSGF`
    rescore        whether the recogniser's language model for a second pass (`decoder.rescore`) ranks the readings anew
    rescore_order  0: it ranks the best readings; otherwise all paths of the lattice (`decoder.rescore_order`)

    Raises InputError naming an option with an invalid value, and options that exclude each other.
    """

    beam: float | None = None
    lattice_beam: float | None = None
    nbest: int | None = None
    mbr: bool | None = None
    confusion: bool | None = None
    phrases: Mapping[str, float] | None = None
    new_words: Iterable[NewWord | str] | None = None
    word_list: Iterable[str] | Mapping[str, float] | None = None
    grammar: str | Path | None = None
    reject_below: float | None = None
    remove: Iterable[str] | None = None
    written: bool = False
    punctuate: bool = False
    language: str | None = None
    slots: Mapping[str, Filler] | str | Path | None = None
    rescore: bool | None = None
    rescore_order: int | None = None

    def __post_init__(self) -> None:
        self._check_numbers()
        for name in ("mbr", "confusion", "rescore"):
            _check(isinstance(getattr(self, name), bool | None), name, getattr(self, name), "True or False")
        for name in ("written", "punctuate"):
            _check(isinstance(getattr(self, name), bool), name, getattr(self, name), "True or False")
        _check(self.language in (None, *LANGUAGES), "language", self.language, "one of " + ", ".join(LANGUAGES))
        if self.phrases is not None:
            _check(isinstance(self.phrases, Mapping), "phrases", self.phrases, 'a mapping such as {"new york": 3.0}')
            self._set("phrases", FrozenDict(self.phrases))
        if self.new_words is not None:
            _check(not isinstance(self.new_words, Mapping), "new_words", self.new_words, NEW_WORDS)
            self._set("new_words", tuple(_entries("new_words", self.new_words, (NewWord, str))))
        if self.remove is not None:
            self._set("remove", tuple(_entries("remove", self.remove, (str,))))
        if self.word_list is not None:
            entries = _entries("word_list", self.word_list, (str,))
            weights = self.word_list if isinstance(self.word_list, Mapping) else dict.fromkeys(entries, 1.0)
            self._set("word_list", FrozenDict(weights))
        if self.grammar is not None:
            _check(isinstance(self.grammar, (str, Path)), "grammar", self.grammar, "a path or the text of a grammar")
        if self.word_list is not None and self.grammar is not None:
            raise InputError("word_list and grammar exclude each other; give one of them")
        if isinstance(self.slots, Mapping):
            self._set("slots", FrozenDict({name: _filler(name, filler) for name, filler in self.slots.items()}))
        elif self.slots is not None:
            expected = "a mapping, or the path or text of a grammar"
            _check(isinstance(self.slots, (str, Path)), "slots", self.slots, expected)
        closed = "word_list" if self.word_list is not None else "grammar" if self.grammar is not None else None
        if self.slots and closed:
            raise InputError(f"slots and {closed} exclude each other; a {closed} takes the place of the language model")

    def _check_numbers(self) -> None:
        for name in ("beam", "lattice_beam", "reject_below"):
            value = getattr(self, name)
            _check(value is None or _is_number(value), name, value, "a number")
        _check(self.beam is None or self.beam > 0, "beam", self.beam, "greater than 0")
        lattice_beam, reject_below, nbest = self.lattice_beam, self.reject_below, self.nbest
        _check(lattice_beam is None or lattice_beam >= 0, "lattice_beam", lattice_beam, "at least 0")
        _check(reject_below is None or 0 <= reject_below <= 1, "reject_below", reject_below, "from 0 to 1")
        _check(nbest is None or _is_count(nbest, 1), "nbest", nbest, "a whole number of at least 1")
        order = self.rescore_order
        _check(order is None or _is_count(order, 0, 100), "rescore_order", order, "a whole number from 0 to 100")

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def decoder(self, cfg: DecoderConfig, rescorer: Rescorer | None) -> DecoderConfig:
        """The decoder's configuration with these options. `rescorer` is the language model that is open for a second
        pass. Raises InputError if they do not fit together."""
        given = {name: value for name in _OF_DECODER if (value := getattr(self, name)) is not None}
        if self.rescore is not None:
            given["rescore"] = rescorer.source if self.rescore and rescorer else None
        decoder = replace(cfg, **given)
        if (self.rescore or self.rescore_order) and rescorer is None:
            name = "rescore" if self.rescore else "rescore_order"
            raise InputError(f"{name}={getattr(self, name)} needs a language model for the second pass, and this "
                             "recogniser has none; leave the option out, or open the recogniser with "
                             "rescore=MODEL")  # fmt: skip
        if self.rescore_order and self.rescore is None and decoder.rescore is None:
            raise InputError(f"rescore_order={self.rescore_order} is of the second pass, which this recogniser leaves "
                             "out; add rescore=true")  # fmt: skip
        if self.lattice_beam is not None and self.lattice_beam > decoder.beam:
            raise InputError(
                f"lattice_beam={self.lattice_beam:g} must be at most beam={decoder.beam:g}; raise the beam"
            )
        asked = self.nbest is not None and self.nbest > 1
        if (asked or self.mbr or self.confusion) and decoder.lattice_beam is None:
            name = "nbest" if asked else "mbr" if self.mbr else "confusion"
            raise InputError(
                f"{name}={getattr(self, name)} needs a lattice, which this recogniser does not keep; set lattice_beam"
            )
        return decoder

    def check_greedy(self) -> None:
        """Raises InputError for an option that greedy search does not have. With phrases it has a beam."""
        given = [f.name for f in fields(self) if f.name in _OF_SEARCH and getattr(self, f.name) is not None]
        for name in [*given, "rescore"] if self.rescore else given:
            if name != "beam":
                raise InputError(f"{name} is an option of graph search; this recogniser searches greedily")
            if not self.phrases:
                raise InputError("beam needs phrases in greedy search, which this recogniser uses")


def _check(is_good: bool, name: str, value: object, expected: str) -> None:
    if not is_good:
        raise InputError(f"{name}={value!r} must be {expected}")


def _is_count(value: Any, least: int, most: float = math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)


def _filler(slot: str, filler: Any) -> Filler:
    """A copy that does not change, without a check of the content."""
    if isinstance(filler, str | Path):
        return filler
    return FrozenDict(filler) if isinstance(filler, Mapping) else tuple(_entries(f"slots[{slot!r}]", filler, (str,)))


def _entries(name: str, given: Any, kinds: tuple[type, ...]) -> list[Any]:
    if isinstance(given, str):
        raise InputError(f"{name} must be a list of strings, not the text '{given}'")
    _check(isinstance(given, Iterable), name, given, "a list of strings")
    entries = list(given)
    for entry in entries:
        _check(isinstance(entry, kinds), name, entry, "a list of " + " or ".join(kind.__name__ for kind in kinds))
    return entries
