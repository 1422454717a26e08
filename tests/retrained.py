"""Recognisers of tones for the tests of retraining: one of read speech, and requests whose tones are higher."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import tones
from logged import NOW, heard, log_of

from asr import pipeline
from asr.flywheel.log import DAY_S, RequestLog
from asr.manifest import Utterance

HIGHER = 2.0


def samples_of(text: str, seed: int, factor: float = HIGHER) -> np.ndarray:
    """(T,) float32, 0.1 s per letter."""
    t = np.arange(1600) / 16000
    x = np.concatenate([0.1 * np.sin(2 * np.pi * factor * tones.TONES_HZ[c] * t) for c in text])
    return (x + 0.005 * np.random.default_rng(seed).standard_normal(len(x))).astype(np.float32)


def texts(count: int, seed: int = 0) -> Iterator[str]:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield "".join(rng.choice(list("abc"), 3, replace=False))


def base_in(folder: Path) -> Path:
    """The bundle of a recogniser of read tones with a static graph, beside its language model, and dynamic.asr."""
    tones.write(folder, "train", 16)
    tones.write(folder, "dev", 3, seed=1)
    cfg = tones.config(folder, "base")
    cfg.optim.epochs, cfg.optim.batch_s, cfg.optim.lr = 3, 10, 3e-2
    pipeline.train(cfg)
    pipeline.train_lm(cfg)
    for kind in ("dynamic", "static"):
        cfg.graph.kind, cfg.graph.dir, cfg.bundle = kind, f"{cfg.out}/{kind}", f"{cfg.out}/{kind}.asr"
        pipeline.build_graph(cfg)
        pipeline.bundle(cfg)
    return Path(cfg.bundle)


def log_in(folder: Path, train: int = 60, test: int = 30) -> RequestLog:
    """Transcribed requests of 30 days, those of the random slice in the last ten of them. Some say the new word `abca`;
    `xy` has no letter of the net."""
    log = log_of(folder)
    told = {}
    for number, text in enumerate(texts(train + test)):
        in_test = number >= train
        text = "abca" if number % 10 == 9 else "xy" if number == 1 else text
        day = 20 + 10 * (number - train) / test if in_test else 20 * number / train
        samples = samples_of(text.replace("xy", "ab"), number)
        request = heard(f"asr-{number}", "b", day=day, samples=samples)
        log.slice_rate = float(in_test)
        log.add(replace(request, hypothesis=replace(request.hypothesis, duration_s=len(samples) / 16000)))
        told[request.id] = text
    log.transcribe(told, NOW + 30 * DAY_S)
    return log


def request(id: str, day: float, in_slice: bool = False, text: str | None = "a b") -> Utterance:
    """A request as `asr flywheel export` writes it, without its sound."""
    return Utterance(
        id, f"/nowhere/{id}.flac", text=text, extra={"answered_at_s": NOW + day * DAY_S, "in_slice": in_slice}
    )
