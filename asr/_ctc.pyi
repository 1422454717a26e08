"""The extension of csrc/ctc for the CPU. Addresses are those of Tensor.data_ptr(); strides are in elements."""

import numpy as np

def state_size(frames: int, batch: int, vocabulary: int, longest_target: int, threads: int) -> int: ...

class FloatBatch:
    def __init__(
        self,
        x: int,
        frames: int,
        batch: int,
        vocabulary: int,
        stride_t: int,
        stride_n: int,
        targets: int,
        longest_target: int,
        input_lengths: int,
        target_lengths: int,
        blank: int,
        zero_infinity: bool,
        logits: bool,
    ) -> None: ...
    def forward(self, losses: int, state: int, state_words: int, threads: int) -> None: ...
    def backward(
        self, state: int, state_words: int, upstream: int, grad: int, stride_t: int, stride_n: int, threads: int
    ) -> None: ...
    def align(self, paths: int, scores: int, threads: int) -> None: ...

class DoubleBatch(FloatBatch): ...

class Acceptor:
    def __init__(
        self,
        outputs: np.ndarray,
        labels: np.ndarray,
        in_first: np.ndarray,
        in_state: np.ndarray,
        in_log_weight: np.ndarray,
        out_first: np.ndarray,
        out_state: np.ndarray,
        out_log_weight: np.ndarray,
        start: np.ndarray,
        end: np.ndarray,
        log_empty: float,
    ) -> None: ...
    def packed(self) -> np.ndarray: ...

def log_totals(
    graphs: list[Acceptor],
    is_shared: bool,
    x: int,
    frames: int,
    batch: int,
    vocabulary: int,
    lengths: int,
    totals: int,
    occupancy: int,
    threads: int,
) -> None: ...
