"""What each training option is worth on a small corpus: one recipe's net, trained with each option alone.

    python -m benchmarks.ablation RECIPE [--seeds N] [--only NAME,NAME] [KEY=VALUE ...]
    python -m benchmarks.ablation an4 --seeds 2 optim.epochs=15 model.hidden=128 threads=1

The data are prepared as `python -m recipes.run RECIPE` does (experiment=NAME and any option of the toolkit may follow).
Every row is trained from the same seeds 1 to N and judged on the dev set alone: token errors of the greedy path of the
final model, the mean of as many of the best epochs as dev prefers. The difference from the first row has the 95 %
interval of a paired bootstrap over the dev utterances, with the errors of all seeds added up. Minutes are CPU time of
all processes per training. Rows that do not fit the net or its criterion are left out. A row that was trained is not
trained again, so the same command continues. Writes benchmarks/results/ablation-EXPERIMENT.json; run folders go to
exp/ablation-EXPERIMENT, or to `out`.
"""

import argparse
import json
import resource
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from asr.cli.overrides import compose, to_overrides
from asr.cli.recipe import Recipe
from asr.config import Config
from asr.evaluation.comparison import compare
from asr.files import atomic_write
from asr.literals import parse_json
from asr.models import NETS_OF
from asr.training.shards import load
from asr.training.trainer import Trainer
from recipes.run import prepared

RESULTS = Path(__file__).parent / "results"
RESAMPLES = 10_000
MASKS = ["augment.time_masks=5", "augment.time_fraction=0.5"]


def variants(cfg: Config) -> dict[str, list[str]]:
    """The options of each row; those that the net of `cfg` takes."""
    half, middle = max(1, cfg.optim.epochs // 2), max(1, cfg.model.layers // 2)
    consistency = ["criterion.consistency=0.2"]
    rows = {
        "as configured": [],
        "CR-CTC": consistency,
        "long masks": MASKS,
        "CR-CTC with long masks": consistency + MASKS,
        "CR-CTC with long masks in half the epochs": [*consistency, *MASKS, f"optim.epochs={half}"],
        "moving average 0.99": ["optim.ema=0.99"],
        "label smoothing 0.05": ["criterion.smoothing=0.05"],
        "first epoch from short to long": ["optim.sorted_epochs=1"],
    }
    if cfg.criterion.kind == "ctc":
        rows["label priors 0.3"] = ["criterion.prior_scale=0.3"]
        if not cfg.model.self_conditioned:
            rows["prior subtraction 0.3"] = ["criterion.prior_subtraction=0.3"]
    if cfg.model.kind in NETS_OF["intermediate"] and cfg.model.layers > 1:
        rows["intermediate CTC"] = [f"model.intermediate=[{middle}]"]
        rows["self-conditioned CTC"] = [f"model.intermediate=[{middle}]", "model.self_conditioned=true"]
    if cfg.model.kind in NETS_OF["layer_drop"]:
        rows["stochastic depth 0.2"] = ["model.layer_drop=0.2"]
    if cfg.model.tune_layers > 1:
        rows["rates of layers 0.7"] = ["optim.tune_decay=0.7"]
    return rows


def measure(cfg: Config) -> dict[str, Any]:
    """Train; the CPU minutes, and the errors and tokens of each dev utterance."""
    before = cpu_s()
    trainer = Trainer(cfg)
    trainer.run()
    minutes = (cpu_s() - before) / 60
    trainer.model.eval()
    utterances = load(trainer.dev_set, [[i] for i in range(len(trainer.dev_set))], 0)
    judged = [trainer.shards.judge(utterance, 0) for utterance in utterances]
    return {"minutes": minutes, "errors": [r.errors for r in judged], "tokens": [r.tokens for r in judged]}


def cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def row(runs: Sequence[dict[str, Any]], base: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Token error rate in percent, its difference from that of `base` with the interval, and minutes per training."""
    errors = np.array([np.sum([run["errors"] for run in rows], 0) for rows in (runs, base)])  # (2, U), of all seeds
    found = compare(errors, np.sum([run["tokens"] for run in runs], 0), RESAMPLES)
    return {
        "dev_ter": 100 * found.first,
        "difference": 100 * found.difference,
        "interval": [100 * end for end in found.interval],
        "minutes": float(np.mean([run["minutes"] for run in runs])),
    }


def print_table(rows: dict[str, dict[str, Any]]) -> None:
    print("| options | dev token errors | difference (95 % interval) | CPU min |\n|---|---|---|---|")
    for number, (name, r) in enumerate(rows.items()):
        low, high = r["interval"]
        difference = f"{r['difference']:+.2f} ({low:+.2f} to {high:+.2f})" if number else ""
        print(f"| {name} | {r['dev_ter']:.2f} % | {difference} | {r['minutes']:.1f} |")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.ablation", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("recipe")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", help="rows to train, besides the first; left out: all")
    args, words = parser.parse_known_args(argv)
    experiment, recipe = prepared(args.recipe, words, "exp/ablation-{}")
    out, options = Path(recipe.cfg.out), variants(recipe.cfg)
    only = args.only.split(",") if args.only else list(options)
    if unknown := [name for name in only if name not in options]:
        parser.error(f"--only: there is no row {unknown[0]!r}; there are: {', '.join(options)}")
    rows: dict[str, dict[str, Any]] = {}
    base: list[dict[str, Any]] = []
    for name, added in options.items():
        if base and name not in only:
            continue
        runs = [trained(recipe, out / f"{name.replace(' ', '_')}-{seed}", [*added, f"seed={seed}"])
                for seed in range(1, args.seeds + 1)]  # fmt: skip
        base = base or runs
        rows[name] = row(runs, base) | {"options": added}
        print_table(rows)
    found = {"date": date.today().isoformat(), "command": [args.recipe, *words], "seeds": args.seeds, "rows": rows}
    with atomic_write(RESULTS / f"ablation-{experiment}.json") as file:
        json.dump(found, file, indent=1)


def trained(recipe: Recipe, out: Path, words: list[str]) -> dict[str, Any]:
    """The measurements of one training on the data of the recipe, kept in its folder."""
    kept = out / "ablation.json"
    if kept.exists():
        return parse_json(kept.read_text(encoding="utf-8"))
    given = [word for word in recipe.overrides if not word.startswith(("out=", "seed="))]
    given += [f"out={out}", f"data.dir={Path(recipe.cfg.data.dir).absolute()}", *words]
    found = measure(compose(to_overrides(given, (), recipe.folder)))
    with atomic_write(kept) as file:
        json.dump(found, file)
    return found


if __name__ == "__main__":
    main()
