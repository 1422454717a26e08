"""Processes in lockstep: their items, failures and threads."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator

import pytest
import torch

from asr.errors import InputError
from asr.threads import torch_threads
from asr.training.processes import Team, divide_threads

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can fork a process that uses torch")


def count(rank: int, task: int) -> Iterator[tuple[int, int]]:
    for item in range(3):
        yield rank, task + item


def test_each_step_gives_an_item_of_every_process() -> None:
    with Team(count, 3, 1) as team:
        team.start(10)
        assert team.step() == [(0, 10), (1, 10), (2, 10)]
        assert team.step() == [(0, 11), (1, 11), (2, 11)]
        team.start(20)  # the rest of the earlier task is dropped
        assert team.step() == [(0, 20), (1, 20), (2, 20)]
    assert not multiprocessing.active_children()


def fail(rank: int, task: str) -> Iterator[int]:
    yield rank
    if rank == 1:
        if task == "input":
            raise InputError("file 7 is empty")
        if task == "bug":
            raise ZeroDivisionError("a bug")
        os.kill(os.getpid(), signal.SIGKILL)
    yield rank


@pytest.mark.parametrize(
    ("task", "error", "message"),
    [
        ("input", InputError, "^file 7 is empty$"),
        ("bug", RuntimeError, "(?s)training process 1 failed.*ZeroDivisionError: a bug"),
        ("kill", InputError, "training process 1 .* ended with exit code -9"),
    ],
)
def test_failures_are_raised_by_step(task: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message), Team(fail, 2, 1) as team:
        team.start(task)
        team.step()
        team.step()
    assert not multiprocessing.active_children()


def multiply(rank: int, size: int) -> Iterator[float]:
    yield float((torch.ones(size, size) @ torch.ones(size, size)).sum())


def test_threads_of_a_forked_process() -> None:
    """The caller's OpenMP threads do not exist in a forked process; it must not wait for them."""
    with torch_threads(2):
        next(multiply(0, 500))
        with Team(multiply, 2, 2) as team:
            team.start(500)
            assert team.step() == [500.0**3, 500.0**3]


def test_cores_are_divided_into_processes_and_threads() -> None:
    assert [divide_threads(threads, 2) for threads in (1, 2, 3, 8)] == [(1, 1), (2, 1), (2, 1), (2, 4)]
    assert divide_threads(8, 1) == (1, 8)
    with torch_threads(2):
        assert divide_threads(0, 2) == (2, 1)
