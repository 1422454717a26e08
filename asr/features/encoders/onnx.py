"""Any encoder in ONNX, described by a YAML file as for `asr import` (extra `pretrained`): one tensor of its graph.

    model: encoder.onnx
    input: waveform
    lengths: waveform_lengths
    output: /layers.5/Add_output_0    # any tensor of the graph, which is cut there
    shift_ms: 20

The keys are those of asr.features.onnx.description. Those that only say what a CTC model's outputs mean are not read.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from asr.config import FeaturesConfig
from asr.errors import InputError, nearest
from asr.features.encoders.encoder import Encoder
from asr.features.onnx import description
from asr.features.onnx.cut import cut, tensors
from asr.features.onnx.file import OnnxFile
from asr.features.onnx.net import NormalisedSamples, OnnxNet, OnnxSpec, smallest
from asr.features.spectra import check_sound

DESCRIPTION = "model.yaml"
OF_TOKENS = ("tokens", "blank", "space", "unit", "special")  # keys for `asr import`
PROBE_S = 2  # seconds of noise with which the frames are counted
WINDOWS_S = (30, 20, 10)  # the longest in which the frames are one per shift is taken; some models hear only 30 s
_BOUNDS = {
    "shift_samples": (1, 1 << 20), "offset": (-(1 << 31), 1 << 31), "window_s": (WINDOWS_S[-1], WINDOWS_S[0]),
    "dim": (1, 1 << 16), "bytes": (1, 1 << 31),
}  # fmt: skip


@dataclass(frozen=True)
class Sizes:
    """T samples give (T + `offset`) // `shift_samples` frames of `dim` values, and none if T < `spec.least_samples`.
    Windows of `window_s` are encoded at once. The graph has `bytes` bytes."""

    spec: OnnxSpec
    features: FeaturesConfig
    shift_samples: int
    offset: int
    window_s: int
    dim: int
    bytes: int
    licence: str | None

    def check(self) -> None:
        """Raises ValueError or InputError for a value out of bounds."""
        self.spec.check()
        check_sound(self.features)
        for name, (least, most) in _BOUNDS.items():
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise ValueError(f"the encoder's {name} is {value!r:.40}, expected {least} to {most}")
        if not isinstance(self.licence, str | None):
            raise ValueError(f"the encoder's licence is {self.licence!r:.40}")


class Onnx(Encoder):
    """samples (T,) -> (F, D), F = (T + offset) // shift_samples. It has one layer, its output.

    The graph is a tensor of bytes, so that it is stored, compared and packed like the weights of other encoders.
    """

    graph: Tensor  # (B,) uint8

    def __init__(self, sizes: Sizes, where: object = "the encoder in ONNX"):
        """`where`: for messages."""
        super().__init__()
        sizes.check()
        self.sizes, self.where, self.licence = sizes, where, sizes.licence
        self.rate_hz, self.shift_samples = sizes.features.sample_rate_hz, sizes.shift_samples
        self.spare_samples = max(0, -sizes.offset)
        self.window_s = float(sizes.window_s)
        self.dim, self.layers, self.lowest_layer = sizes.dim, 1, 1
        self.register_buffer("graph", torch.zeros(sizes.bytes, dtype=torch.uint8))
        self.register_load_state_dict_post_hook(_open)
        self._net: OnnxNet | None = None

    def description(self) -> dict[str, Any]:
        return {"family": "onnx", **dataclasses.asdict(self.sizes)}

    def digest(self) -> str:
        """SHA-256 of the graph and of how it is called."""
        called = {name: value for name, value in self.description().items() if name != "licence"}
        return hashlib.sha256((super().digest() + json.dumps(called, sort_keys=True)).encode()).hexdigest()

    def num_frames(self, samples: int) -> int:
        enough = samples >= self.sizes.spec.least_samples
        return max(0, (samples + self.sizes.offset) // self.shift_samples) if enough else 0

    def prepare(self, x: Tensor) -> Tensor:
        """Zero mean and unit variance, if the description asks for it."""
        if self.sizes.spec.frontend != "normalised":
            return x
        return NormalisedSamples()(x[None], torch.tensor([len(x)]))[0][0]

    def encode_window(self, x: Tensor, *layers: int) -> Tensor:
        assert self._net is not None, "the graph has not been loaded"
        y = self._net.run(x.cpu()).clone().to(x.device)  # (F, D), an ordinary tensor
        if y.shape != (self.num_frames(len(x)), self.dim):
            raise InputError(f"{self.where}: {len(x)} samples give frames of the shape {tuple(y.shape)}, expected "
                             f"({self.num_frames(len(x))}, {self.dim}); such a model cannot be an encoder")  # fmt: skip
        return torch.cat([y] * len(layers), 1)

    def open(self, file: OnnxFile | None = None) -> None:
        """Open the graph in onnxruntime. Raises InputError if it is not what `sizes` says."""
        file = file or OnnxFile.parse(self.graph.cpu().numpy().tobytes(), self.where)
        self._net = OnnxNet(_call(self.sizes.spec), self.sizes.features, file)


def _open(encoder: nn.Module, _: object) -> None:
    assert isinstance(encoder, Onnx)
    encoder.open()


def _call(spec: OnnxSpec) -> OnnxSpec:
    """How a window is encoded: whole recordings are normalised before they are cut into windows."""
    return replace(spec, frontend="samples") if spec.frontend == "normalised" else spec


def build(sizes: Mapping[str, Any]) -> Onnx:
    """The encoder of an `Onnx.description()` without its family, whose graph is to be loaded.

    Raises ValueError, TypeError, KeyError or InputError for one that is wrong.
    """
    spec, features = OnnxSpec(**sizes["spec"]), FeaturesConfig(**sizes["features"])
    return Onnx(Sizes(**{**sizes, "spec": spec, "features": features}))


def find(source: str) -> Path | None:
    """The description of the ONNX encoder `source`: a YAML file, an ONNX file with a YAML file of its name beside it,
    or a folder with `model.yaml` or one YAML file. None if it is no ONNX encoder.

    Raises InputError if there is an ONNX file, but not its description.
    """
    path = Path(source)
    if path.suffix in (".yaml", ".yml"):
        return path
    if path.suffix == ".onnx":
        found = [path.with_suffix(".yaml")]
    elif not path.is_dir() or not list(path.glob("*.onnx")) or (path / "config.json").exists():
        return None
    else:
        found = [path / DESCRIPTION] if (path / DESCRIPTION).exists() else sorted(path.glob("*.yaml"))
    if len(found) == 1 and found[0].is_file():
        return found[0]
    names = ", ".join(file.name for file in found) if len(found) > 1 else "none"
    raise InputError(f"{source}: an encoder in ONNX needs one YAML file that describes it, but there is {names}; write "
                     f"{path.with_suffix('.yaml') if path.suffix == '.onnx' else path / DESCRIPTION} as "
                     "docs/guide/import.md shows")  # fmt: skip


def read(path: Path) -> Onnx:
    """The encoder that a YAML file describes. Raises InputError naming what is wrong."""
    optional = description.OPTIONAL | dict.fromkeys(OF_TOKENS)
    given = description.complete(description.read(path), description.REQUIRED, optional, path)
    features, spec = description.features_of(given, path), description.spec_of(given, path)
    file = ending_at(OnnxFile.read(Path(str(given["model"]))), spec)
    shift = given["shift_ms"] * features.sample_rate_hz / 1000
    if shift != round(shift):
        raise InputError(f"{path}: shift_ms={given['shift_ms']} is {shift:g} samples at {features.sample_rate_hz} Hz; "
                         "expected a whole number")  # fmt: skip
    net = OnnxNet(_call(spec), features, file)
    least, offset, window_s, dim = measure(net, features.sample_rate_hz, round(shift), path)
    licence = given["licence"] and str(given["licence"])
    spec = replace(spec, least_samples=least)
    sizes = Sizes(spec, features, round(shift), offset, window_s, dim, len(file.data), licence)
    encoder = Onnx(sizes, path)
    encoder.graph = torch.from_numpy(np.frombuffer(bytearray(file.data), np.uint8))
    encoder.open(file)
    return encoder


def ending_at(file: OnnxFile, spec: OnnxSpec) -> OnnxFile:
    """The model, cut at the tensors that `spec` names if these are not its outputs. Raises InputError if it has no such
    tensor."""
    wanted = [spec.output, *filter(None, [spec.output_lengths]), *(name for _, name in spec.states)]
    if file.outputs.keys() >= set(wanted):
        return file
    try:
        return OnnxFile.parse(cut(file.data, wanted), file.where)
    except KeyError as e:
        name = str(e.args[0])
        hint = nearest(name, tensors(file.data)) or f"; the last are {', '.join(tensors(file.data)[-5:])}"
        raise InputError(f"{file.where}: the graph has no tensor '{name}'{hint}") from None
    except ValueError as e:
        raise InputError(f"{file.where}: the graph cannot be cut ({e}); export the model with this output") from e


def measure(net: OnnxNet, rate_hz: int, shift: int, where: object) -> tuple[int, int, int, int]:
    """`least_samples`, `offset`, `window_s` and `dim` of `Sizes`.

    Raises InputError if the frames are not one per `shift` samples.
    """
    noise = 0.01 * torch.randn(rate_hz * WINDOWS_S[0] + shift, generator=torch.Generator().manual_seed(1))

    def count(samples: int) -> int:
        return len(net.run(noise[:samples]))

    most = PROBE_S * rate_hz
    whole = net.run(noise[:most])
    least = smallest(lambda samples: net.gives_frames(noise[:samples]), most)
    fewest = smallest(lambda samples: samples >= least and count(samples) >= len(whole), most)
    offset = len(whole) * shift - fewest

    def check(samples: int) -> None:
        if (found := count(samples)) != (expected := (samples + offset) // shift):
            raise InputError(f"{where}: shift_ms is {1000 * shift / rate_hz:g}, but {samples} samples give {found} "
                             f"frames instead of {expected}; correct shift_ms, or choose an output with one frame per "
                             "shift")  # fmt: skip

    for samples in (least, least + shift // 2 + 1, rate_hz + 7):
        check(samples)
    for window_s in WINDOWS_S[:-1]:
        with suppress(InputError):
            check(window_s * rate_hz + max(0, -offset))
            return least, offset, window_s, whole.shape[1]
    check(WINDOWS_S[-1] * rate_hz + max(0, -offset))
    return least, offset, WINDOWS_S[-1], whole.shape[1]
