"""The acoustic model: front end and net together, from samples (or stored features) to token log-probs."""

import copy
import math

import torch
from torch import Tensor, nn

from asr.config import FeaturesConfig, ModelConfig
from asr.errors import InputError
from asr.features.encoders import Encoder
from asr.features.frontend import FrontEnd
from asr.models import build_model
from asr.models.conformer import ConformerNet
from asr.models.filters import make_filters
from asr.models.layers import LayerSum
from asr.models.streaming import Net


class AcousticModel(nn.Module):
    """samples (N, T) or stored features (N, F, D0), lengths (N,) -> log-probs (N, F', V), lengths' (N,)."""

    def __init__(
        self,
        features: FeaturesConfig,
        model: ModelConfig,
        num_tokens: int,
        encoder: Encoder | None = None,
        upper: nn.Module | None = None,
    ):
        """`encoder`: that of features=pretrained; None opens the one that `features` names. `upper`: the layers of the
        encoder that `model.tune_layers` asks for; None takes them from the encoder.

        Raises InputError for options that do not fit each other.
        """
        super().__init__()
        self.frontend = FrontEnd(features, encoder)
        if model.tune_layers:
            self.upper = upper or upper_layers(features, model, self.frontend)
        self.parts = max(1, len(features.sum_layers))  # layers of the encoder, side by side
        if features.sum_layers:
            self.sum = LayerSum(self.parts)
        filters = make_filters(features, model, self.frontend.dim)
        self.net = build_model(model, self.frontend.dim // self.parts, num_tokens, filters)
        self.num_tokens = num_tokens
        self.subsampling = model.subsampling
        self.frame_s = features.shift_ms / 1000 * model.subsampling  # seconds per output frame

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        features, lengths = self.frontend(x, lengths)  # (N, F, D)
        return self.classify(features, lengths)

    def classify(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, F, D) -> log-probs (N, F', V), lengths'."""
        return self.net(self.net_input(features, lengths), lengths)

    def outputs(self, features: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        """Features (N, F, D) -> log-probs (N, F', V) of the layers of `model.intermediate`, then those of the net, and
        lengths'."""
        return self.net.outputs(self.net_input(features, lengths), lengths)

    def net_input(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Features (N, F, D) after the layers of the encoder that are trained with the net."""
        if hasattr(self, "upper"):
            features = self.upper(features, lengths)
        return self.sum(features) if hasattr(self, "sum") else features

    @property
    def lookahead_s(self) -> float:
        """Seconds of sound that must follow a frame before its log-probs come; infinite if the net cannot stream."""
        return self.net.lookahead * self.frame_s if self.net.can_stream else math.inf

    def with_chunk(self, chunk: int, left: int = 0) -> "AcousticModel":
        """A model of the same weights, shared, whose attention reads other chunks; 0: whole utterances.

        The weights should come from a training with `model.dynamic_chunk`. Raises InputError for other nets.
        """
        if not isinstance(self.net, ConformerNet):
            raise InputError("with_chunk is for conformers and E-Branchformers: other nets have no chunks")
        return self.with_net(self.net.with_chunk(chunk, left))

    def with_net(self, net: Net) -> "AcousticModel":
        """A model with another net; all else is shared."""
        other = copy.deepcopy(self, {id(part): part for part in self.children()})
        other.net = net
        return other

    def can_score(self, lengths: Tensor) -> Tensor:
        """Whether recordings of so many samples or stored frames (N,) give a frame: (N,) bool."""
        return self.frontend.num_frames(lengths) > 0

    @torch.inference_mode()
    def score(self, batch: list[Tensor]) -> list[Tensor]:
        """Log-probs (F', V) of each recording (T,) or feature matrix (F, D0), scored as one batch, on the CPU."""
        lengths = torch.tensor([len(x) for x in batch])
        device = next(self.parameters()).device
        padded = nn.utils.rnn.pad_sequence(batch, batch_first=True)
        log_probs, frames = self(padded.to(device), lengths.to(device))
        return [log_probs[i, :n].cpu() for i, n in enumerate(frames.tolist())]


def upper_layers(features: FeaturesConfig, model: ModelConfig, frontend: FrontEnd) -> nn.Module:
    """The layers of the front end's encoder that are trained with the net. Raises InputError if there are none."""
    if features.kind != "pretrained" or features.layer is None:
        raise InputError("model.tune_layers needs features=pretrained, and features.layer: the last layer that is kept")
    if features.cmvn != "none":
        raise InputError(f"model.tune_layers needs features.cmvn=none, not {features.cmvn}")
    return frontend.encoder.upper(features.layer, model.tune_layers)
