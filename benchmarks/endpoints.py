"""Endpoints in a stream: how long after the speech, against strings and words that are cut.

    python benchmarks/endpoints.py [MODEL.asr ...]     # exp/digits/model.asr unless given

Digits of the test takes of ../shared/data/fsdd (real speech, six speakers) are joined to `STRINGS` strings of three to
seven, one speaker each, over a steady noise 30 dB below. The gap between two digits is 0 to 0.35 s, but every fourth is
a hesitation of 0.4 to 1.2 s. Three seconds without speech follow each string. The stream is heard in blocks of 0.1 s
and finalised at each endpoint.

latency   from the end of the last digit to the endpoint: median and 95th percentile
early     endpoints per 100 strings before the string's last digit has ended
in words  those of them that lie within a digit
WER       of all words of the stream; `alone`: each string transcribed as a recording

The bigram of digits finds the end of a string about as probable after each digit, so here the semantic rules differ
from plain silence by little but their length. Writes benchmarks/results/endpoints.json.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

import asr
from asr.data import corpora
from asr.evaluation.score import error_counts
from asr.features import audio
from asr.files import atomic_write
from asr.hypothesis import Hypothesis
from asr.recognizer.recognizer import Recognizer
from asr.search.endpoint import RULES, EndpointOptions, Rule, after_silence, semantic

RESULT = Path(__file__).parent / "results/endpoints.json"
RATE_HZ, SEED, STRINGS, BLOCK_S, PAUSE_S = 8000, 1, 36, 0.1, 3.0
LEVEL, NOISE_DB = 0.05, -30
WORDS = "zero one two three four five six seven eight nine".split()
CASES: list[tuple[str, str, tuple[Rule, ...]]] = [
    ("net", "Kaldi's", RULES),
    ("net", "0.5 s", after_silence(0.5)),
    *[("energy", f"{s} s", after_silence(s)) for s in (0.3, 0.5, 0.8, 1.2)],
    *[("energy", f"semantic({f})", semantic(f)) for f in (0.6, 1.0, 1.6)],
    ("silero", "0.5 s", after_silence(0.5)),
    ("silero", "semantic(1.0)", semantic()),
]


class Sound:
    """The stream's samples, and of each string its text and the (start, end) of its digits in samples."""

    def __init__(self) -> None:
        rng = np.random.default_rng(SEED)
        folder = corpora.find("fsdd", None)
        assert folder is not None, "needs ../shared/data/fsdd"
        paths = sorted(path for path in (folder / "audio").glob("*.flac") if int(path.stem.split("_")[2]) < 5)
        speakers = sorted({path.stem.split("_")[1] for path in paths})
        parts: list[np.ndarray] = [np.zeros(RATE_HZ, np.float32)]
        self.texts: list[str] = []
        self.digits: list[list[tuple[int, int]]] = []
        at = RATE_HZ
        for number in range(STRINGS):
            own = [path for path in paths if path.stem.split("_")[1] == speakers[number % len(speakers)]]
            chosen = [own[i] for i in rng.integers(len(own), size=rng.integers(3, 8))]
            self.texts.append(" ".join(WORDS[int(path.stem[0])] for path in chosen))
            self.digits.append([])
            for place, path in enumerate(chosen):
                x = audio.load(path, sample_rate_hz=RATE_HZ)
                self.digits[-1].append((at, at + len(x)))
                is_last, hesitates = place == len(chosen) - 1, rng.integers(4) == 0
                gap_s = PAUSE_S if is_last else rng.uniform(0.4, 1.2) if hesitates else rng.uniform(0, 0.35)
                gap = np.zeros(round(gap_s * RATE_HZ), np.float32)
                parts += [x * LEVEL / np.sqrt(np.mean(x**2)), gap]
                at += len(x) + len(gap)
        samples = np.concatenate(parts)
        noise = rng.standard_normal(len(samples)) * LEVEL * 10 ** (NOISE_DB / 20)
        self.samples = np.clip(samples + noise, -1, 1).astype(np.float32)

    def alone(self, recognizer: Recognizer) -> list[Hypothesis]:
        margin = RATE_HZ // 4
        return [recognizer.transcribe(self.samples[d[0][0] - margin : d[-1][1] + margin], RATE_HZ) for d in self.digits]


def measure(recognizer: Recognizer, sound: Sound, options: EndpointOptions) -> dict[str, float]:
    stream, block = recognizer.stream(endpoint=options), round(BLOCK_S * RATE_HZ)
    found, ends = [], []
    for start in range(0, len(sound.samples), block):
        stream.accept(sound.samples[start : start + block], RATE_HZ)
        if stream.endpoint():
            ends.append(min(start + block, len(sound.samples)))
            found.append(stream.finalize())
    found.append(stream.finish())
    late, early, within = [], 0, 0
    for number, digits in enumerate(sound.digits):
        after = sound.digits[number + 1][0][0] if number + 1 < len(sound.digits) else len(sound.samples)
        late += [(end - digits[-1][1]) / RATE_HZ for end in ends if digits[-1][1] <= end < after][:1]
        early += sum(digits[0][0] <= end < digits[-1][1] for end in ends)
        within += sum(start < end < stop for start, stop in digits for end in ends)
    return {
        "median_s": float(np.median(late)),
        "p95_s": float(np.percentile(late, 95)),
        "found": len(late) / STRINGS,
        "early_per_100": 100 * early / STRINGS,
        "in_words_per_100": 100 * within / STRINGS,
        "wer": wer(sound, " ".join(h.text for h in found if h.text)),
    }


def wer(sound: Sound, text: str) -> float:
    counts = error_counts(" ".join(sound.texts), text, "wer")
    return counts.rate


def main(models: list[str]) -> None:
    torch.set_num_threads(1)
    sound, results = Sound(), {}
    print(f"{len(sound.samples) / RATE_HZ:.0f} s, {sum(map(len, sound.digits))} digits")
    for model in models or ["exp/digits/model.asr"]:
        recognizer = asr.load(model)
        rows = {"alone": {"wer": wer(sound, " ".join(h.text for h in sound.alone(recognizer)))}}
        print(
            f"{model}\n| VAD | Rules | Latency median | p95 | Early | In words | WER |\n|---|---|---|---|---|---|---|"
        )
        print(f"| alone | | | | | | {rows['alone']['wer']:.1%} |")
        for vad, name, rules in CASES:
            row = rows[f"{vad} {name}"] = measure(recognizer, sound, EndpointOptions(rules, vad))
            print(f"| {vad} | {name} | {row['median_s']:.2f} s | {row['p95_s']:.2f} s | {row['early_per_100']:.0f} | "
                  f"{row['in_words_per_100']:.0f} | {row['wer']:.1%} |", flush=True)  # fmt: skip
        results[Path(model).stem] = rows
    with atomic_write(RESULT) as file:
        json.dump(results, file, indent=1)


if __name__ == "__main__":
    main(sys.argv[1:])
