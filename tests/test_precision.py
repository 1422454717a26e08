"""Training in bfloat16 and float16 (`optim.precision`): close to float32, with parameters and log-probs in float32."""

import math
from pathlib import Path

import pytest
import test_trainer
import torch
from test_training_faults import final_of, same

from asr.config import Config, ModelConfig
from asr.data.dataset import collate
from asr.errors import InputError
from asr.training import shards
from asr.training.shards import is_finite, reduced
from asr.training.trainer import Trainer, train

corpus = test_trainer.corpus


def config(corpus: Path, out: str, precision: str, **model: object) -> Config:
    cfg = test_trainer.config(corpus, out, epochs=2)
    cfg.optim.precision, cfg.threads = precision, 1
    cfg.model = ModelConfig(**{"kind": "cnn", "hidden": 24, "layers": 2, "dropout": 0.0} | model)  # type: ignore[arg-type]
    return cfg


@pytest.mark.parametrize("half", ["bf16", "fp16"])
@pytest.mark.parametrize("kind", ["fc", "cnn", "lstm", "conformer"])
def test_a_step_in_half_precision_is_close_to_one_in_float32(corpus: Path, kind: str, half: str) -> None:
    found = []
    for precision in ("fp32", half):
        trainer = Trainer(config(corpus, precision, precision, kind=kind))
        shard = collate([trainer.train_set[i] for i in range(8)])
        result = trainer.shards.train(shard, 0, 0, 1)
        found.append((result.loss, trainer.shards.gradients[0].clone()))
        assert all(p.dtype is torch.float32 for p in trainer.model.parameters())
    (loss, gradient), (rough_loss, rough_gradient) = found
    assert rough_loss != loss and rough_loss == pytest.approx(loss, rel=0.02 if half == "bf16" else 0.001)
    assert torch.cosine_similarity(gradient, rough_gradient, dim=0) > (0.98 if half == "bf16" else 0.9999)
    assert rough_gradient.norm().item() == pytest.approx(gradient.norm().item(), rel=0.02)


def test_a_float16_gradient_that_overflows_is_computed_with_a_smaller_scale(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(config(corpus, "exp", "fp16"))
    shard = collate([trainer.train_set[i] for i in range(4)])
    found = {}
    for scales in ((1.0,), (2.0**40, 2.0**30, 1.0), (2.0**40, 2.0**30)):
        monkeypatch.setattr(shards, "LOSS_SCALES", scales)
        result = trainer.shards.train(shard, 0, 0, 1)
        found[scales] = (result.fault, trainer.shards.gradients[0].clone())
    (fault, whole), (told, retried), (lost, _) = found.values()
    assert fault == told == "" and torch.equal(whole, retried)
    assert lost == "the gradient is not finite"


def test_a_training_in_bfloat16_learns(corpus: Path) -> None:
    losses = {}
    for precision in ("fp32", "bf16"):
        cfg = config(corpus, precision, precision)
        cfg.optim.epochs = 6
        trainer = Trainer(cfg)
        trainer.run()
        losses[precision] = [record["dev_loss"] for record in trainer.state["records"]]
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"][-1] < 0.7 * losses["bf16"][0] and losses["bf16"] == pytest.approx(losses["fp32"], rel=0.1)


def test_auto_is_float32_on_the_cpu(corpus: Path) -> None:
    cfg = config(corpus, "auto", "auto")
    train(cfg)
    train(config(corpus, "fp32", "fp32"))
    assert same(final_of(corpus / "auto"), final_of(corpus / "fp32"))
    with reduced(cfg):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.float32


@pytest.mark.parametrize("flag", ["avx512_bf16", "amx_bf16", "avx512_f"])
@pytest.mark.parametrize("layers", [0, 3])
def test_auto_is_bfloat16_for_layers_of_encoders_on_a_cpu_that_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, flag: str, layers: int
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {flag: True, "avx2": True}, raising=False)
    cfg = Config(model=ModelConfig(tune_layers=layers))
    with reduced(cfg):
        found = (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    assert found is (torch.bfloat16 if layers and "bf16" in flag else torch.float32)


@pytest.mark.parametrize("values", [[1.0, -2.0], [3e38, 3e38], [], [float("inf"), 1.0], [float("inf"), -float("inf")],
                                    [float("nan"), 0.0]])  # fmt: skip
def test_all_values_are_finite_even_if_their_sum_is_not(values: list[float]) -> None:
    assert is_finite(torch.tensor(values)) == all(map(math.isfinite, values))


def test_another_precision_is_refused_on_resuming(corpus: Path) -> None:
    Trainer(config(corpus, "exp", "fp32"))
    with pytest.raises(InputError, match="holds a training with optim.precision=fp32"):
        Trainer(config(corpus, "exp", "bf16"))
