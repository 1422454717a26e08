"""LF-MMI with the topology of CTC: CPU milliseconds of loss and gradient beside our CTC loss on the same log-probs.

    python benchmarks/lfmmi.py              # prints a table, writes benchmarks/results/lfmmi.json; minutes
    python benchmarks/lfmmi.py 200,8,40,3   # only these T,N,V,order

Token n-grams are estimated from 2,000 random sequences in which each token is followed by few others, as phones are.
Medians of runs in turn, with one thread. `exact` is the denominator alone, with the unlimited numbers that utterances
near the limits of double get. `made_s` is the time to estimate the n-gram and make the denominator.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from asr import ctc_loss
from asr.criteria.lfmmi import TokenModel, ctc_crf_loss
from asr.criteria.totals import log_totals
from asr.files import atomic_write
from asr.training.token_lm import estimate

SHAPES = [(100, 8, 40, 2), (100, 8, 40, 3), (100, 8, 40, 4), (200, 32, 40, 3), (500, 8, 40, 3), (200, 8, 200, 2)]
RESULTS = Path(__file__).parent / "results" / "lfmmi.json"
SEQUENCES, FOLLOWERS, LABELS, REPEATS = 2000, 8, 25, 7
Loss = Callable[[Tensor], Tensor]


def draw_targets(vocabulary: int, rng: np.random.Generator) -> list[list[int]]:
    """Sequences in which each token has `FOLLOWERS` others after it, the first ones more often."""
    after = rng.integers(1, vocabulary, size=(vocabulary, FOLLOWERS))
    targets = []
    for _ in range(SEQUENCES):
        tokens = [int(rng.integers(1, vocabulary))]
        for choice in rng.geometric(0.3, size=LABELS - 1):
            tokens.append(int(after[tokens[-1], choice % FOLLOWERS]))
        targets.append(tokens)
    return targets


def seconds(loss: Loss, x: Tensor) -> float:
    """CPU seconds of loss and gradient."""
    x.grad = None
    start = time.process_time()
    loss(x).sum().backward()
    return time.process_time() - start


def losses_of(model: TokenModel, targets: list[list[int]], frames: int, batch: int) -> dict[str, Loss]:
    padded, lengths = torch.tensor(targets[:batch]), ([frames] * batch, [LABELS] * batch)
    return {
        "ctc": lambda x: ctc_loss(x, padded, *lengths, reduction="none"),
        "lfmmi": lambda x: ctc_crf_loss(x, padded, *lengths, model),
        "exact": lambda x: log_totals(x, lengths[0], [model.ctc] * batch),
    }


def measure(frames: int, batch: int, vocabulary: int, order: int) -> dict[str, float]:
    rng = np.random.default_rng(0)
    targets = draw_targets(vocabulary, rng)
    start = time.process_time()
    model = estimate(targets, vocabulary, order)
    model.ctc.core  # noqa: B018, made at first use
    made_s = time.process_time() - start
    x = torch.from_numpy(rng.normal(size=(frames, batch, vocabulary))).float().log_softmax(2).requires_grad_()
    losses = losses_of(model, targets, frames, batch)
    rounds = [{name: seconds(loss, x) for name, loss in losses.items()} for _ in range(REPEATS)][1:]
    row: dict[str, float] = dict(zip(("T", "N", "V", "order"), (frames, batch, vocabulary, order), strict=True))
    row |= {"histories": len(model.log_prob), "arcs": len(model.ctc.label), "made_s": round(made_s, 2)}
    return row | {f"{name}_ms": round(1e3 * statistics.median(r[name] for r in rounds), 2) for name in losses}


def main() -> None:
    torch.set_num_threads(1)
    shapes = [tuple(map(int, word.split(","))) for word in sys.argv[1:]] or SHAPES
    rows = []
    for shape in shapes:
        rows.append(measure(*shape))
        if len(rows) == 1:
            print("|", " | ".join(rows[0]), "|\n|" + "---|" * len(rows[0]))
        print("|", " | ".join(map(str, rows[-1].values())), "|", flush=True)
    if shapes is SHAPES:
        RESULTS.parent.mkdir(exist_ok=True)
        with atomic_write(RESULTS) as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
