"""The beam search against two slow searches and OpenFst, and in edge cases."""

import resource
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from math import inf, nan

import numpy as np
import pytest
import pywrapfst
import torch
from random_graphs import (
    EXACT,
    Scoring,
    make_arrays,
    random_arrays,
    random_log_probs,
    search_by_enumeration,
    search_by_frames,
    to_bytes,
    to_graph,
)

from asr.errors import InputError
from asr.graph.arrays import ARC, Arrays
from asr.graph.opened import Graph
from asr.search.decoder import Decoder, prior_costs

LOOP = [(0, 1, 0, 0.0, 0), (0, 2, 7, 0.5, 0)]  # one state: blank, or token 1 with label 7


def assert_same(path, best, num_frames):
    """Paths are equal up to the order of epsilon arcs: in another order or at another frame they cost the same."""
    assert path.cost == pytest.approx(best.cost, abs=1e-3)
    assert path.complete == best.complete
    assert path.alignment.dtype == np.int32
    assert path.alignment.tolist() == best.alignment + [0] * (num_frames - len(best.alignment))
    assert sorted(path.labels) == sorted(best.labels)


@pytest.mark.parametrize("pushed", [False, True])
def test_equals_enumeration_of_all_paths(pushed):
    rng = np.random.default_rng(1)
    num_complete = 0
    for _ in range(200):
        arrays = random_arrays(rng, num_states=rng.integers(1, 5), num_arcs=rng.integers(1, 9), pushed=pushed)
        scoring = Scoring(random_log_probs(rng, rng.integers(0, 4), 3), 1.5, 0.3, -0.2)
        best = search_by_enumeration(arrays, scoring)
        decoder = Decoder(to_graph(arrays), acoustic_scale=1.5, word_penalty=0.3, blank_penalty=-0.2, **EXACT)
        path = decoder.decode(scoring.log_probs)
        if best.margin < 1e-4:
            continue
        assert_same(path, best, len(scoring.log_probs))
        assert (path.labels, path.label_frames) == (best.labels, best.label_frames)
        num_complete += best.complete
    assert 40 < num_complete < 160


@pytest.mark.parametrize("pushed", [False, True])
def test_equals_search_by_frames(pushed):
    rng = np.random.default_rng(2)
    for _ in range(60):
        arrays = random_arrays(rng, 12, 50, 6, pushed=pushed)
        scoring = Scoring(random_log_probs(rng, 7, 6), 0.7, 0.1, 0.4)
        decoder = Decoder(to_graph(arrays), acoustic_scale=0.7, word_penalty=0.1, blank_penalty=0.4, **EXACT)
        assert_same(decoder.decode(scoring.log_probs), search_by_frames(arrays, scoring), 7)


@pytest.mark.parametrize("word_penalty", [0.0, 0.3])
def test_frames_with_many_tokens_between_frames_with_few(word_penalty):
    """The table of tokens grows within a frame, over epsilon arcs, and is small again in the next."""
    rng = np.random.default_rng(5)
    wide = 1500
    spread, label, meet = rng.random(wide), rng.integers(1, 6, wide), rng.random(wide)
    arcs = [(0, 0, 0, spread[k], 2 + k) for k in range(wide)]
    arcs += [(2 + k, label[k], k + 1, meet[k], 1) for k in range(wide)]
    arrays = make_arrays(0, {1: 0.5}, 2 + wide, [*arcs, (1, 2, 0, 0.1, 1), (1, 3, 0, 0.2, 0)])
    decoder = Decoder(to_graph(arrays), word_penalty=word_penalty, **EXACT)
    log_probs = random_log_probs(rng, 12, 5, impossible=0.0)
    start, end = 0.0, inf  # cost of the best path to states 0 and 1
    for frame, row in enumerate(log_probs):
        through = start + min(spread + meet - row[label - 1]) + word_penalty
        start, end = end + 0.2 - row[2], min(through, end + 0.1 - row[1])
        assert decoder.decode(log_probs[: frame + 1]).cost == pytest.approx(end + 0.5, abs=1e-3)


def test_equals_openfst():
    rng = np.random.default_rng(3)
    for _ in range(60):
        arrays = random_arrays(rng, 20, 120, 5, finals=0.8)
        log_probs = random_log_probs(rng, 10, 5, impossible=0.0)
        composed = pywrapfst.compose(_acceptor(log_probs), _to_fst(arrays))
        distance = pywrapfst.shortestdistance(composed, reverse=True)
        expected = float(distance[composed.start()]) if composed.start() >= 0 else inf
        path = Decoder(to_graph(arrays), **EXACT).decode(log_probs)
        assert path.complete == (expected < inf)
        if path.complete:
            assert path.cost == pytest.approx(expected, abs=1e-3)


def _acceptor(log_probs):
    """The log-probs as an Fst over input labels, sorted by output label for composition."""
    fst = pywrapfst.VectorFst()
    fst.add_states(len(log_probs) + 1)
    for frame, row in enumerate(log_probs):
        for token, log_prob in enumerate(row):
            fst.add_arc(frame, pywrapfst.Arc(token + 1, token + 1, float(-log_prob), frame + 1))
    fst.set_start(0)
    fst.set_final(len(log_probs))
    return fst


def _to_fst(arrays):
    fst = pywrapfst.VectorFst()
    fst.add_states(len(arrays.final_costs))
    for source, arc in zip(arrays.sources, arrays.arcs, strict=True):
        fst.add_arc(int(source), pywrapfst.Arc(int(arc["ilabel"]), int(arc["olabel"]), float(arc["cost"]), arc["next"]))
    for state in np.flatnonzero(np.isfinite(arrays.final_costs)):
        fst.set_final(int(state), float(arrays.final_costs[state]))
    fst.set_start(arrays.start)
    return fst.arcsort("ilabel")


def test_pruned_search_approaches_the_exact_search():
    rng = np.random.default_rng(4)
    beams = [0.5, 2.0, 4.0, 8.0, 16.0, 64.0]
    lost = []  # (graphs, beams): cost above the exact search's; 100 where the final state was lost
    for _ in range(40):
        graph = to_graph(random_arrays(rng, 40, 200, 8, finals=1.0))
        log_probs = random_log_probs(rng, 20, 8, impossible=0.0)
        exact = Decoder(graph, **EXACT).decode(log_probs)
        if not exact.complete:
            continue
        paths = [Decoder(graph, beam=beam, min_active=0).decode(log_probs) for beam in beams]
        lost.append([path.cost - exact.cost if path.complete else 100.0 for path in paths])
        for max_active in (1, 5):
            path = Decoder(graph, max_active=max_active, min_active=0).decode(log_probs)
            assert not path.complete or path.cost > exact.cost - 1e-3
    assert len(lost) > 25
    assert np.min(lost) > -1e-3
    assert np.all(np.diff(np.mean(lost, axis=0)) <= 0)
    assert np.max(lost, axis=0)[-1] < 1e-3


def test_min_active_widens_a_narrow_beam():
    log_probs = np.log([[0.9, 0.1], [0.9, 0.1]])
    graph = to_graph(make_arrays(0, {1: 0.0}, 2, [(0, 1, 0, 0.0, 0), (0, 2, 5, 0.0, 1), (1, 2, 0, 0.0, 1)]))
    assert not Decoder(graph, beam=1.0, min_active=0).decode(log_probs).complete
    assert Decoder(graph, beam=1.0, min_active=2).decode(log_probs).labels == [5]


def test_threads_share_a_decoder():
    rng = np.random.default_rng(5)
    decoder = Decoder(to_graph(random_arrays(rng, 200, 2000, 10)), beam=8.0)
    utterances = [random_log_probs(rng, 60, 10, impossible=0.0) for _ in range(64)]
    alone = [decoder.decode(log_probs) for log_probs in utterances]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(decoder.decode, utterances))
    for a, b in zip(alone, together, strict=True):
        assert (a.labels, a.label_frames, a.cost, a.complete) == (b.labels, b.label_frames, b.cost, b.complete)
        assert np.array_equal(a.alignment, b.alignment)


def test_an_hour_keeps_precision_through_garbage_collections():
    rng = np.random.default_rng(6)
    arcs = [(s, k + 1, k, 0.0, k) for s in range(8) for k in range(8)]
    graph = to_graph(make_arrays(0, {s: 0.0 for s in range(8)}, 8, arcs))
    log_probs = random_log_probs(rng, 90_000, 8, impossible=0.0)  # 720,000 records
    path = Decoder(graph, acoustic_scale=2.0).decode(log_probs)
    assert np.array_equal(path.alignment, log_probs.argmax(1))
    assert path.cost == pytest.approx(-2.0 * log_probs.max(1).sum(dtype=np.float64), rel=1e-6)
    assert path.labels == [k for k in path.alignment.tolist() if k]


def test_ties_go_to_the_first_arc():
    arcs = [(0, 1, 8, 0.5, 1), (0, 1, 9, 0.5, 2), (1, 0, 0, 0.5, 3), (2, 0, 0, 0.5, 3)]
    decoder = Decoder(to_graph(make_arrays(0, {3: 0.0}, 4, arcs)))
    assert all(decoder.decode([[0.0]]).labels == [8] for _ in range(5))


def test_epsilon_cycles_of_zero_cost_terminate():
    cycle = [(0, 0, 0, 0.1, 1), (1, 0, 0, 0.2, 2), (2, 0, 0, -0.3, 0), (2, 1, 3, 0.0, 3), (0, 0, 4, 0.0, 0)]
    path = Decoder(to_graph(make_arrays(0, {3: 0.0}, 4, cycle)), **EXACT).decode(np.zeros((1, 1)))
    assert path.labels == [3] and path.cost == pytest.approx(0.3, abs=1e-5)


def test_epsilon_cycle_of_negative_cost_is_refused():
    cycle = [(0, 0, 0, 0.1, 1), (1, 0, 0, -0.2, 0), (0, 1, 0, 0.0, 0)]
    with pytest.raises(InputError, match="cycle of epsilon arcs with negative cost"):
        Decoder(to_graph(make_arrays(0, {0: 0.0}, 2, cycle))).decode(np.zeros((3, 1)))
    word_loop = to_graph(make_arrays(0, {0: 0.0}, 1, [(0, 0, 5, 0.1, 0), (0, 1, 0, 0.0, 0)]))
    decoder = Decoder(word_loop, word_penalty=-1.0)
    for _ in range(2):  # a failed decode leaves the decoder usable
        with pytest.raises(InputError, match="word penalties included"):
            decoder.decode(np.zeros((3, 1)))


def test_no_frames():
    arrays = make_arrays(0, {1: 0.25}, 2, [(0, 0, 6, 0.5, 1), (1, 1, 0, 0.0, 1)])
    for shape in ((0, 1), (0, 0)):
        path = Decoder(to_graph(arrays)).decode(np.zeros(shape))
        assert (path.labels, path.label_frames, path.cost, path.complete) == ([6], [0], 0.75, True)
        assert path.alignment.shape == (0,)


def test_no_final_state_gives_the_best_partial_path():
    path = Decoder(to_graph(make_arrays(0, {}, 1, LOOP))).decode(np.log([[0.1, 0.9], [0.9, 0.1]]))
    assert path.labels == [7] and not path.complete
    assert path.alignment.tolist() == [1, 0]


def test_a_search_without_survivors_gives_the_path_up_to_then():
    log_probs = np.array([[-inf, 0.0], [-inf, -inf], [0.0, -inf]])
    path = Decoder(to_graph(make_arrays(0, {0: 0.0}, 1, LOOP))).decode(log_probs)
    assert path.labels == [7] and not path.complete
    assert path.alignment.tolist() == [1, 0, 0]
    assert path.cost == 0.5


@pytest.mark.parametrize("bad", [nan, inf])
def test_values_that_are_not_log_probs(bad):
    log_probs = np.zeros((5, 3), np.float32)
    log_probs[3, 2] = bad
    with pytest.raises(InputError, match="frame 3 "):
        Decoder(to_graph(make_arrays(0, {0: 0.0}, 1, LOOP))).decode(log_probs)


def test_wrong_shapes():
    decoder = Decoder(to_graph(make_arrays(0, {0: 0.0}, 1, LOOP)))
    with pytest.raises(InputError, match="1 tokens and the graph uses 2 input labels"):
        decoder.decode(np.zeros((4, 1)))
    with pytest.raises(InputError, match=r"shape \(4,\); expected \(frames, tokens\)"):
        decoder.decode(np.zeros(4))


def test_log_probs_of_any_type_and_layout():
    decoder = Decoder(to_graph(make_arrays(0, {0: 0.0}, 1, LOOP)))
    log_probs = np.log([[0.2, 0.8], [0.7, 0.3], [0.4, 0.6]])
    expected = decoder.decode(log_probs)
    for other in (
        log_probs.tolist(),
        log_probs.astype(np.float16),
        np.asfortranarray(log_probs),
        log_probs[::-1].copy()[::-1],
    ):
        assert decoder.decode(other).labels == expected.labels


@pytest.mark.parametrize("kind", [complex, str, object, bool])
def test_log_probs_that_are_no_real_numbers_are_refused(kind):
    decoder = Decoder(to_graph(make_arrays(0, {0: 0.0}, 1, LOOP)))
    wrong = np.log([[0.2, 0.8]]).astype(kind)
    for decode in (decoder.decode, decoder.stream().accept, lambda x: decoder.decode_batch([x])):
        with pytest.raises(InputError, match="expected real numbers"):
            decode(wrong)
    with pytest.raises(InputError, match=r"expected \(frames, tokens\)"):
        decoder.decode_batch([[[1.0, 2.0], [3.0]]])


def test_tensors_of_any_type():
    decoder = Decoder(to_graph(make_arrays(0, {0: 0.0}, 1, LOOP)))
    log_probs = torch.tensor([[0.2, 0.8], [0.7, 0.3]]).log()
    expected = decoder.decode(log_probs.numpy()).labels
    for other in (log_probs, log_probs.bfloat16(), log_probs.double(), log_probs.requires_grad_()):
        assert decoder.decode(other).labels == expected


@pytest.mark.parametrize("max_arcs", [0, -1, 1.5, 2**63])
def test_a_limit_of_arcs_that_is_none(max_arcs):
    decoder = Decoder(to_graph(make_arrays(0, {0: 0.0}, 1, LOOP)), lattice_beam=4.0)
    with pytest.raises(InputError, match="max_arcs"):
        decoder.decode_lattice(np.zeros((1, 2)), max_arcs=max_arcs)


@pytest.mark.parametrize(
    "option",
    [
        {"beam": 0.0},
        {"beam": nan},
        {"max_active": 0},
        {"min_active": -1},
        {"acoustic_scale": 0.0},
        {"word_penalty": nan},
        {"blank_penalty": inf},
    ],
)
def test_options_out_of_range(option):
    with pytest.raises(InputError, match=f"decoder.{next(iter(option))}"):
        Decoder(to_graph(make_arrays(0, {0: 0.0}, 1, LOOP)), **option)


def test_graph_inside_a_zip(tmp_path):
    data = to_bytes(make_arrays(0, {0: 0.0}, 1, LOOP))
    for name in ("g", "gg", "ggg", "gggg"):  # the offset of the member differs modulo 4
        file = tmp_path / f"{name}.zip"
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(name, data)
            archive.writestr("after", b"x" * 100)
        graph = Graph.open(file, offset=file.read_bytes().index(b"asrgraph"), size=len(data))
        assert (graph.num_states, graph.num_arcs, graph.max_ilabel, graph.max_olabel) == (1, 2, 2, 7)
        assert Decoder(graph).decode(np.zeros((2, 2))).complete


def test_files_that_are_not_graphs(tmp_path):
    with pytest.raises(InputError, match="cannot read the graph .*none.bin"):
        Graph.open(tmp_path / "none.bin")
    file = tmp_path / "graph.bin"
    data = to_bytes(make_arrays(0, {0: 0.0}, 1, LOOP))
    for content in (b"", b"a text", b"x" * 200, data[:-1], data + b"\0"):
        file.write_bytes(content)
        with pytest.raises(InputError, match="graph.bin: "):
            Graph.open(file)
    with pytest.raises(InputError, match="offset 900"):
        Graph.open(file, offset=900, size=64)


def test_damaged_graphs_are_refused_or_searched_but_never_crash():
    rng = np.random.default_rng(7)
    log_probs = random_log_probs(rng, 6, 5, impossible=0.0)
    num_refused = 0
    for _ in range(3000):
        data = bytearray(to_bytes(random_arrays(rng, 6, 20, 5)))
        if rng.random() < 0.2:
            data = data[: rng.integers(len(data))]
        for i in rng.integers(0, max(1, len(data)), rng.integers(1, 4)):
            if data:
                data[i] ^= 1 << rng.integers(8)
        try:
            Decoder(Graph.from_bytes(bytes(data))).decode(log_probs)
        except InputError:
            num_refused += 1
    assert 1500 < num_refused < 3000


def test_token_costs_are_added_to_each_frame():
    rng = np.random.default_rng(11)
    arrays = random_arrays(rng, 10, 50, 5, finals=1.0)
    log_probs = random_log_probs(rng, 8, 5, impossible=0.0)
    log_priors = np.log(rng.dirichlet(np.ones(5)))
    costs = prior_costs(log_priors, 0.3, acoustic_scale=0.7)
    path = Decoder(to_graph(arrays), acoustic_scale=0.7, token_costs=costs, blank_penalty=0.2, **EXACT).decode(
        log_probs
    )
    divided = log_probs - 0.3 * log_priors.astype(np.float32)
    same = Decoder(to_graph(arrays), acoustic_scale=0.7, blank_penalty=0.2, **EXACT).decode(divided)
    assert path.cost == pytest.approx(same.cost, abs=1e-4)
    assert path.alignment.tolist() == same.alignment.tolist()
    for bad in (np.ones((2, 2)), [0.0, nan]):
        with pytest.raises(InputError, match="token costs"):
            Decoder(to_graph(arrays), token_costs=bad)


@pytest.mark.parametrize("max_active", [1, 5, 100])
def test_max_active_bounds_ties(max_active):
    states = 300
    arcs = [(0, 1, s, 0.0, s) for s in range(1, states)] + [(s, 1, 0, 0.0, s) for s in range(1, states)]
    graph = to_graph(make_arrays(0, dict.fromkeys(range(1, states), 0.0), states, arcs))
    decoder = Decoder(graph, max_active=max_active, min_active=0, lattice_beam=4.0)
    decoded = decoder.decode_lattice(np.zeros((4, 1), np.float32), max_arcs=10**5)
    assert decoded.path.labels == [1] and decoded.lattice.nbest(1)[0].labels == [1]
    assert len(list(decoded.lattice.readings())) == max_active


def test_contexts_of_one_state_are_found_in_constant_time():
    """A loop over many one-token words with the implicit topology: all tokens are at one state."""
    times = []
    for words in (500, 2000):
        loop = [(0, k + 2, k + 1, 3.0, 0) for k in range(words)]
        graph = to_graph(make_arrays(0, {0: 0.0}, 1, loop), implicit=True)
        log_probs = random_log_probs(np.random.default_rng(0), 5, words + 1, impossible=0.0) / 4
        start = time.process_time()
        Decoder(graph).decode(log_probs)
        times.append(time.process_time() - start)
    assert times[1] < 60 * times[0]  # 16 times as many candidates; a shared probe chain: 256 times


def test_a_large_search_gives_its_memory_back():
    states = 1_000_000
    arcs = np.zeros(states, ARC)
    arcs["ilabel"], arcs["next"] = 1, np.arange(states)
    graph = to_graph(Arrays(0, np.zeros(states, np.float32), np.zeros(states, np.int32), arcs))
    decoder = Decoder(graph, **EXACT)
    for _ in range(2):
        assert decoder.decode(np.zeros((1, 1), np.float32)).complete
    kept = resident_mb()
    del decoder
    assert kept < resident_mb() + 10


def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20
