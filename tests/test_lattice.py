"""Lattices against the enumeration of all paths: word sequences, costs and order."""

import threading
import time
from itertools import islice
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
    to_graph,
    without_epsilon_cycles,
)
from rapidfuzz.distance import Levenshtein

from asr.errors import InputError
from asr.search.decoder import Decoder


def random_case(rng, frames=5, **options):
    """A graph, log-probs, and the word sequences by enumeration."""
    arrays = without_epsilon_cycles(
        random_arrays(rng, rng.integers(2, 5), rng.integers(4, 12), 3, pushed=rng.random() < 0.3)
    )
    arrays.arcs["olabel"] %= 4  # few words, so that many paths share a sequence
    log_probs = random_log_probs(rng, rng.integers(1, frames), 3)
    return arrays, log_probs


def decode(arrays, log_probs, lattice_beam=inf, **options):
    decoder = Decoder(to_graph(arrays), lattice_beam=lattice_beam, **EXACT, **options)
    return decoder.decode_lattice(log_probs)


@pytest.mark.parametrize("lattice_beam", [0.0, 1.5, 4.0, inf])
def test_the_lattice_holds_the_word_sequences_within_its_beam(lattice_beam):
    rng = np.random.default_rng(1)
    num_readings = 0
    for _ in range(150):
        arrays, log_probs = random_case(rng)
        expected = readings_by_enumeration(arrays, Scoring(log_probs, 0.8, 0.2, -0.1))
        decoded = decode(arrays, log_probs, lattice_beam, acoustic_scale=0.8, word_penalty=0.2, blank_penalty=-0.1)
        best = min(expected.values())
        readings = list(decoded.lattice.readings())
        found = {tuple(r.labels): r.cost for r in readings}
        assert len(found) == len(readings)  # each sequence once
        for words, cost in expected.items():
            if abs(cost - best - lattice_beam) < 1e-3:
                continue  # at the edge of the beam
            if cost < best + lattice_beam:
                assert found[words] == pytest.approx(cost, abs=1e-3)
            else:
                assert words not in found or found[words] == pytest.approx(cost, abs=1e-3)
        assert set(found) <= set(expected)
        num_readings += len(found)
    assert num_readings >= 150


def test_readings_are_sorted_and_have_their_costs_and_alignments():
    rng = np.random.default_rng(2)
    for _ in range(200):
        arrays, log_probs = random_case(rng)
        decoded = decode(arrays, log_probs, acoustic_scale=0.7, blank_penalty=0.3)
        readings = list(decoded.lattice.readings())
        costs = [r.cost for r in readings]
        assert costs == pytest.approx(sorted(costs), abs=1e-6)
        assert readings[0].cost == pytest.approx(decoded.path.cost, abs=1e-3)
        assert [r.labels for r in decoded.lattice.nbest(2)] == [r.labels for r in readings[:2]]
        for reading in readings:
            assert reading.graph_cost + reading.acoustic_cost == pytest.approx(reading.cost)
            if not decoded.path.complete:
                continue
            frame_costs = -0.7 * log_probs[range(len(log_probs)), reading.alignment] + 0.3 * (reading.alignment == 0)
            assert reading.acoustic_cost == pytest.approx(frame_costs.sum(), abs=1e-3)


def test_best_reading_is_the_best_path():
    rng = np.random.default_rng(3)
    for _ in range(100):
        arrays, log_probs = random_case(rng, frames=9)
        decoded = decode(arrays, log_probs, 3.0)
        first = list(islice(decoded.lattice.readings(), 2))
        if len(first) > 1 and first[1].cost - first[0].cost < 1e-3:
            continue
        assert first[0].labels == decoded.path.labels
        assert decoded.lattice.complete == decoded.path.complete


def test_posteriors_equal_those_of_all_paths():
    rng = np.random.default_rng(4)
    for _ in range(60):
        arrays, log_probs = random_case(rng)
        lattice = decode(arrays, log_probs, 6.0).lattice
        posteriors = lattice.posteriors(scale=0.5)
        expected = np.zeros(lattice.num_arcs)
        total = 0.0
        for arcs, cost in paths_of(lattice):
            weight = np.exp(-0.5 * cost)
            expected[arcs] += weight
            total += weight
        np.testing.assert_allclose(posteriors, expected / total, atol=1e-9)


def paths_of(lattice, state=0):
    if lattice.final_costs[state] < inf:
        yield [], lattice.final_costs[state]
    for arc in range(lattice.first[state], lattice.first[state + 1]):
        for arcs, cost in paths_of(lattice, int(lattice.arcs["to"][arc])):
            yield [arc, *arcs], lattice.costs[arc] + cost


def test_the_lattice_is_deterministic_and_sorted():
    rng = np.random.default_rng(5)
    for _ in range(60):
        lattice = decode(*random_case(rng, frames=8), 8.0).lattice
        assert (lattice.arcs["from"] < lattice.arcs["to"]).all()
        assert (np.diff(lattice.arcs["from"]) >= 0).all()
        for state in range(lattice.num_states):
            words = lattice.arcs["word"][lattice.first[state] : lattice.first[state + 1]]
            assert len(set(words.tolist())) == len(words)
        assert (np.diff(lattice.state_frames[lattice.arcs["from"]]) >= -lattice.num_frames).all()
        assert (lattice.state_frames[lattice.arcs["to"]] >= lattice.state_frames[lattice.arcs["from"]]).all()


def test_oracle_is_the_best_of_all_readings():
    rng = np.random.default_rng(6)
    for _ in range(100):
        lattice = decode(*random_case(rng), 5.0).lattice
        ref = rng.integers(1, 5, rng.integers(0, 6)).tolist()
        assert lattice.oracle(ref) == min(Levenshtein.distance(r.labels, ref) for r in lattice.readings())


def test_arcs_above_the_limit_reduce_the_beam():
    rng = np.random.default_rng(7)
    shrunk = 0
    for _ in range(60):
        arrays, log_probs = random_case(rng)
        decoder = Decoder(to_graph(arrays), lattice_beam=20.0, **EXACT)
        whole = decoder.decode_lattice(log_probs).lattice
        small = decoder.decode_lattice(log_probs, max_arcs=3).lattice
        if small.beam == 20.0:
            assert whole.num_arcs <= 3
            continue
        shrunk += 1
        costs = {tuple(r.labels): r.cost for r in whole.readings()}
        best = min(costs.values())
        found = {tuple(r.labels): r.cost for r in small.readings()}
        for words, cost in costs.items():
            if cost < best + small.beam - 1e-3:
                assert found[words] == pytest.approx(cost, abs=1e-3)
    assert shrunk > 20


def test_long_streams_keep_the_same_lattice_in_bounded_memory():
    """Links are pruned during the stream; none within the beam may be lost."""
    rng = np.random.default_rng(8)
    arrays = without_epsilon_cycles(random_arrays(rng, 40, 400, 6, finals=1.0, epsilons=0.1))
    log_probs = random_log_probs(rng, 2000, 6, impossible=0)
    decoder = Decoder(to_graph(arrays), beam=10.0, lattice_beam=2.0)
    whole = decoder.decode_lattice(log_probs, max_arcs=10**7)
    stream = decoder.stream()
    for begin in range(0, len(log_probs), 7):
        stream.accept(log_probs[begin : begin + 7])
    pieces = stream.lattice(max_arcs=10**7)
    np.testing.assert_array_equal(pieces.arcs, whole.lattice.arcs)
    assert pieces.nbest(1)[0].cost == pytest.approx(whole.path.cost, rel=1e-6)
    assert pieces.nbest(1)[0].labels == whole.path.labels


def test_skipped_frames_are_blanks_in_the_alignment():
    blank, word = [0.0, -20.0], [-20.0, 0.0]
    log_probs = np.array([blank, blank, word, blank, blank, blank], np.float32)
    arrays = make_arrays(0, {0: 0.0}, 1, [(0, 1, 0, 0.0, 0), (0, 2, 7, 0.5, 0)])
    decoder = Decoder(to_graph(arrays), lattice_beam=5.0, blank_skip=0.9, **EXACT)
    reading = decoder.decode_lattice(log_probs).lattice.nbest(1)[0]
    assert reading.labels == [7]
    assert reading.alignment.tolist() == [0, 0, 1, 0, 0, 0]
    assert reading.cost == pytest.approx(decoder.decode(log_probs).cost)


def test_a_search_without_survivors_gives_the_lattice_up_to_then():
    arrays = make_arrays(0, {1: 0.0}, 2, [(0, 1, 5, 0.0, 0), (0, 2, 7, 0.5, 1)])
    log_probs = np.array([[-0.1, -inf], [-0.1, -inf], [-inf, -inf]], np.float32)
    decoded = Decoder(to_graph(arrays), lattice_beam=5.0, **EXACT).decode_lattice(log_probs)
    assert not decoded.lattice.complete
    assert decoded.lattice.nbest(1)[0].labels == decoded.path.labels == [5, 5]


def test_no_frames():
    arrays = make_arrays(0, {0: 0.25}, 1, [(0, 1, 0, 0.0, 0)])
    lattice = Decoder(to_graph(arrays), lattice_beam=5.0).decode_lattice(np.zeros((0, 1), np.float32)).lattice
    (reading,) = lattice.nbest(3)
    assert (reading.labels, reading.cost, len(reading.alignment)) == ([], 0.25, 0)


def test_epsilon_cycles_of_zero_cost_are_harmless():
    arcs = [(0, 0, 0, 0.0, 1), (1, 0, 0, 0.0, 0), (0, 1, 3, 0.0, 0), (1, 1, 4, 0.2, 1)]
    lattice = decode(make_arrays(0, {1: 0.0}, 2, arcs), np.zeros((2, 1), np.float32), 5.0).lattice
    assert {(3, 3), (3, 4), (4, 4)} <= {tuple(r.labels) for r in lattice.readings()}


def test_without_a_lattice_beam_a_lattice_is_refused():
    arrays = make_arrays(0, {0: 0.0}, 1, [(0, 1, 0, 0.0, 0)])
    decoder = Decoder(to_graph(arrays))
    with pytest.raises(InputError, match="lattice_beam"):
        decoder.decode_lattice(np.zeros((1, 1), np.float32))
    with pytest.raises(InputError, match="lattice_beam"):
        decoder.stream().lattice()
    with pytest.raises(InputError, match="from 0 to beam"):
        Decoder(to_graph(arrays), beam=5.0, lattice_beam=6.0)


def test_epsilon_cycles_with_costs_are_entered_at_the_cheapest_state():
    arcs = [(0, 1, 0, 5.0, 1), (0, 1, 0, 0.0, 2), (2, 0, 9, 1.0, 1), (1, 0, 0, 1.0, 2), (1, 1, 7, 0.0, 3)]
    decoded = decode(make_arrays(0, {3: 0.0}, 4, arcs), np.zeros((2, 1), np.float32), 3.0)
    assert decoded.path.labels == decoded.lattice.nbest(1)[0].labels == [9, 7]


def test_best_reading_survives_random_epsilon_cycles():
    rng = np.random.default_rng(9)
    for _ in range(300):
        arrays = random_arrays(rng, rng.integers(2, 5), rng.integers(4, 12), 3)
        decoded = decode(arrays, random_log_probs(rng, rng.integers(1, 6), 3), 4.0)
        assert decoded.lattice.nbest(1)[0].cost == pytest.approx(decoded.path.cost, abs=1e-3)


def test_a_lattice_at_its_limit_keeps_the_best_path():
    """Many paths of similar cost: the limit is reached long before any of them ends."""
    rng = np.random.default_rng(10)
    arcs = [(0, token, token, 0.0, 0) for token in range(1, 9)]
    log_probs = rng.normal(0, 0.05, (400, 8)).astype(np.float32)
    decoder = Decoder(to_graph(make_arrays(0, {0: 0.0}, 1, arcs)), lattice_beam=8.0, **EXACT)
    decoded = decoder.decode_lattice(log_probs, max_arcs=500)
    assert decoded.lattice.beam < 0.1
    assert decoded.lattice.nbest(1)[0].cost == pytest.approx(decoded.path.cost, abs=1e-2)


def test_a_lattice_beam_of_zero_keeps_the_best_path():
    rng = np.random.default_rng(11)
    arcs = [(0, token, token, 0.0, 0) for token in range(1, 9)]
    decoder = Decoder(to_graph(make_arrays(0, {0: 0.0}, 1, arcs)), acoustic_scale=30.0, lattice_beam=0.0)
    for _ in range(20):
        log_probs = rng.normal(0, 3, (300, 8)).astype(np.float32)
        decoded = decoder.decode_lattice(log_probs)
        assert decoded.lattice.nbest(1)[0].labels == decoded.path.labels


def test_merged_states_do_not_change_the_costs_of_readings():
    """Histories whose costs differ slightly become one state; over many words the differences must not add up."""
    stages, arcs, words = 150, [], {1: 6e-4, 2: 1.3e-3}
    for stage in range(stages):
        here, beside, aside, after = range(3 * stage, 3 * stage + 4)
        for word, cost in words.items():
            arcs += [(here, 1, word, 0.0, beside), (here, 1, word, cost, aside)]
        arcs += [(beside, 1, 4, 0.0, after), (aside, 1, 3, 0.0, after)]
    log_probs = np.zeros((2 * stages, 1), np.float32)
    graph = to_graph(make_arrays(0, {3 * stages: 0.0}, 3 * stages + 1, arcs))
    lattice = Decoder(graph, lattice_beam=1.0).decode_lattice(log_probs, max_arcs=10**5).lattice
    for word, cost in words.items():
        path = lattice.path([word, 3] * stages)
        assert lattice.costs[path].sum() == pytest.approx(stages * cost, abs=2e-3)


def test_the_lattice_of_a_stream_lets_other_threads_run():
    rng = np.random.default_rng(12)
    arrays = without_epsilon_cycles(random_arrays(rng, 60, 600, 8, finals=1.0, epsilons=0.1))
    stream = Decoder(to_graph(arrays), beam=12.0, lattice_beam=12.0).stream()
    stream.accept(random_log_probs(rng, 2000, 8, impossible=0))
    ticks: list[float] = []
    stop = threading.Event()

    def tick():
        while not stop.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    start = time.perf_counter()
    kept = stream._search.lattice()  # without the Python objects of the words
    end = time.perf_counter()
    stop.set()
    thread.join()
    assert kept.num_states > 1000
    assert sum(start < t < end for t in ticks) > (end - start) / 0.1
