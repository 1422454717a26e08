"""The file of a punctuation net: a compressed npz with checksums, whose members are numeric arrays.

format           uint8           "asr punctuation 1" in ASCII
table            int8 (rows, D)  times `scale` float32 (D,)
inner_w, inner_b, layerN_w, layerN_b, out_w, out_b    float16; see asr.punctuation.tagger.Net
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from asr.array_files import read_arrays, write_arrays
from asr.errors import InputError
from asr.punctuation.marks import MARKS
from asr.punctuation.tagger import DILATIONS, Net, Tagger

FORMAT = b"asr punctuation 1"
MAX_BYTES = 64 << 20  # size limit of all arrays, unpacked
NUM_CASES = 3
LANGUAGES = ("en", "ko")  # of the trained nets in the package


def write(path: str | Path, net: Net) -> None:
    members = {"format": np.frombuffer(FORMAT, np.uint8)}
    for name, table in (("table", net.table), ("pairs", net.pairs)):
        scale = np.maximum(np.abs(table).max(0) / 127, 1e-9).astype(np.float32)  # of each column
        members |= {name: np.round(table / scale).astype(np.int8), f"{name}_scale": scale}
    for name, (weight, bias) in _named(net):
        members |= {f"{name}_w": weight.astype(np.float16), f"{name}_b": bias.astype(np.float16)}
    write_arrays(path, members)


def _named(net: Net) -> list[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    return [("inner", net.inner), *((f"layer{n}", layer) for n, layer in enumerate(net.layers)), ("out", net.out)]


def read(path: str | Path) -> Net:
    """Raises InputError naming a file that is missing, is not a punctuation net, or is damaged."""
    return read_arrays(path, _parsed, MAX_BYTES, "punctuation net", "asr punctuation train")


def _parsed(members: Mapping[str, np.ndarray]) -> Net:
    """Raises ValueError, LookupError and the like if the members are inconsistent."""
    if members["format"].tobytes() != FORMAT:
        raise ValueError(f"its format is not '{FORMAT.decode()}'")
    table, pairs = _table(members, "table"), _table(members, "pairs")
    hidden = len(members["inner_b"])
    inner = _layer(members, "inner", table.shape[1], hidden)
    layers = tuple(_layer(members, f"layer{n}", 3 * hidden, hidden) for n in range(len(DILATIONS)))
    num_outputs = len(members["out_b"])
    if num_outputs not in (len(MARKS), len(MARKS) + NUM_CASES):
        raise ValueError(f"it has {num_outputs} outputs")
    if pairs.shape[1] != num_outputs:
        raise ValueError(f"its pairs have {pairs.shape[1]} outputs, not {num_outputs}")
    return Net(table, pairs, inner, layers, _layer(members, "out", hidden, num_outputs))


def _table(members: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    table, scale = members[name], members[f"{name}_scale"]
    if table.ndim != 2 or not len(table) or table.dtype != np.int8 or scale.shape != table.shape[1:]:
        raise ValueError(f"its {name} have another shape or type")
    return _finite(table * scale.astype(np.float32))


def _layer(
    members: Mapping[str, np.ndarray], name: str, num_inputs: int, num_outputs: int
) -> tuple[np.ndarray, np.ndarray]:
    weight, bias = members[f"{name}_w"], members[f"{name}_b"]
    if weight.shape != (num_inputs, num_outputs) or bias.shape != (num_outputs,) or not num_outputs:
        raise ValueError(f"the shapes of {name} do not fit: {weight.shape} and {bias.shape}")
    return _finite(weight), _finite(bias)


def _finite(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "fi" or not np.isfinite(array).all():
        raise ValueError("it has values that are no finite numbers")
    return array.astype(np.float32)


@lru_cache
def trained(lang: str) -> Tagger:
    """The net of the package for a language. Raises InputError for languages that have none."""
    if lang not in LANGUAGES:
        raise InputError(f"there is no punctuation for the language '{lang}'; choose one of {', '.join(LANGUAGES)}, or "
                         "train one with `asr punctuation train`")  # fmt: skip
    return Tagger(read(Path(__file__).with_name(f"punctuation_{lang}.npz")))
