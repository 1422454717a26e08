"""Batches of utterances of similar length; contents and order are a pure function of (seed, epoch)."""

from collections.abc import Sequence

import numpy as np

BUCKET_JITTER = 0.1  # relative jitter of lengths before sorting, so that batches differ by epoch


def epoch_batches(durations_s: Sequence[float], batch_s: float, seed: int, epoch: int) -> list[list[int]]:
    """Utterance numbers in batches of at most `batch_s` seconds, padding included, in random order.

    An utterance longer than `batch_s` forms a batch of its own.
    """
    rng = np.random.default_rng((seed, epoch))
    durations = np.asarray(durations_s, dtype=np.float64)
    blurred = durations * rng.uniform(1 - BUCKET_JITTER, 1 + BUCKET_JITTER, len(durations))
    batches: list[list[int]] = []
    longest = 0.0
    for index in np.argsort(blurred, kind="stable").tolist():
        longest = max(longest, durations[index])
        if batches and longest * (len(batches[-1]) + 1) <= batch_s:
            batches[-1].append(index)
        else:
            batches.append([index])
            longest = durations[index]
    return [batches[i] for i in rng.permutation(len(batches))]
