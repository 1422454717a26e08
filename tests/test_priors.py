"""Label priors: loss and gradient against torch and finite differences, estimates against loops, in a training."""

from pathlib import Path

import numpy as np
import pytest
import tones
import torch
from torch import Tensor

from asr.config import ModelConfig
from asr.criteria import ctc_loss
from asr.criteria.ctc import ctc_loss_reference
from asr.criteria.priors import less_priors, log_priors_of, total_posteriors
from asr.errors import InputError
from asr.training import checkpoint
from asr.training.shards import load
from asr.training.trainer import Trainer, train

TARGETS, SIZES, FRAMES = torch.tensor([[1, 2, 2], [3, 1, 0]]), torch.tensor([3, 2]), torch.tensor([7, 5])


def draw() -> tuple[Tensor, Tensor]:
    """Logits (N, F, V) and log-priors (V,)."""
    torch.manual_seed(0)
    return torch.randn(2, 7, 4, dtype=torch.float64), torch.randn(4, dtype=torch.float64).log_softmax(0)


def loss_of(logits: Tensor, log_priors: Tensor, scale: float) -> Tensor:
    x = less_priors(logits.log_softmax(2), log_priors, scale).transpose(0, 1)  # (F, N, V)
    return ctc_loss(x, TARGETS, FRAMES, SIZES, reduction="sum")


@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_the_loss_with_priors_is_that_of_shifted_log_probs(scale: float) -> None:
    logits, log_priors = draw()
    x = (logits.log_softmax(2) - scale * log_priors).transpose(0, 1).requires_grad_()
    theirs = torch.nn.functional.ctc_loss(x, TARGETS, FRAMES, SIZES, reduction="sum")
    assert loss_of(logits, log_priors, scale).item() == pytest.approx(theirs.item(), rel=1e-12)
    (gradient,) = torch.autograd.grad(theirs, x)
    is_frame = (torch.arange(7)[:, None] < FRAMES)[:, :, None]
    exact = gradient - x.detach().exp() * is_frame  # torch's is right behind a log-softmax alone: it adds exp(x)
    ours = torch.autograd.grad(ctc_loss(x, TARGETS, FRAMES, SIZES, reduction="sum"), x)[0]
    torch.testing.assert_close(ours, exact)


def test_the_gradient_with_priors_is_that_of_finite_differences() -> None:
    logits, log_priors = draw()
    assert torch.autograd.gradcheck(lambda x: loss_of(x, log_priors, 0.5), logits.requires_grad_())


def test_priors_are_mean_posteriors_and_none_is_zero() -> None:
    log_probs = draw()[0].log_softmax(2)
    sums = [sum(log_probs[n, f, v].exp().item() for n in range(2) for f in range(FRAMES[n])) for v in range(4)]
    found = total_posteriors(log_probs, FRAMES)
    assert found == pytest.approx(sums) and found.sum() == pytest.approx(12)
    assert np.exp(log_priors_of(found)) == pytest.approx([(s + 1) / 16 for s in sums])
    assert np.exp(log_priors_of(np.array([8.0, 0.0]))) == pytest.approx([0.9, 0.1])


RECORD = {"epoch": 1, "dev_ter": 0.5, "dev_loss": 1.0}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return tones.corpus(tmp_path, 6, 2)


def test_the_priors_of_an_epoch_shift_the_log_probs_of_the_next(corpus: Path) -> None:
    """With a learning rate of 0 all epochs have the same posteriors."""
    cfg = tones.config(corpus, "run")
    cfg.optim.lr, cfg.criterion.prior_scale, cfg.criterion.prior_subtraction = 0.0, 0.4, 0.7
    trainer = Trainer(cfg)
    trainer.fit_cmvn()
    (batch,) = load(trainer.train_set, [list(range(6))], 0)
    with torch.no_grad():
        log_probs, frames = trainer.model.eval()(batch.inputs, batch.lengths)
    targets = [y[:n].tolist() for y, n in zip(batch.targets, batch.target_lengths.tolist(), strict=True)]
    rows = [x[:n].double() for x, n in zip(log_probs, frames.tolist(), strict=True)]
    totals = torch.cat(rows).exp().sum(0)
    priors = ((totals + 1) / (totals + 1).sum()).log()
    losses = [
        sum(ctc_loss_reference(x - shift, y).item() for x, y in zip(rows, targets, strict=True)) / 6
        for shift in (torch.zeros(len(priors)), 0.4 * priors)
    ]
    bias = trainer.model.net.output.linear.bias.detach().clone()
    final = checkpoint.read_tensors(trainer.run())
    assert [r["train_loss"] for r in trainer.state["records"]] == pytest.approx(losses, rel=1e-5)
    dev_losses = [r["dev_loss"] for r in trainer.state["records"]]
    assert dev_losses[0] == dev_losses[1]  # is the loss of CTC itself
    torch.testing.assert_close(final["net.output.linear.bias"], (bias - 0.7 * priors).float(), rtol=1e-4, atol=1e-5)


def test_a_training_with_priors_resumes_with_the_same_bits(corpus: Path) -> None:
    finals = []
    for out, threads in (("unbroken", 1), ("broken", 2)):
        cfg = tones.config(corpus, out)
        cfg.criterion.prior_scale, cfg.criterion.prior_subtraction = 0.3, 0.2
        cfg.optim.epochs, cfg.optim.batch_s, cfg.optim.checkpoint_steps, cfg.threads = 3, 1.5, 1, threads
        if out == "broken":
            trainer = Trainer(cfg)
            trainer.optimizer.register_step_pre_hook(lambda *_, t=trainer: stop_after(t, 5))  # in the second epoch
            with pytest.raises(KeyboardInterrupt):
                trainer.run()
            assert trainer.state["posteriors"] and 0 < trainer.state["step"] - trainer.epoch_starts[1] < 3
        finals.append(train(cfg).read_bytes())
    assert finals[0] == finals[1]


def test_a_damaged_resume_point_leaves_no_posteriors_behind(corpus: Path) -> None:
    """The state of the second epoch is read first, then that of the first epoch's end, as its model is damaged."""
    cfg = tones.config(corpus, "run")
    cfg.criterion.prior_scale = 0.3
    trainer = Trainer(cfg)
    whole = {**trainer.state, "posteriors": [1.0, 2.0], "records": [{"file": "gone"} | RECORD], "epoch": 1, "step": 1}
    with pytest.raises(checkpoint.DamagedError):
        trainer.take_up(whole)
    trainer.take_up({name: value for name, value in trainer.state.items() if name != "posteriors"} | {"records": []})
    assert "posteriors" not in trainer.state


def stop_after(trainer: Trainer, step: int) -> None:
    if trainer.state["step"] >= step:
        raise KeyboardInterrupt


def test_a_net_that_reads_its_posteriors_cannot_divide_them(corpus: Path) -> None:
    cfg = tones.config(corpus, "run")
    cfg.model = ModelConfig(kind="lstm", hidden=4, layers=2, intermediate=[1], self_conditioned=True)
    cfg.criterion.prior_subtraction = 0.3
    with pytest.raises(InputError, match=r"self_conditioned reads posteriors, but criterion\.prior_subtraction"):
        Trainer(cfg)
