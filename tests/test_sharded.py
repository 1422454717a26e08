"""A net divided among processes (optim.sharded): the losses of one process, whole files, exact resume."""

import copy
import json
import os
import pickle
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tones
import torch
from ctranslate2_model import write_model
from ranked import started, train_ranks
from test_training_faults import final_of, same
from torch import Tensor

from asr.cli.overrides import compose, to_overrides
from asr.data.dataset import Batch, collate
from asr.errors import InputError
from asr.models import NETS_OF
from asr.training import checkpoint, sharded
from asr.training.shards import Shards
from asr.training.trainer import Trainer

VERSION = tuple(map(int, torch.__version__.split(".")[:2]))
pytestmark = [
    pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed"),
    pytest.mark.skipif(VERSION < sharded.OLDEST_TORCH, reason="this torch cannot divide nets"),
]
OPTIONS = "threads=1 augment.silence_s=0 augment.gain_db=[] augment.speeds=[] features.kind=pretrained "
OPTIONS += "features.shift_ms=20 features.cmvn=none features.layer=0 model.tune_layers=2 optim.tune_lr=0.01 "
OPTIONS += "model=lstm model.hidden=5 model.layers=1 model.subsampling=1 optim.batch_s=2 optim.lr=0.01 "
OPTIONS += "optim.epochs=2 optim.average=2 optim.accumulate=2 optim.checkpoint_steps=2 criterion.prior_scale=0.3 "
OPTIONS += "optim.precision=fp32"  # the tolerances are of its rounding

DEEP = ("fc", "cnn", "lstm", "conformer", "ebranchformer")
DIVIDED = "optim.sharded=true"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    write_model(tmp_path / "whisper")
    return tones.corpus(tmp_path, 19, 3)


def words(corpus: Path, out: str, *more: str) -> list[str]:
    place = [f"out={corpus / out}", f"data.train={corpus}/train.jsonl", f"data.dev={corpus}/dev.jsonl"]
    return [*OPTIONS.split(), *place, f"features.encoder={corpus}/whisper", *more]


def watch(corpus: Path, stop: int, rank: int) -> None:
    """Writes what this process holds of the parameters, and the bytes of the longest command. The loss of one utterance
    is lost, and step `stop` of the optimiser fails; 0: none does."""
    update, loss, send = sharded.ShardedNet.update, Shards.loss, sharded.send
    sizes: list[int] = []
    calls: list[list[float]] = []

    def followed(net: sharded.ShardedNet, rates: list[float]) -> None:
        calls.append(rates)
        if len(calls) == stop:
            raise InputError("stopped")
        update(net, rates)
        held = sum(sharded.local(p).numel() for p in net.shards.model.parameters())
        (corpus / f"held{rank}").write_text(str(held))

    def lost(shards: Shards, outputs: list[Tensor], frames: Tensor, shard: Batch, consistency: float) -> Tensor:
        return loss(shards, outputs, frames, shard, consistency) * (torch.nan if "train7" in shard.ids else 1.0)

    def measured(message: Any) -> None:
        if isinstance(message, tuple):  # a command
            sizes.append(len(pickle.dumps(message)))
            (corpus / "longest").write_text(str(max(sizes)))
        send(message)

    sharded.ShardedNet.update, Shards.loss, sharded.send = followed, lost, measured  # type: ignore[method-assign]


def test_two_processes_train_as_one_and_resume_exactly(corpus: Path) -> None:
    ((code, told),) = train_ranks(1, corpus, words(corpus, "one"), partial(watch, corpus, 0))
    assert code == 0 and told.count("skipped step") == 2, told
    found = train_ranks(2, corpus, words(corpus, "two", DIVIDED), partial(watch, corpus, 0))
    assert [code for code, _ in found] == [0, 0] and found[0][1].count("skipped step") == 2, found
    one, two = (
        [json.loads(line) for line in (corpus / out / "train/log.jsonl").read_text().splitlines()]
        for out in ("one", "two")
    )
    for name in ("train_loss", "dev_loss", "dev_ter", "lr"):
        assert [r[name] for r in two] == pytest.approx([r[name] for r in one], rel=1e-4), name
    whole = checkpoint.read_tensors(corpus / "one/train/final.safetensors")
    for name, value in checkpoint.read_tensors(corpus / "two/train/final.safetensors").items():
        assert value.shape == whole[name].shape
        if name.startswith("net."):  # where Adam does not enlarge the rounding of gradients that are zero
            torch.testing.assert_close(value, whole[name], atol=2e-3, rtol=0)
    held = [int((corpus / f"held{rank}").read_text()) for rank in (0, 1)]
    assert sum(held) == sum(value.numel() for value in whole.values()) and max(held) < 0.6 * sum(held)
    assert int((corpus / "longest").read_text()) < sum(held)  # bytes: no command holds a net
    skipped = [(corpus / out / "train/skipped.txt").read_text() for out in ("one", "two")]
    assert skipped[0] == skipped[1] and skipped[0].count("train7\t") == 2  # utterances of other processes are not named

    stopped = train_ranks(2, corpus, words(corpus, "again", DIVIDED), partial(watch, corpus, 4))
    assert [code for code, _ in stopped] == [2, 2], stopped
    assert "resume-00000004" in "".join(path.name for path in (corpus / "again/train").iterdir())
    alone = Trainer(compose(to_overrides(words(corpus, "again", "optim.shards=2"), (), None)))
    alone.resume()  # without optim.sharded
    assert alone.state["step"] == 4 and len(alone.optimizer.state) == len(alone.shards.parameters)
    found = train_ranks(2, corpus, words(corpus, "again", DIVIDED), partial(watch, corpus, 0))
    assert [code for code, _ in found] == [0, 0] and "resuming" in found[0][1], found
    assert same(final_of(corpus / "again"), final_of(corpus / "two"))


def end_in_backward(rank_to_end: int, rank: int) -> None:
    """The process of one rank ends where the others wait for its gradient."""
    differentiate = sharded.ShardedShards.differentiate

    def ended(shards: sharded.ShardedShards, loss: Tensor, number: int) -> str:
        if rank == rank_to_end:
            os.kill(os.getpid(), signal.SIGKILL)
        return differentiate(shards, loss, number)

    sharded.ShardedShards.differentiate = ended  # type: ignore[method-assign]


@pytest.mark.parametrize("ended", [0, 1])
def test_a_killed_process_ends_the_other_with_one_sentence(corpus: Path, ended: int) -> None:
    given = [word for word in words(corpus, "exp", DIVIDED) if not word.startswith(("features.", "model.tune"))]
    found = train_ranks(2, corpus, given, partial(end_in_backward, ended))
    assert [code for code, _ in found] == [2 if rank != ended else -signal.SIGKILL for rank in (0, 1)], found
    told = found[1 - ended][1]
    assert "Traceback" not in told and told.count("another process of this training has ended") == 1, told


def compare_nets(place: Path) -> None:
    """Writes how far loss and gradient of each net are off if it is divided, in a process alone."""
    from torch.distributed.fsdp import FSDPModule  # not in older versions

    torch.distributed.init_process_group("gloo", init_method=f"file://{place}/meeting", rank=0, world_size=1)
    for kind in DEEP:
        cfg = tones.config(place, f"run-{kind}")
        cfg.model.kind, cfg.model.hidden, cfg.model.layers, cfg.model.kernel = kind, 8, 2, 3
        if kind in NETS_OF["self_conditioned"]:
            cfg.model.intermediate, cfg.model.self_conditioned = [1], True
        trainer = Trainer(cfg)
        trainer.fit_cmvn()
        shard = collate([trainer.train_set[i] for i in range(3)])
        net = sharded.ShardedNet(cfg, copy.deepcopy(trainer.model), trainer.sets, trainer.criterion, {})
        trainer.model.train(), net.shards.model.train()
        one, two = trainer.shards.train(shard, 0, 0, 1), net.shards.train(shard, 0, 0, 1)
        gradient = torch.cat([p.grad.full_tensor().flatten() for p in net.shards.parameters])  # type: ignore[union-attr]
        alike = sum(isinstance(m, FSDPModule) for m in net.shards.model.modules()) - 1
        found = two.loss - one.loss, (gradient - trainer.shards.gradients[0]).abs().max().item(), alike
        (place / kind).write_text(json.dumps(found))


def test_every_net_can_be_divided(corpus: Path) -> None:
    process = started(compare_nets, corpus)
    process.join()
    assert process.exitcode == 0
    for kind in DEEP:
        loss, gradient, layers = json.loads((corpus / kind).read_text())
        assert (loss, gradient) == pytest.approx((0.0, 0.0), abs=1e-4), kind
        assert layers == 2, kind  # which are put together one at a time


@pytest.mark.parametrize(
    ("ranks", "shards", "option", "message"),
    [(1, 2, {}, "start at least two"),
     (2, 3, {}, "optim.shards=3 and torchrun started 2 processes; make them equal"),
     (2, 2, {"optim.precision": "fp16"}, "does not work with optim.precision=fp16; use bf16 or fp32"),
     (2, 2, {"optim.ema": 0.9}, "does not work with optim.ema=0.9"),
     (2, 2, {"model.layer_drop": 0.2}, "does not work with model.layer_drop=0.2")],
)  # fmt: skip
def test_what_cannot_be_divided_is_refused(
    corpus: Path, ranks: int, shards: int, option: dict[str, object], message: str
) -> None:
    cfg = tones.config(corpus, "run")
    cfg.optim.sharded = True
    for name, value in option.items():
        group, key = name.split(".")
        setattr(getattr(cfg, group), key, value)
    with pytest.raises(InputError, match=message):
        sharded.check_sharded(cfg, ranks, shards)


def test_one_process_alone_is_refused(corpus: Path) -> None:
    cfg = tones.config(corpus, "run")
    cfg.optim.sharded = True
    with pytest.raises(InputError, match="optim.sharded divides the net among the processes of torchrun"):
        Trainer(cfg)
    assert not list((corpus / "run/train").iterdir())  # before the work begins


def test_an_older_torch_is_named(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = tones.config(corpus, "run")
    cfg.optim.sharded = True
    monkeypatch.setattr(torch, "__version__", "2.4.1+cpu")
    with pytest.raises(InputError, match=r"needs torch 2\.7 or later, but this is 2\.4\.1\+cpu"):
        sharded.check_sharded(cfg, 2, 2)
