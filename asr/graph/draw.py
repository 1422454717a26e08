"""Drawing small graphs as SVG with `dot`, from the `graphviz-pure` wheel or the system's Graphviz."""

import logging
import shutil
import subprocess
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asr.files import atomic_write
from asr.graph.automaton import Automaton

_LIMIT_S = 20.0
_log = logging.getLogger(__name__)


def draw(graph: Automaton, path: str | Path, isymbols: Sequence[str], osymbols: Sequence[str]) -> bool:
    """Write `graph` as SVG; `isymbols[label]` and `osymbols[label]` name its labels.

    Returns whether the file was written. If dot is missing or fails, a warning is logged.
    """
    program = find_dot()
    if program is None:
        _log.warning("%s is not drawn: no dot program found; pip install graphviz-pure", Path(path).name)
        return False
    source = dot(graph, isymbols, osymbols).encode()
    try:
        svg = subprocess.run([program, "-Tsvg"], input=source, capture_output=True, check=True, timeout=_LIMIT_S).stdout
    except (OSError, subprocess.SubprocessError) as e:
        _log.warning("%s is not drawn: %s", Path(path).name, e)
        return False
    with atomic_write(path, "wb") as file:
        file.write(svg)
    return True


def find_dot() -> str | None:
    """The first of: graphviz-pure of this Python, graphviz-pure on PATH, dot on PATH."""
    return shutil.which("graphviz-pure", path=sysconfig.get_path("scripts")) or next(
        filter(None, map(shutil.which, ("graphviz-pure", "dot"))), None
    )


def dot(graph: Automaton, isymbols: Sequence[str], osymbols: Sequence[str]) -> str:
    """The graph in the dot language: bold start, double circles for final states, `in:out/cost` on the arcs."""
    lines = ["digraph graph_ {", "rankdir=LR; node [shape=circle, fontsize=11]; edge [fontsize=11];"]
    for state, final in enumerate(graph.final.tolist()):
        shape = "doublecircle" if np.isfinite(final) else "circle"
        style = ", style=bold" if state == graph.start else ""
        cost = _cost(final) if np.isfinite(final) else ""
        lines.append(f'{state} [shape={shape}, label="{state}{cost}"{style}];')
    columns = (graph.source, graph.ilabel, graph.olabel, graph.cost, graph.target)
    for source, ilabel, olabel, cost, target in zip(*(c.tolist() for c in columns), strict=True):
        text = _quote(f"{isymbols[ilabel]}:{osymbols[olabel]}{_cost(cost)}")
        lines.append(f'{source} -> {target} [label="{text}"];')
    return "\n".join([*lines, "}", ""])


def _cost(cost: float) -> str:
    return f"/{cost:.3g}" if abs(cost) > 5e-4 else ""


def _quote(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
