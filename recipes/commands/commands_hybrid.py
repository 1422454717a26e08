"""A net over the states of `commands_hmm`, on the features of `commands`: run these experiments first."""

from pathlib import Path

from asr.config import Config
from asr.errors import InputError
from recipes.commands.commands_hmm import HEARD
from recipes.commands.prepare import build

__all__ = ["build", "prepare"]


def prepare(cfg: Config) -> str:
    """Raises InputError if there are no features or no alignments to learn from."""
    for path, experiment in ((HEARD / "source.json", "commands"), (cfg.criterion.alignments, "commands_hmm")):
        if not Path(path or "").exists():
            raise InputError(f"{path} is missing; run `python -m recipes.run commands experiment={experiment}` first")
    return f"the features of {HEARD}, real and SYNTHETIC speech, with the alignments of commands_hmm"
