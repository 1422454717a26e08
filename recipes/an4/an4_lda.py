"""AN4 with HMMs behind LDA and MLLT, trained as those of `an4_mono`."""

from recipes.an4.an4_mono import build, prepare

__all__ = ["build", "prepare"]
