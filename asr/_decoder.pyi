"""The extension of csrc/decoder. Its Python interfaces are asr/search/decoder.py and asr/graph/opened.py."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

class GraphSource:
    @property
    def num_states(self) -> int: ...
    @property
    def num_arcs(self) -> int: ...
    @property
    def max_ilabel(self) -> int: ...
    @property
    def is_implicit(self) -> bool: ...
    @property
    def max_olabel(self) -> int: ...

class Graph(GraphSource):
    def __init__(self, bytes: NDArray[np.uint8], check_all: bool) -> None: ...

class Language:
    def __init__(self, tree: NDArray[np.uint8], ngram: NDArray[np.uint8], word_of: NDArray[np.uint32]) -> None: ...

_Member = tuple[Sequence[int], int, float, int, int]  # input labels, output label, cost, states from and to
_Slot = tuple[int, list[_Member], list[float]]  # word of the n-gram model, members, final costs of the states

class DynamicGraph(GraphSource):
    def __init__(self, language: Language, slots: Sequence[_Slot], cache_bytes: int, most_bytes: int) -> None: ...
    @property
    def num_bytes(self) -> int: ...

_Path = tuple[list[int], list[int], NDArray[np.int32], float, bool]

class Phrases:
    def __init__(self, phrases: Sequence[tuple[list[int], float]], max_label: int) -> None: ...
    @property
    def num_states(self) -> int: ...

class WordLattice:
    num_states: int
    beam: float
    arcs: bytes
    finals: bytes
    tokens: bytes

class StateLattice:
    num_states: int
    num_frames: int
    complete: bool
    beam: float
    frames: list[int]
    best: list[int]
    arcs: bytes
    finals: bytes
    def determinize(self, beam: float, max_arcs: int) -> WordLattice: ...

class Utterance:
    def accept(self, log_probs: NDArray[np.float32]) -> None: ...
    def partial(self) -> tuple[_Path, int, float]: ...
    def finish(self) -> _Path: ...
    def lattice(self) -> StateLattice: ...

class Decoder:
    def __init__(
        self,
        graph: GraphSource,
        beam: float,
        max_active: int,
        min_active: int,
        acoustic_scale: float,
        word_penalty: float,
        blank_skip: float,
        lattice_beam: float,
        token_costs: list[float],
    ) -> None: ...
    def decode(self, log_probs: NDArray[np.float32], phrases: Phrases | None) -> _Path: ...
    def decode_lattice(self, log_probs: NDArray[np.float32], phrases: Phrases | None) -> tuple[_Path, StateLattice]: ...
    def start(self, phrases: Phrases | None) -> Utterance: ...

_Columns = tuple[
    int,  # start, then final, source, ilabel, olabel, cost, target as in asr.graph.automaton.Automaton
    NDArray[np.float32],
    NDArray[np.int32],
    NDArray[np.int32],
    NDArray[np.int32],
    NDArray[np.float32],
    NDArray[np.int32],
]

def hmm_expander(asks: Sequence[bool], costs: Sequence[list[float]]) -> object: ...
def expand(
    expander: object,
    labels: Callable[[int, int, int], list[int]],
    start: int,
    final: NDArray[np.float32],
    first: NDArray[np.int64],
    ilabel: NDArray[np.int32],
    olabel: NDArray[np.int32],
    cost: NDArray[np.float32],
    target: NDArray[np.int32],
    most_arcs: int,
) -> _Columns | None: ...
def spell_transcript(words: Sequence[Sequence[tuple[Sequence[int], float]]], silence: int) -> _Columns: ...
