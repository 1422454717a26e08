"""Layers that all nets use: masks, frame stacking, convolution and the output layer."""

import torch
from torch import Tensor, nn

from asr.features.cmvn import frame_mask as valid_frames
from asr.models.streaming import FEW, Remembering, cut


def frame_mask(lengths: Tensor, frames: int) -> Tensor:
    """Lengths (N,) -> (N, F, 1) bool, true on valid frames."""
    return valid_frames(lengths, frames).unsqueeze(-1)


class FrameStack(Remembering):
    """Joins `stride` neighbouring frames into one: (N, F, D) -> (N, ceil(F / stride), stride * D).

    Zeros fill the last group of an utterance, batched or alone.
    """

    def __init__(self, stride: int, dim: int):
        super().__init__()
        self.stride, self.dim = stride, dim

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        n, frames, dim = x.shape
        x = x * frame_mask(lengths, frames)
        x = nn.functional.pad(x, (0, 0, 0, -frames % self.stride))
        return x.reshape(n, -1, self.stride * dim), (lengths + self.stride - 1) // self.stride

    def begin(self, batch: int) -> Tensor:
        """The frames of a group that is not complete."""
        return torch.zeros(batch, 0, self.dim)

    def advance(self, x: Tensor, memory: Tensor, is_last: bool) -> tuple[Tensor, Tensor]:
        x = torch.cat([memory.to(x), x], 1)
        if is_last:
            x = nn.functional.pad(x, (0, 0, 0, -x.shape[1] % self.stride))
        groups, rest = cut(x, x.shape[1] // self.stride * self.stride)
        return groups.reshape(len(x), -1, self.stride * self.dim), rest


class MaskedConv(Remembering):
    """Convolution over time that keeps the number of frames and reads zeros beyond both ends of each utterance.

    It is centred, but reads at most `lookahead` frames to come; None: half its width.
    """

    def __init__(
        self, dim_in: int, dim_out: int, kernel: int, dilation: int = 1, lookahead: int | None = None, groups: int = 1
    ):
        super().__init__()
        reach = (kernel - 1) * dilation
        centred = reach - reach // 2
        self.lookahead = centred if lookahead is None else min(centred, lookahead)
        self.before = reach - self.lookahead
        self.padding = (self.before, self.lookahead)
        self.conv = nn.Conv1d(dim_in, dim_out, kernel, dilation=dilation, groups=groups)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = nn.functional.pad((x * mask).transpose(1, 2), self.padding)  # (N, D, F + reach)
        return self.conv(x).transpose(1, 2)  # (N, F, D_out)

    def begin(self, batch: int) -> Tensor:
        """The frames that the next one reads, zeros before the beginning."""
        return self.conv.weight.new_zeros(batch, self.padding[0], self.conv.in_channels)

    def advance(self, x: Tensor, memory: Tensor, is_last: bool) -> tuple[Tensor, Tensor]:
        x = torch.cat([memory, x], 1)
        if is_last:
            x = nn.functional.pad(x, (0, 0, 0, self.lookahead))
        ready = max(0, x.shape[1] - sum(self.padding))
        _, rest = cut(x, ready)
        if not ready:
            return x.new_zeros(len(x), 0, self.conv.out_channels), rest
        return few_convolved(x, self.conv) if ready < FEW else self.conv(x.transpose(1, 2)).transpose(1, 2), rest


def few_convolved(x: Tensor, conv: nn.Conv1d) -> Tensor:
    """`conv` of a few frames, as one product: (N, F + reach, D) -> (N, F, D_out)."""
    (kernel,), (dilation,) = conv.kernel_size, conv.dilation
    windows = x.unfold(1, (kernel - 1) * dilation + 1, 1)[..., ::dilation]  # (N, F, D, K)
    if conv.groups == 1:
        return nn.functional.linear(windows.flatten(2), conv.weight.flatten(1), conv.bias)
    y = (windows * conv.weight[:, 0]).sum(3)  # one group per dimension
    return y if conv.bias is None else y + conv.bias


class TokenOutput(nn.Module):
    """Linear layer and log-softmax: (N, F, H) -> (N, F, V), natural log."""

    def __init__(self, dim: int, num_tokens: int):
        super().__init__()
        self.linear = nn.Linear(dim, num_tokens)

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        return (x.float() if x.dtype in (torch.bfloat16, torch.float16) else x).log_softmax(-1)


class LayerSum(nn.Module):
    """The sum of L layers of an encoder, side by side, with weights that are learned and add up to 1.

    (N, F, L D) -> (N, F, D). The weights begin equal.
    """

    def __init__(self, layers: int):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(layers))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("nfld,l->nfd", x.unflatten(2, (len(self.logits), -1)), self.logits.softmax(0))
