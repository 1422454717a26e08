"""Where the recordings of `asr transcribe` are recognised: in this process, or by the workers of a Ray.

Both recognise the same shares (asr.recognizer.long), so the results have the same bits. What is written, and where, is
decided by the caller alone.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from asr.bulk_options import BulkConfig
from asr.cli.workers import Attempt, Result, Worker
from asr.config import Config
from asr.errors import InputError
from asr.hypothesis import Hypothesis

if TYPE_CHECKING:
    from asr.recognizer.long import Progress, Recording, Share
    from asr.recognizer.recognizer import Recognizer

TRIES = 2  # of a share whose workers died; after these its recordings are tried one by one


def check_bulk(bulk: BulkConfig, is_live: bool) -> None:
    """Raises InputError for options that would have no effect."""
    if bulk.launcher == "ray" and is_live:
        raise InputError("launcher=ray recognises files; live sound is recognised here: leave launcher out")
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
    from asr.cli.ray_workers import started
    from asr.recognizer.long import shares_of

    shares, failed = shares_of(recognizer, recordings)
    yield from failed.items()
    total_s, done_s = sum(share.total_s for share in shares), 0.0
    if shares:
        with started(cfg, len(shares)) as attempt:
            for results in complete(shares, attempt):
                yield from results
                done_s += sum(found.duration_s for _, found in results if isinstance(found, Hypothesis))
                if done_s:
                    progress(done_s, max(total_s, done_s))


def complete(shares: Sequence["Share"], attempt: Attempt) -> Iterator[list[Result]]:
    """The results of each share exactly once, although workers die.

    `attempt` yields (number, results) of the shares that it is given. It may lose some, and yield some twice. A share
    that it loses `TRIES` times is divided, and a recording that is lost alone too becomes an InputError.
    """
    lost = list(shares)
    for tried in range(TRIES + 1):
        if tried == TRIES:
            lost = [one for share in lost for one in share.alone()]
        waiting = dict(enumerate(lost))
        for number, results in attempt(lost):
            if number in waiting and {recording for recording, _ in results} == set(waiting[number].opened):
                del waiting[number]
                yield results
        lost = list(waiting.values())
        if not lost:
            return
    error = InputError("each process that recognised it died, for want of memory or by a fault; transcribe it alone, "
                       "in this process, to see why")  # fmt: skip
    for share in lost:
        yield [(number, error) for number in share.opened]
