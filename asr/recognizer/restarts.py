"""Restarts: words that a speaker says again, and that may be left out of the text (`decoder.remove_restarts`).

    I I want -> I want        그 그러면 -> 그러면        저 저 저는 -> 저는

Many words are repeated on purpose: very very, no no, that that, five five, New York New York, 빨리 빨리, 네 네. So only
words that are hardly ever repeated otherwise count: pronouns, articles, prepositions and conjunctions. In Korean the
first syllables of such a word before it count, too.
"""

from collections.abc import Sequence
from itertools import groupby
from string import ascii_lowercase

_ENGLISH = (
    "i i'm i've i'll i'd we we're we've we'll they they're they've she he he's it's there's the an and but or if "
    "because of for from with at as into than their our your its"
).split()
_KOREAN = (
    "저 저는 저도 저희 저희가 저희는 제가 나는 나도 내가 우리 우리가 우리는 그 그게 그건 그거 그것은 그래서 그러면 "
    "그러니까 그런데 그렇지만 그리고 그런 그렇게 그냥 근데 하지만 이게 이건 이거 이런 이렇게 이제 어떤 어떻게 왜냐하면 "
    "때문에 만약에"
).split()
_ALSO_OTHERS = ("그래 그래서", "이 이런")  # right, so; these two
_LETTERS = frozenset(ascii_lowercase)
_ALSO_REPEATED = "이렇게 그렇게 어떻게 그냥 이런".split()  # like this and this; somehow; so-so; dear me
_WHOLE = frozenset(_ENGLISH + _KOREAN) - {*_ALSO_REPEATED}
_BEGUN = frozenset(
    pair
    for word in _KOREAN
    for length in range(1, len(word))
    if (pair := f"{word[:length]} {word}") not in _ALSO_OTHERS
)


def are_restarts(words: Sequence[str]) -> list[bool]:
    """Whether each word is a restart: it, or a word that it begins, follows at once."""
    runs = [(word, len(list(run))) for word, run in groupby(word.lower() for word in words)]
    found = [word for word, _ in runs]
    flags: list[bool] = []
    for (word, count), before, after in zip(runs, ["", *found], [*found[1:], ""], strict=False):
        is_spelled = word in _LETTERS and not _LETTERS.isdisjoint((before, after))  # h a w a i i
        flags += [word in _WHOLE and not is_spelled] * (count - 1) + [f"{word} {after}" in _BEGUN]
    return flags


def without_restarts(text: str) -> str:
    words = text.split()
    return " ".join(word for word, is_restart in zip(words, are_restarts(words), strict=True) if not is_restart)
