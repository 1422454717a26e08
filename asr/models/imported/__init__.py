"""Other people's CTC models: their files in, models and tokens of ours out. One module per family.

    hugging_face    `*ForCTC` folders of transformers
    onnx_files      ONNX with a YAML file that describes it
    nemo            `.nemo` files of NeMo
    sherpa          ONNX of sherpa-onnx's collection, which describes itself
    hama            the package hama
    outputs         which outputs become tokens, under which names

Nothing is unpickled and no code of a model is run.
"""

from pathlib import Path

from asr.features.onnx.file import OnnxFile
from asr.features.onnx.net import OnnxSpec
from asr.models.imported import hama, hugging_face, nemo, onnx_files, sherpa
from asr.models.imported.imported import Imported
from asr.models.imported.onnx_model import OnnxModel

DESCRIPTION = "model.yaml"  # in a folder of `asr export`

__all__ = ["Imported", "OnnxFile", "OnnxModel", "OnnxSpec", "read_model"]


def read_model(source: str) -> Imported:
    """The model in the folder (of Hugging Face, of hama, or of `asr export`) or file `source`, or the one of that name:
    hama, or in Hugging Face's hub.

    Raises InputError if there is none, if it is of an unknown kind, or if a file is missing or damaged.
    """
    path = Path(source)
    if (path / DESCRIPTION).is_file():
        return onnx_files.read(path / DESCRIPTION)
    if path.suffix in (".yaml", ".yml"):
        return onnx_files.read(path)
    if path.suffix == ".nemo":
        return nemo.read(path)
    if path.is_file():
        return sherpa.read(path)
    if source == "hama" and not path.exists():
        return hama.read_package()
    if (path / hama.MODEL).is_file():
        return hama.read(path)
    return hugging_face.read(source)
