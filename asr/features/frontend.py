"""The front end: sound, stored features, or a pretrained encoder -> features, with derivatives and normalisation.

A batch, a single utterance and a stream in chunks of any size give the same values.
"""

import numpy as np
import torch
from torch import Tensor

from asr.config import FeaturesConfig, check_group
from asr.errors import InputError
from asr.features.cmvn import OF_SPEECH
from asr.features.encoders import Encoder, open_encoder
from asr.features.spectra import SoundFrontEnd

FEWEST_BANDS = 20  # stored features with fewer dimensions are cepstra


class FrontEnd(SoundFrontEnd):
    """x (N, T) samples in [-1, 1] (or (N, F, D0) for kind=stored), lengths (N,) -> features (N, F, D), lengths (N,).

    Padding never changes a valid frame; padded frames are zero. Raises InputError for an invalid configuration.
    """

    def __init__(self, cfg: FeaturesConfig, encoder: Encoder | None = None):
        """`encoder`: that of kind=pretrained; None opens the one that `cfg` names."""
        check(cfg)
        if cfg.kind == "pretrained":
            encoder = encoder or open_encoder(cfg.encoder)
            layers = choose_layers(cfg, encoder)
            super().__init__(cfg, len(layers) * encoder.dim)
            self.encoder, self.layers = encoder, layers
        else:
            super().__init__(cfg, cfg.num_bins if cfg.kind == "stored" else None)

    def underived(self, x: Tensor, lengths: Tensor) -> Tensor:
        return self.encoder(x, lengths, *self.layers) if self.kind == "pretrained" else self.static(x)

    def num_frames(self, lengths: Tensor) -> Tensor:
        """Samples (or stored frames) -> frames."""
        if self.kind == "stored":
            return lengths
        if self.kind == "pretrained":
            return torch.tensor([self.encoder.num_frames(n) for n in lengths.tolist()], device=lengths.device)
        return super().num_frames(lengths)

    def static(self, x: Tensor) -> Tensor:
        """The features of every frame of x: (N, T) or stored ones (N, F, D0) -> (N, F, D0)."""
        if self.kind != "stored":
            return super().static(x)
        if x.ndim != 3 or x.shape[2] != self.static_dim:
            raise InputError(
                f"stored features have the shape {tuple(x.shape)}, expected (N, F, {self.static_dim}); "
                "set features.num_bins to their dimension"
            )
        return x

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
    if min(layers) < encoder.lowest_layer:
        raise InputError(f"features.{name}={getattr(cfg, name)}, but the encoder {cfg.encoder} gives only its output; "
                         f"leave out features.{name}")  # fmt: skip
    return layers
