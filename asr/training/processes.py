"""Several processes that advance one computation in lockstep.

The first process is the caller's own; the others are forked from it, so that they inherit the model and the data
without copying them. They exchange small messages through pipes and large tensors through shared memory.
"""

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

import torch

from asr.errors import InputError

T = TypeVar("T")
Make = Callable[[int, Any], Iterator[T]]  # (rank, task) -> one item per step


def divide_threads(threads: int, most: int) -> tuple[int, int]:
    """(processes, threads of each) for `threads` cores (0: all that torch would use), with at most `most` processes.

    Processes come first: they wait for each other once per batch, but threads at every operation of the net. Only
    Linux can fork a process that uses torch; elsewhere one process does all the work.
    """
    threads = threads or torch.get_num_threads()
    processes = max(1, min(threads, most)) if sys.platform == "linux" else 1
    return processes, max(1, threads // processes)


class Team(Generic[T]):
    """Runs `make(rank, task)` in `processes` processes: `start(task)` begins it, each `step()` takes one item of each.

    Rank 0 is this process; the others use `threads` threads each. Use it as a context manager: leaving it ends the
    other processes. They also end when this process dies, because their pipes close. Memory that they should share
    with this process must be allocated before.
    """

    def __init__(self, make: Make[T], processes: int, threads: int):
        self._make, self._threads = make, threads
        self._connections: list[Connection] = []
        self._processes: list[Any] = []
        self._items: Iterator[T] = iter(())
        for rank in range(1, processes):
            self._fork(rank)

    def _fork(self, rank: int) -> None:
        context = multiprocessing.get_context("fork")
        here, there = context.Pipe()
        self._connections.append(here)
        inherited = [*self._connections]  # a copy left open in the child would hide the end of this process
        process = context.Process(target=_serve, args=(self._make, rank, self._threads, there, inherited))
        process.start()
        there.close()
        self._processes.append(process)

    def __enter__(self) -> "Team[T]":
        return self

    def __exit__(self, *_: object) -> None:
        for connection, process in zip(self._connections, self._processes, strict=True):
            connection.close()
            process.terminate()
            process.join()

    def start(self, task: Any) -> None:
        """Begin a task in every process; the rest of an earlier one is dropped."""
        for rank in range(1, len(self._processes) + 1):
            self._send(rank, (task,))
        self._items = self._make(0, task)

    def step(self) -> list[T]:
        """The next item of every process, by rank. Raises InputError if a process has failed or died."""
        for rank in range(1, len(self._processes) + 1):
            self._send(rank, None)
        return [next(self._items), *(self._receive(rank) for rank in range(1, len(self._processes) + 1))]

    def _send(self, rank: int, message: Any) -> None:
        try:
            self._connections[rank - 1].send(message)
        except OSError:
            raise self._died(rank) from None

    def _receive(self, rank: int) -> T:
        try:
            item, error, trace = self._connections[rank - 1].recv()
        except (EOFError, OSError):
            raise self._died(rank) from None
        if error is not None:
            raise InputError(error)
        if trace is not None:
            raise RuntimeError(f"training process {rank} failed:\n{trace}")
        return item

    def _died(self, rank: int) -> InputError:
        process = self._processes[rank - 1]
        process.join(5)
        return InputError(
            f"training process {rank} (pid {process.pid}) ended with exit code {process.exitcode}; if memory ran out, "
            "lower optim.batch_s or set threads=1; the same command resumes the training"
        )


def _serve(make: Make[T], rank: int, threads: int, connection: Connection, inherited: list[Connection]) -> None:
    """The life of a forked process: answer messages until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the first process, which ends this one
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for end in inherited:
        end.close()
    torch.set_num_threads(threads)
    # The OpenMP pool of the forking thread has no threads in this process; using it would hang. A new thread gets a
    # pool of its own.
    worker = threading.Thread(target=_answer, args=(make, rank, connection))
    worker.start()
    worker.join()
    os._exit(0)


def _answer(make: Make[T], rank: int, connection: Connection) -> None:
    items: Iterator[T] = iter(())
    while True:
        try:
            message = connection.recv()
            if message is None:
                connection.send(take_next(items))
            else:
                items = make(rank, *message)
        except (EOFError, OSError):  # the first process has ended
            return


def take_next(items: Iterator[T]) -> tuple[T | None, str | None, str | None]:
    """(next item, sentence of an InputError, traceback of another exception); two of them are None."""
    try:
        return next(items), None, None
    except InputError as e:
        return None, str(e), None
    except Exception:
        return None, None, traceback.format_exc()
