"""An ONNX file opened in onnxruntime (extra `pretrained`)."""

import importlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from asr.errors import InputError, missing
from asr.features.onnx.fields import has_external_data

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OnnxFile:
    data: bytes
    session: Any
    where: object  # for messages

    @classmethod
    def read(cls, path: Path) -> "OnnxFile":
        """Raises InputError if the file cannot be read, and as `parse` does."""
        if not path.is_file():
            raise InputError(f"cannot read the model {path}: there is no such file")
        try:
            data = path.read_bytes()
        except OSError as e:
            raise InputError(f"cannot read the model {path} ({e})") from e
        return cls.parse(data, path)

    @classmethod
    def parse(cls, data: bytes, where: object) -> "OnnxFile":
        """Raises InputError if onnxruntime is missing or cannot open the model."""
        try:
            runtime = importlib.import_module("onnxruntime")
        except ImportError:
            raise InputError(missing("pretrained", "an ONNX model", "onnxruntime")) from None
        try:
            if has_external_data(data):
                raise InputError(f"{where}: the model keeps weights in another file; save it as one file")
        except ValueError as e:
            raise InputError(f"{where} is not an ONNX model ({e}); copy or export it again") from e
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 4
        try:
            return cls(data, runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"]), where)
        except Exception as e:  # the errors of onnxruntime have no common class
            raise InputError(f"{where}: onnxruntime cannot open the model ({e!s:.200}); copy or export it again") from e

    @property
    def metadata(self) -> dict[str, str]:
        return dict(self.session.get_modelmeta().custom_metadata_map)

    @property
    def inputs(self) -> dict[str, Any]:
        return {found.name: found for found in self.session.get_inputs()}

    @property
    def outputs(self) -> dict[str, Any]:
        return {found.name: found for found in self.session.get_outputs()}

    def stay_on_the_cpu(self, device: str) -> None:
        """Tells that a model in ONNX does not run on `device`."""
        if not device.startswith("cpu"):
            _log.warning(f"{self.where}: a model in ONNX runs on the CPU, not on {device}")
