"""Repairs of text before cleaning: typing errors, spacing, case. A repair is a function from text to text.

A configuration lists repairs by name: one of `REPAIRS`, or a file of replacements. Add a repair in Python:

    @repair.named("dashes")
    def dashes(text: str) -> str: ...
"""

import html
import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from asr.errors import InputError, missing
from asr.textfiles import lines

Repair = Callable[[str], str]
REPAIRS: dict[str, Repair] = {}
_REPEATED = re.compile(r"([^\W\d_])\1{2,}")
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,200}>")
_ENTITY = re.compile(r"&(#?\w{1,8})\s;")  # from tokenised text
MARK = re.compile(r"<[^<>\s]+>|\[[^\[\]]{1,40}\]|\{[^{}]{1,40}\}")  # noises and other events in transcripts
_WORD = re.compile(r"[^\W\d_]+")


def named(name: str) -> Callable[[Repair], Repair]:
    """Decorator that adds a repair to `REPAIRS`."""

    def add(repair: Repair) -> Repair:
        REPAIRS[name] = repair
        return repair

    return add


def repairs(names: Iterable[str]) -> dict[str, Repair]:
    """Name -> repair, in the given order. An unknown name with a dot or a slash is a file of replacements, see `table`.

    Raises InputError for a name that is neither, and for a malformed file.
    """
    found = {}
    for name in names:
        if name not in REPAIRS and not ("." in name or "/" in name):
            raise InputError(
                f"there is no repair '{name}'; choose one of {', '.join(sorted(REPAIRS))}, or name a file of "
                "replacements such as fixes.tsv"
            )
        found[name] = REPAIRS.get(name) or table(name)
    return found


def table(path: str | Path) -> Repair:
    """A repair from a file of lines "wrong<TAB>right". It replaces whole words and phrases, in any case.

    The longest phrase wins. White space in a phrase matches any white space. `right` may be empty. Empty lines and
    lines that begin with # are skipped. Raises InputError naming a line that is not of this form, or whose `wrong`
    appears on an earlier line.
    """
    right_of: dict[str, str] = {}
    for number, line in lines(path, "replacements", "wrong<TAB>right lines"):
        if line.startswith("#") or not line.strip():
            continue
        wrong, tab, right = unicodedata.normalize("NFC", line).partition("\t")
        key = _key(wrong)
        if not tab or "\t" in right or not key:
            raise InputError(f"{path}:{number}: expected wrong<TAB>right, found {line.strip()!r}")
        if key in right_of:
            raise InputError(f"{path}:{number}: '{wrong.strip()}' appears twice; keep one")
        right_of[key] = right.strip()
    if not right_of:
        raise InputError(f"{path}: 0 replacements; expected lines of wrong<TAB>right")
    pattern = re.compile(rf"(?<!\w){_any_of(right_of)}(?!\w)", re.IGNORECASE)
    return lambda text: pattern.sub(lambda m: right_of.get(_key(m[0]), m[0]), text)


def _key(phrase: str) -> str:
    return " ".join(phrase.lower().split())


def _any_of(phrases: Iterable[str]) -> str:
    """A pattern for all phrases that shares common prefixes, so that matching time does not grow with their number."""
    tree: dict[str, Any] = {}
    for phrase in phrases:
        node = tree
        for character in phrase:
            node = node.setdefault(character, {})
        node[""] = {}  # a phrase ends here

    def pattern(node: dict[str, Any]) -> str:
        chain = ""
        while len(node) == 1 and "" not in node:
            character, node = next(iter(node.items()))
            chain += r"\s+" if character == " " else re.escape(character)
        branches = [
            (r"\s+" if character == " " else re.escape(character)) + pattern(below)
            for character, below in sorted(node.items())
            if character
        ]
        if not branches:
            return chain
        return f"{chain}(?:{'|'.join(branches)}){'?' if '' in node else ''}"

    return pattern(tree)


@named("case")
def case(text: str) -> str:
    """Lines all in capitals become lower case, since their abbreviations and Roman numerals cannot be recognised. Words
    typed with caps lock on are corrected: "hELLO" -> "Hello".
    """
    if text.isupper() and len(_WORD.findall(text)) > 1:
        return text.lower()
    return _WORD.sub(lambda m: m[0].capitalize() if _is_inverted(m[0]) else m[0], text)


def _is_inverted(word: str) -> bool:
    return len(word) > 2 and word[0].islower() and word[1:].isupper()


@named("markup")
def markup(text: str) -> str:
    """Removes HTML tags and decodes HTML entities: "<b>rock &amp; roll</b>" -> " rock & roll "."""
    return html.unescape(_ENTITY.sub(r"&\1;", _TAG.sub(" ", text)))


@named("marks")
def marks(text: str) -> str:
    """Removes what transcripts write in brackets: "<noise> yes [laughter] {um}" -> "yes"."""
    return " ".join(MARK.sub(" ", text).split())


@named("repeats")
def repeats(text: str) -> str:
    """Three or more equal letters become two: "soooo" -> "soo", "ㅋㅋㅋㅋㅋ" -> "ㅋㅋ"."""
    return _REPEATED.sub(r"\1\1", text)


@named("spacing")
def spacing(text: str) -> str:
    """Corrects the spacing of Korean words with kiwipiepy. Raises InputError if kiwipiepy is not installed."""
    return _kiwi().space(text)


@cache
def _kiwi() -> Any:
    try:
        from kiwipiepy import Kiwi
    except ImportError as e:
        raise InputError(missing("korean", "the repair 'spacing'", "kiwipiepy")) from e
    return Kiwi(num_workers=1)
