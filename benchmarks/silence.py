"""What stands around the speech: error rates of one recogniser under silence, noise, levels, rates and channels.

    python -m benchmarks.silence BUNDLE MANIFEST [LIMIT] [RATE]

Each recording of the manifest (of the first LIMIT, if given) is changed in one way per row of the table and recognised
again. RATE is wer (the default), cer or cer_without_spaces. A bundle without a graph hears the texts of the manifest as
a word list. Silence and noise are `seconds` long, before and behind the speech or in its clearest pause. Noise is as
loud as the row says, relative to full scale (dBFS) or to the speech (the power exceeded by 5 % of the moments), half of
it white, half coloured. All is drawn from one seed. The last rows count words where nothing is said. Writes
benchmarks/results/silence-NAME.json, NAME being the name of the bundle's folder.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soxr

from asr import manifest
from asr.data.augment import coloured
from asr.data.dataset import load_input
from asr.evaluation.score import error_counts
from asr.features.pauses import best_pause, levels
from asr.hypothesis import Hypothesis
from benchmarks.conditions import arguments, open_recognizer, write

SEED = 1
LIMIT = 1.0  # points of the rate that a condition may add
AT_ONCE = 50  # recordings in memory
NOTHING_S = (1.0, 3.0, 10.0)
Change = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]  # samples (T,), rate in Hz -> (T',) or (C, T')


def silence(seconds: float, rate_hz: int, noise_db: float | None, rng: np.random.Generator) -> np.ndarray:
    """Zeros, or noise of the given level in dBFS: (samples,)."""
    samples = int(seconds * rate_hz)
    if noise_db is None or not samples:
        return np.zeros(samples, np.float32)
    noise = coloured(rng.standard_normal(samples), float(rng.integers(2)))
    return (10 ** (noise_db / 20) * noise).astype(np.float32)


def speech_db(x: np.ndarray, rate_hz: int) -> float:
    return float(np.percentile(levels(x, rate_hz), 95))


def around(before_s: float, behind_s: float, noise_db: float | None = None, relative: bool = False) -> Change:
    def change(x: np.ndarray, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
        db = noise_db + speech_db(x, rate_hz) if noise_db is not None and relative else noise_db
        return np.concatenate([silence(before_s, rate_hz, db, rng), x, silence(behind_s, rate_hz, db, rng)])

    return change


def between(seconds: float, noise_db: float | None = None) -> Change:
    def change(x: np.ndarray, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
        at = best_pause(x, rate_hz, len(x) / rate_hz / 4)
        return np.concatenate([x[:at], silence(seconds, rate_hz, noise_db, rng), x[at:]])

    return change


def gain(db: float, bits: int = 16) -> Change:
    """Another level, clipped and rounded as in a file."""

    def change(x: np.ndarray, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
        steps = 2 ** (bits - 1)
        return (np.round(np.clip(x * 10 ** (db / 20), -1, 1) * steps) / steps).astype(np.float32)

    return change


def step(db: float) -> Change:
    """Another level from the clearest pause on."""

    def change(x: np.ndarray, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
        at = best_pause(x, rate_hz, len(x) / rate_hz / 4)
        return np.clip(np.concatenate([x[:at], x[at:] * 10 ** (db / 20)]), -1, 1).astype(np.float32)

    return change


def offset(value: float) -> Change:
    return lambda x, rate_hz, rng: np.clip(x + np.float32(value), -1, 1)


def hum(hz: float, db: float) -> Change:
    return lambda x, rate_hz, rng: (
        x + 10 ** ((speech_db(x, rate_hz) + db) / 20) * np.sin(2 * np.pi * hz / rate_hz * np.arange(len(x)))
    ).astype(np.float32)


def click(x: np.ndarray, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """A click of 2 ms at full scale 0.1 s before the speech, after 0.3 s of zeros."""
    pad = np.zeros(int(0.3 * rate_hz), np.float32)
    pad[int(0.2 * rate_hz) : int(0.202 * rate_hz)] = 1.0
    return np.concatenate([pad, x])


def one_side(x: np.ndarray, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    return np.stack([x, np.zeros_like(x)])


def both_sides(x: np.ndarray, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    return np.stack([x, x])


def in_turn(*changes: Change) -> Change:
    def change(x: np.ndarray, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
        for one in changes:
            x = one(x, rate_hz, rng)
        return x

    return change


CONDITIONS: dict[str, Change] = {
    "as it is": lambda x, rate_hz, rng: x,
    "0.25 s of zeros at both ends": around(0.25, 0.25),
    "1 s of zeros at both ends": around(1.0, 1.0),
    "3 s of zeros at both ends": around(3.0, 3.0),
    "3 s of zeros before": around(3.0, 0.0),
    "3 s of zeros behind": around(0.0, 3.0),
    "0.25 s of noise at -50 dBFS at both ends": around(0.25, 0.25, -50),
    "1 s of noise at -50 dBFS at both ends": around(1.0, 1.0, -50),
    "3 s of noise at -60 dBFS at both ends": around(3.0, 3.0, -60),
    "3 s of noise at -50 dBFS at both ends": around(3.0, 3.0, -50),
    "3 s of noise at -40 dBFS at both ends": around(3.0, 3.0, -40),
    "3 s of noise 60 dB below the speech at both ends": around(3.0, 3.0, -60, True),
    "3 s of noise 40 dB below the speech at both ends": around(3.0, 3.0, -40, True),
    "0.25 s of zeros in a pause": between(0.25),
    "3 s of zeros in a pause": between(3.0),
    "1 s of noise at -50 dBFS in a pause": between(1.0, -50),
    "3 s of noise at -50 dBFS in a pause": between(3.0, -50),
    "gain -30 dB, 16 bits": gain(-30),
    "gain -12 dB, 16 bits": gain(-12),
    "gain +12 dB, clipped": gain(12),
    "10 dB softer from a pause on": step(-10),
    "20 dB softer from a pause on": step(-20),
    "offset +0.05": offset(0.05),
    "offset -0.2": offset(-0.2),
    "hum of 50 Hz, 20 dB below the speech": hum(50, -20),
    "click at full scale before": click,
    "stereo": both_sides,
    "stereo, one side silent": one_side,
    "1 s of zeros, gain -20 dB, offset 0.05": in_turn(around(1.0, 1.0), gain(-20), offset(0.05)),
    "2 s of noise at -50 dBFS, 1 s in a pause, one side": in_turn(between(1.0, -50), around(2.0, 2.0, -50), one_side),
}
RATES_HZ = (8000, 16000, 44100, 48000)


def resampled(rate_hz: int) -> Change:
    return lambda x, own_hz, rng: soxr.resample(x, own_hz, rate_hz)


class Bench:
    def __init__(self, bundle: Path, utterances: Sequence[manifest.Utterance], rate: str):
        self.recognizer, self.utterances, self.rate = open_recognizer(bundle, utterances), utterances, rate
        self.rate_hz = self.recognizer.cfg.features.sample_rate_hz

    def recognise(self, change: Change, rate_hz: int | None = None) -> dict[str, Hypothesis]:
        found: dict[str, Hypothesis] = {}
        rng = np.random.default_rng(SEED)
        for start in range(0, len(self.utterances), AT_ONCE):
            some = self.utterances[start : start + AT_ONCE]
            inputs = [change(load_input(self.recognizer.cfg, u), self.rate_hz, rng) for u in some]
            results = self.recognizer.transcribe(inputs, rate_hz or self.rate_hz)
            found |= {u.id: result for u, result in zip(some, results, strict=True)}
        return found

    def error_rate(self, change: Change, rate_hz: int | None = None) -> float:
        found = self.recognise(change, rate_hz)
        counts = [error_counts(u.transcript, found[u.id].text, self.rate) for u in self.utterances]
        return sum(c.errors for c in counts) / sum(c.reference for c in counts)

    def words_of_nothing(self, noise_db: float | None) -> int:
        """Words found in recordings of silence or noise, ten of each length in `NOTHING_S`."""
        rng = np.random.default_rng(SEED)
        inputs = [silence(s, self.rate_hz, noise_db, rng) for s in NOTHING_S for _ in range(10)]
        return sum(len(result.words) for result in self.recognizer.transcribe(inputs, self.rate_hz))


def main(bundle: Path, utterances: Sequence[manifest.Utterance], rate: str) -> None:
    bench = Bench(bundle, utterances, rate)
    rows: dict[str, float] = {}
    changes = CONDITIONS | {f"at {hz} Hz": resampled(hz) for hz in RATES_HZ if hz != bench.rate_hz}
    print(
        f"{bundle}: {rate} of {len(utterances)} utterances, {sum(len(u.transcript.split()) for u in utterances)} words"
    )
    for name, change in changes.items():
        rate_hz = int(name.split()[1]) if name.startswith("at ") else None
        rows[name] = round(bench.error_rate(change, rate_hz), 5)
        worse = "  <-" if rows[name] > rows["as it is"] + LIMIT / 100 else ""
        print(f"{name:52} {rows[name]:8.2%}{worse}", flush=True)
    words = {}
    for name, noise_db in [("zeros", None), ("noise at -60 dBFS", -60.0), ("noise at -40 dBFS", -40.0)]:
        words[name] = bench.words_of_nothing(noise_db)
        print(f"words in 30 recordings of {name:26} {words[name]:7}", flush=True)
    write("silence", bundle, {"utterances": len(utterances), rate: rows, "words_in_nothing": words})


if __name__ == "__main__":
    main(*arguments(__doc__))
