"""Packed graphs have the states and arcs of the Fst, in the order that the search needs."""

from math import inf, nan

import numpy as np
import pytest
import pywrapfst
from random_graphs import make_arrays, random_arrays

from asr.errors import InputError
from asr.graph.arrays import ARC
from asr.graph.const_fst import from_openfst, to_openfst
from asr.graph.opened import Graph
from asr.graph.pack import HEADER, STATE, pack, to_bytes, unpack


def random_fst(seed: int) -> pywrapfst.VectorFst:
    rng = np.random.default_rng(seed)
    arrays = random_arrays(rng, 30, 200, 6, pushed=True)
    fst = pywrapfst.VectorFst()
    fst.add_states(30)
    for source, arc in zip(arrays.sources, arrays.arcs, strict=True):
        fst.add_arc(int(source), pywrapfst.Arc(int(arc["ilabel"]), int(arc["olabel"]), float(arc["cost"]), arc["next"]))
    for state in np.flatnonzero(np.isfinite(arrays.final_costs)):
        fst.set_final(int(state), float(arrays.final_costs[state]))
    fst.set_start(arrays.start)
    return fst


def arcs_of(fst, state):
    arcs = [(arc.ilabel, arc.olabel, float(arc.weight), arc.nextstate) for arc in fst.arcs(state)]
    return [arc for arc in sorted(arcs, key=lambda arc: arc[0]) if arc[0]] + [arc for arc in arcs if not arc[0]]


@pytest.mark.parametrize("kind", ["vector", "const"])
def test_states_and_arcs_are_complete_and_ordered(tmp_path, kind):
    for seed in range(5):
        fst = random_fst(seed)
        pack(pywrapfst.convert(fst, kind), tmp_path / "graph.bin")
        start, final_costs, sources, arcs = unpack(tmp_path / "graph.bin")
        assert start == fst.start()
        for state in fst.states():
            assert final_costs[state] == pytest.approx(float(fst.final(state)))
            packed = [tuple(arc) for arc in arcs[sources == state].tolist()]
            expected = arcs_of(fst, state)
            assert [(i, o, n) for i, o, _, n in packed] == [(i, o, n) for i, o, _, n in expected]
            assert [arc[2] for arc in packed] == pytest.approx([arc[2] for arc in expected], abs=1e-5)


def test_arrays_survive_openfst():
    arrays = random_arrays(np.random.default_rng(4), 30, 200, 6, pushed=True)
    start, final_costs, sources, arcs = from_openfst(to_openfst(arrays))
    assert start == arrays.start
    assert np.array_equal(final_costs, arrays.final_costs)
    assert np.array_equal(sources, arrays.sources) and np.array_equal(arcs, arrays.arcs)


def test_layout(tmp_path):
    fst = random_fst(9)
    pack(fst, tmp_path / "graph.bin")
    assert (HEADER.itemsize, STATE.itemsize, ARC.itemsize) == (64, 16, 16)
    assert (tmp_path / "graph.bin").stat().st_size == 64 + 16 * 30 + 16 * 200
    graph = Graph.open(tmp_path / "graph.bin")
    arcs = [arc for state in fst.states() for arc in fst.arcs(state)]
    assert (graph.num_states, graph.num_arcs) == (30, 200)
    assert graph.max_ilabel == max(arc.ilabel for arc in arcs)
    assert graph.max_olabel == max(arc.olabel for arc in arcs)


def test_symbol_tables_are_removed():
    fst = random_fst(1)
    bare = from_openfst(fst)
    table = pywrapfst.SymbolTable()
    table.add_symbol("<eps>")
    table.add_symbol("a")
    fst.set_input_symbols(table)
    fst.set_output_symbols(table)
    named = from_openfst(fst)
    assert fst.input_symbols() is not None
    assert np.array_equal(named.arcs, bare.arcs) and np.array_equal(named.final_costs, bare.final_costs)


def test_a_state_without_arcs(tmp_path):
    fst = pywrapfst.VectorFst()
    fst.add_states(1)
    fst.set_start(0)
    fst.set_final(0)
    pack(fst, tmp_path / "graph.bin")
    graph = Graph.open(tmp_path / "graph.bin")
    assert (graph.num_states, graph.num_arcs, graph.max_ilabel) == (1, 0, 0)


@pytest.mark.parametrize(
    ("arc", "final", "message"),
    [
        ((-2, 1, 0.5, 1), 0.0, "state 0 .*labels must not be negative"),
        ((1, -3, 0.5, 1), 0.0, "state 0 .*labels must not be negative"),
        ((2**30 + 1, 1, 0.5, 1), 0.0, "state 0 .*at most 2\\^30"),
        ((1, 1, inf, 1), 0.0, "state 0 .*costs finite"),
        ((1, 1, nan, 1), 0.0, "state 0 .*costs finite"),
        ((1, 1, 0.5, 2), 0.0, "state 0 .*next state must exist"),
        ((1, 1, 0.5, 1), nan, "state 1 .*final cost"),
        ((1, 1, 0.5, 1), -inf, "state 1 .*final cost"),
    ],
)
def test_graphs_that_cannot_be_searched_are_refused(arc, final, message):
    with pytest.raises(InputError, match=message):
        to_bytes(make_arrays(0, {1: final}, 2, [(0, *arc)]))


def test_nothing_is_written_for_a_refused_graph(tmp_path):
    fst = pywrapfst.VectorFst()
    fst.add_states(1)
    fst.set_start(0)
    fst.add_arc(0, pywrapfst.Arc(-2, 1, 0.5, 0))
    with pytest.raises(InputError, match="labels must not be negative"):
        pack(fst, tmp_path / "graph.bin")
    assert not list(tmp_path.iterdir())


def test_empty_and_foreign_fsts_are_refused(tmp_path):
    with pytest.raises(InputError, match="no start state"):
        pack(pywrapfst.VectorFst(), tmp_path / "graph.bin")
    with pytest.raises(InputError, match="arcs of type 'log'"):
        pack(pywrapfst.arcmap(random_fst(2), map_type="to_log"), tmp_path / "graph.bin")
