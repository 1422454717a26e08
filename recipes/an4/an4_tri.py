"""AN4 with HMMs of phones in context, trained as those of `an4_mono`."""

from recipes.an4.an4_mono import build, prepare

__all__ = ["build", "prepare"]
