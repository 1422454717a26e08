"""Layers that all nets use: masks, frame stacking and the output layer."""

import torch
from torch import Tensor, nn

from asr.features.cmvn import frame_mask as valid_frames


def frame_mask(lengths: Tensor, frames: int) -> Tensor:
    """Lengths (N,) -> (N, F, 1) bool, true on valid frames."""
    return valid_frames(lengths, frames).unsqueeze(-1)


class FrameStack(nn.Module):
    """Joins `stride` neighbouring frames into one: (N, F, D) -> (N, ceil(F / stride), stride * D).

    Zeros fill the last group of an utterance, batched or alone.
    """

    def __init__(self, stride: int):
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        n, frames, dim = x.shape
        x = x * frame_mask(lengths, frames)
        x = nn.functional.pad(x, (0, 0, 0, -frames % self.stride))
        return x.reshape(n, -1, self.stride * dim), (lengths + self.stride - 1) // self.stride


class MaskedConv(nn.Module):
    """Convolution over time that keeps the number of frames and reads zeros beyond the end of each utterance."""

    def __init__(self, dim_in: int, dim_out: int, kernel: int, dilation: int = 1):
        super().__init__()
        reach = (kernel - 1) * dilation
        self.padding = (reach // 2, reach - reach // 2)
        self.conv = nn.Conv1d(dim_in, dim_out, kernel, dilation=dilation)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = nn.functional.pad((x * mask).transpose(1, 2), self.padding)  # (N, D, F + reach)
        return self.conv(x).transpose(1, 2)  # (N, F, D_out)


class TokenOutput(nn.Module):
    """Linear layer and log-softmax: (N, F, H) -> (N, F, V), natural log."""

    def __init__(self, dim: int, num_tokens: int):
        super().__init__()
        self.linear = nn.Linear(dim, num_tokens)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).log_softmax(-1)


class LayerSum(nn.Module):
    """The sum of L layers of an encoder, side by side, with weights that are learned and add up to 1.

    (N, F, L D) -> (N, F, D). The weights begin equal.
    """

    def __init__(self, layers: int):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(layers))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("nfld,l->nfd", x.unflatten(2, (len(self.logits), -1)), self.logits.softmax(0))
