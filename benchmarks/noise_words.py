"""Words found in the noise between two utterances of a stream, and words of the utterances that are lost.

    python -m benchmarks.noise_words BUNDLE MANIFEST [LIMIT]     # 16 recordings of the manifest unless given

A stream hears a recording, `NOISE_S` of noise, the next recording, and so on, in blocks of 0.1 s; it is finalised at
each endpoint, and before each recording. The noises are white and brown ones at -60, -50 and -40 dBFS, and the test
recordings of ../shared/data/noise (ESC-10: rain, dogs, crying babies ...), repeated, at -50 dBFS, in turn. A word is
counted as found in noise if it begins 0.5 s or more behind the recording. For each detector (`vad`): words per minute
of steady noise, and of the others; the WER of all words found before. Writes benchmarks/results/noise_words.json.
"""

import json
import sys
from collections.abc import Iterator
from datetime import date
from itertools import cycle, islice
from pathlib import Path

import numpy as np

import asr
from asr import manifest
from asr.data.augment import coloured
from asr.data.dataset import load_input
from asr.evaluation.score import error_counts
from asr.features import audio
from asr.files import atomic_write
from asr.recognizer.recognizer import Recognizer

RESULT = Path(__file__).parent / "results/noise_words.json"
NOISES = Path("../shared/data/noise")
NOISE_S, SEED, BLOCK_S, LATE_S = 30.0, 1, 0.1, 0.5
Part = tuple[str, np.ndarray]  # kind, samples


def steady(rate_hz: int) -> Iterator[Part]:
    rng = np.random.default_rng(SEED)
    for level_db in (-60, -50, -40):
        for slope in (0.0, 1.0):
            yield "steady", 10 ** (level_db / 20) * coloured(rng.standard_normal(round(NOISE_S * rate_hz)), slope)


def recorded(rate_hz: int) -> Iterator[Part]:
    for line in (NOISES / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry["split"] == "test":
            x = audio.load(NOISES / entry["audio"], sample_rate_hz=rate_hz)
            yield "recorded", np.resize(x * 10 ** (-50 / 20) / np.sqrt(np.mean(x**2)), round(NOISE_S * rate_hz))


def measure(recognizer: Recognizer, speech: list[Part], noises: list[Part], vad: str) -> dict[str, float]:
    """`speech`: texts and recordings."""
    rate_hz = recognizer.cfg.features.sample_rate_hz
    block, stream = round(BLOCK_S * rate_hz), recognizer.stream(endpoint=asr.EndpointOptions(vad=vad))
    found = {"steady": 0, "recorded": 0, "words": 0, "errors": 0}
    for (text, recording), (kind, noise) in zip(speech, cycle(noises), strict=False):
        behind_s, words = stream.heard_s + len(recording) / rate_hz + LATE_S, []
        x = np.concatenate([recording, noise]).astype(np.float32)
        for start in range(0, len(x), block):
            stream.accept(x[start : start + block], rate_hz)
            if stream.endpoint():
                words += stream.finalize().words
        words += stream.finalize().words
        found[kind] += sum(word.start_s >= behind_s for word in words)
        counts = error_counts(text, " ".join(word.word for word in words if word.start_s < behind_s), "wer")
        found["words"] += len(text.split())
        found["errors"] += counts.errors
    used = [kind for kind, _ in islice(cycle(noises), len(speech))]
    per_minute = {kind: found[kind] * 60 / NOISE_S / max(1, used.count(kind)) for kind in ("steady", "recorded")}
    return per_minute | {"wer": found["errors"] / found["words"]}


def main(bundle: Path, path: Path, limit: int = 16) -> None:
    recognizer = asr.load(bundle)
    rate_hz = recognizer.cfg.features.sample_rate_hz
    utterances = [u for u in manifest.read(path) if u.text][:limit]
    speech = [(u.transcript, load_input(recognizer.cfg, u)) for u in utterances]
    noises = [*steady(rate_hz), *recorded(rate_hz)]
    rows = {}
    print("| `vad` | Words per minute, steady noise | other noise | WER |\n|---|---|---|---|")
    for vad in ("net", "energy", "silero"):
        row = rows[vad] = measure(recognizer, speech, noises, vad)
        print(f"| `{vad}` | {row['steady']:.1f} | {row['recorded']:.1f} | {row['wer']:.1%} |", flush=True)
    with atomic_write(RESULT) as file:
        json.dump({"date": str(date.today()), "bundle": bundle.resolve().parent.name, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    if not 3 <= len(sys.argv) <= 4:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
