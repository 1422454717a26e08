"""N-gram estimation: interpolated modified Kneser-Ney smoothing, as streams of sorted n-grams (csrc/lm).

Chen & Goodman (1998), "An empirical study of smoothing techniques for language modeling". `<s>`, `</s>` and `<unk>` are
treated as in lmplz (Heafield et al. 2013, "Scalable modified Kneser-Ney language model estimation"):

    a(g)       adjusted count of the n-gram g: its count if it is of the highest order or begins with `<s>`, else the
               number of different words seen before it
    D(a)       discount for a = 1, 2, and 3 or more, from the counts of adjusted counts of the order
    p(w | h) = (a(h w) - D(a(h w))) / sum_v a(h v)  +  gamma(h) p(w | h without its first word)
    gamma(h) = sum_v D(a(h v)) / sum_v a(h v)          which is the back-off of h
    p(w)     = (a(w) - D(a(w))) / sum_v a(v)  +  gamma() / V,     V counts `<unk>` and `</s>` but not `<s>`

So an unseen `<unk>` gets gamma() / V. `<s>` is never predicted; the model lists it with probability 1, as lmplz does.

Pruning (lmplz --prune) drops n-grams with low counts. They stay in the sums over v and in the counts of counts. For
each dropped v, gamma(h) takes all of a(h v) instead of D(a(h v)), so that probabilities sum to 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from tqdm import tqdm

from asr import _lm
from asr.errors import InputError
from asr.lm.model import MAX_ORDER, NgramModel, Ngrams

FALLBACK = (0.5, 1.0, 1.5)  # lmplz --discount_fallback


@dataclass(frozen=True)
class Discounts:
    """The amounts subtracted from adjusted counts of 1, 2, and 3 or more."""

    amounts: tuple[float, float, float]
    fallback: bool  # the text is too small or its counts too even to estimate them

    @classmethod
    def of(cls, t: Sequence[int]) -> "Discounts":
        """Chen & Goodman (1998), equation 26: D(k) = k - (k + 1) Y t(k+1) / t(k), Y = t(1) / (t(1) + 2 t(2)), where
        t(k) is the number of n-grams with the adjusted count k.

        D(k) must be above 0 and at most k. (lmplz accepts 0, which gives back-offs of probability 0.)
        """
        if all(t[1:4]):
            y = t[1] / (t[1] + 2 * t[2])
            amounts = [k - (k + 1) * y * t[k + 1] / t[k] for k in (1, 2, 3)]
            if all(0 < amount <= k for k, amount in enumerate(amounts, 1)):
                return cls((amounts[0], amounts[1], amounts[2]), fallback=False)
        return cls(FALLBACK, fallback=True)

    def __str__(self) -> str:
        amounts = " ".join(f"{amount:.4g}" for amount in self.amounts)
        return f"discounts {amounts}" + (" (fallback: the text is too small or too even)" * self.fallback)


class Estimation:
    """Counts the n-grams of a corpus and estimates one model. It consumes the corpus.

    The highest order is `order`, or the length of the longest sentence with its marks if that is less. N-grams of order
    n with a count of at most `prune[n - 1]` are not listed; the last number applies to all higher orders. Raises
    InputError if `order` is not from 1 to 8, or if `prune` does not begin with 0, decreases, or is longer than `order`.
    """

    def __init__(self, corpus: _lm.Corpus, order: int, prune: Sequence[int] = ()):
        if not 1 <= order <= MAX_ORDER:
            raise InputError(f"lm.order is {order}; it must be from 1 to {MAX_ORDER}")
        self.corpus = corpus
        cutoffs = _cutoffs(prune, order)
        order = min(order, corpus.longest)
        with _bar("count n-grams", 2 * corpus.num_ngrams) as bar:
            self._counts = _lm.count(corpus, order, cutoffs[:order], bar.update)
        self.seen = [seen for seen, _, _ in self._counts.orders]  # number of different n-grams per order
        self.listed = [listed for _, listed, _ in self._counts.orders]  # number of these in the model
        self.discounts = [Discounts.of(with_count) for _, _, with_count in self._counts.orders]

    def model(self) -> NgramModel:
        with self._estimate_bar() as bar:
            orders, _ = self._counts.estimate_arrays(self._amounts(), bar.update)
        return NgramModel(self.corpus.words, [Ngrams(*order) for order in orders])

    def write(self, out: IO[bytes]) -> float:
        """Writes the model as an ARPA file. Returns the exact log10 probability of the corpus."""
        with self._estimate_bar() as bar:
            return self._counts.estimate_arpa(self.corpus, self._amounts(), out.write, bar.update)

    def _amounts(self) -> list[tuple[float, float, float]]:
        return [discounts.amounts for discounts in self.discounts]

    def _estimate_bar(self) -> tqdm:
        return _bar("estimate the model", 3 * sum(self.seen[1:]) + self.listed[0])


def _bar(what: str, total: int) -> tqdm:
    return tqdm(total=total, unit=" n-grams", unit_scale=True, desc=what, delay=2.0, leave=False)


def _cutoffs(prune: Sequence[int], order: int) -> list[int]:
    """One cutoff per order."""
    if len(prune) > order or any(prune[:1]) or list(prune) != sorted(prune):
        raise InputError(
            f"lm.prune is {','.join(map(str, prune))}; expected at most {order} numbers, one per order, that begin "
            "with 0 and do not decrease, such as 0,1,2; to drop rare words, use lm.min_count"
        )
    return [*prune, *[prune[-1] if prune else 0] * (order - len(prune))]
