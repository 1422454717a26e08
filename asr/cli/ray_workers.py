"""The workers of `asr transcribe launcher=ray`: actors of Ray Data (https://docs.ray.io), each with a recogniser.

Every worker opens the bundle itself. Its graph is memory-mapped, so the workers of a machine share one copy.
"""

import logging
import os
import pickle
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from asr.cli.transcripts import fingerprint
from asr.cli.workers import Attempt, Result, Worker, open_recognizer
from asr.config import Config
from asr.errors import InputError, needed

if TYPE_CHECKING:
    from asr.recognizer.long import Share

MOST_STARTS = 3  # of a share. Ray Data retries one whose worker died without end


class Starts:
    """Counts how often each share was started."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    def count(self, number: int) -> int:
        self.counts[number] += 1
        return self.counts[number]


class Actor:
    """Recognises one share per call, with paths relative to the folder in which `asr transcribe` was started.

    `wanted` is the fingerprint of the model and the options there, `count` the method of `Starts`.
    """

    def __init__(self, cfg: Config, folder: str, wanted: str, count: Callable[[int], int]):
        self.cfg, self.folder, self.wanted, self.count = cfg, folder, wanted, count
        self.worker: Worker | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """{number, share} -> {number, answer}: the results, or the exception for which this worker cannot work.

        The answer is None if the share was started `MOST_STARTS` times and none came to its end.
        """
        answer: list[Result] | Exception | None
        try:
            if self.count(row["number"]) > MOST_STARTS:
                return {"number": row["number"], "answer": pickle.dumps(None)}
            self.worker = self.worker or self._opened()
            answer = self.worker.recognise_share(pickle.loads(row["share"]))
        except InputError as e:
            answer = InputError(f"a worker on {os.uname().nodename}: {e}")
        except Exception:
            answer = RuntimeError(f"a worker on {os.uname().nodename} failed:\n{traceback.format_exc()}")
        return {"number": row["number"], "answer": pickle.dumps(answer)}

    def _opened(self) -> Worker:
        try:
            os.chdir(self.folder)
        except OSError as e:
            raise InputError(f"cannot enter {self.folder} ({e.strerror}); mount it there under the same path") from None
        if fingerprint(self.cfg) != self.wanted:
            raise InputError(f"{self.cfg.bundle}, or another file that the options name, has other content there than "
                             "here; copy it, or keep it in a folder that all machines share")  # fmt: skip
        return Worker(self.cfg, open_recognizer(self.cfg))


@contextmanager
def started(cfg: Config, most: int) -> Iterator[Attempt]:
    """Workers for at most `most` shares at a time, on the Ray that `cfg.bulk` names, or on one that is started here.

    Raises InputError if Ray is not installed, cannot be reached, or has no room for a worker.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anyone
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # deaths of workers are dealt with here
    with needed("ray", "launcher=ray"):
        ray = _ray()
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    is_own = not ray.is_initialized()
    if is_own:
        _connect(cfg)
    cfg = replace(cfg, threads=max(1, cfg.threads))
    try:
        resources = {"num_gpus": 1} if cfg.device == "cuda" else {"num_cpus": cfg.threads}
        yield _attempt(cfg, min(most, _room(cfg, resources)), resources)
    finally:
        if is_own:
            ray.shutdown()


def _ray() -> Any:
    """Ray with its data package. Typed as Any, since its signatures differ between versions."""
    import ray
    import ray.data  # loads pyarrow

    return ray


def _connect(cfg: Config) -> None:
    ray = _ray()
    address = cfg.bulk.address or os.environ.get("RAY_ADDRESS")
    cores = None if address or not cfg.bulk.workers else cfg.bulk.workers * max(1, cfg.threads)
    try:
        # Without an address, Ray would join one that somebody has started on this machine.
        ray.init(address or "local", num_cpus=cores, include_dashboard=None if address else False, log_to_driver=False,
                 logging_level="ERROR", configure_logging=True)  # fmt: skip
    except Exception as e:  # Ray raises that itself if it starts too slowly
        where = f"at {address}" if address else "on this machine"
        cause = (str(e).strip() or type(e).__name__).splitlines()[0]
        raise InputError(f"cannot reach a Ray {where}: {cause}; `ray status` shows whether it runs") from e


def _room(cfg: Config, resources: dict[str, int]) -> int:
    """The number of workers. Those that do not fit yet start when the Ray grows."""
    if cfg.bulk.workers:
        return cfg.bulk.workers
    (kind, wanted), *_ = resources.items()
    found = _ray().cluster_resources().get(kind.removeprefix("num_").upper().removesuffix("S"), 0)
    room = int(found // wanted)
    if not room:
        raise InputError(
            f"a worker takes {kind}={wanted}, and this Ray has {found:g}; lower threads, or set device=cpu"
        )
    return room


def _attempt(cfg: Config, workers: int, resources: dict[str, int]) -> Attempt:
    ray = _ray()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.max_errored_blocks = -1  # a share that was lost is tried again by `complete`

    def attempt(shares: "Sequence[Share]") -> Iterator[tuple[int, list[Result]]]:
        rows = [{"number": number, "share": pickle.dumps(share)} for number, share in enumerate(shares)]
        rows.reverse()  # the longest recordings first, so that no worker ends long after the others
        dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            Actor,
            fn_constructor_args=[cfg, os.getcwd(), fingerprint(cfg), _counting()],
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(rows))),
            **resources,
        )
        try:
            for row in dataset.iter_rows():
                yield from answered(row)
        except ray.exceptions.RayError as e:
            cause = str(e).strip().splitlines()[0]
            raise InputError(f"the Ray is lost: {cause}; start it, then the same command continues") from e

    return attempt


def answered(row: dict[str, Any]) -> Iterator[tuple[int, list[Result]]]:
    """The results in what `Actor` returns. Raises the exception if it is one."""
    answer = pickle.loads(row["answer"])
    if isinstance(answer, Exception):
        raise answer
    if answer is not None:
        yield row["number"], answer


def _counting() -> Callable[[int], int]:
    """`Starts.count` in a process of its own, for all workers."""
    starts = _ray().remote(num_cpus=0, max_restarts=-1)(Starts).remote()

    def count(number: int) -> int:
        return _ray().get(starts.count.remote(number))

    return count
