"""The token n-gram of LF-MMI, estimated from the training targets."""

import tempfile
from collections.abc import Sequence

import numpy as np

from asr.config import LmConfig
from asr.criteria.lfmmi import TokenModel
from asr.errors import InputError
from asr.lm.backoff import log10_prob
from asr.lm.corpus import Selection, encode_texts
from asr.lm.estimation import Estimation
from asr.lm.model import LN10, NgramModel
from asr.tokens import BLANK_ID
from asr.words import BEGIN, END, UNKNOWN

MOST_ARCS = 10_000_000  # of the denominator: 160 MB, and 10 ms per frame of eight utterances


def estimate(targets: Sequence[Sequence[int]], num_outputs: int, order: int) -> TokenModel:
    """The model of `ngrams_of` with all its back-offs carried out, so that each history has each token as one arc.

    Raises InputError if that would be too large.
    """
    return _carried_out(ngrams_of(targets, num_outputs, order), num_outputs)


def ngrams_of(targets: Sequence[Sequence[int]], num_outputs: int, order: int) -> NgramModel:
    """The interpolated modified Kneser-Ney model (asr.lm.estimation) of these token sequences, whose words are the
    numbers of the tokens. Tokens that no target contains are possible, too."""
    texts = (" ".join(map(str, target)) for target in targets)
    names = [str(token) for token in range(num_outputs) if token != BLANK_ID]
    corpus = encode_texts(texts, Selection(names), LmConfig.memory_mb, tempfile.gettempdir())
    return Estimation(corpus, order).model()


def _carried_out(ngrams: NgramModel, num_outputs: int) -> TokenModel:
    """The n-gram model as an automaton. A history is the longest suffix of the tokens so far that the model continues;
    from order 2 on it keeps at least one token."""
    begin, end, unknown = (ngrams.ids[mark] for mark in (BEGIN, END, UNKNOWN))
    histories: list[tuple[int, ...]] = [()]
    if ngrams.order > 1:
        histories = [(id,) for id in range(len(ngrams.words)) if id not in (end, unknown)]
        for longer in ngrams.orders[2:]:
            histories += map(tuple, np.unique(longer.ids[:, :-1], axis=0).tolist())
    numbers = {history: n for n, history in enumerate(histories)}
    if len(histories) * num_outputs > MOST_ARCS:
        raise InputError(f"the token n-gram of LF-MMI has {len(histories):,} histories of {num_outputs:,} tokens, more "
                         f"than {MOST_ARCS:,} together; lower criterion.ngram_order, or use fewer tokens")  # fmt: skip
    tokens = np.array([int(word) if word.isdigit() else BLANK_ID for word in ngrams.words])
    ids = np.flatnonzero(tokens != BLANK_ID)
    log_prob = np.full((len(histories), num_outputs), -np.inf)
    log_final = np.zeros(len(histories))
    for length in {len(history) for history in histories}:
        rows = [n for n, history in enumerate(histories) if len(history) == length]
        contexts = np.array([histories[n] for n in rows], np.int64).reshape(len(rows), length)
        probs = LN10 * np.stack([log10_prob(ngrams, _followed(contexts, word)) for word in (*ids, end)], 1)
        probs -= np.logaddexp.reduce(probs, axis=1, keepdims=True)  # without <unk>
        log_prob[np.array(rows)[:, None], tokens[ids]] = probs[:, :-1]
        log_final[rows] = probs[:, -1]
    successor = np.zeros((len(histories), num_outputs), np.int64)
    for n, history in enumerate(histories):
        for word in ids.tolist():
            after = (*history, word)[-(ngrams.order - 1) :] if ngrams.order > 1 else ()
            while after not in numbers:
                after = after[1:]
            successor[n, tokens[word]] = numbers[after]
    return TokenModel(numbers[(begin,) if ngrams.order > 1 else ()], successor, log_prob, log_final)


def _followed(contexts: np.ndarray, word: int) -> np.ndarray:
    """(R, k) histories -> (R, k + 1) n-grams that end with `word`."""
    return np.concatenate([contexts, np.full((len(contexts), 1), word)], 1)
