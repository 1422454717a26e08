"""AN4 -> train, dev and test manifests, the dictionary and the LM text. The dev speakers come out of the training set.

The corpus comes as 13 Sphinx cepstra a frame. An inverse cosine transform takes them to 40 smooth log-mel bands, so
that SpecAugment can mask frequencies; the cepstra can be had back, so nothing is lost.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from asr import corpora, manifest
from asr.errors import InputError
from asr.feature_files import load_features
from asr.files import atomic_write
from asr.text.lexicon import Lexicon

BANDS = 40  # of Sphinx's filterbank
DEV_EVERY = 10  # every tenth training speaker, in alphabetical order, goes to dev


def inverse_cosine(cepstra: np.ndarray) -> np.ndarray:
    """Cepstra (F, C) -> log-mel bands (F, 40), inverting Sphinx's c_k = mean_b x_b cos(pi k (b + .5) / 40)."""
    order = np.arange(cepstra.shape[1])[:, None]  # (C, 1)
    basis = np.cos(np.pi * order * (np.arange(BANDS) + 0.5) / BANDS) * np.where(order == 0, 1, 2)  # (C, 40)
    return (cepstra @ basis).astype(np.float32)


def prepare(out: Path, root: str | None) -> None:
    """Write `out/{train,dev,test}.jsonl`, `out/features/*.npy`, `out/lexicon.txt` and `out/lm.txt`."""
    corpus = corpora.find("an4", root)
    if corpus is None or not (corpus / "an4.dic").exists():
        raise InputError("no AN4 corpus: set data.root to a folder with an4/an4.dic and an4/manifest.jsonl in it")
    (out / "features").mkdir(parents=True, exist_ok=True)
    utterances = manifest.read(corpus / "manifest.jsonl")
    speakers = sorted({u.speaker for u in utterances if u.extra["split"] == "train"})
    dev_speakers = set(speakers[::DEV_EVERY])
    splits: dict[str, list[manifest.Utterance]] = {"train": [], "dev": [], "test": []}
    for u in tqdm(utterances, desc="an4", unit="utterance"):
        path = out / "features" / f"{u.id}.npy"
        with atomic_write(path, "wb") as file:
            np.save(file, inverse_cosine(load_features(u.features)))
        split = "dev" if u.speaker in dev_speakers else u.extra["split"]
        splits[split].append(replace(u, features=str(path), extra={"split": split}))
    for split, chosen in splits.items():
        manifest.write(out / f"{split}.jsonl", chosen)
    with atomic_write(out / "lm.txt") as file:
        file.writelines(u.text + "\n" for u in splits["train"])
    Lexicon.read(corpus / "an4.dic").write(out / "lexicon.txt")
    print({split: len(chosen) for split, chosen in splits.items()}, "utterances in", out)
