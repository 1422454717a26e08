"""Graphs for onnx-asr. It gives samples to one kind of CTC model, T-one's: at 8 kHz, in chunks of a fixed size.

Each chunk is recognised on its own, up to its last sample that is not 0, and has a fixed number of frames.
The state between chunks, which the runtime passes on, holds nothing.
"""

import json
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from asr.config import FeaturesConfig
from asr.features.spectra import SAMPLE_SCALE
from asr.models.acoustic import AcousticModel
from asr.models.exported.graphs import SampleGraph, separated
from asr.tokens import BLANK_ID, Tokens

RATE_HZ = 8000
CHUNK_S = 60
SCALE = 32767.0  # by which it makes samples whole numbers, cut towards 0
UNIT_S = 0.01  # the time of a frame is a multiple


class OnnxAsrGraph(SampleGraph):
    """Samples (N, T, 1) int32 and state (N, 1) float16 -> log-probs, state."""

    folder = "onnx-asr"
    inputs = {"signal": {0: "N"}, "state": {0: "N"}}
    outputs = {"logprobs": {0: "N"}, "state_next": {0: "N"}}

    def __init__(self, model: AcousticModel, cfg: FeaturesConfig):
        super().__init__(model, cfg)
        self.samples = CHUNK_S * RATE_HZ
        self.frames = -(-int(model.frontend.num_frames(torch.tensor(self.samples))) // self.subsampling)

    @staticmethod
    def misfit(cfg: FeaturesConfig, frame_s: float) -> str | None:
        """Why the runtime cannot call a net with these features; None if it can."""
        if cfg.sample_rate_hz != RATE_HZ:
            return f"it gives samples at {RATE_HZ} Hz only and the net hears {cfg.sample_rate_hz} Hz"
        if abs(frame_s / UNIT_S - round(frame_s / UNIT_S)) > 1e-6:
            return f"its times are multiples of 10 ms and the net's frames last {1000 * frame_s:g} ms"
        return None

    def forward(self, signal: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        x = signal[:, :, 0]
        lengths = ((x != 0).long().flip(1).cumsum(1) > 0).sum(1)  # (N,) up to the last sample that is not 0
        # 16-bit samples other than 0 have lost 1 of their size: k * 32767 / 32768 is cut to k - 1.
        restored = (x + x.sign())[:, : lengths.max()] / SAMPLE_SCALE
        log_probs, _ = super().forward(restored, lengths)
        spare = nn.functional.pad(log_probs, (0, 0, 0, self.frames))[:, : self.frames]
        frames = (self.frontend.num_frames(lengths) + self.subsampling - 1) // self.subsampling
        return self.blanks_after(spare, frames), state + 0

    def feeds(self, x: Tensor) -> Sequence[Tensor]:
        """The chunk that holds the recording; longer ones have several."""
        chunk = nn.functional.pad((x[: self.samples] * SCALE).int(), (0, max(0, self.samples - len(x))))
        return chunk[None, :, None], torch.zeros(1, 1, dtype=torch.float16)

    def side_files(self, tokens: Tokens, unit: str) -> dict[str, str]:
        config = {
            "model_type": "t-one-ctc",
            "decoder_params": {"vocabulary": separated(tokens.symbols, unit, " ")},
            "encoder_params": {"reduction_kernel_size": round(self.frame_s / UNIT_S)},
            "pad_token_id": BLANK_ID,
        }
        return {"config.json": json.dumps(config, ensure_ascii=False, indent=1)}

    @property
    def notes(self) -> list[str]:
        return [f'open it with onnx_asr.load_model("t-one-ctc", FOLDER); recordings are cut after {CHUNK_S} s']
