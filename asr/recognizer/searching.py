"""The searcher of a recogniser: what its options ask for, and what it cannot do without a graph."""

from typing import NoReturn

import numpy as np

from asr.config import Config
from asr.errors import InputError
from asr.search.confidence import Calibration, warn_if_uncalibrated
from asr.search.phrases import Phrases
from asr.search.searchers import GraphSearcher, GreedySearcher, Searcher, make_decoder
from asr.search.second_pass import Rescorer, resolved, second_pass
from asr.search.space import SearchSpace
from asr.states import States
from asr.tokens import Tokens


class NoSearcher:
    """Of HMMs without a graph: word lists and grammars bring theirs."""

    def search(self, log_probs: np.ndarray, phrases: Phrases | None = None) -> NoReturn:
        raise InputError("states of HMMs make words only in a graph, and this recogniser has none; give a word list or "
                         "a grammar")  # fmt: skip


def searcher_of(cfg: Config, tokens: Tokens, space: SearchSpace | None, rescorer: Rescorer | None) -> Searcher:
    """The searcher that `cfg.decoder` describes. Raises InputError for options that need another one."""
    decoder, scorer = cfg.decoder, rescorer.scorer if rescorer else None
    calibration = Calibration(decoder.confidence_scale, decoder.confidence_offset)
    warn_if_uncalibrated(resolved(decoder, scorer, space))
    if decoder.kind != "greedy" and space is not None:
        return GraphSearcher(
            make_decoder(space.graph, decoder), space, tokens, decoder.nbest, calibration, decoder.mbr,
            decoder.confusion, second_pass(decoder, scorer, space),
        )  # fmt: skip
    is_of_states = States.of(tokens) is not None
    if is_of_states and decoder.kind == "greedy":
        raise InputError("states of HMMs make words only in a graph; build one with `asr graph`, and search it with "
                         "decoder.kind=graph")  # fmt: skip
    if decoder.rescore is not None:
        raise InputError(f"decoder.rescore={decoder.rescore} needs a graph search, and this recogniser searches "
                         "greedily; set decoder.rescore=null")  # fmt: skip
    if decoder.mbr or decoder.confusion:
        name = "mbr" if decoder.mbr else "confusion"
        raise InputError(f"decoder.{name}=true needs a graph search; this recogniser searches greedily")
    return NoSearcher() if is_of_states else GreedySearcher(tokens, cfg.tokens.unit, calibration)
