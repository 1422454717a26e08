"""Hypotheses in written form: "five dollars" -> "$5". Times and confidences stay with the words.

A written word lasts from the start of the first to the end of the last spoken word that it stands for, and has the
lowest of their confidences. Words of low confidence stay as they are, and no written word spans one.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import groupby

from asr.errors import InputError
from asr.hypothesis import Alternative, Hypothesis, Word
from asr.search.space import SearchSpace
from asr.text.written import spans, written
from asr.tokens import Tokens

SAMPLE = 5000  # words that are searched for Hangul
_NUMBERS = "one two three four five six seven eight nine ten".split()


def language_of(space: SearchSpace | None, tokens: Tokens) -> str:
    """The language by the words: Korean if some are in Hangul, English if its numbers are among them.

    Without words, by the letters of the tokens. Raises InputError for another language.
    """
    all_words = space.words if space else tokens.symbols
    sample = all_words[:: len(all_words) // SAMPLE + 1]  # words are sorted: Latin ones come first
    words = [word for word in sample if word[:1] != "<"]
    letters = {letter for word in words for letter in word.lower() if letter.isalpha()}
    if any("가" <= letter <= "힣" or "ᄀ" <= letter <= "ᇿ" or "ㄱ" <= letter <= "ㆎ" for letter in letters):
        return "ko"
    if space and not space.of_pieces:
        known = (space.base or space).labels
        is_english = sum(number in known or number.upper() in known for number in _NUMBERS) >= len(_NUMBERS) / 2
    else:
        is_english = bool(letters) and all("a" <= letter <= "z" for letter in letters)
    if not is_english:
        raise InputError(
            "written forms exist for English and Korean; the words of this recogniser are neither in Hangul nor do "
            "they include English numbers: leave out written=true"
        )
    return "en"


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
    text = " ".join(word.word for word in words if word.accepted)
    alternatives = [Alternative(written(other.text, lang), other.cost) for other in hypothesis.alternatives]
    return replace(hypothesis, text=text, words=words, alternatives=alternatives)


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
