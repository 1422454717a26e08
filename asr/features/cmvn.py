"""Cepstral mean and variance normalisation, the last stage of the front end.

none        no normalisation
global      one mean and standard deviation per dimension, estimated once on the training set
utterance   over the valid frames of each utterance; needs the whole utterance, so it cannot run in a stream
speech      over the speech within `REACH` frames before and after; as `utterance`, it cannot run in a stream
running     over the last `WINDOW` frames, including the current one: causal, the same in a batch and in a stream

`speech` does not depend on what stands around the speech. The level of an utterance is the one that its loudest
`LOUDEST` frames reach, so that a pop of the microphone does not set it. Frames less than `GATE` below it are speech.
Where `REACH` frames around hold fewer than `FEWEST` of them, those of the whole utterance fill up. Values other
than samples are limited to `LIMIT` standard deviations, log energies to `QUIET` below the mean, so that digital silence
and the noise of a room are the same.
"""

import difflib
from collections.abc import Callable

import torch
from torch import Tensor, nn

from asr.errors import InputError

KINDS = ("none", "global", "utterance", "speech", "running")
WINDOW = 300  # frames of running normalisation: 3 s at a shift of 10 ms
PRIOR = 100  # weight, in frames, of the global statistics in running normalisation, if they are set
STD_FLOOR = 1e-5
REACH = 150  # frames on each side
LOUDEST = 20  # frames; half of them in a shorter utterance
GATE, GATE_WIDTH = 4.6, 0.25  # nepers of power: 20 dB, with a soft edge of 1 dB
FEWEST = 50  # frames
LEAST_STD = 0.5  # of an energy or cepstrum that hardly varies
LIMIT, QUIET = 3.0, 1.5  # standard deviations


def frame_mask(lengths: Tensor, frames: int) -> Tensor:
    """Lengths (N,) -> (N, F) bool, True on valid frames."""
    return torch.arange(frames, device=lengths.device) < lengths[:, None]


class Cmvn(nn.Module):
    """(N, F, D), lengths (N,) -> (N, F, D) float32, with zeros in padded frames."""

    mean: Tensor
    std: Tensor
    moments: Tensor
    lowest: Tensor

    def __init__(self, kind: str, dim: int, energies: int = 0, samples: bool = False):
        """`energies`: the first so many of the `dim` dimensions are log energies. `samples`: all are samples."""
        super().__init__()
        if kind not in KINDS:
            near = difflib.get_close_matches(kind, KINDS, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(f"features.cmvn is {kind!r}, expected one of {', '.join(KINDS)}{hint}")
        self.kind = kind
        keep = kind in ("global", "running")
        self.register_buffer("mean", torch.zeros(dim), persistent=keep)  # (D,)
        self.register_buffer("std", torch.zeros(dim), persistent=keep)  # (D,); zero until set
        moments = torch.zeros(3, dim, dtype=torch.float64)  # (3, D): count, mean, sum of squared deviations
        self.register_buffer("moments", moments, persistent=False)
        self.limit, self.least_std = (torch.inf, STD_FLOOR) if samples else (LIMIT, LEAST_STD)
        lowest = torch.full((dim,), -self.limit)
        lowest[:energies] = -QUIET
        self.register_buffer("lowest", lowest, persistent=False)  # (D,)

    @property
    def has_stats(self) -> bool:
        return bool((self.std > 0).all())

    def set_stats(self, mean: Tensor, std: Tensor) -> None:
        """Global statistics, each (D,)."""
        self.mean.copy_(mean)
        self.std.copy_(std.clamp(min=STD_FLOOR))

    def accumulate(self, x: Tensor, lengths: Tensor, levels: Tensor) -> None:
        """Add the valid frames of x (N, F, D) to the global statistics, by Chan's parallel update; digital silence
        (levels (N, F) of -inf) is left out."""
        valid = x[frame_mask(lengths, x.shape[1]) & (levels > -torch.inf)].double()  # (frames, D)
        if not len(valid):
            return
        count, mean, squares = self.moments
        total = count + len(valid)
        shift = valid.mean(0) - mean
        squares = squares + (valid - valid.mean(0)).square().sum(0) + shift.square() * count * len(valid) / total
        self.moments.copy_(torch.stack([total, mean + shift * len(valid) / total, squares]))
        self.set_stats(self.moments[1], (self.moments[2] / total).sqrt())

    def forward(self, x: Tensor, lengths: Tensor, levels: Tensor | None = None) -> Tensor:
        """`levels` (N, F), the power of each frame in nepers, -inf in digital silence, are needed for `speech`."""
        mask = frame_mask(lengths, x.shape[1])[:, :, None]  # (N, F, 1)
        if self.kind == "global":
            x = self.normalise(x)
        elif self.kind == "running":
            x = self.run(x)
        elif self.kind == "speech":
            assert levels is not None
            x = self.normalise_speech(x.masked_fill(~mask, 0.0), speech_weights(levels, mask[:, :, 0]))
        elif self.kind == "utterance":
            x = x.masked_fill(~mask, 0.0)
            frames = lengths.clamp(min=1)[:, None, None]  # (N, 1, 1)
            mean = x.sum(1, keepdim=True, dtype=torch.float64) / frames  # float64: padding may reorder the sum
            x = (x - mean.to(x.dtype)).masked_fill(~mask, 0.0)
            std = (x.square().sum(1, keepdim=True, dtype=torch.float64) / frames).sqrt()
            x = x / std.to(x.dtype).clamp(min=STD_FLOOR)
        return x.masked_fill(~mask, 0.0)

    def normalise(self, x: Tensor) -> Tensor:
        """Global normalisation of x (..., D)."""
        if not self.has_stats:
            raise InputError(
                "features.cmvn is global but no statistics are set; "
                "call set_global_stats or accumulate_stats on training audio first, or use cmvn=utterance"
            )
        return (x - self.mean) / self.std

    def normalise_speech(self, x: Tensor, weights: Tensor) -> Tensor:
        """x (N, F, D), weights (N, F) -> (N, F, D), normalised by the weighted frames around each frame."""
        w = weights.double()[:, :, None]  # (N, F, 1)
        values = x.double()
        moments = torch.cat([w, w * values, w * values.square()], 2)  # (N, F, 1 + 2 D)
        whole = moments.sum(1, keepdim=True)
        whole = whole / whole[:, :, :1].clamp(min=1e-9)
        sums = nn.functional.pad(moments.cumsum(1), (0, 0, 1, 0))
        frame = torch.arange(x.shape[1], device=x.device)
        near = sums[:, (frame + REACH + 1).clamp(max=x.shape[1])] - sums[:, (frame - REACH).clamp(min=0)]
        near = near + whole * (FEWEST - near[:, :, :1]).clamp(min=0)
        count, first, second = near.split([1, x.shape[2], x.shape[2]], 2)
        mean = first / count.clamp(min=1e-9)
        std = (second / count.clamp(min=1e-9) - mean.square()).clamp(min=self.least_std**2).sqrt()
        normalised = ((values - mean) / std).to(x.dtype)
        limited = torch.maximum(normalised.clamp(max=self.limit), self.lowest)
        return torch.where((count > 0) | (self.lowest < -QUIET), limited, self.lowest)  # energies of digital silence

    def run(self, x: Tensor, history: Tensor | None = None) -> Tensor:
        """Running normalisation of x (N, F, D). `history` (N, H, D), H <= WINDOW: the frames before x."""
        past = 0 if history is None else history.shape[1]
        whole = (x if history is None else torch.cat([history, x], 1)).double()  # (N, H+F, D)
        end = torch.arange(past + 1, past + x.shape[1] + 1, device=x.device)  # (F,)
        start = (end - WINDOW).clamp(min=0)
        count = (end - start)[:, None].double()  # (F, 1)

        def windowed(values: Tensor) -> Tensor:  # (N, H+F, D) -> (N, F, D)
            sums = nn.functional.pad(values.cumsum(1), (0, 0, 1, 0))
            return sums[:, end] - sums[:, start]

        first, second = windowed(whole), windowed(whole.square())
        if self.has_stats:
            mean, std = self.mean.double(), self.std.double()
            first, second = first + PRIOR * mean, second + PRIOR * (mean.square() + std.square())
            count = count + PRIOR
        else:
            second = second + 1.0  # the variance of the first few frames is too small to divide by
        mean = first / count
        std = (second / count - mean.square()).clamp(min=STD_FLOOR**2).sqrt()
        return ((x - mean) / std).to(x.dtype)

    @property
    def can_stream(self) -> bool:
        return self.kind not in ("utterance", "speech")

    def stream(self) -> Callable[[Tensor], Tensor]:
        """A function (F, D) -> (F, D) that normalises the next frames of one stream."""
        if not self.can_stream:
            raise InputError(
                f"features.cmvn={self.kind} needs the whole utterance and cannot run in a stream; "
                "use cmvn=running or cmvn=global"
            )
        if self.kind == "none":
            return lambda x: x
        if self.kind == "global":
            return self.normalise
        history = self.mean.new_zeros(1, 0, len(self.mean))

        def run(x: Tensor) -> Tensor:
            nonlocal history
            y = self.run(x[None], history)[0]
            history = torch.cat([history, x[None]], 1)[:, -WINDOW:]
            return y

        return run


def speech_weights(levels: Tensor, mask: Tensor) -> Tensor:
    """Levels (N, F) in nepers of power and the valid frames (N, F) -> weights of speech, 0 to 1, 0 in padding."""
    if not levels.shape[1]:
        return levels
    levels = levels.masked_fill(~mask, -torch.inf)
    heard = levels > -torch.inf  # (N, F)
    last = (heard.sum(1, keepdim=True) - 1).clamp(min=0, max=2 * LOUDEST - 1) // 2  # (N, 1)
    level = levels.sort(1, descending=True).values.gather(1, last)
    return ((levels - level + GATE) / GATE_WIDTH).sigmoid().masked_fill(~heard, 0.0)
