"""Labels of another toolkit's CTC model, as the columns of its logits name them, and how they spell words.

Two styles are recognised. In the character style a word is a run of labels between spaces: `h e l l o | w o r l d`. In
the piece style (SentencePiece `▁`, or BERT `##`) a label with `▁` begins a word: `▁hel lo ▁world`. The search sees
both in one way: a word begins with a token that is the space, or a piece with `▁`.
"""

import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asr.errors import InputError

BEGIN = "▁"
UNKNOWN_CHARACTER = "⁇"
MOST_SEGMENTATIONS = 8  # of a word into labels; those with the fewest labels
IS_BLANK = re.compile(r"[<\[]pad[>\]]$", re.IGNORECASE)
IS_UNKNOWN = re.compile(r"[<\[]unk[>\]]$", re.IGNORECASE)
_IS_SPECIAL = re.compile(r"[<\[].+[>\]]$")  # <s>, </s>, [CLS]: no text
_LEAST_LOG_PROB = float(np.log(1e-15))


class Alphabet:
    """`labels` in the form of pyctcdecode: the blank is "", the space " ", the unknown character ⁇.

    Tokens are numbered 1, 2, ... in the order of the labels that stand for text; 0 is the blank, `space` the space.
    """

    def __init__(self, labels: Sequence[str]):
        """Raises InputError for labels that are not text or occur twice, and if none of them stands for text."""
        if isinstance(labels, str) or not all(isinstance(label, str) for label in labels):
            raise InputError("labels must be a list of texts, one per column of the logits, as ['<pad>', '|', 'a']")
        self.is_pieces = any(label.startswith((BEGIN, "##")) for label in labels)
        self.labels = _pieces(labels) if self.is_pieces else _characters(labels)
        if twice := next((label for i, label in enumerate(self.labels) if label in self.labels[:i]), None):
            raise InputError(f"the label {twice!r} occurs twice; each column of the logits needs its own label")
        self._blank = self.labels.index("")
        self._silent = [i for i, label in enumerate(self.labels) if _IS_SPECIAL.match(label)]
        self._spoken = [i for i, x in enumerate(self.labels) if x not in ("", " ") and i not in self._silent]
        if not self._spoken:
            raise InputError(f"no label stands for text: {self.labels}")
        texts = [self.labels[i] for i in self._spoken]
        self.begins = [text.startswith(BEGIN) for text in texts]  # by token - 1, as `texts`
        self.texts = [text.removeprefix(BEGIN).removesuffix(BEGIN) if self.is_pieces else text for text in texts]
        self.space = 0 if self.is_pieces else len(texts) + 1
        self.lead = int(not self.is_pieces)
        self._first = {text: token for token, text, begins in self._tokens() if begins == self.is_pieces}
        self._later = {text: token for token, text, begins in self._tokens() if not begins}
        self._longest = max(map(len, self.texts))

    def _tokens(self) -> list[tuple[int, str, bool]]:
        return [(token, *of) for token, of in enumerate(zip(self.texts, self.begins, strict=True), 1)]

    @property
    def num_tokens(self) -> int:
        return 1 + len(self.texts) + (not self.is_pieces)

    def starts(self) -> list[tuple[int, ...]]:
        """The ways in which a word that no list has may begin."""
        first = sorted(self._first.values())
        return [(token,) for token in first] if self.is_pieces else [(self.space, token) for token in first]

    def continuations(self) -> list[tuple[int, ...]]:
        return [(token,) for token in sorted(self._later.values())]

    def spell(self, word: str) -> list[tuple[int, ...]]:
        """The word's segmentations into tokens, those with the fewest first; empty if it cannot be spelled."""
        begin: tuple[int, ...] = () if self.is_pieces else (self.space,)
        if not self.is_pieces and self._longest == 1:
            units = [self._later.get(c, 0) for c in word]
            return [(*begin, *units)] if units and all(units) else []
        ending: list[list[tuple[int, ...]]] = [[begin]] + [[] for _ in word]  # segmentations of the first i characters
        for end in range(len(word) + 1):
            found = list(ending[end])
            for start in range(max(0, end - self._longest), end + 1):
                part = word[start:end]
                for before in ending[start]:
                    if token := (self._first if before == begin else self._later).get(part):
                        found.append((*before, token))
            ending[end] = sorted(set(found), key=lambda tokens: (len(tokens), tokens))[:MOST_SEGMENTATIONS]
        return [tokens for tokens in ending[-1] if len(tokens) > len(begin)]

    def length(self, tokens: Iterable[int]) -> int:
        """The number of characters of the tokens, without the space before a word."""
        return sum(len(self.texts[token - 1]) for token in tokens if token != self.space)

    def words(self, tokens: Iterable[int]) -> list[tuple[str, int, int]]:
        """The words that a token sequence spells: text, and the positions [first, last] of its tokens."""
        words: list[tuple[str, int, int]] = []
        is_open = False
        for place, token in enumerate(tokens):
            if token == self.space:
                is_open = False
                continue
            text = self.texts[token - 1]
            if is_open and not self.begins[token - 1]:
                word, first, _ = words[-1]
                words[-1] = (word + text, first, place)
            else:
                words.append((text, place, place))
                is_open = True
        return [word for word in words if word[0]]

    def plain(self, tokens: Sequence[int]) -> list[int]:
        """The sequence with one space between words, and none before the first and after the last."""
        kept = [t for i, t in enumerate(tokens) if t != self.space or (i and tokens[i - 1] != t)]
        return kept[:-1] if kept and kept[-1] == self.space else kept

    def log_probs(self, logits: ArrayLike, least_log_prob: float) -> NDArray[np.float32]:
        """(F, labels) logits, log-probs or probabilities -> (`lead` + F, tokens) log-probs.

        Labels below `least_log_prob` get -inf, except for the most probable one of a frame. Special labels such as
        `<s>` stand for no text: their probability is added to the blank's. In the character style, a frame of nothing
        but a space comes first, so that every word follows a space. Raises InputError for another shape, NaN or +inf.
        """
        array = np.asarray(logits, np.float64)
        if array.ndim != 2 or array.shape[1] != len(self.labels):
            raise InputError(
                f"the logits have shape {array.shape}; expected (frames, {len(self.labels)}), one column per label"
            )
        if (bad := np.isnan(array) | (array == np.inf)).any():
            raise InputError(f"frame {int(bad.any(1).argmax())} of the logits holds NaN or infinity; expected numbers")
        if len(array) and (array >= 0).all() and np.allclose(array.sum(1), 1, atol=1e-3):  # probabilities
            values = np.log(np.clip(array, np.exp(_LEAST_LOG_PROB), 1))
        else:
            values = np.clip(_log_softmax(array), _LEAST_LOG_PROB, 0)
        dropped = values < least_log_prob
        dropped[np.arange(len(values)), values.argmax(1)] = False
        values[dropped] = -np.inf
        columns = [np.logaddexp.reduce(values[:, [self._blank, *self._silent]], axis=1), *values[:, self._spoken].T]
        if not self.is_pieces:
            has_space = " " in self.labels
            columns.append(values[:, self.labels.index(" ")] if has_space else np.full(len(values), -np.inf))
            columns = [np.append(0.0 if token == self.space else -np.inf, x) for token, x in enumerate(columns)]
        return np.stack(columns, axis=1).astype(np.float32)


def _log_softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    if not x.size:
        return x
    highest = x.max(1, keepdims=True)
    if np.isneginf(highest).any():
        raise InputError(f"frame {int(np.isneginf(highest).argmax())} of the logits holds only -inf; expected numbers")
    x = x - highest
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def _characters(labels: Sequence[str]) -> list[str]:
    found = ["" if IS_BLANK.match(x) else UNKNOWN_CHARACTER if IS_UNKNOWN.match(x) else x for x in labels]
    if " " not in found:
        found = [" " if x == "|" else x for x in found]
    if "" not in found:
        found = ["" if x == "_" else x for x in found]
    return found if "" in found else [*found, ""]


def _pieces(labels: Sequence[str]) -> list[str]:
    if any(" " in label for label in labels):
        raise InputError("the labels have pieces with ▁ or ## and one with a space; expected one of the two styles")
    unknown = BEGIN + UNKNOWN_CHARACTER + BEGIN
    found = ["" if IS_BLANK.match(x) else unknown if IS_UNKNOWN.match(x) else x for x in labels]
    if any(x.startswith("##") for x in found):
        plain = ("", BEGIN, unknown)
        found = [x[2:] if x.startswith("##") else x if x in plain or _IS_SPECIAL.match(x) else BEGIN + x for x in found]
    return found if "" in found else [*found, ""]
