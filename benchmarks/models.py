"""What each configured net costs: the table of docs/concepts/models.md.

    OMP_NUM_THREADS=1 python -m benchmarks.models

Every choice of conf/model on log-mel features, those for streams with features.cmvn=causal, and the filters on the raw
wave in front of a cnn. `asr model model=...` prints one of them. Writes benchmarks/results/models.json.
"""

import dataclasses
import json
import math
import platform
from pathlib import Path

import torch

from asr.cli.model_verbs import untrained
from asr.cli.overrides import compose
from asr.files import atomic_write
from asr.models.cost import Cost, measure, seconds

HERE = Path(__file__).parent
RESULT = HERE / "results" / "models.json"
RAW = tuple(f"model=cnn_stream features=wave model.filters={kind}" for kind in ("none", "learned", "sinc"))


def main() -> None:
    choices = sorted(path.stem for path in (HERE.parent / "conf" / "model").glob("*.yaml"))
    costs: dict[str, Cost] = {}
    print("| `asr model model=` | Parameters | Multiply-adds per second | Real-time factor | Latency | A frame reads |")
    print("|---|---|---|---|---|---|")
    for options in [*(f"model={choice}" for choice in choices), *RAW]:
        cfg = compose([*options.split(), "features.cmvn=causal"])
        made, features, _ = untrained(cfg)
        costs[options] = measure(made, features)
        print(row(options, costs[options]), flush=True)
    listed = {
        options: {name: None if math.isinf(value) else value for name, value in dataclasses.asdict(cost).items()}
        for options, cost in costs.items()
    }
    machine = {"processor": platform.processor() or platform.machine(), "torch": torch.__version__}
    with atomic_write(RESULT) as file:
        json.dump({"machine": machine, "costs": listed}, file, indent=1)


def row(options: str, cost: Cost) -> str:
    cells = [
        f"`{options.removeprefix('model=')}`", f"{cost.parameters / 1e6:.2f} M", f"{cost.net_macs / 1e6:.0f} M",
        f"{cost.real_time_factor:.3f}", seconds(cost.latency_s, "utterance"), seconds(cost.reads_s, "all"),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
