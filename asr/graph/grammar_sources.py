"""Sources of a grammar for the compiler: an ARPA file, which is read only if the cache lacks its words or its grammar,
or a word list; and fillers added to it."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from asr.graph.automaton import Automaton
from asr.graph.cache import Cache, digest, file_digest
from asr.graph.fillers import check_spelled, filler_words, with_fillers
from asr.graph.grammar import ngram_grammar, word_grammar
from asr.lm.model import LN10, NgramModel


class Source(Protocol):
    @property
    def digest(self) -> str:
        """A hash of the whole content."""

    def vocabulary(self, cache: Cache) -> tuple[list[str], np.ndarray]:
        """The words, and their log10 unigram probabilities (W,)."""

    def keep_vocabulary(self, cache: Cache) -> None:
        """Cache the vocabulary for later builds. Called once the checks of this build have passed."""

    def grammar(self, labels: Mapping[str, int]) -> Automaton:
        """G over the words that `labels` numbers 1..W."""


class ArpaSource:
    """The n-gram model of an ARPA file. Raises InputError as `asr.lm.arpa.read` does."""

    def __init__(self, path: str | Path):
        self.path = path
        self._model: NgramModel | None = None  # kept between `vocabulary` and `grammar`

    @cached_property
    def digest(self) -> str:
        return digest(file_digest(self.path))  # with the format: what a reader makes of a file may change

    def vocabulary(self, cache: Cache) -> tuple[list[str], np.ndarray]:
        if found := cache.load("words", self.digest):
            return found["words"].tobytes().decode().split("\n"), found["log10_prob"]
        self._model = self._read()
        return self._model.words, self._model.orders[0].log10_prob

    def keep_vocabulary(self, cache: Cache) -> None:
        if self._model:
            words = np.frombuffer("\n".join(self._model.words).encode(), np.uint8)
            cache.store("words", self.digest, {"words": words, "log10_prob": self._model.orders[0].log10_prob})

    def grammar(self, labels: Mapping[str, int]) -> Automaton:
        model, self._model = self._model or self._read(), None
        return ngram_grammar(model, labels)

    def _read(self) -> NgramModel:
        from asr.lm import arpa

        return arpa.read(self.path)


class Fillers:
    """A source whose sentences may have fillers between words, at a cost; see asr.graph.fillers."""

    def __init__(self, source: Source, fillers: Sequence[str], cost: float):
        self.source, self.fillers, self.cost = source, list(fillers), cost

    @cached_property
    def digest(self) -> str:
        return digest("fillers", self.source.digest, self.fillers, str(self.cost))

    def vocabulary(self, cache: Cache) -> tuple[list[str], np.ndarray]:
        words, log10_prob = self.source.vocabulary(cache)
        known = set(words)
        new = [filler for filler in filler_words(self.fillers, words) if filler not in known]
        return [*words, *new], np.append(log10_prob, np.full(len(new), -self.cost / LN10))

    def keep_vocabulary(self, cache: Cache) -> None:
        self.source.keep_vocabulary(cache)

    def grammar(self, labels: Mapping[str, int]) -> Automaton:
        fillers = filler_words(self.fillers, list(labels))
        check_spelled(fillers, labels)
        return with_fillers(self.source.grammar(labels), labels, fillers, self.cost)


class WordList:
    """Utterances of exactly one of `words`, all equally likely."""

    def __init__(self, words: Iterable[str]):
        self.words = list(words)

    @cached_property
    def digest(self) -> str:
        return digest("one of", self.words)

    def vocabulary(self, cache: Cache) -> tuple[list[str], np.ndarray]:
        return self.words, np.full(len(self.words), -np.log10(max(1, len(self.words))))

    def keep_vocabulary(self, cache: Cache) -> None:
        pass  # nothing to save: the list is in memory

    def grammar(self, labels: Mapping[str, int]) -> Automaton:
        return word_grammar(len(labels))
