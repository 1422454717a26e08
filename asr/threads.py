"""How many threads torch uses."""

from collections.abc import Iterator
from contextlib import contextmanager

from asr.config import Config
from asr.errors import InputError


def limit_threads(cfg: Config) -> None:
    """Sets the number of torch's threads; the search limits its threads when it starts them."""
    import torch

    if cfg.threads < 0:
        raise InputError(f"threads={cfg.threads} must be 0 (all cores) or more")
    if cfg.threads:
        torch.set_num_threads(cfg.threads)


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """A context in which torch uses `threads` threads; the previous number is restored at its end."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
