"""Beam searches during a training: n-best hypotheses with their tokens, and lattices with the label of each frame."""

from dataclasses import replace
from itertools import groupby

import numpy as np

from asr.config import DecoderConfig
from asr.criteria.mwer import Hypothesis
from asr.criteria.smbr import LabelLattice
from asr.search.lattice import Lattice
from asr.search.searchers import make_decoder
from asr.search.space import SearchSpace
from asr.tokens import BLANK_ID

LATTICE_BEAM = 12.0  # at least: of hypotheses that cost more, each has a share below e^-12


class TrainingSearch:
    """Searches with the graph and the options of a recogniser."""

    def __init__(self, options: DecoderConfig, space: SearchSpace):
        beam = max(LATTICE_BEAM, options.lattice_beam or 0.0)
        self.decoder = make_decoder(space.graph, replace(options, lattice_beam=beam, blank_skip=None))
        self.space, self.blank_penalty = space, options.blank_penalty

    def nbest(self, log_probs: np.ndarray, number: int) -> list[Hypothesis]:
        """The `number` cheapest word sequences for log-probs (F, V), each on its cheapest path, cheapest first. None if
        no path reaches the end of the graph, or for NaN."""
        lattice = self._lattice(log_probs)
        return [
            Hypothesis(
                self.space.text(reading.labels).split(),
                [token for token, _ in groupby(reading.alignment.tolist()) if token != BLANK_ID],
                reading.graph_cost,
                reading.alignment.astype(np.int64),
            )
            for reading in (lattice.nbest(number) if lattice else ())
        ]

    def lattice(self, log_probs: np.ndarray) -> LabelLattice | None:
        """The word sequences near the best one for log-probs (F, V), each on its cheapest path. None as for `nbest`."""
        lattice = self._lattice(log_probs)
        return over_labels(lattice, self.blank_penalty) if lattice else None

    def _lattice(self, log_probs: np.ndarray) -> Lattice | None:
        if np.isnan(log_probs).any():  # the loss is NaN, too, and the trainer names the utterance
            return None
        lattice = self.decoder.decode_lattice(log_probs).lattice
        return lattice if lattice.complete else None


def over_labels(lattice: Lattice, blank_penalty: float) -> LabelLattice:
    """A word lattice as one of labels. Its frames are those that were searched; final states get an arc to a last one.

    Costs are those of the graph and of the search's penalty per blank, without the net and without boosts.
    """
    arcs, finals = lattice.arcs, lattice.finals
    num_tokens = np.diff(np.append(arcs["tokens_end"], finals["tokens_end"]).astype(np.int64), prepend=0)
    source = np.append(arcs["from"], finals["state"]).astype(np.int64)
    target = np.append(arcs["to"], np.full(len(finals), lattice.num_states)).astype(np.int64)
    reached = np.zeros(lattice.num_states + 1, np.int64)  # the frames before each state
    for before, after, count in zip(source.tolist(), target.tolist(), num_tokens.tolist(), strict=True):
        reached[after] = reached[before] + count
    ends = num_tokens.cumsum()
    blanks = np.diff(np.append(0, np.cumsum(lattice.tokens == BLANK_ID))[ends], prepend=0)  # the lattice's acoustic
    cost = np.append(arcs["graph"], finals["graph"]).astype(np.float64) + blank_penalty * blanks  # costs have them
    return LabelLattice(
        lattice.num_states + 1, source, target, cost, reached[source], ends, lattice.tokens.astype(np.int64)
    )
