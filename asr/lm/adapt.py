"""A general model and text of a domain -> a model for the domain."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from asr.lm.backoff import score
from asr.lm.mix import fit, mix
from asr.lm.model import NgramModel
from asr.lm.prune import prune
from asr.lm.score import Score
from asr.lm.training import train


@dataclass(frozen=True)
class Adaptation:
    model: NgramModel
    weights: list[float]  # of the general model and of the domain's own
    steps: int  # of expectation maximisation
    new_words: int  # of the domain, which the general model did not know
    scores: dict[str, Score]  # of the dev text: before, of the domain's own model, after


def adapt(base: NgramModel, texts: Iterable[str], dev: Sequence[str], size: int | None = None,
          min_count: int = 1) -> Adaptation:  # fmt: skip
    """`base` mixed with a model of the domain's `texts`, of the same order, with weights that suit `dev` best.

    Words of `texts` seen `min_count` times enter the vocabulary. Above `size` n-grams the mixture is pruned to that
    many. Raises InputError as `train`, `fit` and `prune` do.
    """
    domain = train(texts, base.order, min_count=min_count)
    models = [base, domain]
    found = fit(models, dev)
    adapted = mix(models, found.weights)
    scores = {"before": score(base, dev), "domain text alone": score(domain, dev), "after": score(adapted, dev)}
    if size is not None and sum(len(ngrams.ids) for ngrams in adapted.orders) > size:
        adapted = prune(adapted, size)
        scores["after pruning"] = score(adapted, dev)
    new_words = len(adapted.words) - len(base.words)
    return Adaptation(adapted, found.weights, found.steps, new_words, scores)
