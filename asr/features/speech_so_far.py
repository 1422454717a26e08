"""The speech that a stream has heard so far: its level, and its mean and variance around each frame.

Everything is measured over the last `MEMORY` frames, the current one included, and relative to what was heard there, so
that neither the gain nor what was before matters. A sound has a level if it lasts for `STEADY` frames: clicks and
dropouts have none.

noise       the softest sound; digital silence is none
level       the loudest sound, but at least `MARGIN` above the noise: noise alone is soft, as it is between words.
            Until `SETTLED` frames are heard, which may be speech from the first one on, the margin grows from `NARROW`
speech      frames less than `GATE` below the level, with a soft edge

Mean and variance are those of speech relative to its level; those of the training set count as `PRIOR` frames.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

MEMORY = 500  # frames
STEADY = 4  # frames
MARGIN, NARROW = 5.8, 2.3  # nepers of power: 25 dB, 10 dB
SETTLED = 50  # frames
GATE, GATE_WIDTH = 4.6, 0.25  # nepers of power: 20 dB, with a soft edge of 1 dB
PRIOR = 100.0  # frames


class Past(NamedTuple):
    """The frames before the current ones."""

    levels: Tensor  # (N, MEMORY + STEADY - 2) in nepers of power, -inf in digital silence and before the beginning
    moments: Tensor  # (N, F <= MEMORY - 1, 1 + 2 D) float64: weight of speech, its products with value and square


def begin(x: Tensor) -> Past:
    """The past of features (N, F, D) at the beginning of their utterances."""
    levels = x.new_full((len(x), MEMORY + STEADY - 2), -torch.inf)
    return Past(levels, x.new_zeros(len(x), 0, 1 + 2 * x.shape[2], dtype=torch.float64))


def judge(levels: Tensor) -> tuple[Tensor, Tensor]:
    """Levels (N, MEMORY + STEADY - 2 + F), the past included -> the level of speech (N, F), 0 if nothing was heard, and
    the weight of each frame as speech (N, F), 0 to 1."""
    loud, soft = _highest(levels, STEADY), -_highest(-levels, STEADY)  # (N, MEMORY - 1 + F); soft: -inf if partly heard
    peak = _highest(soft, MEMORY)  # (N, F)
    noise = -_highest(-loud.masked_fill(soft.isinf(), torch.inf), MEMORY)
    noise = torch.where(noise.isinf(), loud[:, MEMORY - 1 :], noise)  # no steady sound yet
    heard = (levels > -torch.inf).to(levels.dtype)[:, STEADY - 2 :].cumsum(1)
    count = heard[:, MEMORY:] - heard[:, :-MEMORY]
    margin = NARROW + (MARGIN - NARROW) * (count / SETTLED).clamp(max=1)
    level = torch.maximum(peak, noise + margin)
    now = levels[:, MEMORY + STEADY - 2 :]
    weight = ((now - torch.maximum(peak, noise + MARGIN) + GATE) / GATE_WIDTH).sigmoid()
    return level.masked_fill(level.isinf(), 0.0), weight.masked_fill(now.isinf(), 0.0)


def moments_of(x: Tensor, weights: Tensor) -> Tensor:
    """Values (N, F, D) and weights (N, F) -> (N, F, 1 + 2 D) float64."""
    w, values = weights.double()[:, :, None], x.double()
    return torch.cat([w, w * values, w * values.square()], 2)


def statistics(moments: Tensor, frames: int, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Moments (N, past + F, 1 + 2 D), the number F of the current `frames`, and the training set's statistics (D,) ->
    mean and variance (N, F, D) float64."""
    sums = nn.functional.pad(moments.cumsum(1), (0, 0, 1, 0))
    end = torch.arange(moments.shape[1] - frames + 1, moments.shape[1] + 1, device=moments.device)  # (F,)
    near = sums[:, end] - sums[:, (end - MEMORY).clamp(min=0)]
    count, first, second = near.split([1, len(mean), len(mean)], 2)
    first, second = first + PRIOR * mean.double(), second + PRIOR * (mean.double().square() + std.double().square())
    average = first / (count + PRIOR)
    return average, second / (count + PRIOR) - average.square()


def _highest(x: Tensor, frames: int) -> Tensor:
    """The maximum of every `frames` values in a row: (N, F) -> (N, F - frames + 1)."""
    return nn.functional.max_pool1d(x[:, None], frames, stride=1)[:, 0]
