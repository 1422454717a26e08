"""The search graph of a run folder: from the tokens or HMMs of its net, a lexicon and a language model."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr.config import Config
from asr.errors import InputError
from asr.graph import Build, GraphOptions, dynamic
from asr.graph.fillers import filler_words
from asr.graph.grammar_sources import ArpaSource, Fillers
from asr.hmm.graph import HmmExpansion
from asr.hmm.model import Hmm
from asr.lm import arpa
from asr.pieces import are_pieces
from asr.recognizer import run_folder
from asr.text.lexicon import Lexicon
from asr.tokens import Tokens
from asr.words import MARKS, is_slot


def build(cfg: Config) -> dict[str, Any]:
    """Make the graph in `cfg.graph.dir`; returns its `stats.json`."""
    if cfg.graph.kind != "dynamic":
        return dataclasses.asdict(_static(cfg).write(cfg.graph.dir))
    if _hmm(cfg):
        raise InputError("graph.kind=dynamic is for CTC, whose topology the search adds; HMMs need a static graph")
    cfg, tokens, lexicon = _ingredients(cfg)
    fillers, words = cfg.graph.fillers, [] if lexicon else arpa.read(cfg.lm.arpa).words
    lexicon = lexicon or _spell(cfg, list(dict.fromkeys([*words, *filler_words(fillers, words)])), tokens)
    return dynamic.compile_dynamic(tokens, lexicon, cfg.lm.arpa, cfg.graph.dir, cfg.graph.silence, fillers,
                                   cfg.graph.filler_cost)  # fmt: skip


def forecast(cfg: Config) -> str:
    """The size of the static graph, and the time and memory to build it."""
    if cfg.graph.kind == "dynamic":
        raise InputError("graph.forecast is for static graphs; nothing is compiled for a dynamic one")
    if _hmm(cfg):
        raise InputError("graph.forecast counts the states of CTC's topology; it has no figures for HMMs")
    return str(_static(cfg).forecast())


def _static(cfg: Config) -> Build:
    cfg, tokens, lexicon = _ingredients(cfg)
    hmm, silence = _hmm(cfg), cfg.graph.silence
    if hmm:
        if lexicon is None:
            raise InputError("HMMs are of phones; name the lexicon that spells the words in them: graph.lexicon=FILE")
        tokens, silence = hmm.phones, silence or hmm.silence
    options = GraphOptions(silence, cfg.graph.draw_states, cfg.graph.topology, cfg.graph.cache, cfg.graph.memory_mb)
    source = ArpaSource(cfg.lm.arpa)
    with_fillers = Fillers(source, cfg.graph.fillers, cfg.graph.filler_cost) if cfg.graph.fillers else source
    expansion = HmmExpansion(hmm) if hmm else None
    return Build(with_fillers, lexicon or (lambda words: _spell(cfg, words, tokens)), tokens, options, expansion)


def _hmm(cfg: Config) -> Hmm | None:
    """The HMMs of the run folder; None if its net was trained with CTC, or if a token table is given."""
    return None if cfg.tokens.table else run_folder.hmm(cfg)


def _ingredients(cfg: Config) -> tuple[Config, Tokens, Lexicon | None]:
    if cfg.graph.kind not in ("static", "dynamic"):
        raise InputError(f"graph.kind={cfg.graph.kind} needs no graph; build one for graph.kind=static or dynamic")
    if not cfg.tokens.table:
        cfg = run_folder.as_trained(cfg)
    if not Path(cfg.lm.arpa).exists():
        raise InputError(f"there is no language model {cfg.lm.arpa}; run `asr lm train` first, or set lm.arpa")
    tokens = run_folder.tokens(cfg)
    if tokens is None:
        raise InputError(f"{cfg.out}/train holds no tokens.txt; run `asr train` first, or name a tokens.table")
    return cfg, tokens, Lexicon.read(cfg.graph.lexicon) if cfg.graph.lexicon else None


def _spell(cfg: Config, words: Sequence[str], tokens: Tokens) -> Lexicon:
    words = [word for word in words if not is_slot(word)]
    if are_pieces(words):
        return Lexicon.from_pieces([word for word in words if word not in MARKS], cfg.tokens.unit, tokens)
    return Lexicon.from_spelling(words, cfg.tokens.unit, tokens)
