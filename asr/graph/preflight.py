"""Checks before a graph is built: seconds here instead of hours later.

What would harm the build is an error; what can only not be recognised is named in a warning and left out.
"""

import logging
import re
from collections.abc import Iterable, Sequence

from asr.errors import InputError
from asr.lm.model import MARKS
from asr.text.lexicon import Lexicon, name_some
from asr.tokens import BLANK, Tokens

NOT_WORDS = frozenset({*MARKS, "<UNK>"})  # never spoken
_AUXILIARY = re.compile(r"#\d+")
_UNWRITABLE = re.compile(r"<eps>|#\d+|;;;.*|.+\(\d+\)|.*\s.*|", re.DOTALL)  # in words.txt or lexicon.txt
_log = logging.getLogger(__name__)


def check(words: Iterable[str], lexicon: Lexicon, tokens: Tokens, silence: str | None = None,
          separator: str | None = None) -> tuple[list[str], Lexicon, list[str]]:  # fmt: skip
    """The words that a graph can hold, in their order; their lexicon, in tokens of the table; the words left out.

    Raises InputError for a silence or separator that is no token, for a lexicon that carries its own `#k`, empty
    spellings, blanks, or separators at the edge of a word, and when no word is left.
    """
    for symbol in filter(None, (silence, separator)):
        if symbol not in tokens:
            raise InputError(f"'{symbol}' is to stand between words but is not in the token table")
    _check_lexicon(lexicon, tokens, separator)
    words = [word for word in dict.fromkeys(words) if word not in NOT_WORDS]
    unwritable = {word: None for word in words if _UNWRITABLE.fullmatch(word)}
    known = [word for word in words if word in lexicon and word not in unwritable]
    spellable = {word: [u for u in lexicon.pronunciations[word] if all(t in tokens for t in u)] for word in known}
    kept = [word for word in known if spellable[word]]
    unknown = [word for word in words if word not in lexicon and word not in unwritable]
    unspellable = [word for word in known if not spellable[word]]
    _warn(list(unwritable), len(words), "have names with a meaning of their own in word tables and lexicons")
    _warn(unknown, len(words), "have no pronunciation in the lexicon")
    _warn(unspellable, len(words), "have no pronunciation in units of the token table")
    if not kept:
        raise InputError(
            f"none of the {len(words)} words can be built into the graph: {len(unknown)} are not in the lexicon "
            f"({name_some(unknown) or 'none'}), {len(unspellable)} have units outside the token table "
            f"({name_some(unspellable) or 'none'}); give a lexicon of these words in the net's tokens"
        )
    return kept, Lexicon({word: spellable[word] for word in kept}), [*unwritable, *unknown, *unspellable]


def _check_lexicon(lexicon: Lexicon, tokens: Tokens, separator: str | None) -> None:
    entries = list(lexicon.items())
    _reject("have an empty pronunciation; write 'word unit unit ...'", (w for w, units in entries if not units))
    _reject(
        "have a disambiguation symbol (#1, #2 ...) in their pronunciation; take it out, the graph adds its own",
        (w for w, units in entries if any(_AUXILIARY.fullmatch(u) and u not in tokens for u in units)),
    )
    _reject(f"have {BLANK} in their pronunciation; the blank spells nothing", (w for w, u in entries if BLANK in u))
    _reject(
        f"begin or end with {separator}, which the graph puts between words; take it out of the lexicon",
        (w for w, units in entries if separator and separator in (units[0], units[-1])),
    )


def _reject(complaint: str, words: Iterable[str]) -> None:
    found: Sequence[str] = list(words)
    if found:
        raise InputError(f"{len(found)} words of the lexicon {complaint}: {name_some(found)}")


def _warn(words: Sequence[str], total: int, complaint: str) -> None:
    if words:
        _log.warning("%d of %d words %s and are left out: %s", len(words), total, complaint, name_some(words))
