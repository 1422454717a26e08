"""Minutes to an error rate: dev errors of a recipe's recogniser after each epoch, beside the CPU minutes until then.

    python -m benchmarks.minutes RECIPE [experiment=NAME] [KEY=VALUE ...]
    python -m benchmarks.minutes --hmm an4 experiment=an4_tri
    python -m benchmarks.minutes --plot

The first prepares the data, the language model and the graph as `python -m recipes.run RECIPE` does, and trains on one
thread. After each epoch the mean of the best epochs so far, which a user would get who stopped there, decodes the dev
set, with scale and penalties tuned on it as `asr tune` does. HMMs (`--hmm`: `asr hmm train`) give one point, at their
end. The test set is not touched. Minutes are user and system time of the training with its own dev losses, without
preparation, tuning and decoding. A stopped training goes on; of the epoch in which it was stopped, the part before is
not counted. Writes benchmarks/results/minutes-NAME.json, NAME being that of the run folder, exp/minutes/EXPERIMENT or
`out`. A net of another kind needs an `out` of its own.

`--plot` draws all of them in one picture, benchmarks/results/minutes.png, and prints the minutes to each rate.
"""

import json
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.figure import Figure
from tqdm import tqdm

from asr import manifest, pipeline
from asr.config import Config
from asr.evaluation.tune import Tuning, tune
from asr.figures import save
from asr.files import atomic_write
from asr.literals import parse_json
from asr.recognizer import run_folder
from asr.recognizer.recognizer import Recognizer
from asr.training.trainer import Trainer
from benchmarks.ablation import cpu_s
from recipes.run import prepared

RESULTS = Path(__file__).parent / "results"
RATES = (0.5, 0.3, 0.2, 0.1, 0.07, 0.05)  # of the printed table
Point = dict[str, Any]


class Timed(Trainer):
    """A training that notes, after each epoch, its CPU minutes and the dev errors of what it has."""

    def begin(self, points: Path) -> None:
        self.points_path = points
        self.points: list[Point] = read_points(points)
        self.make_graph()
        self.started_s = cpu_s() - 60 * (self.points[-1]["minutes"] if self.points else 0.0)

    def make_graph(self) -> None:
        """The language model and the graph, for the tokens of the training."""
        if not Path(self.cfg.lm.arpa).exists():
            pipeline.train_lm(self.cfg)
        if not (Path(self.cfg.graph.dir) / "stats.json").exists():
            pipeline.build_graph(self.cfg)
        self.space = run_folder.search_space(self.cfg, self.tokens)

    def finish_epoch(self, train_loss: float, bar: tqdm) -> None:
        super().finish_epoch(train_loss, bar)
        stopped_s = cpu_s()
        weights = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.load_best()
        found = judge(Recognizer(self.model.eval(), self.cfg, self.tokens, self.space, self.cfg.device), self.cfg)
        self.model.load_state_dict(weights)
        self.model.train()
        self.points.append(point((stopped_s - self.started_s) / 60, found) | {"epoch": self.state["epoch"]})
        write(self.points_path, self.points)
        bar.write(f"{self.points[-1]['minutes']:.2f} CPU min: {found.rate} {self.points[-1]['errors']:.2%}")
        self.started_s += cpu_s() - stopped_s


def judge(recognizer: Recognizer, cfg: Config) -> Tuning:
    """The dev errors at the best point of the grid."""
    return tune(recognizer, manifest.read(cfg.data.dev), threads=1, rate=cfg.score.rate)


def point(minutes: float, found: Tuning) -> Point:
    return {"minutes": minutes, "errors": found.best.counts.rate, "rate": found.rate, "utterances": found.utterances}


def train_hmm(cfg: Config, path: Path) -> None:
    if path.exists():  # measured before: the HMMs would be kept, and take no time
        return
    started_s = cpu_s()
    pipeline.train_hmm(cfg)
    minutes = (cpu_s() - started_s) / 60
    pipeline.train_lm(cfg)
    pipeline.build_graph(cfg)
    write(path, [point(minutes, judge(pipeline.open_recognizer(cfg), cfg))])


def read_points(path: Path) -> list[Point]:
    return parse_json(path.read_text(encoding="utf-8")) if path.exists() else []


def write(path: Path, data: object) -> None:
    with atomic_write(path) as file:
        json.dump(data, file, indent=1)


def measure(name: str, words: Sequence[str], is_hmm: bool) -> None:
    _, recipe = prepared(name, [*words, "threads=1"], "exp/minutes/{}")
    path = Path(recipe.cfg.out) / "minutes.json"
    if is_hmm:
        train_hmm(recipe.cfg, path)
    else:
        trainer = Timed(recipe.cfg)
        trainer.begin(path)
        trainer.run()
    result = {
        "date": date.today().isoformat(),
        "command": [name, *words],
        "net": "gmm" if is_hmm else recipe.cfg.model.kind,
    }
    write(RESULTS / f"minutes-{path.parent.name}.json", result | {"points": read_points(path)})


def plot() -> None:
    """Draw all curves, and print the minutes after which each first had a rate or less."""
    results = {
        path.stem.partition("-")[2]: parse_json(path.read_text()) for path in sorted(RESULTS.glob("minutes-*.json"))
    }
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    axes.set_prop_cycle(color=colormaps["tab20"].colors)  # type: ignore[attr-defined]
    print("| experiment | " + " | ".join(f"{rate:.0%}" for rate in RATES) + " | best |\n|" + "---|" * (len(RATES) + 2))
    for name, result in results.items():
        points = result["points"]
        axes.plot([p["minutes"] for p in points], [100 * p["errors"] for p in points], marker=".")
        best = min(points, key=lambda p: p["errors"])
        axes.annotate(name, (points[-1]["minutes"], max(1.2, 100 * points[-1]["errors"])), fontsize="x-small",
                      xytext=(4, 4), textcoords="offset points")  # fmt: skip
        cells = [next((f"{p['minutes']:.1f}" for p in points if p["errors"] <= rate), "") for rate in RATES]
        print(f"| {name} | {' | '.join(cells)} | {best['errors']:.1%} after {best['minutes']:.1f} |")
    axes.set(xscale="log", yscale="log", xlabel="CPU minutes of training", ylabel="dev errors, %")
    axes.grid(which="both", alpha=0.3)
    axes.margins(x=0.12)  # for the names
    save(figure, RESULTS / "minutes.png")


if __name__ == "__main__":
    if sys.argv[1:] == ["--plot"]:
        plot()
    elif words := [word for word in sys.argv[1:] if word != "--hmm"]:
        measure(words[0], words[1:], "--hmm" in sys.argv)
    else:
        sys.exit(str(__doc__))
