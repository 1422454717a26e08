"""Draws docs/concepts/chain.png and prints the tables of docs/concepts/chain.md, from the RESULTS.md of the recipes.

python docs/chain.py
"""

import re
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asr.figures import save

HERE = Path(__file__).parent
RECIPES, PLOT = HERE.parent / "recipes", HERE / "concepts/chain.png"
HMM, NET, SEQUENCE = "#4c72b0", "#dd8452", "#55a868"
# Name of the step, colour, and how its place in RESULTS.md begins.
AN4_STEPS = (
    ("monophones", HMM, "| monophones |"),
    ("states in context", HMM, "| states in context |"),
    ("LDA and MLLT", HMM, "| the same behind LDA and MLLT |"),
    ("fMLLR for each speaker", HMM, "| the same, adapted to each speaker"),
    ("net on adapted features (cross-entropy)", NET, "| net on adapted features, cross-entropy |"),
    ("factorised net, trained longer", NET, "| factorised net, trained longer |"),
    ("LF-MMI behind the first net", SEQUENCE, "| LF-MMI over the states, behind the first net |"),
    ("MWER behind that", SEQUENCE, "| MWER over the states, behind that LF-MMI |"),
    ("CTC", NET, "| as in `an4.yaml`"),
    ("CR-CTC", NET, "| CTC with CR-CTC, the start |"),
    ("LF-MMI behind CR-CTC", SEQUENCE, "| LF-MMI (CTC-CRF) |"),
    ("MWER behind LF-MMI", SEQUENCE, "| MWER behind it |"),
    ("MWER behind CR-CTC", SEQUENCE, "| MWER behind CTC "),
    ("sMBR behind LF-MMI", SEQUENCE, "| sMBR behind LF-MMI "),
    ("CTC on adapted features", NET, "| CTC on adapted features |"),
    ("LF-MMI behind that CTC", SEQUENCE, "| LF-MMI (CTC-CRF) behind CTC on adapted features |"),
)
COLOURS = {  # of the rows of benchmarks/chain.py, as it prints them
    "monophones": HMM,
    "states in context": HMM,
    "LDA and MLLT": HMM,
    "fMLLR for each speaker": HMM,
    "net on adapted features (cross-entropy)": NET,
    "LF-MMI behind it": SEQUENCE,
    "MWER behind LF-MMI over states": SEQUENCE,
    "factorised net, trained longer": NET,
    "CTC": NET,
    "LF-MMI behind CTC": SEQUENCE,
    "MWER behind LF-MMI behind CTC": SEQUENCE,
}
CHAIN_STEPS = tuple((name, colour, f"| {name} |") for name, colour in COLOURS.items())


@dataclass(frozen=True)
class Corpus:
    """Where the figures of a corpus stand. `heading` begins the section with its table; `rate` is "word" or "phone"."""

    name: str
    recipe: str
    heading: str = "# AN4"
    rate: str = "word"
    steps: tuple[tuple[str, str, str], ...] = CHAIN_STEPS

    def text(self) -> str:
        """The recipe's RESULTS.md from the heading on."""
        return (RECIPES / self.recipe / "RESULTS.md").read_text(encoding="utf-8").partition(self.heading + "\n")[2]


AN4 = Corpus("AN4", "an4", steps=AN4_STEPS)
OTHERS = (
    Corpus("TIMIT", "timit", "## From nothing", "phone"),
    Corpus("LibriSpeech", "english", "## From nothing"),
    Corpus("digits", "digits", "### HMMs that adapt to the speaker"),
)


@dataclass(frozen=True)
class Step:
    """Error rates in percent; `low` and `high` are the 95 % interval of that on the test set."""

    name: str
    colour: str
    dev: float
    test: float
    low: float
    high: float


def read_steps(corpus: Corpus) -> list[Step]:
    """The steps that have been measured. Raises ValueError if a step of AN4 is missing, or any step stands twice."""
    text = corpus.text()
    steps = []
    for name, colour, begin in corpus.steps:
        places = text.split("\n" + begin)[1:]
        if not places and corpus is not AN4:
            continue
        if len(places) != 1:
            raise ValueError(f"{corpus.recipe}: {len(places)} places begin with '{begin}'; expected one")
        place = places[0][:500]
        test, low, high = (float(x) for x in re.findall(r"([\d.]+) %\**\s\(([\d.]+)-([\d.]+)", place)[0])
        dev = float(re.findall(r"([\d.]+) %(?!\**\s\()", place)[0])  # without an interval
        steps.append(Step(name, colour, dev, test, low, high))
    return steps


def table(corpus: Corpus, steps: list[Step]) -> str:
    rate = {"word": "WER", "phone": "phone errors"}[corpus.rate]
    digits = 2 if corpus is AN4 else 1
    rows = [f"| step | dev {rate} | test {rate} (95 % interval) |", "|---|---|---|"]
    rows += [
        f"| {s.name} | {s.dev:.{digits}f} % | {s.test:.{digits}f} % ({s.low:.{digits}f}-{s.high:.{digits}f}) |"
        for s in steps
    ]
    return "\n".join(rows) + "\n"


def draw_panel(axes: Axes, corpus: Corpus, steps: list[Step], names: list[str]) -> None:
    """A bar per step at the place of its name."""
    for step in steps:
        place = names.index(step.name)
        bars = [[step.test - step.low], [step.high - step.test]]
        axes.barh(place, step.test, color=step.colour, xerr=bars, ecolor="#444", capsize=2, height=0.7)
        axes.plot(step.dev, place, "D", color="white", markeredgecolor="black", markersize=4,
                  label="dev" if corpus is AN4 and not place else None)  # fmt: skip
        if corpus is AN4:
            axes.annotate(f" {step.test:.2f}", (0, place), va="center", color="white", fontsize=8)
        else:
            axes.annotate(f" {step.test:.1f}", (step.high, place), va="center", fontsize=8)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, (1.05 if corpus is AN4 else 1.25) * max(step.high for step in steps))
    axes.set_title(f"{corpus.name}: {corpus.rate} errors, %", fontsize="small")
    axes.spines[["top", "right"]].set_visible(False)


def draw(measured: dict[Corpus, list[Step]], kaldi: float) -> Figure:
    run = {step.name for corpus in OTHERS for step in measured[corpus]}
    names = [name for name in COLOURS if name in run]
    figure = Figure(figsize=(8.5, 4.7 + 0.25 * len(names)), layout="constrained")
    grid = figure.add_gridspec(2, len(OTHERS), height_ratios=(len(AN4_STEPS), len(names) + 1))
    axes = figure.add_subplot(grid[0, :])
    draw_panel(axes, AN4, measured[AN4], [step.name for step in measured[AN4]])
    axes.axvline(kaldi, color="black", linestyle="--", linewidth=1, label=f"Kaldi, published: {kaldi:g}")
    figure.legend(loc="outside upper right", ncols=2, fontsize=8, frameon=False)
    for column, corpus in enumerate(OTHERS):
        axes = figure.add_subplot(grid[1, column])
        draw_panel(axes, corpus, measured[corpus], names)
        if column:
            axes.set_yticklabels([])
    return figure


def main() -> None:
    measured = {corpus: read_steps(corpus) for corpus in (AN4, *OTHERS)}
    save(draw(measured, float(re.findall(r"Kaldi ([\d.]+),", AN4.text())[0])), PLOT)
    print(*(f"{corpus.name}\n\n{table(corpus, steps)}" for corpus, steps in measured.items()), sep="\n")


if __name__ == "__main__":
    main()
