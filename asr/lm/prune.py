"""Entropy pruning: the n-grams whose loss changes a model least are taken out.

Stolcke (1998), "Entropy-based pruning of backoff language models". Taking h w out leaves the other listed
probabilities as they are and changes the back-off of h from b to b', by a relative entropy of

    D = -P(h) { p(w | h) [log p(w | h') + log b' - log p(w | h)]  +  m [log b' - log b] }
    b' = (m + p(w | h)) / (m' + p(w | h')),     m and m': what the words listed after h leave of p(. | h), p(. | h')

and the model's perplexity by the factor exp(D). P(h) comes from `asr.lm.marginals`; with `product` the scores are
those of SRILM's `ngram -prune`. As there, each n-gram is scored alone, and all in the whole model.

The words after a history go on summing to what they did: one, or less in a model that was filtered, so that pruning
does not undo what `asr.lm.filter` is careful of.
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
    """`model` without the n-grams that matter least, back-offs worked out anew. Unigrams all stay.

    Kept are `size` n-grams of all orders together, or those whose loss raises the perplexity by a share of at least
    `threshold`; and the histories of those kept. Raises InputError unless exactly one of the two is given, and for a
    `size` below the number of words.
    """
    if (size is None) == (threshold is None):
        raise InputError("pruning needs one of lm.size, the number of n-grams, and lm.threshold, such as 1e-8")
    if threshold is not None and not 0 <= threshold < math.inf:
        raise InputError(f"lm.threshold is {threshold}; expected a share from 0 up, such as 1e-8")
    if marginals not in MARGINALS:
        raise InputError(f"lm.marginals={marginals}: expected one of {', '.join(MARGINALS)}")
    room = None if size is None else _room(model, size)
    needs = _needs(model, losses(model, marginals))
    longer = [need >= threshold for need in needs] if room is None else _largest(needs, room)
    return select(model, [np.ones(len(model.words), bool), *longer])


def losses(model: NgramModel, marginals: str = "stationary") -> list[np.ndarray]:
    """exp(D) - 1 of every n-gram of the orders 2 and up: the relative rise of perplexity if it alone is taken out."""
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
    """The n-grams that `keeps` marks (of each order (R,) bool, histories among them), and back-offs to fit."""
    orders = [
        Ngrams(ids[keep], log10_prob[keep], np.zeros(int(keep.sum()), np.float32))
        for (ids, log10_prob, _), keep in zip(model.orders, keeps, strict=True)
    ]
    before = masses(model)
    stay = [before[0], *(mass[keep] for mass, keep in zip(before[1:], keeps, strict=False))]
    return without_empty_orders(set_backoffs(NgramModel(model.words, orders), stay))


def _needs(model: NgramModel, losses: list[np.ndarray]) -> list[np.ndarray]:
    """The larger of an n-gram's loss and those of the n-grams that it is a history of, at any depth."""
    needs = [loss.copy() for loss in losses]
    for n in range(model.order, 2, -1):
        np.maximum.at(needs[n - 3], model.keys[n - 1] // len(model.words), needs[n - 2])
    return needs


def _room(model: NgramModel, size: int) -> int:
    """How many n-grams of order 2 and up may stay."""
    if size < len(model.words):
        raise InputError(
            f"lm.size is {size}, and the model has {len(model.words)} words, each an n-gram that stays; "
            "take a larger size, or fewer words with `asr lm filter`"
        )
    return size - len(model.words)


def _largest(needs: list[np.ndarray], count: int) -> list[np.ndarray]:
    """Marks the `count` largest; of equals the shorter n-grams, so that none stays without its history."""
    by_need = np.argsort(-np.concatenate([np.zeros(0), *needs]), kind="stable")
    keep = np.zeros(len(by_need), bool)
    keep[by_need[:count]] = True
    return np.split(keep, np.cumsum([len(need) for need in needs])[:-1]) if needs else []
