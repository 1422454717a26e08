"""The file of a pronunciation model: a compressed npz with checksums, whose members are numeric arrays.

    tables     uint8      JSON in UTF-8: {"format": "asr g2p 1", "chunks": [["ph", ["F"]], ["e", []], ...] in ascending
                          order, "letter_names": {"b": ["B", "IY"], ...}, "spelled_share": 0.74}
    nN_children, nN_word, nN_log10_prob, nN_log10_backoff     the N-grams, in ascending order of their words

The n-grams form a tree: `children` counts the N-grams that continue each (N-1)-gram, `word` is the last word of each
N-gram (0 to 2 are the marks `<unk> <s> </s>`, k + 3 is chunk k). Logarithms are float16, with a relative error of at
most 1/2048.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from asr.array_files import read_arrays, write_arrays
from asr.g2p.alignment import Pair
from asr.literals import parse_json
from asr.lm.model import Ngrams, find
from asr.words import MARKS

FORMAT = "asr g2p 1"
MAX_BYTES = 256 << 20  # size limit of all arrays, unpacked


class Contents(NamedTuple):
    """The contents of a file; see `asr.g2p.model.G2p` for their meaning."""

    chunks: list[Pair]
    letter_names: dict[str, tuple[str, ...]]
    spelled_share: float
    orders: list[Ngrams]


def write(path: str | Path, contents: Contents) -> None:
    chunks, letter_names, spelled_share, orders = contents
    tables = {"format": FORMAT, "chunks": chunks, "letter_names": letter_names, "spelled_share": spelled_share}
    members = {"tables": np.frombuffer(json.dumps(tables, ensure_ascii=False).encode(), np.uint8)}
    num_words = len(MARKS) + len(chunks)
    keys: list[np.ndarray] = []
    num_histories = 1
    for n, ngrams in enumerate(orders, 1):
        history = find(keys, ngrams.ids[:, :-1], num_words)
        keys.append(history * num_words + ngrams.ids[:, -1])
        children = np.bincount(history, minlength=num_histories)
        members[f"n{n}_children"] = children.astype(np.min_scalar_type(children.max()))
        members[f"n{n}_word"] = ngrams.ids[:, -1].astype(np.min_scalar_type(num_words))
        members[f"n{n}_log10_prob"] = ngrams.log10_prob.astype(np.float16)
        members[f"n{n}_log10_backoff"] = ngrams.log10_backoff.astype(np.float16)
        num_histories = len(ngrams.ids)
    write_arrays(path, members)


def read(path: str | Path) -> Contents:
    """Raises InputError naming a file that is missing, is not a pronunciation model, or is damaged."""
    return read_arrays(path, _parsed, MAX_BYTES, "pronunciation model", "asr g2p train")


def _parsed(members: Mapping[str, np.ndarray]) -> Contents:
    """Raises ValueError, LookupError and the like if the members are inconsistent."""
    tables = parse_json(members["tables"].tobytes())
    if tables["format"] != FORMAT:
        raise ValueError(f"its format is not '{FORMAT}'")
    chunks = [(str(letters), tuple(map(str, units))) for letters, units in tables["chunks"]]
    if not chunks or any(not letters for letters, _ in chunks):
        raise ValueError("it has no chunks, or a chunk without letters")
    names = {str(letter): tuple(map(str, units)) for letter, units in tables["letter_names"].items()}
    share = float(tables["spelled_share"])
    if not 0 <= share <= 1:
        raise ValueError(f"its spelled_share is {share}, not a probability")
    return Contents(chunks, names, share, _tree(members, len(MARKS) + len(chunks)))


def _tree(members: Mapping[str, np.ndarray], num_words: int) -> list[Ngrams]:
    ids = np.zeros((1, 0), np.int32)
    orders = []
    for n in range(1, 1 + sum(name.endswith("_word") for name in members)):
        children, word, prob, backoff = (
            members[f"n{n}_{x}"] for x in ("children", "word", "log10_prob", "log10_backoff")
        )
        is_row = all(x.ndim == 1 for x in (children, word, prob, backoff))
        if not (is_row and children.dtype.kind == word.dtype.kind == "u"):
            raise ValueError(f"the arrays of its {n}-grams have other shapes or types")
        if sum(children.tolist()) != len(word) or not len(word) == len(prob) == len(backoff):
            raise ValueError(f"the arrays of its {n}-grams have different lengths")
        history = np.repeat(np.arange(len(ids)), children)
        key = history * num_words + word
        is_tree = len(children) == len(ids) and (word < num_words).all() and (np.diff(key) > 0).all()
        if not is_tree or not (np.isfinite(prob).all() and np.isfinite(backoff).all() and (prob <= 0).all()):
            raise ValueError(f"its {n}-grams are inconsistent")
        if n == 1 and len(word) != num_words:
            raise ValueError("its 1-grams are not its chunks")
        ids = np.concatenate([ids[history], word[:, None].astype(np.int32)], axis=1)
        orders.append(Ngrams(ids, prob.astype(np.float32), backoff.astype(np.float32)))
    if not orders:
        raise ValueError("it has no n-grams")
    return orders
