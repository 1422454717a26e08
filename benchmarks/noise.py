"""Error rates of a recogniser in noise and in rooms.

    python -m benchmarks.noise BUNDLE MANIFEST [LIMIT] [RATE]

Each recording of the manifest (of the first LIMIT, if given) is mixed with noise at 20, 10, 5 and 0 dB below the speech
(RMS of the recording), or heard in a room, and recognised. RATE is wer (the default), cer or cer_without_spaces.

- babble: 5 other recordings of the manifest at once;
- sounds: the test recordings of ../shared/data/noise (ESC-10: rain, dogs, crying babies ...);
- steady: coloured noise, from white to brown;
- measured rooms: the test responses of ../shared/data/rir; drawn rooms: simulated with the reverberation time named.

Rows whose data is not at hand are left out with a note. All is drawn from one seed and the recording's number, so that
two recognisers hear the same sound. Writes benchmarks/results/noise-NAME.json, NAME being that of the bundle's folder.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from asr import manifest
from asr.data.dataset import load_input
from asr.data.scenes.noises import coloured_noise
from asr.data.scenes.rooms import RecordedRooms, draw_room, reverberate
from asr.data.scenes.sounds import Sounds
from asr.data.scenes.spectra import at_level, rms
from asr.evaluation.score import error_counts
from asr.manifest import Utterance
from benchmarks.conditions import arguments, open_recognizer, write

SEED, AT_ONCE, VOICES = 1, 50, 5
SNR_DB = (20, 10, 5, 0)
RT60_S = (0.3, 0.6, 0.9)
SHARED = Path("../shared/data")
Change = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]  # samples (T,), number of the recording


class Bench:
    def __init__(self, bundle: Path, utterances: Sequence[Utterance], rate: str):
        self.recognizer, self.utterances, self.rate = open_recognizer(bundle, utterances), utterances, rate
        self.rate_hz = self.recognizer.cfg.features.sample_rate_hz
        self.load = lru_cache(AT_ONCE)(lambda number: load_input(self.recognizer.cfg, utterances[number]))

    def error_rate(self, change: Change) -> float:
        errors = words = 0
        for start in range(0, len(self.utterances), AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, len(self.utterances)))
            inputs = [change(self.load(n), n, np.random.default_rng((SEED, n))) for n in numbers]
            results = self.recognizer.transcribe(inputs, self.rate_hz)
            for number, result in zip(numbers, results, strict=True):
                counts = error_counts(self.utterances[number].transcript, result.text, self.rate)
                errors, words = errors + counts.errors, words + counts.reference
        return errors / words

    def conditions(self) -> dict[str, Change]:
        noises = {"babble": self.babble, "steady": lambda samples, number, rng: coloured_noise(samples, rng)}
        if sounds := _test_part(SHARED / "noise/manifest.jsonl", lambda path: Sounds(path, "noise", self.rate_hz)):
            noises["sounds"] = lambda samples, number, rng: sounds.draw_part(samples, rng)
        found: dict[str, Change] = {"as it is": lambda x, number, rng: x}
        for name, noise in noises.items():
            found |= {f"{name}, {snr_db} dB": _mixed(noise, snr_db) for snr_db in SNR_DB}
        if rooms := _test_part(SHARED / "rir/manifest.jsonl", lambda path: RecordedRooms(path, self.rate_hz)):
            found["measured rooms"] = lambda x, number, rng: reverberate(x, rooms.draw(rng))
        for rt60_s in RT60_S:
            found[f"drawn rooms, {rt60_s} s"] = self.room(rt60_s)
        return found

    def babble(self, samples: int, number: int, rng: np.random.Generator) -> np.ndarray:
        others = [n for n in range(len(self.utterances)) if n != number]
        voices = [self.load(int(n)) for n in rng.choice(others, min(VOICES, len(others)), replace=False)]
        return sum(np.resize(np.roll(at_level(x, 1.0), rng.integers(len(x))), samples) for x in voices)

    def room(self, rt60_s: float) -> Change:
        return lambda x, number, rng: reverberate(x, draw_room([rt60_s], self.rate_hz, rng))


def _mixed(noise: Callable[[int, int, np.random.Generator], np.ndarray], snr_db: float) -> Change:
    """A mix is scaled down as a whole if it exceeds full scale."""

    def change(x: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
        mix = x + at_level(noise(len(x), number, rng), rms(x) * 10 ** (-snr_db / 20))
        return (mix / max(1.0, np.abs(mix).max())).astype(np.float32)

    return change


def _test_part(path: Path, opened: Callable[[str], object]):
    """The recordings of a manifest whose `split` is test, opened; None with a note if there is no manifest."""
    if not path.exists():
        print(f"there is no {path}: its rows are left out")
        return None
    chosen = Path(__file__).parents[1] / "build" / f"{path.parent.name}-test.jsonl"
    manifest.write(chosen, [u for u in manifest.read(path) if u.extra.get("split") == "test"])
    return opened(str(chosen))


def main(bundle: Path, utterances: Sequence[Utterance], rate: str) -> None:
    bench = Bench(bundle, utterances, rate)
    print(f"{bundle}: {rate} of {len(utterances)} utterances")
    rows = {}
    for name, change in bench.conditions().items():
        rows[name] = round(bench.error_rate(change), 5)
        print(f"{name:24} {rows[name]:8.2%}", flush=True)
    write("noise", bundle, {"utterances": len(utterances), rate: rows})


if __name__ == "__main__":
    main(*arguments(__doc__))
