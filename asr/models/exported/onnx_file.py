"""A graph as an ONNX file, in float32 and with int8 weights."""

import importlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from asr.errors import InputError, missing
from asr.features.onnx.file import OnnxFile
from asr.models.exported.graphs import Graph

OPSET = 17
EXAMPLE_S = 1.3  # of the recording that is traced
NET = "/net/"  # the operations of the net; those of the front end stay in float32
STACK = "/net/stack/"  # its filters on the raw wave, too: 8 bits of a loud recording hold nothing of its quiet parts


@dataclass(frozen=True)
class Exported:
    """A graph and its file."""

    graph: Graph
    name: str  # of the file, within the folder of all files
    data: bytes

    def runner(self) -> Callable[[Tensor], Tensor]:
        """Recording (T,) or features (F, D) -> log-probs (F', V), by onnxruntime."""
        session = OnnxFile.parse(self.data, self.name).session
        names = list(self.graph.inputs)

        def run(x: Tensor) -> Tensor:
            feeds = (feed.numpy() for feed in self.graph.feeds(x))
            return torch.from_numpy(session.run(None, dict(zip(names, feeds, strict=True)))[0][0])

        return run


@torch.inference_mode()
def export(graph: Graph) -> list[Exported]:
    """The files of a graph, in float32 and int8. Raises InputError if a package is missing."""
    check_packages()
    graph.eval()
    generator = torch.Generator().manual_seed(1)
    if graph.cfg.kind == "stored":
        example = torch.randn(round(1000 * EXAMPLE_S / graph.cfg.shift_ms), graph.cfg.num_bins, generator=generator)
    else:
        example = 0.1 * torch.randn(round(EXAMPLE_S * graph.cfg.sample_rate_hz), generator=generator)
    file = io.BytesIO()
    with _quiet():
        torch.onnx.export(
            graph, tuple(graph.feeds(example)), cast(Any, file), dynamo=False, opset_version=OPSET,
            input_names=list(graph.inputs), output_names=list(graph.outputs),
            dynamic_axes={name: dict(axes) for name, axes in {**graph.inputs, **graph.outputs}.items()},
        )  # fmt: skip
    model = importlib.import_module("onnx").load_from_string(file.getvalue())
    model.producer_name = "asr-toolkit"
    for key, value in graph.metadata.items():
        model.metadata_props.add(key=key, value=value)
    folder = Path(graph.folder)
    return [
        Exported(graph, str(folder / "model.onnx"), model.SerializeToString()),
        Exported(graph, str(folder / "model.int8.onnx"), _quantised(model)),
    ]


def check_packages() -> None:
    """Raises InputError naming the package that is missing."""
    for name in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(name) is None:
            raise InputError(missing("export", "asr export", name))


def _quantised(model: Any) -> bytes:
    """The model with int8 weights in the net, one scale per output channel; activations are scaled as they come.

    The weights have 7 bits: the sums of products of 8 bits overflow on CPUs without VNNI, without a word.
    """
    quantization = importlib.import_module("onnxruntime.quantization")
    names = [node.name for node in model.graph.node if node.name.startswith(NET) and not node.name.startswith(STACK)]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder, "model.onnx")
        quantization.quantize_dynamic(model, path, per_channel=True, reduce_range=True, nodes_to_quantize=names)
        return path.read_bytes()


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings: the exporter has one for each shape that the trace keeps, the quantisation one for each model."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
