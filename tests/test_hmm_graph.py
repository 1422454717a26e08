"""Graphs of HMMs in C++: equal to those of a slow reference, arc by arc and state by state."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from expand_reference import acceptor_of as acceptor_reference
from expand_reference import expand as expand_reference
from test_hmm import HMMS, each_hmm, language

from asr.errors import InputError
from asr.graph.automaton import Automaton
from asr.hmm.alignment import acceptor_of
from asr.hmm.graph import expand
from asr.tokens import Tokens

SPELLINGS = [[(["A"], 0.1), ((), 0.0)], [(["A", "B"], 0.2), (["B"], 0.7), (["A"], 0.7)], [(["B", "B", "A"], 0.0)]]


def assert_equal(found, expected):
    for name, column in vars(expected).items():
        np.testing.assert_array_equal(getattr(found, name), column, name)
        assert name == "start" or getattr(found, name).dtype == column.dtype


def drawn_graph(hmm, rng):
    """States and arcs at random, with loops, epsilons, words, several final states and states without arcs."""
    states, arcs = int(rng.integers(1, 9)), int(rng.integers(1, 30))
    start = int(rng.integers(0, states))
    source, target = rng.integers(0, states, (2, arcs))
    phone = rng.integers(0, len(hmm.phones), arcs)
    label = np.where(phone > 0, Tokens.label(0) + phone, 0)
    final = np.where(rng.random(states) < 0.5, rng.random(states), np.inf)
    source[0] = start
    return Automaton.from_arcs(start, final, source, label, rng.integers(0, 4, arcs), rng.random(arcs), target)


@each_hmm
def test_phones_are_replaced_as_by_the_reference(hmm):
    rng = np.random.default_rng(1)
    graphs = [drawn_graph(hmm, rng) for _ in range(40)]
    for graph in [*graphs, *graphs]:  # again, when all phones in context are known
        assert_equal(expand(graph, hmm), expand_reference(graph, hmm))


@each_hmm
def test_transcripts_are_those_of_the_reference(hmm):
    rng = np.random.default_rng(2)
    for size in (1, 1, 2, 3, 6):
        words = [SPELLINGS[k] for k in rng.integers(0, len(SPELLINGS), size)]
        found = acceptor_of(words, hmm)
        assert_equal(found, acceptor_reference(words, hmm))
        assert_equal(expand(found, hmm), expand_reference(found, hmm))
    if hmm.silence:
        assert_equal(acceptor_of([], hmm), acceptor_reference([], hmm))


def test_the_limit_counts_the_arcs_with_the_phones_around():
    hmm, graph = HMMS["tri"], language()
    most = next(n for n in range(100) if not refuses(expand_reference, graph, hmm, n))
    assert most > graph.num_arcs
    assert refuses(expand, graph, hmm, most - 1)
    assert_equal(expand(graph, hmm, most), expand_reference(graph, hmm))


def refuses(make, graph, hmm, most_arcs):
    try:
        make(graph, hmm, most_arcs)
    except InputError as e:
        assert f"more than {most_arcs} arcs" in str(e)
        return True
    return False


@pytest.mark.parametrize("name", ["mono", "tri"])
@pytest.mark.parametrize("label", [-1, 5, 1 << 30])
def test_labels_of_no_phone_are_refused(name, label):
    columns = (np.array([value]) for value in (0, label, 0, 0.0, 1))
    graph = Automaton.from_arcs(0, np.array([np.inf, 0.0]), *columns)
    with pytest.raises(InputError, match=f"the graph has the label {label}, and the HMMs have 3 phones"):
        expand(graph, HMMS[name])


def test_hmms_are_copied_without_what_they_remember():
    hmm = HMMS["tri"]
    expand(language(), hmm)
    assert_equal(expand(language(), pickle.loads(pickle.dumps(hmm))), expand(language(), hmm))


def test_threads_that_share_an_hmm_get_the_same_graphs():
    """Python runs on while a graph is built, and HMMs remember phones in context."""
    hmm = pickle.loads(pickle.dumps(HMMS["tri"]))
    rng = np.random.default_rng(3)
    graphs = [drawn_graph(hmm, rng) for _ in range(60)]
    expected = [expand_reference(graph, hmm) for graph in graphs]
    with ThreadPoolExecutor(4) as pool:
        for found, graph in zip(pool.map(lambda g: expand(g, hmm), graphs * 4), expected * 4, strict=True):
            assert_equal(found, graph)


@pytest.mark.parametrize("name", ["mono", "tri"])
def test_a_graph_without_states_stays_empty(name):
    empty = Automaton.from_arcs(0, np.zeros(0), *([np.zeros(0, int)] * 5))
    found = expand(empty, HMMS[name])
    assert found.num_arcs == 0 and len(found.final) <= 1
