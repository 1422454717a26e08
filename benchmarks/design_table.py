"""Which net on which features: FC, CNN and LSTM on MFCC, log-mel, log-linear and raw samples, one small corpus.

    OMP_NUM_THREADS=1 python -m benchmarks.design_table --data exp/digits/data [--out exp/design_table] [--plot]

`--data` holds the train, dev and test manifests of the recipe digits (`python -m recipes.run digits` makes them). Every
cell is trained on the same `--utterances` of the training set, with the same batches, and recognises letters greedily,
without a language model, so that the net alone counts. `raw` are the samples of each window; in front of `raw learned`
and `raw sinc` stand trained filters (asr.models.filters).

Each cell has a run folder in `--out`. A finished cell is not run again, a stopped one goes on where it was. `--cells`
takes some of them: `--cells cnn/logmel,cnn/raw`. Prints a table of word error rates on dev and test with the CPU time
of the training, and writes benchmarks/results/design_table.json and, with `--plot`, design_table.png beside it.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import asr
from asr import manifest
from asr.config import AugmentConfig, Config, DecoderConfig, FeaturesConfig, ModelConfig, OptimConfig
from asr.errors import InputError
from asr.files import atomic_write

RESULTS = Path(__file__).parent / "results"
RATE_HZ = 8000  # of the digits
NETS: dict[str, dict[str, Any]] = {
    "fc": {"kind": "fc", "hidden": 256, "layers": 3, "kernel": 9},
    "cnn": {"kind": "cnn", "hidden": 128, "layers": 6},
    "lstm": {"kind": "lstm", "hidden": 128, "layers": 2},
}
FEATURES: dict[str, tuple[dict[str, Any], str]] = {  # features, filters of the model
    "mfcc": ({"kind": "mfcc", "num_bins": 23, "num_ceps": 13, "deltas": 2}, "none"),
    "logmel": ({"kind": "logmel"}, "none"),
    "loglinear": ({"kind": "loglinear"}, "none"),
    "raw": ({"kind": "wave"}, "none"),
    "raw learned": ({"kind": "wave"}, "learned"),
    "raw sinc": ({"kind": "wave"}, "sinc"),
}
CELLS = [f"{net}/{features}" for net in NETS for features in FEATURES]
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("exp/design_table"))
    parser.add_argument("--utterances", type=int, default=500, help="of the training set")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--cells", default=",".join(CELLS))
    parser.add_argument("--plot", action="store_true")
    given = parser.parse_args()
    cells = [cell.strip() for cell in given.cells.split(",")]
    if unknown := [cell for cell in cells if cell not in CELLS]:
        parser.error(f"there is no cell '{unknown[0]}'; there are: {', '.join(CELLS)}")
    train, seconds = subset(given.data / "train.jsonl", given.out, given.utterances)
    rows: dict[str, Row] = {}
    for cell in cells:
        rows[cell] = run(configure(cell, train, given.data, given.out, given.epochs), given.utterances)
        print(f"{cell}: {shown(rows[cell])}", flush=True)
    print(table(rows, seconds), end="")
    result = {"train_s": round(seconds), "utterances": given.utterances, "epochs": given.epochs, "cells": rows}
    with atomic_write(RESULTS / "design_table.json") as file:
        json.dump(result, file, indent=1)
    if given.plot:
        plot(rows, RESULTS / "design_table.png")


def subset(path: Path, out: Path, count: int) -> tuple[Path, float]:
    """A manifest of the first utterances of another one, and their seconds."""
    chosen = manifest.read(path)[:count]
    if len(chosen) < count:
        raise InputError(f"{path} has {len(chosen)} utterances; set --utterances to at most that")
    out.mkdir(parents=True, exist_ok=True)
    manifest.write(out / "train.jsonl", chosen)
    return out / "train.jsonl", sum(u.duration_s or 0.0 for u in chosen)


def configure(cell: str, train: Path, data: Path, out: Path, epochs: int) -> Config:
    net, _, name = cell.partition("/")
    features, filters = FEATURES[name]
    cfg = Config(
        out=str(out / f"{net}-{name.replace(' ', '_')}"),
        threads=1,
        model=ModelConfig(**NETS[net], filters=filters),
        features=FeaturesConfig(**{"sample_rate_hz": RATE_HZ, "num_bins": 40, **features}),
        augment=AugmentConfig(speeds=[0.93, 1.0, 1.08], silence_s=0.0, gain_db=[], freq_masks=0, time_masks=0),
        optim=OptimConfig(epochs=epochs, lr=2e-3, batch_s=15.0, average=3),
        decoder=DecoderConfig(kind="greedy"),
    )
    cfg.data.train, cfg.data.dev, cfg.data.test = str(train), str(data / "dev.jsonl"), str(data / "test.jsonl")
    return cfg


def run(cfg: Config, utterances: int) -> Row:
    """Trains and scores a cell, unless that was done. Raises InputError if it was done with other numbers."""
    path, of = Path(cfg.out) / "cell.json", {"utterances": utterances, "epochs": cfg.optim.epochs}
    if path.exists():
        row = json.loads(path.read_text(encoding="utf-8"))
        if {name: row[name] for name in of} != of:
            raise InputError(f"{path} is of another --utterances or --epochs; choose another --out, or delete it")
        return dict(row)
    start, was_stopped = time.process_time(), (Path(cfg.out) / "train" / "state.json").exists()
    asr.train(cfg)
    row: Row = {**of, "train_cpu_s": None if was_stopped else round(time.process_time() - start)}
    for split in ("dev", "test"):
        cfg.split, cfg.score.dir = split, str(Path(cfg.out) / f"score-{split}")
        asr.decode(cfg)
        score = asr.score(cfg)
        row[split] = {"wer": score.words.rate, "low": score.wer_interval[0], "high": score.wer_interval[1]}
    with atomic_write(path) as file:
        json.dump(row, file, indent=1)
    return row


def table(rows: dict[str, Row], seconds: float) -> str:
    lines = [
        f"Word error rate in %, dev / test (95 % interval of test); {seconds / 60:.0f} minutes of training speech", "",
        f"| | {' | '.join(FEATURES)} |", "|---" * (1 + len(FEATURES)) + "|",
    ]  # fmt: skip
    for net in NETS:
        cells = [rows.get(f"{net}/{features}") for features in FEATURES]
        lines.append(f"| {net} | {' | '.join(map(shown, cells))} |")
    spent = [row["train_cpu_s"] for row in rows.values()]
    if None not in spent:
        lines += ["", f"Training took {sum(spent) / 60:.1f} CPU minutes."]
    return "\n".join([*lines, ""])


def shown(row: Row | None) -> str:
    if row is None:
        return ""
    test = row["test"]
    return f"{row['dev']['wer']:.1%} / **{test['wer']:.1%}** ({test['low']:.1%}-{test['high']:.1%})".replace("%", "")


def plot(rows: dict[str, Row], path: Path) -> None:
    """Test error rates as bars, one group per net, with their intervals."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4))
    width = 0.8 / len(FEATURES)
    for i, features in enumerate(FEATURES):
        at, rates, below, above = [], [], [], []
        for k, net in enumerate(NETS):
            if row := rows.get(f"{net}/{features}"):
                test = row["test"]
                at.append(k + (i - (len(FEATURES) - 1) / 2) * width)
                rates.append(100 * test["wer"])
                below.append(100 * (test["wer"] - test["low"]))
                above.append(100 * (test["high"] - test["wer"]))
        axes.bar(at, rates, width, yerr=[below, above], label=features, error_kw={"linewidth": 0.8})
    axes.set_xticks(range(len(NETS)), list(NETS))
    axes.set_ylabel("word error rate on test, %")
    axes.legend(ncol=3, fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
