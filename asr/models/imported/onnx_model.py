"""A CTC model in ONNX, run by onnxruntime (extra `pretrained`) on the CPU: samples or log-mel energies -> log-probs."""

import dataclasses
import importlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr.config import FeaturesConfig
from asr.errors import InputError
from asr.features.frontend import FrontEnd
from asr.features.nemo import NemoFrontEnd
from asr.models.imported.onnx_fields import has_external_data

MOST_COLUMNS = 1 << 16


@dataclass(frozen=True)
class OnnxSpec:
    """How a model is called. `columns[k]` is the output that is our token k.

    `lengths` and `output_lengths` name the input and the output that hold the numbers of valid samples or frames; None
    if there is none. `bands_first`: features are (N, D, F). `nemo`: the front end is NeMo's, with the bands and the
    normalisation of the configuration. Shorter recordings than `least_samples` give no frame.
    """

    input: str
    output: str
    columns: list[int] = field(default_factory=list)
    lengths: str | None = None
    output_lengths: str | None = None
    bands_first: bool = False
    nemo: bool = False
    least_samples: int = 1

    def check(self) -> None:
        """Raises ValueError for a value of a wrong type or out of bounds."""
        for name, kind in (("input", str), ("output", str), ("bands_first", bool), ("nemo", bool), ("columns", list),
                           ("lengths", str | None), ("output_lengths", str | None)):  # fmt: skip
            if not isinstance(getattr(self, name), kind):
                raise ValueError(f"{name} is {getattr(self, name)!r:.40}")
        numbers = [*self.columns, self.least_samples]
        if len(self.columns) > MOST_COLUMNS or any(type(n) is not int or not 0 <= n < 1 << 31 for n in numbers):
            raise ValueError("columns or least_samples is not a number, negative or too large")


class OnnxModel:
    """Has the face of `AcousticModel` that a recogniser needs. Recordings are scored one by one, without padding."""

    def __init__(self, spec: OnnxSpec, features: FeaturesConfig, subsampling: int, data: bytes, where: object):
        """`features`: the front end; kind=wave gives the model the samples themselves. `where` names the file.

        Raises InputError if onnxruntime cannot open the model, or if it lacks an input or output.
        """
        self.spec, self.data, self.where = spec, data, where
        self.num_tokens = len(spec.columns)
        self.frame_s = features.shift_ms / 1000 * subsampling  # seconds per output frame
        self.frontend: FrontEnd | NemoFrontEnd | None = None
        if spec.nemo:
            self.frontend = NemoFrontEnd(features.num_bins, features.sample_rate_hz, features.cmvn != "none")
        elif features.kind != "wave":
            self.frontend = FrontEnd(features)
        self.session = open_session(data, where)
        self.inputs = {found.name: found for found in self.session.get_inputs()}
        self.outputs = {found.name: found for found in self.session.get_outputs()}
        for what, names, known in (
            ("input", (spec.input, spec.lengths), self.inputs),
            ("output", (spec.output, spec.output_lengths), self.outputs),
        ):
            if lacking := [name for name in names if name is not None and name not in known]:
                raise InputError(f"{where}: the model has no {what} '{lacking[0]}'; it has {', '.join(known)}")
        if spare := self.inputs.keys() - {spec.input, spec.lengths}:
            raise InputError(f"{where}: nothing is known for the model's input '{min(spare)}'; only models that take "
                             "samples or features, and their number, are supported")  # fmt: skip
        width = self.num_outputs
        if width is not None and width <= max(spec.columns, default=0):
            raise InputError(f"{where}: the model has {width} outputs, but the tokens use output {max(spec.columns)}")

    @property
    def num_outputs(self) -> int | None:
        """The original outputs, if the file tells their number."""
        shape = self.outputs[self.spec.output].shape
        if len(shape) != 3:
            raise InputError(f"{self.where}: output '{self.spec.output}' has {len(shape)} dimensions, expected 3")
        return shape[2] if isinstance(shape[2], int) else None

    def to(self, device: str) -> "OnnxModel":
        """The model stays on the CPU."""
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
        """Log-probs (F', V) of each recording (T,). Raises InputError if the model cannot score one."""
        return [self.renormalised(self.run(x)) for x in batch]

    def renormalised(self, y: Tensor) -> Tensor:
        """Log-probs or logits (F', V0) of all outputs -> log-probs (F', V) of the tokens."""
        return y[:, self.spec.columns].log_softmax(1)

    @torch.inference_mode()
    def run(self, x: Tensor) -> Tensor:
        """Samples (T,) -> the model's output (F', V0)."""
        if self.frontend is not None:
            x = self.frontend(x[None], torch.tensor([len(x)]))[0][0]  # (F, D)
        feeds = {self.spec.input: (x.T if self.spec.bands_first else x)[None].numpy()}
        if self.spec.lengths is not None:
            kind = np.int32 if "int32" in self.inputs[self.spec.lengths].type else np.int64
            feeds[self.spec.lengths] = np.array([len(x)], kind)
        names = [self.spec.output, *([self.spec.output_lengths] if self.spec.output_lengths else [])]
        try:
            y, *lengths = self.session.run(names, {name: np.ascontiguousarray(feed) for name, feed in feeds.items()})
        except Exception as e:  # the errors of onnxruntime have no common class
            raise InputError(f"{self.where}: the model cannot score {len(x)} samples or frames ({e!s:.200})") from e
        frames = int(lengths[0].reshape(-1)[0]) if lengths else y.shape[1] if y.ndim > 1 else 0
        is_shape = y.ndim == 3 and len(y) == 1 and y.shape[2] > max(self.spec.columns, default=0)
        if not is_shape or not 0 <= frames <= y.shape[1]:
            raise InputError(f"{self.where}: the model gives {frames} frames in an output of shape {y.shape}, "
                             "expected (1, F, V)")  # fmt: skip
        y = y[0, :frames].astype(np.float32)
        if not np.isfinite(y[:, self.spec.columns]).all():
            raise InputError(f"{self.where}: the model gives values that are not finite")
        return torch.from_numpy(y)


def open_session(data: bytes, where: object) -> Any:
    """Raises InputError if onnxruntime is missing or cannot open the model."""
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError:
        raise InputError("ONNX models need the package onnxruntime: pip install 'asr-toolkit[pretrained]'") from None
    try:
        if has_external_data(data):
            raise InputError(f"{where}: the model keeps weights in another file; save it as one file")
    except ValueError as e:
        raise InputError(f"{where} is not an ONNX model ({e}); copy or export it again") from e
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 4
    try:
        return runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as e:  # the errors of onnxruntime have no common class
        raise InputError(f"{where}: onnxruntime cannot open the model ({e!s:.200}); copy or export it again") from e
