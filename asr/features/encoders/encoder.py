"""What all pretrained encoders have in common."""

import copy
import hashlib
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from asr.errors import InputError

WINDOW_S = 30.0  # longest stretch of sound that is encoded at once, if the encoder can
MARGIN_S = 2.0  # at an inner edge of a window, whose frames come from the neighbouring window


class Encoder(nn.Module, ABC):
    """Samples (T,) of `rate_hz` -> frames of `dim` values, one per `shift_samples`, out of one of `layers` layers.

    A frame depends on all sound within its window, so an encoder cannot run in a stream. Recordings longer than
    `window_s` are encoded in overlapping windows; each frame comes from the window whose edges are farther away.
    """

    rate_hz: int
    shift_samples: int
    spare_samples: int  # F frames need at most F * shift_samples + spare_samples
    dim: int
    layers: int
    lowest_layer = 0
    window_s = WINDOW_S
    licence: str | None = None  # as the source states it

    @abstractmethod
    def description(self) -> dict[str, Any]:
        """What `build_encoder` makes an encoder of the same shape from."""

    @abstractmethod
    def num_frames(self, samples: int) -> int:
        """The number of frames of a recording."""

    @abstractmethod
    def encode_window(self, x: Tensor, *layers: int) -> Tensor:
        """At most `window_s` of prepared samples (T,) -> (F, L D), as `encode` does."""

    def prepare(self, x: Tensor) -> Tensor:
        """What is done to a recording as a whole: (T,) -> (T,)."""
        return x

    def encode(self, x: Tensor, *layers: int) -> Tensor:
        """Samples (T,) -> (F, L D), the outputs of L layers, from 1 to `layers`, side by side. 0: the input of the
        first."""
        x, frames = self.prepare(x), self.num_frames(len(x))
        window, margin = (round(s * self.rate_hz / self.shift_samples) for s in (self.window_s, MARGIN_S))
        if not frames:
            return x.new_zeros(0, len(layers) * self.dim)
        starts = list(range(0, max(1, frames - 2 * margin), window - 2 * margin))
        parts = []
        for start in starts:
            end = min(start + window, frames)
            last = end * self.shift_samples + self.spare_samples if end < frames else len(x)
            y = self.encode_window(x[start * self.shift_samples : last], *layers)
            parts.append(y[margin if start else 0 : end - start - (margin if end < frames else 0)])
        return torch.cat(parts)

    def upper(self, layer: int, count: int) -> nn.Module:
        """A copy of the `count` layers after `layer`, to be trained: (N, F, D), lengths (N,) -> (N, F, D). The last
        layer of the encoder includes its normalisation.

        Raises InputError if the encoder has not so many layers, or cannot be taken apart.
        """
        if layer + count > self.layers:
            raise InputError(
                f"features.layer={layer} and model.tune_layers={count} are more than the encoder's {self.layers} layers"
            )
        return copy.deepcopy(self.part(layer, count)).requires_grad_()

    def part(self, layer: int, count: int) -> nn.Module:
        """The `count` layers after `layer`, which share their weights with the encoder."""
        raise InputError("the layers of this encoder cannot be trained; set model.tune_layers=0")

    def replace(self, layer: int, upper: nn.Module, count: int) -> None:
        """Take over the weights of `upper`, a trained copy of the `count` layers after `layer`."""
        self.part(layer, count).load_state_dict(upper.state_dict())

    def forward(self, x: Tensor, lengths: Tensor, *layers: int) -> Tensor:
        """Samples (N, T), lengths (N,) -> (N, F, L D). Recordings are encoded one by one, as padding would be heard."""
        outputs = [self.encode(x[i, :n], *layers) for i, n in enumerate(lengths.tolist())]
        return nn.utils.rnn.pad_sequence(outputs, batch_first=True)

    @property
    def num_bytes(self) -> int:
        """The size of the weights in memory."""
        return sum(tensor.nbytes for tensor in self.state_dict().values())

    def digest(self) -> str:
        """SHA-256 of the weights."""
        sha256 = hashlib.sha256()
        for name, tensor in self.state_dict().items():
            sha256.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        return sha256.hexdigest()
