"""The three corpora, for a small recogniser."""

from asr.cli.recipe import Recipe
from recipes.korean.prepare import build_corpus, prepare, score_corpora

__all__ = ["build", "prepare"]
NGRAMS = 600_000  # of 8 million; the graph then has a few MB


def build(recipe: Recipe) -> None:
    """As the recipe korean, with a smaller language model."""
    build_corpus(recipe, NGRAMS)
    score_corpora(recipe)
