"""The CUDA kernels on a GPU against the same code on the CPU; `make gpu-test` runs them and writes a log."""

import importlib.util

import numpy as np
import pytest
import torch
from test_acceptor import loop
from test_lfmmi import draw_model

from asr import ctc_loss
from asr.criteria.lfmmi import ctc_crf_loss
from asr.criteria.totals import log_totals
from asr.search.token_search import TokenSearch
from asr.training import token_lm

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU"),
    pytest.mark.skipif(
        importlib.util.find_spec("asr._ctc_cuda") is None, reason="the CTC kernels are not built: no nvcc"
    ),
]


def loss_and_grad(logits: torch.Tensor, device: str, **options: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss (N,) and its gradient (T, N, V) on `device`, both moved to the CPU."""
    generator = torch.Generator().manual_seed(7)
    frames, batch, vocabulary = logits.shape
    targets = torch.randint(1, vocabulary, (batch, frames // 4), generator=generator)
    input_lengths = torch.linspace(frames // 2, frames, batch).long()
    target_lengths = torch.linspace(1, frames // 4, batch).long()
    x = logits.to(device).requires_grad_()
    lengths = (input_lengths.to(device), target_lengths.to(device))
    losses = ctc_loss(x, targets.to(device), *lengths, reduction="none", logits=True, **options)
    losses.sum().backward()
    assert losses.device.type == device and x.grad is not None
    return losses.detach().cpu(), x.grad.cpu()


@pytest.mark.parametrize("shape", [(40, 5, 9), (200, 8, 32), (300, 4, 5000)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ctc_on_the_gpu_equals_the_cpu(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
    for found, wanted in zip(loss_and_grad(logits, "cuda"), loss_and_grad(logits, "cpu"), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_two_runs_give_the_same_bits() -> None:
    logits = torch.randn((200, 8, 32), generator=torch.Generator().manual_seed(2))
    first, second = (loss_and_grad(logits, "cuda") for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def lfmmi_and_grad(outputs: torch.Tensor, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss (N,) of CTC-CRF and its gradient (T, N, V) on `device`, both moved to the CPU."""
    frames, batch, vocabulary = outputs.shape
    targets = torch.randint(1, vocabulary, (batch, frames // 4), generator=torch.Generator().manual_seed(7))
    lengths = torch.linspace(frames // 2, frames, batch).long(), torch.linspace(0, frames // 4, batch).long()
    x = outputs.to(device).requires_grad_()
    losses = ctc_crf_loss(x, targets.to(device), *lengths, draw_model(20, vocabulary), zero_infinity=True)
    losses.sum().backward()
    assert losses.device.type == device and x.grad is not None
    return losses.detach().cpu(), x.grad.cpu()


@pytest.mark.parametrize("shape", [(40, 5, 9), (200, 8, 32)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lfmmi_on_the_gpu_equals_the_cpu(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    outputs = torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=dtype) * 2
    found, wanted = lfmmi_and_grad(outputs, "cuda"), lfmmi_and_grad(outputs, "cpu")
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert all(map(torch.equal, found, lfmmi_and_grad(outputs, "cuda")))  # the same bits in two runs


def test_acceptors_of_each_utterance_on_the_gpu() -> None:
    graphs = [loop(), loop([0, 2]), loop([1, 2, 1])]
    x = torch.randn(30, 3, 3, generator=torch.Generator().manual_seed(4))
    found = log_totals(x.cuda(), [30, 0, 17], graphs)
    torch.testing.assert_close(found.cpu(), log_totals(x, [30, 0, 17], graphs))


def test_token_search_on_the_gpu_equals_the_cpu() -> None:
    rng = np.random.default_rng(0)
    model = token_lm.estimate([rng.integers(1, 9, 12).tolist() for _ in range(40)], 9, 3)
    log_probs = torch.randn(16, 60, 9, generator=torch.Generator().manual_seed(3)).log_softmax(2)
    lengths = torch.linspace(1, 60, 16).long()
    cpu, gpu = (TokenSearch(model, 8, 0.5, device=device).decode(log_probs, lengths) for device in ("cpu", "cuda"))
    for one, other in zip(cpu, gpu, strict=True):
        assert one.cost == pytest.approx(other.cost, abs=1e-3) and one.tokens == other.tokens
