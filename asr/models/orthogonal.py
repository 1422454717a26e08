"""The constraint of factorised layers (TDNN-F: Povey et al. 2018, "Semi-orthogonal low-rank matrix factorization for
deep neural networks", section 2.2)."""

import torch
from torch import Tensor

SPEED = 0.125
SLOWER = ((1.1, 0.25), (1.02, 0.5))  # above this spread of the singular values, this part of the speed (as in Kaldi)


def step_to_semi_orthogonal(matrix: Tensor) -> Tensor:
    """M (R, C), R <= C, one step nearer to rows that are orthogonal and equally long, M M^T = s^2 I.

    M - (4 v / s^2) (M M^T - s^2 I) M with v = 1 / 8, where s^2 = tr(P P^T) / tr(P) and P = M M^T: the length of the
    rows is free. Convergence is quadratic near the solution. Far from it, Kaldi's smaller v keep the step stable.
    """
    product = matrix @ matrix.T  # P (R, R)
    trace, trace_of_square = product.trace(), product.square().sum()
    if trace <= 0:
        return matrix
    scale = trace_of_square / trace  # s^2
    spread = trace_of_square * len(matrix) / trace.square()  # 1 at the solution, otherwise more
    slower = next((part for limit, part in SLOWER if spread > limit), 1.0)
    product = product - scale * torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    return matrix - (4 * SPEED * slower / scale) * (product @ matrix)
