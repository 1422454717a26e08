"""AN4 with HMMs of phones in context, trained as those of `mono`."""

from recipes.an4.mono import build, prepare

__all__ = ["build", "prepare"]
