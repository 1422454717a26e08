"""CTC models of sherpa-onnx's collection: an ONNX file that describes itself in its metadata.

Files       NAME.onnx and tokens.txt in one folder
Models      NeMo's: `model_type` EncDecCTCModel, EncDecCTCModelBPE and EncDecHybridRNNTCTCBPEModel
Front end   NeMo's (asr.features.nemo); `normalize_type` per_feature or none
Subsampling `subsampling_factor` times 10 ms
Tokens      tokens.txt; the blank is `<blk>`
"""

from pathlib import Path
from typing import Any

from asr.errors import InputError
from asr.models.imported import onnx_files, outputs
from asr.models.imported.imported import Imported
from asr.models.imported.onnx_model import open_session
from asr.token_tables import BLANK

NEMO = ("EncDecCTCModel", "EncDecCTCModelBPE", "EncDecHybridRNNTCTCBPEModel")
_BANDS = 80  # if the file does not tell


def read(path: Path) -> Imported:
    """Raises InputError for a model whose metadata do not name a supported type."""
    try:
        session = open_session(path.read_bytes(), path)
    except OSError as e:
        raise InputError(f"cannot read the model {path} ({e})") from e
    metadata = session.get_modelmeta().custom_metadata_map
    kind = metadata.get("model_type")
    if kind not in NEMO:
        raise InputError(f"{path}: its metadata name the model_type {kind!r}; supported types: {', '.join(NEMO)}. "
                         "Describe other models in a YAML file, and import that")  # fmt: skip
    return onnx_files.build(_nemo(path, session, metadata), path.stem, path)


def _nemo(path: Path, session: Any, metadata: dict[str, str]) -> dict[str, Any]:
    try:
        subsampling = int(metadata["subsampling_factor"])
    except (KeyError, ValueError) as e:
        raise InputError(f"{path}: its metadata lack the number subsampling_factor ({e}); export it again") from e
    normalisation = metadata.get("normalize_type", "")
    if normalisation not in ("per_feature", "", "NA"):
        raise InputError(f"{path}: normalize_type {normalisation!r} is not supported; expected per_feature or none")
    inputs, names = session.get_inputs(), [found.name for found in session.get_outputs()]
    if len(inputs) != 2 or len(inputs[0].shape) != 3:
        raise InputError(f"{path} takes {', '.join(found.name for found in inputs)}; expected features (N, D, F) and "
                         "their number")  # fmt: skip
    bands = inputs[0].shape[1]
    return {
        "model": str(path), "input": inputs[0].name, "lengths": inputs[1].name, "output": names[0],
        "frontend": {"kind": "nemo", "num_bins": bands if isinstance(bands, int) else _BANDS,
                     "cmvn": "utterance" if normalisation == "per_feature" else "none"},
        "bands_first": True, "shift_ms": 10 * subsampling, "tokens": outputs.read_table(path.parent / "tokens.txt"),
        "blank": BLANK,
    }  # fmt: skip
