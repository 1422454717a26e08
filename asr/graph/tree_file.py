"""tree.bin: the lexicon as sorted spellings, mapped by the search and read as a tree (layout: csrc/decoder/tree.h)."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.errors import InputError
from asr.graph.lexicon_fst import Spellings
from asr.graph.mapped_file import aligned, lines_of, read_parts, text_of, write_parts
from asr.tokens import EPSILON_LABEL, Tokens

HEADER = np.dtype(
    [("magic", "S8")]
    + [(name, "<u4") for name in ("version", "num_words", "num_spellings", "num_labels", "num_suffixes")]
    + [(name, "<i4") for name in ("max_label", "silence", "separator")]
    + [("words_bytes", "<u8"), ("num_bytes", "<u8")]
)
SUFFIX = np.dtype([("label", "<u4"), ("next", "<u4")])
_MOST_LABELS = 1 << 16


def write_tree(words: Sequence[str], spellings: Spellings, path: str | Path) -> None:
    """Write `words`, which get the output labels 1..W, and their spellings. The file is replaced atomically.

    Raises InputError for token numbers that do not fit into 16 bits.
    """
    spoken = spellings.word > 0  # not silence
    first, length = spellings.first[spoken], spellings.length[spoken]
    if max(int(spellings.labels.max()), spellings.separator or 0) >= _MOST_LABELS:
        raise InputError(f"the lexicon uses token labels of {_MOST_LABELS} and above; a dynamic graph cannot hold them")
    raw = spellings.labels.astype(">u2").tobytes()
    keys = [raw[2 * a : 2 * b] for a, b in zip(first.tolist(), (first + length).tolist(), strict=True)]
    order = np.array(sorted(range(len(keys)), key=keys.__getitem__))
    labels = np.frombuffer(b"".join(keys[i] for i in order), ">u2").astype("<u2")
    length = length[order]
    begin = np.concatenate([[0], np.cumsum(length)])
    suffix, suffixes = _suffixes(labels, begin[1:], length)
    names = text_of(words)
    header = np.zeros((), HEADER)
    header["magic"], header["version"] = b"asrwords", 1
    header["num_words"], header["num_spellings"], header["num_labels"] = len(words), len(order), len(labels)
    header["num_suffixes"], header["words_bytes"] = len(suffixes), len(names)
    header["silence"], header["separator"] = spellings.silence or 0, spellings.separator or 0
    header["max_label"] = max(int(labels.max()), spellings.silence or 0, spellings.separator or 0)
    parts = [begin.astype("<u4"), spellings.word[spoken][order].astype("<u4"), labels, suffix, suffixes, names]
    if spellings.cost is not None:
        parts.append(spellings.cost[spoken][order].astype("<f4"))
    write_parts(path, header, parts)


def _suffixes(labels: np.ndarray, end: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number (L,) of the suffix that begins at each label, and the distinct suffixes (S,): the empty one, then by
    length."""
    of_label = np.zeros(len(labels), "<u4")
    known = np.zeros(len(end), np.int64)  # number of each spelling's suffix of the current length
    columns = [np.zeros(1, SUFFIX)]
    count = 1
    for size in range(1, int(length.max()) + 1):
        long_enough = np.flatnonzero(length >= size)
        place = end[long_enough] - size
        key = known[long_enough] * _MOST_LABELS + labels[place]
        order = np.argsort(key)
        is_new = np.diff(key[order], prepend=-1) > 0
        number = np.empty(len(key), np.int64)
        number[order] = count - 1 + np.cumsum(is_new)
        fresh = np.empty(int(is_new.sum()), SUFFIX)
        fresh["next"], fresh["label"] = np.divmod(key[order][is_new], _MOST_LABELS)
        columns.append(fresh)
        count += len(fresh)
        known[long_enough] = number
        of_label[place] = number
    return of_label, np.concatenate(columns)


class Tree:
    """A mapped tree.bin. `data` is passed to the search. Raises InputError for a damaged file."""

    def __init__(self, data: NDArray[np.uint8], name: str):
        self.data = aligned(data)
        header, parts_in = read_parts(self.data, HEADER, name)
        self.first = parts_in.take(np.uint32, int(header["num_spellings"]) + 1)
        self.word = parts_in.take(np.uint32, header["num_spellings"])
        self.labels = parts_in.take(np.uint16, header["num_labels"])
        parts_in.take(np.uint32, header["num_labels"])
        parts_in.take(SUFFIX, header["num_suffixes"])
        self.words = [
            "<eps>",
            *lines_of(parts_in.take(np.uint8, header["words_bytes"]), int(header["num_words"]), name),
        ]  # by output label
        has_costs = parts_in.place < len(data)  # files without probabilities end here
        self.cost = parts_in.take(np.float32, header["num_spellings"]) if has_costs else None

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Word -> output label."""
        return {word: label for label, word in enumerate(self.words)}

    @cached_property
    def _by_word(self) -> tuple[np.ndarray, np.ndarray]:
        """Spelling numbers sorted by word, and the first position of each word in them."""
        return np.argsort(self.word, kind="stable"), np.searchsorted(np.sort(self.word), np.arange(len(self.words) + 1))

    def spellings(self, label: int) -> list[tuple[int, ...]]:
        """The spellings of an output label, as tokens of the net."""
        places = self._places(label)
        return [tuple(Tokens.token(x) for x in self.labels[self.first[i] : self.first[i + 1]].tolist()) for i in places]

    def costs(self, label: int) -> list[float]:
        """The cost of each of `spellings(label)`."""
        places = self._places(label)
        return [0.0] * len(places) if self.cost is None else self.cost[places].tolist()

    def _places(self, label: int) -> np.ndarray:
        order, begin = self._by_word
        return order[begin[label] : begin[label + 1]]


assert EPSILON_LABEL == 0  # the header stores 0 for no silence and no separator
