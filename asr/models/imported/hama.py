"""hama (Apache-2.0), an English phone model: `pip install hama`, then `asr import hama`.

Files       asr_waveform_fp16.onnx and g2p_vocab.json of the package, which is not run, or a folder of them
Front end   within the model: samples at 16 kHz
Subsampling one frame per 20 ms
Tokens      the IPA symbols of the table "decoder", `<wb>` between words, `<blank>`
"""

import importlib.util
from pathlib import Path

from asr.errors import InputError
from asr.features.encoders.json_files import read_json
from asr.models.imported import onnx_files
from asr.models.imported.imported import Imported

MODEL, TABLE = "asr_waveform_fp16.onnx", "g2p_vocab.json"


def read_package() -> Imported:
    """Raises InputError if the package is not installed."""
    found = importlib.util.find_spec("hama")
    folders = list(found.submodule_search_locations or []) if found else []
    if not folders:
        raise InputError("there is no folder hama, and the package hama is not installed: pip install hama==1.3.13")
    return read(Path(folders[0]) / "assets")


def read(assets: Path) -> Imported:
    """The model in the folder of the package's files. Raises InputError if one is missing or damaged."""
    symbols = read_json(assets / TABLE).get("decoder")
    if not isinstance(symbols, list):
        raise InputError(f'{assets / TABLE} has no table "decoder"; pip install hama==1.3.13')
    description = {
        "model": str(assets / MODEL),
        "input": "waveform", "lengths": "waveform_lengths", "output": "log_probs", "output_lengths": "out_lengths",
        "shift_ms": 20.0, "tokens": [*symbols, "<wb>", "<blank>"], "blank": "<blank>", "space": "<wb>",
        "unit": "phone", "licence": "Apache-2.0",
    }  # fmt: skip
    return onnx_files.build(description, "hama", assets)
