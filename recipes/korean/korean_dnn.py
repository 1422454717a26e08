"""A net over the states of `korean_sat`: run that experiment first. The features are those of `korean_adapted`."""

from asr.cli.recipe import VERBS, Recipe
from recipes.korean.korean_adapted import ADAPTED_BY, prepare
from recipes.korean.prepare import score_corpora

__all__ = ["build", "prepare"]
NGRAMS = 1_500_000  # of 6 million


def build(recipe: Recipe) -> None:
    """The usual verbs, with the language model of korean_sat in another size, and then each test set on its own."""
    for verb in VERBS:
        if verb == "lm train":
            words = f"arpa={ADAPTED_BY}/mixed.arpa", f"size={NGRAMS}", f"output={recipe.cfg.lm.arpa}"
            recipe("lm prune", *words)
        else:
            recipe(verb)
    score_corpora(recipe)
