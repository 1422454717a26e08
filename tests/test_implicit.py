"""The search with the implicit CTC topology over LG equals the search over HLG."""

import numpy as np
import pytest
from random_graphs import (
    EXACT,
    make_arrays,
    random_arrays,
    random_log_probs,
    to_bytes,
    to_graph,
    without_epsilon_cycles,
)

from asr.errors import InputError
from asr.graph.automaton import Automaton
from asr.graph.opened import Graph
from asr.graph.topology import apply_topology
from asr.search.decoder import Decoder
from asr.search.phrases import Phrases


def random_pair(rng, with_arrays=False):
    """A random LG, its HLG, the number of tokens and, if asked for, the arrays of the HLG."""
    num_tokens = 4
    arrays = without_epsilon_cycles(random_arrays(rng, rng.integers(2, 6), rng.integers(4, 14), num_tokens))
    arrays.arcs["ilabel"][arrays.arcs["ilabel"] == 1] = 2  # LG has no blank
    arrays.arcs["olabel"] %= 4
    start, final, source, arcs = arrays
    lg = Automaton.from_arcs(start, final, source, arcs["ilabel"], arcs["olabel"], arcs["cost"], arcs["next"])
    hlg = apply_topology(lg, num_tokens).arrays()
    pair = to_graph(lg.arrays(), implicit=True), to_graph(hlg), num_tokens
    return (*pair, hlg) if with_arrays else pair


@pytest.mark.parametrize("boosted", [False, True])
def test_equals_the_explicit_topology(boosted):
    rng = np.random.default_rng(1)
    num_complete = 0
    for _ in range(150):
        lg, hlg, num_tokens = random_pair(rng)
        log_probs = random_log_probs(rng, rng.integers(0, 8), num_tokens)
        options = {"acoustic_scale": 0.8, "blank_penalty": 0.2, "word_penalty": -0.1}
        phrases = Phrases([([1, 2], 2.0), ([3], 1.0), ([2, 2, 1], 3.0)], 99) if boosted else None
        explicit = Decoder(hlg, lattice_beam=5.0, **options, **EXACT).decode_lattice(log_probs, phrases)
        implicit = Decoder(lg, lattice_beam=5.0, **options, **EXACT).decode_lattice(log_probs, phrases)
        if not explicit.path.complete:
            continue
        num_complete += 1
        assert implicit.path.complete
        assert implicit.path.cost == pytest.approx(explicit.path.cost, abs=1e-3)
        best = explicit.path.cost
        want = {tuple(r.labels): r.cost for r in explicit.lattice.readings() if r.cost < best + 4.99}
        found = {tuple(r.labels): r.cost for r in implicit.lattice.readings()}
        for words, cost in want.items():
            assert found[words] == pytest.approx(cost, abs=1e-3)
        for reading in implicit.lattice.readings():
            frame_costs = -0.8 * log_probs[range(len(log_probs)), reading.alignment] + 0.2 * (reading.alignment == 0)
            assert reading.acoustic_cost == pytest.approx(frame_costs.sum(), abs=1e-3)
    assert num_complete > 50


def test_equal_tokens_need_a_blank_between():
    lg = to_graph(make_arrays(0, {2: 0.0}, 3, [(0, 2, 7, 0.0, 1), (1, 2, 8, 0.0, 2)]), implicit=True)
    decoder = Decoder(lg, **EXACT)
    likely = np.log(np.array([[0.1, 0.9]] * 3, np.float32))
    path = decoder.decode(likely)
    assert path.labels == [7, 8]
    assert path.alignment.tolist() == [1, 0, 1]
    assert not decoder.decode(likely[:2]).complete


def test_blanks_in_an_implicit_graph_are_refused():
    with pytest.raises(InputError, match="pack LG, not HLG"):
        to_graph(make_arrays(0, {0: 0.0}, 1, [(0, 1, 0, 0.0, 0)]), implicit=True)
    whole = bytearray(to_bytes(make_arrays(0, {0: 0.0}, 1, [(0, 1, 0, 0.0, 0)])))
    whole[40] = 1  # is_implicit
    with pytest.raises(InputError, match="out of place"):
        Graph.from_bytes(whole)


def test_streams_equal_whole_utterances():
    rng = np.random.default_rng(2)
    lg, _, num_tokens = random_pair(rng)
    log_probs = random_log_probs(rng, 40, num_tokens, impossible=0)
    decoder = Decoder(lg, beam=6.0)
    stream = decoder.stream()
    for begin in range(0, 40, 3):
        stream.accept(log_probs[begin : begin + 3])
    path, whole = stream.finish(), decoder.decode(log_probs)
    assert (path.labels, path.cost, path.alignment.tolist()) == (whole.labels, whole.cost, whole.alignment.tolist())


def test_an_implicit_graph_needs_a_blank():
    graph = to_graph(make_arrays(0, {0: 0.0}, 1, []), implicit=True)
    with pytest.raises(InputError, match="0 tokens and the graph uses 1"):
        Decoder(graph).decode(np.zeros((2, 0), np.float32))
