"""Words in pieces, the tokens of SentencePiece and BPE models. `▁` begins a word: ▁re cogn ition.

A model may output a word in other pieces than its tokenizer would choose. A word therefore gets several segmentations,
as others get several pronunciations: those with the fewest pieces, and that of BPE.
"""

from collections.abc import Iterable, Sequence

from asr.tokens import BLANK, SPACE, Tokens

BEGIN = "▁"
MOST = 4  # segmentations of a word, besides that of BPE


def segmentations(word: str, pieces: Tokens, most: int = MOST) -> list[tuple[str, ...]]:
    """The `most` segmentations of a word with the fewest pieces; among equals, those with longer first pieces. Then
    that of BPE, if it is another one.

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
    by_bpe = merged(word, pieces)
    is_new = by_bpe not in found[-1] and all(part in pieces and part not in (BLANK, SPACE) for part in by_bpe)
    return [*found[-1], by_bpe] if is_new else found[-1]


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


def words_of(pieces: Sequence[str]) -> list[slice]:
    """The parts of a sequence that are words: each begins at a piece with `▁`, the first one anyway."""
    starts = [i for i, piece in enumerate(pieces) if i == 0 or piece.startswith(BEGIN)]
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], len(pieces)], strict=True)]


def joined(pieces: Iterable[str]) -> str:
    return " ".join("".join(pieces).replace(BEGIN, " ").split())
