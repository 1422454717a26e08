"""A CTC model in ONNX, run by onnxruntime (extra `pretrained`) on the CPU: samples or features -> log-probs."""

import dataclasses
from typing import Any

from torch import Tensor

from asr.config import FeaturesConfig
from asr.errors import InputError
from asr.features.onnx.file import OnnxFile
from asr.features.onnx.net import OnnxNet, OnnxSpec

MOST_UNHEARD_S = 0.5  # at the end of a recording: the context of a frame


class OnnxModel(OnnxNet):
    """Has the face of `AcousticModel` that a recogniser needs. Recordings are scored one by one, without padding."""

    def __init__(self, spec: OnnxSpec, features: FeaturesConfig, subsampling: int, file: OnnxFile):
        """Raises InputError if the model lacks an input or output."""
        super().__init__(spec, features, file)
        self.num_tokens, self.rate_hz = len(spec.columns), features.sample_rate_hz
        self.frame_s = features.shift_ms / 1000 * subsampling  # seconds per output frame
        where = file.where
        width = self.num_outputs
        if width is not None and width <= max(spec.columns, default=0):
            raise InputError(f"{where}: the model has {width} outputs, but the tokens use output {max(spec.columns)}")

    @property
    def num_outputs(self) -> int | None:
        """The original outputs, if the file tells their number."""
        shape = self.outputs[self.spec.output].shape
        if len(shape) != 3:
            raise InputError(f"{self.file.where}: output '{self.spec.output}' has {len(shape)} dimensions, expected 3")
        return shape[2] if isinstance(shape[2], int) else None

    def to(self, device: str) -> "OnnxModel":
        """The model stays on the CPU, which is told."""
        self.file.stay_on_the_cpu(device)
        return self

    def eval(self) -> "OnnxModel":
        return self

    def description(self) -> dict[str, Any]:
        return dataclasses.asdict(self.spec)

    def can_score(self, lengths: Tensor) -> Tensor:
        """As `AcousticModel.can_score`."""
        enough = lengths >= max(1, self.spec.least_samples)
        return enough if self.frontend is None else enough & (self.frontend.num_frames(lengths) > 0)

    def score(self, batch: list[Tensor]) -> list[Tensor]:
        """Log-probs (F', V) of each recording (T,). Raises InputError if the model cannot score one, or leaves out the
        end of it."""
        return [self.renormalised(self._whole(x)) for x in batch]

    def _whole(self, x: Tensor) -> Tensor:
        y = self.run(x)
        length_s, heard_s = len(x) / self.rate_hz, len(y) * self.frame_s
        if len(y) and length_s - heard_s > MOST_UNHEARD_S:
            raise InputError(f"{self.file.where}: the model hears only {heard_s:.1f} s of {length_s:.1f} s; give it "
                             "shorter recordings")  # fmt: skip
        return y

    def renormalised(self, y: Tensor) -> Tensor:
        """Log-probs or logits (F', V0) of all outputs -> log-probs (F', V) of the tokens."""
        return y[:, self.spec.columns].log_softmax(1)
