"""The log of a training: log.jsonl, curves.png and TensorBoard events."""

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from asr.errors import InputError, naming
from asr.figures import save
from asr.files import atomic_write
from asr.literals import parse_json

PLOT_INTERVAL_S = 30  # between drawings of curves.png: each takes as long as several batches of a small net
EVENTS = {"train_loss", "dev_loss", "dev_ter", "general_ter", "lr"}


class Curves:
    """Writes the records of a training's epochs, dicts with the keys step, epoch and some of `EVENTS`, to `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.plotted_s = -math.inf  # when curves.png was drawn, on the monotonic clock

    def write(self, records: Sequence[dict[str, Any]]) -> None:
        """All records to log.jsonl, the last one to TensorBoard; curves.png at most once per `PLOT_INTERVAL_S`."""
        with atomic_write(self.folder / "log.jsonl") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)
        if time.monotonic() - self.plotted_s > PLOT_INTERVAL_S:
            self.plot(records)
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        events = self.folder / "tensorboard"
        with naming(events), SummaryWriter(str(events)) as writer:
            for name in records[-1].keys() & EVENTS:
                writer.add_scalar(name, records[-1][name], records[-1]["epoch"])

    def plot(self, records: Sequence[dict[str, Any]]) -> None:
        plot_curves(records, self.folder / "curves.png")
        self.plotted_s = time.monotonic()


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The records of a training. Raises InputError naming a missing file or a damaged line."""
    path = folder / "train" / "log.jsonl"
    if not path.exists():
        raise InputError(f"there is no {path}; `asr train` writes it")
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        try:
            record = parse_json(line)
        except ValueError as e:
            raise InputError(f"{path}:{number}: not JSON ({e}); `asr train` writes such files") from e
        if not isinstance(record, dict) or not isinstance(record.get("step"), int):
            raise InputError(f"{path}:{number}: expected an object with the field 'step'")
        records.append({key: value for key, value in record.items() if _is_number(value)})
    if not records:
        raise InputError(f"{path} is empty: no epoch is complete yet")
    return records


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def plot_curves(records: Sequence[dict[str, Any]], path: str | Path) -> None:
    """Plot log records with the keys step, train_loss, dev_loss, dev_ter and lr, and save the picture at `path`.

    Every key but `step` may be missing or None; such values are left out.
    """
    figure = Figure(figsize=(8, 8), layout="constrained")
    loss, ter, lr = figure.subplots(3, 1, sharex=True, height_ratios=[3, 2, 1])
    for axes, key, label in (
        (loss, "train_loss", "train"),
        (loss, "dev_loss", "dev"),
        (ter, "dev_ter", "dev error rate"),
        (lr, "lr", "learning rate"),
    ):
        points = [(r["step"], r[key]) for r in records if r.get(key) is not None and math.isfinite(r[key])]
        if points:
            axes.plot(*zip(*points, strict=True), marker="." if len(points) < 100 else None, label=label)
            axes.legend()
    loss.set_ylabel("loss")
    ter.set_ylim(bottom=0)
    lr.set_xlabel("step")
    save(figure, path)
