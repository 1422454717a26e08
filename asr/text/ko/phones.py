"""The phones of Korean: 18 initials, 21 vowels and 7 codas.

    initials   g kk n d tt r m b pp s ss j jj ch k t p h
    vowels     a ae ya yae eo e yeo ye o wa wae oe yo u wo we wi yu eu ui i
    codas      K N T L M P NG

The names are those of the Revised Romanization. Codas are in capitals, as they are other sounds than initials: they
are not released. 국물, spoken 궁물, is `g u NG m u L`. No symbol tells the place in the word, the length of a vowel or
the pitch.
"""

from collections.abc import Collection

from asr.text.ko.syllables import CODAS, FIRST, INITIALS, NUM_CODAS, VOWELS

_INITIAL = dict(zip(INITIALS, "g kk n d tt r m b pp s ss - j jj ch k t p h".split(), strict=True))
_VOWEL = dict(zip(VOWELS, "a ae ya yae eo e yeo ye o wa wae oe yo u wo we wi yu eu ui i".split(), strict=True))
_CODA = dict(zip("ㄱㄴㄷㄹㅁㅂㅇ", "K N T L M P NG".split(), strict=True))
PHONES = (*(phone for phone in _INITIAL.values() if phone != "-"), *_VOWEL.values(), *_CODA.values())
_COMMON = ("a", "eo", "o", "u", "eu", "i")  # vowels that no Korean lexicon of some size lacks


def _phones(code: int) -> tuple[str, ...]:
    initial, rest = divmod(code, len(VOWELS) * NUM_CODAS)
    vowel, coda = divmod(rest, NUM_CODAS)
    consonant = _INITIAL[INITIALS[initial]]
    return (*(() if consonant == "-" else (consonant,)), _VOWEL[VOWELS[vowel]], *filter(None, [_CODA.get(CODAS[coda])]))


_OF = {
    chr(FIRST + code): _phones(code)
    for code in range(len(INITIALS) * len(VOWELS) * NUM_CODAS)
    if CODAS[code % NUM_CODAS] in " ㄱㄴㄷㄹㅁㅂㅇ"
}


def phones(spoken: str) -> tuple[str, ...]:
    """The phones of syllables as they are spoken (궁물), which have none but the 7 codas."""
    return tuple(phone for syllable in spoken for phone in _OF[syllable])


def are_korean(tokens: Collection[str]) -> bool:
    """Whether a net with these tokens outputs the phones of this module."""
    return all(vowel in tokens for vowel in _COMMON)
