"""The graphs that are exported: the front end, where the runtime gives sound, and the net, as one module.

Padding is not heard. Frames behind the end of a recording are certain blanks, so that a runtime which reads them finds
no token.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
import yaml
from torch import Tensor, nn

from asr.config import FeaturesConfig
from asr.features.cmvn import frame_mask
from asr.models.acoustic import AcousticModel
from asr.models.exported.frontend import TracedFrontEnd
from asr.tokens import BLANK, BLANK_ID, SPACE, Tokens

IMPOSSIBLE = -100.0  # log-prob of tokens behind the end
Axes = Mapping[str, Mapping[int, str]]  # input or output -> its axes of variable length


class Graph(nn.Module, ABC):
    """What a runtime calls. The first output is the log-probs (N, F, V)."""

    folder: str  # within the output
    inputs: Axes
    outputs: Axes

    def __init__(self, model: AcousticModel, cfg: FeaturesConfig):
        super().__init__()
        self.net, self.num_tokens, self.subsampling = model.net, model.num_tokens, model.subsampling
        self.cfg, self.frame_s = cfg, model.frame_s

    def feeds(self, x: Tensor) -> Sequence[Tensor]:
        """What the runtime gives for a recording (T,) at the model's rate, or for features (F, D)."""
        return x[None], torch.tensor([len(x)])

    @abstractmethod
    def side_files(self, tokens: Tokens, unit: str) -> dict[str, str]:
        """The texts that the runtime reads beside the file, by name."""

    @property
    def metadata(self) -> dict[str, str]:
        """What the runtime reads from the file."""
        return {}

    @property
    def notes(self) -> list[str]:
        """Sentences for the user of the runtime."""
        return []

    def finished(self, log_probs: Tensor, lengths: Tensor) -> Tensor:
        """The frames of the longest recording, those behind the end of shorter ones as blanks."""
        return self.blanks_after(log_probs[:, : lengths.max()], lengths)

    def blanks_after(self, log_probs: Tensor, lengths: Tensor) -> Tensor:
        """Log-probs (N, F, V) with certain blanks after `lengths` (N,) frames."""
        blank = torch.full((self.num_tokens,), IMPOSSIBLE).index_fill(0, torch.tensor(BLANK_ID), 0.0)
        return torch.where(frame_mask(lengths, log_probs.shape[1])[:, :, None], log_probs, blank)


class FeatureGraph(Graph):
    """Stored features (N, F, D0) and the numbers of their frames -> log-probs, numbers of frames."""

    folder = ""
    inputs = {"features": {0: "N", 1: "frames_in"}, "lengths": {0: "N"}}
    outputs = {"log_probs": {0: "N", 1: "frames"}, "log_probs_lengths": {0: "N"}}

    def __init__(self, model: AcousticModel, cfg: FeaturesConfig):
        super().__init__(model, cfg)
        self.frontend = model.frontend
        self.layer_sum = layer_sum(model) if cfg.sum_layers else None

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        features, lengths = self.frontend(with_a_frame(features), lengths)
        if self.layer_sum is not None:
            features = features @ self.layer_sum
        log_probs, lengths = self.net(features, lengths)
        return self.finished(log_probs, lengths), lengths

    def side_files(self, tokens: Tokens, unit: str) -> dict[str, str]:
        return {"tokens.txt": token_lines(tokens.symbols)}


class SampleGraph(Graph):
    """Samples (N, T) in [-1, 1] at the model's rate and their numbers -> log-probs, numbers of frames."""

    folder = ""
    inputs = {"samples": {0: "N", 1: "T"}, "lengths": {0: "N"}}
    outputs = {"log_probs": {0: "N", 1: "frames"}, "log_probs_lengths": {0: "N"}}

    def __init__(self, model: AcousticModel, cfg: FeaturesConfig):
        super().__init__(model, cfg)
        self.frontend = TracedFrontEnd(cfg, model.frontend)

    def forward(self, samples: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        log_probs, lengths = self.net(*self.frontend(samples, lengths))
        return self.finished(log_probs, lengths), lengths

    def side_files(self, tokens: Tokens, unit: str) -> dict[str, str]:
        """With a description that `asr import` reads."""
        description = {
            "model": "model.onnx", "frontend": "samples", "sample_rate_hz": self.cfg.sample_rate_hz,
            "input": "samples", "lengths": "lengths", "output": "log_probs", "output_lengths": "log_probs_lengths",
            "shift_ms": round(1000 * self.frame_s, 6), "unit": unit, "blank": BLANK,
            "space": SPACE if SPACE in tokens else None, "tokens": tokens.symbols,
        }  # fmt: skip
        return {
            "tokens.txt": token_lines(tokens.symbols),
            "model.yaml": yaml.safe_dump(description, sort_keys=False, allow_unicode=True),
        }


def layer_sum(model: AcousticModel) -> Tensor:
    """The sum of L layers side by side as a matrix (L D, D), since a trace would keep the number of frames of
    `unflatten`."""
    shares = model.sum.logits.detach().softmax(0)
    return torch.kron(shares[:, None], torch.eye(model.frontend.dim // model.parts))


def with_a_frame(features: Tensor) -> Tensor:
    """Features (N, F, D) with a frame of padding, since operations of ONNX fail without any frame."""
    return nn.functional.pad(features, (0, 0, 0, 1))


def token_lines(symbols: Sequence[str]) -> str:
    """A token table in lines of `token number`."""
    return "".join(f"{symbol} {number}\n" for number, symbol in enumerate(symbols))


def separated(symbols: Sequence[str], unit: str, gap: str) -> list[str]:
    """The symbols for runtimes that join tokens to a text: with `gap` for the space, and before each phone."""
    return [gap if s == SPACE else gap + s if unit == "phone" and s != BLANK else s for s in symbols]
