"""Every net: shapes, exact lengths, padding that changes nothing, and registry errors."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.config import ModelConfig
from asr.errors import InputError
from asr.models import NETS, build_model
from asr.models.lstm import reversed_index


def small_net(options: dict[str, Any], subsampling: int = 3) -> torch.nn.Module:
    torch.manual_seed(0)
    cfg = ModelConfig(**{"hidden": 16, "layers": 3, "kernel": 4, "subsampling": subsampling, **options})
    return build_model(cfg, 7, 5).eval()


VARIANTS = [
    *({"kind": kind} for kind in NETS),
    {"kind": "fc", "lookahead": 1},
    {"kind": "cnn", "lookahead": 2},
    {"kind": "cnn", "bottleneck": 4},
    {"kind": "lstm", "bidirectional": False},
    {"kind": "lstm", "bidirectional": False, "lookahead": 4},
    {"kind": "lstm", "intermediate": [1, 2], "self_conditioned": True},
    {"kind": "conformer", "intermediate": [2], "self_conditioned": True},
    {"kind": "conformer", "positions": "relative", "causal": False},
    {"kind": "conformer", "chunk": 3, "left": 4},
    {"kind": "conformer", "chunk": 2, "causal": False},
    {"kind": "conformer", "positions": "relative", "chunk": 2, "left": 1, "causal": False},
    {"kind": "ebranchformer", "positions": "relative", "causal": False},
    {"kind": "ebranchformer", "chunk": 2, "left": 1, "causal": False},
]
each_net = pytest.mark.parametrize("options", VARIANTS, ids=lambda o: " ".join(map(str, o.values())))


@each_net
def test_output_is_normalised_and_has_a_frame_for_each_group(options: dict[str, Any]) -> None:
    log_probs, lengths = small_net(options)(torch.randn(2, 10, 7), torch.tensor([10, 4]))  # (N, F', V)
    assert log_probs.shape == (2, 4, 5)
    assert lengths.tolist() == [4, 2]
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(2, 4))


@each_net
@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(1, 25), min_size=1, max_size=4), subsampling=st.integers(1, 4), junk=st.booleans())
def test_padding_never_changes_an_utterance(
    options: dict[str, Any], lengths: list[int], subsampling: int, junk: bool
) -> None:
    net = small_net(options, subsampling)
    utterances = [torch.randn(n, 7) for n in lengths]
    batch = torch.nn.utils.rnn.pad_sequence(utterances, batch_first=True, padding_value=1e3 if junk else 0.0)
    together, frames = net(torch.nn.functional.pad(batch, (0, 0, 0, 5)), torch.tensor(lengths))
    for x, row, n in zip(utterances, together, frames.tolist(), strict=True):
        alone, _ = net(x[None], torch.tensor([len(x)]))
        assert alone.shape[1] == n
        torch.testing.assert_close(row[:n], alone[0], atol=1e-5, rtol=0)


@each_net
def test_gradient_reaches_every_parameter(options: dict[str, Any]) -> None:
    net = small_net(options)
    log_probs, _ = net(torch.randn(2, 9, 7), torch.tensor([9, 9]))
    log_probs[..., 0].sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_reversal_turns_valid_frames_and_leaves_padding() -> None:
    assert reversed_index(torch.tensor([3, 5]), 5).squeeze(-1).tolist() == [[2, 1, 0, 3, 4], [4, 3, 2, 1, 0]]


def test_unknown_kind_and_bad_size_are_named() -> None:
    with pytest.raises(InputError, match="model.kind=rnn: expected one of fc, cnn, lstm"):
        build_model(ModelConfig(kind="rnn"), 4, 4)
    with pytest.raises(InputError, match=r"model.layers=0: expected a whole number in \[1, 256\]"):
        build_model(ModelConfig(layers=0), 4, 4)
