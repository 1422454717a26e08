"""A packed n-gram model, `*.trie`, which is mapped and scored in place: `asr lm convert LM.arpa LM.trie` writes it.

Opening it reads the header and the words, whatever the number of n-grams; processes share the rest. Scores equal those
of the ARPA file bit for bit, as the arrays are those that csrc/lm/scorer.h would make of it. An n-gram takes 8 bytes,
and one below the highest order 20.

    header                               HEADER, little-endian, version 1; each part begins at a multiple of 8 bytes
    word, log10_prob                     (nodes,) int32, float32; node 0 is the empty history
    log10_backoff, first, shorter        (histories,) float32, (histories + 1,) uint32, (histories,) uint32
    words                                UTF-8, one per line, in the order of their ids
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr._lm import Scorer
from asr.errors import InputError, refusals
from asr.files import atomic_write
from asr.lm.model import MAX_ORDER, NgramModel, Vocabulary
from asr.words import BEGIN, END

MAGIC = b"asrtrie1"
HEADER = np.dtype(
    [("magic", "S8"), ("order", "<u4"), ("num_words", "<u4"), ("order_begin", "<u4", (MAX_ORDER + 2,))]
    + [("words_bytes", "<u8"), ("num_bytes", "<u8")]  # the second of the whole file
)
_AGAIN = "make it again with `asr lm convert LM.arpa NAME.trie`"


@dataclass(frozen=True)
class MappedModel(Vocabulary):
    """The words of a mapped file, what scores them, and its name in messages."""

    core: Scorer
    name: str

    def damage(self, error: ValueError) -> InputError:
        """What to say of n-grams that a score cannot use."""
        return InputError(f"{self.name} is damaged: {error}; {_AGAIN}")


def write(model: NgramModel, path: str | Path) -> None:
    """Writes `model`. The file is replaced atomically. Raises InputError as `asr.lm.score.Scorer` does."""
    with refusals():
        order_begin, word, log10_prob, log10_backoff, first, shorter = Scorer(model.orders).arrays
    words = "".join(f"{word}\n" for word in model.words).encode()
    header = np.zeros((), HEADER)
    header["magic"], header["order"], header["num_words"] = MAGIC, model.order, len(model.words)
    header["order_begin"][: len(order_begin)] = order_begin
    header["words_bytes"] = len(words)
    parts: list[np.ndarray] = [word, log10_prob, log10_backoff, first, shorter, np.frombuffer(words, np.uint8)]
    header["num_bytes"] = HEADER.itemsize + sum(_padded(part.nbytes) for part in parts)
    with atomic_write(path, "wb") as file:
        file.write(header.tobytes())
        for part in parts:
            file.write(part.data)
            file.write(bytes(_padded(part.nbytes) - part.nbytes))


def is_trie(path: str | Path) -> bool:
    """Whether a file is one by its first bytes. False for a pipe, which can be read only once."""
    try:
        if not Path(path).is_file():
            return False
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read(path: str | Path) -> MappedModel:
    """Maps a file. Raises InputError naming it if it cannot be read or is damaged; damage of the n-grams is found when
    they are used."""
    try:
        data = np.memmap(path, np.uint8, "r")
    except (OSError, ValueError) as e:
        raise InputError(f"cannot read the n-gram model {path}: {e}; {_AGAIN}") from e
    return parse(data, str(path))


def parse(data: NDArray[np.uint8], name: str) -> MappedModel:
    """The model in bytes that begin at a multiple of 8, used in place. `name` is that of messages."""
    if len(data) < HEADER.itemsize or data[: len(MAGIC)].tobytes() != MAGIC:
        raise InputError(f"{name} is no packed n-gram model (.trie); {_AGAIN}")
    header = data[: HEADER.itemsize].view(HEADER)[0]
    order = int(header["order"])
    if not 1 <= order <= MAX_ORDER or header["num_bytes"] != len(data):
        raise InputError(f"{name} is cut short or damaged; {_AGAIN}")
    order_begin = [int(begin) for begin in header["order_begin"][: order + 2]]
    nodes, histories = order_begin[-1], order_begin[-2]
    kinds: Sequence[tuple[type, int]] = (
        (np.int32, nodes), (np.float32, nodes), (np.float32, histories), (np.uint32, histories + 1),
        (np.uint32, histories), (np.uint8, int(header["words_bytes"])),
    )  # fmt: skip
    parts, place = [], HEADER.itemsize
    for kind, count in kinds:
        size = np.dtype(kind).itemsize * count
        parts.append(data[place : place + size])
        place += _padded(size)
        if len(parts[-1]) < size:
            raise InputError(f"{name} is cut short or damaged; {_AGAIN}")
    words = _words(parts.pop(), name)
    if len(words) != header["num_words"] or len(words) != order_begin[2] - 1 or not {BEGIN, END} <= set(words):
        raise InputError(f"{name} is damaged: its words are not those of its header; {_AGAIN}")
    try:
        core = Scorer.map(order_begin, *(part.view(kind) for part, (kind, _) in zip(parts, kinds, strict=False)))
    except ValueError as e:
        raise InputError(f"{name} is damaged: {e}; {_AGAIN}") from None
    return MappedModel(words, core, name)


def _words(text: NDArray[np.uint8], name: str) -> list[str]:
    try:
        return text.tobytes().decode().split("\n")[:-1]
    except UnicodeDecodeError:
        raise InputError(f"{name} is damaged: its words are not UTF-8; {_AGAIN}") from None


def _padded(size: int) -> int:
    return -(-size // 8) * 8
