"""Plots of training curves."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from asr.figures import save


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
