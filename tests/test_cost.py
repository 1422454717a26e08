"""What `asr model` prints: multiply-adds against counts by hand, latency and receptive field against streams."""

from typing import Any

import numpy as np
import pytest
import torch
from tiny import noise

from asr.cli import main as cli
from asr.config import FeaturesConfig, ModelConfig
from asr.models import build_model
from asr.models.acoustic import AcousticModel
from asr.models.cost import count_parameters, latency_s, multiply_adds, reads_s

D, V, H, LAYERS, KERNEL, STRIDE, FRAMES = 7, 5, 16, 2, 3, 2, 30
F = FRAMES // STRIDE  # output frames
FIRST = KERNEL * STRIDE * D * H  # of the first convolution, per output frame
BLOCK = 16 * H * H + 4 * H * H  # of two feed-forward layers, and the linear layers of attention
HEARD = 2 * F * F * H  # queries times keys, and weights times values
COUNTS: list[tuple[dict[str, Any], int]] = [
    ({"kind": "linear"}, F * STRIDE * D * V),
    ({"kind": "fc"}, F * (FIRST + LAYERS * H * H + H * V)),
    ({"kind": "cnn"}, F * (FIRST + LAYERS * KERNEL * H * H + H * V)),
    ({"kind": "cnn", "bottleneck": 4}, F * (FIRST + LAYERS * (KERNEL * H * 4 + 4 * H) + H * V)),
    (
        {"kind": "lstm"},
        F * (FIRST + 2 * 4 * H * (H + H) + 2 * 4 * H * (2 * H + H) + 2 * H * V),
    ),
    ({"kind": "lstm", "bidirectional": False}, F * (FIRST + LAYERS * 4 * H * (H + H) + H * V)),
    (
        {"kind": "conformer"},
        F * (STRIDE * D * H + LAYERS * (BLOCK + 3 * H * H + KERNEL * H) + H * V) + LAYERS * HEARD,
    ),
    (
        {"kind": "conformer", "positions": "relative"},
        F * (STRIDE * D * H + LAYERS * (BLOCK + 3 * H * H + KERNEL * H) + H * V)
        + LAYERS * (HEARD + (2 * F - 1) * (H * H + F * H)),  # distances, and queries times distances
    ),
    (
        {"kind": "ebranchformer"},
        F * (STRIDE * D * H + LAYERS * (BLOCK + 6 * H * H + 2 * KERNEL * H + 2 * KERNEL * H + 2 * H * H) + H * V)
        + LAYERS * HEARD,
    ),
]


def config(options: dict[str, Any]) -> ModelConfig:
    return ModelConfig(**{"hidden": H, "layers": LAYERS, "kernel": KERNEL, "subsampling": STRIDE, "heads": 2} | options)


@pytest.mark.parametrize(
    ("options", "macs"), COUNTS, ids=lambda o: " ".join(map(str, o.values())) if isinstance(o, dict) else ""
)
def test_multiply_adds_are_those_counted_by_hand(options: dict[str, Any], macs: int) -> None:
    net = build_model(config(options), D, V).eval()
    x, lengths = torch.randn(1, FRAMES, D), torch.tensor([FRAMES])
    assert multiply_adds(lambda: net(x, lengths)) == macs


STREAMS: list[dict[str, Any]] = [
    {"kind": "linear"},
    {"kind": "fc", "lookahead": 1},
    {"kind": "cnn", "lookahead": 3},
    {"kind": "lstm", "bidirectional": False, "lookahead": 2},
    {"kind": "conformer", "chunk": 4, "left": 6},
    {"kind": "ebranchformer", "chunk": 3, "left": 5, "causal": False},
]


@pytest.mark.parametrize("options", STREAMS, ids=lambda o: o["kind"])
@pytest.mark.parametrize("deltas", [0, 2])
def test_no_log_probs_of_a_stream_wait_longer_than_the_latency(options: dict[str, Any], deltas: int) -> None:
    torch.manual_seed(0)
    features = FeaturesConfig(num_bins=8, kind="mfcc", num_ceps=8, deltas=deltas, cmvn="none")
    model = AcousticModel(features, config(options), V).eval()
    heard, state, given, waited = model.frontend.stream(), model.net.begin(1), 0, []
    for i, piece in enumerate(torch.from_numpy(noise(1.0)).split(80)):  # 5 ms
        log_probs, state = model.net.advance(heard.accept(piece)[None], state, False)
        waited += [0.005 * (i + 1) - (given + k) * model.frame_s for k in range(log_probs.shape[1])]
        given += log_probs.shape[1]
    assert max(waited) == pytest.approx(latency_s(model, features))


@pytest.mark.parametrize("options", STREAMS[:3], ids=lambda o: o["kind"])
def test_a_frame_depends_on_the_sound_that_it_is_said_to_read(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    features = FeaturesConfig(kind="wave", cmvn="none")
    model = AcousticModel(features, config(options), V).eval()
    x = torch.randn(1, 16000, requires_grad=True)
    model(x, torch.tensor([16000]))[0][0, 25, 0].backward()
    assert x.grad is not None
    read = x.grad[0].nonzero().flatten()
    assert (int(read[-1]) - int(read[0]) + 1) / 16000 == pytest.approx(reads_s(model, features))


@pytest.mark.parametrize(
    ("options", "cmvn"), [({"kind": "lstm"}, "none"), ({"kind": "cnn"}, "speech"), ({"kind": "conformer"}, "none")]
)
def test_models_of_whole_utterances_have_no_latency(options: dict[str, Any], cmvn: str) -> None:
    features = FeaturesConfig(cmvn=cmvn)
    model = AcousticModel(features, config(options), V)
    assert np.isinf(latency_s(model, features))
    assert np.isinf(reads_s(model, features)) == (options["kind"] != "cnn")


def test_the_verb_describes_a_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["model=ebranchformer_stream", "hidden=16", "layers=1", "features.cmvn=causal"]
    assert cli.main(["model", *small]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("ebranchformer on logmel, 16000 Hz, 30 outputs, untrained\nparameters ")
    assert "latency           655 ms\n" in printed  # 16 frames of 40 ms, and 15 ms of the last window


def test_the_verb_describes_a_bundle(model: Any, capsys: pytest.CaptureFixture[str]) -> None:
    import asr

    assert cli.main(["model", str(model)]) == 0
    printed = capsys.readouterr().out
    parameters = count_parameters(asr.load(model).model)
    assert printed.startswith(f"{model}: ") and f"parameters        {parameters:,}\n" in printed
    assert cli.main(["model", str(model), "model=cnn"]) == 2
    assert "has its own net and features; leave out those options, or the path" in capsys.readouterr().err
    assert cli.main(["model", "nothing.asr"]) == 2
    assert "nothing.asr" in capsys.readouterr().err
