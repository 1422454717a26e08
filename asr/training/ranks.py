"""One training in the processes that torchrun starts, on one machine or several: ranks 0 to size - 1.

Rank 0 leads: it alone reads the options, makes the batches, adds the gradients, updates the parameters and writes
files. The others get the net and the sets from it and compute shards. Gradients are added in the order of their shards,
so the number of ranks changes no bit where the arithmetic is the same. (An all-reduce, as in torch's
DistributedDataParallel, adds in an order that depends on the number.)

Messages and results go through gloo; parameters and gradients through gloo between CPUs, NCCL between GPUs.
"""

import copy
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from asr.config import Config
from asr.data.sets import Sets
from asr.errors import InputError
from asr.training import sharded
from asr.training.criteria import Criterion
from asr.training.messages import AGAIN, receive, send, together
from asr.training.processes import divide_threads, take_next
from asr.training.shards import Pass, ShardResult, Shards

LONGEST_START = timedelta(minutes=10)
LONGEST_WAIT = timedelta(days=1)  # rank 0 may first encode a corpus; ranks that have ended are noticed at once


@contextmanager
def joined(cfg: Config) -> Iterator["Ranks | None"]:
    """The processes that torchrun started with this one; None if there are no others."""
    if not dist.is_available() or not dist.is_torchelastic_launched() or int(os.environ["WORLD_SIZE"]) == 1:
        yield None
        return
    if cfg.device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    with together():
        _join("cpu:gloo,cuda:nccl" if cfg.device == "cuda" else "gloo")
    ranks = Ranks()
    signal.signal(signal.SIGTERM, _end)  # not before: a process that waits for others could not act on it
    try:
        yield ranks
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        ranks.dismiss()
    dist.destroy_process_group()


def _join(backend: str) -> None:
    """Meets the others at torchrun's store. That outlives a restart, with the addresses of processes that have ended,
    so each start has keys of its own."""
    store, rank, size = next(dist.rendezvous("env://", timeout=LONGEST_START))
    store = dist.PrefixStore(f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT')} of {size}", store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=LONGEST_WAIT)


class Ranks:
    """The processes of torchrun. Rank 0 calls `lead` once, then uses the object as it does a `Team`: `start(task)`, and
    `step()` for each batch. The others call `serve`."""

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.are_waiting = True  # whether the others wait for a message of rank 0
        self.divided: sharded.Sharded | None = None

    def lead(self, cfg: Config, shards: Shards, optimizer: torch.optim.Optimizer) -> "Ranks | sharded.Sharded":
        """Give the net and the sets to the others. Returns what computes batches: this object, or all processes with
        their parts of the net."""
        self.shards = shards
        send((cfg, len(shards.gradients), copy.deepcopy(shards.model).cpu(), shards.sets))
        if cfg.optim.sharded:
            self.divided = sharded.lead(cfg, shards.model, shards.sets, shards.criterion, optimizer)
        return self.divided or self

    def start(self, task: Pass) -> None:
        send(task)
        self._steps = _advance(self.shards, task)
        self._left = len(task.batches)
        self.are_waiting = self._left == 0

    def step(self) -> list[list[ShardResult]]:
        """The results of each rank for the next batch; the gradients of all shards are then here."""
        results = next(self._steps)
        self._left -= 1
        self.are_waiting = self._left == 0
        return results

    def serve(self, make: Callable[[Config, Sets], Criterion]) -> None:
        """Computes shards for rank 0 until that has finished; `make` makes the criterion. Exits with code 2 if another
        rank ends before."""
        try:
            if (given := receive()) is None:
                return
            cfg, count, model, sets = given
            torch.set_num_threads(divide_threads(cfg.threads, 1)[1])
            if cfg.optim.sharded:
                return sharded.serve(cfg, model, sets, make(cfg, sets))
            shards = Shards(cfg, model.to(cfg.device), sets, make(cfg, sets), count)
            while (task := receive()) is not None:
                for _ in _advance(shards, task):
                    pass
        except InputError:
            if self.rank == 1:  # one sentence is enough
                raise
            raise SystemExit(2) from None

    def dismiss(self) -> None:
        """Tell those that wait for rank 0 that there is no more work. Others notice the end of this process."""
        if self.rank == 0 and (self.divided.are_waiting if self.divided else self.are_waiting):
            send(None)


def _advance(shards: Shards, task: Pass) -> Iterator[list[list[ShardResult]]]:
    """A pass over batches, in every rank; yields, per batch, the results of each rank (in rank 0)."""
    items = shards.run(dist.get_world_size(), dist.get_rank(), task)
    for number in range(len(task.batches)):
        if task.epoch is not None:
            _share(shards.parameters)
        elif number == 0:
            _share(list(shards.model.parameters()))  # the mean of the best epochs may have others that are not trained
        results = _gather(take_next(items))
        if task.epoch is not None:
            _collect_gradients(shards)
        yield results


def _share(parameters: list[torch.nn.Parameter]) -> None:
    """Give all ranks the values of rank 0."""
    with torch.no_grad(), together():
        values = torch.cat([p.flatten() for p in parameters])  # (P,)
        dist.broadcast(values, 0)
        if dist.get_rank():
            for parameter, part in zip(parameters, values.split([p.numel() for p in parameters]), strict=True):
                parameter.copy_(part.view_as(parameter))


def _collect_gradients(shards: Shards) -> None:
    """Bring each shard's gradient to rank 0."""
    rank = dist.get_rank()
    with together():
        for number, gradient in enumerate(shards.gradients):
            owner = number % dist.get_world_size()
            if owner and rank == 0:
                dist.recv(gradient, owner)
            elif owner and rank == owner:
                dist.send(gradient, 0)


def _gather(own: tuple[list[ShardResult] | None, str | None, str | None]) -> list[list[ShardResult]]:
    """In rank 0: what each rank has computed. Raises there what another rank has raised."""
    rank = dist.get_rank()
    found: list[Any] = [None] * dist.get_world_size()
    with together():
        dist.gather_object(own, found if rank == 0 else None)
    if rank:
        return []
    for number, (_, refusal, trace) in enumerate(found):
        if refusal is not None:
            raise InputError(refusal if number == 0 else f"rank {number}: {refusal}")
        if trace is not None:
            raise RuntimeError(f"rank {number} of the training failed:\n{trace}")
    return [results for results, _, _ in found]


def _end(number: int, frame: object) -> None:
    raise InputError(f"stopped by torchrun (SIGTERM), which does so when another process has ended; {AGAIN}")
