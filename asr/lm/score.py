"""Log probabilities and perplexity of text under a language model, computed by kenlm."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import kenlm

from asr.errors import InputError
from asr.lm import arpa as arpa_file
from asr.lm.model import NgramModel
from asr.words import BEGIN, END, UNKNOWN

NO_TEXT = "there is no text to score; give at least one sentence"


class Scorer(Protocol):
    """A language model that scores sentences, such as kenlm's `Model`."""

    def full_scores(self, sentence: str) -> Iterator[tuple[float, int, bool]]:
        """Per word, and then for `</s>`: log10 probability, length of the n-gram used, whether the word is unknown."""


@dataclass(frozen=True)
class Score:
    """The score of one or more sentences. Each word and each end of a sentence is one prediction."""

    sentences: int
    words: int
    unknown: int  # words outside the vocabulary of the model
    log10_prob: float  # of all predictions; unknown words have the probability of `<unk>`
    log10_prob_unknown: float  # of the unknown words only

    @property
    def perplexity(self) -> float:
        """With unknown words, each at the full probability of `<unk>`."""
        return perplexity_of(self.log10_prob, self.words + self.sentences)

    @property
    def perplexity_known(self) -> float:
        """Without the predictions of unknown words, which still occur in the histories of other words."""
        return perplexity_of(self.log10_prob - self.log10_prob_unknown, self.words + self.sentences - self.unknown)

    @property
    def oov_rate(self) -> float:
        return self.unknown / max(self.words, 1)

    def __add__(self, other: "Score") -> "Score":
        return Score(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def __str__(self) -> str:
        known = f", {self.perplexity_known:.2f} without unknown words" if self.unknown else ""
        return (
            f"perplexity {self.perplexity:.2f}{known}; {self.oov_rate:.2%} unknown of {self.words:,} words "
            f"in {self.sentences:,} sentences"
        )


def perplexity(arpa: str | Path, texts: Iterable[str]) -> Score:
    """The score of all sentences `texts`. Raises InputError for a bad model and if there is no sentence."""
    total = sum(sentence_scores(load(arpa), texts), Score(0, 0, 0, 0.0, 0.0))
    if not total.sentences:
        raise InputError(NO_TEXT)
    return total


def sentence_scores(scorer: Scorer, texts: Iterable[str]) -> Iterator[Score]:
    """The score of each text. Texts without words are skipped."""
    for text in texts:
        if words := text.split():
            scores = list(scorer.full_scores(" ".join(words)))
            unknown = [log10_prob for log10_prob, _, is_unknown in scores if is_unknown]
            yield Score(1, len(words), len(unknown), sum(score[0] for score in scores), sum(unknown))


def load(arpa: str | Path) -> Scorer:
    """kenlm's model of an ARPA (or kenlm binary) file. Raises InputError if it cannot be read."""
    config = kenlm.Config()
    config.show_progress = False
    config.arpa_complain = kenlm.ARPALoadComplain.NONE
    try:
        return kenlm.Model(str(arpa), config)
    except (OSError, RuntimeError, UnicodeDecodeError) as e:
        try:
            model = arpa_file.read(arpa)
        except InputError as reason:  # names the line
            raise InputError(f"kenlm cannot read the language model: {reason}") from e
        if "at least a bigram" in str(e) or "KENLM_MAX_ORDER" in str(e):  # kenlm takes orders from 2 to 6
            return BackoffScorer(model)
        raise InputError(f"kenlm cannot read the language model {arpa}: {e}") from e


class BackoffScorer:
    """The back-off rule in plain Python: slow, for orders that kenlm does not support, and as a reference in tests."""

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


def perplexity_of(log10_prob: float, predictions: int) -> float:
    return float(10.0 ** (-log10_prob / max(predictions, 1)))
