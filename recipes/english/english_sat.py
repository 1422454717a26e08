"""HMMs of the training of `english_scratch`, adapted to each speaker, whose states `english_hybrid` learns."""

from asr.cli.recipe import VERBS, Recipe
from recipes.english.english_scratch import prepare

__all__ = ["build", "prepare"]


def build(recipe: Recipe) -> None:
    """The usual verbs, with HMMs trained in place of a net."""
    for verb in ("hmm train", *VERBS[1:]):
        recipe(verb)
