"""A model with its search: audio -> log-probs -> `Hypothesis`, by recording, batch or manifest; the bundle file."""
