"""The search spaces of requests: the graph with new words, or a word list or grammar instead of it."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from asr.config import Config
from asr.errors import InputError
from asr.g2p.pronunciation import pronunciations
from asr.graph.automaton import Automaton
from asr.graph.jsgf import Rules
from asr.graph.lists import closed_graph, list_grammar, numbered, words_of
from asr.graph.phrase_grammar import MOST_STATES, read_grammar
from asr.graph.slots import Filler, filling_of, fillings, read_fillers
from asr.graph.spoken_rules import NAMES, spoken_rules
from asr.hmm.graph import HmmExpansion
from asr.hmm.model import Hmm
from asr.recognizer.options import NEW_WORDS, DecodingOptions
from asr.recognizer.written import language_of
from asr.search.new_words import NewWord, merged
from asr.search.space import DynamicSpace, SearchSpace, encoded
from asr.states import States
from asr.text.lexicon import Lexicon, name_some
from asr.tokens import Tokens

MOST_ARCS = 500_000  # of a list or grammar over phones in context; a list of 10,000 words has a fifth of them
T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RequestSpaces:
    """Derives search spaces from that of a recogniser. The time each takes does not depend on its vocabulary."""

    cfg: Config
    tokens: Tokens
    space: SearchSpace | None
    lexicon: Lexicon | None  # pronunciations in addition to those of `space`
    hmm: Hmm | None = None  # of a net that scores states

    def of(self, options: DecodingOptions) -> SearchSpace | None:
        """The space that `options` ask for; the recogniser's own if they name no words."""
        new_words = options.new_words or ()
        if options.word_list is not None:
            return self.of_list(options.word_list, new_words)
        if options.grammar is not None:
            return self.of_grammar(options.grammar, new_words=new_words)
        return self.with_words(new_words, options.slots) if new_words or options.slots else self.space

    def with_words(
        self,
        new_words: Iterable[NewWord | str] = (),
        slots: Mapping[str, Filler] | str | Path | None = None,
        most_states: int = MOST_STATES,
    ) -> SearchSpace:
        """See `Recognizer.with_new_words` and `Recognizer.with_slots`."""
        what = "slots" if slots else "new words"
        if self.space and self.space.of_pieces:
            raise InputError(f"this graph's vocabulary is open, so it has no {what}; boost phrases instead")
        if self.space and self.space.is_closed:
            raise InputError(f"this recogniser has a word list or grammar; give {what} together with that")
        if not isinstance(self.space, DynamicSpace):
            raise InputError(f"{what} need a dynamic graph; build one with `asr graph graph.kind=dynamic`")
        given = _many(new_words, "new words", (str, NewWord))
        words = [NewWord(new) if isinstance(new, str) else new for new in given]
        fillers: Mapping[str, Filler | Rules] = slots if isinstance(slots, Mapping) else {}
        if isinstance(slots, str | Path):
            fillers = read_fillers(slots)
        own = spoken_slots(self.space) & (self.space.filled or frozenset()) - fillers.keys() - {n.slot for n in words}
        return self._with_words(self.space, words, fillers, own, most_states)

    def _with_words(
        self,
        space: DynamicSpace,
        words: list[NewWord],
        fillers: Mapping[str, Filler | Rules],
        own: frozenset[str],
        most_states: int = MOST_STATES,
    ) -> SearchSpace:
        """`own`: the slots that the spoken rules fill, if the language has them."""
        filled = {}
        if fillers or own:
            rules = spoken_rules(self._language(), space.labels)
            spoken = {name: filling_of(name, rules) for name in rules.public if name in own}
            filled = fillings(fillers, rules, most_states) | spoken
        spell = partial(pronunciations, unit=self.cfg.tokens.unit, known={}, g2p=self.cfg.g2p, tokens=self.tokens)
        return space.with_words(words, self.tokens, spell, filled)

    def with_spoken(self) -> SearchSpace | None:
        """The space with the spoken slots of its language model filled (asr.graph.spoken_rules), unless that was done
        before. If a word of them cannot be spelled, all stay empty; a warning names them."""
        space = self.space
        if not isinstance(space, DynamicSpace) or space.filled is not None or space.of_pieces:
            return space
        if not (own := spoken_slots(space)):
            return space
        try:
            return self._with_words(space, [], {}, own)
        except InputError as e:
            _log.warning("the slots %s of the language model are not filled: %s", ", ".join(sorted(own)), e)
            return replace(space, filled=frozenset())

    def _language(self) -> str:
        try:
            return language_of(self.space, self.tokens)
        except InputError:
            return "en"  # its words tell no language

    def of_list(
        self, entries: Iterable[str] | Mapping[str, float], new_words: Iterable[NewWord | str] = ()
    ) -> SearchSpace:
        """See `Recognizer.with_list`."""
        found = _many(entries, "entries of the list")
        given = dict(entries) if isinstance(entries, Mapping) else dict.fromkeys(found, 1.0)
        weights = {" ".join(entry.split()): weight for entry, weight in given.items()}
        if not weights or "" in weights:
            raise InputError("the list is empty or has an empty entry; give words or phrases")
        words = words_of(weights)
        return self._closed(list_grammar(weights, numbered(words)), words, new_words)

    def of_grammar(
        self, grammar: str | Path, most_states: int = MOST_STATES, new_words: Iterable[NewWord | str] = ()
    ) -> SearchSpace:
        """See `Recognizer.with_grammar`."""
        if not isinstance(grammar, str | Path):
            raise InputError(f"a grammar is a path or the text of one, not {grammar!r}")
        rules = read_grammar(grammar)
        return self._closed(rules.automaton(numbered(rules.words), most_states), rules.words, new_words)

    def _closed(self, grammar: Automaton, words: list[str], new_words: Iterable[NewWord | str]) -> SearchSpace:
        if self.cfg.decoder.kind == "greedy":
            raise InputError("greedy search takes no word list and no grammar; use decoder.kind=graph")
        if States.of(self.tokens) and not self.hmm:
            raise InputError("word lists and grammars need the HMMs of the states that the net scores, which bundles "
                             "of earlier versions lack; make the bundle again with `asr bundle`")  # fmt: skip
        tokens = self.hmm.phones if self.hmm else self.tokens
        silence = self.space.silence if self.space else self.cfg.graph.silence
        if self.hmm:
            silence = silence or self.hmm.silence
        expansion = HmmExpansion(self.hmm, MOST_ARCS) if self.hmm else None
        spelled = self._spelled(words, tokens, _given(new_words, words, tokens))
        graph = closed_graph(grammar, words, spelled, tokens, silence, expansion)
        return SearchSpace(graph, ["<eps>", *words], spelled, silence, is_closed=True, base=self._base)

    @property
    def _base(self) -> SearchSpace | None:
        """The space whose pronunciations lists and grammars use: not that of another list."""
        return self.space.base if self.space and self.space.is_closed else self.space

    def _spelled(self, words: list[str], tokens: Tokens, given: dict[str, list[tuple[str, ...]]]) -> Lexicon:
        """`given`: pronunciations that take the place of known ones."""
        base, unit = self._base, self.cfg.tokens.unit
        known = base.known(words, tokens) if base else {}
        known |= base.by_pieces(words, tokens) if base and unit == "phone" else {}
        known |= self.lexicon.listed(words) if self.lexicon else {}
        weights = base.probabilities(words, tokens) if base else {}
        weights |= self.lexicon.weights(words) if self.lexicon else {}
        weights = {word: own for word, own in weights.items() if word not in given}
        return Lexicon(pronunciations(words, unit, known | given, self.cfg.g2p, tokens), weights)


def spoken_slots(space: DynamicSpace) -> frozenset[str]:
    """The slots of the language model that are filled without a request."""
    return NAMES.intersection(space.language.ngram.slots)


def _given(new_words: Iterable[NewWord | str], words: list[str], tokens: Tokens) -> dict[str, list[tuple[str, ...]]]:
    """The pronunciations that a request gives for `words`, those of its list or grammar; a warning names other words.

    Raises InputError for a pronunciation, slot or weight that a list cannot have.
    """
    many = _many(new_words, "new words", (str, NewWord))
    found: dict[str, list[tuple[str, ...]]] = {}
    known, others = set(words), []
    for new in merged(NewWord(new) if isinstance(new, str) else new for new in many):
        if new.word not in known:
            others.append(new.word)
            continue
        if new.slot or new.weight:
            raise InputError(f"the new word '{new.word}' has a slot or weight, which belong to a language model; "
                             "with a list or grammar it can only have a pronunciation")  # fmt: skip
        for units in new.pronunciations:
            encoded(units, new.word, tokens)
        if new.pronunciations:
            found[new.word] = [*new.pronunciations]
    if others:
        _log.warning("new words that are not in the list or grammar, and so are not recognised: %s", name_some(others))
    return found


def _many(items: Iterable[T], what: str, kinds: type | tuple[type, ...] = str) -> list[T]:
    """The items as a list. Raises InputError for other items, and for a text, which is a list of letters."""
    if isinstance(items, str):
        raise InputError(f"{what} must be a list of strings, not the text '{items}'")
    if isinstance(items, Mapping) and kinds is not str:
        raise InputError(f"{what} must be {NEW_WORDS}")
    if not isinstance(items, Iterable):
        raise InputError(f"{what} must be a list of strings, not {items!r}")
    found = list(items)
    if wrong := [item for item in found if not isinstance(item, kinds)]:
        raise InputError(f"{what} must be a list of strings; it holds {wrong[0]!r}")
    return found
