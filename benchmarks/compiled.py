"""torch.compile on the CPU: training steps of each kind of net as they are and compiled, in alternation.

    OMP_NUM_THREADS=1 python -m benchmarks.compiled [KIND ...]

Forward and backward of a batch of 12 utterances of 5 s (60 outputs, 40 stored features per 10 ms), float32, one thread.
CPU time, least of three medians of four steps. Compiling: the first step of one shape, its child processes included;
each further shape of a batch compiles again, or takes slower code for any shape.
"""

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from asr.config import FeaturesConfig, ModelConfig
from asr.models.acoustic import AcousticModel
from benchmarks.ablation import cpu_s

NETS: dict[str, dict[str, Any]] = {
    "fc": {"hidden": 512, "layers": 4},
    "cnn": {"hidden": 256, "layers": 6, "kernel": 5},
    "lstm": {"hidden": 192, "layers": 3},
    "conformer": {"hidden": 144, "layers": 6},
}


def measure(kind: str) -> str:
    """A row of the table."""
    torch.manual_seed(1)
    features = FeaturesConfig(kind="stored", num_bins=40, cmvn="utterance")
    model = AcousticModel(features, ModelConfig(kind=kind, **NETS[kind]), 60).train()
    x, lengths = torch.randn(12, 500, 40), torch.full((12,), 500)
    compiled = torch.compile(model)
    seconds(model, x, lengths, 1)
    first_s = seconds(compiled, x, lengths, 1)
    rounds = [(seconds(model, x, lengths, 4), seconds(compiled, x, lengths, 4)) for _ in range(3)]
    eager_s, compiled_s = (min(times) for times in zip(*rounds, strict=True))
    return (f"| {kind} | {1000 * eager_s:.0f} ms | {1000 * compiled_s:.0f} ms | {eager_s / compiled_s:.2f} | "
            f"{first_s:.0f} s |")  # fmt: skip


def seconds(model: Callable[[Tensor, Tensor], Any], x: Tensor, lengths: Tensor, steps: int) -> float:
    """The median CPU time of a step."""
    times = []
    for _ in range(steps):
        start = cpu_s()
        model(x, lengths)[0].square().sum().backward()
        times.append(cpu_s() - start)
    return sorted(times)[steps // 2]


def main(kinds: list[str]) -> None:
    torch.set_num_threads(1)
    print("| net | a step | compiled | times as fast | compiling |\n|---|---|---|---|---|")
    for kind in kinds or NETS:
        print(measure(kind), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
