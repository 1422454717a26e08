"""The workers of `launcher=ray`: actors of Ray Data (https://docs.ray.io).

Those of `asr transcribe` open the bundle themselves. Its graph is memory-mapped, so the workers of a machine share one
copy.
"""

import logging
import os
import pickle
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from asr.cli.transcripts import fingerprint
from asr.cli.workers import Attempt, Result, Share, Worker, open_recognizer
from asr.config import Config
from asr.errors import InputError, missing, needed
from asr.members import read_ahead

Work = Callable[[Any], list[Result]]  # on a share

MOST_STARTS = 3  # of a share. Ray Data retries one whose worker died without end


class Starts:
    """Counts how often each share was started."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    def count(self, number: int) -> int:
        self.counts[number] += 1
        return self.counts[number]


class Actor:
    """Works on one share per call, with paths relative to the folder in which the command was started.

    `opened` makes, in the actor's process, what works; `count` is the method of `Starts`.
    """

    def __init__(self, opened: Callable[[], Work], folder: str, count: Callable[[int], int]):
        self.opened, self.folder, self.count = opened, folder, count
        self.work: Work | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """{number, share} -> {number, answer}: the results, or the exception for which this worker cannot work.

        The answer is None if the share was started `MOST_STARTS` times and none came to its end.
        """
        answer: list[Result] | Exception | None
        try:
            if self.count(row["number"]) > MOST_STARTS:
                return {"number": row["number"], "answer": pickle.dumps(None)}
            self.work = self.work or self._opened()
            answer = self.work(pickle.loads(row["share"]))
        except (InputError, OSError) as e:
            answer = InputError(f"a worker on {os.uname().nodename}: {e}")
        except Exception:
            answer = RuntimeError(f"a worker on {os.uname().nodename} failed:\n{traceback.format_exc()}")
        return {"number": row["number"], "answer": pickle.dumps(answer)}

    def _opened(self) -> Work:
        try:
            os.chdir(self.folder)
        except OSError as e:
            raise InputError(f"cannot enter {self.folder} ({e.strerror}); mount it there under the same path") from None
        return self.opened()


def recognition(cfg: Config, wanted: str) -> Work:
    """Recognises shares. `wanted`: the fingerprint of the model and the options where the command was started."""
    if fingerprint(cfg) != wanted:
        raise InputError(f"{cfg.bundle}, or another file that the options name, has other content there than here; "
                         "copy it, or keep it in a folder that all machines share")  # fmt: skip
    return Worker(cfg, open_recognizer(cfg)).recognise_share


def each(work: bytes, threads: int) -> Work:
    """Does the work, a pickled function, on each item of a share, `threads` at a time."""
    function, executor = pickle.loads(work), ThreadPoolExecutor(threads)

    def of_share(share: Share) -> list[Result]:
        with read_ahead():
            return list(zip(share.opened, executor.map(function, share.opened.values()), strict=True))

    return of_share


def check_installed() -> None:
    """Raises InputError if Ray is not installed."""
    if find_spec("ray") is None:
        raise InputError(missing("ray", "launcher=ray", "ray"))


@contextmanager
def connected(cfg: Config) -> Iterator[None]:
    """The Ray that this process uses already, or that of `cfg.bulk`, or one that is started here for this context.

    Raises InputError if Ray is not installed or cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anyone
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # deaths of workers are dealt with here
    with needed("ray", "launcher=ray"):
        ray = _ray()
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    is_own = not ray.is_initialized()
    if is_own:
        _connect(cfg)
    try:
        yield
    finally:
        if is_own:
            ray.shutdown()


@contextmanager
def started(cfg: Config, most: int, opened: Callable[[], Work]) -> Iterator[Attempt]:
    """Workers for at most `most` shares at a time: see `connected`. `opened` makes what works, in each of them.

    Raises InputError if the Ray has no room for a worker.
    """
    with connected(cfg):
        resources = {"num_gpus": 1} if cfg.device == "cuda" else {"num_cpus": max(1, cfg.threads)}
        yield _attempt(opened, min(most, _room(cfg, resources)), resources)


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


def _attempt(opened: Callable[[], Work], workers: int, resources: dict[str, int]) -> Attempt:
    ray = _ray()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.max_errored_blocks = -1  # a share that was lost is tried again by `complete`

    def attempt(shares: Sequence[Share]) -> Iterator[tuple[int, list[Result]]]:
        rows = [{"number": number, "share": pickle.dumps(share)} for number, share in enumerate(shares)]
        dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            Actor,
            fn_constructor_args=[opened, os.getcwd(), _counting()],
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
