"""Entropy pruning: removal of the n-grams that change a model least.

Stolcke (1998), "Entropy-based pruning of backoff language models". Removing h w keeps the other listed probabilities
and changes the back-off of h from b to b'. The relative entropy between the models is

    D = -P(h) { p(w | h) [log p(w | h') + log b' - log p(w | h)]  +  m [log b' - log b] }
    b' = (m + p(w | h)) / (m' + p(w | h'))

where m and m' are the masses of p(. | h) and p(. | h') that the words listed after h leave to other words. The
perplexity changes by the factor exp(D). P(h) comes from `asr.lm.marginals`; with `product` the losses are those of
SRILM's `ngram -prune`. As there, the loss of an n-gram assumes that all other n-grams stay.

The sum over the words after a history stays: one, or less in a model that was filtered. So pruning does not renormalise
what `asr.lm.filter` leaves unnormalised.
"""

import math
from collections.abc import Callable

import numpy as np

from asr.errors import InputError
from asr.lm import marginals
from asr.lm.backoff import left_over, log10_prob, masses, set_backoffs
from asr.lm.model import LN10, NgramModel, Ngrams, without_empty_orders

MARGINALS: dict[str, Callable[[NgramModel], list[np.ndarray]]] = {
    "stationary": marginals.stationary,
    "product": marginals.product,
}


def prune(model: NgramModel, size: int | None = None, threshold: float | None = None,
          marginals: str = "stationary") -> NgramModel:  # fmt: skip
    """`model` without the n-grams of least loss, with new back-offs. All unigrams stay.

    Either `size` n-grams of all orders stay, or those whose removal would raise the perplexity by a relative amount of
    at least `threshold`. Histories of n-grams that stay do so too. Raises InputError unless exactly one of the two is
    given, and for a `size` below the number of words.
    """
    if (size is None) == (threshold is None):
        raise InputError("pruning needs either lm.size, a number of n-grams, or lm.threshold, such as 1e-8")
    if threshold is not None and not 0 <= threshold < math.inf:
        raise InputError(f"lm.threshold is {threshold}; expected a relative rise of perplexity, such as 1e-8")
    if marginals not in MARGINALS:
        raise InputError(f"lm.marginals={marginals}: expected one of {', '.join(MARGINALS)}")
    count = None if size is None else _count_beside_words(model, size)
    needs = _needs(model, losses(model, marginals))
    longer = [need >= threshold for need in needs] if count is None else _largest(needs, count)
    return select(model, [np.ones(len(model.words), bool), *longer])


def losses(model: NgramModel, marginals: str = "stationary") -> list[np.ndarray]:
    """exp(D) - 1 of each n-gram of the orders from 2 on: the relative rise of perplexity if it alone is removed."""
    found, mass = [], masses(model)
    for n, history_prob in enumerate(MARGINALS[marginals](model), 2):
        ngrams, history = model.orders[n - 1], model.keys[n - 1] // len(model.words)
        log10_lower = log10_prob(model, ngrams.ids[:, 1:])
        own, lower = left_over(model, n, log10_lower, mass)
        log_p, log_q = ngrams.log10_prob.astype(float) * LN10, log10_lower * LN10
        p = np.exp(log_p)
        log_b = model.orders[n - 2].log10_backoff[history].astype(float) * LN10
        log_new_b = np.log(own[history] + p) - np.log(lower[history] + np.exp(log_q))
        change = p * (log_q + log_new_b - log_p) + own[history] * (log_new_b - log_b)
        found.append(np.expm1(-history_prob[history] * change))
    return found


def select(model: NgramModel, keeps: list[np.ndarray]) -> NgramModel:
    """The n-grams for which `keeps` is true (per order (R,) bool, histories included), with new back-offs."""
    orders = [
        Ngrams(ids[keep], log10_prob[keep], np.zeros(int(keep.sum()), np.float32))
        for (ids, log10_prob, _), keep in zip(model.orders, keeps, strict=True)
    ]
    before = masses(model)
    stay = [before[0], *(mass[keep] for mass, keep in zip(before[1:], keeps, strict=False))]
    return without_empty_orders(set_backoffs(NgramModel(model.words, orders), stay))


def _needs(model: NgramModel, losses: list[np.ndarray]) -> list[np.ndarray]:
    """Per n-gram, the largest loss among itself and all n-grams that begin with it."""
    needs = [loss.copy() for loss in losses]
    for n in range(model.order, 2, -1):
        np.maximum.at(needs[n - 3], model.keys[n - 1] // len(model.words), needs[n - 2])
    return needs


def _count_beside_words(model: NgramModel, size: int) -> int:
    """How many n-grams of the orders from 2 on may stay."""
    if size < len(model.words):
        raise InputError(
            f"lm.size is {size}, but the {len(model.words)} unigrams of the model always stay; set a larger size, or "
            "remove words with `asr lm filter`"
        )
    return size - len(model.words)


def _largest(needs: list[np.ndarray], count: int) -> list[np.ndarray]:
    """True for the `count` largest needs. Of equal needs, shorter n-grams come first, so that histories stay."""
    by_need = np.argsort(-np.concatenate([np.zeros(0), *needs]), kind="stable")
    keep = np.zeros(len(by_need), bool)
    keep[by_need[:count]] = True
    return np.split(keep, np.cumsum([len(need) for need in needs])[:-1]) if needs else []
