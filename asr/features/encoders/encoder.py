"""What all pretrained encoders have in common."""

import hashlib
from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn


class Encoder(nn.Module, ABC):
    """Samples (T,) of `rate_hz` -> frames of `dim` values, one per `shift_samples`, out of one of `layers` layers.

    An encoder hears the whole recording before its first frame, so it cannot run in a stream.
    """

    def __init__(self, rate_hz: int, shift_samples: int, dim: int, layers: int):
        super().__init__()
        self.rate_hz, self.shift_samples, self.dim, self.layers = rate_hz, shift_samples, dim, layers

    @abstractmethod
    def description(self) -> dict[str, Any]:
        """What `build_encoder` makes an encoder of the same shape from."""

    def digest(self) -> str:
        """SHA-256 of the weights."""
        sha256 = hashlib.sha256()
        for name, tensor in self.state_dict().items():
            sha256.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        return sha256.hexdigest()

    @abstractmethod
    def num_frames(self, samples: int) -> int:
        """The number of frames of a recording."""

    @abstractmethod
    def encode(self, x: Tensor, layer: int) -> Tensor:
        """Samples (T,) -> (F, D), the output of layer 1 to `layers`."""

    def forward(self, x: Tensor, lengths: Tensor, layer: int) -> Tensor:
        """Samples (N, T), lengths (N,) -> (N, F, D). Recordings are encoded one by one, as padding would be heard."""
        outputs = [self.encode(x[i, :n], layer) for i, n in enumerate(lengths.tolist())]
        return nn.utils.rnn.pad_sequence(outputs, batch_first=True)
