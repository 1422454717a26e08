"""Corpora: from other toolkits' formats to batches for training.

In: corpora in the formats of Kaldi, lhotse, NeMo, Common Voice, tables or folders, and manifests. Out: manifests,
reports on damaged or unusable utterances, stored features, and the training and dev set: batches of samples or
features with their target tokens, augmented.
"""
