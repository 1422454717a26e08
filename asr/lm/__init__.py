"""Language models: n-gram estimation, ARPA files, perplexity."""

from asr.lm.model import NgramModel, Ngrams

__all__ = ["NgramModel", "Ngrams"]
