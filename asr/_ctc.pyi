from typing import Any

def state_size(frames: int, longest_target: int) -> int: ...
def forward(
    x: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: int,
    zero_infinity: bool,
    logits: bool,
    losses: Any,
    state: Any,
    threads: int,
) -> None: ...
def backward(
    x: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: int,
    logits: bool,
    state: Any,
    upstream: Any,
    grad: Any,
    threads: int,
) -> None: ...
