"""Batches of utterances of similar length; in training their order depends only on (seed, epoch).

Utterances of shards (asr.members) are read in about the order of their places: the shards are drawn in a new order and
dealt to the parts of a batch, and only utterances within a window of `WINDOW` bytes are mixed.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from asr.members import Member

BUCKET_JITTER = 0.02  # random change of lengths before sorting, so that batches differ between epochs; 0.1 pads 10 %
WINDOW = 64 << 20  # bytes of the shards, over all parts of a batch, whose utterances are mixed
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


def shard_batches(
    durations_s: Sequence[float],
    members: Sequence[Member],
    batch_s: float,
    seed: int,
    epoch: int,
    parts: int,
    is_sorted: bool = False,
    window: int = WINDOW,
) -> list[list[int]]:
    """As `epoch_batches`, for utterances of shards. Every `parts`-th number of a batch is of the shards of one part, as
    long as each part has some; the rest is shared. `is_sorted` holds within a window.
    """
    rng = np.random.default_rng((seed, epoch))
    blurred = np.asarray(durations_s) * rng.uniform(1 - BUCKET_JITTER, 1 + BUCKET_JITTER, len(durations_s))
    found: list[list[int]] = []

    def mix(columns: Sequence[list[int]], most_s: float) -> None:
        """Adds batches of the rows of equally long columns, each sorted by length."""
        rows = list(zip(*(sorted(column, key=blurred.__getitem__) for column in columns), strict=True))
        batches = list(fill(rows, lambda row: max(durations_s[i] for i in row), most_s))
        order = range(len(batches)) if is_sorted else rng.permutation(len(batches))
        found.extend([i for row in batches[k] for i in row] for k in order)

    queues = _dealt(durations_s, members, parts, rng)
    sizes = [member.size for member in members]
    start, end = 0, min(map(len, queues))
    while start < end:
        stop = min(_stop(queue, start, sizes, window // parts) for queue in queues)
        mix([queue[start:stop] for queue in queues], batch_s / parts)
        start = stop
    rest, start = [i for queue in queues for i in queue[end:]], 0
    while start < len(rest):
        stop = _stop(rest, start, sizes, window)
        mix([rest[start:stop]], batch_s)
        start = stop
    return found


def _dealt(
    durations_s: Sequence[float], members: Sequence[Member], parts: int, rng: np.random.Generator
) -> list[list[int]]:
    """The utterances of each part, shard after shard. Shards come in random order, each to the part with the least."""
    of_file: dict[str, list[int]] = {}
    for number in sorted(range(len(members)), key=members.__getitem__):
        of_file.setdefault(members[number].file, []).append(number)
    queues: list[list[int]] = [[] for _ in range(parts)]
    lengths_s = [0.0] * parts
    files = list(of_file.values())
    for k in rng.permutation(len(files)):
        part = lengths_s.index(min(lengths_s))
        queues[part] += files[k]
        lengths_s[part] += sum(durations_s[i] for i in files[k])
    return queues


def _stop(numbers: Sequence[int], start: int, sizes: Sequence[int], most: int) -> int:
    """The end of those from `start` on that have at most so many bytes together, one at least."""
    total = 0
    for at in range(start, len(numbers)):
        total += sizes[numbers[at]]
        if total > most and at > start:
            return at
    return len(numbers)
