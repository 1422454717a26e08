"""The score of a text by a language model and hot words; see the formula in asr.integrations.transformers."""

from collections.abc import Collection, Sequence

from asr.integrations.open_language import HotWords, Weights
from asr.lm.model import LN10, NgramModel
from asr.lm.score import Scorer
from asr.words import END


class TextScorer:
    """Scores in nats. Immutable; shared by threads."""

    def __init__(self, model: NgramModel, known: Collection[str], weights: Weights):
        self._ngram = Scorer(model)
        self.known, self.weights = known, weights

    def score(self, words: Sequence[str], hot: HotWords) -> float:
        weights = self.weights
        state = self._ngram.begin if weights.lm_score_boundary else 0
        log10_prob = 0.0
        for word in words:
            state, own = self._ngram.step(state, word)
            log10_prob += own if word in self.known else own + weights.offset(len(word))
        if weights.lm_score_boundary:
            log10_prob += self._ngram.step(state, END)[1]
        num_hot = sum(word in hot.words for word in words)
        return weights.alpha * LN10 * log10_prob + weights.beta * len(words) + hot.weight * num_hot
