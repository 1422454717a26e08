"""Pronunciations of words in a net's units: from their letters, from a dictionary, or from a pronunciation model."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from asr.config import G2pConfig
from asr.errors import InputError
from asr.fingerprints import digest
from asr.pieces import segmentations
from asr.text.ko.phones import are_korean
from asr.text.lexicon import Lexicon, Pair, Spelled, name_some
from asr.text.units import to_units
from asr.tokens import BLANK, Tokens

if TYPE_CHECKING:
    from asr.g2p.model import G2p


def pronunciations(
    words: Sequence[str],
    unit: str,
    known: Mapping[str, Sequence[tuple[str, ...]]],
    g2p: G2pConfig,
    tokens: Tokens | None = None,
) -> Spelled:
    """The pronunciations of `words`: from `known` if listed there, else spelled in characters, jamo, or pieces
    among `tokens`.

    Phones come from the model that `g2p.model` names. `default` is the rules of Korean if `tokens` are Korean phones,
    else the English model, over which the CMU dictionary takes precedence; for `none`, it is the only source. Raises
    InputError naming words without a pronunciation.
    """
    found = {word: list(known[word]) for word in words if word in known}
    rest = [word for word in words if word not in found]
    if not rest:
        return found
    spelled = spellings(rest, unit, g2p, tokens)
    missing = [word for word in rest if word not in spelled]
    if missing and unit == "piece":
        raise InputError(f"words that cannot be spelled in the model's pieces: {name_some(missing)}; write them as its "
                         "texts do, in the same case")  # fmt: skip
    if missing:
        raise InputError(f"{len(missing)} words have no pronunciation: {name_some(missing)}; give their pronunciations")
    return found | {word: spelled[word] for word in rest}


def spellings(words: Sequence[str], unit: str, g2p: G2pConfig, tokens: Tokens | None = None) -> Spelled:
    """The pronunciations of those words that have one, as `pronunciations` finds them. Raises InputError if phones come
    from the CMU dictionary and no word has one."""
    if unit == "piece":
        pieces = {word: segmentations(word, tokens or Tokens([BLANK])) for word in words}
        return {word: variants for word, variants in pieces.items() if variants}
    if unit != "phone":
        return {word: [tuple(to_units(word, unit))] for word in words}
    is_korean = g2p.model == "default" and tokens is not None and are_korean(tokens.symbols)
    guess = guesser(replace(g2p, model="ko") if is_korean else g2p)
    if guess is None or (g2p.model == "default" and not is_korean):
        spelled: Mapping[str, Sequence[Sequence[str]]] = Lexicon.cmudict(words, guess).pronunciations
    else:
        spelled = guess(words)
    return {word: [tuple(units) for units in spelled[word]] for word in words if word in spelled}


class Guesser(Protocol):
    """Pronounces words, and leaves out those that it cannot. `probabilities` are those of the pronunciations so far, if
    `g2p.nbest` asks for several."""

    probabilities: dict[Pair, float]

    def __call__(self, words: Sequence[str]) -> Spelled: ...


class KoreanRules:
    """The rules and the list of `asr.text.ko`."""

    def __init__(self, cfg: G2pConfig):
        self._cfg = cfg
        self.probabilities: dict[Pair, float] = {}

    def __call__(self, words: Sequence[str]) -> Spelled:
        from asr.text.ko.pronunciation import pronounce

        found: Spelled = {}
        for word in words:
            readings = pronounce(word, self._cfg.nbest, by_tags=self._cfg.tagger == "kiwi")
            least = self._cfg.min_probability
            for reading in [*readings[:1], *(r for r in readings[1:] if r.probability >= least)]:
                found.setdefault(word, []).append(reading.phones)
                if self._cfg.nbest > 1:
                    self.probabilities[word, reading.phones] = reading.probability
        return found


class TrainedModel:
    """A model of `asr.g2p.model`."""

    def __init__(self, cfg: G2pConfig):
        self._cfg = cfg
        self.probabilities: dict[Pair, float] = {}

    def __call__(self, words: Sequence[str]) -> Spelled:
        model = _opened(self._cfg.model)
        if self._cfg.nbest == 1:
            return {word: [units] for word, units in model.best(words).items()}
        found = model.pronounce(words, self._cfg.nbest, self._cfg.min_probability)
        self.probabilities |= {(word, v.units): v.probability for word, variants in found.items() for v in variants}
        return {word: [variant.units for variant in variants] for word, variants in found.items()}


def guesser(cfg: G2pConfig) -> Guesser | None:
    """A function that pronounces words, or None if `g2p.model` is none. Its first call opens the model."""
    if cfg.model == "none":
        return None
    return KoreanRules(cfg) if cfg.model == "ko" else TrainedModel(cfg)


def _opened(name: str) -> "G2p":
    from asr.g2p.model import G2p

    return G2p.default() if name == "default" else _from_file(name, digest(name))


@lru_cache(4)
def _from_file(path: str, content: str | None) -> "G2p":
    """Cached, since each request of a service needs the model. `content`, its digest, detects a changed file."""
    from asr.g2p.model import G2p

    return G2p.open(path)
