"""What helps with little data, each against a slow reference: moving average, skipped blocks, rates of layers, order of
batches; and all of it together, resumed with the same bits."""

import re
from pathlib import Path

import numpy as np
import pytest
import tones
import torch
from ctranslate2_model import write_model

from asr.cli.overrides import compose, to_overrides
from asr.config import Config, CriterionConfig, ModelConfig
from asr.data.batching import epoch_batches
from asr.errors import InputError
from asr.models import check_net
from asr.models.conformer import ConformerNet
from asr.training import checkpoint
from asr.training.shards import load
from asr.training.trainer import Trainer, train
from benchmarks import ablation


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return tones.corpus(tmp_path, 12, 2)


def test_the_moving_average_is_evaluated_and_kept(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = tones.config(corpus, "run")
    cfg.optim.ema, cfg.optim.average, cfg.optim.batch_s = 0.4, 2, 3
    trainer = Trainer(cfg)
    mean = [p.detach().clone().double() for p in trainer.shards.parameters]
    after: list[torch.Tensor] = []  # the parameters after each step
    update, steps = trainer.update_parameters, 0

    def follow() -> None:
        nonlocal steps
        assert not after or all(torch.equal(a, b) for a, b in zip(after, trainer.shards.parameters, strict=True))
        update()
        steps += 1
        after[:] = [p.detach().clone() for p in trainer.shards.parameters]
        decay = min(0.4, (1 + steps) / (10 + steps))
        mean[:] = [decay * m + (1 - decay) * p.double() for m, p in zip(mean, after, strict=True)]

    monkeypatch.setattr(trainer, "update_parameters", follow)
    trainer.run()
    assert steps == 6  # the last of them beyond the warm-up of the decay
    names = [name for name, p in trainer.model.named_parameters() if p.requires_grad]
    kept = checkpoint.read_tensors(corpus / "run/train/checkpoints/epoch-002.safetensors")
    for name, m in zip(names, mean, strict=True):
        torch.testing.assert_close(kept[name], m.float())
    record = trainer.state["records"][-1]
    trainer.model.eval().load_state_dict(kept)
    losses = [trainer.shards.judge(batch, 0).loss for batch in load(trainer.dev_set, [[0], [1]], 0)]
    assert sum(losses) / 2 == pytest.approx(record["dev_loss"], rel=1e-5)


def test_later_blocks_are_skipped_more_often_and_only_in_training() -> None:
    torch.manual_seed(0)
    net = ConformerNet(ModelConfig(kind="conformer", hidden=8, layers=4, kernel=3, layer_drop=0.8), 5, 3)
    counts = [0] * 4
    for k, block in enumerate(net.blocks.each()):
        block.register_forward_hook(lambda *_, k=k: counts.__setitem__(k, counts[k] + 1))
    x, lengths = torch.randn(1, 6, 5), torch.tensor([6])
    with torch.no_grad():
        for _ in range(200):
            net(x, lengths)
        assert [1 - count / 200 for count in counts] == pytest.approx([0.2, 0.4, 0.6, 0.8], abs=0.08)
        counts[:] = [0] * 4
        net.eval()(x, lengths)
    assert counts == [1] * 4


def test_lower_layers_of_the_encoder_learn_more_slowly(corpus: Path) -> None:
    encoder = str(write_model(corpus / "whisper"))
    cfg = tones.config(corpus, "run", kind="pretrained", encoder=encoder, shift_ms=20.0, cmvn="none", layer=0)
    cfg.model.tune_layers, cfg.optim.tune_lr, cfg.optim.tune_decay = 2, 1e-3, 0.5
    trainer = Trainer(cfg)
    rates = {id(p): group["scale"] * cfg.optim.lr for group in trainer.optimizer.param_groups for p in group["params"]}
    for name, parameter in trainer.model.named_parameters():
        expected = 1e-2 if not name.startswith("upper.") else 5e-4 if name.startswith("upper.blocks.0.") else 1e-3
        if parameter.requires_grad:
            assert rates[id(parameter)] == pytest.approx(expected), name


def test_rates_of_layers_need_layers(corpus: Path) -> None:
    cfg = tones.config(corpus, "run")
    cfg.optim.tune_decay = 0.5
    with pytest.raises(InputError, match=r"tune_decay=0\.5 is for several layers .* model.tune_layers=0; set it, too"):
        Trainer(cfg)


def test_the_first_epochs_go_from_short_to_long() -> None:
    durations = [float(d) for d in torch.rand(200, generator=torch.Generator().manual_seed(0)) * 9 + 1]
    batches = epoch_batches(durations, 30, 1, 0, is_sorted=True)
    longest = [max(durations[i] for i in batch) for batch in batches]
    assert all(b > 0.8 * a for a, b in zip(longest, longest[1:], strict=False)) and longest[-1] > 4 * longest[0]
    shuffled = epoch_batches(durations, 30, 1, 0)
    assert sorted(batches) == sorted(shuffled) and batches != shuffled


def test_sorted_epochs_of_a_training(corpus: Path) -> None:
    cfg = tones.config(corpus, "run")
    cfg.optim.sorted_epochs, cfg.optim.batch_s = 1, 2
    trainer, durations = Trainer(cfg), [0.6] * 12
    assert trainer.batches_of(0) == epoch_batches(durations, 2, 1, 0, is_sorted=True)
    assert trainer.batches_of(1) == epoch_batches(durations, 2, 1, 1)


@pytest.mark.parametrize(
    ("name", "value", "kind", "reader"),
    [("intermediate_weight", 0.5, "ctc", "model.intermediate"),
     ("consistency_warmup", 0.5, "ctc", "criterion.consistency"),
     ("ngram_order", 2, "mwer", "criterion=lfmmi"),
     ("nbest", 8, "smbr", "criterion=mwer"),
     ("auxiliary_weight", 0.5, "ctc", "criterion=lfmmi, mwer or smbr"),
     ("prior_scale", 0.3, "lfmmi", "criterion=ctc"),
     ("prior_subtraction", 0.3, "mwer", "criterion=ctc")],
)  # fmt: skip
def test_an_option_of_the_criterion_that_nothing_reads_is_refused(
    corpus: Path, name: str, value: float, kind: str, reader: str
) -> None:
    cfg = tones.config(corpus, "run")
    cfg.criterion = CriterionConfig(**{"kind": kind, name: value})
    with pytest.raises(InputError, match=rf"criterion\.{name}={value:g} does nothing without {re.escape(reader)};"):
        Trainer(cfg)
    assert not (corpus / "run" / "train" / "config.json").exists()


def test_samples_have_no_bins_to_mask_or_stretch(corpus: Path) -> None:
    """Masks along time stay."""
    cfg = tones.config(corpus, "run", kind="wave", cmvn="utterance")
    cfg.augment.freq_masks, cfg.augment.freq_width, cfg.augment.bin_warp = 20, 100, 0.3
    trainer = Trainer(cfg)
    (batch,) = load(trainer.train_set, [[0, 1]], 0)
    plain = trainer.model.frontend(batch.inputs, batch.lengths)[0]
    assert torch.equal(trainer.shards.augmented(batch, np.random.default_rng(0))[0], plain)
    cfg.augment.time_masks, cfg.augment.time_fraction = 5, 0.5
    masked = trainer.shards.augmented(batch, np.random.default_rng(0))[0]
    lost = (masked == 0) & (plain != 0)
    assert lost.any() and torch.equal(lost.any(2), lost.float().mean(2) > 0.9)


def test_filters_are_not_trained_on_samples_of_any_level(corpus: Path) -> None:
    cfg = tones.config(corpus, "run", kind="wave", cmvn="none")
    cfg.model.filters = "sinc"
    with pytest.raises(InputError, match=r"with features\.cmvn=none quiet speech would sink .* set features\.cmvn="):
        Trainer(cfg)


def everything(corpus: Path, out: str, threads: int) -> Config:
    cfg = tones.config(corpus, out)
    cfg.model = ModelConfig(kind="conformer", hidden=16, layers=3, kernel=3, subsampling=2, intermediate=[1, 2],
                            self_conditioned=True, layer_drop=0.4)  # fmt: skip
    cfg.criterion.consistency, cfg.criterion.smoothing, cfg.criterion.prior_scale = 0.2, 0.05, 0.3
    cfg.augment.bin_warp = 0.1
    cfg.optim.ema, cfg.optim.sorted_epochs, cfg.optim.batch_s, cfg.optim.checkpoint_steps = 0.9, 1, 3, 1
    cfg.threads = threads
    return cfg


def test_all_options_together_resume_with_the_same_bits(corpus: Path) -> None:
    unbroken, broken = everything(corpus, "unbroken", 1), everything(corpus, "broken", 2)
    final = train(unbroken).read_bytes()
    trainer = Trainer(broken)
    trainer.optimizer.register_step_pre_hook(lambda *_: stop_after(trainer, 5))
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    broken.threads = 1
    assert train(broken).read_bytes() == final


def stop_after(trainer: Trainer, step: int) -> None:
    if trainer.state["step"] > step:
        raise KeyboardInterrupt


def test_the_ablation_compares_the_errors_of_the_same_utterances() -> None:
    base = [{"errors": [2, 0, 1], "tokens": [10, 5, 5], "minutes": 1.0}]
    better = [{"errors": [1, 0, 1], "tokens": [10, 5, 5], "minutes": 3.0}]
    found = ablation.row(better, base)
    assert (found["dev_ter"], found["difference"], found["minutes"]) == pytest.approx((10.0, -5.0, 3.0))
    low, high = found["interval"]
    assert low == pytest.approx(-10.0) and high == 0.0  # all draws the first utterance, or none does
    assert ablation.row(base, base)["interval"] == [0.0, 0.0]


@pytest.mark.parametrize("kind", ["cnn", "lstm", "conformer", "ebranchformer"])
def test_the_ablation_leaves_out_what_the_net_does_not_have(kind: str) -> None:
    cfg = Config()
    cfg.model.kind = kind
    for words in ablation.variants(cfg).values():
        check_net(compose(to_overrides([f"model.kind={kind}", *words], (), None)).model)


@pytest.mark.parametrize(("option", "rows"), [("kind=ctc", 2), ("kind=lfmmi", 0), ("self_conditioned", 1)])
def test_the_ablation_leaves_out_priors_that_the_training_refuses(option: str, rows: int) -> None:
    cfg = Config()
    cfg.criterion.kind = option.partition("=")[2] or "ctc"
    cfg.model.self_conditioned = option == "self_conditioned"
    assert sum("prior" in name for name in ablation.variants(cfg)) == rows
