"""An ONNX graph behind a front end: samples in, one tensor of frames out. CTC models and encoders are run by it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from asr.config import FeaturesConfig
from asr.errors import InputError
from asr.features.lhotse import LhotseFrontEnd
from asr.features.nemo import NemoFrontEnd
from asr.features.onnx.file import OnnxFile
from asr.features.spectra import SoundFrontEnd

MOST_COLUMNS = 1 << 16
MOST_STATE = 1 << 26  # values of a state
QUIET = 1e-5  # added to the variance of samples
SILENCE = float(np.log(np.finfo(np.float32).eps))  # log energy of digital silence in lhotse's front end
FRONT_ENDS = ("samples", "normalised", "features", "nemo", "lhotse")


@dataclass(frozen=True)
class OnnxSpec:
    """How a model is called. `columns[k]` is the output that is our token k; an encoder has none.

    `lengths` and `output_lengths` name the input and the output that hold the numbers of valid samples or frames; None
    if there is none. `bands_first`: features are (N, D, F). Shorter recordings than `least_samples` give no frame.

    `frontend`: `samples`, or `normalised` to mean 0 and variance 1; `features` of the configuration; or those of `nemo`
    or `lhotse`, with the bands and the normalisation of the configuration.

    A model for streams takes `chunk` frames at a time, of which `chunk_shift` are new, and its `states`, pairs of an
    input and the output that follows it.
    """

    input: str
    output: str
    columns: list[int] = field(default_factory=list)
    lengths: str | None = None
    output_lengths: str | None = None
    bands_first: bool = False
    frontend: str = "features"
    least_samples: int = 1
    chunk: int = 0
    chunk_shift: int = 0
    states: list[list[str]] = field(default_factory=list)

    def check(self) -> None:
        """Raises ValueError for a value of a wrong type or out of bounds."""
        for name, kind in (("input", str), ("output", str), ("bands_first", bool), ("columns", list), ("states", list),
                           ("lengths", str | None), ("output_lengths", str | None)):  # fmt: skip
            if not isinstance(getattr(self, name), kind):
                raise ValueError(f"{name} is {getattr(self, name)!r:.40}")
        if self.frontend not in FRONT_ENDS:
            raise ValueError(f"frontend is {self.frontend!r:.40}")
        if not all(isinstance(pair, list) and [type(name) for name in pair] == [str, str] for pair in self.states):
            raise ValueError("states has an entry that is not a pair of names")
        numbers = [*self.columns, self.least_samples, self.chunk, self.chunk_shift]
        if len(self.columns) > MOST_COLUMNS or any(type(n) is not int or not 0 <= n < 1 << 31 for n in numbers):
            raise ValueError("columns, least_samples or chunk is not a number, negative or too large")
        if self.chunk_shift > self.chunk or (self.chunk or self.states) and not self.chunk_shift:
            raise ValueError(f"chunk is {self.chunk}, chunk_shift {self.chunk_shift}")


class OnnxNet:
    """Samples (T,) -> frames (F, V0). Recordings are run one by one, without padding."""

    def __init__(self, spec: OnnxSpec, features: FeaturesConfig, file: OnnxFile):
        """Raises InputError if the graph lacks an input or output."""
        self.spec, self.file, where = spec, file, file.where
        self.frontend = build_front_end(spec.frontend, features)
        self.inputs, self.outputs = file.inputs, file.outputs
        for what, names, known in (
            ("input", (spec.input, spec.lengths, *(name for name, _ in spec.states)), self.inputs),
            ("output", (spec.output, spec.output_lengths, *(name for _, name in spec.states)), self.outputs),
        ):
            if lacking := [name for name in names if name is not None and name not in known]:
                raise InputError(f"{where}: the model has no {what} '{lacking[0]}'; it has {', '.join(known)}")
        if spare := self.inputs.keys() - {spec.input, spec.lengths, *(name for name, _ in spec.states)}:
            raise InputError(f"{where}: nothing is known for the model's input '{min(spare)}'; only models that take "
                             "samples or features, and their number, are supported")  # fmt: skip

    def gives_frames(self, x: Tensor) -> bool:
        """Whether the samples (T,) are enough for a frame."""
        try:
            return len(self.run(x)) > 0
        except InputError:
            return False

    @torch.inference_mode()
    def run(self, x: Tensor) -> Tensor:
        """Samples (T,) -> the model's output (F', V0)."""
        if self.frontend is not None:
            x = self.frontend(x[None], torch.tensor([len(x)]))[0][0]  # (F, D), or samples (T,)
        y = self._in_chunks(x) if self.spec.chunk else self._at_once(x, {})[0]
        if not np.isfinite(y[:, self.spec.columns] if self.spec.columns else y).all():
            raise InputError(f"{self.file.where}: the model gives values that are not finite")
        return torch.from_numpy(y)

    def _at_once(self, x: Tensor, states: dict[str, np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        """The output (F', V0) and the states that follow."""
        spec, where = self.spec, self.file.where
        feeds = {spec.input: (x.T if spec.bands_first else x)[None].numpy()}
        if spec.lengths is not None:
            kind = np.int32 if "int32" in self.inputs[spec.lengths].type else np.int64
            feeds[spec.lengths] = np.array([len(x)], kind)
        feeds = {name: np.ascontiguousarray(feed) for name, feed in (feeds | states).items()}
        names = [spec.output, *(name for _, name in spec.states), *filter(None, [spec.output_lengths])]
        try:
            y, *rest = self.file.session.run(names, feeds)
            y = np.asarray(y, np.float32)
            frames = int(rest.pop().reshape(-1)[0]) if spec.output_lengths else y.shape[1] if y.ndim > 1 else 0
        except Exception as e:  # those of onnxruntime have no common class; outputs may be of any type
            raise InputError(f"{where}: the model cannot score {len(x)} samples or frames ({e!s:.200})") from e
        is_shape = y.ndim == 3 and len(y) == 1 and y.shape[2] > max(spec.columns, default=0)
        if not is_shape or not 0 <= frames <= y.shape[1]:
            raise InputError(f"{where}: the model gives {frames} frames in an output of shape {y.shape}, "
                             "expected (1, F, V)")  # fmt: skip
        return y[0, :frames], rest

    def _in_chunks(self, x: Tensor) -> np.ndarray:
        """Features (F, D), followed by silence, chunk by chunk -> the outputs of the F frames."""
        spec = self.spec
        states = {name: self._empty_state(name) for name, _ in spec.states}
        starts = range(0, len(x), spec.chunk_shift)
        padded = torch.nn.functional.pad(x, (0, 0, 0, spec.chunk), value=SILENCE)
        outputs = [np.zeros((0, 1 + max(spec.columns, default=0)), np.float32)]
        for start in starts:
            y, after = self._at_once(padded[start : start + spec.chunk], states)
            states = dict(zip(states, after, strict=True))
            outputs.append(y)
        if not len(starts):
            return outputs[0]
        every = np.concatenate(outputs[1:])
        return every[: -(-len(x) * len(every) // (len(starts) * spec.chunk_shift))]

    def _empty_state(self, name: str) -> np.ndarray:
        """Zeros of the shape that the input has; free dimensions are 1, the number of recordings."""
        shape = [n if isinstance(n, int) else 1 for n in self.inputs[name].shape]
        if math.prod(shape) > MOST_STATE:
            raise InputError(
                f"{self.file.where}: the state '{name}' has the shape {shape}, more than {MOST_STATE} values"
            )
        return np.zeros(shape, np.int64 if "int64" in self.inputs[name].type else np.float32)


def smallest(is_enough: Callable[[int], bool], most: int) -> int:
    """The smallest number from 1 to `most` for which `is_enough`, which holds for `most`."""
    low, high = 0, most
    for _ in range(math.ceil(math.log2(most))):
        if high - low < 2:
            break
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


class NormalisedSamples(nn.Module):
    """Samples (1, T), lengths (1,) -> samples of mean 0 and variance 1 (1, T), lengths (1,)."""

    def num_frames(self, lengths: Tensor) -> Tensor:
        return lengths

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return (x - x.mean()) / (x.var(correction=0) + QUIET).sqrt(), lengths


def build_front_end(name: str, features: FeaturesConfig) -> Any:
    """The front end of that name in `FRONT_ENDS`; None gives the model the samples themselves."""
    if name == "nemo":
        return NemoFrontEnd(features.num_bins, features.sample_rate_hz, features.cmvn != "none")
    builders = {"features": SoundFrontEnd, "lhotse": LhotseFrontEnd}
    if name in builders:
        return builders[name](features)
    return NormalisedSamples() if name == "normalised" else None
