"""AN4: spelled words and numbers by 84 speakers, English; a tenth of the training speakers is dev.

The corpus consists of 13 Sphinx cepstra per frame, which are converted back to 40 smooth log-mel bands. HMMs with
Gaussian mixtures (experiments an4_mono, an4_tri) take the cepstra as they are.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from asr import manifest
from asr.config import Config
from asr.data import corpora
from asr.errors import InputError
from asr.features.files import cepstra_to_bands, load_features
from asr.files import atomic_write
from asr.text.lexicon import Lexicon

CEPSTRA = 13
DEV_EVERY = 10  # every tenth training speaker, in alphabetical order, goes to dev


def prepare(cfg: Config) -> str:
    """Write `{train,dev,test}.jsonl`, `features/*.npy`, `lexicon.txt` and `lm.txt` in `cfg.data.dir`."""
    out, corpus = Path(cfg.data.dir), corpora.find("an4", cfg.data.root)
    if corpus is None or not (corpus / "an4.dic").exists():
        raise InputError("no AN4 corpus: set data.root to a folder with an4/an4.dic and an4/manifest.jsonl in it")
    (out / "features").mkdir(parents=True, exist_ok=True)
    takes_cepstra = cfg.features.num_bins == CEPSTRA
    utterances = manifest.read(corpus / "manifest.jsonl")
    speakers = sorted({u.speaker or "" for u in utterances if u.extra["split"] == "train"})
    dev_speakers = set(speakers[::DEV_EVERY])
    splits: dict[str, list[manifest.Utterance]] = {"train": [], "dev": [], "test": []}
    for u in tqdm(utterances, desc="an4", unit="utterance"):
        path = out / "features" / f"{u.id}.npy"
        with atomic_write(path, "wb") as file:
            cepstra = load_features(u.features or "", CEPSTRA)
            np.save(file, cepstra if takes_cepstra else cepstra_to_bands(cepstra))
        split = "dev" if u.speaker in dev_speakers else u.extra["split"]
        splits[split].append(replace(u, features=str(path), extra={"split": split}))
    for split, chosen in splits.items():
        manifest.write(out / f"{split}.jsonl", chosen)
    with atomic_write(out / "lm.txt") as file:
        file.writelines(u.transcript + "\n" for u in splits["train"])
    Lexicon.read(corpus / "an4.dic").write(out / "lexicon.txt")
    return f"real speech: AN4 in {corpus}"
