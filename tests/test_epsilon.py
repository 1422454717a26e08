"""Epsilon arcs: cycles of any cost, in the search and in lattices, against the enumeration of all paths."""

import time
from math import inf

import numpy as np
import pytest
from random_graphs import (
    EXACT,
    Scoring,
    make_arrays,
    random_arrays,
    random_log_probs,
    readings_by_enumeration,
    search_by_frames,
    to_graph,
)

from asr.errors import InputError
from asr.search.confidence import word_confidences
from asr.search.decoder import Decoder
from asr.search.phrases import Phrases


def cyclic_case(rng, max_arcs=14):
    """A graph with many epsilon arcs: cycles of cost 0 and above, negative arcs in and beside cycles, ties."""
    arrays = random_arrays(
        rng, rng.integers(2, 6), rng.integers(4, max_arcs), 3, epsilons=0.6, pushed=rng.random() < 0.5
    )
    arrays.arcs["olabel"] %= 4
    if rng.random() < 0.5:  # ties, also with arcs that cost nothing
        arrays.arcs["cost"] = np.abs(np.round(arrays.arcs["cost"]))
    return arrays, random_log_probs(rng, rng.integers(0, 5), 3)


@pytest.mark.parametrize("lattice_beam", [0.0, 2.0, 6.0, inf])
def test_the_lattice_holds_every_reading_that_passes_no_cycle(lattice_beam):
    rng = np.random.default_rng(1)
    for _ in range(80):
        arrays, log_probs = cyclic_case(rng)
        readings = readings_by_enumeration(arrays, Scoring(log_probs, 0.7, 0.3))
        decoder = Decoder(to_graph(arrays), acoustic_scale=0.7, word_penalty=0.3, lattice_beam=lattice_beam, **EXACT)
        decoded = decoder.decode_lattice(log_probs, max_arcs=10**6)
        best = min(readings.values())
        assert decoded.path.cost == pytest.approx(best, abs=1e-3)
        found = {}
        for _, reading in zip(range(2000), decoded.lattice.readings(), strict=False):
            found[tuple(reading.labels)] = reading.cost
        for words, cost in readings.items():
            if cost < best + lattice_beam - 1e-3 and (len(found) < 2000 or cost < max(found.values())):
                assert found[words] == pytest.approx(cost, abs=1e-3)
        assert min(found.values()) == pytest.approx(best, abs=1e-3)


def test_the_best_path_is_the_first_reading_whatever_the_settings():
    rng = np.random.default_rng(2)
    num_limited = 0
    for _ in range(300):
        arrays, log_probs = cyclic_case(rng, 40)
        beam = rng.choice([1.0, 4.0, 16.0])
        decoder = Decoder(
            to_graph(arrays), beam=beam, lattice_beam=rng.choice([0.0, 0.5, 1.0]) * beam,
            max_active=int(rng.integers(1, 30)), min_active=int(rng.integers(0, 5)),
            blank_skip=rng.choice([0.3, 1.0]), word_penalty=0.1,
        )  # fmt: skip
        phrases = [(rng.integers(1, 4, rng.integers(1, 4)).tolist(), float(rng.uniform(-1, 3))) for _ in range(3)]
        boosted = Phrases(phrases, 99) if rng.random() < 0.5 else None
        decoded = decoder.decode_lattice(log_probs, boosted, max_arcs=int(rng.choice([1, 3, 10, 1000])))
        path, first = decoded.path, decoded.lattice.nbest(1)[0]
        assert first.labels == path.labels
        assert first.cost == pytest.approx(path.cost, abs=2e-3)
        assert first.alignment.tolist() == path.alignment.tolist() or first.cost == pytest.approx(path.cost, abs=1e-4)
        confidences = word_confidences(decoded.lattice, path.labels)
        assert len(confidences) == len(path.labels)
        num_limited += decoded.lattice.beam < decoder.lattice_beam
        stream = decoder.stream(boosted)
        stream.accept(log_probs)
        assert stream.lattice(max_arcs=3).nbest(1)[0].labels == path.labels
    assert num_limited > 30


def test_a_full_lattice_keeps_the_best_path():
    """As many arcs as the limit allows are used up before the best path ends."""
    rng = np.random.default_rng(3)
    for _ in range(40):
        states = int(rng.integers(5, 60))
        arrays = random_arrays(rng, states, states * int(rng.integers(3, 9)), 5, epsilons=0.2)
        arrays.arcs["olabel"] %= 8
        log_probs = random_log_probs(rng, int(rng.integers(20, 120)), 5, impossible=0.0)
        decoded = Decoder(to_graph(arrays), beam=16.0, lattice_beam=8.0).decode_lattice(log_probs)
        first = decoded.lattice.nbest(1)[0]
        assert first.labels == decoded.path.labels and first.cost == pytest.approx(decoded.path.cost, abs=1e-2)


def test_ties_and_negative_arcs_at_a_cycle():
    tie = [(0, 1, 0, 5.0, 1), (0, 1, 0, 0.0, 2), (1, 0, 0, 1.0, 2), (2, 0, 7, 0.0, 1)]
    graph = to_graph(make_arrays(0, {1: 0.0}, 3, tie))
    lattice = Decoder(graph, lattice_beam=8.0).decode_lattice(np.zeros((1, 1))).lattice
    assert {tuple(r.labels): r.cost for r in lattice.readings()}.items() >= {((7,), 0.0), ((), 5.0)}
    pushed = [(0, 1, 0, 5.0, 1), (1, 0, 0, 1.0, 2), (2, 0, 0, 1.0, 1), (1, 0, 7, -3.0, 3)]
    graph = to_graph(make_arrays(0, {3: 4.0}, 4, pushed))
    lattice = Decoder(graph, lattice_beam=8.0).decode_lattice(np.zeros((1, 1))).lattice
    assert [(r.labels, r.cost) for r in lattice.readings()] == [([7], 6.0)]


def test_cycles_of_zero_cost_among_many_states():
    """Pushed costs whose sums round to slightly below zero are no negative cycle."""
    rng = np.random.default_rng(4)
    for size in (2, 20, 100):
        potential = rng.normal(0, 30, size).astype(np.float32)
        ring = [(s, 0, 0, float(potential[(s + 1) % size] - potential[s]), (s + 1) % size) for s in range(size)]
        pairs = rng.integers(0, size, (size, 2)).tolist()
        chords = [(a, 0, 0, float(potential[b] - potential[a]), b) for a, b in pairs]
        arrays = make_arrays(0, {size - 1: 0.5}, size, [*ring, *chords, *((s, 1, 3, 0.1, s) for s in range(size))])
        scoring = Scoring(np.zeros((2, 1), np.float32))
        decoder = Decoder(to_graph(arrays), lattice_beam=0.0, **EXACT)
        decoded = decoder.decode_lattice(scoring.log_probs)
        assert decoded.path.cost == pytest.approx(search_by_frames(arrays, scoring).cost, abs=1e-2)
        assert decoded.lattice.nbest(1)[0].labels == [3, 3]


def refused(arcs, num_states, word_penalty=0.0, finals=None):
    graph = to_graph(make_arrays(0, finals or {0: 0.0}, num_states, arcs))
    start = time.process_time()
    with pytest.raises(InputError, match="cycle of epsilon arcs with negative cost"):
        Decoder(graph, word_penalty=word_penalty).decode(np.zeros((3, 1), np.float32))
    assert time.process_time() - start < 1


@pytest.mark.parametrize("gain", [0.001, 0.1, 1e3])
def test_negative_cycles_are_refused_at_once(gain):
    rng = np.random.default_rng(5)
    refused([(0, 0, 0, -gain, 0), (0, 1, 0, 0.0, 0)], 1)
    refused([(0, 0, 0, 0.5, 1), (1, 0, 0, -0.5 - gain, 0), (0, 1, 0, 0.0, 0)], 2)
    ring = [(s, 0, 0, 0.0 if s else -gain, (s + 1) % 2000) for s in range(2000)]
    refused([*ring, (0, 1, 0, 0.0, 0)], 2000)
    size, clique = 3000, 60
    many = [(0, 0, 0, 0.0, s) for s in range(1, size)] + [(s, 1, 9, 0.0, s) for s in range(size)]
    many += [(1 + i, 0, 0, -float(rng.uniform(1, 2)) * gain, 1 + j)
             for i in range(clique) for j in range(clique) if i != j]  # fmt: skip
    refused(many, size)


def test_words_on_a_cycle_that_the_penalty_makes_negative_are_refused():
    refused([(0, 0, 5, 0.5, 1), (1, 0, 0, 0.2, 0), (0, 1, 0, 0.0, 0)], 2, word_penalty=-0.8)


def test_boosts_make_no_cycle_negative():
    """A loop of optional words without sound, each costing 0.5, and phrases of 1 to 3 nats: no path passes a place
    twice in one frame, so the boosts of one frame are limited."""
    rng = np.random.default_rng(6)
    for size in (1, 2, 8, 40):
        loop = [(i, 0, 1 + (i * size + j) % 40, 0.5, j) for i in range(size) for j in range(size)]
        graph = to_graph(make_arrays(0, {0: 0.0}, size, loop + [(i, 1, 0, 0.1, i) for i in range(size)]))
        drawn = [(rng.integers(1, 41, int(rng.integers(1, 4))).tolist(), float(rng.uniform(1, 3))) for _ in range(60)]
        start = time.process_time()
        decoder = Decoder(graph, lattice_beam=2.0)
        decoded = decoder.decode_lattice(np.zeros((2, 1), np.float32), Phrases(drawn, 40))
        assert time.process_time() - start < 2
        assert decoded.lattice.nbest(1)[0].labels == decoded.path.labels
        assert decoder.decode(np.zeros((2, 1), np.float32)).labels == []


def test_phrases_beside_cycles_follow_their_rule():
    """Cycles that boosts do not make negative change nothing: all paths are counted."""
    rng = np.random.default_rng(7)
    for _ in range(50):
        arrays, log_probs = cyclic_case(rng)
        arrays.arcs["cost"] = np.abs(arrays.arcs["cost"]) + 1.0
        phrases = [(rng.integers(1, 4, 2).tolist(), float(rng.uniform(0, 1))) for _ in range(2)]
        boosts = {tuple(words): boost for words, boost in phrases}

        def cost_of(words, boosts=boosts):
            return -sum(boosts.get(words[i : i + 2], 0.0) for i in range(len(words) - 1))

        expected = readings_by_enumeration(arrays, Scoring(log_probs), cost_of)
        path = Decoder(to_graph(arrays), **EXACT).decode(log_probs, Phrases(phrases, 99))
        assert path.cost == pytest.approx(min(expected.values()), abs=1e-3)


def test_large_cycles_keep_the_best_path_in_little_time():
    """Rings and cliques of arcs that cost nothing, of more states than sets of them can be listed."""
    rng = np.random.default_rng(8)
    for size, chords in ((60, 3000), (65, 200), (3000, 9000)):
        pairs = [(s, (s + 1) % size) for s in range(size)] + rng.integers(0, size, (chords, 2)).tolist()
        arcs = [(a, 0, int(rng.integers(0, 3)), 0.0, b) for a, b in pairs] + [(s, 1, 5, 0.1, s) for s in range(size)]
        decoder = Decoder(to_graph(make_arrays(0, {size - 1: 0.0}, size, arcs)), lattice_beam=4.0)
        start = time.process_time()
        decoded = decoder.decode_lattice(np.zeros((3, 1), np.float32))
        assert time.process_time() - start < 3
        first = decoded.lattice.nbest(1)[0]
        assert first.labels == decoded.path.labels and first.cost == pytest.approx(decoded.path.cost, abs=1e-3)
        assert decoded.lattice.beam < 4.0  # and the lattice says what it leaves out
