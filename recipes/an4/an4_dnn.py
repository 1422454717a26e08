"""AN4 with a net on the states of `an4_tri`: run the experiments an4_tri and an4_dnn, in this order."""

from pathlib import Path

from asr.config import Config
from asr.errors import InputError
from recipes.an4 import prepare as an4


def prepare(cfg: Config) -> str:
    """The data of `prepare`, in bands. Raises InputError if the experiment an4_tri has not been run."""
    if not Path(cfg.criterion.alignments or "").exists():
        raise InputError(
            f"{cfg.criterion.alignments} is missing; run `python -m recipes.run an4 experiment=an4_tri` first"
        )
    return an4.prepare(cfg)
