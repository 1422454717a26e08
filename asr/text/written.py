"""Spoken words as they are written: numbers, dates, times, amounts, units, letters. The opposite of `spoken`.

Grammars (asr/text/en/written.py, asr/text/ko/written.py) are compiled at first use, in one to three seconds, and kept.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING

from asr.errors import InputError
from asr.text.clean import LANGUAGES

if TYPE_CHECKING:
    import pynini

_compiling = Lock()
BLOCK, MARGIN = 200, 40  # words rewritten at once; those at the end are rewritten again with what follows


def written(text: str, lang: str) -> str:
    """`text`, words between spaces, as it is written: "five dollars" -> "$5", "세 시 십오 분" -> "3시 15분".

    Whitespace becomes single spaces. Words that no grammar rewrites stay as they are. Raises InputError if `lang` is
    not en or ko.
    """
    return " ".join(form for _, form in spans(text.split(), lang))


def spans(words: Sequence[str], lang: str) -> list[tuple[int, str]]:
    """What is written for `words`: (how many of them, one written word), in order. The numbers add up to all."""
    if lang not in LANGUAGES:
        raise InputError(f"there are no written forms for the language '{lang}'; choose one of {', '.join(LANGUAGES)}")
    found: list[tuple[int, str]] = []
    at = 0
    while at < len(words):
        stop = len(words) if at + BLOCK >= len(words) else at + BLOCK - MARGIN
        for rewrite in _rewritten(words[at : at + BLOCK], lang):
            if at >= stop:
                break
            found += rewrite
            at += sum(count for count, _ in rewrite)
    return found


def _rewritten(words: Sequence[str], lang: str) -> Iterator[list[tuple[int, str]]]:
    from asr.text.rewriting import rewritten

    plain = [word.lower().replace("\0", "\ufffd") for word in words]  # label 0 is epsilon
    at = 0
    for rewrite in rewritten(" ".join(plain), _grammar(lang)):
        forms = []
        for count, form in rewrite:
            forms.append((count, words[at] if count == 1 and form == plain[at] else form))
            at += count
        yield forms


def _grammar(lang: str) -> "pynini.Fst":
    with _compiling:  # another thread that needs it waits, and does not compile it, too
        return _compiled(lang)


@cache
def _compiled(lang: str) -> "pynini.Fst":
    if lang == "ko":
        from asr.text.ko import written
    else:
        from asr.text.en import written  # type: ignore[no-redef]
    return written.grammar()
