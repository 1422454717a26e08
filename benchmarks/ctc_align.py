"""Forced alignment against torchaudio.functional.forced_align, which takes one utterance per call.

    python benchmarks/ctc_align.py      # prints a table, writes benchmarks/results/ctc_align.json

Both run in turn in one process; a ratio is the median over pairs of runs. The memory for the long utterance is the rise
of peak resident memory above the input.
"""

import json
import os
import statistics
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from ctc import Shape, draw, processor, resident_mb, seconds
from torch import Tensor
from torchaudio.functional import forced_align

from asr import ctc_forced_align
from asr.files import atomic_write

SHAPES: list[Shape] = [
    (200, 1, 32, 25),
    (200, 32, 32, 25),
    (500, 1, 500, 62),
    (500, 32, 500, 62),
    (1500, 1, 5000, 150),
    (1500, 32, 5000, 150),
    (1500, 32, 32, 187),
]
LONG: Shape = (30000, 1, 32, 5000)
REPEATS = 9
RESULTS = Path(__file__).parent / "results" / "ctc_align.json"


def align_theirs(utterances: list[tuple[Tensor, Tensor]]) -> None:
    for log_probs, target in utterances:
        forced_align(log_probs, target)


def steps(shape: Shape) -> tuple[Callable[[], object], Callable[[], None]]:
    x, targets, frames, sizes = draw(shape)
    x = x.log_softmax(2)
    # (1, T, V) each, contiguous as torchaudio needs it; not timed
    utterances = [(x[:, n : n + 1].transpose(0, 1).contiguous(), targets[n : n + 1]) for n in range(shape[1])]
    return lambda: ctc_forced_align(x, targets, frames, sizes), lambda: align_theirs(utterances)


def measure(shape: Shape) -> dict:
    ours, theirs = steps(shape)
    ours(), theirs()
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(REPEATS)]
    return {
        **dict(zip("TNVL", shape, strict=True)),
        "threads": torch.get_num_threads(),
        "ours_ms": round(1e3 * statistics.median(a for a, _ in pairs), 3),
        "torchaudio_ms": round(1e3 * statistics.median(b for _, b in pairs), 3),
        "ratio": round(statistics.median(b / a for a, b in pairs), 2),
    }


def long_utterance_mb() -> float:
    x, targets, frames, sizes = draw(LONG)
    before = resident_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    ctc_forced_align(x, targets, frames, sizes)
    return resident_mb("VmHWM") - before


def main() -> None:
    warnings.filterwarnings("ignore", message=".*forced_align")
    torch.set_num_threads(1)
    memory = round(long_utterance_mb(), 1)
    print(f"T={LONG[0]} V={LONG[2]} L={LONG[3]}: {memory} MB")
    print(f"{'T':>5} {'N':>3} {'V':>5} {'L':>4} {'threads':>7} {'ours ms':>9} {'torchaudio ms':>13} {'ratio':>6}")
    rows = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for shape in [*SHAPES, LONG]:
            rows.append(measure(shape))
            print(
                "{T:5} {N:3} {V:5} {L:4} {threads:7} {ours_ms:9.3f} {torchaudio_ms:13.3f} {ratio:6.2f}".format(
                    **rows[-1]
                ),
                flush=True,
            )
    machine = {"processor": processor(), "cores": os.cpu_count(), "torch": torch.__version__}
    with atomic_write(RESULTS) as file:
        json.dump({"machine": machine, "long_utterance_mb": memory, "rows": rows}, file, indent=1)
    print(f"written to {RESULTS}")


if __name__ == "__main__":
    main()
