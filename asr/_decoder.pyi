import numpy as np
from numpy.typing import NDArray

class Graph:
    def __init__(self, bytes: NDArray[np.uint8]) -> None: ...
    @property
    def num_states(self) -> int: ...
    @property
    def num_arcs(self) -> int: ...
    @property
    def max_ilabel(self) -> int: ...
    @property
    def max_olabel(self) -> int: ...

class Decoder:
    def __init__(
        self,
        graph: Graph,
        beam: float,
        max_active: int,
        min_active: int,
        acoustic_scale: float,
        word_penalty: float,
        blank_penalty: float,
    ) -> None: ...
    def decode(self, log_probs: NDArray[np.float32]) -> tuple[list[int], list[int], NDArray[np.int32], float, bool]: ...
