"""Skipped blanks: the search equals one whose skipped frames allow blank alone."""

import random
from math import inf

import numpy as np
import pytest
from random_graphs import EXACT, Scoring, make_arrays, random_log_probs, readings_by_enumeration, to_graph
from test_dynamic import make_language
from test_graph import MODES
from test_implicit import random_pair

from asr.graph.arrays import Arrays
from asr.graph.topology import apply_topology
from asr.search.decoder import Decoder

SKIP = 0.3


def forced(log_probs, skip=SKIP):
    """The log-probs in which every frame of a run of blanks but the first allows blank alone."""
    is_blank = log_probs[:, 0] >= np.log(skip)
    skipped = np.flatnonzero(is_blank[1:] & is_blank[:-1]) + 1
    log_probs = log_probs.copy()
    log_probs[skipped, 1:] = -inf
    return log_probs


def blank_runs(rng, frames, num_tokens):
    log_probs = random_log_probs(rng, frames, num_tokens, impossible=0.0)
    log_probs[:, 0] += rng.choice([0.0, 3.0], frames)
    log_probs[:, 1:][rng.random((frames, num_tokens - 1)) < 0.05] = -inf
    return (log_probs - np.logaddexp.reduce(log_probs, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("implicit", [False, True])
def test_equals_the_enumeration_of_paths_whose_skipped_frames_are_blank(implicit):
    rng = np.random.default_rng(1)
    num_skipped = num_repeats = 0
    for _ in range(150):
        lg, hlg, num_tokens, arrays = random_pair(rng, with_arrays=True)
        log_probs = blank_runs(rng, rng.integers(1, 6), num_tokens)
        allowed = forced(log_probs)
        readings = readings_by_enumeration(arrays, Scoring(allowed, 0.8, 0.1, 0.2))
        decoder = Decoder(lg if implicit else hlg, acoustic_scale=0.8, word_penalty=0.1, blank_penalty=0.2,
                          lattice_beam=3.0, blank_skip=SKIP, **EXACT)  # fmt: skip
        decoded = decoder.decode_lattice(log_probs)
        path = decoded.path
        if not np.isinf(allowed).all(axis=1).any() and path.complete:
            assert path.cost == pytest.approx(min(readings.values()), abs=1e-3)
            assert readings[tuple(path.labels)] == pytest.approx(path.cost, abs=1e-3)
            found = {tuple(r.labels): r.cost for r in decoded.lattice.readings()}
            for words, cost in readings.items():
                if cost < path.cost + 2.99:
                    assert found[words] == pytest.approx(cost, abs=1e-3)
            skipped = np.isinf(allowed).all(axis=1) < np.isinf(allowed[:, 1:]).all(axis=1)
            assert not path.alignment[skipped].any()
            num_skipped += skipped.any()
            num_repeats += bool((np.diff(np.flatnonzero(path.alignment)) > 1).any())
    assert num_skipped > 30 and num_repeats > 5


def test_a_repeated_token_is_two_tokens_across_skipped_frames():
    lg = make_arrays(0, {1: 0.0}, 2, [(0, 2, 1, 0.7, 1)])
    hlg = apply_topology_to(lg, 3)
    sure, unsure = [0.05, 0.9, 0.05], [0.6, 0.35, 0.05]
    log_probs = np.log(np.array([sure, unsure, unsure, unsure, sure], np.float32))
    best = min(readings_by_enumeration(hlg, Scoring(forced(log_probs, 0.5))).values())
    for graph in (to_graph(lg, implicit=True), to_graph(hlg)):
        path = Decoder(graph, blank_skip=0.5).decode(log_probs)
        assert path.labels == [1] and path.cost == pytest.approx(best, abs=1e-4)
        collapsed = [t for t, before in zip(path.alignment, [0, *path.alignment], strict=False) if t and t != before]
        assert collapsed == [1]


def apply_topology_to(arrays: Arrays, num_tokens: int) -> Arrays:
    from asr.graph.automaton import Automaton

    start, final, source, arcs = arrays
    lg = Automaton.from_arcs(start, final, source, arcs["ilabel"], arcs["olabel"], arcs["cost"], arcs["next"])
    return apply_topology(lg, num_tokens).arrays()


@pytest.mark.parametrize("mode", MODES)
def test_dynamic_graphs(mode, tmp_path):
    rng = np.random.default_rng(3)
    for seed in range(10):
        tokens, _, _, space = make_language(random.Random(seed), mode, tmp_path)
        log_probs = blank_runs(rng, 12, len(tokens))
        options = {"acoustic_scale": 0.7, "lattice_beam": 3.0, **EXACT}
        skipping = Decoder(space.graph, blank_skip=SKIP, **options).decode_lattice(log_probs)
        plain = Decoder(space.graph, **options).decode_lattice(forced(log_probs))
        assert skipping.path.complete == plain.path.complete
        assert skipping.path.cost == pytest.approx(plain.path.cost, abs=1e-3) or not plain.path.complete
        if plain.path.complete:
            one, two = ({tuple(r.labels): r.cost for r in d.lattice.readings()} for d in (skipping, plain))
            inner = {words for words, cost in two.items() if cost < plain.path.cost + 2.99}
            assert all(one[words] == pytest.approx(two[words], abs=1e-3) for words in inner)


def test_streams_in_chunks_and_beams():
    rng = np.random.default_rng(2)
    for beam in (2.0, 6.0, inf):
        for _ in range(20):
            lg, hlg, num_tokens = random_pair(rng)
            log_probs = blank_runs(rng, 40, num_tokens)
            for graph in (lg, hlg):
                decoder = Decoder(graph, beam=beam, blank_skip=SKIP)
                whole, stream = decoder.decode(log_probs), decoder.stream()
                for begin in range(0, 40, 3):
                    stream.accept(log_probs[begin : begin + 3])
                path = stream.finish()
                assert (path.labels, path.cost, path.alignment.tolist()) == (
                    whole.labels, whole.cost, whole.alignment.tolist())  # fmt: skip


def test_after_the_search_died_nothing_costs_more():
    graph = to_graph(make_arrays(0, {0: 0.0}, 1, [(0, 2, 7, 1.0, 0), (0, 1, 0, 0.0, 0)]))
    blank = np.log(np.array([[0.9, 0.1]], np.float32))
    dead = np.concatenate([blank[:, ::-1], np.full((1, 2), -inf, np.float32), *[blank] * 50])
    decoder = Decoder(graph, blank_skip=0.5, blank_penalty=1.0, lattice_beam=4.0)
    decoded = decoder.decode_lattice(dead)
    assert decoded.path.cost == pytest.approx(1 - np.log(0.9), abs=1e-5)
    assert decoded.lattice.nbest(1)[0].cost == pytest.approx(decoded.path.cost, abs=1e-5)
    assert len(decoded.path.alignment) == 52 and not decoded.path.complete
