"""Reading and writing OpenFst graphs through the bytes of a ConstFst, which is fast: no Python call per arc.

A ConstFst file (OpenFst's const-fst.h, little-endian) is a header, S states of 20 bytes and A arcs of 16 bytes:

    header  magic number, two names (each an int32 length and its characters: "const", "standard"), NUMBERS
    states  (S,) of STATE
    arcs    (A,) of asr.graph.arrays.ARC, ordered by source state

With the flag `_IS_ALIGNED` states and arcs begin at multiples of 16 bytes. This module writes version 2 without it.
"""

import struct
from typing import Any, cast

import numpy as np
import pywrapfst

from asr.errors import InputError
from asr.graph.arrays import ARC, Arrays
from asr.graph.counts import require_count

MAGIC = 2125659606
NAMES = (b"const", b"standard")  # kind of Fst, kind of arc
NUMBERS = np.dtype(
    [
        ("version", "<i4"),
        ("flags", "<i4"),
        ("properties", "<u8"),
        ("start", "<i8"),
        ("num_states", "<i8"),
        ("num_arcs", "<i8"),
    ]
)
STATE = np.dtype(
    [
        ("final_cost", "<f4"),
        ("first_arc", "<u4"),
        ("num_arcs", "<u4"),
        ("num_iepsilons", "<u4"),
        ("num_oepsilons", "<u4"),
    ]
)
_VERSION = 2
_IS_ALIGNED = 4  # flag
_EXPANDED = 1  # the one property that always holds; OpenFst computes the others when it needs them


def from_openfst(fst: pywrapfst.Fst) -> Arrays:
    """The arrays of an Fst. Raises InputError for an Fst without a start state or without the standard arc type."""
    if fst.arc_type() != "standard":
        raise InputError(f"the graph has arcs of type '{fst.arc_type()}'; convert it to 'standard' before packing")
    if fst.start() < 0:
        raise InputError(
            "the graph is empty: it has no start state and accepts no sentence; check the lexicon and the grammar"
        )
    if fst.input_symbols() is not None or fst.output_symbols() is not None:
        copy: Any = pywrapfst.convert(fst, "vector")
        fst = copy.set_input_symbols(None).set_output_symbols(None)
    data = pywrapfst.convert(fst, "const").write_to_string()
    numbers, offset = _read_header(data)
    is_aligned = bool(numbers["flags"] & _IS_ALIGNED)
    offset = _aligned(offset) if is_aligned else offset
    for what in ("states", "arcs"):
        require_count(int(numbers[f"num_{what}"]), what)
    states = np.frombuffer(data, STATE, numbers["num_states"], offset)
    offset += states.nbytes
    offset = _aligned(offset) if is_aligned else offset
    arcs = np.frombuffer(data, ARC, numbers["num_arcs"], offset)
    sources = np.repeat(np.arange(len(states), dtype=np.int32), states["num_arcs"])
    return Arrays(int(numbers["start"]), states["final_cost"], sources, arcs)


def to_openfst(graph: Arrays) -> pywrapfst.MutableFst:
    """The graph as a mutable VectorFst over the tropical semiring."""
    return cast(pywrapfst.MutableFst, pywrapfst.convert(pywrapfst.Fst.read_from_string(to_bytes(graph)), "vector"))


def to_bytes(graph: Arrays) -> bytes:
    """The bytes of a ConstFst file."""
    num_states = len(graph.final_costs)
    num_arcs = np.bincount(graph.sources, minlength=num_states)
    states = np.empty(num_states, STATE)
    states["final_cost"], states["first_arc"], states["num_arcs"] = (
        graph.final_costs,
        np.cumsum(num_arcs) - num_arcs,
        num_arcs,
    )
    for name, labels in (("num_iepsilons", graph.arcs["ilabel"]), ("num_oepsilons", graph.arcs["olabel"])):
        states[name] = np.bincount(graph.sources[labels == 0], minlength=num_states)
    numbers = np.array((_VERSION, 0, _EXPANDED, graph.start, num_states, len(graph.arcs)), NUMBERS)
    header = struct.pack("<i", MAGIC) + b"".join(struct.pack("<i", len(name)) + name for name in NAMES)
    return header + numbers.tobytes() + states.tobytes() + graph.arcs.tobytes()


def _read_header(data: bytes) -> tuple[np.void, int]:
    """The header's NUMBERS and the offset at which the header ends."""
    if int.from_bytes(data[:4], "little") != MAGIC:
        raise InputError("pywrapfst wrote a file without OpenFst's magic number; use pynini 2.1.6 or later")
    offset = 4
    for expected in NAMES:
        length = int.from_bytes(data[offset : offset + 4], "little")
        name = data[offset + 4 : offset + 4 + length]
        if name != expected:
            raise InputError(f"pywrapfst wrote an Fst of kind {name!r} instead of {expected!r}")
        offset += 4 + length
    return np.frombuffer(data, NUMBERS, 1, offset)[0], offset + NUMBERS.itemsize


def _aligned(offset: int) -> int:
    return -(-offset // 16) * 16
