"""Digit strings of a speaker left out of the training, from a net that already knows English.

The net is that of the recipe `english`, which has heard none of these recordings; it is trained further on strings of
the five other speakers.
"""

from pathlib import Path

import numpy as np

from asr import manifest
from asr.config import Config
from asr.errors import InputError
from asr.files import atomic_write
from asr.text.lexicon import Lexicon
from recipes.digits.prepare import STRINGS, WORDS, Speaker, find_digits, split_digits, write_split

START = Path("exp/english/model.asr")
COUNTS = {**STRINGS, "train": 800}


def prepare(cfg: Config, speaker: Speaker) -> str:
    """Write the strings, `{train,dev,test}.jsonl`, `lexicon.txt` and `lm.txt` in `cfg.data.dir`."""
    if not START.exists():
        raise InputError(f"{START} is missing; run `python -m recipes.run english` first")
    out = Path(cfg.data.dir)
    digits, source = find_digits(cfg.data.root)
    for seed, (split, chosen) in enumerate(split_digits(digits, speaker).items()):
        write_split(split, COUNTS[split], chosen, out, np.random.default_rng(seed))
    with atomic_write(out / "lm.txt") as file:
        file.writelines(u.transcript + "\n" for u in manifest.read(out / "train.jsonl"))
    Lexicon.cmudict(WORDS).write(out / "lexicon.txt")
    return f"{source}, without {speaker}, after {START}"
