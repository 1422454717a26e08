"""The searcher of a recogniser: what its options ask for, what it cannot do without a graph, and the sound that its
second pass may need."""

from collections.abc import Mapping
from typing import NoReturn

import numpy as np

from asr.config import Config
from asr.data.dataset import load_input
from asr.errors import InputError
from asr.hmm.model import Hmm
from asr.manifest import Utterance
from asr.search.confidence import Calibration, warn_if_uncalibrated
from asr.search.phrases import Phrases
from asr.search.searchers import GraphSearcher, GreedySearcher, Searcher, make_decoder, needs_sound
from asr.search.second_pass import HearingScorer, Rescorer, resolved, second_pass
from asr.search.space import SearchSpace
from asr.search.token_loop import TokenLoop
from asr.states import States
from asr.tokens import Tokens


class NoSearcher:
    """Of HMMs without a graph: word lists and grammars bring theirs."""

    def search(self, log_probs: np.ndarray, phrases: Phrases | None = None) -> NoReturn:
        self.refuse()

    def refuse(self) -> NoReturn:
        raise InputError("states of HMMs make words only in a graph, and this recogniser has none; give a word list or "
                         "a grammar")  # fmt: skip


def sound_for(searcher: Searcher, cfg: Config, utterance: Utterance) -> np.ndarray | None:
    """The samples (T,) of an utterance if the second pass needs them; None otherwise. Raises InputError if it cannot be
    read."""
    return load_input(cfg, utterance) if needs_sound(searcher) else None


def searcher_of(
    cfg: Config, tokens: Tokens, space: SearchSpace | None, rescorer: Rescorer | None, hmm: Hmm | None
) -> Searcher:
    """The searcher that `cfg.decoder` describes. Raises InputError for options that need another one."""
    decoder, scorer = cfg.decoder, rescorer.scorer if rescorer else None
    calibration = Calibration(decoder.confidence_scale, decoder.confidence_offset, decoder.confidence_clarity)
    warn_if_uncalibrated(resolved(decoder, scorer, space))
    if decoder.kind != "greedy" and space is not None:
        if decoder.rescore is not None and isinstance(scorer, HearingScorer):
            _check_hearing(cfg, scorer)
        return GraphSearcher(
            make_decoder(space.graph, decoder), space, tokens, decoder.nbest, calibration, decoder.mbr,
            decoder.confusion, second_pass(decoder, scorer, space), hmm.states if hmm else None,
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
    if is_of_states:
        return NoSearcher()
    return GreedySearcher(tokens, cfg.tokens.unit, calibration, decoder.beam, decoder.max_active)


def phrases_for(searcher: Searcher, boosts: Mapping[str, float]) -> Phrases:
    """Phrases in the form that the searcher takes. Raises InputError as `Recognizer.compile_phrases` does."""
    if isinstance(searcher, NoSearcher):
        searcher.refuse()
    space = _spelling(searcher)
    found = space.phrases(boosts)
    if space.of_pieces and found.suppress:
        raise InputError("negative boosts need a graph of words: with characters they would also hit longer words")
    return found


def can_boost(searcher: Searcher, word: str) -> bool:
    """Whether phrases may hold the word."""
    space = _spelling(searcher)
    if isinstance(space, TokenLoop):
        return bool(space.spellings(word))
    return all(piece in space.labels for piece in space.segmented(word).split())


def _spelling(searcher: Searcher) -> SearchSpace | TokenLoop:
    """What spells phrases."""
    if isinstance(searcher, GraphSearcher):
        return searcher.space
    assert isinstance(searcher, GreedySearcher)
    return searcher.loop


def _check_hearing(cfg: Config, scorer: HearingScorer) -> None:
    """Raises InputError if the recogniser does not take the sound that the second pass needs."""
    name, rate_hz = f"decoder.rescore={cfg.decoder.rescore}", cfg.features.sample_rate_hz
    if cfg.features.kind == "stored":
        raise InputError(f"{name} needs sound, and this model takes stored features; set decoder.rescore=null")
    if rate_hz != scorer.rate_hz:
        raise InputError(f"{name} hears sound at {scorer.rate_hz} Hz, and this model at {rate_hz} Hz; set "
                         "decoder.rescore=null")  # fmt: skip
