"""A net over the states of `commands_hmm`, on the features of `commands`: run these experiments first."""

from recipes.commands.prepare import build, prepare

__all__ = ["build", "prepare"]
