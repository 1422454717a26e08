"""Continuing from a trained recogniser (`init`): its encoder, its net, and the outputs of the tokens that stay."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from torch import Tensor

from asr.config import Config, FeaturesConfig, ModelConfig, value_of
from asr.data.extract import record_path
from asr.errors import InputError
from asr.features import recorded
from asr.features.encoders import open_encoder, write_encoder
from asr.features.frontend import choose_layers
from asr.models.acoustic import AcousticModel
from asr.tokens import Tokens
from asr.training.discriminative import Search

OUTPUT = "net.output.linear."
CONDITIONING = "net.intermediate.conditioning.weight"  # (H, V)
ENCODER = "encoder"  # folder in that of the training
# Options of the net that may change
FREE_OF_NET = ("dropout", "chunk", "left", "dynamic_chunk", "tune_layers", "lora_rank", "layer_drop")
OF_ENCODERS = ("kind", "sum_layers", "sample_rate_hz", "shift_ms", "deltas", "cmvn")  # those that stay
FREE = ("encoder", "layer", "dither")  # options of other features that may change
NEW_WEIGHT = 0.01  # standard deviation of the weights of a new token
NEW_BIAS = -2.0  # of a new token, relative to the lowest bias of those that stay


@dataclass(frozen=True)
class Start:
    """The recogniser that a training continues, from the file `path`. Layers of its encoder that were trained with
    the net are put back into the encoder."""

    path: str
    model: AcousticModel
    cfg: Config  # its features, model and unit; for states of HMMs the criterion, "ctc" if that is not known
    tokens: Tokens
    make_search: Callable[[], Search] | None = None  # None if it has no graph

    def __post_init__(self) -> None:
        if (count := self.cfg.model.tune_layers) and hasattr(self.model, "upper"):
            self.model.frontend.encoder.replace(self.model.frontend.layers[0], self.model.upper, count)

    @property
    def layer(self) -> int:
        """The layer of the encoder whose output the net reads, or the first of several."""
        return self.model.frontend.layers[0] + self.cfg.model.tune_layers

    def options(self, tune_layers: int = 0) -> dict[str, object]:
        """The options that a training has to repeat, by full name. It trains the upper `tune_layers` of the encoder."""
        features, model = self.cfg.features, self.cfg.model
        found = {f"features.{name}": getattr(features, name) for name in shaping(features)}
        found |= {f"model.{name}": getattr(model, name) for name in net_shape(model)}
        if features.kind == "pretrained" and not features.sum_layers:
            layer = self.layer - tune_layers
            found["features.layer"] = None if layer == self.model.frontend.encoder.layers else layer
        return found | {"tokens.unit": self.cfg.tokens.unit}

    def with_encoder(self, cfg: Config, folder: Path) -> Config:
        """`cfg` with the start's encoder, whose place is in the `folder` of the training.

        Raises InputError if `cfg` names another one.
        """
        if cfg.features.kind != "pretrained" or self.cfg.features.kind != "pretrained":
            return cfg
        place = str((folder / ENCODER).absolute())
        if cfg.features.encoder not in (None, place):
            raise InputError(f"init={self.path} brings its own encoder; leave out features.encoder")
        return replace(cfg, features=replace(cfg.features, encoder=place))

    def write_encoder(self, cfg: Config, is_new: bool) -> None:
        """Write the encoder that `with_encoder` names. That of a training that has begun (not `is_new`) stays.

        Raises InputError if that is not the start's.
        """
        if cfg.features.kind != "pretrained" or cfg.features.encoder is None:
            return
        own, place = self.model.frontend.encoder, Path(cfg.features.encoder)
        if is_new or not (place / "config.json").exists():
            write_encoder(own, place)
        elif open_encoder(str(place)).digest() != own.digest():
            raise InputError(f"{place} is not the encoder of init={self.path}; restore it, choose another folder with "
                             f"out=, or delete {place.parent}")  # fmt: skip

    def check_fits(self, cfg: Config) -> None:
        """Raises InputError naming the first option of `cfg` that would make another net of it."""
        own = features_of_sound(cfg)
        for name, value in self.options().items():
            found = value_of(replace(cfg, features=own), name)
            if found != value and name != "features.layer":
                raise InputError(f"init={self.path} has {name}={value}, but this training {name}={found}; "
                                 f"set {name}={value}, or train without init")  # fmt: skip
        if own.kind == "pretrained":
            layer = choose_layers(own, self.model.frontend.encoder)[0] + cfg.model.tune_layers
            if layer != self.layer:
                raise InputError(
                    f"the net of init={self.path} reads layer {self.layer} of its encoder, but features.layer and "
                    f"model.tune_layers of this training lead to layer {layer}; change them so that their sum is "
                    f"{self.layer}"
                )

    def table(self, tokens: Tokens) -> Tokens:
        """The start's tokens, then those of `tokens` that it lacks."""
        return Tokens([*self.tokens.symbols, *(symbol for symbol in tokens.symbols if symbol not in self.tokens)])

    def take_over(self, model: AcousticModel, tokens: Tokens) -> str:
        """Copy the start's net and normalisation into a new model with the outputs `tokens`; returns what became of
        the tokens, as `kept 27 of 30 tokens, 3 new: x y z`."""
        state = {name: x for name, x in self.model.state_dict().items() if not name.startswith(("frontend.encoder.",
                 "upper."))}  # fmt: skip
        kept = [symbol for symbol in tokens.symbols if symbol in self.tokens]
        new = [symbol for symbol in tokens.symbols if symbol not in self.tokens]
        gone = [symbol for symbol in self.tokens.symbols if symbol not in tokens]
        for name in ("weight", "bias"):
            state[OUTPUT + name] = self._rows(state[OUTPUT + name], tokens)
        if CONDITIONING in state:
            state[CONDITIONING] = self._rows(state[CONDITIONING].T, tokens).T
        model.load_state_dict(state | {n: x for n, x in model.state_dict().items() if n.startswith("upper.")})
        parts = [f"kept {len(kept)} of {len(self.tokens)} tokens"]
        parts += [f"{len(new)} new: {' '.join(new)}"] if new else []
        parts += [f"{len(gone)} gone: {' '.join(gone)}"] if gone else []
        return ", ".join(parts)

    def _rows(self, old: Tensor, tokens: Tokens) -> Tensor:
        """Weights (V, H) or biases (V,) of the output layer for other tokens."""
        at = [self.tokens.encode([symbol])[0] if symbol in self.tokens else None for symbol in tokens.symbols]
        rng = torch.Generator().manual_seed(len(tokens))
        stays = old[[i for i in at if i is not None]]
        if old.ndim == 1:
            fresh = torch.full((len(at),), float(stays.min()) + NEW_BIAS)
        else:
            fresh = NEW_WEIGHT * torch.randn(len(at), old.shape[1], generator=rng)
        return torch.stack([fresh[k] if i is None else old[i].cpu() for k, i in enumerate(at)])


def net_shape(model: ModelConfig) -> list[str]:
    """The options of the net that stay. Layers that only the criterion reads may change."""
    free = FREE_OF_NET if model.self_conditioned else (*FREE_OF_NET, "intermediate")
    return [f.name for f in fields(ModelConfig) if f.name not in free]


def shaping(features: FeaturesConfig) -> list[str]:
    """The options of features that a net depends on."""
    if features.kind == "pretrained":
        return list(OF_ENCODERS)
    return [f.name for f in fields(features) if f.name not in FREE]


def features_of_sound(cfg: Config) -> FeaturesConfig:
    """The features of a training, computed from sound. Stored ones are left as they are if it is not recorded what
    made them, or if an encoder did."""
    features = cfg.features
    front_end = recorded.read(record_path(cfg.data.train)) if features.kind == "stored" else None
    if front_end is None or front_end.kind == "pretrained":
        return features
    return recorded.behind(front_end, features)
