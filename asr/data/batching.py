"""Batches of utterances of similar length; in training their order depends only on (seed, epoch)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

BUCKET_JITTER = 0.1  # random change of lengths before sorting, so that batches differ between epochs
T = TypeVar("T")


def fill(items: Iterable[T], duration_s: Callable[[T], float], batch_s: float) -> Iterator[list[T]]:
    """Items in their order, in batches of at most `batch_s` seconds, padding included.

    An item longer than `batch_s` is alone in its batch.
    """
    batch: list[T] = []
    longest_s = 0.0
    for item in items:
        own_s = duration_s(item)
        longest_s = max(longest_s, own_s)
        if batch and longest_s * (len(batch) + 1) > batch_s:
            yield batch
            batch, longest_s = [], own_s
        batch.append(item)
    if batch:
        yield batch


def epoch_batches(
    durations_s: Sequence[float], batch_s: float, seed: int, epoch: int, is_sorted: bool = False
) -> list[list[int]]:
    """Indices of utterances in batches of at most `batch_s` seconds including padding, in random order, or from short
    to long ones (`is_sorted`).

    An utterance longer than `batch_s` is alone in its batch.
    """
    rng = np.random.default_rng((seed, epoch))
    durations = np.asarray(durations_s, dtype=np.float64)
    blurred = durations * rng.uniform(1 - BUCKET_JITTER, 1 + BUCKET_JITTER, len(durations))
    order = np.argsort(blurred, kind="stable").tolist()
    batches = list(fill(order, durations.__getitem__, batch_s))
    return batches if is_sorted else [batches[i] for i in rng.permutation(len(batches))]


def epoch_numbers(durations_s: Sequence[float], own: int, share: float, seed: int, epoch: int) -> list[int]:
    """The numbers of an epoch's utterances: the first `own`, and so many of the others, drawn anew, that these make up
    `share` of the seconds. If there are not as many, all of them."""
    durations = np.asarray(durations_s, dtype=np.float64)
    order = own + np.random.default_rng((seed, epoch, 0, 0, 1)).permutation(len(durations) - own)
    wanted_s = durations[:own].sum() * share / (1 - share)
    before_s = np.cumsum(durations[order]) - durations[order]
    return [*range(own), *sorted(order[before_s < wanted_s].tolist())]
