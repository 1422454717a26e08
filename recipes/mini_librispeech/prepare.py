"""Mini LibriSpeech: five hours of LibriSpeech's clean speech."""

from asr.config import Config
from recipes.librispeech.prepare import write_splits

PARTS = {"train": ["train-clean-5"], "dev": ["dev-clean-2"], "test": ["test-clean"]}


def prepare(cfg: Config) -> str:
    """Write the manifests of the three parts and `lm.txt` in `cfg.data.dir`."""
    return write_splits(cfg, PARTS)
