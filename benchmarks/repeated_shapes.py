"""How often shapes of batches come again, which is what CUDA graphs (`optim.cuda_graphs`) need.

    python -m benchmarks.repeated_shapes MANIFEST.jsonl ...

Durations and augmentation alone are drawn, no sound is read: utterances of the split `train`, where a manifest has one,
in the batches of a whole training with the default options, with and without changes of speed and silences. Sizes are
those of the batches as they are, with frames rounded up to a multiple of 8, and rounded as for the graphs. A batch is
repeated if a graph was recorded for its shape before or with it, of at most as many as there may be.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from asr import manifest
from asr.config import AugmentConfig, Config
from asr.data.augment import add_silence, generator, keeps_words
from asr.data.batching import epoch_batches
from asr.training.cuda_graphs import MOST, MULTIPLE, rounded

RESULT = Path(__file__).parent / "results" / "repeated_shapes.json"
FRAMES_PER_S = 100
AUGMENT = {
    "none": AugmentConfig(speeds=[], silence_s=0.0),
    "speeds": AugmentConfig(silence_s=0.0),
    "speeds, silence": AugmentConfig(),
}
Size = tuple[int, int]  # N utterances, F frames
SIZES: dict[str, Callable[[int, int], Size]] = {
    "as they are": lambda n, frames: (n, frames),
    "F by 8": lambda n, frames: (n, -(-frames // MULTIPLE) * MULTIPLE),
    "N and F by an eighth": lambda n, frames: (rounded(n, 1), rounded(frames, MULTIPLE)),
}


def frames_of(duration_s: float, cfg: AugmentConfig, rng: np.random.Generator) -> int:
    """Frames of an utterance as it is trained on."""
    speed = cfg.speeds[rng.integers(len(cfg.speeds))] if cfg.speeds else 1.0
    x, longest = np.empty(round(duration_s / speed * FRAMES_PER_S), np.bool_), round(cfg.silence_s * FRAMES_PER_S)
    if not keeps_words(cfg, rng):
        return max(1, int(rng.uniform() * longest))
    return len(add_silence(x, longest, lambda after: after, lambda n: np.empty(n, np.bool_), rng) if longest else x)


def batches(durations_s: list[float], augment: AugmentConfig, cfg: Config) -> Iterator[Size]:
    for epoch in range(cfg.optim.epochs):
        frames = [frames_of(s, augment, generator(cfg.seed, epoch, i)) for i, s in enumerate(durations_s)]
        for batch in epoch_batches(durations_s, cfg.optim.batch_s, cfg.seed, epoch):
            yield len(batch), max(frames[i] for i in batch)


def count(sizes: list[Size], padded: Callable[[int, int], Size]) -> dict[str, Any]:
    """Shares of padding and of the repeated batches, and how many graphs there are."""
    shapes = [padded(*size) for size in sizes]
    seen: set[Size] = set()
    recorded: set[Size] = set()
    repeated = 0
    for shape in shapes:
        if shape in seen and len(recorded) < MOST:
            recorded.add(shape)
        repeated += shape in recorded
        seen.add(shape)
    padding = sum(n * f for n, f in shapes) / sum(n * f for n, f in sizes) - 1
    return {"padding": padding, "repeated": repeated / len(shapes), "graphs": len(recorded), "batches": len(shapes)}


def main(paths: list[str]) -> None:
    if not paths:
        sys.exit(__doc__)
    found = []
    print("| manifest | augmentation | sizes | padding | repeated | graphs | batches |\n|---|---|---|---|---|---|---|")
    for path in paths:
        trained = [u for u in manifest.read(path) if u.extra.get("split", "train") == "train"]
        for name, augment in AUGMENT.items():
            sizes = list(batches([u.duration_s or 0.0 for u in trained], augment, Config()))
            for kind, padded in SIZES.items():
                row = count(sizes, padded)
                print(f"| {path} | {name} | {kind} | {row['padding']:.1%} | {row['repeated']:.0%} | {row['graphs']} | "
                      f"{row['batches']} |", flush=True)  # fmt: skip
                found.append({"manifest": path, "augmentation": name, "sizes": kind} | row)
    RESULT.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
