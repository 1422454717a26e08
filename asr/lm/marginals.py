"""How probable each history of a model is, by the model alone: two answers.

`product`: the product of the conditional probabilities of its words, p(a) p(b | a) for a b, a leading `<s>` counting
as p(</s>). SRILM's. Where lower orders are estimated to serve after backing off, as Kneser-Ney's are, p(a) is not
how often a occurs, and the product is off (Chelba et al. 2010, "Study on interaction between entropy pruning and
Kneser-Ney smoothing").

`stationary`: how often it occurs in endless text drawn from the model, sentence after sentence: what Kneser-Ney's
lower orders are made to agree with. The state of the drawing is the longest listed history. A word that is not listed
after h comes through h', h without its first word; a word that is listed there must not, so what it would have come
by, backoff(h) p(w | h'), is taken off again where it arrives (Roark, Allauzen & Riley 2013, "Smoothed marginal
distribution constraints for language modeling", use the same chain).
"""

import itertools
from typing import NamedTuple

import numpy as np

from asr.lm.backoff import log10_prob, of_longest_suffix
from asr.lm.model import NgramModel
from asr.words import BEGIN, END

_TOLERANCE = 1e-4  # probability that still moves between states in a round
_MOST_ROUNDS = 200


def product(model: NgramModel) -> list[np.ndarray]:
    """Probability (R,) of the n-grams of orders 1 to order - 1, each taken as a history."""
    found: list[np.ndarray] = []
    for ngrams, keys in zip(model.orders[:-1], model.keys, strict=False):
        prob = 10.0 ** ngrams.log10_prob.astype(float)
        if found:
            prob *= found[-1][keys // len(model.words)]
        else:
            prob[model.ids[BEGIN]] = prob[model.ids[END]]
        found.append(prob)
    return found


def stationary(model: NgramModel) -> list[np.ndarray]:
    """As `product`. The chain starts from it; states are the histories: rows of all orders in turn, then `()`."""
    if model.order == 1:
        return []
    flows, shorter = _flows(model), _shorter(model)
    backoff = np.concatenate([*(10.0 ** ngrams.log10_backoff.astype(float) for ngrams in model.orders[:-1]), [0.0]])
    bounds = np.cumsum([len(ngrams.ids) for ngrams in model.orders[:-1]])
    occupied = np.zeros(bounds[-1] + 1)
    occupied[: bounds[0]] = product(model)[0]
    occupied /= occupied.sum()
    for _ in range(_MOST_ROUNDS):
        moved = _round(occupied, flows, shorter, backoff, bounds)
        change = np.abs(moved - occupied).sum()
        occupied = (occupied + moved) / 2  # half a step each: sentences of equal length would swing for ever
        if change < _TOLERANCE:
            break
    return np.split(_with_longer(occupied, shorter, bounds), bounds)[:-1]


class _Flow(NamedTuple):
    """One order's way through the chain, per n-gram h w: from state `source`, `prob` goes to state `target`, and
    `backed_off`, which would have come through h', is taken off at state `other`."""

    source: np.ndarray
    prob: np.ndarray
    target: np.ndarray
    backed_off: np.ndarray
    other: np.ndarray


def _flows(model: NgramModel) -> list[_Flow]:
    base = len(model.words)
    first = np.cumsum([0, *(len(ngrams.ids) for ngrams in model.orders)])
    flows = []
    for n, (ngrams, keys) in enumerate(zip(model.orders, model.keys, strict=True), 1):
        prob = 10.0 ** ngrams.log10_prob.astype(float)
        own, suffix = np.arange(first[n - 1], first[n]), _longest_suffix(model, ngrams.ids)
        if n == 1:
            prob[model.ids[BEGIN]] = 0.0
            source, backed_off = np.full(base, first[model.order - 1]), np.zeros(base)
        else:
            row = keys // base
            source = first[n - 2] + row
            log10_lower = log10_prob(model, ngrams.ids[:, 1:])
            backed_off = 10.0 ** (log10_lower + model.orders[n - 2].log10_backoff[row])
        ends = ngrams.ids[:, -1] == model.ids[END]
        target, other = (
            np.where(ends, model.ids[BEGIN], state).astype(np.int32)
            for state in (own if n < model.order else suffix, suffix)
        )
        flows.append(_Flow(source.astype(np.int32), prob, target, backed_off, other))
    return flows


def _shorter(model: NgramModel) -> np.ndarray:
    """The state that each state backs off to; `()` to itself."""
    last = sum(len(ngrams.ids) for ngrams in model.orders[:-1])
    return np.concatenate([*(_longest_suffix(model, ngrams.ids) for ngrams in model.orders[:-1]), [last]])


def _longest_suffix(model: NgramModel, ids: np.ndarray) -> np.ndarray:
    """State of the longest listed proper suffix of each n-gram (R, n); that of `()` if n = 1."""
    first = np.cumsum([0, *(len(ngrams.ids) for ngrams in model.orders[:-1])])
    states = [first[-1:], *(np.arange(*bounds) for bounds in itertools.pairwise(first))]
    return of_longest_suffix(model, ids[:, 1:], states)


def _round(occupied: np.ndarray, flows: list[_Flow], shorter: np.ndarray, backoff: np.ndarray,
           bounds: np.ndarray) -> np.ndarray:  # fmt: skip
    """Occupation of the states one word later."""
    passing = _with_longer(occupied, shorter, bounds, backoff)
    moved = np.zeros(len(occupied))
    for flow in flows:
        mass = passing[flow.source]
        moved += np.bincount(flow.target, mass * flow.prob, len(moved))
        moved -= np.bincount(flow.other, mass * flow.backed_off, len(moved))
    moved = np.maximum(moved, 0.0)  # of equal sums taken off, rounding may leave less than nothing
    return moved / moved.sum()


def _with_longer(occupied: np.ndarray, shorter: np.ndarray, bounds: np.ndarray,
                 share: np.ndarray | None = None) -> np.ndarray:  # fmt: skip
    """Each state's occupation and that of the longer ones that back off to it, or their `share` of it."""
    total = occupied.copy()
    for start, stop in reversed(list(zip([0, *bounds], bounds, strict=False))):
        passed = total[start:stop] if share is None else total[start:stop] * share[start:stop]
        total += np.bincount(shorter[start:stop], passed, len(total))
    return total
