"""Trainings of nets for streams: they learn, resume to the same bits, and a stream has the words of the recording."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tones
import torch
from torch import Tensor

from asr import pipeline
from asr.cli import overrides
from asr.config import Config, ModelConfig
from asr.criteria import ctc_greedy
from asr.errors import InputError
from asr.features import audio
from asr.models import check_net
from asr.models.acoustic import AcousticModel
from asr.training import checkpoint
from asr.training.trainer import Trainer, load_model

NETS: list[dict[str, Any]] = [
    {"kind": "cnn", "lookahead": 3, "layers": 2},
    {"kind": "lstm", "bidirectional": False, "lookahead": 3, "layers": 1},
    {"kind": "conformer", "chunk": 4, "left": 8, "dynamic_chunk": True, "layers": 1, "kernel": 5},
]


def config(folder: Path, out: str, cmvn: str = "causal", **model: Any) -> Config:
    cfg = tones.config(folder, out, cmvn=cmvn)
    cfg.model = ModelConfig(**{"hidden": 24, "subsampling": 2, "dropout": 0.0, **model})
    cfg.optim.epochs, cfg.optim.average, cfg.optim.lr, cfg.optim.warmup = 14, 1, 1e-2, 0.2
    return cfg


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return tones.corpus(tmp_path, 40, 6)


def streamed(model: AcousticModel, samples: np.ndarray, piece: int) -> Tensor:
    """The log-probs (F, V) of samples that arrive in pieces."""
    features, state, parts = model.frontend.stream(), model.net.begin(1), []
    for start in range(0, len(samples), piece):
        x = features.accept(samples[start : start + piece])
        log_probs, state = model.net.advance(x[None], state, False)
        parts.append(log_probs)
    log_probs, _ = model.net.advance(features.finish()[None], state, True)
    return torch.cat([*parts, log_probs], 1)[0]


@pytest.mark.parametrize(
    ("options", "cmvn"), list(zip(NETS, ["causal", "global", "global"], strict=True)), ids=["cnn", "lstm", "conformer"]
)
def test_a_trained_net_gives_in_a_stream_what_it_gives_offline(
    corpus: Path, options: dict[str, Any], cmvn: str
) -> None:
    cfg = config(corpus, "exp", cmvn, **options)
    pipeline.train(cfg)
    records = [json.loads(line) for line in (corpus / "exp/train/log.jsonl").read_text().splitlines()]
    assert records[-1]["train_loss"] < 0.5 * records[0]["train_loss"]
    model, tokens = load_model(cfg)
    for i in range(6):
        samples = audio.load(corpus / f"dev{i}.wav", sample_rate_hz=16000)
        whole = model.score([torch.from_numpy(samples)])[0]
        for piece in (700, 4000):
            found = streamed(model, samples, piece)
            torch.testing.assert_close(found, whole, atol=1e-4, rtol=0)
            assert words(found, tokens) == words(whole, tokens) != ""


def words(log_probs: Tensor, tokens: Any) -> str:
    [best] = ctc_greedy(log_probs[None], torch.tensor([len(log_probs)]))
    return "".join(tokens[k] for k in best)


def test_a_drawn_chunk_is_drawn_again_after_a_resume(corpus: Path) -> None:
    unbroken, broken = (config(corpus, out, **NETS[2]) for out in ("unbroken", "broken"))
    for cfg in (unbroken, broken):
        cfg.optim.epochs, cfg.optim.checkpoint_steps = 2, 1
    pipeline.train(unbroken)
    trainer = Trainer(broken)
    trainer.optimizer.register_step_pre_hook(lambda *_: stop_after(trainer, 2))
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    pipeline.train(broken)
    one, other = (checkpoint.read_tensors(Path(c.out) / "train/final.safetensors") for c in (unbroken, broken))
    assert all(torch.equal(one[name], other[name]) for name in one)


def stop_after(trainer: Trainer, step: int) -> None:
    if trainer.state["step"] > step:
        raise KeyboardInterrupt


def test_a_normalisation_of_whole_utterances_is_told(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = "the net is one for streams, but features.cmvn=speech needs whole utterances"
    Trainer(config(corpus, "speech", "speech", **NETS[0]))
    assert sentence in capsys.readouterr().out
    Trainer(config(corpus, "causal", "causal", **NETS[0]))
    Trainer(config(corpus, "offline", "speech", kind="cnn"))
    assert "streams" not in capsys.readouterr().out


def test_a_start_may_change_the_chunk_but_not_the_shape(corpus: Path) -> None:
    first = config(corpus, "first", **NETS[2])
    first.optim.epochs = 1
    pipeline.train(first)
    second = config(corpus, "second", **NETS[2])
    second.init, second.model.chunk, second.optim.epochs = first.out, 6, 1
    pipeline.train(second)
    third = config(corpus, "third", **{**NETS[2], "causal": False})
    third.init = first.out
    with pytest.raises(InputError, match="model.causal=True, but this training model.causal=False"):
        pipeline.train(third)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "cnn", "heads": 8}, "model.heads=8: the net cnn has no such option; .*: conformer"),
        ({"kind": "lstm", "chunk": 16}, "model.chunk=16: the net lstm"),
        ({"kind": "cnn", "left": 16}, "model.left=16: the net cnn"),
        ({"kind": "fc", "dynamic_chunk": True}, "model.dynamic_chunk=True: the net fc"),
        ({"kind": "cnn", "causal": False}, "model.causal=False: the net cnn"),
        ({"kind": "cnn", "positions": "relative"}, "model.positions=relative: the net cnn"),
        ({"kind": "conformer", "bidirectional": False}, "model.bidirectional=False: .*: lstm"),
        ({"kind": "linear", "hidden": 64}, "model.hidden=64: the net linear .*: fc, cnn, lstm, conformer"),
        ({"kind": "linear", "hidden": 256, "layers": 2}, "model.layers=2: the net linear"),
    ],
    ids=lambda o: " ".join(f"{name}={value}" for name, value in o.items()) if isinstance(o, dict) else "",
)
def test_options_of_other_nets_are_refused(corpus: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Trainer(config(corpus, "exp", **{"hidden": 256, **options}))
    assert not (corpus / "exp" / "train" / "config.json").exists()


def test_the_experiments_of_the_recipes_fit_their_nets() -> None:
    root = Path(__file__).parent.parent
    for path in [*root.glob("recipes/*/experiment/*.yaml"), *root.glob("conf/experiment/*.yaml")]:
        words = [f"experiment={path.stem}"]
        folder = None if path.parent.parent.name == "conf" else str(path.parent.parent)
        check_net(overrides.compose(overrides.to_overrides(words, (), folder)).model)
    for path in root.glob("conf/model/*.yaml"):
        check_net(overrides.compose([f"model={path.stem}"]).model)
