"""The E-Branchformer's block against its formula, frame by frame, and what it has in common with the conformer."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from asr.config import FeaturesConfig, ModelConfig
from asr.models.acoustic import AcousticModel
from asr.models.attention import Context, visible
from asr.models.branchformer import EBranchformerBlock
from asr.models.chunked import DepthwiseConv

HIDDEN, HEADS, KERNEL, FRAMES = 8, 2, 5, 13


def block(causal: bool) -> EBranchformerBlock:
    torch.manual_seed(1)
    made = EBranchformerBlock(ModelConfig(hidden=HIDDEN, heads=HEADS, kernel=KERNEL, causal=causal)).double().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.5)
    return made


def attended(made: EBranchformerBlock, x: Tensor, first: int, end: int, at: int) -> Tensor:
    """What frame `at` of x (F, H) hears in frames first .. end - 1, with rotary positions: complex factors."""
    query, key, value = made.attention.inputs(x).chunk(3, -1)
    heads, size = [], HIDDEN // HEADS
    rates = 10000.0 ** -(torch.arange(size // 2).double() / (size // 2))
    for head in range(HEADS):
        own = slice(head * size, (head + 1) * size)
        points = [torch.complex(*part[:, own].chunk(2, -1)) for part in (query, key)]
        weights = []
        for k in range(first, end):
            turned = points[0][at] * torch.exp(1j * (at - k) * rates)  # the distance is all that counts
            weights.append(float((turned * points[1][k].conj()).real.sum()) / math.sqrt(size))
        shares = torch.tensor(weights, dtype=torch.float64).softmax(0)
        heads.append(sum(s * value[k, own] for s, k in zip(shares, range(first, end), strict=True)))
    return made.attention.output(torch.cat(heads))


def convolved(conv: DepthwiseConv, x: Tensor, end: int, at: int) -> Tensor:
    """Frame `at` of x (F, H) behind a depthwise convolution that reads frames before `end`."""
    y = dict(conv.named_parameters())["bias"].clone()
    for tap in range(KERNEL):
        frame = at - conv.before + tap
        if 0 <= frame < end:
            y = y + conv.weight[:, 0, tap] * x[frame]
    return y


def slow(made: EBranchformerBlock, x: Tensor, chunk: int, left: int) -> Tensor:
    """x (F, H) -> (F, H)."""
    x = x + 0.5 * made.first(x)
    ends = [min(FRAMES, (at // chunk + 1) * chunk) if chunk else FRAMES for at in range(FRAMES)]
    starts = [max(0, at // chunk * chunk - left) if chunk and left else 0 for at in range(FRAMES)]
    normed = made.norm(x)
    far = torch.stack([attended(made, normed, starts[at], ends[at], at) for at in range(FRAMES)])
    kept, gate = made.gating.widen(x).chunk(2, -1)
    gate = made.gating.norm(gate)
    gate = torch.stack([convolved(made.gating.depthwise, gate, ends[at], at) for at in range(FRAMES)])
    both = torch.cat([far, made.gating.output(kept * gate)], 1)
    mixed = torch.stack([convolved(made.depthwise, both, ends[at], at) for at in range(FRAMES)])
    x = x + made.merge(both + mixed)
    return made.last_norm(x + 0.5 * made.second(x))


@pytest.mark.parametrize(
    ("causal", "chunk", "left"), [(False, 0, 0), (True, 0, 0), (False, 4, 3), (True, 5, 7), (False, 3, 0)]
)
def test_block_is_its_formula(causal: bool, chunk: int, left: int) -> None:
    made, x = block(causal), torch.randn(FRAMES, HIDDEN, dtype=torch.float64)
    mask = visible(FRAMES, Context(chunk, left), x.device)[None, None]
    valid = torch.ones(1, FRAMES, 1, dtype=torch.bool)
    with torch.no_grad():
        y, _ = made(x[None], made.nothing(1), chunk, mask, valid)
        torch.testing.assert_close(y[0], slow(made, x, chunk, left))


def test_gates_begin_open() -> None:
    """An untrained local branch is its linear layers alone, whatever the neighbours say."""
    made = EBranchformerBlock(ModelConfig(hidden=HIDDEN, heads=HEADS, kernel=KERNEL)).eval()
    x = torch.randn(1, FRAMES, HIDDEN)
    y, _ = made.gating(x, None, made.gating.depthwise.nothing(1), 0)
    kept, _ = made.gating.widen(x).chunk(2, -1)
    torch.testing.assert_close(y, made.gating.output(kept), atol=1e-4, rtol=0)


def test_the_same_weights_serve_with_other_chunks() -> None:
    torch.manual_seed(0)
    features = FeaturesConfig(kind="stored", num_bins=7, cmvn="none")
    options: dict[str, Any] = {"kind": "ebranchformer", "hidden": 16, "layers": 2, "subsampling": 1}
    whole = AcousticModel(features, ModelConfig(**options), 5).eval()
    chunked = AcousticModel(features, ModelConfig(**options, chunk=4, left=8), 5).eval()
    chunked.load_state_dict(whole.state_dict())
    x, lengths = torch.randn(1, 40, 7), torch.tensor([40])
    made = whole.with_chunk(4, 8)
    assert torch.equal(made(x, lengths)[0], chunked(x, lengths)[0])
    assert made.net.can_stream and not whole.net.can_stream
