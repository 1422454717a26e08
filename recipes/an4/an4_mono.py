"""AN4 with monophone HMMs: the data of `prepare`, and `asr hmm train` in the place of `asr train`."""

from asr.cli.recipe import VERBS, Recipe
from recipes.an4.prepare import prepare

__all__ = ["build", "prepare"]


def build(recipe: Recipe) -> None:
    """From manifests to a scored test set and a bundle."""
    for verb in ("hmm train", *VERBS[1:]):
        recipe(verb)
