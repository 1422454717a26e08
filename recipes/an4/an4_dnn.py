"""AN4 with nets on the features of `an4_sat`, adapted to each speaker: run the experiment an4_sat first."""

import shutil
from pathlib import Path

from asr import pipeline
from asr.config import Config
from asr.errors import InputError
from asr.recognizer.adapted_features import write_features

ADAPTED_BY = Path("exp/an4_sat")


def prepare(cfg: Config) -> str:
    """Write the manifests, features, `lexicon.txt` and `lm.txt` in `cfg.data.dir`. Raises InputError if the experiment
    an4_sat has not been run."""
    if not (ADAPTED_BY / "tune.json").exists():
        raise InputError(f"{ADAPTED_BY} holds no tuned HMMs; run `python -m recipes.run an4 experiment=an4_sat` first")
    recognizer = pipeline.open_recognizer(pipeline.tuned(Config(out=str(ADAPTED_BY), threads=cfg.threads)))
    for split in ("train", "dev", "test"):
        write_features(recognizer, ADAPTED_BY / "data" / f"{split}.jsonl", getattr(cfg.data, split))
    for name in ("lexicon.txt", "lm.txt"):
        shutil.copy(ADAPTED_BY / "data" / name, Path(cfg.data.dir) / name)
    return f"real speech: AN4, adapted to each speaker by {ADAPTED_BY}"
