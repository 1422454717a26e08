"""The three corpora, for a small recogniser."""

from asr.cli.recipe import Recipe
from recipes.korean.prepare import build_corpus, prepare, score_corpora

__all__ = ["build", "prepare"]
NGRAMS = 350_000  # of 6 million, for a bundle below 30 MB


def build(recipe: Recipe) -> None:
    """As the recipe korean, with a smaller language model."""
    build_corpus(recipe, NGRAMS)
    score_corpora(recipe)
