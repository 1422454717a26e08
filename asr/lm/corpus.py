"""Text as one array of word ids."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from asr.errors import InputError
from asr.lm.model import MARKS
from asr.lm.texts import check_words

UNKNOWN_ID, BEGIN_ID, END_ID = range(3)
_BLOCK = 1 << 20  # words


@dataclass(frozen=True)
class Corpus:
    words: list[str]  # id -> word; the marks `<unk> <s> </s>` first, then words in code point order
    tokens: np.ndarray  # (T,) int32; `<s>` and `</s>` around each sentence

    @property
    def num_sentences(self) -> int:
        return int(np.count_nonzero(self.tokens == BEGIN_ID))

    @property
    def num_words(self) -> int:
        """Running words, `<unk>` among them, the marks of sentences not."""
        return len(self.tokens) - 2 * self.num_sentences

    @property
    def num_unknown(self) -> int:
        return int(np.count_nonzero(self.tokens == UNKNOWN_ID))


def encode(texts: Iterable[str], vocabulary: Iterable[str] | None = None, min_count: int = 1) -> Corpus:
    """Words are what stands between white space; sentences without words are passed over.

    The model's words are those of `vocabulary`, heard or not, or else those seen at least `min_count` times. Others
    become `<unk>`. Raises InputError for a sentence that holds one of the marks, for a `min_count` below 1 or beside a
    vocabulary, and when no word is left.
    """
    if min_count < 1 or (min_count > 1 and vocabulary is not None):
        raise InputError(f"lm.min_count is {min_count}; it is 1 or more, and 1 where lm.vocabulary lists the words")
    ids: dict[str, int] = defaultdict(lambda: len(ids))
    for mark in MARKS:
        ids[mark]
    tokens = _numbered(texts, ids)
    seen = list(ids)
    counts = np.bincount(tokens, minlength=len(seen))
    if vocabulary is None:
        kept = [word for word, count in zip(seen, counts, strict=True) if count >= min_count and word not in MARKS]
    else:
        kept = list(set(vocabulary) - set(MARKS))
    if not kept or len(seen) == len(MARKS):
        raise InputError(
            f"no word to estimate a language model of: the text holds {len(seen) - len(MARKS)} different words, "
            f"{len(kept)} are kept; check the text, the vocabulary and min_count"
        )
    words = [*MARKS, *sorted(kept)]
    new_ids = {word: i for i, word in enumerate(words)}
    renumber = np.array([new_ids.get(word, UNKNOWN_ID) for word in seen], np.int32)
    return Corpus(words, renumber[tokens])


def _numbered(texts: Iterable[str], ids: dict[str, int]) -> np.ndarray:
    blocks = []
    block: list[int] = []
    for number, text in enumerate(texts, 1):
        words = check_words(text, f"sentence {number}").split()
        if words:
            block += [BEGIN_ID, *map(ids.__getitem__, words), END_ID]
        if len(block) >= _BLOCK:
            blocks.append(np.array(block, np.int32))
            block = []
    return np.concatenate([*blocks, np.array(block, np.int32)])
