"""Alignments: the output of the HMMs that each frame of an utterance belongs to.

The best path (Viterbi) is found by the same search that decodes, through a graph of the utterance's own transcript with
all pronunciations and optional silence. Without a beam the search prunes nothing, so the path is exact.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from asr.errors import InputError
from asr.graph.automaton import Automaton
from asr.graph.opened import Graph
from asr.graph.pack import to_bytes
from asr.hmm.graph import expand, spell
from asr.hmm.model import Hmm
from asr.search.decoder import Decoder
from asr.text.lexicon import Lexicon
from asr.tokens import Tokens

ALL_PATHS = 2**31 - 1
BEAMS = (10.0, 40.0)  # of alignments outside the training, one after the other (Kaldi: beam and retry_beam)
MOST_PASSAGE_CELLS = 1 << 26  # frames times states of a passage of a long recording
MOST_CELLS = 1 << 24  # frames times states that are searched without a beam: 400 MB

Spelled = Sequence[tuple[Sequence[str], float]]  # of a word: pronunciations and their costs


def acceptor(words: Sequence[str], lexicon: Lexicon, hmm: Hmm) -> Automaton:
    """`acceptor_of` every pronunciation of each word; a pronunciation costs what the lexicon says, times `hmm.scale`.

    Raises InputError naming a word that the lexicon lacks, and as `acceptor_of` does.
    """
    if missing := next((word for word in words if word not in lexicon), None):
        raise InputError(f"the word '{missing}' is not in the lexicon; add its pronunciation")
    variants = lexicon.pronunciations
    return acceptor_of([[(u, hmm.scale * lexicon.cost(word, u)) for u in variants[word]] for word in words], hmm)


def acceptor_of(words: Sequence[Spelled], hmm: Hmm) -> Automaton:
    """The phone sequences of a transcript: one of the pronunciations of each word, and silence or none between words
    and at both ends. A word with a pronunciation of no phones may be left out, at no cost.

    Input labels are those of `hmm.phones`. The output label of a pronunciation, on its first arc, is its number among
    those of all words, from 1 on. Raises InputError for a phone that the HMM lacks, and for no words without silence.
    """
    said = [[(hmm.phones.encode(units), cost) for units, cost in spelled] for spelled in words]
    if not hmm.silence and not any(phones for spelled in said for phones, _ in spelled):
        raise InputError("nothing is said in the utterance, and the HMMs have no silence to align it with")
    return spell(said, hmm.silence_id)


def equal_path(words: Sequence[str], lexicon: Lexicon, hmm: Hmm, frames: int) -> NDArray[np.int32] | None:
    """The flat start: the first pronunciations with silence at both ends, each state an equal share of the frames.

    Returns (F,), or None if there are fewer frames than states. `hmm` has no contexts.
    """
    quiet = [hmm.silence] if hmm.silence else []
    units = [*quiet, *(unit for word in words for unit in lexicon.pronunciations[word][0]), *quiet]
    states = [output for phone in hmm.phones.encode(units) for output in hmm.outputs(0, phone, 0)]
    if not 0 < len(states) <= frames:
        return None
    return np.array(states, np.int32)[np.arange(frames) * len(states) // frames]


class Aligner:
    """The graph of one transcript."""

    def __init__(self, phones: Automaton, hmm: Hmm):
        expanded = expand(phones, hmm)
        labels = np.unique(expanded.ilabel)
        self.outputs = labels[labels > 0] - Tokens.label(0)  # (O,) those that a path may pass
        self._packed = to_bytes(expanded.arrays())
        self._scale = hmm.scale

    def align(self, log_likelihoods: NDArray[np.float32], beam: float = math.inf) -> NDArray[np.int32] | None:
        """The best path (F,) for natural log-likelihoods (F, O) of `outputs`: the output of each frame. None if there
        are too few frames for any path. If the `beam` loses all paths, the search is repeated without."""
        scores = np.full((len(log_likelihoods), int(self.outputs[-1]) + 1), -np.inf, np.float32)
        scores[:, self.outputs] = log_likelihoods
        graph = Graph.from_bytes(self._packed)
        for width in dict.fromkeys((beam, math.inf)):
            path = Decoder(graph, beam=width, max_active=ALL_PATHS, acoustic_scale=self._scale).decode(scores)
            if path.complete:
                return path.alignment
        return None


def read_path(
    words: Sequence[Spelled], hmm: Hmm, log_probs: NDArray[np.float32]
) -> tuple[NDArray[np.int32], list[int]] | None:
    """The best path (F,) through a transcript for the log-probs (F, V) of a net or of mixtures, which the scale of the
    HMMs is part of, and the numbers of the pronunciations on it; None if there are too few frames.

    The search has the first of the `BEAMS` in which a path survives, and none in the end. Raises InputError if frames
    and states are too many for that.
    """
    graph = Graph.from_bytes(to_bytes(expand(acceptor_of(words, hmm), hmm).arrays()))
    is_small = len(log_probs) * graph.num_states <= MOST_CELLS
    for beam in (*BEAMS, math.inf) if is_small else BEAMS:
        path = Decoder(graph, beam=beam, max_active=ALL_PATHS).decode(log_probs)
        if path.complete:
            return path.alignment, [int(label) for label in path.labels]
    if is_small:
        return None
    raise InputError(f"no path of its text survives a beam of {BEAMS[-1]:g}: sound and text may not belong together")


def read_passage(
    phones: Automaton, hmm: Hmm, log_probs: NDArray[np.float32]
) -> tuple[NDArray[np.int32], list[int]] | None:
    """As `read_path`, through a `loose_acceptor`; no pronunciations if there are too few frames for any path. None if
    frames and states are too many for the memory."""
    graph = Graph.from_bytes(to_bytes(expand(phones, hmm).arrays()))
    if len(log_probs) * graph.num_states > MOST_PASSAGE_CELLS:
        return None
    path = Decoder(graph, beam=math.inf, max_active=ALL_PATHS).decode(log_probs)
    return path.alignment, [int(label) for label in path.labels] if path.complete else []
