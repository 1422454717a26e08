"""Features of sound: MFCC, log-mel or log-linear filterbank energies, or frames of the raw wave.

The definitions are those of Kaldi's feat/feature-window.cc, feat/mel-computations.cc and feat/feature-functions.cc
(snip-edges, Povey window, pre-emphasis 0.97, power spectrum, no energy term).
"""

import math

import torch
from torch import Tensor, nn

from asr.config import FeaturesConfig, check_group
from asr.errors import InputError
from asr.features.cmvn import Cmvn, frame_mask

KINDS = ("logmel", "mfcc", "loglinear", "wave")
MOST_SAMPLES = 1 << 14  # longest window; with it and the next limit a filter bank takes less than 200 MB
MOST_WEIGHTS = 1 << 22
ENERGIES = ("logmel", "loglinear", "stored")  # kinds that cmvn=speech and causal take for log filterbank energies
FLAT = 1e-3  # nepers
SAMPLE_SCALE = 32768.0  # Kaldi works on 16-bit integers
PREEMPHASIS = 0.97
LIFTER = 22.0
DELTA_WINDOW = 2  # frames on each side of a first-order derivative
CPU_FRAMES = 1024  # frames computed at a time, so that they fit the CPU cache
GPU_FRAMES = 1 << 17  # frames computed at a time, so that they fit the GPU memory


class SoundFrontEnd(nn.Module):
    """x (N, T) samples in [-1, 1], lengths (N,) -> features (N, F, D), lengths (N,).

    F = 1 + (T - window) // shift, or 0 if T is less than the window. Padding never changes a valid frame; padded
    frames are zero. Raises InputError for an invalid configuration.
    """

    window: Tensor
    filters: Tensor
    cosines: Tensor
    delta_kernels: Tensor

    def __init__(self, cfg: FeaturesConfig, static_dim: int | None = None):
        """`static_dim`: the values per frame of a subclass that has features of another kind."""
        super().__init__()
        if static_dim is None:
            check_sound(cfg)
            static_dim = {"mfcc": cfg.num_ceps, "wave": samples_of(cfg.window_ms, cfg.sample_rate_hz)}.get(
                cfg.kind, cfg.num_bins
            )
        self.kind = cfg.kind
        self.dither, self.floor, self.num_bins = cfg.dither, cfg.floor, cfg.num_bins
        self.window_samples = samples_of(cfg.window_ms, cfg.sample_rate_hz)
        self.shift_samples = samples_of(cfg.shift_ms, cfg.sample_rate_hz)
        self.fft_samples = 1 << (self.window_samples - 1).bit_length()
        self.static_dim = static_dim
        self.dim = static_dim * (1 + cfg.deltas)
        if cfg.kind in ("logmel", "mfcc", "loglinear"):
            self.register_buffer("window", povey_window(self.window_samples)[1:].float(), persistent=False)
            filters = _filters(cfg, self.fft_samples).float().repeat_interleave(2, 0)  # (fft+2, bins)
            self.register_buffer("filters", filters, persistent=False)
        if cfg.kind == "mfcc":
            self.register_buffer("cosines", _cosines(cfg.num_bins, cfg.num_ceps).float(), persistent=False)
        self.register_buffer("delta_kernels", delta_kernels(cfg.deltas).float(), persistent=False)
        energies = static_dim if cfg.kind in ENERGIES else 0
        c0 = math.sqrt(cfg.num_bins) if cfg.kind == "mfcc" else 0.0
        self.cmvn = Cmvn(cfg.cmvn, self.dim, energies, cfg.kind == "wave", c0)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        features, lengths = self.unnormalised(x, lengths)
        return self.cmvn(features, lengths, self.levels(features)), lengths

    def levels(self, features: Tensor) -> Tensor:
        """The power of each frame of unnormalised features (N, F, D): (N, F) in nepers, -inf in digital silence.

        Stored features are taken for log filterbank energies. These are equal in all bins in digital silence.
        """
        static = features[:, :, : self.static_dim]
        if self.kind == "wave":
            return static.square().mean(2).log()
        if self.kind == "mfcc":
            level = static[:, :, 0] / math.sqrt(self.num_bins)
            return level.masked_fill(level < math.log(self.floor) + FLAT, -math.inf)
        return static.logsumexp(2).masked_fill(static.amax(2) - static.amin(2) < FLAT, -math.inf)

    def unnormalised(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The features before normalisation: (N, F, D), lengths (N,)."""
        lengths = lengths.to(x.device)
        features = self.underived(x, lengths)  # (N, F, D0)
        lengths = self.num_frames(lengths)
        if not features.shape[1]:
            return features.new_zeros(len(x), 0, self.dim), lengths
        if len(self.delta_kernels):
            index = _clamped(features.shape[1], lengths, self.delta_kernels.shape[1] // 2)  # (N, F+2R)
            padded = features.gather(1, index[:, :, None].expand(-1, -1, features.shape[2]))
            features = self.append_deltas(padded)
        return features.masked_fill(~frame_mask(lengths, features.shape[1])[:, :, None], 0.0), lengths

    def underived(self, x: Tensor, lengths: Tensor) -> Tensor:
        """The features without derivatives: (N, T), lengths (N,) -> (N, F, D0)."""
        return self.static(x)

    def num_frames(self, lengths: Tensor) -> Tensor:
        """Samples -> frames."""
        return (1 + (lengths - self.window_samples).div(self.shift_samples, rounding_mode="floor")).clamp(min=0)

    def static(self, x: Tensor) -> Tensor:
        """The features of every frame of x: (N, T) -> (N, F, D0)."""
        if x.ndim != 2 or not x.is_floating_point():
            raise InputError(f"samples are {x.dtype} of shape {tuple(x.shape)}, expected float32 (N, T) in [-1, 1]")
        if x.shape[1] < self.window_samples:
            return x.new_zeros(len(x), 0, self.static_dim)
        if self.kind == "wave":
            frames = x.unfold(1, self.window_samples, self.shift_samples)  # (N, F, W)
            return frames - frames.mean(2, keepdim=True)
        with torch.no_grad():
            x = x * SAMPLE_SCALE
            if self.dither and self.training:
                x = x + self.dither * torch.randn_like(x)
            frames = x.unfold(1, self.window_samples, self.shift_samples)  # (N, F, W), a view
            at_once = max(1, (CPU_FRAMES if x.device.type == "cpu" else GPU_FRAMES) // len(x))
            return torch.cat([self.spectral(block) for block in frames.split(at_once, 1)], 1)

    def spectral(self, frames: Tensor) -> Tensor:
        """Frames of samples (N, F, W) -> log filterbank energies or cepstra (N, F, D0), without gradient."""
        frames = frames - frames.mean(2, keepdim=True)
        # The Povey window is zero on the first sample, so that one needs no pre-emphasis and is left out.
        padded = frames.new_zeros(*frames.shape[:2], self.fft_samples)
        emphasised = torch.sub(
            frames[:, :, 1:], frames[:, :, :-1], alpha=PREEMPHASIS, out=padded[:, :, : self.window_samples - 1]
        )
        emphasised.mul_(self.window)
        spectrum = torch.view_as_real(torch.fft.rfft(padded)).flatten(2)  # (N, F, fft+2): real, imaginary, real ...
        # Each filter sums re^2 and im^2. With few filters the transposed product is faster: 23 in half the time.
        energies = self.filters.T @ spectrum.mul_(spectrum).flatten(0, 1).T  # (bins, N * F)
        features = energies.clamp_(min=self.floor).log_().T.unflatten(0, frames.shape[:2])
        return features @ self.cosines if self.kind == "mfcc" else features

    def append_deltas(self, padded: Tensor) -> Tensor:
        """Features with R frames of context at each end (N, F+2R, D0) -> with derivatives (N, F, D)."""
        radius = self.delta_kernels.shape[1] // 2
        frames = max(0, padded.shape[1] - 2 * radius)
        shifted = [padded[:, i : i + frames] for i in range(2 * radius + 1)]  # each (N, F, D0)
        deltas = [sum(w * x for w, x in zip(kernel, shifted, strict=True)) for kernel in self.delta_kernels]
        return torch.cat([shifted[radius], *deltas], 2)


def check_sound(cfg: FeaturesConfig) -> None:
    """Raises InputError naming the first option of `cfg` that does not fit sound."""
    check_group("features", cfg)
    if cfg.kind not in KINDS:
        raise InputError(f"features.kind={cfg.kind} is not made from sound; expected {', '.join(KINDS)}")
    window = samples_of(cfg.window_ms, cfg.sample_rate_hz)
    if window > MOST_SAMPLES:
        raise InputError(
            f"features.window_ms={cfg.window_ms:g} at features.sample_rate_hz={cfg.sample_rate_hz} is {window} "
            f"samples; expected at most {MOST_SAMPLES}"
        )
    if cfg.kind != "wave" and cfg.num_bins * max(window, cfg.num_ceps) > MOST_WEIGHTS:
        raise InputError(
            f"features.num_bins={cfg.num_bins} is too many for a window of {window} samples and {cfg.num_ceps} "
            f"cepstra; expected at most {MOST_WEIGHTS} filter weights"
        )
    if not 0 < samples_of(cfg.shift_ms, cfg.sample_rate_hz) <= samples_of(cfg.window_ms, cfg.sample_rate_hz):
        raise InputError(
            f"features.shift_ms is {cfg.shift_ms} and features.window_ms {cfg.window_ms}; "
            "expected a shift above zero and no longer than the window"
        )
    if cfg.kind == "mfcc" and not 0 < cfg.num_ceps <= cfg.num_bins:
        raise InputError(f"features.num_ceps is {cfg.num_ceps}, expected 1 to features.num_bins={cfg.num_bins}")
    if cfg.kind != "wave" and not 0 <= cfg.low_hz < _high_hz(cfg) <= cfg.sample_rate_hz / 2:
        raise InputError(
            f"the filters reach from features.low_hz={cfg.low_hz} to {_high_hz(cfg)} Hz; "
            f"expected an ascending range within 0 to {cfg.sample_rate_hz / 2} Hz"
        )


def povey_window(samples: int) -> Tensor:
    """Kaldi's default window, a Hann window raised to the power 0.85: (samples,) float64."""
    return torch.hann_window(samples, periodic=False, dtype=torch.float64).pow(0.85)


def samples_of(ms: float, rate_hz: int) -> int:
    return math.floor(ms * rate_hz / 1000 + 1e-6)


def _high_hz(cfg: FeaturesConfig) -> float:
    return cfg.high_hz if cfg.high_hz > 0 else cfg.sample_rate_hz / 2 + cfg.high_hz


def _filters(cfg: FeaturesConfig, fft_samples: int) -> Tensor:
    """Triangular filters, evenly spaced in mel (loglinear: in Hz): (fft/2+1, bins) float64. The Nyquist bin is 0."""

    def scale(hz: Tensor) -> Tensor:
        return hz if cfg.kind == "loglinear" else 1127.0 * torch.log1p(hz / 700.0)

    edges = scale(torch.tensor([cfg.low_hz, _high_hz(cfg)], dtype=torch.float64))
    points = edges[0] + (edges[1] - edges[0]) / (cfg.num_bins + 1) * torch.arange(cfg.num_bins + 2)
    left, centre, right = points[:-2], points[1:-1], points[2:]
    hz = torch.arange(fft_samples // 2 + 1, dtype=torch.float64) * (cfg.sample_rate_hz / fft_samples)
    at = scale(hz)[:, None]  # (fft/2+1, 1)
    filters = torch.minimum((at - left) / (centre - left), (right - at) / (right - centre)).clamp(min=0)
    filters[-1] = 0
    return filters


def _cosines(bins: int, ceps: int) -> Tensor:
    """Orthonormal DCT-II with cepstral liftering: (bins, ceps) float64."""
    k = torch.arange(ceps, dtype=torch.float64)
    n = torch.arange(bins, dtype=torch.float64)[:, None]
    cosines = math.sqrt(2 / bins) * torch.cos(math.pi / bins * (n + 0.5) * k)
    cosines[:, 0] = math.sqrt(1 / bins)
    return cosines * (1 + 0.5 * LIFTER * torch.sin(math.pi * k / LIFTER))


def delta_kernels(orders: int) -> Tensor:
    """Regression kernels of the derivatives 1..orders: (orders, 2R+1) float64. Each is the kernel before it, convolved
    with the first-order kernel."""
    first = torch.arange(-DELTA_WINDOW, DELTA_WINDOW + 1, dtype=torch.float64)
    first = first / first.square().sum()
    kernels = torch.zeros(orders, 2 * DELTA_WINDOW * orders + 1, dtype=torch.float64)
    kernel = torch.ones(1, dtype=torch.float64)
    for order in range(orders):
        padded = nn.functional.pad(kernel, (2 * DELTA_WINDOW, 2 * DELTA_WINDOW))
        kernel = padded.unfold(0, len(first), 1) @ first.flip(0)
        margin = DELTA_WINDOW * (orders - order - 1)
        kernels[order, margin : margin + len(kernel)] = kernel
    return kernels


def _clamped(frames: int, lengths: Tensor, radius: int) -> Tensor:
    """Frame numbers -radius .. frames+radius-1, clamped to each utterance: (N, frames + 2 radius)."""
    index = torch.arange(-radius, frames + radius, device=lengths.device).expand(len(lengths), -1)
    return torch.minimum(index, lengths[:, None] - 1).clamp(min=0)
