"""LF-MMI with the topology of CTC beside k2's: the largest differences of loss and gradient, and CPU milliseconds.

    python benchmarks/k2_lfmmi.py VENV/bin/python     # a Python with k2, see benchmarks/k2_peer.py; a minute

The n-gram, composed with CTC, is given to k2 as an automaton without epsilons: k2 reads them as frames.
"""

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from lfmmi import REPEATS, draw_targets, losses_of, seconds

from asr.criteria.lfmmi import TokenModel
from asr.training.token_lm import estimate

SHAPES = [(60, 2, 10, 2), (100, 8, 40, 2), (100, 8, 40, 3)]  # T, N, V, order


def arcs_of(model: TokenModel) -> tuple[np.ndarray, np.ndarray]:
    """The model composed with CTC: from, to, label (A, 3) and scores (A,). A state is a history and the label passed
    last, the blank 0 at first; -1 leads to the last state."""
    pairs = [(model.start, 0)]
    numbers = {pairs[0]: 0}
    arcs, scores = [], []
    for source, (history, last) in enumerate(pairs):
        for label in range(model.log_prob.shape[1]):
            is_new = label not in (0, last)
            pair = (int(model.successor[history, label]) if is_new else history, label)
            if pair not in numbers:
                numbers[pair] = len(pairs)
                pairs.append(pair)
            arcs.append((source, numbers[pair], label))
            scores.append(model.log_prob[history, label] if is_new else 0.0)
        arcs.append((source, -1, -1))
        scores.append(model.log_final[history])
    found = np.array(arcs, np.int32)
    found[found[:, 1] < 0, 1] = len(pairs)
    return found, np.array(scores, np.float32)


def measure(python: str, frames: int, batch: int, vocabulary: int, order: int) -> dict[str, float]:
    rng = np.random.default_rng(0)
    targets = draw_targets(vocabulary, rng)
    model = estimate(targets, vocabulary, order)
    x = torch.from_numpy(2 * rng.normal(size=(frames, batch, vocabulary))).float().log_softmax(2).requires_grad_()
    loss = losses_of(model, targets, frames, batch)["lfmmi"]
    ours = 1e3 * statistics.median([seconds(loss, x) for _ in range(REPEATS)][1:])
    arcs, scores = arcs_of(model)
    with tempfile.TemporaryDirectory() as folder:
        case, result = Path(folder, "case.npz"), Path(folder, "result.npz")
        np.savez(case, x=x.detach().transpose(0, 1).numpy(), targets=targets[:batch], arcs=arcs, scores=scores)
        subprocess.run([python, Path(__file__).with_name("k2_peer.py"), case, result], check=True)
        with np.load(result) as data:
            numerator = data["numerator"] + [model.score(own) for own in targets[:batch]]
            peer, gradient, ms = data["denominator"] - numerator, data["gradient"], float(data["ms"])
    assert x.grad is not None
    return {
        "T": frames, "N": batch, "V": vocabulary, "order": order, "arcs": len(arcs),
        "loss": round(float(peer.mean()), 3),
        "loss_difference": float(np.abs(loss(x).detach().numpy() - peer).max()),
        "gradient_difference": float(np.abs(x.grad.transpose(0, 1).numpy() - gradient).max()),
        "ours_ms": round(ours, 2), "k2_ms": round(ms, 1),
    }  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    for number, shape in enumerate(SHAPES):
        row = measure(sys.argv[1], *shape)
        if not number:
            print("|", " | ".join(row), "|\n|" + "---|" * len(row))
        print("|", " | ".join(f"{v:.2g}" if "difference" in k else str(v) for k, v in row.items()), "|", flush=True)


if __name__ == "__main__":
    main()
