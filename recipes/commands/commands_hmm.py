"""HMMs of the training of `commands`, whose states `commands_hybrid` learns: run the experiment commands first.

Mixtures with diagonal covariances take 13 cepstra of the bands. The recogniser is the net behind them, which takes
sound.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from asr import manifest
from asr.cli.recipe import Recipe
from asr.config import Config
from asr.errors import InputError
from asr.features.files import load_features
from asr.features.sphinx import cepstra
from asr.files import atomic_write

HEARD = Path("exp/commands/data")


def prepare(cfg: Config) -> str:
    """Write the cepstra, `{train,dev,test}.jsonl` and `lexicon.txt` in `cfg.data.dir`."""
    if not (HEARD / "source.json").exists():
        raise InputError(f"{HEARD} holds no features; run `python -m recipes.run commands` first")
    out = Path(cfg.data.dir)
    for split in ("train", "dev", "test"):
        stored = []
        for u in tqdm(manifest.read(HEARD / f"{split}.jsonl"), desc=split, unit="utterance"):
            path = out / split / f"{u.id}.npy"
            with atomic_write(path, "wb") as file:
                np.save(file, cepstra(load_features(u.features or "")).astype(np.float32))
            stored.append(replace(u, features=str(path)))
        manifest.write(out / f"{split}.jsonl", stored)
    shutil.copy(HEARD / "lexicon.txt", out / "lexicon.txt")
    return f"the cepstra of {HEARD}: real and SYNTHETIC speech"


def build(recipe: Recipe) -> None:
    """The HMMs alone."""
    recipe("hmm train")
