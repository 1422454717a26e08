"""The extension of csrc/ctc for CUDA. As _ctc, with addresses in GPU memory and the address of a CUDA stream."""

def has_kernels() -> bool: ...
def state_size(frames: int, longest_target: int) -> int: ...

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
    def forward(self, losses: int, state: int, stream: int) -> None: ...
    def backward(
        self, state: int, posteriors: int, upstream: int, grad: int, stride_t: int, stride_n: int, stream: int
    ) -> None: ...

class DoubleBatch(FloatBatch): ...

class FloatTotals:
    def __init__(
        self,
        x: int,
        frames: int,
        batch: int,
        vocabulary: int,
        stride_t: int,
        stride_n: int,
        lengths: int,
        graphs: int,
        offsets: int,
        num_emitting: int,
        num_states: int,
        num_chunks: int,
    ) -> None: ...
    def state_words(self, goes_back: bool) -> int: ...
    def run(self, memory: int, totals: int, occupancy: int, stride_t: int, stride_n: int, stream: int) -> None: ...

class DoubleTotals(FloatTotals): ...
