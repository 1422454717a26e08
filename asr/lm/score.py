"""Log probabilities and perplexity of text under a language model.

csrc/lm applies the back-off rule. The values are kenlm's: a word outside the vocabulary has the probability of `<unk>`,
or 1e-100 if the model has no `<unk>`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from asr import _lm
from asr.errors import InputError, refusals
from asr.lm import arpa as arpa_file
from asr.lm import trie_file
from asr.lm.model import NgramModel
from asr.words import BEGIN, END, UNKNOWN

NO_TEXT = "there is no text to score; give at least one sentence"


class TextScores(Protocol):
    """What perplexities need of a language model."""

    of_pieces: bool

    def words_in(self, text: str) -> list[str]:
        """The units that it scores: words, or pieces of them."""

    def full_scores(self, sentence: str) -> Iterator[tuple[float, int, bool]]:
        """Per word, and then for `</s>`: log10 probability, words that it depends on, whether the word is unknown."""


class Scorer:
    """A language model that scores words one after the other. Equal states have equal futures.

    A damaged file that is mapped raises InputError when a score needs the damaged place."""

    def __init__(self, model: NgramModel | trie_file.MappedModel):
        """Raises InputError if the rows of the model do not ascend, or a history is not listed."""
        self._ids, self._unknown = model.ids, model.ids.get(UNKNOWN, -1)
        self.words_in, self.of_pieces = model.words_in, model.of_pieces
        self._refused: Callable[[ValueError], InputError] = lambda error: InputError(str(error))
        if isinstance(model, trie_file.MappedModel):
            self._core, self._refused = model.core, model.damage
        else:
            with refusals():
                self._core = _lm.Scorer(model.orders)
        self.begin = self.step(0, BEGIN)[0]  # the state at the start of a sentence

    def step(self, state: int, word: str) -> tuple[int, float]:
        """The state after `word`, and the log10 probability of `word` in `state`."""
        try:
            following, log10_prob, _ = self._core.step(state, self._ids.get(word, self._unknown))
        except ValueError as e:
            raise self._refused(e) from None
        return following, log10_prob

    def full_scores(self, sentence: str) -> Iterator[tuple[float, int, bool]]:
        """Per word, and then for `</s>`: log10 probability, length of the n-gram used, whether the word is unknown."""
        ids = [self._ids.get(word, self._unknown) for word in (*self.words_in(sentence), END)]
        try:
            scores = self._core.score_all(self.begin, ids)
        except ValueError as e:
            raise self._refused(e) from None
        for (log10_prob, length), id in zip(scores, ids, strict=True):
            yield log10_prob, length, id == self._unknown


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


def perplexity(model: NgramModel | str | Path, texts: Iterable[str]) -> Score:
    """The score of all sentences `texts` by a model or an ARPA file.

    Raises InputError for a bad model and if there is no sentence.
    """
    scorer = Scorer(model) if isinstance(model, NgramModel) else load(model)
    total = sum(sentence_scores(scorer, texts), Score(0, 0, 0, 0.0, 0.0))
    if not total.sentences:
        raise InputError(NO_TEXT)
    return total


def sentence_scores(scorer: TextScores, texts: Iterable[str]) -> Iterator[Score]:
    """The score of each text. Texts without words are skipped."""
    for text in texts:
        if words := scorer.words_in(text):
            scores = list(scorer.full_scores(text))
            unknown = [log10_prob for log10_prob, _, is_unknown in scores if is_unknown]
            yield Score(1, len(words), len(unknown), sum(score[0] for score in scores), sum(unknown))


def load(path: str | Path) -> Scorer:
    """The scorer of an ARPA file, or of a packed model, which is mapped. Raises InputError as `asr.lm.arpa.read` and
    `asr.lm.trie_file.read` do."""
    return Scorer(trie_file.read(path) if trie_file.is_trie(path) else arpa_file.read(path))


def perplexity_of(log10_prob: float, predictions: int) -> float:
    return float(10.0 ** (-log10_prob / max(predictions, 1)))
