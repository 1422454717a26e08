"""The n-best hypotheses of a beam search with their tokens, for training by their errors."""

from dataclasses import replace
from itertools import groupby

import numpy as np

from asr.config import DecoderConfig
from asr.criteria.mwer import Hypothesis
from asr.search.searchers import make_decoder
from asr.search.space import SearchSpace
from asr.tokens import BLANK_ID

LATTICE_BEAM = 12.0  # at least: of hypotheses that cost more, each has a share below e^-12


class NbestSearch:
    """Searches with the graph and the options of a recogniser."""

    def __init__(self, options: DecoderConfig, space: SearchSpace):
        beam = max(LATTICE_BEAM, options.lattice_beam or 0.0)
        self.decoder = make_decoder(space.graph, replace(options, lattice_beam=beam, blank_skip=None))
        self.space = space

    def __call__(self, log_probs: np.ndarray, number: int) -> list[Hypothesis]:
        """The `number` cheapest word sequences for log-probs (F, V), each on its cheapest path, cheapest first. None if
        no path reaches the end of the graph."""
        lattice = self.decoder.decode_lattice(log_probs).lattice
        return [
            Hypothesis(
                self.space.text(reading.labels).split(),
                [token for token, _ in groupby(reading.alignment.tolist()) if token != BLANK_ID],
                reading.graph_cost,
            )
            for reading in (lattice.nbest(number) if lattice.complete else ())
        ]
