"""Grapheme to phoneme: pronunciations of words that the lexicon does not list.

Takes a lexicon to train a joint n-gram model of letters and units, and then words. Passes their most probable
pronunciations to `asr lexicon`, to graphs and to new words. A trained model for English is part of the package.
"""
