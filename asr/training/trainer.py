"""Training: manifests and a configuration -> `out/train/final.safetensors`.

Every step is a pure function of (configuration, step number, parameters): batches, augmentation and dropout are
seeded by the step, so a run that was killed and resumed ends with the same bits as one that was not.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rapidfuzz.distance import Levenshtein
from torch.utils.data import DataLoader
from tqdm import tqdm

from asr.config import Config
from asr.criteria import ctc_greedy, ctc_loss
from asr.data.augment import generator, mask_features, warp_bins
from asr.data.batching import epoch_batches
from asr.data.dataset import Batch, Utterances, collate
from asr.data.extract import record_path
from asr.data.sets import prepare_sets
from asr.errors import InputError
from asr.features import recorded
from asr.files import atomic_write
from asr.models.acoustic import AcousticModel
from asr.tokens import Tokens
from asr.training import checkpoint
from asr.training.curves import plot_curves
from asr.training.settings import check_resumable, settings


class Trainer:
    def __init__(self, cfg: Config):
        self.cfg = cfg
        self.folder = Path(cfg.out) / "train"
        self.folder.mkdir(parents=True, exist_ok=True)
        check_options(cfg)
        check_resumable(self.folder / "config.json", cfg)
        torch.manual_seed(cfg.seed)
        if cfg.threads:
            torch.set_num_threads(cfg.threads)
        self.tokens, self.train_set, self.dev_set = prepare_sets(cfg, self.folder)
        with atomic_write(self.folder / "config.json") as file:
            json.dump(settings(cfg), file, indent=1)
        if cfg.features.kind == "stored" and (front_end := recorded.read(record_path(cfg.data.train))):
            recorded.record(front_end, self.folder / "frontend.json")
        self.model = AcousticModel(cfg.features, cfg.model, len(self.tokens)).to(cfg.device)
        self.optimizer = make_optimizer(self.model, cfg)
        self.epoch_starts = self.count_batches()
        self.state: dict[str, Any] = {"step": 0, "epoch": 0, "records": []}

    def count_batches(self) -> list[int]:
        """The number of the first batch of each epoch, and last the number of all batches."""
        starts = [0]
        for epoch in range(self.cfg.optim.epochs):
            starts.append(starts[-1] + len(self.batches_of(epoch)))
        return starts

    def batches_of(self, epoch: int) -> list[list[int]]:
        return epoch_batches(self.train_set.durations_s, self.cfg.optim.batch_s, self.cfg.seed, epoch)

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then a cosine to zero, over all batches of the training."""
        progress, warmup = (step + 1) / (self.epoch_starts[-1] + 1), max(self.cfg.optim.warmup, 1e-9)
        if progress < warmup:
            return self.cfg.optim.lr * progress / warmup
        return self.cfg.optim.lr * 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))

    def run(self) -> Path:
        """Train to the end, resuming where an earlier run stopped; returns the path of the final model."""
        final = self.folder / "final.safetensors"
        if final.exists():
            tqdm.write(f"already trained: {final}")
            return final
        if resumed := checkpoint.read_resume(self.folder, self.model, self.optimizer):
            self.state = resumed
            tqdm.write(f"resuming {self.folder} at step {resumed['step']}, epoch {resumed['epoch'] + 1}")
        elif self.cfg.features.cmvn in ("global", "running"):
            self.fit_cmvn()
        with tqdm(total=self.epoch_starts[-1], initial=self.state["step"], unit="batch", desc="training") as bar:
            while self.state["epoch"] < self.cfg.optim.epochs and not self.is_stale():
                loss = self.train_epoch(self.state["epoch"], bar)
                self.finish_epoch(loss, bar)
        best = self.best_epochs()
        checkpoint.write_tensors(final, checkpoint.average([self.folder / r["file"] for r in best]))
        self.model.load_state_dict(checkpoint.read_tensors(final))
        dev = self.evaluate()
        tqdm.write(f"{final}: mean of epochs {[r['epoch'] for r in best]}, dev token errors {dev['dev_ter']:.2%}")
        return final

    def fit_cmvn(self) -> None:
        """Mean and variance of the training features."""
        batches = epoch_batches(self.train_set.durations_s, self.cfg.optim.batch_s, 0, 0)
        for batch in tqdm(self.load(self.train_set, batches), total=len(batches), desc="cmvn", leave=False):
            if batch is not None:
                self.model.frontend.accumulate_stats(batch.inputs, batch.lengths)

    def train_epoch(self, epoch: int, bar: tqdm) -> float:
        """The rest of an epoch, from the state's step on; returns the mean loss an utterance of what was trained."""
        self.model.train()
        batches = self.batches_of(epoch)
        self.train_set.epoch = epoch
        total, count = 0.0, 0
        done = self.state["step"] - self.epoch_starts[epoch]
        for batch in self.load(self.train_set, batches[done:]):
            if batch is not None:
                total += self.train_batch(batch) * len(batch.ids)
                count += len(batch.ids)
            self.state["step"] += 1
            if (
                self.state["step"] % self.cfg.optim.accumulate == 0
                or self.state["step"] == self.epoch_starts[epoch + 1]
            ):
                self.update_parameters()
            bar.update()
            bar.set_postfix(epoch=epoch + 1, loss=f"{total / max(count, 1):.3f}", refresh=False)
            if self.state["step"] % (self.cfg.optim.checkpoint_steps * self.cfg.optim.accumulate) == 0:
                checkpoint.write_resume(self.folder, self.model, self.optimizer, self.state)
        return total / max(count, 1)

    def load(self, dataset: Utterances, batches: list[list[int]]) -> Iterator[Batch | None]:
        return iter(DataLoader(dataset, batch_sampler=batches, collate_fn=collate, num_workers=self.cfg.data.workers))

    def train_batch(self, batch: Batch) -> float:
        """Add one batch's gradient; returns its mean loss."""
        step, cfg = self.state["step"], self.cfg
        torch.manual_seed(cfg.seed * 1_000_003 + step)
        with torch.no_grad():
            features, lengths = self.model.frontend(batch.inputs.to(cfg.device), batch.lengths.to(cfg.device))
            rng = generator(cfg.seed, step, 1)
            if cfg.augment.bin_warp:
                features = warp_bins(features, cfg.augment.bin_warp, rng)
            features = mask_features(features, lengths, cfg.augment, cfg.features.shift_ms / 1000, rng)
        log_probs, frames = self.model.net(features, lengths)
        loss = self.loss(log_probs, frames, batch)
        if not loss.isfinite():
            raise InputError(
                f"training diverged: the loss of step {step} is {loss.item()}, over utterances {', '.join(batch.ids)}; "
                "lower optim.lr, or look at these utterances"
            )
        (loss / cfg.optim.accumulate).backward()
        return loss.item()

    def loss(self, log_probs: torch.Tensor, frames: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Mean CTC loss an utterance, in nats."""
        losses = ctc_loss(
            log_probs.transpose(0, 1),  # (F', N, V)
            batch.targets.to(log_probs.device),
            frames,
            batch.target_lengths.to(log_probs.device),
            reduction="none",
            zero_infinity=self.cfg.criterion.zero_infinity,
        )
        return losses.mean()

    def update_parameters(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.state["step"] - 1)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.cfg.optim.grad_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    @torch.inference_mode()
    def evaluate(self) -> dict[str, float]:
        """Mean loss an utterance and greedy token error rate on the dev set."""
        self.model.eval()
        total, errors, tokens = 0.0, 0, 0
        order = epoch_batches(self.dev_set.durations_s, self.cfg.optim.batch_s, 0, 0)
        for batch in self.load(self.dev_set, order):
            if batch is None:
                continue
            log_probs, frames = self.model(batch.inputs.to(self.cfg.device), batch.lengths.to(self.cfg.device))
            total += float(self.loss(log_probs, frames, batch)) * len(batch.ids)
            for hyp, ref, n in zip(ctc_greedy(log_probs, frames), batch.targets, batch.target_lengths, strict=True):
                errors += Levenshtein.distance(hyp, ref[:n].tolist())
                tokens += int(n)
        return {"dev_loss": total / len(self.dev_set), "dev_ter": errors / max(tokens, 1)}

    def finish_epoch(self, train_loss: float, bar: tqdm) -> None:
        """Judge the epoch, keep it if it is among the best, write log, curves and a resume point."""
        state = self.state
        state["epoch"] += 1
        lr = self.optimizer.param_groups[0]["lr"]
        record = {"step": state["step"], "epoch": state["epoch"], "train_loss": train_loss, "lr": lr, **self.evaluate()}
        record["file"] = f"checkpoints/epoch-{state['epoch']:03d}.safetensors"
        checkpoint.write_tensors(self.folder / record["file"], self.model.state_dict())
        state["records"].append(record)
        kept = {r["file"] for r in self.best_epochs()}
        for path in (self.folder / "checkpoints").glob("epoch-*.safetensors"):
            if f"checkpoints/{path.name}" not in kept:
                path.unlink()
        self.write_log()
        checkpoint.write_resume(self.folder, self.model, self.optimizer, state)
        bar.write(
            f"epoch {record['epoch']}: train loss {train_loss:.3f}, dev loss {record['dev_loss']:.3f}, "
            f"dev token errors {record['dev_ter']:.2%}"
        )

    def best_epochs(self) -> list[dict[str, Any]]:
        ranked = sorted(self.state["records"], key=lambda r: (r["dev_ter"], r["dev_loss"]))
        return ranked[: self.cfg.optim.average]

    def is_stale(self) -> bool:
        """True when the last `patience` epochs brought nothing better."""
        records, patience = self.state["records"], self.cfg.optim.patience
        return bool(patience and records) and records[-1]["epoch"] - self.best_epochs()[0]["epoch"] >= patience

    def write_log(self) -> None:
        """log.jsonl, curves.png and TensorBoard events, all from the records."""
        with atomic_write(self.folder / "log.jsonl") as file:
            file.writelines(json.dumps(record) + "\n" for record in self.state["records"])
        plot_curves(self.state["records"], self.folder / "curves.png")
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        record = self.state["records"][-1]
        with SummaryWriter(str(self.folder / "tensorboard")) as writer:
            for name in ("train_loss", "dev_loss", "dev_ter", "lr"):
                writer.add_scalar(name, record[name], record["epoch"])


def make_optimizer(model: torch.nn.Module, cfg: Config) -> torch.optim.AdamW:
    """AdamW; biases and normalisation weights do not decay."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": cfg.optim.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=cfg.optim.lr, betas=(0.9, 0.98))


def check_options(cfg: Config) -> None:
    """Raises InputError for the first option out of its range."""
    if cfg.criterion.kind != "ctc":
        raise InputError(f"criterion.kind={cfg.criterion.kind} is unknown; the one there is is ctc")
    for name in ("epochs", "batch_s", "accumulate", "grad_clip", "average", "checkpoint_steps"):
        if getattr(cfg.optim, name) <= 0:
            raise InputError(f"optim.{name}={getattr(cfg.optim, name)} must be above 0")
    for name in ("lr", "weight_decay", "warmup", "patience"):
        if getattr(cfg.optim, name) < 0:
            raise InputError(f"optim.{name}={getattr(cfg.optim, name)} must be 0 or more")
    if any(speed <= 0 for speed in cfg.augment.speeds):
        raise InputError(f"augment.speeds={cfg.augment.speeds} must all be above 0; 1.0 is the recording's own speed")
    if not 0 <= cfg.augment.bin_warp < 1:
        raise InputError(f"augment.bin_warp={cfg.augment.bin_warp} must be from 0 to below 1")


def train(cfg: Config) -> Path:
    """Train as `cfg` says; see `Trainer.run`."""
    return Trainer(cfg).run()


def load_model(cfg: Config) -> tuple[AcousticModel, Tokens]:
    """The final model of a run folder, in evaluation mode, and its tokens."""
    folder = Path(cfg.out) / "train"
    if not (folder / "final.safetensors").exists():
        raise InputError(f"{folder} holds no final.safetensors; run `asr train out={cfg.out}` first")
    tokens = Tokens.read(folder / "tokens.txt")
    model = AcousticModel(cfg.features, cfg.model, len(tokens))
    model.load_state_dict(checkpoint.read_tensors(folder / "final.safetensors"))
    return model.to(cfg.device).eval(), tokens
