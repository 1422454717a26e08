"""Messages between the processes of torchrun, through gloo. They call these functions together."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist

from asr.errors import InputError

AGAIN = "the same command resumes the training"


def send(message: Any) -> None:
    """From rank 0 to all others."""
    with together():
        dist.broadcast_object_list([message], 0)


def receive() -> Any:
    """What rank 0 sends."""
    message: list[Any] = [None]
    with together():
        dist.broadcast_object_list(message, 0)
    return message[0]


class EndedError(InputError):
    """Another process has ended."""


@contextmanager
def together() -> Iterator[None]:
    """Around what all ranks do together. Raises EndedError if one of them has ended."""
    try:
        yield
    except RuntimeError as e:
        raise _ended(e) from None


@contextmanager
def computing_together() -> Iterator[None]:
    """As `together`, around computations that exchange tensors; what else is raised in them is theirs."""
    try:
        yield
    except RuntimeError as e:
        if isinstance(e, dist.DistError) or "gloo" in str(e):
            raise _ended(e) from None
        raise


def _ended(e: RuntimeError) -> EndedError:
    return EndedError(f"another process of this training has ended, or the network has failed ("
                      f"{str(e).splitlines()[0][:120]}); if nothing above says why, see the report of torchrun; "
                      f"{AGAIN}")  # fmt: skip
