"""A weighted finite-state transducer as numpy columns, with conversion from and to OpenFst.

Graphs of millions of arcs are built column by column; OpenFst's arc-by-arc calls cost 0.6 us per arc.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pywrapfst

from asr.graph import const_fst
from asr.graph.arrays import Arrays, Block, arc_array
from asr.graph.ranges import blocks

_BLOCK = 1 << 18  # arcs per block


@dataclass(frozen=True)
class Automaton:
    """S states and A arcs, ordered by source state. Costs are negative natural logs; label 0 is epsilon."""

    start: int
    final: np.ndarray  # (S,) float32 cost of ending in the state, inf where the state is not final
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
        """(S + 1,) int64: the arcs of state s are first[s] to first[s + 1] - 1."""
        first = np.zeros(self.num_states + 1, np.int64)
        np.cumsum(np.bincount(self.source, minlength=self.num_states), out=first[1:])
        return first

    @property
    def arc_columns(self) -> tuple[np.ndarray, ...]:
        return self.ilabel, self.olabel, self.cost, self.target

    @classmethod
    def from_arcs(cls, start: int, final: np.ndarray, source: np.ndarray, ilabel: np.ndarray, olabel: np.ndarray,
                  cost: np.ndarray, target: np.ndarray) -> "Automaton":  # fmt: skip
        """An automaton from arcs in any order."""
        order = np.argsort(source, kind="stable")  # fast on runs that are sorted already
        source, ilabel, olabel, target = (x[order].astype(np.int32) for x in (source, ilabel, olabel, target))
        return cls(start, final.astype(np.float32), source, ilabel, olabel, cost[order].astype(np.float32), target)

    @classmethod
    def from_openfst(cls, fst: pywrapfst.Fst) -> "Automaton":
        start, final, source, arcs = const_fst.from_openfst(fst)
        return cls.from_arcs(start, final, source, arcs["ilabel"], arcs["olabel"], arcs["cost"], arcs["next"])

    def to_openfst(self) -> pywrapfst.MutableFst:
        """A mutable VectorFst over the tropical semiring."""
        return const_fst.to_openfst(self.arrays())

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Automaton":
        """The automaton that `to_arrays` returned by name."""
        columns = (arrays[name] for name in ("final", "source", "ilabel", "olabel", "cost", "target"))
        return cls(int(arrays["start"]), *columns)

    def to_arrays(self) -> dict[str, Any]:
        """The columns by name, as the build cache stores them."""
        return vars(self)

    @classmethod
    def from_blocks(cls, start: int, blocks: Iterable[Block]) -> "Automaton":
        """The automaton whose states and arcs are those of the blocks, in order."""
        parts = [*blocks]
        firsts = np.cumsum([0, *(len(part.final_costs) for part in parts)])
        sources = [part.sources + first for part, first in zip(parts, firsts, strict=False)]
        final, _, *columns = (np.concatenate(column) for column in zip(*parts, strict=True))
        return cls(start, final, np.concatenate(sources).astype(np.int32), *columns)

    def blocks(self) -> Iterator[Block]:
        """All states with their arcs, in blocks for `asr.graph.pack.Writer`."""
        first = self.first
        for low, high in blocks(first, _BLOCK):
            arcs = slice(first[low], first[high])
            yield Block(self.final[low:high], self.source[arcs] - low, *(c[arcs] for c in self.arc_columns))

    def arrays(self) -> Arrays:
        """The graph as `asr.graph.pack.write` and `asr.graph.const_fst` take it."""
        return Arrays(self.start, self.final, self.source, arc_array(*self.arc_columns))
