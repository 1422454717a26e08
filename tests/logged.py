"""Requests as a service logs them, for the tests of the flywheel."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from asr.flywheel.log import DAY_S, RequestLog
from asr.flywheel.request import Heard
from asr.hypothesis import Hypothesis, Word

NOW = 1_770_000_000.0
RATE_HZ = 16000


def heard(
    id: str, text: str = "a b", confidence: float = 0.9, day: float = 0, seconds: float = 0.2, **other: Any
) -> Heard:
    """A request `day` days after NOW, of noise that its id decides."""
    words = [Word(word, 0.1 * n, 0.1 * n + 0.1, confidence) for n, word in enumerate(text.split())]
    samples = 0.1 * np.random.default_rng(list(id.encode())).standard_normal(round(seconds * RATE_HZ))
    found = Hypothesis("", text, words, 0.0, seconds, True)
    made = Heard(
        id, NOW + day * DAY_S, "1", "phone app", "dictation", "en", "m.asr@1f", "0.1.0", found, (), -20.0, 0.05,
        samples.astype(np.float32), RATE_HZ,
    )  # fmt: skip
    return dataclasses.replace(made, **other)


def log_of(folder: Path, *requests: Heard, slice_rate: float = 0.0) -> RequestLog:
    log = RequestLog(folder, slice_rate=slice_rate)
    for request in requests:
        log.add(request)
    return log


def bytes_of(folder: Path) -> bytes:
    """All that the files of a log hold."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
