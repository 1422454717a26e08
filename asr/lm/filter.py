"""Restriction of a model to a list of words, as kenlm's `filter single`.

N-grams with other words are removed. The remaining n-grams keep their probabilities and back-offs, so a sentence of
listed words keeps its probability, and a search that allows only such sentences ranks them as the whole model does.
Renormalising each history would change the ranking: a history that lost most of its words would give too much
probability to the few that remain. As a consequence, the words after a history sum to less than one, and the perplexity
of a restricted model equals that of the whole model on the same words.
"""

from collections.abc import Iterable

import numpy as np

from asr.errors import InputError
from asr.lm.model import NgramModel, Ngrams, without_empty_orders
from asr.pieces import are_pieces
from asr.words import MARKS


def restrict(model: NgramModel, words: Iterable[str]) -> NgramModel:
    """`model` with only the n-grams of `words` and marks.

    Raises InputError if it knows none of `words`, and if it is of pieces and they are not.
    """
    wanted = {*words}.difference(MARKS)
    if model.of_pieces and not are_pieces(wanted):
        raise InputError("a model of characters has no words to restrict it to; train one with lm.unit=word")
    if wanted.isdisjoint(model.words):
        raise InputError(f"the model knows none of the {len(wanted)} words listed; check their spelling and case")
    stays = np.array([word in wanted or word in MARKS for word in model.words])
    new_id = np.cumsum(stays, dtype=np.int32) - 1
    orders = []
    for ids, log10_prob, log10_backoff in model.orders:
        keep = stays[ids].all(1)
        orders.append(Ngrams(new_id[ids[keep]], log10_prob[keep], log10_backoff[keep]))
    kept = [word for word, stay in zip(model.words, stays, strict=True) if stay]
    return without_empty_orders(NgramModel(kept, orders))
