"""The cost of boosted phrases that are not spoken to a whole recogniser: features, net and search.

    OMP_NUM_THREADS=1 python -m benchmarks.phrases_whole MODEL MANIFEST [COUNT]

MODEL is a bundle or a run folder, MANIFEST lists recordings, of which the first COUNT are used (40). Each recording is
transcribed without phrases and with lists of 100, 1,000 and 10,000 pairs of drawn words, in turn, `ROUNDS` times after
one that warms up. A list is given with each call, as a client of the service gives it. Prints CPU milliseconds per
second of sound, by the medians of the recordings, and the ratios to those without phrases.
"""

import random
import statistics
import sys
import time
from pathlib import Path

import torch

import asr
from asr import manifest, pipeline

COUNTS, BOOST, ROUNDS = (0, 100, 1_000, 10_000), 3.0, 5


def main(model: str, path: str, count: str = "40") -> None:
    torch.set_num_threads(1)
    is_bundle = Path(model).is_file()
    recognizer = asr.load(model) if is_bundle else pipeline.open_recognizer(asr.tuned(asr.Config(out=model)))
    assert recognizer.space is not None
    recordings = [u for u in manifest.read(path) if u.audio][: int(count)]
    sound_s = sum(u.duration_s or 0 for u in recordings)
    draw, words = random.Random(1), [word for word in recognizer.space.words if word.isalpha()]
    pairs = [" ".join(draw.choices(words, k=2)) for _ in range(max(COUNTS))]
    lists = {n: asr.DecodingOptions(phrases=dict.fromkeys(pairs[:n], BOOST)) for n in COUNTS}
    seconds, changed = dict.fromkeys(COUNTS, 0.0), dict.fromkeys(COUNTS, 0)
    for utterance in recordings:
        taken: dict[int, list[float]] = {n: [] for n in COUNTS}
        texts = {}
        for number in range(ROUNDS + 1):
            for n in COUNTS if number % 2 else reversed(COUNTS):
                start = time.process_time()
                texts[n] = recognizer.transcribe(utterance.audio, options=lists[n]).text
                taken[n] += [time.process_time() - start] if number else []
        for n in COUNTS:
            seconds[n] += statistics.median(taken[n])
            changed[n] += texts[n] != texts[0]
    print(f"{len(recordings)} recordings, {sound_s:.0f} s")
    for n in COUNTS:
        of_plain = seconds[n] / seconds[0]
        print(f"{n:6} phrases  {1000 * seconds[n] / sound_s:7.3f} ms/s  {of_plain:.3f}  {changed[n]} texts changed")


if __name__ == "__main__":
    main(*sys.argv[1:])
