"""Writing graphs in the decoder's own format, which is searched where it lies (layout: csrc/decoder/graph.h).

A packed graph is a 64-byte header, 16 bytes a state and 16 bytes an arc, little-endian; the arcs of a state stand
together, emitting ones (sorted by input label) before epsilon ones.
"""

import io
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pywrapfst
from numpy.typing import NDArray

from asr.errors import InputError
from asr.files import atomic_write

HEADER = np.dtype(
    [
        ("magic", "S8"),
        ("version", "<u4"),
        ("num_states", "<u4"),
        ("num_arcs", "<u4"),
        ("start", "<u4"),
        ("max_ilabel", "<i4"),
        ("max_olabel", "<i4"),
        ("num_bytes", "<u8"),
        ("is_implicit", "<u4"),
        ("reserved", "S20"),
    ]
)
STATE = np.dtype([("arc_begin", "<u4"), ("num_emitting", "<u4"), ("num_epsilon", "<u4"), ("final_cost", "<f4")])
ARC = np.dtype([("ilabel", "<i4"), ("olabel", "<i4"), ("cost", "<f4"), ("next", "<i4")])

# OpenFst's ConstFst on disk: a header of names and sizes, then states, then arcs, which are laid out as ours are.
_FST_MAGIC = 2125659606
_FST_NUMBERS = np.dtype(
    [
        ("version", "<i4"),
        ("flags", "<i4"),
        ("properties", "<u8"),
        ("start", "<i8"),
        ("num_states", "<i8"),
        ("num_arcs", "<i8"),
    ]
)
_FST_STATE = np.dtype(
    [("final_cost", "<f4"), ("position", "<u4"), ("num_arcs", "<u4"), ("num_ieps", "<u4"), ("num_oeps", "<u4")]
)
_FST_IS_ALIGNED = 4  # flag: states and arcs each begin at a multiple of 16


class Arrays(NamedTuple):
    """A graph as plain arrays: S states, A arcs. A final cost of +inf marks a state that is not final."""

    start: int
    final_costs: NDArray[np.float32]  # (S,)
    sources: NDArray[np.integer]  # (A,) state that each arc leaves, ascending
    arcs: NDArray[np.void]  # (A,) of ARC


class Block(NamedTuple):
    """S states of a graph in a row, with their A arcs."""

    final_costs: np.ndarray  # (S,) float32, +inf where not final
    sources: np.ndarray  # (A,) ascending, counted from the first of these states
    ilabel: np.ndarray  # (A,) int32
    olabel: np.ndarray  # (A,) int32
    cost: np.ndarray  # (A,) float32
    target: np.ndarray  # (A,) int32, of all states


def arc_array(ilabel: np.ndarray, olabel: np.ndarray, cost: np.ndarray, target: np.ndarray) -> NDArray[np.void]:
    """Columns of arcs as (A,) of ARC."""
    arcs = np.empty(len(ilabel), ARC)
    for name, column in zip(ARC.names or (), (ilabel, olabel, cost, target), strict=True):
        arcs[name] = column
    return arcs


def pack(fst: pywrapfst.Fst, path: str | Path, implicit: bool = False) -> None:
    """Write `fst` (any Fst over the standard arc) as a packed graph, atomically.

    `implicit`: it is LG, to which the search adds CTC's topology; input label 1, the blank, does not occur in it.

    Raises InputError when it has no start state, a negative label or a cost that is not a finite number.
    """
    arrays = from_fst(fst)
    with atomic_write(path, "wb") as file:
        write(arrays, file, implicit)


def to_bytes(arrays: Arrays, implicit: bool = False) -> bytes:
    """A packed graph in memory, as `pack` writes it. Raises InputError like `pack`."""
    file = io.BytesIO()
    write(arrays, file, implicit)
    return file.getvalue()


def from_fst(fst: pywrapfst.Fst) -> Arrays:
    """The arrays of an Fst, read from the bytes of its ConstFst form."""
    if fst.arc_type() != "standard":
        raise InputError(f"the graph has arcs of type '{fst.arc_type()}'; convert it to 'standard' before packing")
    if fst.start() < 0:
        raise InputError("the graph is empty: it has no start state, so no sentence passes; check lexicon and grammar")
    if fst.input_symbols() is not None or fst.output_symbols() is not None:
        bare: Any = pywrapfst.convert(fst, "vector")  # a copy, and one that can be changed
        fst = bare.set_input_symbols(None).set_output_symbols(None)
    data = pywrapfst.convert(fst, "const").write_to_string()
    numbers, offset = _const_header(data)
    aligned = bool(numbers["flags"] & _FST_IS_ALIGNED)

    offset = _aligned(offset) if aligned else offset
    states = np.frombuffer(data, _FST_STATE, numbers["num_states"], offset)
    offset += states.nbytes
    offset = _aligned(offset) if aligned else offset
    arcs = np.frombuffer(data, ARC, numbers["num_arcs"], offset)
    sources = np.repeat(np.arange(len(states), dtype=np.int32), states["num_arcs"])
    return Arrays(int(numbers["start"]), states["final_cost"], sources, arcs)


def write(arrays: Arrays, file: IO[bytes], implicit: bool = False) -> None:
    """Write a packed graph to an open binary file, as `pack` does. Raises InputError like `pack`."""
    start, final_costs, sources, arcs = arrays
    writer = Writer(file, start, len(final_costs), implicit)
    if len(final_costs):
        writer.add(Block(final_costs, sources, arcs["ilabel"], arcs["olabel"], arcs["cost"], arcs["next"]))
    writer.finish()


class Writer:
    """Writes a packed graph to an open binary file that can be wound back, some states at a time, never holding more.

    `add` takes all states in order; `finish` writes the header. Both raise InputError like `pack`, and leave a file
    that no reader accepts then.
    """

    def __init__(self, file: IO[bytes], start: int, num_states: int, implicit: bool = False):
        if not 0 <= start < num_states:
            raise InputError(f"the graph's start state is {start} of {num_states} states")
        self._file, self._origin = file, file.tell()
        self._header = np.zeros((), HEADER)
        self._header["num_states"], self._header["start"], self._header["is_implicit"] = num_states, start, implicit
        self.num_states, self.num_arcs = 0, 0  # written

    def add(self, block: Block) -> None:
        header = self._header
        num_states, arcs = len(block.final_costs), arc_array(*block[2:])
        self._check(block, arcs)
        arcs = arcs[_emitting_first(block.sources, arcs["ilabel"])]
        num_arcs = np.bincount(block.sources, minlength=num_states)
        num_epsilon = np.bincount(block.sources[block.ilabel == 0], minlength=num_states)

        states = np.empty(num_states, STATE)
        states["arc_begin"] = self.num_arcs + np.cumsum(num_arcs) - num_arcs
        states["num_emitting"] = num_arcs - num_epsilon
        states["num_epsilon"] = num_epsilon
        states["final_cost"] = block.final_costs
        self._write(states, HEADER.itemsize + STATE.itemsize * self.num_states)
        self._write(arcs, HEADER.itemsize + STATE.itemsize * int(header["num_states"]) + ARC.itemsize * self.num_arcs)
        self.num_states += num_states
        self.num_arcs += len(arcs)
        header["max_ilabel"] = arcs["ilabel"].max(initial=header["max_ilabel"])
        header["max_olabel"] = arcs["olabel"].max(initial=header["max_olabel"])

    def finish(self) -> None:
        header = self._header
        header["magic"], header["version"], header["num_arcs"] = b"asrgraph", 1, self.num_arcs
        header["num_bytes"] = HEADER.itemsize + STATE.itemsize * self.num_states + ARC.itemsize * self.num_arcs
        self._write(header.reshape(1), 0)
        self._file.seek(0, 2)

    def _write(self, rows: NDArray[np.void], offset: int) -> None:
        self._file.seek(self._origin + offset)
        self._file.write(rows.view(np.uint8).data)

    def _check(self, block: Block, arcs: NDArray[np.void]) -> None:
        num_states = int(self._header["num_states"])
        if num_states >= 2**31 or self.num_arcs + len(arcs) >= 2**32:
            raise InputError(
                f"the graph has {num_states} states and more than {self.num_arcs} arcs; prune the language model"
            )
        if self._header["is_implicit"] and (block.ilabel == 1).any():
            raise InputError(
                "a graph for the implicit topology has an arc of input label 1, the blank; pack LG, not HLG"
            )
        bad = (block.ilabel < 0) | (block.olabel < 0) | ~np.isfinite(block.cost)
        bad |= (block.target < 0) | (block.target >= num_states)
        if bad.any():
            i = int(np.argmax(bad))
            raise InputError(
                f"state {self.num_states + block.sources[i]} of the graph has an arc (input, output, cost, next) = "
                f"{arcs[i].item()}; labels must not be negative, costs must be finite, the next state must exist"
            )
        bad = np.isnan(block.final_costs) | np.isneginf(block.final_costs)
        if bad.any():
            i = self.num_states + int(np.argmax(bad))
            raise InputError(f"state {i} of the graph has a final cost that is not a number")


def unpack(path: str | Path) -> Arrays:
    """The arrays of a packed graph that `Graph.open` accepts."""
    data = np.fromfile(path, np.uint8)
    header = data[: HEADER.itemsize].view(HEADER)[0]
    states = data[HEADER.itemsize :][: STATE.itemsize * int(header["num_states"])].view(STATE)
    arcs = data[HEADER.itemsize + states.nbytes :].view(ARC)
    sources = np.repeat(np.arange(len(states), dtype=np.int32), states["num_emitting"] + states["num_epsilon"])
    return Arrays(int(header["start"]), states["final_cost"], sources, arcs)


def _const_header(data: bytes) -> tuple[np.void, int]:
    """The numbers in a ConstFst's header, and where the header ends."""
    if int.from_bytes(data[:4], "little") != _FST_MAGIC:
        raise InputError("pywrapfst wrote a file without OpenFst's magic number; use pynini 2.1.6 or later")
    offset = 4
    for expected in (b"const", b"standard"):
        length = int.from_bytes(data[offset : offset + 4], "little")
        name = data[offset + 4 : offset + 4 + length]
        if name != expected:
            raise InputError(f"pywrapfst wrote an Fst of kind {name!r} instead of {expected!r}")
        offset += 4 + length
    return np.frombuffer(data, _FST_NUMBERS, 1, offset)[0], offset + _FST_NUMBERS.itemsize


def _aligned(offset: int) -> int:
    return -(-offset // 16) * 16


def _emitting_first(sources: NDArray[np.integer], ilabels: NDArray[np.int32]) -> NDArray[np.integer]:
    """The order that sorts each state's arcs by input label with epsilon last, otherwise as they stand."""
    last = ilabels.astype(np.int64) - 1 & 0x7FFFFFFF  # epsilon wraps round to the end
    return np.argsort(sources.astype(np.int64) << 31 | last, kind="stable")
