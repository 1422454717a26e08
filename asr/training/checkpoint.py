"""Checkpoints: tensors in safetensors, everything else in JSON, each file written atomically.

`state.json` names the resume file it belongs to, so a crash between the two writes leaves the older pair valid. It also
holds the SHA-256 of that file and of each epoch's model, because safetensors has no checksum. `previous.json` is the
same for the resume point before, from which a training goes on if the last one is damaged.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from tqdm import tqdm

from asr.errors import InputError
from asr.files import atomic_write
from asr.literals import parse_json
from asr.training.moving_average import MovingAverage

STATE, PREVIOUS = "state.json", "previous.json"


class DamagedError(InputError):
    """A checkpoint that cannot be read, or is not the one that was written: `cause`, and what to do."""

    def __init__(self, cause: str, way_out: str):
        super().__init__(f"{cause}; {way_out}")
        self.cause = cause


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> str:
    """Writes a checkpoint; returns its SHA-256."""
    data = save({name: t.detach().cpu().contiguous() for name, t in tensors.items()})
    with atomic_write(path, "wb") as file:
        file.write(data)
    return hashlib.sha256(data).hexdigest()


def read_tensors(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Raises DamagedError for a file that is damaged, or that has another digest than `sha256`, if that is given."""
    way_out = "restore it, or train again in another folder with out="
    try:
        data = path.read_bytes()
        if sha256 not in (None, hashlib.sha256(data).hexdigest()):
            raise DamagedError(f"{path} is damaged or of another training: its content has changed since", way_out)
        return load(data)
    except (OSError, SafetensorError) as e:
        raise DamagedError(f"cannot read the checkpoint {path}: {e}", way_out) from e


def average(models: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of several models, per tensor, summed in float64."""
    mean: dict[str, Tensor] = {}
    for mean in means(models):  # noqa: B007
        pass
    return mean


def means(models: Iterable[dict[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
    """The mean of the first model, of the first two, and so on; each model is read once."""
    total: dict[str, Tensor] = {}
    for count, model in enumerate(models, 1):
        for name, tensor in model.items():
            total[name] = total.get(name, torch.zeros((), dtype=torch.float64)) + tensor.double()
        yield {name: (tensor / count).float() for name, tensor in total.items()}


def drop_models(folder: Path, kept: Iterable[dict[str, Any]]) -> None:
    """Delete the models of epochs but for those of the records `kept`, which a resume point may need."""
    names = {Path(record["file"]).name for record in kept}
    for path in (folder / "checkpoints").glob("epoch-*.safetensors"):
        if path.name not in names:
            path.unlink()


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


def write_resume(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: MovingAverage, state: dict[str, Any]
) -> None:
    """Save a resume point, then delete all but this and the one before."""
    name = _resume_name(state["step"])
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    sha256 = write_tensors(folder / name, tensors | optimizer_tensors(optimizer) | average.tensors())
    kept = {name, _keep_previous(folder, name)}
    with atomic_write(folder / STATE) as file:
        json.dump(state | {"resume": name, "sha256": sha256}, file, indent=1)
    for old in folder.glob("resume-*.safetensors"):
        if old.name not in kept:
            old.unlink()


def _keep_previous(folder: Path, name: str) -> str | None:
    """Make the last resume point the previous one, unless its tensors are those of the new one, `name`; returns the
    name of the previous one's tensors, or None if there is none."""
    last, previous = (_name_in(folder / file) for file in (STATE, PREVIOUS))
    if last in (None, name):
        return previous
    with atomic_write(folder / PREVIOUS) as file:
        file.write((folder / STATE).read_text(encoding="utf-8"))
    return last


def _name_in(path: Path) -> str | None:
    """The name of the tensors that a state belongs to; None if it cannot be read."""
    try:
        return str(parse_json(path.read_text(encoding="utf-8"))["resume"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_resume(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: MovingAverage,
    check: Callable[[dict[str, Any]], None] = lambda state: None,
) -> dict[str, Any] | None:
    """Restore the last resume point that is whole, and return its state; None if there is none at all.

    `check` may raise DamagedError for a state whose other files are damaged. If the last point is damaged, a line says
    so and the previous one takes its place. Raises InputError if both are damaged.
    """
    faults: list[DamagedError] = []
    for path in filter(Path.exists, (folder / STATE, folder / PREVIOUS)):
        try:
            state = _restore(path, model, optimizer, average)
            check(state)
        except DamagedError as e:
            faults.append(e)
            continue
        if path.name == PREVIOUS:
            cause = faults[0].cause if faults else f"{folder / STATE} is missing"
            tqdm.write(f"{cause}; going on from the resume point before, at step {state['step']}")
            with atomic_write(folder / STATE) as file:
                file.write(path.read_text(encoding="utf-8"))
        return state
    if faults:
        raise InputError(f"{faults[0]}, or delete {folder}") from faults[0]
    return None


def _restore(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: MovingAverage) -> dict[str, Any]:
    """The state in `path`, after its tensors have been loaded. Raises DamagedError."""
    try:
        state = _checked(parse_json(path.read_text(encoding="utf-8")))
        tensors = read_tensors(path.parent / state["resume"], state.get("sha256"))
        model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
        restore_optimizer(optimizer, tensors)
        average.restore(tensors)
    except DamagedError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as e:
        raise DamagedError(f"cannot resume from {path} ({e!r})", "choose another folder with out=") from e
    return state


def _checked(state: Any) -> dict[str, Any]:
    """`state` with entries of the right types. Raises ValueError, KeyError or TypeError for contradictory ones."""
    state |= {"step": int(state["step"]), "epoch": int(state["epoch"]), "records": list(state["records"])}
    state |= {"loss": float(state["loss"]), "utterances": int(state["utterances"])}
    state |= {"skipped": int(state.get("skipped", 0))}
    for record in state["records"]:
        float(record["dev_ter"]), float(record["dev_loss"]), int(record["epoch"]), str(record["file"])
    if state["resume"] != _resume_name(state["step"]) or state["epoch"] != len(state["records"]):
        raise ValueError("step, epoch, records and resume contradict each other")
    return state


def _resume_name(step: int) -> str:
    return f"resume-{step:08d}.safetensors"
