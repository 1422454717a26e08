"""Packed graphs: graph.bin, the format that the decoder maps and searches in place (layout: csrc/decoder/graph.h).

A packed graph is a 64-byte header, then 16 bytes per state, then 16 bytes per arc, all little-endian. The arcs of a
state are contiguous: emitting arcs, sorted by input label, then epsilon arcs.
"""

import io
from pathlib import Path
from typing import IO

import numpy as np
import pywrapfst
from numpy.typing import NDArray

from asr.errors import InputError
from asr.files import atomic_write
from asr.graph.arrays import ARC, Arrays, Block, arc_array
from asr.graph.const_fst import from_openfst
from asr.graph.counts import require_count

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
MOST_ILABEL = 2**30  # kMaxLabel in csrc/decoder/graph.h
STATE = np.dtype([("arc_begin", "<u4"), ("num_emitting", "<u4"), ("num_epsilon", "<u4"), ("final_cost", "<f4")])


def pack(fst: pywrapfst.Fst, path: str | Path, implicit: bool = False) -> None:
    """Write `fst`, any Fst with standard arcs, as a packed graph. The file is replaced atomically.

    `implicit`: the graph is LG, and the search adds the CTC topology. Input label 1, the blank, must not occur in it.

    Raises InputError if the graph has no start state, a negative label, a cost that is not finite, or 2^31 or more
    states or arcs.
    """
    arrays = from_openfst(fst)
    with atomic_write(path, "wb") as file:
        write(arrays, file, implicit)


def to_bytes(arrays: Arrays, implicit: bool = False) -> bytes:
    """The bytes of the packed graph. Raises InputError as `pack` does."""
    file = io.BytesIO()
    write(arrays, file, implicit)
    return file.getvalue()


def write(arrays: Arrays, file: IO[bytes], implicit: bool = False) -> None:
    """Write a packed graph to an open binary file. Raises InputError as `pack` does."""
    start, final_costs, sources, arcs = arrays
    writer = Writer(file, start, len(final_costs), implicit)
    if len(final_costs):
        writer.add(Block(final_costs, sources, arcs["ilabel"], arcs["olabel"], arcs["cost"], arcs["next"]))
    writer.finish()


class Pieces:
    """Writes one part of a file in pieces of 4 MB at multiples of 4 MB.

    Linux keeps what is written at once in large pages, if the file system can (ext4 since Linux 6.16). The search
    through a graph in large pages is 7 % faster (docs/measured/search.md).
    """

    SIZE = 1 << 22

    def __init__(self, file: IO[bytes], offset: int):
        self._file, self._offset, self._pending = file, offset, bytearray()

    def add(self, rows: NDArray[np.void]) -> None:
        self._pending += rows.view(np.uint8).data
        end = self._offset + len(self._pending)
        self._write(end - end % self.SIZE - self._offset)

    def finish(self) -> None:
        self._write(len(self._pending))

    def _write(self, num_bytes: int) -> None:
        if num_bytes <= 0:
            return
        self._file.seek(self._offset)
        self._file.write(self._pending[:num_bytes])
        del self._pending[:num_bytes]
        self._offset += num_bytes


class Writer:
    """Writes a packed graph block by block to an open, seekable binary file; memory holds one block at a time, and up
    to a piece of 4 MB of the states and of the arcs.

    Call `add` for all states in order, then `finish`, which writes the header. Both raise InputError as `pack` does;
    without its header the file is rejected by every reader.
    """

    def __init__(self, file: IO[bytes], start: int, num_states: int, implicit: bool = False):
        if not 0 <= start < num_states:
            raise InputError(f"the graph's start state is {start}; it must be one of its {num_states} states")
        require_count(num_states, "states")
        self._file, self._origin = file, file.tell()
        self._header = np.zeros((), HEADER)
        self._header["num_states"], self._header["start"], self._header["is_implicit"] = num_states, start, implicit
        self.num_states, self.num_arcs = 0, 0  # added so far
        self._states = Pieces(file, self._origin + HEADER.itemsize)
        self._arcs = Pieces(file, self._origin + HEADER.itemsize + STATE.itemsize * num_states)

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
        self._states.add(states)
        self._arcs.add(arcs)
        self.num_states += num_states
        self.num_arcs += len(arcs)
        header["max_ilabel"] = arcs["ilabel"].max(initial=header["max_ilabel"])
        header["max_olabel"] = arcs["olabel"].max(initial=header["max_olabel"])

    def finish(self) -> None:
        header = self._header
        header["magic"], header["version"], header["num_arcs"] = b"asrgraph", 1, self.num_arcs
        header["num_bytes"] = HEADER.itemsize + STATE.itemsize * self.num_states + ARC.itemsize * self.num_arcs
        self._states.finish()
        self._arcs.finish()
        self._file.seek(self._origin)
        self._file.write(header.tobytes())
        self._file.seek(0, 2)

    def _check(self, block: Block, arcs: NDArray[np.void]) -> None:
        num_states = int(self._header["num_states"])
        require_count(self.num_arcs + len(arcs), "arcs")
        if self._header["is_implicit"] and (block.ilabel == 1).any():
            raise InputError(
                "a graph for the implicit topology has an arc with input label 1, the blank; pack LG, not HLG"
            )
        bad = (block.ilabel < 0) | (block.ilabel > MOST_ILABEL) | (block.olabel < 0) | ~np.isfinite(block.cost)
        bad |= (block.target < 0) | (block.target >= num_states)
        if bad.any():
            i = int(np.argmax(bad))
            raise InputError(
                f"state {self.num_states + block.sources[i]} of the graph has an arc (input, output, cost, next) = "
                f"{arcs[i].item()}; labels must not be negative, input labels at most 2^30, costs finite, and the next "
                "state must exist"
            )
        bad = np.isnan(block.final_costs) | np.isneginf(block.final_costs)
        if bad.any():
            i = self.num_states + int(np.argmax(bad))
            raise InputError(f"state {i} of the graph has a final cost that is NaN or -inf; it must be a number or inf")


def unpack(path: str | Path) -> Arrays:
    """The arrays of a packed graph. The file is not checked; `Graph.open` checks it."""
    return unpack_bytes(np.fromfile(path, np.uint8))


def unpack_bytes(data: NDArray[np.uint8]) -> Arrays:
    """The same of the bytes of a packed graph, which the arrays share."""
    header = data[: HEADER.itemsize].view(HEADER)[0]
    states = data[HEADER.itemsize :][: STATE.itemsize * int(header["num_states"])].view(STATE)
    arcs = data[HEADER.itemsize + states.nbytes :].view(ARC)
    sources = np.repeat(np.arange(len(states), dtype=np.int32), states["num_emitting"] + states["num_epsilon"])
    return Arrays(int(header["start"]), states["final_cost"], sources, arcs)


def _emitting_first(sources: NDArray[np.integer], ilabels: NDArray[np.int32]) -> NDArray[np.integer]:
    """The order that sorts each state's arcs by input label, epsilon last; equal labels keep their order."""
    last = ilabels.astype(np.int64) - 1 & 0x7FFFFFFF  # epsilon (0) wraps to the largest value
    return np.argsort(sources.astype(np.int64) << 31 | last, kind="stable")
