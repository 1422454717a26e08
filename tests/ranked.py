"""Functions in processes of their own, and trainings in several, as torchrun starts them."""

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch

from asr.cli.main import main as asr

CONTEXT = multiprocessing.get_context("forkserver")  # its children have no threads of this process
CONTEXT.set_forkserver_preload(
    ["torch.distributed.fsdp", "asr.pipeline", "asr.training.trainer", "asr.recognizer.run_folder", __name__]
)


def started(run: Callable[..., Any], *given: object) -> Any:
    process = CONTEXT.Process(target=_run, args=(run, given))
    process.start()
    return process


def _run(run: Callable[..., Any], given: tuple) -> None:
    multiprocessing.set_start_method("fork", force=True)  # as in a process that nothing but the shell has started
    torch.set_num_threads(1)
    run(*given)


def train_ranks(size: int, place: Path, words: list[str], before: Callable[[int], None] | None = None) -> list[tuple]:
    """`asr train WORDS` in `size` processes, each after `before(rank)`; returns exit code and output of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    outputs = [place / f"rank{rank}.txt" for rank in range(size)]
    processes = [started(_rank, rank, size, port, words, outputs[rank], before) for rank in range(size)]
    for process in processes:
        process.join()
    return [(process.exitcode, path.read_text()) for process, path in zip(processes, outputs, strict=True)]


def _rank(
    rank: int, size: int, port: int, words: list[str], output: Path, before: Callable[[int], None] | None
) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test"}  # fmt: skip
    with output.open("w", buffering=1) as file, redirect_stdout(file), redirect_stderr(file):
        if before:
            before(rank)
        code = asr(["train", *words])
    sys.exit(code)
