"""Filters that are trained on the raw wave, between the front end (features=wave) and a net of any kind.

Each window of samples is convolved with band-pass filters half as long as the window; a value is the logarithm of the
mean power behind one filter. A filter is a pair of kernels a quarter of a period apart: the power of a tone then does
not depend on its phase. `learned` trains every tap (Zeghidour et al. 2018, "Learning filterbanks from raw speech",
arXiv:1711.01161), `sinc` only the two edges of each band (SincNet: Ravanelli and Bengio 2018, arXiv:1808.00158). Both
begin with the same bands, side by side on the mel scale, so that an untrained stage is close to a log-mel filterbank.
Each window is treated alone: streams need nothing more.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from asr.config import FeaturesConfig, ModelConfig
from asr.errors import InputError
from asr.models.layers import FrameStack
from asr.models.streaming import Remembering

FLOOR = 1e-5  # power, where that of speech is about 1
POSITIONS = 10  # of a filter per length of the filter
KILOMEL = 1000 / 1127  # of mel(f) = 1127 ln(1 + f / 700)
TINY = 1e-6  # sin(x) / x is 1
SCALE = 1 / 3  # at the start: log energies of speech have a standard deviation of about 3 nepers


class WaveFilters(nn.Module, ABC):
    """Windows of samples (N, F, W) -> log powers (N, F, K), each with a factor and an offset that are learned."""

    def __init__(self, num_filters: int):
        super().__init__()
        self.scale = nn.Parameter(torch.full((num_filters,), SCALE))
        self.offset = nn.Parameter(torch.zeros(num_filters))

    @abstractmethod
    def kernels(self) -> Tensor:
        """The filters (K, 2, taps)."""

    def forward(self, x: Tensor) -> Tensor:
        kernels, (n, frames, samples) = self.kernels(), x.shape
        x, stride = x.reshape(n * frames, 1, samples), max(1, kernels.shape[2] // POSITIONS)
        y = nn.functional.conv1d(x, kernels.flatten(0, 1)[:, None], stride=stride)  # (N F, 2 K, P)
        power = y.square().mean(2).reshape(n, frames, len(kernels), 2).sum(3)  # (N, F, K)
        return self.scale * (power + FLOOR).log() + self.offset


class LearnedFilters(WaveFilters):
    def __init__(self, low: Tensor, high: Tensor, taps: int, rate_hz: int):
        super().__init__(len(low))
        self.size = math.sqrt(2 * taps)
        self.taps = nn.Parameter(self.size * band_pass(low, high, taps, rate_hz))  # of size 1, as the optimiser likes

    def kernels(self) -> Tensor:
        return self.taps / self.size


class SincFilters(WaveFilters):
    """The edges are kept in units of 1000 mel: one learning rate then suits low and high bands."""

    def __init__(self, low: Tensor, high: Tensor, taps: int, rate_hz: int):
        super().__init__(len(low))
        self.num_taps, self.rate_hz = taps, rate_hz
        self.low = nn.Parameter(low)  # (K,)
        self.width = nn.Parameter(high - low)  # (K,)

    def edges(self) -> tuple[Tensor, Tensor]:
        """The lower and upper edges in kilomel, each (K,)."""
        low = self.low.abs()
        return low, low + self.width.abs()

    def kernels(self) -> Tensor:
        return band_pass(*self.edges(), self.num_taps, self.rate_hz)


def band_pass(low: Tensor, high: Tensor, taps: int, rate_hz: int) -> Tensor:
    """Pairs of filters (K, 2, taps) that pass the bands from `low` to `high` (K,) in kilomel, of norm 1.

    2 f2 sinc(2 f2 n) - 2 f1 sinc(2 f1 n) = 2 b sinc(b n) cos(2 pi c n) in a Hamming window (Ravanelli and Bengio 2018,
    equations 4 to 7), with edges f1 and f2 in cycles per sample, b = f2 - f1, c = (f1 + f2) / 2 and sinc(x) =
    sin(pi x) / (pi x). The second of the pair has sin for cos. White noise of variance 1 has power 1 behind each. All
    operations can be exported.
    """
    n = torch.arange(taps, device=low.device, dtype=low.dtype) - (taps - 1) / 2
    f1, f2 = ((hertz(edge) / rate_hz).clamp(max=0.5)[:, None] for edge in (low, high))
    inner = math.pi * (f2 - f1) * n
    inner = inner.masked_fill(inner == 0, TINY)
    shape = inner.sin() / inner * (0.54 + 0.46 * (2 * math.pi / max(1, taps - 1) * n).cos())
    turn = math.pi * (f1 + f2) * n
    kernels = torch.stack([shape * turn.cos(), shape * turn.sin()], 1)  # (K, 2, taps)
    return kernels / kernels.square().sum((1, 2), keepdim=True).sqrt()


def hertz(kilomel: Tensor) -> Tensor:
    return 700 * ((kilomel * KILOMEL).exp() - 1)


def bands(cfg: FeaturesConfig) -> tuple[Tensor, Tensor]:
    """Lower and upper edges of `num_bins` bands side by side from `low_hz` to `high_hz`, in kilomel, each (K,)."""
    highest = cfg.high_hz if cfg.high_hz > 0 else cfg.sample_rate_hz / 2 + cfg.high_hz
    if not 0 <= cfg.low_hz < highest <= cfg.sample_rate_hz / 2:
        raise InputError(f"the filters reach from features.low_hz={cfg.low_hz:g} to {highest:g} Hz; expected an "
                         f"ascending range within 0 to {cfg.sample_rate_hz / 2:g} Hz")  # fmt: skip
    low, high = (math.log1p(hz / 700) / KILOMEL for hz in (cfg.low_hz, highest))
    edges = torch.linspace(low, high, cfg.num_bins + 1)
    return edges[:-1], edges[1:]


FILTERS: dict[str, type[LearnedFilters] | type[SincFilters]] = {"learned": LearnedFilters, "sinc": SincFilters}


def make_filters(features: FeaturesConfig, model: ModelConfig, window: int) -> WaveFilters | None:
    """The stage that `model.filters` names, for windows of so many samples; None if there is none.

    Raises InputError for features that are not samples.
    """
    if model.filters == "none":
        return None
    if features.kind != "wave" or features.deltas:
        given = f"features.deltas={features.deltas}" if features.kind == "wave" else f"features={features.kind}"
        raise InputError(f"model.filters={model.filters} hears samples, not {given}; set features=wave and "
                         "features.deltas=0, or leave model.filters out")  # fmt: skip
    return FILTERS[model.filters](*bands(features), window // 2 | 1, features.sample_rate_hz)


def check_levels(features: FeaturesConfig, model: ModelConfig) -> None:
    """Raises InputError for a training of filters in whose floor quiet speech would sink."""
    if model.filters != "none" and features.kind == "wave" and features.cmvn == "none":
        raise InputError(f"model.filters={model.filters} expects speech of power 1, and with features.cmvn=none quiet "
                         "speech would sink in its floor; set features.cmvn=speech, or causal for streams")  # fmt: skip


class FilteredStack(Remembering):
    """The filters in front of a net's stack of frames."""

    def __init__(self, filters: WaveFilters, stack: FrameStack):
        super().__init__()
        self.filters, self.stack = filters, stack

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        stacked, lengths = self.stack(self.filters(x), lengths)
        return stacked, lengths

    def begin(self, batch: int) -> Tensor:
        return self.stack.begin(batch)

    def advance(self, x: Tensor, memory: Tensor, is_last: bool) -> tuple[Tensor, Tensor]:
        return self.stack.advance(self.filters(x), memory, is_last)
