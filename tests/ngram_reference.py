"""The back-off rule in plain Python, as a reference."""

from collections.abc import Iterator, Sequence

from asr.lm.model import NgramModel
from asr.words import BEGIN, END, UNKNOWN


class BackoffScorer:
    """Scores as `asr.lm.score.Scorer`, from a table of the n-grams."""

    words_in = staticmethod(str.split)

    def __init__(self, model: NgramModel):
        self.order = model.order
        self.table = {
            tuple(model.words[i] for i in ids): (float(prob), float(backoff))
            for ngrams in model.orders
            for ids, prob, backoff in zip(*ngrams, strict=True)
        }

    def full_scores(self, sentence: str) -> Iterator[tuple[float, int, bool]]:
        history: tuple[str, ...] = (BEGIN,)
        for word in (*sentence.split(), END):
            is_unknown = (word,) not in self.table
            word = UNKNOWN if is_unknown else word
            history = history[max(0, len(history) - self.order + 1) :]
            yield *self.score(history, word), is_unknown
            history = (*history, word)

    def score(self, history: Sequence[str], word: str) -> tuple[float, int]:
        """log10 p(word | history) and the length of the n-gram used."""
        ngram = (*history, word)
        if ngram in self.table or not history:
            return self.table.get(ngram, (-100.0, 0))[0], len(ngram)
        _, backoff = self.table.get(tuple(history), (0.0, 0.0))
        log10_prob, length = self.score(history[1:], word)
        return log10_prob + backoff, length
