"""Depthwise convolution over chunks of frames: no frame reads beyond the end of its chunk."""

import torch
from torch import Tensor, nn


class DepthwiseConv(nn.Conv1d):
    """A convolution of each dimension over time: (N, F, H) -> (N, F, H).

    It reads the past alone, or with `is_causal=False` also `kernel // 2` frames to come, up to the end of the chunk (Li
    et al. 2023, arXiv:2304.09325).
    """

    def __init__(self, dim: int, kernel: int, is_causal: bool):
        super().__init__(dim, dim, kernel, groups=dim)
        self.after = 0 if is_causal else kernel // 2
        self.before = kernel - 1 - self.after

    def advance(self, x: Tensor, valid: Tensor | None, past: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
        """x (N, F, H), its valid frames (N, F, 1), None: all, and `before` frames of the past -> (N, F, H), past."""
        x = torch.cat([past, x if valid is None else x * valid], 1)  # (N, before + F, H)
        return self.convolved(x, chunk), x[:, x.shape[1] - self.before :]

    def convolved(self, x: Tensor, chunk: int) -> Tensor:
        """x (N, before + F, H) -> (N, F, H), each chunk with zeros after its end."""
        frames = x.shape[1] - self.before
        if not self.after or not chunk:
            return self(nn.functional.pad(x.transpose(1, 2), (0, self.after))).transpose(1, 2)
        x = nn.functional.pad(x, (0, 0, 0, -frames % chunk))
        starts = torch.arange(0, x.shape[1] - self.before, chunk, device=x.device)
        chunks = x[:, starts[:, None] + torch.arange(self.before + chunk, device=x.device)]  # (N, C, before + chunk, H)
        y = self(nn.functional.pad(chunks.flatten(0, 1).transpose(1, 2), (0, self.after)))  # (N C, H, chunk)
        return y.transpose(1, 2).reshape(x.shape[0], -1, x.shape[2])[:, :frames]

    def nothing(self, batch: int) -> Tensor:
        """The past of the first frame."""
        dtype, device = self.weight.dtype, self.weight.device  # of weights that may be divided (FSDP)
        return torch.zeros(batch, self.before, self.in_channels, dtype=dtype, device=device)
