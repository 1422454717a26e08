"""N-gram estimation: interpolated modified Kneser-Ney, as arrays.

Chen & Goodman (1998), "An empirical study of smoothing techniques for language modeling"; the treatment of `<s>`,
`</s>` and `<unk>` is that of lmplz (Heafield et al. 2013, "Scalable modified Kneser-Ney language model estimation"):

    a(g)       adjusted count of the n-gram g: how often it was seen if it is of the highest order or begins with
               `<s>`, else how many different words were seen before it
    D(a)       discount, one for a = 1, 2 and 3 or more, from the counts of adjusted counts of the order
    p(w | h) = (a(h w) - D(a(h w))) / sum_v a(h v)  +  gamma(h) p(w | h without its first word)
    gamma(h) = sum_v D(a(h v)) / sum_v a(h v)          which is the back-off of h
    p(w)     = (a(w) - D(a(w))) / sum_v a(v)  +  gamma() / V,     V counts `<unk>` and `</s>` but not `<s>`

An unseen `<unk>` so gets gamma() / V; `<s>` is never predicted and stands in the model with probability 1, as it does
in lmplz's files.
"""

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from asr.errors import InputError
from asr.lm.corpus import BEGIN_ID, Corpus
from asr.lm.model import MAX_ORDER, NgramModel, Ngrams

FALLBACK = (0.5, 1.0, 1.5)  # lmplz --discount_fallback


@dataclass(frozen=True)
class Discounts:
    """What is taken off adjusted counts of 1, 2, and 3 or more."""

    amounts: tuple[float, float, float]
    fallback: bool  # the text was too small, or too even, to tell

    @classmethod
    def of(cls, adjusted: np.ndarray) -> "Discounts":
        """Chen & Goodman (1998), equation 26: D(k) = k - (k + 1) Y t(k+1) / t(k), Y = t(1) / (t(1) + 2 t(2)).

        A discount must lie above 0 (lmplz accepts 0, and with it a back-off of probability 0) and up to k.
        """
        t = [int(np.count_nonzero(adjusted == k)) for k in range(5)]
        if all(t[1:4]):
            y = t[1] / (t[1] + 2 * t[2])
            amounts = [k - (k + 1) * y * t[k + 1] / t[k] for k in (1, 2, 3)]
            if all(0 < amount <= k for k, amount in enumerate(amounts, 1)):
                return cls((amounts[0], amounts[1], amounts[2]), fallback=False)
        return cls(FALLBACK, fallback=True)

    def __str__(self) -> str:
        amounts = " ".join(f"{amount:.4g}" for amount in self.amounts)
        return f"discounts {amounts}" + (" (fallback: the text is too small or too even to tell)" * self.fallback)

    def apply(self, adjusted: np.ndarray) -> np.ndarray:
        """The discount of each adjusted count."""
        return np.array([0.0, *self.amounts])[np.minimum(adjusted, 3)]


@dataclass
class Counts:
    """The n-grams of one order, ascending by their words. Rows of the order below are meant by `history`, `suffix`."""

    history: np.ndarray  # (R,) row of all words but the last
    suffix: np.ndarray  # (R,) row of all words but the first
    word: np.ndarray  # (R,) int32 id of the last word
    adjusted: np.ndarray  # (R,) int64 adjusted count


def count(corpus: Corpus, order: int) -> list[Counts]:
    """Adjusted counts of the orders 1 to `order`, or to the longest n-gram of the corpus if that is shorter.

    Rows of order 1 are all words of the corpus, seen or not. One sort an order: an n-gram's key is the row of its
    history and its last word, so it fits 64 bits at any order.
    Raises InputError if `order` is not from 1 to 8.
    """
    if not 1 <= order <= MAX_ORDER:
        raise InputError(f"lm.order is {order}; n-gram orders from 1 to {MAX_ORDER} can be estimated")
    tokens, base = corpus.tokens, len(corpus.words)
    start = np.arange(len(tokens), dtype=np.int32)  # where n-grams begin
    row = tokens.copy()  # for each start, the row of the (n - 1)-gram there
    none = np.zeros(base, np.int32)
    levels = [Counts(none, none, np.arange(base, dtype=np.int32), np.bincount(tokens, minlength=base))]
    begins = levels[0].word == BEGIN_ID
    levels[0].adjusted[begins] = 0
    for n in tqdm(range(2, order + 1), unit=" orders", desc="count n-grams", delay=2.0, leave=False):
        start = start[start + n <= len(tokens)]
        start = start[tokens[start + n - 1] != BEGIN_ID]
        if not len(start):
            break  # no sentence is that long
        key = row[start].astype(np.int64) * base + tokens[start + n - 1]
        by_key = np.argsort(key)
        is_new = np.diff(key[by_key], prepend=-1) > 0
        start_by_key = start[by_key]
        first = start_by_key[is_new]  # one place of each n-gram
        seen = np.diff(np.flatnonzero(np.append(is_new, True)))
        lower, level = levels[-1], Counts(row[first], row[first + 1], tokens[first + n - 1], seen)
        predecessors = np.bincount(level.suffix, minlength=len(lower.word))
        lower.adjusted = np.where(begins, lower.adjusted, predecessors)
        levels.append(level)
        begins = tokens[first] == BEGIN_ID
        row[start_by_key] = np.cumsum(is_new) - 1
    return levels


def estimate(levels: list[Counts], words: list[str]) -> tuple[NgramModel, list[Discounts]]:
    """The model of adjusted counts, and the discounts of each order."""
    ids = np.zeros((1, 0), np.int32)
    lower_prob = np.array([1 / (len(words) - 1)])
    probs, backoffs, all_ids, all_discounts = [], [], [], []
    for level in levels:
        discounts = Discounts.of(level.adjusted)
        off = discounts.apply(level.adjusted)
        total = np.bincount(level.history, level.adjusted, minlength=len(lower_prob))
        taken = np.bincount(level.history, off, minlength=len(lower_prob))
        backoff = np.divide(taken, total, out=np.ones(len(lower_prob)), where=total > 0)
        prob = (level.adjusted - off) / total[level.history] + backoff[level.history] * lower_prob[level.suffix]
        if level is levels[0]:
            prob[BEGIN_ID] = 1.0
        ids = np.concatenate([ids[level.history], level.word[:, None]], axis=1)
        backoffs.append(backoff)
        probs.append(prob)
        all_ids.append(ids)
        all_discounts.append(discounts)
        lower_prob = prob
    backoffs = [*backoffs[1:], np.ones_like(lower_prob)]
    orders = [Ngrams(i, _log10(p), _log10(b)) for i, p, b in zip(all_ids, probs, backoffs, strict=True)]
    return NgramModel(words, orders), all_discounts


def log10_likelihood(levels: list[Counts], model: NgramModel) -> float:
    """log10 probability of the very text that `levels` counts, and `model` was estimated on.

    Each word there is predicted by an n-gram of the highest order, or by a shorter one that begins with `<s>`: those
    whose adjusted counts are plain counts.
    """
    total = 0.0
    for n, (level, ngrams) in enumerate(zip(levels, model.orders, strict=True), 1):
        used = slice(None) if n == model.order else ngrams.ids[:, 0] == BEGIN_ID
        total += float(level.adjusted[used] @ ngrams.log10_prob[used].astype(np.float64))
    return total


def _log10(x: np.ndarray) -> np.ndarray:
    return np.log10(x).clip(max=0.0).astype(np.float32)
