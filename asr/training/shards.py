"""The shards of a batch: the loss and gradient of each, computed in this process or in several.

Every batch is split into the same shards however many processes there are. The random draws of a shard depend on the
seed, the step and the shard's number, and gradients are added in the order of these numbers. So the number of
processes changes how fast a training runs, never its result.
"""

import math
import multiprocessing
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from asr.config import Config
from asr.criteria.consistency import consistency_loss
from asr.criteria.priors import total_posteriors
from asr.criteria.smoothing import smoothing_loss
from asr.data.augment import generator, mask_features, of_features, warp_bins
from asr.data.cache import shared_zeros
from asr.data.dataset import Batch, Unreadable, Utterances, collate
from asr.data.sets import Sets
from asr.errors import InputError
from asr.model_options import CriterionConfig
from asr.models.acoustic import AcousticModel
from asr.training import priors
from asr.training.criteria import Criterion
from asr.training.cuda_graphs import CudaGraphs, Outputs

CPU_SHARDS = 2
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
LOSS_SCALES = (2.0**8, 2.0**4, 1.0, 2.0**-4)  # of float16, whose smallest number is 6e-8: the first without overflow
REAPED_S = 1.0  # within which a process that was killed has ended
READER_ENDED = (
    "a process that reads audio has ended: {}; if memory ran out, lower data.workers or optim.batch_s; the same "
    "command resumes the training"
)


@dataclass
class Pass:
    """A pass over batches of utterance numbers: training if `epoch` is given, else evaluation on the dev set, or on the
    general one."""

    batches: list[list[int]]
    epoch: int | None = None
    first_step: int = 0  # number of the first batch in the whole training
    steps: int = 0  # of the whole training
    general: bool = False
    log_priors: list[float] | None = None  # (V,) of the epoch before, for the loss


@dataclass
class ShardResult:
    number: int  # of the shard within its batch
    utterances: int = 0
    loss: float = 0.0  # summed over the utterances, in nats
    errors: int = 0  # of the criterion: tokens or frames; counted on the dev set only
    tokens: int = 0
    unreadable: list[Unreadable] = field(default_factory=list)
    fault: str = ""  # of a loss or a gradient that is not finite
    suspects: list[str] = field(default_factory=list)  # ids of the utterances that it may come from
    posteriors: np.ndarray | None = None  # (V,) summed over the frames, if the training needs priors


class Shards:
    """Computes shards with one model; `gradients[k]` (P,) is that of shard k, summed over its utterances.

    On the CPU, parameters and gradients are in memory that processes forked later share.
    """

    def __init__(self, cfg: Config, model: AcousticModel, sets: Sets, criterion: Criterion, count: int):
        """`count`: the shards of a batch."""
        self.cfg, self.model, self.sets, self.criterion = cfg, model, sets, criterion
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        size = sum(p.numel() for p in self.parameters)
        if torch.device(cfg.device).type == "cpu":
            share_parameters(list(model.parameters()))
            self.gradients = [torch.from_numpy(shared_zeros(size, np.float32)) for _ in range(count)]
        else:
            self.gradients = [torch.zeros(size, device=cfg.device) for _ in range(count)]
        self.outputs: Outputs = CudaGraphs(self.computed, self.parameters) if cfg.optim.cuda_graphs else self.computed

    def run(self, processes: int, rank: int, task: Pass) -> Iterator[list[ShardResult]]:
        """Per batch, the results of the shards that process `rank` of `processes` computes."""
        count = len(self.gradients)
        own = range(rank, count, processes)
        if task.epoch is not None:
            self.sets.train.epoch = task.epoch
        self.model.train(task.epoch is not None)
        priors.tell(self.criterion, task.log_priors)
        judged = self.sets.general if task.general else self.sets.dev
        dataset = judged if task.epoch is None else self.sets.train
        assert dataset is not None
        parts = [split(batch, count)[number] for batch in task.batches for number in own]
        shards = self.loaded(dataset, parts, -(-self.cfg.data.workers // processes), self.cfg.device == "cuda")
        for step in range(task.first_step, task.first_step + len(task.batches)):
            if task.epoch is None:
                yield [self.judge(next(shards), number) for number in own]
            else:
                yield [self.train(next(shards), step, number, task.steps) for number in own]

    def loaded(self, *given: Any) -> Iterator[Batch]:
        return load(*given)

    def train(self, shard: Batch, step: int, number: int, steps: int) -> ShardResult:
        """Write the shard's gradient in one of all `steps`. The result has a fault if it or the loss is not finite."""
        result = ShardResult(number, len(shard.ids), unreadable=shard.unreadable)
        if not shard.ids:
            self.gradients[number].zero_()
            return result
        torch.manual_seed((self.cfg.seed * 1_000_003 + step) * len(self.gradients) + number)
        rng = generator(self.cfg.seed, step, number, 1)  # four keys, more than any draw of a data set has
        features, lengths = self.augmented(shard, rng)
        outputs, frames = self.outputs(features, lengths)
        loss = self.loss(outputs, frames, shard, consistency_weight(self.cfg.criterion, step, steps))
        result.loss = loss.item()
        if fault := self.differentiate(loss, number):
            result.fault, result.suspects = fault, suspects(shard.ids, outputs[-1].detach())
        elif priors.are_needed(self.cfg.criterion):
            result.posteriors = total_posteriors(outputs[-1], frames)
        return result

    def computed(self, features: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        """The outputs of the net, as those of `AcousticModel.outputs`, in the precision of the training."""
        with reduced(self.cfg):
            return self.model.outputs(features, lengths)

    def differentiate(self, loss: Tensor, number: int) -> str:
        """Write the gradient of a shard; returns what is wrong with it, or nothing."""
        if not math.isfinite(loss.item()):
            return f"the loss is {loss.item()}"
        *others, last = LOSS_SCALES if self.cfg.optim.precision == "fp16" else (1.0,)
        for scale in (*others, last):
            gradients = torch.autograd.grad(
                scale * loss, self.parameters, retain_graph=scale != last, materialize_grads=True
            )  # zeros for skipped blocks
            torch.cat([gradient.flatten() for gradient in gradients], out=self.gradients[number])
            if is_finite(self.gradients[number].div_(scale)):
                return ""
        return "the gradient is not finite"

    def heard(self, shard: Batch) -> tuple[Tensor, Tensor]:
        """The inputs and lengths (N,) of a shard, on the device of the net."""
        inputs, lengths = (x.to(self.cfg.device, non_blocking=True) for x in (shard.inputs, shard.lengths))
        return inputs, lengths

    @torch.no_grad()
    def augmented(self, shard: Batch, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """The features (N, F, D) of a shard with bin warping and masks, and their lengths (N,).

        With `criterion.consistency` they are two views of each utterance, (2 N, F, D): they share speed, silence and
        level, so that their frames match, and have their own warping and masks.
        """
        cfg = self.cfg
        features, lengths = self.model.frontend(*self.heard(shard))
        if cfg.criterion.consistency:
            features, lengths = features.repeat(2, 1, 1), lengths.repeat(2)
        augment = of_features(cfg)
        if augment.bin_warp:
            features = warp_bins(features, augment.bin_warp, rng)
        layers = features.unflatten(2, (self.model.parts, -1))  # (N, F, L, D): a mask is that of all layers
        return mask_features(layers, lengths, augment, cfg.features.shift_ms / 1000, rng).flatten(2), lengths

    def loss(self, outputs: list[Tensor], frames: Tensor, shard: Batch, consistency: float) -> Tensor:
        """The criterion of the net's log-probs (N, F', V), the last of `outputs`, with what else is to be small.

        `consistency`: the weight of the disagreement of two views, if there are two.
        """
        cfg, log_probs = self.cfg.criterion, outputs[-1]
        batch = repeated(shard) if cfg.consistency else shard
        *inner, loss = (self.criterion.loss(output, frames, batch) for output in outputs)
        if inner:
            loss = (1 - cfg.intermediate_weight) * loss + cfg.intermediate_weight * sum(inner) / len(inner)
        if cfg.smoothing:
            loss = (1 - cfg.smoothing) * loss + cfg.smoothing * smoothing_loss(log_probs, frames)
        if cfg.consistency:
            loss = loss / 2 + consistency * consistency_loss(log_probs, frames)
        return loss

    @torch.no_grad()  # not inference_mode, whose tensors FSDP could not use again in training
    def judge(self, shard: Batch, number: int) -> ShardResult:
        """Loss and errors."""
        result = ShardResult(number, len(shard.ids), unreadable=shard.unreadable)
        if not shard.ids:
            return result
        log_probs, frames = self.model(*self.heard(shard))
        result.loss = self.criterion.loss(log_probs, frames, shard).item()
        result.errors, result.tokens = self.criterion.errors(log_probs, frames, shard)
        return result


def is_finite(x: Tensor) -> bool:
    """Whether all values are finite. If their sum is, they are; it takes a tenth of the time of a look at each."""
    return bool(x.sum().isfinite()) or bool(x.isfinite().all())


def consistency_weight(cfg: CriterionConfig, step: int, steps: int) -> float:
    """The weight rises linearly with the steps: the views of an untrained net have nothing to agree on."""
    warmup = cfg.consistency_warmup * steps
    return cfg.consistency * min(1.0, (step + 1) / warmup) if warmup else cfg.consistency


def repeated(batch: Batch) -> Batch:
    """The targets of a batch (N, L) for two views of it: (2 N, L)."""
    return replace(
        batch,
        targets=batch.targets.repeat(2, 1),
        target_lengths=batch.target_lengths.repeat(2),
        ids=batch.ids * 2,
        texts=batch.texts * 2,
    )


def shards_of_batch(cfg: Config, ranks: int) -> int:
    """How many shards a batch has, for a training in so many processes of torchrun. Raises InputError if there are more
    processes than shards."""
    count = cfg.optim.shards or max(CPU_SHARDS if torch.device(cfg.device).type == "cpu" else 1, ranks)
    if ranks > count:
        raise InputError(f"torchrun started {ranks} processes, but optim.shards={count} divides a batch into {count} "
                         f"parts; start at most {count}, or set optim.shards in a new folder")  # fmt: skip
    return count


def reduced(cfg: Config) -> AbstractContextManager:
    """A context in which the net computes in `optim.precision`: products in bfloat16 or float16, sums, norms and the
    parameters in float32."""
    device, precision = torch.device(cfg.device).type, cfg.optim.precision
    if precision == "auto":
        precision = "bf16" if prefers_bfloat16(cfg, device) else "fp32"
    if precision not in HALF:
        return nullcontext()
    return torch.autocast(device, HALF[precision], cache_enabled=not cfg.optim.cuda_graphs)  # graphs hold no cache


def prefers_bfloat16(cfg: Config, device: str) -> bool:
    """Whether the device computes in bfloat16 itself, as CPUs with AVX-512 BF16 or AMX do; others emulate it and take
    longer than in float32. On a CPU only for layers of an encoder: other nets gain less (1.5 to 2.2 times)."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    told: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of torch do not tell
    return bool(cfg.model.tune_layers) and any(told.get(name) for name in ("avx512_bf16", "amx_bf16"))


def suspects(ids: list[str], log_probs: Tensor) -> list[str]:
    """The utterances whose log-probs (N, F', V), or (2 N, F', V) of two views, are not finite, or all if this tells
    none apart."""
    is_lost = log_probs.isnan().flatten(1).any(1).view(-1, len(ids)).any(0)  # (N,)
    return [id for id, lost in zip(ids, is_lost.tolist(), strict=True) if lost] or ids


def split(batch: list[int], shards: int) -> list[list[int]]:
    """A batch's utterances, dealt out in turn. Shards have similar sizes; the first, rank 0's, is never the largest."""
    return [batch[k::shards] for k in reversed(range(shards))]


def load(dataset: Utterances, batches: list[list[int]], workers: int, pinned: bool = False) -> Iterator[Batch]:
    """The batches, read by `workers` processes; `pinned`: into memory from which a GPU copies while it computes.

    Raises InputError if one of the processes dies.
    """
    others = {*multiprocessing.active_children()}
    with readers_named():
        loader = DataLoader(dataset, batch_sampler=batches, collate_fn=collate, num_workers=workers, pin_memory=pinned)
        found = iter(loader)
        readers = {*multiprocessing.active_children()} - others
        try:
            yield from found
        except (OSError, EOFError, UnpicklingError, RuntimeError) as e:  # from what was handed over in part
            for reader in readers:
                reader.join(REAPED_S)  # one that was killed may not have ended yet
            if all(reader.exitcode is None for reader in readers):
                raise
            raise InputError(READER_ENDED.format(e)) from e


@contextmanager
def readers_named() -> Iterator[None]:
    """Raises InputError if a process of `load` dies. In the first thread the DataLoader raises at any moment, from a
    handler of signals, in others where the next batch is taken; or the connection to the process breaks."""
    try:
        yield
    except (RuntimeError, ConnectionResetError, ConnectionRefusedError, EOFError) as e:
        if isinstance(e, RuntimeError) and not str(e).startswith("DataLoader worker"):
            raise
        raise InputError(READER_ENDED.format(e)) from e


def share_parameters(parameters: list[torch.nn.Parameter]) -> None:
    """Move float32 parameters on the CPU to one block of memory that forked processes share."""
    block = torch.from_numpy(shared_zeros(sum(p.numel() for p in parameters), np.float32))
    for parameter, values in zip(parameters, block.split([p.numel() for p in parameters]), strict=True):
        values.copy_(parameter.detach().flatten())
        parameter.data = values.view_as(parameter)
