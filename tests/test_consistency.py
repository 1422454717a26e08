"""CR-CTC: its loss, gradient and views against slow references."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tones
import torch
from ctranslate2_model import write_model
from torch import Tensor

from asr.config import Config, ModelConfig
from asr.criteria.consistency import consistency_loss
from asr.criteria.ctc import ctc_loss_reference
from asr.data.extract import extract
from asr.errors import InputError
from asr.model_options import CriterionConfig
from asr.training import shards
from asr.training.shards import consistency_weight, load
from asr.training.trainer import Trainer, train

WEIGHT = 0.7


def slow_divergence(log_probs: Tensor, others: Tensor) -> Tensor:
    """KL(others || log_probs) of two views (F, V), the others without gradient."""
    total = log_probs.new_tensor(0.0)
    for frame, other in zip(log_probs, others.tolist(), strict=True):
        for p, q in zip(frame, other, strict=True):
            total = total + math.exp(q) * (q - p)
    return total


@pytest.mark.parametrize("lengths", [[4, 2, 3], [1]])
def test_the_loss_is_the_symmetric_divergence_of_valid_frames(lengths: list[int]) -> None:
    torch.manual_seed(len(lengths))
    n = len(lengths)
    logits = torch.randn(2 * n, max(lengths), 5, dtype=torch.float64, requires_grad=True)
    log_probs = logits.log_softmax(2)
    loss = consistency_loss(log_probs, torch.tensor(lengths * 2))
    divergences = [
        slow_divergence(log_probs[a, :frames], log_probs[b, :frames]) / 2
        for i, frames in enumerate(lengths)
        for a, b in ((i, n + i), (n + i, i))
    ]
    expected = torch.stack(divergences).sum()
    torch.testing.assert_close(loss, expected)
    gradients = [torch.autograd.grad(value, logits, retain_graph=True)[0] for value in (loss, expected)]
    torch.testing.assert_close(*gradients)
    assert loss > 0 and consistency_loss(log_probs[:n].repeat(2, 1, 1), torch.tensor(lengths * 2)) == 0


def of_sound(folder: Path) -> Config:
    return tones.config(folder, "run")


def of_stored_features(folder: Path) -> Config:
    cfg = tones.config(folder, "stored")
    for name in ("train", "dev"):
        extract(folder / f"{name}.jsonl", folder / f"stored_{name}.jsonl", cfg)
    cfg.data.train, cfg.data.dev = (str(folder / f"stored_{name}.jsonl") for name in ("train", "dev"))
    cfg.features.kind = "stored"
    return cfg


def of_an_encoder(folder: Path) -> Config:
    encoder = str(write_model(folder / "whisper"))
    cfg = tones.config(folder, "tuned", kind="pretrained", encoder=encoder, shift_ms=20.0, cmvn="none")
    cfg.features.layer, cfg.model.tune_layers = 0, 2
    return cfg


@pytest.mark.parametrize("make", [of_sound, of_stored_features, of_an_encoder])
def test_gradients_equal_those_of_each_view_alone(
    tmp_path: Path, make: Callable[[Path], Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    tones.write(tmp_path, "train", 8)
    tones.write(tmp_path, "dev", 2, seed=1)
    cfg = make(tmp_path)
    cfg.optim.precision = "fp32"  # as the reference
    cfg.augment.freq_masks, cfg.augment.time_masks, cfg.augment.speeds = 1, 2, [0.8, 1.2]
    cfg.criterion.consistency, cfg.criterion.consistency_warmup = WEIGHT, 0.0
    drawn: list[Tensor] = []

    def recorded(*arguments: Any) -> Tensor:
        drawn.append(mask(*arguments))
        return drawn[-1]

    mask = shards.mask_features
    monkeypatch.setattr(shards, "mask_features", recorded)
    trainer = Trainer(cfg)
    trainer.resume()  # fits the normalisation
    trainer.model.train()
    batch = next(load(trainer.train_set, [[0, 3, 5]], 0))
    result = trainer.shards.train(batch, 4, 1, 10)
    views, (_, lengths) = drawn[0].flatten(2), trainer.model.frontend(batch.inputs, batch.lengths)  # (6, F, D)
    assert len(views) == 6 and not torch.equal(views[:3], views[3:])
    loss = views.new_tensor(0.0)
    for i, frames in enumerate(lengths.tolist()):
        both = [trainer.model.classify(views[k, None, :frames], lengths[i : i + 1])[0][0] for k in (i, 3 + i)]
        target = batch.targets[i, : batch.target_lengths[i]].tolist()
        loss = loss + sum(ctc_loss_reference(x, target) for x in both) / 2
        loss = loss + WEIGHT * (slow_divergence(both[0], both[1]) + slow_divergence(both[1], both[0])) / 2
    assert result.utterances == 3 and result.loss == pytest.approx(loss.item(), rel=1e-4)
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, trainer.shards.parameters)])
    torch.testing.assert_close(trainer.shards.gradients[1], expected, atol=2e-4, rtol=2e-3)


def test_weight_zero_is_the_plain_criterion(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    tones.write(tmp_path, "train", 8)
    tones.write(tmp_path, "dev", 2, seed=1)
    finals = []
    for out, weight in (("plain", 0.0), ("other", 0.2)):
        cfg = tones.config(tmp_path, out)
        cfg.criterion.consistency, cfg.augment.bin_warp = weight, 0.1
        finals.append(train(cfg).read_bytes())
    assert finals[0] != finals[1]
    cfg = tones.config(tmp_path, "zero")
    cfg.criterion.consistency_warmup = 0.7
    with pytest.raises(InputError, match=r"consistency_warmup=0\.7 does nothing without criterion\.consistency"):
        train(cfg)


def test_the_weight_rises_in_the_warm_up() -> None:
    cfg = CriterionConfig(consistency=0.2, consistency_warmup=0.5)
    assert [consistency_weight(cfg, step, 8) for step in (0, 1, 3, 7)] == pytest.approx([0.05, 0.1, 0.2, 0.2])
    assert consistency_weight(replace(cfg, consistency_warmup=0.0), 0, 8) == 0.2


def test_equal_views_are_refused(tmp_path: Path) -> None:
    cfg = tones.config(tmp_path, "run")
    cfg.criterion.consistency = 0.2
    with pytest.raises(InputError, match=r"consistency=0\.2 compares two views .* they are the same; set augment"):
        Trainer(cfg)
    cfg.model = ModelConfig(kind="linear", dropout=0.5, subsampling=1)  # a linear net has no dropout
    with pytest.raises(InputError, match="they are the same"):
        Trainer(cfg)
