"""Restricting a model to a list of words, as kenlm's `filter single`.

N-grams with other words go; probabilities and back-offs of the others stay as they are. So every sentence of listed
words keeps its probability, and a search that may only say such sentences ranks them as the whole model does. Sharing
out the lost probability after each history would rank them otherwise: a history whose words were mostly lost would
lend its few others too much. The price is that the words after a history sum to less than one, so perplexities of
restricted models are those of the whole one on the same words.
"""

from collections.abc import Iterable

import numpy as np

from asr.errors import InputError
from asr.lm.model import NgramModel, Ngrams, without_empty_orders
from asr.words import MARKS


def restrict(model: NgramModel, words: Iterable[str]) -> NgramModel:
    """`model` with its n-grams of `words` and marks alone. Raises InputError if it knows none of the words."""
    wanted = {*words}.difference(MARKS)
    if wanted.isdisjoint(model.words):
        raise InputError(f"the model knows none of the {len(wanted)} words listed; check spelling and case of the list")
    stays = np.array([word in wanted or word in MARKS for word in model.words])
    new_id = np.cumsum(stays, dtype=np.int32) - 1
    orders = []
    for ids, log10_prob, log10_backoff in model.orders:
        keep = stays[ids].all(1)
        orders.append(Ngrams(new_id[ids[keep]], log10_prob[keep], log10_backoff[keep]))
    kept = [word for word, stay in zip(model.words, stays, strict=True) if stay]
    return without_empty_orders(NgramModel(kept, orders))
