"""Checks of words, lexicon and tokens before a graph is built.

Input that would break the build is an error. Words that only cannot be recognised are left out with a warning.
"""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from asr.errors import InputError
from asr.text.lexicon import Lexicon, name_some
from asr.tokens import BLANK, Tokens
from asr.words import mark_of

PICTURES = tuple(f"{name}.svg" for name in ("H", "L", "G", "LG", "HLG"))  # drawings of a graph
_NAMES_OF_MANY = ("lexicon.txt", "words.txt", "tokens.txt")  # files of a graph whose names others use, too
_AUXILIARY = re.compile(r"#\d+")
_UNWRITABLE = re.compile(r"<eps>|#\d+|;;;.*|.+\(\d+\)|.*\s.*|", re.DOTALL)  # not allowed in words.txt or lexicon.txt
_log = logging.getLogger(__name__)


def check_folder(folder: Path) -> None:
    """Raises InputError for files that a build would replace in a folder that holds no graph: they are another's."""
    names = () if (folder / "stats.json").exists() else (*_NAMES_OF_MANY, *PICTURES)
    if found := next((folder / name for name in names if (folder / name).exists()), None):
        raise InputError(
            f"{found} would be replaced, but {folder} holds no graph; choose another folder with graph.dir="
        )


def check(words: Iterable[str], lexicon: Lexicon, tokens: Tokens, silence: str | None = None,
          separator: str | None = None,
          log10_prob: np.ndarray | None = None) -> tuple[list[str], Lexicon, list[str]]:  # fmt: skip
    """Returns the words that the graph can hold, in order; their lexicon, in units of the token table; the words left
    out.

    log10_prob: (W,) unigram log10 probabilities. With them, the words left out are sorted by probability, and the
    warnings give the probability mass lost.

    Raises InputError if the silence or separator is not a token; if a pronunciation is empty, contains `#k` or the
    blank, or begins or ends with the separator; and if no word is left.
    """
    for symbol in filter(None, (silence, separator)):
        if symbol not in tokens:
            raise InputError(
                f"'{symbol}' may stand between words but is not in the token table; add it to the table or unset it"
            )
    foreign = _check_lexicon(lexicon, tokens, separator)
    words = list(words)
    lost = {} if log10_prob is None else dict(zip(words, (10.0**log10_prob).tolist(), strict=True))
    spoken = [word for word in dict.fromkeys(words) if not mark_of(word)]  # marks are never spoken
    kept: dict[str, list[tuple[str, ...]]] = {}
    unwritable, unknown, unspellable = [], [], []
    for word in spoken:
        spellings = lexicon.pronunciations.get(word)
        if _UNWRITABLE.fullmatch(word):
            unwritable.append(word)
        elif spellings is None:
            unknown.append(word)
        elif fitting := spellings if not foreign else [s for s in spellings if foreign.isdisjoint(s)]:
            kept[word] = fitting
        else:
            unspellable.append(word)
    left_out = []
    for found, complaint in ((unwritable, "have names that are reserved in word tables and lexicons"),
                             (unknown, "have no pronunciation in the lexicon"),
                             (unspellable, "have no pronunciation in units of the token table")):  # fmt: skip
        found.sort(key=lambda word: -lost.get(word, 0.0))
        _warn(found, len(spoken), complaint, lost)
        left_out += found
    if not kept:
        raise InputError(
            f"none of the {len(spoken)} words can be put into the graph: {len(unknown)} are not in the lexicon "
            f"({name_some(unknown) or 'none'}), {len(unspellable)} have units outside the token table "
            f"({name_some(unspellable) or 'none'}); give a lexicon of these words in the net's tokens"
        )
    return list(kept), Lexicon(kept, lexicon.probabilities), left_out


def homophones(lexicon: Lexicon) -> int:
    """The number of words that share a pronunciation with another word. They are logged: only the language model can
    distinguish them."""
    first: dict[tuple[str, ...], str] = {}
    alike: dict[str, str] = {}
    for word, units in lexicon.items():
        other = first.setdefault(units, word)
        if other != word:
            alike[word] = f"{word} = {other}"
            alike.setdefault(other, "")
    if alike:
        pairs = [pair for pair in alike.values() if pair]
        _log.info("%d of %d words are homophones: %s", len(alike), len(lexicon), name_some(pairs))
    return len(alike)


def _check_lexicon(lexicon: Lexicon, tokens: Tokens, separator: str | None) -> set[str]:
    """Check the pronunciations as `check` says; returns the units that are not in the token table."""
    units = {unit for spellings in lexicon.pronunciations.values() for spelling in spellings for unit in spelling}
    foreign = {unit for unit in units if unit not in tokens}
    marks = {unit for unit in foreign if _AUXILIARY.fullmatch(unit)}
    entries = lexicon.items
    _reject("have an empty pronunciation; write 'word unit unit ...'", (w for w, units in entries() if not units))
    if marks:
        _reject(
            "have a disambiguation symbol (#1, #2 ...) in their pronunciation; remove it, the graph adds its own",
            (w for w, units in entries() if not marks.isdisjoint(units)),
        )
    if BLANK in units:
        _reject(f"have {BLANK} in their pronunciation; remove it, the blank is not a unit of speech",
                (w for w, units in entries() if BLANK in units))  # fmt: skip
    if separator in units:
        _reject(
            f"begin or end with {separator}; remove it, the graph inserts it between words",
            (w for w, units in entries() if separator in (units[0], units[-1])),
        )
    return foreign


def _reject(complaint: str, words: Iterable[str]) -> None:
    found: Sequence[str] = list(words)
    if found:
        raise InputError(f"{len(found)} words of the lexicon {complaint}: {name_some(found)}")


def _warn(words: Sequence[str], total: int, complaint: str, lost: Mapping[str, float]) -> None:
    if not words:
        return
    share = 100 * sum(lost.get(word, 0.0) for word in words)
    mass = f"; the language model gives them {share:.2g} % of its unigram probability" if lost else ""
    _log.warning("%d of %d words %s and are left out: %s%s", len(words), total, complaint, name_some(words), mass)
