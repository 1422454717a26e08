"""CTC loss against torch's: log-softmax, loss and gradient by the logits, on the CPU.

Both sides run in turn in one process, and the ratio is that of each pair: the machine's mood then counts for both.
With one thread CPU seconds are counted, which other work on the machine hardly touches; with two, those of the clock.

    python benchmarks/ctc.py            # prints a table, writes benchmarks/results/ctc.json
"""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from asr.criteria.ctc import ctc_loss
from asr.files import atomic_write

SHAPES = [  # T frames, N utterances, V outputs, L labels
    (200, 8, 30, 30),
    (200, 32, 30, 30),
    (500, 1, 32, 60),
    (500, 32, 500, 60),
    (1500, 32, 30, 200),
    (500, 16, 5000, 60),
]
REPEATS = 5
RESULTS = Path(__file__).parent / "results" / "ctc.json"


def seconds(work: Callable[[], torch.Tensor], x: torch.Tensor) -> float:
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    x.grad = None
    start = clock()
    work().backward()
    return clock() - start


def measure(frames: int, batch: int, vocabulary: int, labels: int) -> dict:
    generator = torch.Generator().manual_seed(1)
    x = (2 * torch.randn(frames, batch, vocabulary, generator=generator)).requires_grad_()
    targets = torch.randint(1, vocabulary, (batch, labels), generator=generator)
    lengths = torch.full((batch,), frames), torch.full((batch,), labels)

    def ours() -> torch.Tensor:
        return ctc_loss(x, targets, *lengths, logits=True)

    def theirs() -> torch.Tensor:
        return torch.nn.functional.ctc_loss(x.log_softmax(2), targets, *lengths)

    seconds(ours, x), seconds(theirs, x)
    pairs = [(seconds(ours, x), seconds(theirs, x)) for _ in range(REPEATS)]
    return {
        "T": frames,
        "N": batch,
        "V": vocabulary,
        "L": labels,
        "threads": torch.get_num_threads(),
        "ours_ms": round(1e3 * statistics.median(a for a, _ in pairs), 2),
        "torch_ms": round(1e3 * statistics.median(b for _, b in pairs), 2),
        "ratio": round(statistics.median(b / a for a, b in pairs), 2),
    }


def processor() -> str:
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].split(":")[1].strip() if names else platform.processor()


def main() -> None:
    rows = []
    print(f"{'T':>5} {'N':>3} {'V':>5} {'L':>4} {'threads':>7} {'ours ms':>9} {'torch ms':>9} {'ratio':>6}")
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for shape in SHAPES:
            row = measure(*shape)
            rows.append(row)
            print("{T:5} {N:3} {V:5} {L:4} {threads:7} {ours_ms:9.2f} {torch_ms:9.2f} {ratio:6.2f}".format(**row))
    machine = {"processor": processor(), "cores": os.cpu_count(), "torch": torch.__version__}
    with atomic_write(RESULTS) as file:
        json.dump({"machine": machine, "rows": rows}, file, indent=1)
    print(f"median ratio {statistics.median(row['ratio'] for row in rows):.2f}; written to {RESULTS}")


if __name__ == "__main__":
    main()
