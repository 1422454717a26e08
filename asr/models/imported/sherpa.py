"""CTC models of sherpa-onnx's collection: an ONNX file that describes itself in its metadata.

Files       NAME.onnx and tokens.txt in one folder
Tokens      tokens.txt; the blank is `<blk>`, `<blank>` or `<eps>`; omnilingual's is output 0

Models, by `model_type`:

EncDecCTCModel, EncDecCTCModelBPE, EncDecHybridRNNTCTCBPEModel
            NeMo's front end with `normalize_type` per_feature or none; `subsampling_factor` times 10 ms
zipformer2_ctc
            icefall's Zipformer: lhotse's front end, 40 ms
zipformer2  the same for streams: chunks of `T` frames, `decode_chunk_len` of them new, and states
tdnn        icefall's yesno: lhotse's front end at 8 kHz, 10 ms
wenet_ctc   WeNet's front end, which is ours with its defaults (sherpa-onnx adds noise and mirrors the edges);
            `subsampling_factor` times 10 ms
omnilingual-asr
            samples of mean 0 and variance 1; 20 ms
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from asr.errors import InputError
from asr.features.onnx.file import OnnxFile
from asr.models.imported import onnx_files, outputs
from asr.models.imported.imported import Imported

_BANDS = 80  # if the file does not tell
_BLANKS = ("<blk>", "<eps>", "<blank>")  # the first one in the table counts, as in sherpa-onnx
_AUXILIARY = re.compile(r"#\d+")  # symbols for graphs at the end of icefall's tables; no outputs
_ICEFALL = {"kind": "lhotse", "high_hz": -400.0}


def read(path: Path) -> Imported:
    """Raises InputError for a model whose metadata do not name a supported type."""
    file = OnnxFile.read(path)
    kind = file.metadata.get("model_type")
    if kind not in _FAMILIES:
        raise InputError(f"{path}: its metadata name the model_type {kind!r}; supported types: "
                         f"{', '.join(_FAMILIES)}. Describe other models in a YAML file, and import that")  # fmt: skip
    symbols = outputs.read_table(path.parent / "tokens.txt")
    while symbols and symbols[-1] is not None and _AUXILIARY.fullmatch(symbols[-1]):
        symbols.pop()
    if _is_byte_level(symbols):
        raise InputError(f"{path.parent / 'tokens.txt'} spells bytes (byte-level BPE), not characters; such tokens are "
                         "not supported")  # fmt: skip
    description = {
        "model": str(path), "input": next(iter(file.inputs)), "output": next(iter(file.outputs)), "tokens": symbols,
        "blank": next((name for name in _BLANKS if name in symbols), symbols[0] if symbols else None),
    }  # fmt: skip
    return onnx_files.build(description | _FAMILIES[kind](file), path.stem, path, file)


def _nemo(file: OnnxFile) -> dict[str, Any]:
    if file.metadata.get("is_giga_am", "0") != "0":
        raise InputError(f"{file.where} is a model of GigaAM (is_giga_am), whose front end is not supported")
    normalisation = file.metadata.get("normalize_type", "")
    if normalisation not in ("per_feature", "", "NA"):
        raise InputError(
            f"{file.where}: normalize_type {normalisation!r} is not supported; expected per_feature or none"
        )
    cmvn = "utterance" if normalisation == "per_feature" else "none"
    return {
        "frontend": {"kind": "nemo", "num_bins": _bands(file, 1), "cmvn": cmvn}, "lengths": _lengths(file),
        "bands_first": True, "shift_ms": 10 * _number(file, "subsampling_factor"),
    }  # fmt: skip


def _zipformer(file: OnnxFile) -> dict[str, Any]:
    lengths = list(file.outputs)[1:2]
    return {
        "frontend": {**_ICEFALL, "num_bins": _bands(file, 2)}, "lengths": _lengths(file), "shift_ms": 40,
        "output_lengths": lengths[0] if lengths else None,
    }  # fmt: skip


def _streaming_zipformer(file: OnnxFile) -> dict[str, Any]:
    if "log_probs" not in file.outputs or file.metadata.get("feature"):
        raise InputError(f"{file.where} has the output {next(iter(file.outputs))} and the front end "
                         f"{file.metadata.get('feature', 'fbank')}; expected log_probs and fbank")  # fmt: skip
    return {
        "frontend": {**_ICEFALL, "num_bins": _bands(file, 2)}, "shift_ms": 40, "chunk": _number(file, "T"),
        "chunk_shift": _number(file, "decode_chunk_len"),
        "states": [[name, f"new_{name}"] for name in list(file.inputs)[1:]],
    }  # fmt: skip


def _tdnn(file: OnnxFile) -> dict[str, Any]:
    return {"frontend": {**_ICEFALL, "num_bins": _bands(file, 2)}, "sample_rate_hz": 8000, "shift_ms": 10}


def _wenet(file: OnnxFile) -> dict[str, Any]:
    lengths = list(file.outputs)[1:2]
    return {
        "frontend": {"kind": "logmel", "num_bins": _bands(file, 2)}, "lengths": _lengths(file),
        "output_lengths": lengths[0] if lengths else None, "shift_ms": 10 * _number(file, "subsampling_factor"),
    }  # fmt: skip


def _omnilingual(file: OnnxFile) -> dict[str, Any]:
    return {"frontend": "normalised", "shift_ms": 20}


_FAMILIES: dict[str, Callable[[OnnxFile], dict[str, Any]]] = {
    "EncDecCTCModel": _nemo, "EncDecCTCModelBPE": _nemo, "EncDecHybridRNNTCTCBPEModel": _nemo,
    "zipformer2_ctc": _zipformer, "zipformer2": _streaming_zipformer, "tdnn": _tdnn, "wenet_ctc": _wenet,
    "omnilingual-asr": _omnilingual,
}  # fmt: skip


def _number(file: OnnxFile, name: str) -> int:
    try:
        return int(file.metadata[name])
    except (KeyError, ValueError) as e:
        raise InputError(f"{file.where}: its metadata lack the number {name} ({e}); export it again") from e


def _lengths(file: OnnxFile) -> str:
    """The name of the second input, the number of frames."""
    names = list(file.inputs)
    if len(names) != 2:
        raise InputError(f"{file.where} takes {', '.join(names)}; expected features and their number")
    return names[1]


def _bands(file: OnnxFile, axis: int) -> int:
    """The size of the first input along `axis`."""
    shape = next(iter(file.inputs.values())).shape
    if len(shape) != 3:
        raise InputError(f"{file.where}: its first input has {len(shape)} dimensions; expected 3, of features")
    return shape[axis] if isinstance(shape[axis], int) else _BANDS


def _is_byte_level(symbols: Sequence[str | None]) -> bool:
    """Whether symbols are bytes, each written as one of the characters up to U+01BF, as icefall writes them."""
    highest = max((ord(c) for symbol in symbols for c in (symbol or "").removeprefix("▁")), default=0)
    return 0x180 <= highest <= 0x1BF
