"""Mixtures, tallies, questions and trees, against slow references and exhaustive search."""

import itertools
import math

import numpy as np
import pytest
import torch

from asr.hmm import mixtures
from asr.hmm.mixtures import Mixture
from asr.hmm.model import Split
from asr.hmm.questions import find_questions
from asr.hmm.tallies import ContextTally, log_likelihood, tally
from asr.hmm.tree import best_split, grow
from asr.models.mixtures import BySize, MixtureOutput, log_sums

FLOOR = np.full(2, 1e-3)


def frames(count=200, dim=2, seed=0):
    rng = torch.Generator().manual_seed(seed)
    centres = torch.tensor([[-2.0, 0.0], [1.0, 1.0], [3.0, -2.0]])[:, :dim]
    return centres[torch.arange(count) % 3] + 0.5 * torch.randn(count, dim, generator=rng)


def density(x, mean, variance):
    return math.prod(
        math.exp(-((a - m) ** 2) / (2 * v)) / math.sqrt(2 * math.pi * v)
        for a, m, v in zip(x, mean, variance, strict=True)
    )


def slow_step(mixture, x):
    """Expectation maximisation, formula by formula."""
    weights, means, variances = mixture.weights.tolist(), mixture.means.tolist(), mixture.variances.tolist()
    size, dim = len(weights), len(means[0])
    shares, rows = [], x.tolist()
    for frame in rows:
        joint = [w * density(frame, m, v) for w, m, v in zip(weights, means, variances, strict=True)]
        shares.append([p / sum(joint) for p in joint])
    assert all(sum(row) == pytest.approx(1) for row in shares)
    counts = [sum(row[k] for row in shares) for k in range(size)]
    assert sum(counts) == pytest.approx(len(x))
    mean = [
        [sum(r[k] * f[d] for r, f in zip(shares, rows, strict=True)) / counts[k] for d in range(dim)]
        for k in range(size)
    ]
    variance = [
        [
            sum(r[k] * (f[d] - mean[k][d]) ** 2 for r, f in zip(shares, rows, strict=True)) / counts[k]
            for d in range(dim)
        ]
        for k in range(size)
    ]
    return [c / len(x) for c in counts], mean, variance


def test_a_step_is_that_of_the_formulas():
    x, floor = frames(60), torch.full((2,), 1e-6, dtype=torch.float64)
    mixture = Mixture.single(x, floor).split(3)
    found = mixture.reestimated(x, floor)
    weights, means, variances = slow_step(mixture, x)
    np.testing.assert_allclose(found.weights, weights, rtol=1e-6)
    np.testing.assert_allclose(found.means, means, rtol=1e-5)
    np.testing.assert_allclose(found.variances, variances, rtol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_the_likelihood_never_falls(seed):
    x, floor = frames(150, seed=seed), torch.full((2,), 1e-6, dtype=torch.float64)
    mixture = Mixture.single(x, floor)
    before = mixture.log_likelihood(x)
    single = torch.distributions.Normal(x.double().mean(0), x.double().std(0, correction=0))
    assert before == pytest.approx(float(single.log_prob(x.double()).sum()))
    mixture = mixture.split(4)
    for _ in range(20):
        after = mixture.log_likelihood(x)
        mixture = mixture.reestimated(x, floor, fewest=0)
        assert mixture.log_likelihood(x) >= after - 1e-9
        assert float(mixture.weights.sum()) == pytest.approx(1)
    assert mixture.log_likelihood(x) > before + 50  # the frames have three centres


def test_variances_have_a_floor_and_rare_gaussians_are_dropped():
    x = torch.cat([torch.zeros(50, 2), torch.full((1, 2), 9.0)])
    floor = torch.full((2,), 0.01, dtype=torch.float64)
    mixture = Mixture(
        torch.tensor([0.5, 0.5]).double(), torch.tensor([[0.0, 0], [9, 9]]).double(), torch.ones(2, 2).double()
    )
    found = mixture.reestimated(x, floor)
    assert len(found) == 1
    assert found.variances.tolist() == [[0.01, 0.01]]
    assert len(Mixture.single(x[:1], floor).reestimated(x[:1], floor)) == 1


def test_gaussians_are_shared_out_by_a_power_of_the_frames():
    shares = [16_000**0.25, 1_000**0.25, 30**0.25, 0.0]
    found = mixtures.sizes(torch.tensor([16_000, 1_000, 30, 0]), 30)
    assert found[:2] == [round(30 * share / sum(shares)) for share in shares[:2]]
    assert found[2:] == [1, 1]  # 30 frames are enough for one Gaussian


def test_the_output_layer_gives_posteriors_and_none_to_the_blank():
    x = frames(30)
    floor = mixtures.variance_floor(x)
    found = {1: Mixture.single(x[::3], floor), 2: Mixture.single(x[1::3], floor).split(3)}
    layer = mixtures.to_output(found, 3, scale=0.5)
    log_probs = layer(x[None])[0]
    assert torch.isneginf(log_probs[:, 0]).all()
    torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(30))
    own = torch.stack([m.log_densities(x.double()).logsumexp(1) for m in found.values()], 1)
    torch.testing.assert_close(log_probs[:, 1:].double(), (0.5 * own).log_softmax(1), atol=1e-4, rtol=1e-4)
    assert MixtureOutput(2, 3, 1)(x[None, :0]).shape == (1, 0, 3)


def test_tallies_give_the_likelihood_of_their_gaussian():
    x = frames(40).double()
    single = torch.distributions.Normal(x.mean(0), x.std(0, correction=0))
    parts = np.stack([tally(x[:10].numpy()), tally(x[10:].numpy())])
    assert log_likelihood(parts.sum(0), FLOOR) == pytest.approx(float(single.log_prob(x).sum()))
    assert log_likelihood(np.zeros(5), FLOOR) == 0


def random_tallies(shape, seed):
    rng = np.random.default_rng(seed)
    made = [
        tally(rng.normal(rng.normal(0, 2, 2), rng.uniform(0.5, 2, 2), (rng.integers(20, 90), 2)))
        for _ in range(math.prod(shape))
    ]
    return np.stack(made).reshape(*shape, 5)


def test_questions_merge_the_pair_that_loses_least():
    states = random_tallies((6, 2), seed=1)
    sets = {frozenset([p + 1]): states[p] for p in range(6)}
    expected = list(sets)

    def loss(pair):
        parts = [log_likelihood(sets[s], FLOOR).sum() for s in pair]
        return sum(parts) - log_likelihood(sets[pair[0]] + sets[pair[1]], FLOOR).sum()

    while len(sets) > 2:
        pair = min(itertools.combinations(sets, 2), key=loss)
        merged = sets.pop(pair[0]) + sets.pop(pair[1])
        sets[pair[0] | pair[1]] = merged
        expected.append(pair[0] | pair[1])
    assert find_questions({p + 1: states[p] for p in range(6)}, FLOOR) == expected


def context_tally(seed, phones=5):
    contexts = np.array(list(itertools.product(range(phones), repeat=2)))
    chosen = np.random.default_rng(seed).permutation(len(contexts))[: len(contexts) * 2 // 3]
    return ContextTally(contexts[chosen], random_tallies((len(chosen),), seed))


QUESTIONS = [frozenset(q) for size in (1, 2) for q in itertools.combinations(range(5), size)]


def slow_gain(frames, side, phones, fewest):
    yes = np.array([context[side] in phones for context in frames.contexts.tolist()])
    parts = [frames.tallies[yes].sum(0), frames.tallies[~yes].sum(0)]
    if min(part[0] for part in parts) < fewest:
        return -math.inf
    return sum(float(log_likelihood(p, FLOOR)) for p in parts) - float(log_likelihood(frames.total, FLOOR))


@pytest.mark.parametrize("seed", range(5))
def test_the_best_split_is_that_of_an_exhaustive_search(seed):
    frames = context_tally(seed)
    asked = np.array([[float(p in q) for p in range(5)] for q in QUESTIONS])
    found = best_split(frames, asked, FLOOR, fewest=200)
    gains = {(side, q): slow_gain(frames, side, q, 200) for side in (0, 1) for q in QUESTIONS}
    best = max(gains, key=gains.__getitem__)
    assert (found.side, QUESTIONS[found.question]) == best
    assert found.gain == pytest.approx(gains[best])
    assert best_split(frames, asked, FLOOR, fewest=1e6) is None


def members(node, frames):
    """The leaves of a tree: the contexts that fall into each."""
    if not isinstance(node, Split):
        return [frames]
    yes = np.array([context[node.side] in node.phones for context in frames.contexts.tolist()], bool)
    return members(node.yes, frames.where(yes)) + members(node.no, frames.where(~yes))


def test_a_tree_splits_the_leaf_that_gains_most():
    roots = [context_tally(seed) for seed in (7, 8)]
    for leaves in range(2, 9):
        trees = grow(roots, QUESTIONS, 5, leaves, FLOOR, fewest=50, least_gain=1.0)
        found = [part for tree, frames in zip(trees, roots, strict=True) for part in members(tree, frames)]
        assert len(found) == leaves
        parts = list(roots)
        for _ in range(leaves - 2):  # the same by exhaustive search
            choices = [
                (slow_gain(part, side, q, 50), n, side, q)
                for n, part in enumerate(parts) for side in (0, 1) for q in QUESTIONS
            ]  # fmt: skip
            _, n, side, q = max(choices, key=lambda choice: choice[0])
            yes = np.array([context[side] in q for context in parts[n].contexts.tolist()])
            parts[n : n + 1] = [parts[n].where(yes), parts[n].where(~yes)]
        assert sorted(part.total[0] for part in found) == sorted(part.total[0] for part in parts)
        total = sum(float(log_likelihood(part.total, FLOOR)) for part in found)
        assert total == pytest.approx(sum(float(log_likelihood(part.total, FLOOR)) for part in parts))


def test_a_tree_stops_where_nothing_is_gained():
    frames = context_tally(3)
    assert grow([frames], QUESTIONS, 5, 100, FLOOR, fewest=50, least_gain=1e9) == [0]
    assert grow([frames], QUESTIONS, 5, 1, FLOOR) == [0]


def test_scores_of_mixtures_of_any_sizes_equal_a_slow_reference():
    """Empty, equal and unsorted sizes, more frames than a block, with and without gradients."""
    generator = torch.Generator().manual_seed(4)
    for sizes in ([3, 0, 1, 3, 2], [0, 0], [1], [5, 5, 5], [2, 7, 0, 4]):
        has = torch.arange(max(sizes, default=0) or 1) < torch.tensor(sizes)[:, None]  # (V, K)
        weights = torch.rand(has.shape, generator=generator).log().masked_fill(~has, -math.inf)
        means = torch.randn((*has.shape, 4), generator=generator)
        variances = 0.5 + torch.rand((*has.shape, 4), generator=generator)
        x = torch.randn(700, 4, generator=generator)
        log_density = -0.5 * (
            (2 * math.pi * variances).log() + (x.double()[:, None, None] - means).square() / variances
        ).sum(-1)
        expected = (weights.double() + log_density).logsumexp(2).T  # (V, F)
        scorer = BySize.of(weights, means, variances)
        for gradients in (False, True):
            with torch.set_grad_enabled(gradients):
                found = scorer.log_likelihoods(x.clone().requires_grad_(gradients))
            torch.testing.assert_close(found.detach().double(), expected, rtol=1e-4, atol=1e-4)


def test_sums_of_far_apart_numbers_are_exact():
    """Beside the largest, the others are lost in float32, however small they are."""
    generator = torch.Generator().manual_seed(5)
    for spread in (1.0, 50.0, 90.0, 1000.0):
        x = spread * torch.randn(30, 4, 200, generator=generator)
        expected = x.double().logsumexp(1)
        with torch.no_grad():
            torch.testing.assert_close(log_sums(x.clone()).double(), expected, rtol=1e-6, atol=1e-6)
