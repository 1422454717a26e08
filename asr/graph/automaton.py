"""A weighted finite-state transducer as numpy columns, and its way to and from OpenFst.

Graphs of millions of arcs are built here column by column; arc-by-arc calls into OpenFst cost 0.6 us each.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pywrapfst

from asr.graph.pack import Arrays, Block, arc_array, from_fst
from asr.graph.ranges import blocks

# OpenFst's ConstFst version 2, little endian (const-fst.h): a header, 20-byte states, 16-byte arcs.
_MAGIC = 2125659606
_STATE = np.dtype([("final", "<f4"), ("first", "<u4"), ("arcs", "<u4"), ("iepsilons", "<u4"), ("oepsilons", "<u4")])
_BLOCK = 1 << 18  # arcs to a block
_EXPANDED = 1  # the one property bit that always holds; OpenFst works the others out when it needs them


@dataclass(frozen=True)
class Automaton:
    """S states and A arcs, the arcs ordered by source. Costs are negative natural logs; label 0 is epsilon."""

    start: int
    final: np.ndarray  # (S,) float32 cost of ending in the state, inf where not final
    source: np.ndarray  # (A,) int32, ascending
    ilabel: np.ndarray  # (A,) int32
    olabel: np.ndarray  # (A,) int32
    cost: np.ndarray  # (A,) float32
    target: np.ndarray  # (A,) int32

    @property
    def num_states(self) -> int:
        return len(self.final)

    @property
    def num_arcs(self) -> int:
        return len(self.source)

    @property
    def first(self) -> np.ndarray:
        """(S + 1,) int64: the arcs of state s are first[s] up to first[s + 1]."""
        first = np.zeros(self.num_states + 1, np.int64)
        np.cumsum(np.bincount(self.source, minlength=self.num_states), out=first[1:])
        return first

    @classmethod
    def from_arcs(cls, start: int, final: np.ndarray, source: np.ndarray, ilabel: np.ndarray, olabel: np.ndarray,
                  cost: np.ndarray, target: np.ndarray) -> "Automaton":  # fmt: skip
        """From arcs in any order."""
        order = np.argsort(source, kind="stable")  # merges runs that are in order already
        source, ilabel, olabel, target = (x[order].astype(np.int32) for x in (source, ilabel, olabel, target))
        return cls(start, final.astype(np.float32), source, ilabel, olabel, cost[order].astype(np.float32), target)

    @classmethod
    def from_openfst(cls, fst: pywrapfst.Fst) -> "Automaton":
        start, final, source, arcs = from_fst(fst)
        return cls.from_arcs(start, final, source, arcs["ilabel"], arcs["olabel"], arcs["cost"], arcs["next"])

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Automaton":
        """From what `to_arrays` gave."""
        columns = (arrays[name] for name in ("final", "source", "ilabel", "olabel", "cost", "target"))
        return cls(int(arrays["start"]), *columns)

    def to_arrays(self) -> dict[str, Any]:
        """By name, as they are stored."""
        return vars(self)

    @classmethod
    def from_blocks(cls, start: int, blocks: Iterable[Block]) -> "Automaton":
        """From all its states and their arcs."""
        parts = [*blocks]
        firsts = np.cumsum([0, *(len(part.final_costs) for part in parts)])
        sources = [part.sources + first for part, first in zip(parts, firsts, strict=False)]
        final, _, *columns = (np.concatenate(column) for column in zip(*parts, strict=True))
        return cls(start, final, np.concatenate(sources).astype(np.int32), *columns)

    def blocks(self) -> Iterator[Block]:
        """The states and their arcs, some thousand at a time, as `asr.graph.pack.Writer` takes them."""
        first = self.first
        for low, high in blocks(first, _BLOCK):
            arcs = slice(first[low], first[high])
            yield Block(self.final[low:high], self.source[arcs] - low, *(c[arcs] for c in self.arc_columns))

    def arrays(self) -> Arrays:
        """The form that `asr.graph.pack.write` takes."""
        return Arrays(self.start, self.final, self.source, arc_array(*self.arc_columns))

    @property
    def arc_columns(self) -> tuple[np.ndarray, ...]:
        return self.ilabel, self.olabel, self.cost, self.target

    def to_openfst(self) -> pywrapfst.MutableFst:
        """A mutable OpenFst vector over the tropical semiring."""
        first = self.first
        states = np.empty(self.num_states, _STATE)
        states["final"], states["first"], states["arcs"] = self.final, first[:-1], np.diff(first)
        for name, labels in (("iepsilons", self.ilabel), ("oepsilons", self.olabel)):
            states[name] = np.bincount(self.source[labels == 0], minlength=self.num_states)
        data = (self._header(), states.tobytes(), self.arrays().arcs.tobytes())
        return cast(pywrapfst.MutableFst, pywrapfst.convert(pywrapfst.Fst.read_from_string(b"".join(data)), "vector"))

    def _header(self) -> bytes:
        version, flags = 2, 0
        return struct.pack("<ii5si8siiQqqq", _MAGIC, 5, b"const", 8, b"standard", version, flags, _EXPANDED,
                           self.start, self.num_states, self.num_arcs)  # fmt: skip
