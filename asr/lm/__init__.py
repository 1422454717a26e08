"""N-gram language models: estimation, perplexity, pruning, mixing, adaptation, and ARPA files.

Takes sentences from text files and manifests, counts of n-grams, or ARPA files. Passes an `NgramModel`, plain arrays of
n-grams with base-10 logarithms, to `asr.graph` and `asr.g2p`.
"""

from asr.lm.model import NgramModel, Ngrams
from asr.lm.training import train, train_file

__all__ = ["NgramModel", "Ngrams", "train", "train_file"]
