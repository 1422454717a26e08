"""Sums over the paths of acceptors against enumeration, finite differences and log-domain arithmetic."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.criteria.acceptor import NO_LABEL, Acceptor
from asr.criteria.totals import log_totals
from asr.errors import InputError

INF = math.inf


def acceptor(arcs, start, final):
    """From (source, label, log weight, target) tuples."""
    columns = zip(*arcs, strict=True) if arcs else ([], [], [], [])
    kinds = (np.int64, np.int64, np.float64, np.int64)
    columns = [np.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    return Acceptor(*columns, np.array(start, float), np.array(final, float))


def paths(graph, frames):
    """The labels and log weight of each path with so many frames."""
    columns = (graph.source.tolist(), graph.label.tolist(), graph.log_weight.tolist(), graph.target.tolist())
    waiting = [(s, [], w) for s, w in enumerate(graph.start.tolist()) if w > -INF]
    for state, labels, weight in waiting:
        if len(labels) == frames and graph.final[state] > -INF:
            yield labels, weight + graph.final[state]
        for source, label, w, target in zip(*columns, strict=True):
            if source == state and w > -INF and (label == NO_LABEL or len(labels) < frames):
                waiting.append((target, labels + [label] * (label != NO_LABEL), weight + w))


def enumerated(x, graph):
    """The total of x (F, V), which autograd differentiates."""
    found = [x[range(len(labels)), labels].sum() + weight for labels, weight in paths(graph, len(x))]
    found = [value for value in found if value > -INF]
    return torch.stack(found).logsumexp(0) if found else (x.sum() * 0).nan_to_num() - INF


def summed(x, lengths, graphs):
    x = x.clone().requires_grad_()
    totals = log_totals(x, lengths, graphs)
    return totals.detach(), torch.autograd.grad((totals * torch.arange(1.0, len(totals) + 1)).sum(), x)[0]


@st.composite
def acceptors(draw, outputs=3, states=4):
    """Random ones; arcs without label lead to higher states."""
    weights = st.sampled_from([-INF, 0.0, -0.7, 1.5, -40.0, -300.0, -2000.0])
    arcs = []
    for _ in range(draw(st.integers(0, 9))):
        a, b = draw(st.integers(0, states - 1)), draw(st.integers(0, states - 1))
        label = draw(st.integers(NO_LABEL if a < b else 0, outputs - 1))
        arcs.append((a, label, draw(weights), b))
    return acceptor(arcs, [draw(weights) for _ in range(states)], [draw(weights) for _ in range(states)])


@settings(deadline=None, max_examples=60)
@given(acceptors(), st.integers(0, 3), st.integers(1, 10), st.integers(0, 2**31))
def test_equals_the_sum_over_all_paths(graph, frames, batch, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(frames, batch, 3, generator=generator, dtype=torch.float64) * 3
    x[torch.rand(x.shape, generator=generator) < 0.15] = -INF
    x[torch.rand(x.shape, generator=generator) < 0.1] -= 500
    lengths = torch.randint(0, frames + 1, (batch,), generator=generator)
    totals, grad = summed(x, lengths, graph)
    own = x.clone().requires_grad_()
    expected = torch.stack([enumerated(own[:n, k], graph) for k, n in enumerate(lengths.tolist())])
    torch.testing.assert_close(totals, expected.detach(), rtol=1e-12, atol=1e-12)
    weights = torch.where(expected.detach() > -INF, torch.arange(1.0, batch + 1), 0.0)
    (wanted,) = torch.autograd.grad((expected.nan_to_num(neginf=0.0) * weights).sum(), own, allow_unused=True)
    torch.testing.assert_close(
        grad, torch.zeros_like(x) if wanted is None else wanted.nan_to_num(), atol=1e-12, rtol=1e-9
    )
    each = summed(x, lengths, [graph] * batch)
    torch.testing.assert_close((totals, grad), each, rtol=1e-12, atol=1e-12)


def loop(labels=(0, 1)):
    return acceptor([(0, label, -0.5, 0) for label in labels], [0.0], [0.0])


def test_gradient_is_that_of_finite_differences():
    x = torch.randn(4, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    graph = acceptor([(0, 0, 0.0, 0), (0, 1, -1.0, 1), (1, 2, 0.3, 1), (1, NO_LABEL, 0.0, 2), (2, 0, -2.0, 0)],
                     [0.0, -INF, -1.0], [-INF, 0.0, -0.4])  # fmt: skip
    assert torch.autograd.gradcheck(lambda x: log_totals(x, [4, 2, 3], graph), x)
    assert torch.autograd.gradcheck(lambda x: log_totals(x, [4, 2, 3], [graph, loop(), graph]), x)


def test_there_is_no_second_derivative():
    x = torch.zeros(2, 1, 2, requires_grad=True)
    (grad,) = torch.autograd.grad(x.mean() * log_totals(x, [2], loop()).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_long_utterances_are_summed_in_blocks(monkeypatch):
    """Rows of 3000 frames with many states do not fit into memory at once and are computed twice."""
    size, frames = 400, 3000
    rng = np.random.default_rng(0)
    ring = np.arange(size)
    graph = Acceptor(
        np.concatenate([ring, ring]), np.concatenate([ring % 7, (ring + 1) % 7]), rng.normal(size=2 * size) - 1,
        np.concatenate([ring, (ring + 1) % size]), np.where(ring == 0, 0.0, -INF), np.zeros(size),
    )  # fmt: skip
    x = torch.from_numpy(rng.normal(size=(frames, 2, 7)))
    totals, grad = summed(x, [frames, frames // 2], graph)
    exact = summed(x, [frames, frames // 2], [graph] * 2)
    torch.testing.assert_close((totals, grad), exact, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(grad.sum(2)[:, 0], torch.ones(frames, dtype=torch.float64))


@pytest.mark.parametrize("gap", [1.0, 100.0, 700.0, 1e5])
def test_what_seems_lost_at_first_may_win_in_the_end(gap):
    """Two branches, of which the likely one is a dead end; and the same from the end to the beginning."""
    frames = 50
    arcs = [(0, 0, 0.0, 1), (1, 0, 0.0, 1), (0, 1, 0.0, 2), (2, 1, 0.0, 2)]
    graph = acceptor(arcs, [0.0, -INF, -INF], [-INF, -INF, 0.0])
    turned = acceptor([(b, label, w, a) for a, label, w, b in arcs], [-INF, -INF, 0.0], [0.0, -INF, -INF])
    x = torch.zeros(frames, 9, 2, dtype=torch.float64)
    x[:, :, 1] = -gap
    for way in (graph, turned):
        totals, grad = summed(x, [frames] * 9, way)
        torch.testing.assert_close(totals, torch.full((9,), -gap * frames, dtype=torch.float64))
        torch.testing.assert_close(grad[:, 0], torch.tensor([0.0, 1.0], dtype=torch.float64).expand(frames, 2))


def test_a_path_that_both_ends_seem_to_exclude():
    """Its beginning is far less likely than a dead end, its end than one that nothing leads to."""
    frames = 60
    arcs = [(0, 0, 0.0, 1), (1, 0, 0.0, 1), (0, 1, 0.0, 2), (2, 1, 0.0, 2), (3, 0, 0.0, 3)]
    graph = acceptor(arcs, [0.0, -INF, -INF, -INF], [-INF, -INF, 0.0, 0.0])
    x = torch.zeros(frames, 9, 2, dtype=torch.float64)
    x[:, :, 1] = -30.0
    totals, grad = summed(x, [frames] * 9, graph)
    torch.testing.assert_close(totals, torch.full((9,), -30.0 * frames, dtype=torch.float64))
    torch.testing.assert_close(grad[:, 0], torch.tensor([0.0, 1.0], dtype=torch.float64).expand(frames, 2))


def test_a_state_that_fades_away():
    """The first state of a long utterance, to which nothing leads back."""
    x = torch.randn(700, 9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    arcs = [(0, 0, -1.0, 0), (0, 1, -0.5, 1), (1, 1, -1.0, 1), (1, 2, -0.2, 2), (2, 1, -0.3, 1), (2, 0, -2.0, 2)]
    graph = acceptor(arcs, [0.0, -INF, -INF], [-1.0, -0.1, -0.5])
    lengths = [700, 650, 10, 0, 1, 699, 300, 200, 100]
    shared, each = summed(x, lengths, graph), summed(x, lengths, [graph] * 9)
    torch.testing.assert_close(shared, each, rtol=1e-11, atol=1e-11)


def test_results_do_not_depend_on_threads():
    x = torch.randn(30, 21, 4, generator=torch.Generator().manual_seed(1)) * 4
    x[3, 5] = -400.0 * torch.arange(4)
    graph = acceptor([(a, b, -0.3 * a, b) for a in range(4) for b in range(4)], [0.0, -INF, -INF, -1.0], [0.0] * 4)
    lengths = torch.arange(21) + 10
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append((summed(x, lengths, graph), summed(x, lengths, [graph] * 21)))
    finally:
        torch.set_num_threads(before)
    for shared, each in results[1:]:
        assert all(map(torch.equal, shared + each, results[0][0] + results[0][1]))


def test_nan_and_numbers_above_the_limit_are_told():
    x = torch.zeros(3, 4, 3)
    x[1, 0, 1], x[2, 1, 0], x[1, 2, 2] = math.nan, 1001.0, math.nan  # the last is no label of the acceptor
    totals, grad = summed(x, [3, 3, 3, 2], loop())
    assert totals.isnan().tolist() == [True, True, False, False]
    assert grad[:, :2].isnan().all() and grad[:, 2:].isfinite().all()
    x[2, 3] = math.nan  # after the end
    assert summed(x, [3, 3, 3, 2], loop())[0][3].isfinite()


def test_confident_outputs_lose_no_digits():
    """A probability of 1 - 1e-12 in each frame: the loss is 1e-12 per frame, not 0."""
    rest = 1e-12
    x = torch.tensor([math.log1p(-rest), math.log(rest)], dtype=torch.float64).expand(100, 1, 2)
    graph = acceptor([(0, 0, 0.0, 0)], [0.0], [0.0])
    assert log_totals(x, [100], graph).item() == pytest.approx(-100 * rest, rel=1e-3)


def test_no_utterances_no_frames_no_states():
    assert log_totals(torch.zeros(3, 0, 2), [], loop()).shape == (0,)
    assert log_totals(torch.zeros(0, 2, 2), [0, 0], loop()).tolist() == [0.0, 0.0]
    nothing = acceptor([], [], [])
    assert log_totals(torch.zeros(2, 1, 2), [2], nothing).tolist() == [-INF]
    assert log_totals(torch.zeros(0, 1, 2), [0], nothing).tolist() == [-INF]


def test_faults_are_named():
    x = torch.zeros(3, 2, 3)
    circle = acceptor([(0, NO_LABEL, 0.0, 1), (1, NO_LABEL, 0.0, 0)], [0.0, 0.0], [0.0, 0.0])
    for arguments, sentence in [
        ((x[0], [1, 1], loop()), "expected floating point"),
        ((x, [4, 1], loop()), "expected 0 to 3"),
        ((x, [1, 1], [loop()]), "1 acceptors for 2 utterances"),
        ((x, [1, 1], loop([0, 5])), "the label 5, but x has 3 outputs"),
        ((x, [1, 1], circle), "form a circle"),
    ]:
        with pytest.raises(InputError, match=sentence):
            log_totals(*arguments)
    for arcs, start, sentence in [
        ([(0, 0, math.nan, 0)], [0.0], "weight"),
        ([(0, 0, INF, 0)], [0.0], "weight"),
        ([(0, 0, 0.0, 0)], [math.nan], "weight"),
        ([(0, 0, 0.0, 1)], [0.0], "state"),
        ([(0, -2, 0.0, 0)], [0.0], "label"),
    ]:
        with pytest.raises(InputError, match=sentence):
            acceptor(arcs, start, [0.0])


def test_weights_of_silent_circles_are_not_needed():
    """Arcs of weight zero do not count."""
    graph = acceptor([(0, NO_LABEL, -INF, 1), (1, NO_LABEL, 0.0, 0), (0, 0, 0.0, 1)], [0.0, -INF], [0.0, -INF])
    assert log_totals(torch.zeros(2, 1, 1), [2], graph).tolist() == [0.0]
    assert list(itertools.chain(*(labels for labels, _ in paths(graph, 2)))) == [0, 0]
