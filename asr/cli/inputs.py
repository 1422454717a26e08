"""The input and output files that the command line gives to a verb."""

from asr.config import Config
from asr.errors import InputError


def only_input(cfg: Config, what: str) -> str:
    """The one input file, `what`. Raises InputError if there is none or more than one."""
    if len(cfg.input) != 1:
        raise InputError(f"expected exactly one file, {what}; {len(cfg.input)} were given")
    return cfg.input[0]


def needed_output(cfg: Config, what: str) -> str:
    """The output file, `what`. Raises InputError if it is not set."""
    if cfg.output is None:
        raise InputError(f"output=FILE is missing; it names {what} to write")
    return cfg.output
