"""A plot of the reliability of confidences, before and after calibration."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from asr.figures import save
from asr.search.confidence import calibration_error, coverage, reliability


def plot_calibration(
    before: NDArray[np.float64], after: NDArray[np.float64], correct: NDArray[np.bool_], path: str | Path
) -> None:
    """Plot the reliability of the confidences (W,), and the share of words kept and correct for each threshold."""
    plot_reliability({"before": before, "after, held out": after}, correct, path)


def plot_reliability(
    confidences: Mapping[str, NDArray[np.float64]], correct: NDArray[np.bool_], path: str | Path
) -> None:
    """The same for any confidences (W,) of the same words, by name; the thresholds are on the last."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
    for label, values in confidences.items():
        _, mean, share, _ = reliability(values, correct)
        left.plot(mean, share, marker="o", label=f"{label}: error {calibration_error(values, correct):.3f}")
    left.set_xlabel("confidence")
    left.set_ylabel("share of words correct")
    left.legend()
    _, kept, precision = coverage(list(confidences.values())[-1], correct)
    right.plot(100 * kept, 100 * precision)
    right.set_xlabel("words kept, %")
    right.set_ylabel("correct of these, %")
    right.set_title("thresholds on the confidence")
    save(figure, path)
