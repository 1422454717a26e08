"""A pronunciation lexicon of Korean letters, for HMMs: each syllable by the phones that its letters usually stand for.

Letters that sound alike today share a phone (ㅐ and ㅔ), the mute ㅇ at the beginning of a syllable has none, and a
final letter is another phone than the same letter at the beginning. What the neighbours change (국물 is spoken 궁물) is
left to the contexts of the HMMs. So a syllable has one lexicon entry whatever stands beside it, and a language model
of syllables can be searched.
"""

import unicodedata
from collections.abc import Iterable
from itertools import product

from asr.pieces import BEGIN
from asr.text.lexicon import Lexicon, Spelled

_ALIKE = str.maketrans("ᅢᅤᅫᅬ", "ᅦᅨᅰᅰ")
_FINALS = {  # letters whose sound is that of others, or missing; two variants where it depends on what follows
    "ᆩ": ["ᆨ"], "ᆿ": ["ᆨ"], "ᆪ": ["ᆨ", "ᆨᆺ"], "ᆬ": ["ᆫ", "ᆫᆽ"], "ᆭ": ["ᆫ"], "ᆰ": ["ᆨ", "ᆯᆨ"], "ᆱ": ["ᆷ", "ᆯᆷ"],
    "ᆲ": ["ᆯ", "ᆸ", "ᆯᆸ"], "ᆳ": ["ᆯ", "ᆯᆺ"], "ᆴ": ["ᆯ", "ᆯᇀ"], "ᆵ": ["ᆸ", "ᆯᇁ"], "ᆶ": ["ᆯ"], "ᆹ": ["ᆸ", "ᆸᆺ"],
    "ᇂ": ["", "ᇂ"],
}  # fmt: skip
_CONSONANTS = dict(zip("ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ", map(chr, range(0x1100, 0x1113)), strict=True))


def pronunciations(word: str) -> list[tuple[str, ...]]:
    """The phones of a word, one sequence per combination of variants. No sequence for a word that is not all Hangul."""
    variants = [_of_syllable(letter) for letter in word]
    return [tuple(part for parts in chosen for part in parts) for chosen in product(*variants)]


def _of_syllable(letter: str) -> list[str]:
    if letter in _CONSONANTS:  # alone, as in ㅋㅋ: with the weakest vowel
        return [(_CONSONANTS[letter] + "ᅳ").removeprefix("ᄋ")]
    if not "가" <= letter <= "힣":
        return []
    begin, vowel, *final = list(unicodedata.normalize("NFD", letter))
    head = begin.replace("ᄋ", "") + vowel.translate(_ALIKE)
    return [head + end for end in _FINALS.get(final[0], final)] if final else [head]


def letter_lexicon(texts: Iterable[str]) -> Lexicon:
    """The lexicon of all words of the texts, and of their syllables, as language models of characters have them: with
    and without the mark of a word's beginning."""
    words = {word: None for text in texts for word in text.split()}
    letters = {letter: None for word in words for letter in word}
    spelled: Spelled = {word: pronunciations(word) for word in words}
    for letter in letters:
        spelled[letter] = spelled[BEGIN + letter] = pronunciations(letter)
    return Lexicon({word: variants for word, variants in spelled.items() if variants})
