"""Marginal probabilities of the histories of a model, computed from the model alone, in two ways.

`product` is the product of the conditional probabilities of the words, p(a) p(b | a) for the history a b, where a
leading `<s>` counts as p(</s>). SRILM uses it. In a Kneser-Ney model the lower orders are estimated for backing off, so
p(a) is not the frequency of a, and the product is inaccurate (Chelba et al. 2010, "Study on interaction between entropy
pruning and Kneser-Ney smoothing").

`stationary` is the frequency of the history in endless text drawn from the model, sentence by sentence. Kneser-Ney's
lower orders are estimated to agree with it. It is the stationary distribution of a Markov chain whose state is the
longest listed history. A word that is not listed after h is reached through h', h without its first word. A word that
is listed after h must not be reached that way, so backoff(h) p(w | h') is subtracted again at its target (Roark,
Allauzen & Riley 2013, "Smoothed marginal distribution constraints for language modeling", use the same chain).
"""

import itertools
from typing import NamedTuple

import numpy as np

from asr.lm.backoff import log10_prob, of_longest_suffix
from asr.lm.model import NgramModel
from asr.words import BEGIN, END

_TOLERANCE = 1e-4  # of probability, moved between states by the last step
_MOST_STEPS = 200


def product(model: NgramModel) -> list[np.ndarray]:
    """Probabilities (R,) of the histories of each order from 1 to `model.order` - 1."""
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
    """As `product`. The chain starts from p(w). Its states are the histories: rows of all orders, then ()."""
    if model.order == 1:
        return []
    flows, shorter = _flows(model), _shorter(model)
    backoff = np.concatenate([*(10.0 ** ngrams.log10_backoff.astype(float) for ngrams in model.orders[:-1]), [0.0]])
    bounds = np.cumsum([len(ngrams.ids) for ngrams in model.orders[:-1]])
    occupied = np.zeros(bounds[-1] + 1)
    occupied[: bounds[0]] = product(model)[0]
    occupied /= occupied.sum()
    for _ in range(_MOST_STEPS):
        moved = _step(occupied, flows, shorter, backoff, bounds)
        change = np.abs(moved - occupied).sum()
        occupied = (occupied + moved) / 2  # half a step, since sentences of equal length would oscillate
        if change < _TOLERANCE:
            break
    return np.split(_with_longer(occupied, shorter, bounds), bounds)[:-1]


class _Flow(NamedTuple):
    """The transitions of one order, per n-gram h w: `prob` moves from state `source` to state `target`, and
    `backed_off`, the probability that arrives through h', is subtracted at state `other`."""

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
    """The state that each state backs off to; () backs off to itself."""
    last = sum(len(ngrams.ids) for ngrams in model.orders[:-1])
    return np.concatenate([*(_longest_suffix(model, ngrams.ids) for ngrams in model.orders[:-1]), [last]])


def _longest_suffix(model: NgramModel, ids: np.ndarray) -> np.ndarray:
    """The state of the longest listed proper suffix of each n-gram (R, n); that of () if n = 1."""
    first = np.cumsum([0, *(len(ngrams.ids) for ngrams in model.orders[:-1])])
    states = [first[-1:], *(np.arange(*bounds) for bounds in itertools.pairwise(first))]
    return of_longest_suffix(model, ids[:, 1:], states)


def _step(occupied: np.ndarray, flows: list[_Flow], shorter: np.ndarray, backoff: np.ndarray,
           bounds: np.ndarray) -> np.ndarray:  # fmt: skip
    """The occupation of the states one word later."""
    passing = _with_longer(occupied, shorter, bounds, backoff)
    moved = np.zeros(len(occupied))
    for flow in flows:
        mass = passing[flow.source]
        moved += np.bincount(flow.target, mass * flow.prob, len(moved))
        moved -= np.bincount(flow.other, mass * flow.backed_off, len(moved))
    moved = np.maximum(moved, 0.0)  # rounding may give negative values
    return moved / moved.sum()


def _with_longer(occupied: np.ndarray, shorter: np.ndarray, bounds: np.ndarray,
                 share: np.ndarray | None = None) -> np.ndarray:  # fmt: skip
    """Each state's occupation plus that of the longer states that back off to it, times their `share` if given."""
    total = occupied.copy()
    for start, stop in reversed(list(zip([0, *bounds], bounds, strict=False))):
        passed = total[start:stop] if share is None else total[start:stop] * share[start:stop]
        total += np.bincount(shorter[start:stop], passed, len(total))
    return total
