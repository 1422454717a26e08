"""Hypotheses as readers expect them: written forms ("five dollars" -> "$5"), punctuation and capitals.

Times and confidences stay with the words. A written word lasts from the start of the first to the end of the last
spoken word that it stands for, and has the lowest of their confidences. Words of low confidence stay as they are, and
no written word spans one.
"""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import Protocol

from asr.config import Config
from asr.errors import InputError
from asr.hypothesis import Alternative, Hypothesis, Word
from asr.punctuation.file import trained
from asr.punctuation.tagger import Tagger
from asr.search.space import SearchSpace
from asr.text.clean import LANGUAGES
from asr.text.written import spans, written
from asr.tokens import Tokens

SAMPLE = 5000  # words that are searched for Hangul
_NUMBERS = "one two three four five six seven eight nine ten".split()
_PIECES = "▁the ▁a ▁of ▁to ▁and ▁in ▁that ▁it ▁was ▁you".split()


def language_of(space: SearchSpace | None, tokens: Tokens) -> str:
    """The language by the words: Korean if some are in Hangul, English if its numbers are among them.

    Without words, by the tokens: English if its most frequent words are among the pieces. Raises InputError if the
    words tell neither; letters alone are those of many languages.
    """
    letters = {letter for word in _sample(space, tokens) for letter in word if letter.isalpha()}
    if any("가" <= letter <= "힣" or "ᄀ" <= letter <= "ᇿ" or "ㄱ" <= letter <= "ㆎ" for letter in letters):
        return "ko"
    space = _open(space)
    known = space.labels if space else dict.fromkeys(tokens.symbols)
    expected = _NUMBERS if space and not space.of_pieces else _PIECES
    if 2 * sum(word in known or word.upper() in known for word in expected) < len(expected):
        raise InputError(
            "written forms and punctuation exist for English and Korean, and the words of this recogniser do not tell "
            "which of them it hears: name it (language=en of a call or request, spoken_language=en of asr transcribe), "
            "or leave out written and punctuate"
        )
    return "en"


def _open(space: SearchSpace | None) -> SearchSpace | None:
    """That of the recogniser, if a call has a word list or a grammar of its own."""
    return space.base or space if space else None


def _sample(space: SearchSpace | None, tokens: Tokens) -> list[str]:
    """A sample of the words, or of the tokens if there are none."""
    space = _open(space)
    words = space.words if space else tokens.symbols
    return [word for word in words[:: len(words) // SAMPLE + 1] if word[:1] != "<"]  # sorted: Latin ones come first


def _are_upper(words: list[str]) -> bool:
    """Whether most are in capitals; a call may add some in small letters."""
    return sum(map(str.isupper, words)) > sum(word != word.upper() for word in words)


class Heard(Protocol):
    """What tells the language of a recogniser."""

    cfg: Config
    space: SearchSpace | None
    tokens: Tokens


@dataclass(frozen=True)
class Writing:
    """How the hypotheses of a recogniser are written.

    `remove`, `reject_below`: those of the decoder; see `in_writing`. `is_upper`: whether the words of the recogniser
    are in capitals, which then tell nothing.
    """

    lang: str
    has_forms: bool = True
    has_marks: bool = False
    remove: frozenset[str] = frozenset()
    reject_below: float = 0.0
    is_upper: bool = False

    def __call__(self, hypothesis: Hypothesis) -> Hypothesis:
        return self.marked(self.formed(hypothesis))

    def formed(self, hypothesis: Hypothesis) -> Hypothesis:
        """Numbers, dates, amounts and letters in written form. It may be called for each part of a recording."""
        if self.has_marks and self.is_upper:
            hypothesis = _without_capitals(hypothesis)
        return in_writing(hypothesis, self.lang, self.remove, self.reject_below) if self.has_forms else hypothesis

    def marked(self, hypothesis: Hypothesis, before: str = "", is_end: bool = True) -> Hypothesis:
        """Punctuation and capitals, for a hypothesis that has its forms; see `punctuated`."""
        return punctuated(hypothesis, trained(self.lang), before, is_end) if self.has_marks else hypothesis


def writing_of(recognizer: Heard, forms: bool, marks: bool, language: str | None = None) -> Writing | None:
    """`forms`, `marks`: whether these are asked for; None if neither is. `language`: None tells it by the words.

    Raises InputError for a language that has none, and if the words do not tell it.
    """
    if not forms and not marks:
        return None
    if language is not None and language not in LANGUAGES:
        raise InputError(f"language={language} has neither written forms nor punctuation; choose one of "
                         f"{', '.join(LANGUAGES)}, or leave out written and punctuate")  # fmt: skip
    lang = language or language_of(recognizer.space, recognizer.tokens)
    decoder = recognizer.cfg.decoder
    is_upper = lang == "en" and _are_upper(_sample(recognizer.space, recognizer.tokens))
    return Writing(lang, forms, marks, frozenset(decoder.remove), decoder.reject_below, is_upper)


def in_writing(
    hypothesis: Hypothesis, lang: str, remove: Collection[str] = (), reject_below: float = math.inf
) -> Hypothesis:
    """The hypothesis with its words, text and alternatives in written form.

    Forms span the words of `remove`, and others that the text leaves out though their confidence is at least
    `reject_below` (restarts): "twenty um five" is 25.
    """

    def is_removed(word: Word) -> bool:
        return word.word in remove or (not word.accepted and word.confidence >= reject_below)

    removed = [word for word in hypothesis.words if is_removed(word)]
    others = [word for word in hypothesis.words if not is_removed(word)]
    words: list[Word] = []
    for is_plain, run in [(is_plain, list(run)) for is_plain, run in groupby(others, key=_is_plain)]:
        words += _merged(run, lang) if is_plain else run
    words = sorted([*words, *removed], key=lambda word: word.start_s)
    alternatives = [Alternative(written(other.text, lang), other.cost) for other in hypothesis.alternatives]
    return replace(hypothesis, text=_text(words), words=words, alternatives=alternatives)


def punctuated(hypothesis: Hypothesis, tagger: Tagger, before: str = "", is_end: bool = True) -> Hypothesis:
    """The hypothesis with marks and capitals in its words, text and alternatives; words that are not accepted stay.

    It begins a sentence unless `before`, the text that it continues, ends within one. If `is_end`, it ends one.
    """
    is_start = not before or before[-1] in ".?!"

    def marked(words: list[str]) -> Iterator[str]:
        return iter(tagger.punctuated(words, is_start, is_end))

    parts = [word.word.split() if word.accepted else [] for word in hypothesis.words]  # of lists: several in one
    found = marked([part for word in parts for part in word])
    words = [
        replace(word, word=" ".join(islice(found, len(part)))) if word.accepted else word
        for word, part in zip(hypothesis.words, parts, strict=True)
    ]
    alternatives = [Alternative(" ".join(marked(other.text.split())), other.cost) for other in hypothesis.alternatives]
    return replace(hypothesis, text=_text(words), words=words, alternatives=alternatives)


def _text(words: list[Word]) -> str:
    return " ".join(word.word for word in words if word.accepted)


def _without_capitals(hypothesis: Hypothesis) -> Hypothesis:
    """The hypothesis in small letters; words that are not accepted stay."""
    words = [replace(word, word=word.word.lower()) if word.accepted else word for word in hypothesis.words]
    alternatives = [Alternative(other.text.lower(), other.cost) for other in hypothesis.alternatives]
    return replace(hypothesis, text=_text(words), words=words, alternatives=alternatives)


def _is_plain(word: Word) -> bool:
    """Whether it is accepted, and one word: entries of lists may hold spaces."""
    return word.accepted and word.word.split() == [word.word]


def _merged(words: list[Word], lang: str) -> Iterator[Word]:
    at = 0
    for count, form in spans([word.word for word in words], lang):
        run = words[at : at + count]
        confidence = min(word.confidence for word in run)
        yield Word(form, run[0].start_s, run[-1].end_s, confidence)
        at += count
