"""Training: manifests and a configuration -> `out/train/final.safetensors`.

Every step is a pure function of (configuration, step number, parameters): batches, augmentation and dropout are
seeded by the step. So a run that was killed and resumed ends with the same bits as an uninterrupted one.
"""

import json
import math
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from asr import manifest
from asr.config import Config, check_choices, value_of
from asr.data.batching import epoch_numbers
from asr.data.dataset import Utterances
from asr.data.encoded import encode_sets, with_full_name
from asr.data.scenes.scene import check_augment
from asr.data.sets import prepare_sets
from asr.errors import InputError
from asr.features import recorded
from asr.features.frontend import FrontEnd
from asr.files import atomic_write
from asr.locks import locked
from asr.models import check_net
from asr.models.acoustic import AcousticModel, upper_layers
from asr.models.filters import check_levels
from asr.models.low_rank import add_pairs, load_merged, merged
from asr.threads import torch_threads
from asr.tokens import Tokens
from asr.training import checkpoint, priors
from asr.training.criteria import MakeGraphs, check_criterion, counted, make_criterion, outputs_of, undo_finish
from asr.training.cuda_graphs import check_cuda_graphs
from asr.training.curves import Curves
from asr.training.folder import check_folder, check_streams, record_front_end, record_hmm
from asr.training.moving_average import MovingAverage
from asr.training.optimizer import bind_gradients, make_optimizer
from asr.training.processes import Team, divide_threads
from asr.training.ranks import Ranks
from asr.training.settings import MANIFESTS, check_inputs, check_resumable, check_table, settings
from asr.training.sharded import Sharded, check_sharded
from asr.training.shards import Pass, ShardResult, Shards, load, readers_named, shards_of_batch
from asr.training.skips import without_faults
from asr.training.start import Start


class Trainer:
    def __init__(
        self,
        cfg: Config,
        start: Start | None = None,
        make_graphs: MakeGraphs | None = None,
        ranks: Ranks | None = None,
    ):
        """`start`: the recogniser that `cfg.init` names. `make_graphs`: makes those of LF-MMI over HMMs. `ranks`: the
        processes of torchrun that compute the shards."""
        self.folder = Path(cfg.out) / "train"
        self.start, self.ranks = start, ranks
        self.cfg = given = cfg = with_full_name(start.with_encoder(cfg, self.folder) if start else cfg)
        self.folder.mkdir(parents=True, exist_ok=True)
        check_choices(cfg)
        size = ranks.size if ranks else 1
        check_sharded(cfg, size, count := shards_of_batch(cfg, size))
        check_cuda_graphs(cfg)
        check_net(cfg.model)
        check_levels(cfg.features, cfg.model)
        check_criterion(cfg, start)
        check_augment(cfg)
        check_folder(cfg, self.folder)
        check_resumable(self.folder / "config.json", cfg)
        check_table(self.folder)
        self.check_start()
        check_streams(cfg)
        upper = upper_layers(cfg.features, cfg.model, FrontEnd(cfg.features)) if cfg.model.tune_layers else None
        self.cfg = cfg = encode_sets(given) if given.features.kind == "pretrained" else given
        self.check_recordings()
        torch.manual_seed(cfg.seed)
        self.sets = prepare_sets(cfg, self.folder, start.table if start else None)
        self.tokens, self.train_set, self.dev_set = self.sets[:3]
        with atomic_write(self.folder / "config.json") as file:
            json.dump(settings(given) | {"outputs": (outputs := outputs_of(cfg, start))}, file, indent=1)
        record_front_end(cfg, self.folder)
        record_hmm(cfg, self.folder, outputs)
        self.model = AcousticModel(cfg.features, cfg.model, len(self.tokens), upper=upper)
        if upper is not None and cfg.model.lora_rank is not None:
            add_pairs(upper, cfg.model.lora_rank)
        home = replace(cfg, device="cpu") if cfg.optim.sharded else cfg  # where the whole net is
        self.model.to(home.device)
        self.criterion = make_criterion(cfg, self.sets, start, make_graphs)
        self.shards = Shards(home, self.model, self.sets, self.criterion, count)
        self.gradient = torch.zeros_like(self.shards.gradients[0])  # (P,), of all parameters
        bind_gradients(self.shards.parameters, self.gradient)
        self.optimizer = make_optimizer(self.model, cfg)
        self.average = MovingAverage(self.shards.parameters, cfg.optim.ema)
        self.epoch_starts = self.count_batches()
        self.state: dict[str, Any] = {"step": 0, "epoch": 0, "records": [], "loss": 0.0, "utterances": 0, "skipped": 0}
        self.state["shards"] = count
        self.has_gradient = False  # whether a step since the last update of the parameters was not skipped
        self.curves = Curves(self.folder)
        self.set_aside: set[str] = set()  # ids of unreadable utterances that were reported

    def check_start(self) -> None:
        """Raises InputError if the recogniser to start from does not fit; writes its encoder into the folder."""
        if self.cfg.model.lora_rank is not None and not self.cfg.model.tune_layers:
            raise InputError("model.lora_rank is for the layers of model.tune_layers, but that is 0; set it, too")
        if self.cfg.optim.tune_decay != 1 and self.cfg.model.tune_layers < 2:
            raise InputError(f"optim.tune_decay={self.cfg.optim.tune_decay:g} is for several layers of an encoder, but "
                             f"model.tune_layers={self.cfg.model.tune_layers}; set it, too")  # fmt: skip
        if self.start is None and self.cfg.data.general_dev:
            raise InputError(f"data.general_dev={self.cfg.data.general_dev} is for a training that starts from a "
                             "recogniser, which it must not become worse than; name it with init=")  # fmt: skip
        if self.start:
            self.start.check_fits(self.cfg)
            self.start.write_encoder(self.cfg, is_new=not (self.folder / "config.json").exists())

    def check_recordings(self) -> None:
        """Raises InputError if a recording, or a file of stored features, is not the one of an earlier start."""
        paths = [value_of(self.cfg, name) for name in MANIFESTS]
        utterances = [u for path in paths if path for u in manifest.read(path)]
        final = self.folder / "final.safetensors"
        check_inputs(self.folder / "inputs.json", Path(self.cfg.out), utterances, final.exists())

    def count_batches(self) -> list[int]:
        """The number of the first batch of each epoch, then the number of all batches."""
        starts = [0]
        for epoch in range(self.cfg.optim.epochs):
            starts.append(starts[-1] + len(self.batches_of(epoch)))
        return starts

    def batches_of(self, epoch: int) -> list[list[int]]:
        cfg, durations_s = self.cfg, self.train_set.durations_s
        numbers = epoch_numbers(durations_s, self.sets.own, cfg.data.replay_share, cfg.seed, epoch)
        is_sorted = epoch < cfg.optim.sorted_epochs
        return self.train_set.batches(cfg.seed, epoch, len(self.shards.gradients), numbers, is_sorted)

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then cosine decay to zero over all batches of the training."""
        progress, warmup = (step + 1) / (self.epoch_starts[-1] + 1), max(self.cfg.optim.warmup, 1e-9)
        if progress < warmup:
            return self.cfg.optim.lr * progress / warmup
        return self.cfg.optim.lr * 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))

    def run(self) -> Path:
        """Train to the end, from the last resume point if there is one; returns the path of the final model."""
        final = self.folder / "final.safetensors"
        if final.exists():
            tqdm.write(f"already trained: {final}")
            return final
        is_alone = self.ranks or torch.device(self.cfg.device).type != "cpu"  # a forked process cannot use a GPU
        processes, threads = divide_threads(self.cfg.threads, 1 if is_alone else len(self.shards.gradients))
        with torch_threads(threads):
            self.resume()
            team = Team(partial(self.shards.run, processes), processes, threads)
            lead = self.ranks and self.ranks.lead(self.cfg, self.shards, self.optimizer)
            with nullcontext(lead) if lead else team as self.team:
                return self.train_epochs(final)

    def resume(self) -> None:
        """Restore the last resume point, or prepare a new training."""
        if resumed := checkpoint.read_resume(self.folder, self.model, self.optimizer, self.average, self.take_up):
            tqdm.write(f"resuming {self.folder} at step {resumed['step']}, epoch {resumed['epoch'] + 1}")
        elif self.start:
            tqdm.write(f"starting from {self.start.path}: {self.start.take_over(self.model, self.tokens)}")
            undo_finish(self.criterion, self.model, self.start, self.tokens)
            self.average.begin()
        elif self.cfg.features.cmvn in ("global", "causal"):
            self.fit_cmvn()

    def take_up(self, resumed: dict[str, Any]) -> None:
        """Go on from the state of a resume point. Raises InputError if it does not fit the batches, DamagedError if the
        models of its best epochs cannot be read."""
        self.state = {"shards": len(self.shards.gradients)} | resumed  # nothing of a later point that was damaged
        step, epoch, epochs = self.state["step"], self.state["epoch"], self.cfg.optim.epochs
        ends = self.epoch_starts
        if epoch > epochs or not ends[epoch] <= step <= ends[min(epoch + 1, epochs)]:
            raise InputError(f"{self.folder} stopped at step {step} of epoch {epoch + 1}, where these batches have no "
                             f"such step; choose another folder with out=, or delete {self.folder}")  # fmt: skip
        if (before := self.state["shards"]) != (now := len(self.shards.gradients)):
            raise InputError(f"{self.folder} holds a training that divides each batch into {before} parts, not {now}; "
                             f"set optim.shards={before}, which at most {before} processes can share")  # fmt: skip
        for record in self.best_epochs():
            self.read_epoch(record)

    def read_epoch(self, record: dict[str, Any]) -> dict[str, Tensor]:
        return checkpoint.read_tensors(self.folder / record["file"], record.get("sha256"))

    def train_epochs(self, final: Path) -> Path:
        """The remaining epochs, then the mean of the best."""
        if self.sets.general and "general_start" not in self.state:
            self.state["general_start"] = self.judge_general()
            tqdm.write(f"general {counted(self.cfg)} errors {self.state['general_start']:.2%} before the training")
        with tqdm(total=self.epoch_starts[-1], initial=self.state["step"], unit="batch", desc="training") as bar:
            while self.state["epoch"] < self.cfg.optim.epochs and not self.is_stale():
                loss = self.train_epoch(self.state["epoch"], bar)
                self.finish_epoch(loss, bar)
        self.curves.plot(self.state["records"])
        best, errors = self.load_best()
        priors.tell(self.criterion, self.state.get("log_priors"))
        self.criterion.finish(self.model)
        checkpoint.write_tensors(final, merged(self.model.state_dict()))
        checkpoint.drop_models(self.folder, self.best_epochs())
        tqdm.write(f"{final}: mean of epochs {[r['epoch'] for r in best]}, dev {counted(self.cfg)} errors {errors:.2%}")
        return final

    def load_best(self) -> tuple[list[dict[str, Any]], float]:
        """Load the mean of the best epochs, of so many that it has the fewest dev errors among the means that are good
        enough on the general set; returns their records and the dev errors. Raises InputError if none is."""
        best = self.best_epochs()
        if not best:
            record = min(self.state["records"], key=lambda r: r["general_ter"])
            raise InputError(
                f"none of the {len(self.state['records'])} epochs keeps what the start could: it had "
                f"{self.state['general_start']:.2%} {counted(self.cfg)} errors on {self.cfg.data.general_dev}, the "
                f"best epoch there ({record['epoch']}) has {record['general_ter']:.2%}; raise data.replay_share or "
                "optim.general_margin, or lower optim.lr, in another folder with out="
            )
        found = []
        for count, mean in enumerate(checkpoint.means(map(self.read_epoch, best)), 1):
            dev = best[0]  # the mean of one epoch is known
            if count > 1:
                self.load_mean(mean)
                if self.sets.general and not self.is_kept(self.judge_general()):
                    continue
                dev = self.evaluate()
            found.append((dev["dev_ter"], dev["dev_loss"], -count))
        dev_ter, _, negative = min(found)
        self.load_mean(checkpoint.average(map(self.read_epoch, best := best[:-negative])))
        return best, dev_ter

    def load_mean(self, mean: dict[str, Tensor]) -> None:
        load_merged(self.model, mean)
        if isinstance(self.team, Sharded):
            self.team.load()

    def fit_cmvn(self) -> None:
        """Mean and variance of the training features."""
        batches = self.train_set.batches(0, 0, len(self.shards.gradients))
        loaded = load(self.train_set, batches, self.cfg.data.workers)
        for batch in tqdm(loaded, total=len(batches), desc="cmvn", leave=False):
            if batch.ids:
                self.model.frontend.accumulate_stats(*self.shards.heard(batch))

    def train_epoch(self, epoch: int, bar: tqdm) -> float:
        """The rest of an epoch, from the state's step on; returns the mean loss per utterance trained on.

        Raises InputError if the whole epoch trained on no utterance.
        """
        cfg, state, end = self.cfg.optim, self.state, self.epoch_starts[epoch + 1]
        batches = self.batches_of(epoch)[state["step"] - self.epoch_starts[epoch] :]
        task = Pass(batches, epoch, state["step"], self.epoch_starts[-1], log_priors=state.get("log_priors"))
        self.team.start(task)
        for _ in batches:
            results = without_faults(self.folder, state, self.take_step())
            self.has_gradient |= bool(results)
            utterances = sum(r.utterances for r in results)
            state["loss"] += sum(r.loss for r in results)
            state["utterances"] += utterances
            priors.add(state, (r.posteriors for r in results))
            factor = 1 / (utterances * cfg.accumulate) if utterances else 0.0
            if isinstance(self.team, Sharded):
                self.team.take(factor)
            for gradient in self.shards.gradients if factor and not cfg.sharded else ():
                self.gradient.add_(gradient, alpha=factor)
            state["step"] += 1
            if state["step"] % cfg.accumulate == 0 or state["step"] == end:
                self.update_parameters()
            bar.update()
            bar.set_postfix(epoch=epoch + 1, loss=f"{state['loss'] / max(state['utterances'], 1):.3f}", refresh=False)
            if state["step"] % (cfg.checkpoint_steps * cfg.accumulate) == 0:
                if isinstance(self.team, Sharded):
                    self.team.collect()
                checkpoint.write_resume(self.folder, self.model, self.optimizer, self.average, state)
        if not state["utterances"]:
            raise InputError(
                f"epoch {epoch + 1} trained on none of the {len(self.train_set)} utterances of {self.cfg.data.train}: "
                "all were set aside or skipped, for the reasons above; mend their files, and the same command continues"
            )
        return state["loss"] / state["utterances"]

    def take_step(self) -> list[ShardResult]:
        """The results of the next batch's shards, in their order; unreadable utterances are reported once."""
        results = sorted((r for own in self.team.step() for r in own), key=lambda r: r.number)
        for utterance in [u for r in results for u in r.unreadable]:
            if utterance.id not in self.set_aside:
                tqdm.write(f"set aside utterance '{utterance.id}': {utterance.reason}")
                self.set_aside.add(utterance.id)
        return results

    def update_parameters(self) -> None:
        if not self.has_gradient:
            return
        self.has_gradient = False
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.state["step"] - 1) * group["scale"]
        if isinstance(self.team, Sharded):
            return self.team.update([group["lr"] for group in self.optimizer.param_groups])
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.cfg.optim.grad_clip)
        self.optimizer.step()
        self.model.net.constrain()
        self.average.update(self.state["step"] / self.cfg.optim.accumulate)
        self.gradient.zero_()

    def evaluate(self) -> dict[str, float]:
        """Mean loss per utterance and greedy token error rate, or that of frames, on the dev set."""
        loss, errors = self.judge(self.dev_set, Pass([]), self.cfg.data.dev)
        return {"dev_loss": loss, "dev_ter": errors}

    def judge_general(self) -> float:
        """Greedy token error rate on the general dev set."""
        assert self.sets.general
        return self.judge(self.sets.general, Pass([], general=True), self.cfg.data.general_dev)[1]

    def judge(self, dataset: Utterances, task: Pass, path: str | None) -> tuple[float, float]:
        """Mean loss per utterance and token error rate on the set of a manifest, in the batches that `task` gets."""
        task.batches = dataset.batches(0, 0, len(self.shards.gradients))
        self.team.start(task)
        results = [result for _ in task.batches for result in self.take_step()]
        if not (utterances := sum(r.utterances for r in results)):
            raise InputError(
                f"none of the {len(dataset)} utterances of {path} could be read, for the reasons "
                "above; make their files readable, and the same command continues"
            )
        loss = sum(r.loss for r in results) / utterances
        return loss, sum(r.errors for r in results) / max(sum(r.tokens for r in results), 1)

    def finish_epoch(self, train_loss: float, bar: tqdm) -> None:
        """Evaluate the epoch, keep its model if it is among the best, write log, curves and a resume point."""
        state = self.state
        if isinstance(self.team, Sharded):
            self.team.collect()
        state |= {"epoch": state["epoch"] + 1, "loss": 0.0, "utterances": 0}
        priors.finish_epoch(state)
        lr = self.optimizer.param_groups[0]["lr"]
        record = {"step": state["step"], "epoch": state["epoch"], "train_loss": train_loss, "lr": lr}
        record["file"] = f"checkpoints/epoch-{state['epoch']:03d}.safetensors"
        with self.average.loaded():
            record |= self.evaluate()
            if self.sets.general:
                record["general_ter"] = self.judge_general()
            record["sha256"] = checkpoint.write_tensors(self.folder / record["file"], merged(self.model.state_dict()))
        state["records"].append(record)
        self.curves.write(state["records"])
        checkpoint.write_resume(self.folder, self.model, self.optimizer, self.average, state)
        checkpoint.drop_models(self.folder, self.best_epochs() + self.best_epochs(state["records"][:-1]))
        bar.write(
            f"epoch {record['epoch']}: train loss {train_loss:.3f}, dev loss {record['dev_loss']:.3f}, "
            f"dev {counted(self.cfg)} errors {record['dev_ter']:.2%}"
            + (f", general {counted(self.cfg)} errors {record['general_ter']:.2%}" if self.sets.general else "")
        )

    def best_epochs(self, records: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
        """The best of `records`, by default of all epochs; with a general dev set, of those good enough there."""
        records = self.state["records"] if records is None else records
        kept = [r for r in records if not self.sets.general or self.is_kept(r["general_ter"])]
        return sorted(kept, key=lambda r: (r["dev_ter"], r["dev_loss"]))[: self.cfg.optim.average]

    def is_kept(self, errors: float) -> bool:
        """Whether a model with so many token errors on the general dev set still does what the start could."""
        return errors <= self.state["general_start"] + self.cfg.optim.general_margin / 100

    def is_stale(self) -> bool:
        """True if the last `patience` epochs brought no improvement."""
        records, patience, best = self.state["records"], self.cfg.optim.patience, self.best_epochs()
        return bool(patience and records) and records[-1]["epoch"] - (best[0]["epoch"] if best else 0) >= patience


def train(
    cfg: Config, start: Start | None = None, make_graphs: MakeGraphs | None = None, ranks: Ranks | None = None
) -> Path:
    """Train with `cfg`, from the recogniser `start` that it names; returns the path of the final model. `make_graphs`
    makes the graphs of LF-MMI over HMMs; `ranks`: the other processes of torchrun, if there are any.

    Raises InputError if another process trains in the folder.
    """
    with locked(Path(cfg.out) / "train"), readers_named():
        return Trainer(cfg, start, make_graphs, ranks).run()


def load_model(cfg: Config) -> tuple[AcousticModel, Tokens]:
    """The final model of a run folder, in evaluation mode, and its tokens. Raises InputError if there is none."""
    folder = Path(cfg.out) / "train"
    if not (folder / "final.safetensors").exists():
        raise InputError(f"{folder} holds no final.safetensors; run `asr train out={cfg.out}` first")
    check_table(folder)
    tokens = Tokens.read(folder / "tokens.txt")
    model = AcousticModel(cfg.features, cfg.model, len(tokens))
    trained = checkpoint.read_tensors(folder / "final.safetensors")
    if cfg.features.kind == "pretrained":
        recorded.check_encoder(model.frontend.encoder, cfg.features.encoder, folder / recorded.ENCODER)
    encoder = {name: x for name, x in model.state_dict().items() if name.startswith("frontend.encoder.")}  # not trained
    model.load_state_dict(encoder | trained)
    return model.to(cfg.device).eval(), tokens
