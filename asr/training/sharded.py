"""A net whose parameters, gradients and optimiser state are divided among the processes of torchrun (FSDP2).

Each process holds 1 / size of every tensor, and computes one shard of each batch. Before a block of the encoder, or the
rest of the net, is computed, the processes put its parameters together; after it they divide them again, and the
gradients with them (Zhao et al. 2023, "PyTorch FSDP", arXiv:2304.11277).

`ShardedNet` is what each process holds; all processes call its methods together. `Sharded` calls them from rank 0,
whose trainer has the whole net in the memory of the CPU for what it writes. `collect` brings that up to date.
"""

import copy
import math
import os
import sys
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from asr.config import Config
from asr.data.dataset import Batch
from asr.data.sets import Sets
from asr.errors import InputError
from asr.models.acoustic import AcousticModel
from asr.training.criteria import Criterion
from asr.training.messages import EndedError, computing_together, receive, send, together
from asr.training.optimizer import make_optimizer
from asr.training.shards import Pass, ShardResult, Shards, is_finite

OLDEST_TORCH = (2, 7)  # the first whose distribute_tensor takes src_data_rank
IDLE_FRAMES = 64  # of silence, for a process without an utterance


def check_sharded(cfg: Config, ranks: int, shards: int) -> None:
    """Raises InputError if a training cannot divide its net among `ranks` processes, for `shards` parts of a batch."""
    refused = {"optim.ema": cfg.optim.ema, "model.layer_drop": cfg.model.layer_drop,
               "model.bottleneck": cfg.model.bottleneck}  # fmt: skip
    if not cfg.optim.sharded:
        return
    if tuple(map(int, torch.__version__.split(".")[:2])) < OLDEST_TORCH:
        raise InputError(f"optim.sharded needs torch {OLDEST_TORCH[0]}.{OLDEST_TORCH[1]} or later, but this is "
                         f"{torch.__version__}; run `pip install -U torch`, or leave optim.sharded out")  # fmt: skip
    if ranks < 2:
        raise InputError("optim.sharded divides the net among the processes of torchrun; start at least two")
    if shards != ranks:
        raise InputError(f"optim.sharded computes one part of a batch per process, but optim.shards={shards} and "
                         f"torchrun started {ranks} processes; make them equal")  # fmt: skip
    if cfg.optim.precision == "fp16":
        raise InputError("optim.sharded does not work with optim.precision=fp16; use bf16 or fp32")
    for name, value in refused.items():
        if value:
            raise InputError(f"optim.sharded does not work with {name}={value:g}; leave out one of them")


class ShardedShards(Shards):
    """Each process computes the shard of its number; its gradient is added to those of the others and divided."""

    def __init__(self, cfg: Config, model: AcousticModel, sets: Sets, criterion: Criterion):
        self.cfg, self.model, self.sets, self.criterion = cfg, model, sets, criterion
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.gradients = [torch.empty(0)] * dist.get_world_size()
        self.outputs = self.computed

    def loaded(self, *given: Any) -> Iterator[Batch]:
        """Raises the same InputError in all processes if one of them cannot read its shard."""
        shards = super().loaded(*given)
        while True:
            shard, refusal = None, None
            try:
                shard = next(shards, None)
            except InputError as e:
                refusal = str(e)
            found: list[str | None] = [None] * dist.get_world_size()
            with together():
                dist.all_gather_object(found, refusal)
            if told := next(filter(None, found), None):
                raise InputError(told)
            if shard is None:
                return
            yield shard

    def train(self, shard: Batch, step: int, number: int, steps: int) -> ShardResult:
        if not shard.ids:
            self.differentiate(self.idle(), number)
            return ShardResult(number, unreadable=shard.unreadable)
        return super().train(shard, step, number, steps)

    def judge(self, shard: Batch, number: int) -> ShardResult:
        if not shard.ids:
            with torch.no_grad():
                self.idle()
        return super().judge(shard, number)

    def idle(self) -> Tensor:
        """A loss of zero, computed like any other because all processes have to take part."""
        silence = torch.zeros(1, IDLE_FRAMES, self.model.frontend.dim, device=self.cfg.device)
        outputs, _ = self.outputs(silence, torch.tensor([IDLE_FRAMES], device=self.cfg.device))
        return 0.0 * torch.stack([output.sum() for output in outputs]).sum()

    def differentiate(self, loss: Tensor, number: int) -> str:
        (loss * dist.get_world_size()).backward()  # FSDP takes the mean over the processes
        finite = [is_finite(local(p.grad)) for p in self.parameters if p.grad is not None]
        has_loss = math.isfinite(loss.item())
        lost = torch.tensor([not has_loss, not all(finite)]).int()  # of the loss here, of the gradient here
        with together():
            dist.all_reduce(lost)
        if not has_loss:
            return f"the loss is {loss.item()}"
        return "the gradient is not finite" if lost[1] and not lost[0] else ""  # a lost loss spoils all gradients


class ShardedNet:
    """The part of one process."""

    def __init__(self, cfg: Config, model: AcousticModel, sets: Sets, criterion: Criterion, states: dict[int, Any]):
        """`model`: the whole net, on the CPU. `states`: those of its optimiser, by the number of the parameter."""
        self.mesh = dist.init_device_mesh(cfg.device, (dist.get_world_size(),))
        self.shards = ShardedShards(cfg, self._divided(model), sets, criterion)
        self.optimizer, self.grad_clip = make_optimizer(self.shards.model, cfg), cfg.optim.grad_clip
        self.trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        for number, state in states.items():
            parameter = self.trained[number]
            self.optimizer.state[parameter] = {
                name: self._part(value, parameter) if value.shape == parameter.shape else value.to(cfg.device)
                for name, value in state.items()
            }
        self.gradients: list[Tensor | None] = [None] * len(self.trained)

    def _divided(self, model: AcousticModel) -> AcousticModel:
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method  # takes a second

        blocks = [block for part in model.modules() for block in _blocks(part)]
        for module in (*blocks, model):
            fully_shard(module, mesh=self.mesh)
        register_fsdp_forward_method(model, "outputs")
        return model

    def _part(self, whole: Tensor, parameter: Tensor) -> Tensor:
        """That of this process, divided like the parameter."""
        from torch.distributed.tensor import DTensor, distribute_tensor

        assert isinstance(parameter, DTensor)
        whole = whole.to(self.shards.cfg.device)
        return distribute_tensor(whole, self.mesh, parameter.placements, src_data_rank=None)

    def start(self, task: Pass) -> None:
        self.items = self.shards.run(dist.get_world_size(), dist.get_rank(), task)

    def step(self) -> list[list[ShardResult]]:
        """In rank 0: the results of each process for the next batch."""
        found: list[Any] = [None] * dist.get_world_size()
        own = next(self.items)
        with together():
            dist.gather_object(own, found if dist.get_rank() == 0 else None)
        return found

    def take(self, factor: float) -> None:
        """Add the gradient of the last step, times `factor`, to those taken before; 0: drop it."""
        for number, parameter in enumerate(self.trained):
            if parameter.grad is not None and factor:
                taken, gradient = self.gradients[number], factor * parameter.grad
                self.gradients[number] = gradient if taken is None else taken + gradient
            parameter.grad = None

    @torch.no_grad()
    def update(self, rates: list[float]) -> None:
        """A step of the optimiser with the gradients taken, at the learning rate of each group of parameters."""
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        for parameter, gradient in zip(self.trained, self.gradients, strict=True):
            parameter.grad = torch.zeros_like(parameter) if gradient is None else gradient
        torch.nn.utils.clip_grad_norm_(self.trained, self.grad_clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.gradients = [None] * len(self.trained)

    @torch.no_grad()
    def load(self, values: list[Tensor] | None = None) -> None:
        """Take `values` of rank 0: the whole parameters, in the order of the net, one at a time."""
        from torch.distributed.tensor import DTensor, distribute_tensor

        for number, parameter in enumerate(self._parameters()):
            assert isinstance(parameter, DTensor)
            whole = torch.empty(parameter.shape) if values is None else values[number]
            parameter.copy_(distribute_tensor(whole.to(self.shards.cfg.device), self.mesh, parameter.placements))

    @torch.no_grad()
    def collect(self) -> tuple[list[Tensor], dict[int, dict[str, Tensor]]]:
        """The whole parameters, in the order of the net, and the states of the whole optimiser; in rank 0 alone."""
        parameters = [_whole(p) for p in self._parameters()]
        states = {
            number: {name: _whole(value) for name, value in self.optimizer.state[parameter].items()}
            for number, parameter in enumerate(self.trained)
            if parameter in self.optimizer.state
        }
        return (parameters, states) if dist.get_rank() == 0 else ([], {})

    def _parameters(self) -> list[nn.Parameter]:
        """Divided, also after an evaluation, which leaves some put together."""
        from torch.distributed.fsdp import FSDPModule

        for module in self.shards.model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()
        return list(self.shards.model.parameters())


def _blocks(part: nn.Module) -> list[nn.Module]:
    """The layers of an encoder or a net that has many alike."""
    found = [getattr(part, name, None) for name in ("blocks", "layers")]
    return [block for blocks in found if isinstance(blocks, nn.ModuleList) for block in blocks]


def local(value: Tensor) -> Tensor:
    """What this process holds of a tensor."""
    return value.to_local() if hasattr(value, "to_local") else value


def _whole(value: Tensor) -> Tensor:
    """All processes take part; the others than rank 0 do not keep it."""
    whole = value.full_tensor() if hasattr(value, "full_tensor") else value
    return whole.cpu() if dist.get_rank() == 0 else whole.new_empty(0)


class Sharded:
    """What rank 0 makes all processes do, in the place of a `Team`."""

    def __init__(self, own: ShardedNet, model: AcousticModel, optimizer: torch.optim.Optimizer):
        self.own, self.model, self.optimizer = own, model, optimizer
        self.are_waiting = True  # whether the others wait for a command

    def _do(self, name: str, *given: Any, alone: tuple[Any, ...] = ()) -> Any:
        """`alone`: what this process is given besides."""
        self.are_waiting = False
        send((name, given))
        with computing_together():
            found = getattr(self.own, name)(*given, *alone)
        self.are_waiting = True
        return found

    def start(self, task: Pass) -> None:
        self._do("start", task)

    def step(self) -> list[list[ShardResult]]:
        return self._do("step")

    def take(self, factor: float) -> None:
        self._do("take", factor)

    def update(self, rates: list[float]) -> None:
        self._do("update", rates)

    def load(self) -> None:
        """Divide the parameters of the whole net."""
        self._do("load", alone=([p.detach() for p in self.model.parameters()],))

    @torch.no_grad()
    def collect(self) -> None:
        """Bring the whole net and its optimiser up to date."""
        values, states = self._do("collect")
        for parameter, value in zip(self.model.parameters(), values, strict=True):
            parameter.copy_(value)
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": states, "param_groups": groups})


def lead(
    cfg: Config, model: AcousticModel, sets: Sets, criterion: Criterion, optimizer: torch.optim.Optimizer
) -> Sharded:
    """In rank 0, when the others know cfg, net and sets: divide the net and its optimiser."""
    states = optimizer.state_dict()["state"]
    send(states)
    return Sharded(ShardedNet(cfg, copy.deepcopy(model), sets, criterion, states), model, optimizer)


def serve(cfg: Config, model: AcousticModel, sets: Sets, criterion: Criterion) -> None:
    """In the other processes: do what rank 0 says, until it says that there is no more. Exits with code 2 for what
    rank 0 reports."""
    net = ShardedNet(cfg, model, sets, criterion, receive())
    while (command := receive()) is not None:
        name, given = command
        try:
            with computing_together():
                getattr(net, name)(*given)
        except EndedError:  # rank 0 may not be there to report it
            raise
        except InputError:
            raise SystemExit(2) from None
    # torch's caches keep gloo's threads, which now and then end in SIGABRT while Python finishes (torch 2.14)
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(0)
