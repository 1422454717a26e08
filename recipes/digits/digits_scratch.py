"""Digit strings of a speaker left out of the training, by models that have heard the other five speakers alone."""

from asr.config import Config
from recipes.digits.prepare import STRINGS, Speaker, write_sets


def prepare(cfg: Config, speaker: Speaker = "theo") -> str:
    """Write the strings, `{train,dev,test}.jsonl`, `lexicon.txt` and `lm.txt` in `cfg.data.dir`."""
    return write_sets(cfg, {**STRINGS, "train": 1000}, speaker) + f", without {speaker}"
