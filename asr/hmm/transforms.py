"""Linear transforms of features: LDA, the semi-tied covariance (MLLT), and that of a speaker (fMLLR).

LDA chooses the directions in which the states lie apart. MLLT turns them so that diagonal covariances fit, and fMLLR
brings the features of a speaker to the mixtures. The last two maximise the same function of a matrix W = [A b]:

    count ln |det A| + sum_d (w_d k_d - 1/2 w_d G_d w_d')        w_d: row d of W

that is, the expected log-likelihood of Gaussians with diagonal covariances for the features A x + b.
"""

import torch
from torch import Tensor

SWEEPS = 20  # over all rows
SINGULAR = 1e-9  # of the largest variance within classes; directions with less carry no information


def lda(counts: Tensor, sums: Tensor, squares: Tensor, dim: int) -> Tensor:
    """The matrix (dim, D) whose rows keep most of the variance between C classes, relative to that within them.

    `counts` (C,) and `sums` (C, D) of the frames by class, `squares` (D, D) the sum of x x' of all frames; float64.
    The variance within classes of the result is the identity (Fukunaga 1990, section 10.2, criterion J1).
    """
    total = counts.sum()
    mean = sums.sum(0) / total
    means = sums / counts.clamp(min=1)[:, None] - mean
    between = (means.T * counts) @ means / total
    within = squares / total - mean.outer(mean) - between
    variances, axes = torch.linalg.eigh(within)
    whiten = axes / variances.clamp(min=SINGULAR * float(variances[-1])).sqrt()  # (D, D)
    _, directions = torch.linalg.eigh(whiten.T @ between @ whiten)
    return (whiten @ directions).T.flip(0)[:dim]


def climb(start: Tensor, g: Tensor, k: Tensor, count: float, sweeps: int = SWEEPS) -> Tensor:
    """The matrix (D, D), or with a shift (D, D + 1), that maximises the function above, from `start` on.

    g (D, E, E) and k (D, E), of frames with `count` in all; float64. Each row in turn is set to its best value for the
    others, which never lowers the function (Gales 1998, "Maximum likelihood linear transformations for HMM-based speech
    recognition", eq. 34 and 35; for k = 0 Gales 1999, "Semi-tied covariance matrices", eq. 24).
    """
    w = start.clone()
    dim = len(w)
    inverses = torch.linalg.inv(g)  # (D, E, E)
    linear = (inverses @ k[:, :, None])[:, :, 0]  # (D, E), the best rows without the determinant
    for _ in range(sweeps):
        for row in range(dim):
            cofactors = torch.zeros_like(w[0])
            cofactors[:dim] = torch.linalg.inv(w[:, :dim])[:, row]  # divided by the determinant
            pull = inverses[row] @ cofactors
            a, b = cofactors @ pull, cofactors @ linear[row]
            root = (b.square() + 4 * a * count).sqrt()
            factors = torch.stack([(-b + root) / (2 * a), (-b - root) / (2 * a)])
            gains = count * (factors * a + b).abs().log() - 0.5 * factors.square() * a
            w[row] = factors[gains.argmax()] * pull + linear[row]
    return w


def objective(w: Tensor, g: Tensor, k: Tensor, count: float) -> Tensor:
    """The value of the function that `climb` maximises."""
    log_det = torch.linalg.slogdet(w[:, : len(w)]).logabsdet
    return count * log_det + (w * k).sum() - 0.5 * torch.einsum("de,def,df->", w, g, w)
