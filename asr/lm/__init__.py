"""Language models: n-gram estimation, ARPA files, perplexity."""

from asr.lm.model import NgramModel, Ngrams
from asr.lm.training import train, train_file

__all__ = ["NgramModel", "Ngrams", "train", "train_file"]
