"""Candidates for the text of an utterance: the texts of the cheapest paths through an open language."""

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr.integrations.alphabet import Alphabet
from asr.integrations.open_language import HotWords, OpenLanguage
from asr.search.decoder import LATTICE_ARCS, Decoder
from asr.search.lattice import Lattice, Reading
from asr.search.phrases import Phrases
from asr.text.lexicon import name_some
from asr.tokens import BLANK_ID

_log = logging.getLogger(__name__)
ACTIVE_PER_WIDTH = 10  # partial paths that the search keeps, by pyctcdecode's `beam_width`
READINGS_PER_TEXT = 10  # paths of the lattice that are looked at: several may have the same text
ARCS_PER_TEXT = 20  # of the lattice
SHARES = (0.2, 0.5, 1.0)  # of the beam: the lattice is widened until it has all texts, since wide ones take longest


@dataclass(frozen=True)
class Limits:
    """The options of pyctcdecode in the terms of our search."""

    texts: int  # candidates
    width: int
    beam: float  # nats


@dataclass(frozen=True)
class Candidate:
    """A text on its best path."""

    words: list[tuple[str, tuple[int, int]]]  # each with its first frame and the one after its last
    tokens: list[int]
    log_prob: float  # of the path, by the net alone


def find_texts(
    alphabet: Alphabet, language: OpenLanguage, log_probs: NDArray[np.float32], limits: Limits, hot: HotWords
) -> dict[str, Candidate] | None:
    """The texts whose best paths cost least, cheapest first; None if no path survives the beam.

    log_probs: (F, tokens) as `alphabet.log_probs` returns them.
    """
    listed = [language.labels[word] for word in hot.words if word in language.labels]
    spelled = {word: alphabet.spell(word) for word in sorted(hot.words) if word not in language.labels}
    added = tuple(
        (tuple(spellings), language.extra_cost(word) - hot.weight) for word, spellings in spelled.items() if spellings
    )
    if mute := [word for word, spellings in spelled.items() if not spellings]:
        _log.warning("hot words that cannot be spelled with the labels have no effect: %s", name_some(mute))
    phrases = Phrases([((label,), hot.weight) for label in listed], language.num_labels + len(added))
    active, graph = min(ACTIVE_PER_WIDTH * limits.width, 2**31 - 1), language.graph(added)
    max_arcs = LATTICE_ARCS + ARCS_PER_TEXT * limits.texts
    found: dict[str, Candidate] = {}
    for share in SHARES:
        decoder = Decoder(graph, limits.beam, active, lattice_beam=share * limits.beam)
        lattice = decoder.decode_lattice(log_probs, phrases if listed else None, max_arcs).lattice
        if not lattice.complete:
            return None
        found = _texts(alphabet, lattice, limits.texts)
        if len(found) == limits.texts:
            break
    return found


def _texts(alphabet: Alphabet, lattice: Lattice, most: int) -> dict[str, Candidate]:
    found: dict[str, Candidate] = {}
    for _, reading in zip(range(READINGS_PER_TEXT * most), lattice.readings(), strict=False):
        candidate = _candidate(alphabet, reading)
        found.setdefault(" ".join(word for word, _ in candidate.words), candidate)
        if len(found) == most:
            break
    return found


def _candidate(alphabet: Alphabet, reading: Reading) -> Candidate:
    alignment, lead = reading.alignment, alphabet.lead
    starts = np.flatnonzero(np.diff(alignment, prepend=-1))
    ends = np.append(starts[1:], len(alignment))
    is_token = alignment[starts] != BLANK_ID
    starts, ends = starts[is_token], ends[is_token]
    tokens = alignment[starts].tolist()
    words = [
        (word, (int(starts[first]) - lead, int(ends[last]) - lead)) for word, first, last in alphabet.words(tokens)
    ]
    return Candidate(words, alphabet.plain(tokens), -reading.acoustic_cost)
