"""Phones of TIMIT's sentences, of speakers left out of the training, by models that have heard nothing else.

The folds of `prepare`. Silence and closures are not in the texts, since HMMs allow silence anywhere: 38 phones are
scored.
"""

from asr.config import Config
from recipes.timit.prepare import SILENCE, Fold, write_sets


def prepare(cfg: Config, fold: Fold = "0") -> str:
    """Write `{train,dev,test}.jsonl`, `lm.txt` and `lexicon.txt` in `cfg.data.dir`."""
    return write_sets(cfg, fold, unwritten=SILENCE)
