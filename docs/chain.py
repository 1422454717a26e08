"""Draws docs/concepts/chain.png and prints the table of docs/concepts/chain.md, from recipes/an4/RESULTS.md.

python docs/chain.py
"""

import re
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from asr.figures import save

HERE = Path(__file__).parent
RESULTS, PLOT = HERE.parent / "recipes/an4/RESULTS.md", HERE / "concepts/chain.png"
HMM, NET, SEQUENCE = "#4c72b0", "#dd8452", "#55a868"
# Name of the step, colour, and how its place in RESULTS.md begins.
STEPS = (
    ("monophones", HMM, "| monophones |"),
    ("states in context", HMM, "| states in context |"),
    ("LDA and MLLT", HMM, "| the same behind LDA and MLLT |"),
    ("fMLLR for each speaker", HMM, "| the same, adapted to each speaker"),
    ("net on adapted features (cross-entropy)", NET, "| net on adapted features, cross-entropy |"),
    ("LF-MMI behind that net", SEQUENCE, "| LF-MMI over the states, behind it |"),
    ("CTC", NET, "| as in `an4.yaml`"),
    ("CR-CTC", NET, "| CTC with CR-CTC, the start |"),
    ("LF-MMI behind CR-CTC", SEQUENCE, "| LF-MMI (CTC-CRF) |"),
    ("MWER behind LF-MMI", SEQUENCE, "| MWER behind it |"),
    ("MWER behind CR-CTC", SEQUENCE, "| MWER behind CTC "),
    ("sMBR behind LF-MMI", SEQUENCE, "| sMBR behind LF-MMI "),
    ("CTC on adapted features", NET, "| CTC on adapted features |"),
    ("LF-MMI behind that CTC", SEQUENCE, "| LF-MMI (CTC-CRF) behind CTC on adapted features |"),
)


@dataclass(frozen=True)
class Step:
    """Word error rates in percent; `low` and `high` are the 95 % interval of that on the test set."""

    name: str
    colour: str
    dev: float
    test: float
    low: float
    high: float


def read_steps(text: str) -> list[Step]:
    """Raises ValueError if a step is not in the text once."""
    steps = []
    for name, colour, begin in STEPS:
        if text.count("\n" + begin) != 1:
            raise ValueError(f"{RESULTS} has {text.count(begin)} places that begin with '{begin}'; expected one")
        place = text.split("\n" + begin)[1][:500]
        test, low, high = (float(x) for x in re.findall(r"([\d.]+) %\**\s\(([\d.]+)-([\d.]+)", place)[0])
        dev = float(re.findall(r"([\d.]+) %(?!\**\s\()", place)[0])  # without an interval
        steps.append(Step(name, colour, dev, test, low, high))
    return steps


def table(steps: list[Step]) -> str:
    rows = ["| step | dev WER | test WER (95 % interval) |", "|---|---|---|"]
    rows += [f"| {s.name} | {s.dev:.2f} % | {s.test:.2f} % ({s.low:.2f}-{s.high:.2f}) |" for s in steps]
    return "\n".join(rows) + "\n"


def draw(steps: list[Step], kaldi: float) -> Figure:
    figure = Figure(figsize=(7.5, 4), layout="constrained")
    axes = figure.subplots()
    for place, step in enumerate(steps):
        bars = [[step.test - step.low], [step.high - step.test]]
        axes.barh(place, step.test, color=step.colour, xerr=bars, ecolor="#444", capsize=2, height=0.7)
        axes.plot(step.dev, place, "D", color="white", markeredgecolor="black", markersize=4,
                  label=None if place else "dev")  # fmt: skip
        axes.text(0.15, place, f"{step.test:.2f}", va="center", color="white", fontsize=8)
    axes.axvline(kaldi, color="black", linestyle="--", linewidth=1, label=f"Kaldi, published: {kaldi:g}")
    axes.set_yticks(range(len(steps)), [step.name for step in steps])
    axes.invert_yaxis()
    axes.set_xlabel("word error rate on AN4's test set, percent; lines: 95 % intervals")
    figure.legend(loc="outside upper right", ncols=2, fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    text = RESULTS.read_text(encoding="utf-8")
    steps = read_steps(text)
    save(draw(steps, float(re.findall(r"Kaldi ([\d.]+),", text)[0])), PLOT)
    print(table(steps), end="")


if __name__ == "__main__":
    main()
