"""Checkpoints: tensors in safetensors, everything else in JSON, each file written atomically.

`state.json` names the resume file it belongs to, so a crash between the two writes leaves the older pair valid.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from asr.errors import InputError
from asr.files import atomic_write
from asr.literals import parse_json


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    with atomic_write(path, "wb") as file:
        file.write(save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}))


def read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load(path.read_bytes())
    except (OSError, SafetensorError) as e:
        raise InputError(f"cannot read the checkpoint {path}: {e}; delete it or train again in another folder") from e


def average(paths: Sequence[Path]) -> dict[str, Tensor]:
    """The mean of several models, per tensor, summed in float64."""
    total: dict[str, Tensor] = {}
    for path in paths:
        for name, tensor in read_tensors(path).items():
            total[name] = total.get(name, torch.zeros((), dtype=torch.float64)) + tensor.double()
    return {name: (tensor / len(paths)).float() for name, tensor in total.items()}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's running averages, named by parameter number; the inverse is `restore_optimizer`."""
    state = optimizer.state_dict()["state"]
    return {f"optim.{i}.{name}": t for i, values in state.items() for name, t in values.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optim."):
            _, number, key = name.split(".")
            state.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def write_resume(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Save a resume point, then delete older ones."""
    name = f"resume-{state['step']:08d}.safetensors"
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    write_tensors(folder / name, tensors | optimizer_tensors(optimizer))
    with atomic_write(folder / "state.json") as file:
        json.dump(state | {"resume": name}, file, indent=1)
    for old in folder.glob("resume-*.safetensors"):
        if old.name != name:
            old.unlink()


def read_resume(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any] | None:
    """Restore the last resume point and return its state; None if there is none. Raises InputError if it is damaged."""
    path = folder / "state.json"
    if not path.exists():
        return None
    try:
        state = parse_json(path.read_text(encoding="utf-8"))
        tensors = read_tensors(folder / state["resume"])
        model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
        restore_optimizer(optimizer, tensors)
        state["step"], state["epoch"], state["records"] = (
            int(state["step"]),
            int(state["epoch"]),
            list(state["records"]),
        )
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as e:
        raise InputError(
            f"cannot resume from {path} ({e!r}); choose another folder with out=, or delete {folder}"
        ) from e
    return state
