"""Adaptation of a general language model to the text of a domain."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from asr.lm.mix import fit, mix
from asr.lm.model import NgramModel
from asr.lm.prune import prune
from asr.lm.score import Score, perplexity
from asr.lm.training import train


@dataclass(frozen=True)
class Adaptation:
    """An adapted model, and how it was made."""

    model: NgramModel
    weights: list[float]  # of the general model and of the domain model
    steps: int  # of expectation maximisation
    new_words: int  # words of the domain that the general model does not have
    scores: dict[str, Score]  # of the dev text: before, by the domain model alone, after


def adapt(base: NgramModel, texts: Iterable[str], dev: Sequence[str], size: int | None = None,
          min_count: int = 1) -> Adaptation:  # fmt: skip
    """Mixes `base` with a model of `texts`, of the same order, by the weights that predict `dev` best.

    Words seen at least `min_count` times in `texts` enter the vocabulary. A mixture of more than `size` n-grams is
    pruned to `size`. Raises InputError as `train`, `fit` and `prune` do.
    """
    texts = (" ".join(base.words_in(text)) for text in texts)
    domain = train(texts, base.order, min_count=min_count)
    found = fit([base, domain], dev)
    adapted = mix([base, domain], found.weights)
    models = {"before": base, "domain text alone": domain, "after": adapted}
    scores = {name: perplexity(model, dev) for name, model in models.items()}
    if size is not None and sum(len(ngrams.ids) for ngrams in adapted.orders) > size:
        adapted = prune(adapted, size)
        scores["after pruning"] = perplexity(adapted, dev)
    new_words = len(adapted.words) - len(base.words)
    return Adaptation(adapted, found.weights, found.steps, new_words, scores)
