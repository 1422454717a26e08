"""How words are spelled in a net's units: as their letters, as a dictionary lists them, or guessed."""

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from asr.config import G2pConfig
from asr.errors import InputError
from asr.text.lexicon import Guess, Lexicon, Spelled, name_some
from asr.text.units import to_units

if TYPE_CHECKING:
    from asr.g2p.model import G2p


def pronunciations(
    words: Sequence[str], unit: str, known: Mapping[str, Sequence[tuple[str, ...]]], g2p: G2pConfig
) -> Spelled:
    """`words` in units: those of `known` as they are there, others as letters or jamo.

    Phones come from the model that `g2p.model` names. Where that is English (`default`), the CMU dictionary goes
    first; with `none` it is all there is. Raises InputError naming words that cannot be spelled so.
    """
    found = {word: list(known[word]) for word in words if word in known}
    rest = [word for word in words if word not in found]
    if not rest:
        return found
    if unit != "phone":
        return found | {word: [tuple(to_units(word, unit))] for word in rest}
    guess = guesser(g2p)
    if guess is None or g2p.model == "default":
        spelled: Mapping[str, Sequence[Sequence[str]]] = Lexicon.cmudict(rest, guess).pronunciations
    else:
        spelled = guess(rest)
    if missing := [word for word in rest if word not in spelled]:
        raise InputError(f"{len(missing)} words have no pronunciation: {name_some(missing)}; give one with each")
    return found | {word: [tuple(units) for units in spelled[word]] for word in rest}


def guesser(cfg: G2pConfig) -> Guess | None:
    """What pronounces words by the configured model, which is opened for the first of them; None where that is none."""
    if cfg.model == "none":
        return None

    def guess(words: Sequence[str]) -> Mapping[str, Sequence[Sequence[str]]]:
        model = _opened(cfg.model)
        if cfg.nbest == 1:
            return {word: [units] for word, units in model.best(words).items()}
        found = model.pronounce(words, cfg.nbest, cfg.min_probability)
        return {word: [variant.units for variant in variants] for word, variants in found.items()}

    return guess


def _opened(name: str) -> "G2p":
    from asr.g2p.model import G2p

    return G2p.default() if name == "default" else _from_file(name, _stamp(name))


@lru_cache(4)
def _from_file(path: str, stamp: int) -> "G2p":
    """Kept, since a service asks for it with each request; `stamp` tells files of one name apart."""
    from asr.g2p.model import G2p

    return G2p.open(path)


def _stamp(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0  # opening it says why
