"""The exponential moving average of the weights, which is evaluated and kept in the place of the weights.

After t steps with the decay d it moves to the weights w as in Tarvainen & Valpola 2017 (arXiv:1703.01780), with the
warm-up of TensorFlow's ExponentialMovingAverage, so that it soon forgets the random beginning:

    m = a m + (1 - a) w,  a = min(d, (1 + t) / (10 + t))
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MovingAverage:
    """The average of `parameters`; with a decay of 0 there is none, and the parameters stay what they are."""

    def __init__(self, parameters: list[nn.Parameter], decay: float):
        self.parameters, self.decay = parameters if decay else [], decay
        self.begin()

    def begin(self) -> None:
        """Begin with the parameters as they are."""
        self.values = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def update(self, steps: float) -> None:
        """Move towards the parameters after so many optimiser steps."""
        decay = min(self.decay, (1 + steps) / (10 + steps))
        for value, parameter in zip(self.values, self.parameters, strict=True):
            value.lerp_(parameter, 1 - decay)

    @contextmanager
    def loaded(self) -> Iterator[None]:
        """The parameters have the values of the average, in the memory that all processes share."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for value, parameter in zip(self.values, self.parameters, strict=True):
            kept = parameter.clone()
            parameter.copy_(value)
            value.copy_(kept)

    def tensors(self) -> dict[str, Tensor]:
        """The values for a resume point; the inverse is `restore`."""
        return {f"average.{i}": value for i, value in enumerate(self.values)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Raises KeyError if a value is missing, RuntimeError if it has another shape."""
        for i, value in enumerate(self.values):
            value.copy_(tensors[f"average.{i}"])
