"""Nets in streams: the log-probs of `forward` for any chunks, a state that does not grow, and refusals."""

import math
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
    {"kind": "cnn", "lookahead": 3, "bottleneck": 8},
    {"kind": "lstm", "bidirectional": False},
    {"kind": "lstm", "bidirectional": False, "lookahead": 0},
    {"kind": "lstm", "bidirectional": False, "lookahead": 5},
    {"kind": "lstm", "bidirectional": False, "lookahead": 5, "intermediate": [1, 2], "self_conditioned": True},
]
CONFORMERS: list[dict[str, Any]] = [
    {"kind": "conformer", "chunk": 4, "left": 8},
    {"kind": "conformer", "chunk": 1, "left": 3},
    {"kind": "conformer", "chunk": 5, "left": 7, "causal": False},
    {"kind": "conformer", "chunk": 3, "left": 2, "positions": "relative"},
    {"kind": "conformer", "chunk": 4, "left": 9, "positions": "relative", "causal": False},
    {"kind": "ebranchformer", "chunk": 4, "left": 8},
    {"kind": "ebranchformer", "chunk": 3, "left": 5, "positions": "relative", "causal": False},
]


def names(options: dict[str, Any]) -> str:
    return " ".join(map(str, options.values()))


each_net = pytest.mark.parametrize("options", [*STREAMED, *CONFORMERS], ids=names)


def small_net(**options: Any) -> Net:
    torch.manual_seed(0)
    return build_model(ModelConfig(**{"hidden": 16, "layers": 3, "kernel": 4, **options}), 7, 5).eval()


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
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_chunks_of_any_size_give_the_log_probs_of_the_utterance(options: dict[str, Any], data: st.DataObject) -> None:
    net = small_net(**options, subsampling=data.draw(st.integers(1, 4)))
    frames = data.draw(st.integers(1, 90))
    features = torch.randn(data.draw(st.integers(1, 3)), frames, 7)
    cuts = data.draw(st.lists(st.integers(0, frames), max_size=8))
    whole, _ = net(features, torch.full((len(features),), frames))
    torch.testing.assert_close(streamed(net, features, cuts), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("options", STREAMED, ids=names)
def test_log_probs_leave_once_the_lookahead_is_there(options: dict[str, Any]) -> None:
    net = small_net(**options, subsampling=2)
    state, heard, given = net.begin(1), 0, 0
    for _ in range(120):
        log_probs, state = net.advance(torch.randn(1, 1, 7), state, False)
        heard, given = heard + 1, given + log_probs.shape[1]
        assert given == max(0, heard // 2 - net.lookahead)


@pytest.mark.parametrize("options", STREAMED, ids=names)
def test_no_frame_depends_on_more_than_the_lookahead(options: dict[str, Any]) -> None:
    net = small_net(**options, subsampling=1)
    assert net.lookahead <= options.get("lookahead", 99)
    features = torch.randn(1, 60, 7, requires_grad=True)
    log_probs, _ = net(features, torch.tensor([60]))
    log_probs[0, 20, 0].backward()
    assert features.grad is not None
    assert (features.grad[0, 20 + net.lookahead + 1 :] == 0).all() and (features.grad[0, 20 + net.lookahead] != 0).any()


@pytest.mark.parametrize("options", CONFORMERS, ids=names)
def test_a_frame_of_a_conformer_reads_its_chunk_and_the_frames_before(options: dict[str, Any]) -> None:
    net = small_net(**{**options, "layers": 1, "kernel": 1}, subsampling=1)
    chunk, left = options["chunk"], options["left"]
    features = torch.randn(1, 60, 7, requires_grad=True)
    log_probs, _ = net(features, torch.tensor([60]))
    log_probs[0, 31, 0].backward()
    assert features.grad is not None
    read = (features.grad[0].abs().sum(1) > 0).nonzero().flatten()
    first = 31 // chunk * chunk
    assert read.tolist() == list(range(first - left, first + chunk))
    assert net.lookahead == chunk - 1


@pytest.mark.parametrize("options", CONFORMERS, ids=names)
def test_log_probs_of_a_chunk_leave_once_it_is_complete(options: dict[str, Any]) -> None:
    net = small_net(**options, subsampling=2)
    state, given = net.begin(1), 0
    for heard in range(1, 60):
        log_probs, state = net.advance(torch.randn(1, 1, 7), state, False)
        given += log_probs.shape[1]
        assert given == heard // 2 // options["chunk"] * options["chunk"]


@each_net
def test_the_past_that_a_frame_reads_is_the_one_declared(options: dict[str, Any]) -> None:
    net = small_net(**options, subsampling=1)
    with torch.no_grad():
        for parameter in net.parameters():  # so that no dependency is too small to be seen
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    earliest = []
    for frame in range(150, 150 + max(1, options.get("chunk", 1))):
        features = torch.randn(1, 180, 7, dtype=torch.float64, requires_grad=True)
        net.double()(features, torch.tensor([180]))[0][0, frame, 0].backward()
        assert features.grad is not None
        earliest.append(frame - int((features.grad[0].abs().sum(1) > 0).nonzero()[0]))
    assert max(earliest) == (150 if net.before == math.inf else net.before)


@each_net
def test_state_does_not_grow(options: dict[str, Any]) -> None:
    net = small_net(**options)
    state, sizes = net.begin(2), []
    for frames in (150, 450, 150, 1, 0):
        _, state = net.advance(torch.randn(2, frames, 7), state, False)
        sizes.append(values(state))
    waiting = 2 * (2 * 7 + 4 * 16)  # values of a group and of a chunk that are not complete
    assert max(sizes) <= sizes[0] + waiting and sizes[0] < 8000


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


@pytest.mark.parametrize(
    "options", [{"kind": "lstm"}, {"kind": "conformer"}, {"kind": "conformer", "chunk": 4}], ids=names
)
def test_nets_of_the_whole_utterance_do_not_stream(options: dict[str, Any]) -> None:
    net = small_net(**options)
    assert not net.can_stream
    with pytest.raises(InputError, match="needs the whole utterance"):
        net.begin(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "lstm", "lookahead": 3}, "model.lookahead=3 .*set model.bidirectional=false"),
        ({"kind": "conformer", "lookahead": 3}, "model.lookahead=3 .*set model.chunk"),
        ({"kind": "conformer", "left": 3}, "model.left=3 .*set model.chunk"),
        ({"kind": "conformer", "heads": 3}, "model.hidden=16 is no multiple of model.heads=3"),
        ({"kind": "conformer", "heads": 16}, "model.hidden=16 .*model.heads=16.*rotary needs an even number"),
        ({"kind": "conformer", "positions": "none"}, "model.positions=none: expected one of rotary, relative"),
    ],
    ids=lambda o: names(o) if isinstance(o, dict) else "",
)
def test_options_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        small_net(**options)


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ({"kind": "cnn", "lookahead": 4}, 0.12),
        ({"kind": "conformer", "chunk": 16, "left": 9}, 0.45),
        ({"kind": "lstm"}, math.inf),
    ],
    ids=lambda o: names(o) if isinstance(o, dict) else "",
)
def test_lookahead_in_seconds(options: dict[str, Any], seconds: float) -> None:
    features, model = FeaturesConfig(shift_ms=10.0), ModelConfig(**{"hidden": 16, "subsampling": 3, **options})
    assert AcousticModel(features, model, 5).lookahead_s == pytest.approx(seconds)


def test_a_training_draws_chunks_and_the_same_for_the_same_seed() -> None:
    net = small_net(kind="conformer", chunk=4, left=8, dynamic_chunk=True)
    drawn = []
    for seed in [*range(40), *range(40)]:
        torch.manual_seed(seed)
        drawn.append(net.blocks.draw_context())
    assert drawn[:40] == drawn[40:]
    chunks = [context.chunk for context in drawn[:40]]
    assert 10 < chunks.count(0) < 30 and 0 <= min(chunks) and max(chunks) <= 25 and len(set(chunks)) > 8
    assert all(left == (8 if chunk else 0) for chunk, left in drawn)
    features, lengths = torch.randn(1, 60, 7), torch.tensor([60])
    once, again = net(features, lengths)[0], net(features, lengths)[0]
    assert torch.equal(once, again)  # evaluation draws nothing


def test_the_same_weights_serve_with_other_chunks() -> None:
    torch.manual_seed(0)
    features = FeaturesConfig(kind="stored", num_bins=7, cmvn="none")
    options = {"kind": "conformer", "hidden": 16, "layers": 2, "subsampling": 1}
    whole = AcousticModel(features, ModelConfig(**options), 5).eval()
    chunked = AcousticModel(features, ModelConfig(**options, chunk=4, left=8), 5).eval()
    chunked.load_state_dict(whole.state_dict())
    x, lengths = torch.randn(1, 40, 7), torch.tensor([40])
    made = whole.with_chunk(4, 8)
    assert torch.equal(made(x, lengths)[0], chunked(x, lengths)[0]) and made.net.can_stream and not whole.net.can_stream
    assert torch.equal(made.with_chunk(0)(x, lengths)[0], whole(x, lengths)[0])
    assert not torch.allclose(whole(x, lengths)[0], chunked(x, lengths)[0])
    pairs = zip(made.parameters(), whole.parameters(), strict=True)
    assert all(one.data_ptr() == other.data_ptr() for one, other in pairs)
    with pytest.raises(InputError, match="model.chunk=-1: expected a whole number"):
        whole.with_chunk(-1)
    with pytest.raises(InputError, match="with_chunk is for conformers and E-Branchformers"):
        AcousticModel(features, ModelConfig(kind="fc"), 5).with_chunk(4, 8)
