"""A corpus of words that are spelled in tones, to train on within a second."""

import numpy as np

from asr import manifest
from asr.manifest import Utterance

TONES_HZ = {"a": 400, "b": 900, "c": 1600}


def write(folder, make_wav):
    """`train.jsonl` of 16 words and `dev.jsonl` of 4; returns the folder."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 16), ("dev", 4)):
        utterances = []
        for i in range(count):
            text = "".join(rng.choice(list(TONES_HZ), 3, replace=False))
            t = np.arange(3200) / 16000
            x = np.concatenate([0.1 * np.sin(2 * np.pi * TONES_HZ[c] * t) for c in text])
            path = make_wav(f"{split}{i}.wav", x + 0.01 * rng.standard_normal(len(x)))
            utterances.append(Utterance(f"{split}{i}", str(path), None, 0.0, 0.6, text))
        manifest.write(folder / f"{split}.jsonl", utterances)
    return folder
