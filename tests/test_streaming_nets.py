"""Nets in streams: the log-probs of `forward` for any chunks, a state that does not grow, and refusals."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr.config import FeaturesConfig, ModelConfig
from asr.errors import InputError
from asr.models import build_model
from asr.models.acoustic import AcousticModel
from asr.models.streaming import Net, State

STREAMED: list[dict[str, Any]] = [
    {"kind": "linear"},
    {"kind": "fc"},
    {"kind": "fc", "lookahead": 1},
    {"kind": "cnn"},
    {"kind": "cnn", "lookahead": 0},
    {"kind": "cnn", "lookahead": 3},
    {"kind": "lstm", "bidirectional": False},
    {"kind": "lstm", "bidirectional": False, "lookahead": 0},
    {"kind": "lstm", "bidirectional": False, "lookahead": 5},
]
each_net = pytest.mark.parametrize("options", STREAMED, ids=lambda o: " ".join(map(str, o.values())))


def small_net(**options: Any) -> Net:
    torch.manual_seed(0)
    return build_model(ModelConfig(**{"hidden": 12, "layers": 3, "kernel": 4, **options}), 7, 5).eval()


def streamed(net: Net, features: Tensor, cuts: list[int]) -> Tensor:
    """The log-probs of features (N, F, D) in chunks that end at `cuts`, the last one at the end."""
    state, parts = net.begin(len(features)), []
    ends = [*sorted(cuts), features.shape[1]]
    for i, (begin, end) in enumerate(zip([0, *ends], ends, strict=False)):
        log_probs, state = net.advance(features[:, begin:end], state, i == len(ends) - 1)
        parts.append(log_probs)
    return torch.cat(parts, 1)


def values(state: State) -> int:
    """The numbers that a state keeps in memory."""
    if isinstance(state, Tensor):
        return state.untyped_storage().size() // state.element_size()
    return sum(map(values, state)) if isinstance(state, list | tuple) else 0


@each_net
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_chunks_of_any_size_give_the_log_probs_of_the_utterance(options: dict[str, Any], data: st.DataObject) -> None:
    net = small_net(**options, subsampling=data.draw(st.integers(1, 4)))
    frames = data.draw(st.integers(1, 90))
    features = torch.randn(data.draw(st.integers(1, 3)), frames, 7)
    cuts = data.draw(st.lists(st.integers(0, frames), max_size=8))
    whole, _ = net(features, torch.full((len(features),), frames))
    torch.testing.assert_close(streamed(net, features, cuts), whole, atol=1e-5, rtol=0)


@each_net
def test_log_probs_leave_once_the_lookahead_is_there(options: dict[str, Any]) -> None:
    net = small_net(**options, subsampling=2)
    state, heard, given = net.begin(1), 0, 0
    for _ in range(120):
        log_probs, state = net.advance(torch.randn(1, 1, 7), state, False)
        heard, given = heard + 1, given + log_probs.shape[1]
        assert given == max(0, heard // 2 - net.lookahead)


@each_net
def test_no_frame_depends_on_more_than_the_lookahead(options: dict[str, Any]) -> None:
    net = small_net(**options, subsampling=1)
    assert net.lookahead <= options.get("lookahead", 99)
    features = torch.randn(1, 60, 7, requires_grad=True)
    log_probs, _ = net(features, torch.tensor([60]))
    log_probs[0, 20, 0].backward()
    assert features.grad is not None
    assert (features.grad[0, 20 + net.lookahead + 1 :] == 0).all() and (features.grad[0, 20 + net.lookahead] != 0).any()


@each_net
def test_state_does_not_grow(options: dict[str, Any]) -> None:
    net = small_net(**options)
    state, sizes = net.begin(2), []
    for frames in (300, 3000, 300, 1, 0):
        _, state = net.advance(torch.randn(2, frames, 7), state, False)
        sizes.append(values(state))
    assert max(sizes) <= sizes[0] + 2 * 2 * 7 and sizes[0] < 3000  # the rest of a group of frames differs


def test_advance_leaves_the_state_as_it_is() -> None:
    net = small_net(kind="cnn")
    _, state = net.advance(torch.randn(1, 50, 7), net.begin(1), False)
    x = torch.randn(1, 31, 7)
    first, _ = net.advance(x, state, True)
    again, _ = net.advance(x, state, True)
    assert torch.equal(first, again)


@each_net
def test_streams_without_sound_end(options: dict[str, Any]) -> None:
    net = small_net(**options)
    log_probs, _ = net.advance(torch.zeros(2, 0, 7), net.begin(2), True)
    assert log_probs.shape == (2, 0, 5)


def test_a_bidirectional_lstm_does_not_stream() -> None:
    net = small_net(kind="lstm")
    assert not net.can_stream and small_net(kind="lstm", bidirectional=False).can_stream
    with pytest.raises(InputError, match="needs the whole utterance"):
        net.begin(1)
    with pytest.raises(InputError, match="model.lookahead=3 .*set model.bidirectional=false"):
        small_net(kind="lstm", lookahead=3)


def test_lookahead_in_seconds() -> None:
    features, model = FeaturesConfig(shift_ms=10.0), ModelConfig(kind="cnn", subsampling=3, lookahead=4)
    assert AcousticModel(features, model, 5).lookahead_s == pytest.approx(0.12)
