"""Cepstral mean and variance normalisation, the last stage of the front end.

none        no normalisation
global      one mean and standard deviation per dimension, estimated once on the training set
utterance   over the valid frames of each utterance; needs the whole utterance, so it cannot run in a stream
speech      over the speech within `REACH` frames before and after; as `utterance`, it cannot run in a stream
causal      over the speech heard so far: the same in a batch and in a stream (asr.features.speech_so_far)

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
from asr.features import speech_so_far
from asr.features.speech_so_far import GATE, GATE_WIDTH, MEMORY, Past

KINDS = ("none", "global", "utterance", "speech", "causal")
OF_SPEECH = ("speech", "causal")  # those that need to know the level of each frame
STD_FLOOR = 1e-5
REACH = 150  # frames on each side
LOUDEST = 20  # frames; half of them in a shorter utterance
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
    rise: Tensor

    def __init__(self, kind: str, dim: int, energies: int = 0, samples: bool = False, c0: float = 0.0):
        """`energies`: the first so many of the `dim` dimensions are log energies. `samples`: all are samples. `c0`:
        what a neper of power adds to the first dimension, if that is a cepstrum."""
        super().__init__()
        if kind not in KINDS:
            near = difflib.get_close_matches(kind, KINDS, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(f"features.cmvn is {kind!r}, expected one of {', '.join(KINDS)}{hint}")
        self.kind = kind
        keep = kind in ("global", "causal")
        self.register_buffer("mean", torch.zeros(dim), persistent=keep)  # (D,)
        self.register_buffer("std", torch.zeros(dim), persistent=keep)  # (D,); zero until set
        moments = torch.zeros(3, dim, dtype=torch.float64)  # (3, D): count, mean, sum of squared deviations
        self.register_buffer("moments", moments, persistent=False)
        self.limit, self.least_std = (torch.inf, STD_FLOOR) if samples else (LIMIT, LEAST_STD)
        lowest = torch.full((dim,), -self.limit)
        lowest[:energies] = -QUIET
        self.register_buffer("lowest", lowest, persistent=False)  # (D,)
        rise = torch.zeros(dim)  # per neper of power
        rise[:energies], rise[:1] = 1.0, c0 or float(energies > 0)
        self.register_buffer("rise", rise, persistent=False)  # (D,)
        self.samples = samples

    @property
    def has_stats(self) -> bool:
        return bool((self.std > 0).all())

    def set_stats(self, mean: Tensor, std: Tensor) -> None:
        """Global statistics, each (D,)."""
        self.mean.copy_(mean)
        self.std.copy_(std.clamp(min=STD_FLOOR))

    def accumulate(self, x: Tensor, lengths: Tensor, levels: Tensor) -> None:
        """Add the valid frames of x (N, F, D) to the global statistics, by Chan's parallel update; digital silence
        (levels (N, F) of -inf) is left out. Those of `causal` are of speech, relative to its level."""
        levels = levels.masked_fill(~frame_mask(lengths, x.shape[1]), -torch.inf)
        weights = (levels > -torch.inf).double()
        if self.kind == "causal" and x.shape[1]:
            level, weights = speech_so_far.judge(torch.cat([speech_so_far.begin(x).levels, levels], 1))
            x = self.relative(x, level)
        chosen = weights > 0
        valid, w = x[chosen].double(), weights[chosen].double()[:, None]  # (frames, D), (frames, 1)
        added = w.sum()
        if not added:
            return
        count, mean, squares = self.moments
        total = count + added
        centre = (w * valid).sum(0) / added
        shift = centre - mean
        squares = squares + (w * (valid - centre).square()).sum(0) + shift.square() * count * added / total
        self.moments.copy_(torch.stack([total, mean + shift * added / total, squares]))
        self.set_stats(self.moments[1], (self.moments[2] / total).sqrt())

    def forward(self, x: Tensor, lengths: Tensor, levels: Tensor | None = None) -> Tensor:
        """`levels` (N, F), the power of each frame in nepers, -inf in digital silence, are needed for `OF_SPEECH`."""
        mask = frame_mask(lengths, x.shape[1])[:, :, None]  # (N, F, 1)
        if self.kind == "global":
            x = self.normalise(x)
        elif self.kind == "causal":
            assert levels is not None
            x, _ = self.follow(x, levels.masked_fill(~mask[:, :, 0], -torch.inf), speech_so_far.begin(x))
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
        self.check_stats()
        return (x - self.mean) / self.std

    def check_stats(self) -> None:
        if not self.has_stats:
            raise InputError(
                f"features.cmvn is {self.kind} but no statistics are set; "
                "call set_global_stats or accumulate_stats on training audio first, or use cmvn=utterance"
            )

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

    def follow(self, x: Tensor, levels: Tensor, past: Past) -> tuple[Tensor, Past]:
        """Causal normalisation of the next frames x (N, F, D) of levels (N, F) after the `past`."""
        self.check_stats()
        if not x.shape[1]:
            return x, past
        levels = torch.cat([past.levels, levels], 1)
        level, weights = speech_so_far.judge(levels)
        x = self.relative(x, level)
        moments = torch.cat([past.moments, speech_so_far.moments_of(x, weights)], 1)
        mean, variance = speech_so_far.statistics(moments, x.shape[1], self.mean, self.std)
        y = ((x - mean) / variance.clamp(min=self.least_std**2).sqrt()).to(x.dtype)
        y = torch.maximum(y.clamp(max=self.limit), self.lowest)
        return y, Past(levels[:, -past.levels.shape[1] :], moments[:, 1 - MEMORY :])

    def relative(self, x: Tensor, level: Tensor) -> Tensor:
        """Features (N, F, D) relative to the level of speech (N, F) in nepers of power."""
        if self.samples:
            return x * (-level / 2).exp()[:, :, None]
        return x - level[:, :, None] * self.rise

    @property
    def can_stream(self) -> bool:
        return self.kind not in ("utterance", "speech")

    def stream(self) -> Callable[[Tensor, Tensor], Tensor]:
        """A function of features (F, D) and levels (F,) that normalises the next frames of one stream: (F, D)."""
        if not self.can_stream:
            raise InputError(
                f"features.cmvn={self.kind} needs the whole utterance and cannot run in a stream; use cmvn=causal"
            )
        if self.kind == "none":
            return lambda x, levels: x
        if self.kind == "global":
            return lambda x, levels: self.normalise(x)
        past = speech_so_far.begin(self.mean.expand(1, 0, -1))

        def follow(x: Tensor, levels: Tensor) -> Tensor:
            nonlocal past
            y, past = self.follow(x[None], levels[None], past)
            return y[0]

        return follow


def speech_weights(levels: Tensor, mask: Tensor) -> Tensor:
    """Levels (N, F) in nepers of power and the valid frames (N, F) -> weights of speech, 0 to 1, 0 in padding."""
    if not levels.shape[1]:
        return levels
    levels = levels.masked_fill(~mask, -torch.inf)
    heard = levels > -torch.inf  # (N, F)
    last = (heard.sum(1, keepdim=True) - 1).clamp(min=0, max=2 * LOUDEST - 1) // 2  # (N, 1)
    level = levels.sort(1, descending=True).values.gather(1, last)
    return ((levels - level + GATE) / GATE_WIDTH).sigmoid().masked_fill(~heard, 0.0)
