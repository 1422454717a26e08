"""The net that tags words with marks and cases, computed with numpy.

    x_t = sum of the table's rows of the word's keys: the word (twice), its last 1, 2 and 3 letters, its first 3
    h   = relu(x W + b)                                                           # (N, D) -> (N, H)
    h_t = h_t + relu([h_{t-d}, h_t, h_{t+d}] W_d + b_d)  for each d in DILATIONS  # zeros beyond the ends
    s   = h W_out + b_out + sum of the pairs' rows of (w_{t-1}, w_t), (w_t, w_{t+1}), (w_{t+1}, w_{t+2})
    marks, cases = argmax of the first 4 and of the last 3 columns of s           # (N,) and (N,)

Words and pairs share rows with others by hashing (Weinberger et al., "Feature hashing for large scale multitask
learning", ICML 2009); with two rows per word, few words share both.
"""

import re
import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from asr.punctuation.marks import COMMA, LOWER, MARKS, NONE, put

DILATIONS = (1, 2, 4, 8)
REACH = sum(DILATIONS)  # words on each side that a tag depends on
BLOCK = 4096  # words tagged at once
NUM_KEYS = 6
_DIGIT = re.compile(r"\d")


class Net(NamedTuple):
    """The weights; see the module."""

    table: np.ndarray  # (rows, D) float32
    pairs: np.ndarray  # (rows, outputs) float32
    inner: tuple[np.ndarray, np.ndarray]  # (D, H), (H,)
    layers: tuple[tuple[np.ndarray, np.ndarray], ...]  # (3 H, H), (H,) for each of DILATIONS
    out: tuple[np.ndarray, np.ndarray]  # (H, 4 marks, then 3 cases if the language has them), (outputs,)


def keys(word: str) -> tuple[int, ...]:
    """Hashes of a word, below 2^32: two of itself, four of its ends. Neither case nor which digit it has matters."""
    plain = _DIGIT.sub("0", word.lower())
    parts = (f"1{plain}", f"2{plain}", f"a{plain[-1:]}", f"b{plain[-2:]}", f"c{plain[-3:]}", f"d{plain[:3]}")
    return tuple(zlib.crc32(part.encode("utf-8", "surrogatepass")) for part in parts)


def pair_keys(words: np.ndarray) -> np.ndarray:
    """Hashes (N, T) uint32 of words, 0 beyond the ends -> hashes (N, T, 3) of the pairs around each."""
    near = np.pad(words.astype(np.uint32), ((0, 0), (1, 2)))
    left, right = near[:, :-1] * np.uint32(2654435761), near[:, 1:] * np.uint32(2246822519)
    mixed = left ^ (right >> np.uint32(15)) ^ right  # (N, T + 2)
    size = words.shape[1]
    salted = [mixed[:, at : at + size] * np.uint32(salt) for at, salt in enumerate((3266489917, 668265263, 374761393))]
    return np.stack(salted, axis=2) >> np.uint32(8)  # the upper bits are the mixed ones


class Tagger:
    """Puts marks and capitals into words. Immutable, and shared by threads."""

    def __init__(self, net: Net):
        self.net = net
        self._keys = lru_cache(maxsize=1 << 16)(keys)

    @property
    def has_cases(self) -> bool:
        return len(self.net.out[1]) > len(MARKS)

    def punctuated(self, words: Sequence[str], is_start: bool = True, is_end: bool = True) -> list[str]:
        """The words, each with its mark and case. A sentence begins with the first one if `is_start`."""
        marks, cases = self.tags(words, is_end)
        return list(put(words, marks, cases if self.has_cases else None, is_start))

    def tags(self, words: Sequence[str], is_end: bool = True) -> tuple[list[int], list[int]]:
        """Marks and cases, one per word; all cases are LOWER in a language without them.

        If `is_end`, a sentence ends with the last word: it gets a full stop or a question mark.
        """
        marks: list[int] = []
        cases: list[int] = []
        for start in range(0, len(words), BLOCK):
            first = max(0, start - REACH)
            scores = self._scores(words[first : start + BLOCK + REACH])[start - first :][:BLOCK]  # (n, outputs)
            if is_end and start + BLOCK >= len(words):
                scores[-1, [NONE, COMMA]] = -np.inf
            marks += scores[:, : len(MARKS)].argmax(1).tolist()
            cases += scores[:, len(MARKS) :].argmax(1).tolist() if self.has_cases else [LOWER] * len(scores)
        return marks, cases

    def _scores(self, words: Sequence[str]) -> np.ndarray:
        rows = np.array([self._keys(word) for word in words], np.uint32)  # (N, keys)
        x = self.net.table[rows % len(self.net.table)].sum(1)  # (N, D)
        h = np.maximum(x @ self.net.inner[0] + self.net.inner[1], 0)  # (N, H)
        for dilation, (weight, bias) in zip(DILATIONS, self.net.layers, strict=True):
            around = np.pad(h, ((dilation, dilation), (0, 0)))
            h = h + np.maximum(np.hstack([around[: len(h)], h, around[2 * dilation :]]) @ weight + bias, 0)
        of_pairs = self.net.pairs[pair_keys(rows[None, :, 0])[0] % len(self.net.pairs)].sum(1)  # (N, outputs)
        return h @ self.net.out[0] + self.net.out[1] + of_pairs


def without_capitals(words: Sequence[str]) -> Sequence[str]:
    """The words in small letters if none has one already: capitals throughout tell nothing."""
    return words if any(map(str.islower, "".join(words))) else [word.lower() for word in words]
