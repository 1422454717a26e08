"""The front end: samples -> MFCC, log-mel or log-linear filterbank energies, or frames of the raw wave.

A batch, a single utterance and a stream in chunks of any size give the same values. The definitions are those of
Kaldi's feat/feature-window.cc, feat/mel-computations.cc and feat/feature-functions.cc (snip-edges, Povey window,
pre-emphasis 0.97, power spectrum, no energy term).
"""

import math

import numpy as np
import torch
from torch import Tensor, nn

from asr.config import FeaturesConfig, check_group
from asr.errors import InputError
from asr.features.cmvn import OF_SPEECH, Cmvn, frame_mask
from asr.features.encoders import Encoder, open_encoder

MOST_SAMPLES = 1 << 14  # longest window; with it and the next limit a filter bank takes less than 200 MB
MOST_WEIGHTS = 1 << 22
ENERGIES = ("logmel", "loglinear", "stored")  # kinds that cmvn=speech and causal take for log filterbank energies
FEWEST_BANDS = 20  # stored features with fewer dimensions are cepstra
FLAT = 1e-3  # nepers
SAMPLE_SCALE = 32768.0  # Kaldi works on 16-bit integers
PREEMPHASIS = 0.97
LIFTER = 22.0
DELTA_WINDOW = 2  # frames on each side of a first-order derivative
CPU_FRAMES = 1024  # frames computed at a time, so that they fit the CPU cache
GPU_FRAMES = 1 << 17  # frames computed at a time, so that they fit the GPU memory


class FrontEnd(nn.Module):
    """x (N, T) samples in [-1, 1] (or (N, F, D0) for kind=stored), lengths (N,) -> features (N, F, D), lengths (N,).

    F = 1 + (T - window) // shift, or 0 if T is less than the window. Padding never changes a valid frame; padded
    frames are zero. Raises InputError for an invalid configuration.
    """

    window: Tensor
    filters: Tensor
    cosines: Tensor
    delta_kernels: Tensor

    def __init__(self, cfg: FeaturesConfig, encoder: Encoder | None = None):
        """`encoder`: that of kind=pretrained; None opens the one that `cfg` names."""
        super().__init__()
        check(cfg)
        self.kind = cfg.kind
        if cfg.kind == "pretrained":
            self.encoder = encoder or open_encoder(cfg.encoder)
            self.layers = choose_layers(cfg, self.encoder)
        self.dither, self.floor, self.num_bins = cfg.dither, cfg.floor, cfg.num_bins
        self.window_samples = _samples(cfg.window_ms, cfg.sample_rate_hz)
        self.shift_samples = _samples(cfg.shift_ms, cfg.sample_rate_hz)
        self.fft_samples = 1 << (self.window_samples - 1).bit_length()
        static = {"mfcc": cfg.num_ceps, "wave": self.window_samples}.get(cfg.kind, cfg.num_bins)
        if cfg.kind == "pretrained":
            static = len(self.layers) * self.encoder.dim
        self.static_dim = static
        self.dim = static * (1 + cfg.deltas)
        if cfg.kind in ("logmel", "mfcc", "loglinear"):
            self.register_buffer("window", povey_window(self.window_samples)[1:].float(), persistent=False)
            filters = _filters(cfg, self.fft_samples).float().repeat_interleave(2, 0)  # (fft+2, bins)
            self.register_buffer("filters", filters, persistent=False)
        if cfg.kind == "mfcc":
            self.register_buffer("cosines", _cosines(cfg.num_bins, cfg.num_ceps).float(), persistent=False)
        self.register_buffer("delta_kernels", delta_kernels(cfg.deltas).float(), persistent=False)
        energies = static if cfg.kind in ENERGIES else 0
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
        features = self.encoder(x, lengths, *self.layers) if self.kind == "pretrained" else self.static(x)  # (N, F, D0)
        lengths = self.num_frames(lengths)
        if not features.shape[1]:
            return features.new_zeros(len(x), 0, self.dim), lengths
        if len(self.delta_kernels):
            index = _clamped(features.shape[1], lengths, self.delta_kernels.shape[1] // 2)  # (N, F+2R)
            padded = features.gather(1, index[:, :, None].expand(-1, -1, features.shape[2]))
            features = self.append_deltas(padded)
        return features.masked_fill(~frame_mask(lengths, features.shape[1])[:, :, None], 0.0), lengths

    def num_frames(self, lengths: Tensor) -> Tensor:
        """Samples (or stored frames) -> frames."""
        if self.kind == "stored":
            return lengths
        if self.kind == "pretrained":
            return torch.tensor([self.encoder.num_frames(n) for n in lengths.tolist()], device=lengths.device)
        return (1 + (lengths - self.window_samples).div(self.shift_samples, rounding_mode="floor")).clamp(min=0)

    def static(self, x: Tensor) -> Tensor:
        """The features of every frame of x, without derivatives: (N, T) -> (N, F, D0)."""
        if self.kind == "stored":
            if x.ndim != 3 or x.shape[2] != self.static_dim:
                raise InputError(
                    f"stored features have the shape {tuple(x.shape)}, expected (N, F, {self.static_dim}); "
                    "set features.num_bins to their dimension"
                )
            return x
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
        energies = spectrum.mul_(spectrum) @ self.filters  # (N, F, bins): each filter sums re^2 and im^2
        features = energies.clamp_(min=self.floor).log_()
        return features @ self.cosines if self.kind == "mfcc" else features

    def append_deltas(self, padded: Tensor) -> Tensor:
        """Features with R frames of context at each end (N, F+2R, D0) -> with derivatives (N, F, D)."""
        radius = self.delta_kernels.shape[1] // 2
        frames = max(0, padded.shape[1] - 2 * radius)
        shifted = [padded[:, i : i + frames] for i in range(2 * radius + 1)]  # each (N, F, D0)
        deltas = [sum(w * x for w, x in zip(kernel, shifted, strict=True)) for kernel in self.delta_kernels]
        return torch.cat([shifted[radius], *deltas], 2)

    def set_global_stats(self, mean: Tensor, std: Tensor) -> None:
        """Mean and standard deviation, each (D,), for cmvn=global, and the prior of cmvn=causal."""
        self.cmvn.set_stats(mean, std)

    @torch.no_grad()
    def accumulate_stats(self, x: Tensor, lengths: Tensor) -> None:
        """Add a batch, as given to `forward`, to the global statistics; they are ready for use after each call."""
        features, lengths = self.unnormalised(x, lengths)
        self.cmvn.accumulate(features, lengths, self.levels(features))

    @property
    def can_stream(self) -> bool:
        """Whether `stream` gives the features of sound while it arrives."""
        return self.kind not in ("pretrained", "stored") and self.cmvn.can_stream

    def stream(self) -> "FeatureStream":
        """A stream for one utterance. Raises InputError for cmvn=utterance and kind=pretrained, which need the whole
        utterance."""
        if self.kind == "pretrained":
            raise InputError("features=pretrained hears the whole recording at once and cannot run in a stream; "
                             "train with features=logmel and cmvn=causal for streams")  # fmt: skip
        return FeatureStream(self)


class FeatureStream:
    """Features of one utterance whose samples arrive in chunks.

    `accept(samples (T,))` returns the newly completed frames (F, D), `finish()` the remaining ones. For kind=stored
    `accept` takes frames (F, D0). With derivatives, a frame is returned once its right context has arrived.
    """

    def __init__(self, frontend: FrontEnd):
        self._frontend = frontend
        self._normalise = frontend.cmvn.stream()
        self._device = frontend.cmvn.mean.device
        self._radius = frontend.delta_kernels.shape[1] // 2
        self._rest = torch.zeros(0, device=self._device)  # samples from the start of the next frame
        self._context = torch.zeros(1, 0, frontend.static_dim, device=self._device)  # frames of the next one's context

    @torch.no_grad()
    def accept(self, samples: Tensor | np.ndarray) -> Tensor:
        x = torch.as_tensor(samples).to(self._device)
        if self._frontend.kind == "stored":
            return self._derive(self._frontend.static(x[None]))
        x = torch.cat([self._rest, x])
        static = self._frontend.static(x[None])  # (1, F, D0)
        self._rest = x[static.shape[1] * self._frontend.shift_samples :]
        return self._derive(static)

    @torch.no_grad()
    def finish(self) -> Tensor:
        """The frames that waited for right context: the last frame is repeated, as in a batch."""
        return self._derive(self._context[:, -1:].repeat(1, self._radius, 1))

    def _derive(self, static: Tensor) -> Tensor:
        """New static frames (1, F, D0) -> the frames whose right context is complete, with derivatives and normalised:
        (F', D)."""
        if not self._context.shape[1]:
            self._context = static[:, :1].repeat(1, self._radius, 1)
        context = torch.cat([self._context, static], 1)
        ready = max(0, context.shape[1] - 2 * self._radius)
        self._context = context[:, ready:]
        features = self._frontend.append_deltas(context)  # (1, F', D)
        return self._normalise(features[0], self._frontend.levels(features)[0])


def check(cfg: FeaturesConfig) -> None:
    """Raises InputError naming the first invalid option."""
    check_group("features", cfg)
    _check_sum(cfg)
    if cfg.kind == "stored":
        if cfg.cmvn in OF_SPEECH and (cfg.num_bins < FEWEST_BANDS or cfg.deltas):
            raise InputError(
                f"features.cmvn={cfg.cmvn} takes stored features for log filterbank energies, but these have "
                f"num_bins={cfg.num_bins} and deltas={cfg.deltas}; set features.cmvn=utterance for cepstra"
            )
        return
    if cfg.kind == "pretrained":
        if cfg.cmvn in OF_SPEECH:
            raise InputError(f"features.cmvn={cfg.cmvn} needs log filterbank energies; set features.cmvn=global")
        return
    window = _samples(cfg.window_ms, cfg.sample_rate_hz)
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
    if not 0 < _samples(cfg.shift_ms, cfg.sample_rate_hz) <= _samples(cfg.window_ms, cfg.sample_rate_hz):
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


def _check_sum(cfg: FeaturesConfig) -> None:
    """Raises InputError for a sum of layers that there are not, or whose columns would be taken for others."""
    if not cfg.sum_layers:
        return
    if cfg.kind not in ("pretrained", "stored"):
        raise InputError(f"features.sum_layers={cfg.sum_layers} needs features=pretrained, not {cfg.kind}")
    if cfg.deltas:
        raise InputError(f"features.sum_layers={cfg.sum_layers} needs features.deltas=0, not {cfg.deltas}")
    if cfg.kind == "stored" and cfg.num_bins % len(cfg.sum_layers):
        raise InputError(f"features.num_bins={cfg.num_bins} is no multiple of the {len(cfg.sum_layers)} layers of "
                         "features.sum_layers; set it to the dimension of the stored features")  # fmt: skip
    if len(set(cfg.sum_layers)) < len(cfg.sum_layers):
        raise InputError(f"features.sum_layers={cfg.sum_layers} names a layer twice; name each once")


def choose_layers(cfg: FeaturesConfig, encoder: Encoder) -> list[int]:
    """The layers that `cfg` asks for.

    Raises InputError if the encoder lacks one, or has another rate or frame shift.
    """
    shift_ms = 1000 * encoder.shift_samples / encoder.rate_hz
    for name, value, own in (
        ("sample_rate_hz", cfg.sample_rate_hz, encoder.rate_hz),
        ("shift_ms", cfg.shift_ms, shift_ms),
    ):
        if value != own:
            raise InputError(
                f"features.{name}={value:g}, but the encoder {cfg.encoder} has {own:g}; set features.{name}={own:g}"
            )
    if cfg.sum_layers and cfg.layer is not None:
        raise InputError(f"features.sum_layers={cfg.sum_layers} and features.layer={cfg.layer} exclude each other")
    name, layers = ("sum_layers", cfg.sum_layers) if cfg.sum_layers else ("layer", [cfg.layer])
    layers = [encoder.layers if layer is None else layer for layer in layers]
    if max(layers) > encoder.layers:
        raise InputError(f"features.{name}={getattr(cfg, name)}, but the encoder {cfg.encoder} has {encoder.layers} "
                         "layers")  # fmt: skip
    return layers


def povey_window(samples: int) -> Tensor:
    """Kaldi's default window, a Hann window raised to the power 0.85: (samples,) float64."""
    return torch.hann_window(samples, periodic=False, dtype=torch.float64).pow(0.85)


def _samples(ms: float, rate_hz: int) -> int:
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
