"""AN4 with HMMs that are adapted to each speaker, trained as those of `an4_mono`."""

from recipes.an4.an4_mono import build, prepare

__all__ = ["build", "prepare"]
