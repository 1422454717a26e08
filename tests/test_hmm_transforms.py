"""LDA, MLLT and fMLLR against a plain eigen-solution and numerical optimisation."""

import numpy as np
import pytest
import torch

from asr.hmm.transforms import climb, lda, objective

RANDOM = np.random.default_rng(0)


def test_lda_is_the_generalised_eigen_solution():
    labels = RANDOM.integers(0, 5, 400)
    mixing = RANDOM.normal(size=(6, 6))
    x = (RANDOM.normal(size=(5, 6))[labels] + RANDOM.normal(size=(400, 6))) @ mixing
    counts = np.bincount(labels).astype(float)
    sums = np.stack([x[labels == c].sum(0) for c in range(5)])
    found = lda(*map(torch.from_numpy, (counts, sums, x.T @ x)), dim=3).numpy()
    between = sum(n * np.outer(d, d) for n, d in zip(counts, sums / counts[:, None] - x.mean(0), strict=True)) / 400
    within = sum(np.cov(x[labels == c].T, bias=True) * n for c, n in enumerate(counts)) / 400
    values, vectors = np.linalg.eig(np.linalg.inv(within) @ between)
    expected = vectors.T[np.argsort(-values)][:3]
    expected /= np.sqrt(np.einsum("pd,de,pe->p", expected, within, expected))[:, None]
    np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found @ within @ found.T, np.eye(3), atol=1e-9)


def test_lda_leaves_out_what_never_changes():
    labels = np.repeat([0, 1, 2], 50)
    x = np.column_stack([labels + 0.1 * RANDOM.normal(size=150), RANDOM.normal(size=150), np.full(150, 7.0)])
    x = np.column_stack([x, x[:, 0] + x[:, 1]])  # a direction that the others determine
    sums = np.stack([x[labels == c].sum(0) for c in range(3)])
    found = lda(torch.full((3,), 50.0).double(), *map(torch.from_numpy, (sums, x.T @ x)), dim=1)[0].numpy()
    assert np.isfinite(found).all()
    assert abs(np.corrcoef(x @ found, labels)[0, 1]) > 0.99


def statistics(dim, shift, seed):
    """g, k and count of random frames and Gaussians."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(60, dim)) @ rng.normal(size=(dim, dim))
    precision, target = rng.uniform(0.5, 3, (60, dim)), rng.normal(size=(60, dim))
    extended = np.column_stack([x, np.ones(60)]) if shift else x
    g = np.einsum("fd,fe,fg->deg", precision, extended, extended)
    k = np.einsum("fd,fd,fe->de", precision, target, extended) * shift
    return torch.from_numpy(g), torch.from_numpy(k), 60.0


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("seed", range(3))
def test_rows_climb_to_the_maximum(shift, seed):
    g, k, count = statistics(3, shift, seed)
    start = torch.eye(3, 3 + shift, dtype=torch.float64)
    values = [objective(climb(start, g, k, count, sweeps), g, k, count) for sweeps in range(6)]
    assert all(after >= before - 1e-9 for before, after in zip(values, values[1:], strict=False))
    found = climb(start, g, k, count, 200)

    w = (found + 0.2 * torch.randn(found.shape, generator=torch.Generator().manual_seed(seed))).requires_grad_()
    optimizer = torch.optim.LBFGS([w], max_iter=200, line_search_fn="strong_wolfe")

    def cost():
        optimizer.zero_grad()
        value = -objective(w, g, k, count)
        value.backward()
        return value

    optimizer.step(cost)
    assert float(objective(found, g, k, count)) == pytest.approx(-float(cost().detach()), abs=1e-4)
