"""Graphs for sherpa-onnx. Its front ends cannot be chosen freely, but two of its kinds of CTC model fit nets of ours.

`fire_red_asr_ctc` computes the features that are our default: Kaldi's log-mel energies with snip-edges, on the scale of
16-bit samples, up to 8 kHz. `omnilingual` gives the samples at 16 kHz, brought to mean 0 and deviation 1, so that it
fits nets which do not hear the level. Its times count 20 ms per frame, whatever the net.
"""

import math
from collections.abc import Sequence

import numpy as np
import soxr
import torch
from torch import Tensor, nn

from asr.config import FeaturesConfig
from asr.features.cmvn import frame_mask
from asr.models.acoustic import AcousticModel
from asr.models.exported.graphs import Graph, SampleGraph, separated, token_lines, with_a_frame
from asr.tokens import Tokens

RATE_HZ = 16000
FRAME_S = 0.02  # by which sherpa-onnx counts the frames of an omnilingual model
LEVEL = 0.05  # deviation of the samples that the net hears
TAPS = 32  # of the filter on each side, per output sample
KAISER = 8.0  # its shape: the stop band lies 80 dB lower
FOLDER = "sherpa-onnx"


class SherpaFeatureGraph(Graph):
    """Log-mel energies (N, F, 80) and the numbers of frames -> log-probs, numbers of frames."""

    folder = FOLDER
    inputs = {"x": {0: "N", 1: "frames_in"}, "x_length": {0: "N"}}
    outputs = {"log_probs": {0: "N", 1: "frames"}, "log_probs_length": {0: "N"}}

    def __init__(self, model: AcousticModel, cfg: FeaturesConfig):
        super().__init__(model, cfg)
        self.frontend = model.frontend

    @staticmethod
    def misfit(cfg: FeaturesConfig) -> str | None:
        """Why a net with these features cannot hear those of sherpa-onnx; None if it can."""
        theirs = FeaturesConfig(cmvn=cfg.cmvn, dither=cfg.dither)  # our defaults are its features
        high_hz = 0.0 if cfg.high_hz == RATE_HZ / 2 else cfg.high_hz
        odd = next((name for name, value in vars(theirs).items()
                    if value != (high_hz if name == "high_hz" else getattr(cfg, name))), None)  # fmt: skip
        return odd and f"its features differ in features.{odd}={getattr(cfg, odd)}"

    def forward(self, x: Tensor, x_length: Tensor) -> tuple[Tensor, Tensor]:
        x = with_a_frame(x)
        x = x.masked_fill(~frame_mask(x_length, x.shape[1])[:, :, None], 0.0)
        log_probs, lengths = self.net(self.frontend.cmvn(x, x_length, self.frontend.levels(x)), x_length)
        return self.finished(log_probs, lengths), lengths

    def feeds(self, x: Tensor) -> Sequence[Tensor]:
        return self.frontend.unnormalised(x[None], torch.tensor([len(x)]))

    def side_files(self, tokens: Tokens, unit: str) -> dict[str, str]:
        return side_files(tokens, unit)

    @property
    def metadata(self) -> dict[str, str]:
        return {
            "model_type": "fire-red-asr-2-ctc",
            "subsampling_factor": str(self.subsampling),
            "cmvn_mean": ",".join(["0"] * self.cfg.num_bins),
            "cmvn_inv_stddev": ",".join(["1"] * self.cfg.num_bins),
        }

    @property
    def notes(self) -> list[str]:
        return ["open it with OfflineRecognizer.from_fire_red_asr_ctc"]


class SherpaSampleGraph(SampleGraph):
    """Samples (N, T) at 16 kHz with mean 0 and deviation 1 -> log-probs."""

    folder = FOLDER
    inputs = {"x": {0: "N", 1: "T"}}
    outputs = {"log_probs": {0: "N", 1: "frames"}}
    kernel: Tensor

    def __init__(self, model: AcousticModel, cfg: FeaturesConfig):
        super().__init__(model, cfg)
        self.step = RATE_HZ // cfg.sample_rate_hz
        self.register_buffer("kernel", _low_pass(self.step).float()[None, None])

    @staticmethod
    def misfit(cfg: FeaturesConfig) -> str | None:
        """Why a net with these features cannot hear what sherpa-onnx gives; None if it can."""
        if RATE_HZ % cfg.sample_rate_hz:
            return f"it gives sound at {RATE_HZ} Hz and the net hears {cfg.sample_rate_hz} Hz"
        if cfg.cmvn not in ("speech", "utterance"):
            return (f"it gives samples of another level, which features.cmvn={cfg.cmvn} does not take out; train with "
                    "features.cmvn=speech, or with the default features")  # fmt: skip
        return None

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        x = LEVEL * x
        if self.step > 1:
            reach = self.kernel.shape[2] // 2
            x = nn.functional.conv1d(nn.functional.pad(x, (reach, reach))[:, None], self.kernel, stride=self.step)[:, 0]
        lengths = torch.ones_like(x[:, 0], dtype=torch.int64) * x.shape[1]
        return super().forward(x, lengths)[0]

    def feeds(self, x: Tensor) -> Sequence[Tensor]:
        heard = x.numpy() if self.step == 1 else soxr.resample(x.numpy(), self.cfg.sample_rate_hz, RATE_HZ)
        scale = 1 / np.sqrt(heard.var() + 1e-5)
        return (torch.from_numpy((heard - heard.mean()) * scale)[None].float(),)

    def side_files(self, tokens: Tokens, unit: str) -> dict[str, str]:
        return side_files(tokens, unit)

    @property
    def metadata(self) -> dict[str, str]:
        return {"model_type": "omnilingual-asr"}

    @property
    def notes(self) -> list[str]:
        times = "" if math.isclose(self.frame_s, FRAME_S) else (
            f"; it takes frames for {1000 * FRAME_S:g} ms: multiply its timestamps by {self.frame_s / FRAME_S:g}"
        )  # fmt: skip
        return [f"open it with OfflineRecognizer.from_omnilingual_asr_ctc{times}"]


def side_files(tokens: Tokens, unit: str) -> dict[str, str]:
    return {"tokens.txt": token_lines(separated(tokens.symbols, unit, "▁"))}


def _low_pass(step: int) -> Tensor:
    """A filter that keeps what `step` times fewer samples can hold: (2 TAPS step + 1,) float64, with sum 1."""
    time = torch.arange(-TAPS * step, TAPS * step + 1, dtype=torch.float64) / step
    window = torch.kaiser_window(len(time), periodic=False, beta=KAISER, dtype=torch.float64)
    kernel = torch.sinc(time) * window
    return kernel / kernel.sum()
