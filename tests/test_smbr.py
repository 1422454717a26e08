"""The expected frame errors of sMBR and their gradient against the enumeration of all paths, over drawn lattices and
over those of the search."""

import itertools
import math

import numpy as np
import pytest
import tiny
import torch

from asr.config import DecoderConfig
from asr.criteria.smbr import LabelLattice, expected_frame_errors
from asr.graph.opened import Graph
from asr.search.nbest import TrainingSearch
from asr.search.space import SearchSpace
from asr.text.lexicon import Lexicon

OUTPUTS = 4


def draw_lattice(frames, rng):
    """States at drawn frames, each frame passed by some arc, also arcs without a label."""
    at = np.sort(rng.integers(0, frames + 1, 4)).tolist()
    at = [0, *at, frames]
    pairs = [(s, t) for s, t in itertools.combinations(range(len(at)), 2) if t == s + 1 or rng.random() < 0.4]
    pairs += [pairs[0]]  # two arcs between the same states
    pairs.sort()
    sizes = np.array([at[t] - at[s] for s, t in pairs])
    source, target = (np.array(column) for column in zip(*pairs, strict=True))
    labels = rng.integers(0, OUTPUTS, sizes.sum())
    return LabelLattice(len(at), source, target, rng.exponential(1, len(pairs)), np.array(at)[source], sizes.cumsum(),
                        labels)  # fmt: skip


def paths_of(lattice, state=0):
    """The labels and the cost of each path from a state to the last."""
    if state == lattice.num_states - 1:
        yield (), 0.0
    for arc in np.flatnonzero(lattice.source == state):
        first = lattice.ends[arc - 1] if arc else 0
        own = tuple(lattice.labels[first : lattice.ends[arc]].tolist())
        for labels, cost in paths_of(lattice, lattice.target[arc]):
            yield own + labels, lattice.cost[arc] + cost


def enumerated(x, paths, reference, scale):
    """The expected errors for x (F, V): differentiable."""
    scores = torch.stack([scale * sum(x[f, v] for f, v in enumerate(labels)) - cost for labels, cost in paths])
    wrong = [sum(v != r for v, r in zip(labels, reference, strict=True)) for labels, _ in paths]
    return (scores.softmax(0) * scores.new_tensor(wrong)).sum()


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_enumeration_of_all_paths(seed):
    rng = np.random.default_rng(seed)
    frames, scale = int(rng.integers(2, 7)), 0.6
    lattice, reference = draw_lattice(frames, rng), rng.integers(0, OUTPUTS, frames)
    x = torch.from_numpy(rng.normal(size=(frames, 2, OUTPUTS))).requires_grad_()
    found = expected_frame_errors(x, [lattice, None], [reference, reference], scale)
    wanted = enumerated(x[:, 0], list(paths_of(lattice)), reference, scale)
    torch.testing.assert_close(found, torch.stack([wanted, torch.zeros_like(wanted)]))
    gradient = torch.autograd.grad(2 * found.sum(), x)[0]
    torch.testing.assert_close(gradient, torch.autograd.grad(2 * wanted, x)[0])
    assert gradient.abs().max() > 1e-3
    assert torch.autograd.gradcheck(lambda x: expected_frame_errors(x, [lattice] * 2, [reference] * 2, scale), x)


def test_an_impossible_path_has_no_share():
    """Outputs of probability zero, on all arcs into a state and on some."""
    rng = np.random.default_rng(7)
    lattice, reference = draw_lattice(5, rng), rng.integers(0, OUTPUTS, 5)
    x = torch.from_numpy(rng.normal(size=(5, 1, OUTPUTS)))
    possible = [labels for labels, _ in paths_of(lattice)]
    kept = possible[0]
    for f in range(5):
        x[f, 0, [v for v in range(OUTPUTS) if v != kept[f]]] = -math.inf
    x.requires_grad_()
    found = expected_frame_errors(x, [lattice], [reference], 1.0)
    assert found.item() == sum(v != r for v, r in zip(kept, reference, strict=True))
    assert not torch.autograd.grad(found.sum(), x)[0].any()


def test_a_sure_net_has_the_errors_of_its_path():
    lattice = draw_lattice(4, np.random.default_rng(0))
    best = next(labels for labels, _ in paths_of(lattice))
    x = torch.full((4, 1, OUTPUTS), -1e4)
    x[range(4), 0, list(best)] = 0.0
    found = expected_frame_errors(x.requires_grad_(), [lattice], [np.array([*best[:3], (best[3] + 1) % OUTPUTS])], 1.0)
    assert found.item() == pytest.approx(1) and torch.autograd.grad(found.sum(), x)[0].abs().max() < 1e-6


def test_the_lattice_is_that_of_the_search(tmp_path):
    """All word sequences of three frames, each on its best path, with the costs of the graph."""
    folder = tiny.graph_dir(tmp_path / "graph")
    space = SearchSpace(Graph.open(folder / "graph.bin"), ["<eps>", "a", "b"], Lexicon.read(folder / "lexicon.txt"))
    search = TrainingSearch(DecoderConfig(beam=50.0, lattice_beam=40.0, word_penalty=0.3, blank_penalty=-0.7), space)
    x = torch.randn(3, 1, OUTPUTS, generator=torch.Generator().manual_seed(5), dtype=torch.float64).log_softmax(2)
    best: dict[tuple[int, ...], tuple[float, tuple[int, ...]]] = {}
    for labels in itertools.product((0, 2, 3), repeat=3):
        words = tuple(k for k, _ in itertools.groupby(labels) if k)
        score = float(sum(x[f, 0, v] for f, v in enumerate(labels))) + 0.7 * labels.count(0)
        best[words] = max(best.get(words, (-math.inf, ())), (score, labels))
    paths = [(labels, 0.3 * len(words) - 0.7 * labels.count(0)) for words, (_, labels) in best.items()]
    lattice = search.lattice(x[:, 0].float().numpy())
    assert {labels: cost for labels, cost in paths_of(lattice)} == pytest.approx(dict(paths), abs=1e-5)
    reference = np.array([2, 0, 3])
    found = expected_frame_errors(x, [lattice], [reference], 1.0).item()
    assert found == pytest.approx(enumerated(x[:, 0], paths, reference, 1.0).item(), abs=1e-5)


def test_what_cannot_be_searched_has_no_lattice(tmp_path):
    folder = tiny.graph_dir(tmp_path / "graph")
    space = SearchSpace(Graph.open(folder / "graph.bin"), ["<eps>", "a", "b"], Lexicon.read(folder / "lexicon.txt"))
    search = TrainingSearch(DecoderConfig(), space)
    lost = np.zeros((3, OUTPUTS), np.float32)
    lost[1, 2] = np.nan
    assert search.lattice(lost) is None and search.nbest(lost, 2) == []
