"""Where the recordings of `asr transcribe` are recognised, the utterances of `asr data check` and `asr features` worked
on, and the n-grams of texts counted: in this process, or by the workers of a Ray.

Both recognise the same shares (asr.recognizer.long), so the results have the same bits. What is written, and where, is
decided by the caller alone.
"""

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from asr.bulk_options import BulkConfig
from asr.cli.workers import Attempt, Result, Share, Worker
from asr.config import Config
from asr.data.pool import Pool, in_processes
from asr.errors import InputError
from asr.hypothesis import Hypothesis

if TYPE_CHECKING:
    from asr.lm.counting import Workers
    from asr.recognizer.long import Progress, Recording
    from asr.recognizer.recognizer import Recognizer

TRIES = 2  # of a share whose workers died; after these its items are tried one by one
UTTERANCES, MOST_AT_ONCE = 32, 100_000  # of a share, and in memory


def check_bulk(bulk: BulkConfig, is_live: bool = False) -> None:
    """Raises InputError for options that would have no effect, and for a Ray that is not installed."""
    if bulk.launcher == "ray" and is_live:
        raise InputError("launcher=ray recognises files; live sound is recognised here: leave launcher out")
    if bulk.launcher == "ray":
        from asr.cli.ray_workers import check_installed

        check_installed()
    for name in ("workers", "address"):
        if bulk.launcher == "local" and (value := getattr(bulk, name)):
            raise InputError(f"bulk.{name}={value} is an option of workers of a Ray; add launcher=ray, or leave it out")


def recognise(
    cfg: Config, recognizer: "Recognizer", recordings: "Sequence[Recording]", progress: "Progress"
) -> Iterator[Result]:
    """The result of each recording when it is done. `recognizer` is that of this process.

    Raises InputError if the workers cannot work: then no recording is to blame.
    """
    worker = Worker(cfg, recognizer)  # also with Ray: phrases that are wrong are told before anything is started
    if cfg.bulk.launcher == "local":
        yield from worker.recognise(recordings, progress)
        return
    from asr.cli.ray_workers import recognition, started
    from asr.cli.transcripts import fingerprint
    from asr.recognizer.long import shares_of

    shares, failed = shares_of(recognizer, recordings)
    yield from failed.items()
    total_s, done_s = sum(share.total_s for share in shares), 0.0
    if shares:
        cfg = replace(cfg, threads=max(1, cfg.threads))
        with started(cfg, len(shares), partial(recognition, cfg, fingerprint(cfg))) as attempt:
            for results in complete(shares[::-1], attempt):  # so that no worker ends long after the others
                yield from results
                done_s += sum(found.duration_s for _, found in results if isinstance(found, Hypothesis))
                if done_s:
                    progress(done_s, max(total_s, done_s))


@contextmanager
def pool(cfg: Config, at_once: int = 0) -> Iterator[Pool | None]:
    """That of the workers of a Ray, if the options ask for one. A worker gets `at_once` items at a time; 0: the default
    for utterances."""
    check_bulk(cfg.bulk)
    if cfg.bulk.launcher == "local":
        yield None
        return
    from asr.cli.ray_workers import connected

    cfg = replace(cfg, threads=max(1, cfg.threads), device="cpu")
    with connected(cfg):
        yield partial(_by_ray, cfg, at_once or UTTERANCES)


@contextmanager
def counters(cfg: Config) -> "Iterator[Workers | None]":
    """What counts n-grams besides this process: the workers of a Ray, or as many processes as `threads` asks for, which
    share `lm.memory_mb`. None of its own accord: these save little time and take more CPU and memory."""
    from asr.lm.counting import Workers

    with pool(replace(cfg, threads=1), at_once=1) as by_ray:
        if by_ray:
            yield Workers(by_ray, cfg.lm.memory_mb)
        elif cfg.threads > 1:
            yield Workers(partial(in_processes, cfg.threads), max(1, cfg.lm.memory_mb // cfg.threads))
        else:
            yield None


@dataclass(frozen=True)
class Utterances:
    """A share of consecutive utterances, or of other items, which are worked on one by one."""

    opened: dict[int, Any]

    def alone(self) -> "list[Utterances]":
        return [Utterances({number: item}) for number, item in self.opened.items()]


def _by_ray(cfg: Config, at_once: int, work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """A `Pool`."""
    from asr.cli.ray_workers import each, started

    items = iter(items)
    with started(cfg, MOST_AT_ONCE, partial(each, pickle.dumps(work), cfg.threads)) as attempt:
        while some := list(islice(items, MOST_AT_ONCE)):
            places = range(0, len(some), at_once)
            shares = [Utterances(dict(enumerate(some[i : i + at_once], i))) for i in places]
            early: dict[int, Any] = {}
            due = 0
            for results in complete(shares, attempt):
                early.update(results)
                while due in early:
                    yield early.pop(due)
                    due += 1


def complete(shares: Sequence[Share], attempt: Attempt) -> Iterator[list[Result]]:
    """The results of each share exactly once, although workers die.

    `attempt` yields (number, results) of the shares that it is given. It may lose some, and yield some twice. A share
    that it loses `TRIES` times is divided, and an item that is lost alone too becomes an InputError.
    """
    lost = list(shares)
    for tried in range(TRIES + 1):
        if tried == TRIES:
            lost = [one for share in lost for one in share.alone()]
        waiting = dict(enumerate(lost))
        for number, results in attempt(lost):
            if number in waiting and {item for item, _ in results} == set(waiting[number].opened):
                del waiting[number]
                yield results
        lost = list(waiting.values())
        if not lost:
            return
    error = InputError("each process that read it died, for want of memory or by a fault; try it alone, without "
                       "launcher=ray, to see why")  # fmt: skip
    for share in lost:
        yield [(number, error) for number in share.opened]
