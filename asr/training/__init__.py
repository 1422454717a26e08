"""Batches, a net and a criterion -> trained parameters, checkpoints and training curves."""
