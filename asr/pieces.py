"""Words in pieces, the tokens of SentencePiece and BPE models. `▁` begins a word: ▁re cogn ition.

A model may output a word in other pieces than its tokenizer would choose. A word therefore gets several segmentations,
as others get several pronunciations: those with the fewest pieces, and that of BPE.
"""

from collections.abc import Collection, Container, Iterable, Sequence
from itertools import pairwise

from asr.errors import InputError
from asr.tokens import BLANK, SPACE, Tokens
from asr.words import is_slot

BEGIN = "▁"
MOST = 4  # segmentations of a word, besides that of BPE
_FEWEST = 0.005  # share of the pieces of a vocabulary that begin words; texts of words have hardly any such word


def segmentations(word: str, pieces: Tokens, most: int = MOST) -> list[tuple[str, ...]]:
    """The segmentations `fewest(word, pieces, most)`, then that of BPE, if it is another one."""
    found, by_bpe = fewest(word, pieces, most), merged(word, pieces)
    is_new = by_bpe not in found and all(part in pieces and part not in (BLANK, SPACE) for part in by_bpe)
    return [*found, by_bpe] if is_new else found


def fewest(word: str, pieces: Container[str], most: int) -> list[tuple[str, ...]]:
    """The `most` segmentations of a word with the fewest pieces; among equals, those with longer first pieces.

    None for a word that the pieces cannot spell.
    """
    text = BEGIN + word
    found: list[list[tuple[str, ...]]] = [[()]]  # by end: the best segmentations of the text so far
    for end in range(1, len(text) + 1):
        own = [
            (*before, text[start:end])
            for start in range(end)
            if found[start] and text[start:end] in pieces and text[start:end] not in (BLANK, SPACE)
            for before in found[start]
        ]
        own.sort(key=lambda parts: (len(parts), *(-len(part) for part in parts)))
        found.append(own[:most])
    return found[-1]


def merged(word: str, pieces: Tokens) -> tuple[str, ...]:
    """The segmentation that BPE chooses: neighbours are joined while they form a piece, the first in the table first.

    SentencePiece's tables list the pieces of BPE in the order in which they were learned. Characters that are no pieces
    stay.
    """
    parts = list(BEGIN + word)
    while ranks := [
        (pieces.encode([joint])[0], at)
        for at, joint in enumerate(map("".join, zip(parts, parts[1:], strict=False)))
        if joint in pieces
    ]:
        _, at = min(ranks)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return tuple(parts)


class Segmenter:
    """The pieces of words as a net is trained on: those of BPE, or the fewest if BPE's are not all in the table."""

    def __init__(self, pieces: Tokens):
        self._pieces, self._known = pieces, dict[str, tuple[str, ...]]()

    def pronounce(self, word: str) -> tuple[str, ...]:
        """A word that the table cannot spell keeps characters that are no pieces. One with `▁`, which would be read as
        two words, is one piece, which no table has."""
        if BEGIN in word:
            return (BEGIN + word,)
        if word not in self._known:
            parts = merged(word, self._pieces)
            is_spelled = all(part in self._pieces for part in parts)
            self._known[word] = parts if is_spelled else next(iter(fewest(word, self._pieces, 1)), parts)
        return self._known[word]


def spread(text: str) -> str:
    """A text with its characters as pieces: `to be` -> `▁t o ▁b e`. Raises InputError for a slot."""
    if "<" in text and (slot := next(filter(is_slot, text.split()), None)):
        raise InputError(f"the slot {slot} needs a language model of words; set lm.unit=word, or leave it out")
    return " ".join(" ".join((BEGIN + word[0], *word[1:])) for word in text.split())


def are_pieces(words: Collection[str]) -> bool:
    """Whether the vocabulary of a language model consists of pieces of words."""
    return sum(word.startswith(BEGIN) and len(word) > 1 for word in words) > _FEWEST * len(words)


def whole(word: str) -> str:
    """A word as one piece that is no part of other words: `▁um▁`."""
    return BEGIN + word + BEGIN


def is_whole(piece: str) -> bool:
    return len(piece) > 2 and piece[0] == piece[-1] == BEGIN


def letters_of(piece: str) -> str:
    """What a piece spells, without the marks of the word's ends."""
    return piece[1:-1] if is_whole(piece) else piece.removeprefix(BEGIN)


def words_of(pieces: Sequence[str]) -> list[slice]:
    """The parts of a sequence that are words: each begins at a piece with `▁` or behind a whole word, the first one
    anyway."""
    starts = [i for i, piece in enumerate(pieces) if i == 0 or piece.startswith(BEGIN) or is_whole(pieces[i - 1])]
    return [slice(start, end) for start, end in pairwise([*starts, len(pieces)])]


def joined(pieces: Iterable[str]) -> str:
    return " ".join("".join(pieces).replace(BEGIN, " ").split())
