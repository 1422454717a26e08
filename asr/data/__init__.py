"""Corpora: other toolkits' formats -> manifests -> checked utterances -> batches of arrays for training and scoring."""
