"""Figures as PNG files, written atomically."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from asr.files import atomic_write


def save(figure: Figure, path: str | Path) -> None:
    """Writes `figure` as PNG. Equal figures give equal files."""
    FigureCanvasAgg(figure)
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png", dpi=120, metadata={"Software": None})
