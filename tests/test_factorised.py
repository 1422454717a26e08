"""Factorised convolutions: the step to semi-orthogonal rows, and its place in the training."""

import pytest
import torch

from asr.config import ModelConfig
from asr.errors import InputError
from asr.models import build_model, check_net
from asr.models.orthogonal import step_to_semi_orthogonal


def error(matrix: torch.Tensor) -> float:
    """The distance of M M^T from the nearest multiple of the identity, relative to its size."""
    product = matrix @ matrix.T
    scale = product.trace() / len(product)
    return float((product - scale * torch.eye(len(product))).norm() / product.norm())


@pytest.mark.parametrize("size", [1e-3, 1.0, 50.0])
def test_steps_lead_to_rows_that_are_orthogonal_and_equally_long(size: float) -> None:
    torch.manual_seed(0)
    matrix = size * torch.randn(6, 30)
    errors = []
    for _ in range(60):
        matrix = step_to_semi_orthogonal(matrix)
        errors.append(error(matrix))
    assert errors[-1] < 1e-5 and errors[0] > 0.05
    assert matrix.square().mean().sqrt() == pytest.approx(size, rel=0.5)  # the length of the rows is free


def test_step_near_the_solution_is_that_of_the_gradient() -> None:
    """M - (4 v / s^2) (M M^T - s^2 I) M descends tr(Q Q^T), Q = M M^T - s^2 I, whose gradient is 4 Q M."""
    torch.manual_seed(0)
    rows = torch.linalg.qr(torch.randn(30, 6, dtype=torch.float64)).Q.T
    matrix = (rows + 1e-3 * torch.randn(6, 30, dtype=torch.float64)).requires_grad_()
    product = matrix @ matrix.T
    scale = (product.square().sum() / product.trace()).detach()
    ((product - scale * torch.eye(6)).square().sum()).backward()
    assert matrix.grad is not None
    torch.testing.assert_close(step_to_semi_orthogonal(matrix), matrix - matrix.grad / (8 * scale))


def test_zeros_stay() -> None:
    assert torch.equal(step_to_semi_orthogonal(torch.zeros(2, 5)), torch.zeros(2, 5))


def test_training_keeps_the_factors_semi_orthogonal() -> None:
    torch.manual_seed(0)
    net = build_model(ModelConfig(kind="cnn", hidden=16, layers=2, kernel=3, bottleneck=4), 7, 5)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    for _ in range(60):
        optimizer.zero_grad()
        net(torch.randn(2, 12, 7), torch.tensor([12, 9]))[0][..., 0].sum().backward()
        optimizer.step()
        net.constrain()
    for block in net.chain()[2:4]:
        assert error(block.conv.conv.weight.detach().flatten(1)) < 0.02
        assert block.conv.conv.weight.shape == (4, 16, 3)


def test_bottlenecks_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="model.bottleneck=16 is not less than model.hidden=16"):
        build_model(ModelConfig(kind="cnn", hidden=16, bottleneck=16), 7, 5)
    with pytest.raises(InputError, match="model.bottleneck=8: the net lstm has no such option"):
        check_net(ModelConfig(kind="lstm", bottleneck=8))
