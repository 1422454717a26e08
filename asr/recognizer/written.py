"""Hypotheses as readers expect them: written forms ("five dollars" -> "$5"), punctuation and capitals.

Times and confidences stay with the words. A written word lasts from the start of the first to the end of the last
spoken word that it stands for, and has the lowest of their confidences. Words of low confidence stay as they are, and
no written word spans one.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import Protocol

from asr.config import Config
from asr.errors import InputError
from asr.hypothesis import Alternative, Hypothesis, Word
from asr.punctuation.file import trained
from asr.punctuation.tagger import Tagger, without_capitals
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
    all_words = space.words if space else tokens.symbols
    sample = all_words[:: len(all_words) // SAMPLE + 1]  # words are sorted: Latin ones come first
    letters = {letter for word in sample if word[:1] != "<" for letter in word if letter.isalpha()}
    if any("가" <= letter <= "힣" or "ᄀ" <= letter <= "ᇿ" or "ㄱ" <= letter <= "ㆎ" for letter in letters):
        return "ko"
    expected, known = _NUMBERS, (space.base or space).labels if space else dict.fromkeys(tokens.symbols)
    if not space or space.of_pieces:
        expected = _PIECES
    if 2 * sum(word in known or word.upper() in known for word in expected) < len(expected):
        raise InputError(
            "written forms and punctuation exist for English and Korean, and the words of this recogniser do not tell "
            "which of them it hears: name it (language=en of a call or request, spoken_language=en of asr transcribe), "
            "or leave out written and punctuate"
        )
    return "en"


class Heard(Protocol):
    """What tells the language of a recogniser."""

    cfg: Config
    space: SearchSpace | None
    tokens: Tokens


@dataclass(frozen=True)
class Writing:
    """How the hypotheses of a recogniser are written.

    `remove`: words that are left out of the text. Forms span them: "twenty um five" is 25.
    """

    lang: str
    has_forms: bool = True
    has_marks: bool = False
    remove: frozenset[str] = frozenset()

    def __call__(self, hypothesis: Hypothesis) -> Hypothesis:
        return self.marked(self.formed(hypothesis))

    def formed(self, hypothesis: Hypothesis) -> Hypothesis:
        """Numbers, dates, amounts and letters in written form. It may be called for each part of a recording."""
        if self.has_marks and self.lang == "en":
            hypothesis = _without_capitals(hypothesis)
        return in_writing(hypothesis, self.lang, self.remove) if self.has_forms else hypothesis

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
    return Writing(lang, forms, marks, frozenset(recognizer.cfg.decoder.remove))


def in_writing(hypothesis: Hypothesis, lang: str, remove: Collection[str] = ()) -> Hypothesis:
    """The hypothesis with its words, text and alternatives in written form.

    Forms span the words of `remove`, which are left out of the text: "twenty um five" is 25.
    """
    removed = [word for word in hypothesis.words if word.word in remove]
    others = [word for word in hypothesis.words if word.word not in remove]
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
    """The hypothesis in small letters if its text has none; words that are not accepted stay."""
    forms = iter(without_capitals([word.word for word in hypothesis.words if word.accepted]))
    words = [replace(word, word=next(forms)) if word.accepted else word for word in hypothesis.words]
    alternatives = [
        Alternative(" ".join(without_capitals(other.text.split())), other.cost) for other in hypothesis.alternatives
    ]
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
