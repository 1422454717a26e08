"""Folders of Hugging Face's transformers (extra `pretrained`).

Files       config.json, preprocessor_config.json or processor_config.json, vocab.json or tokenizer.json, weights
Models      the `*ForCTC` of wav2vec 2.0, HuBERT, WavLM, data2vec, wav2vec2-BERT and Parakeet: a pretrained encoder
            (asr.features.encoders) with a linear head
Front end   that of the encoder: samples at 16 kHz, normalised if the preprocessor says so, or its log-mel spectrum
Subsampling one frame per 20 ms in nearly all models, per 80 ms in Parakeet; an adapter doubles it per layer
Tokens      the blank is `pad_token_id` of config.json, `word_delimiter_token` the gap between words; special tokens
            are dropped
"""

import re
from pathlib import Path
from typing import Any

from asr.errors import InputError
from asr.features.encoders import Encoder, wav2vec2
from asr.features.encoders.hub import find_folder
from asr.features.encoders.json_files import read_json
from asr.models.imported import encoder_head, outputs, parakeet
from asr.models.imported.imported import Imported, Source

_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token", "cls_token", "sep_token", "mask_token")


def read(source: str) -> Imported:
    """The CTC model in a folder, or of that name in the hub. Raises InputError for anything else."""
    folder = find_folder(source, None)
    if not (folder / "config.json").exists():
        raise InputError(f"{folder} has no config.json; name a folder of transformers, or a .onnx, .yaml or .nemo file")
    config = read_json(folder / "config.json")
    kind = config.get("model_type")
    if kind not in (*wav2vec2.KINDS, parakeet.KIND):
        raise InputError(f"{folder}: a model of type {kind!r} is not supported; supported types: "
                         f"{', '.join((*wav2vec2.KINDS, parakeet.KIND))}, with a CTC head")  # fmt: skip
    found = _outputs(folder, config)
    encoder: Encoder
    if kind == parakeet.KIND:
        encoder, weight, bias = parakeet.read_with_head(folder, config, _preprocessor(folder))
    else:
        encoder, head = wav2vec2.read_with_head(folder, config, _preprocessor(folder))
        weight, bias = head.weight, head.bias
    weights = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    about = Source(Path(source).name, f"{kind} of Hugging Face", _licence(folder), weights)
    return encoder_head.join(encoder, weight, bias, found, about, folder)


def _preprocessor(folder: Path) -> dict[str, Any]:
    """The description of the front end. Newer folders keep it in processor_config.json."""
    path = folder / "preprocessor_config.json"
    if path.exists() or not (folder / "processor_config.json").exists():
        return read_json(path)
    found = read_json(folder / "processor_config.json").get("feature_extractor")
    if not isinstance(found, dict):
        raise InputError(f"{folder / 'processor_config.json'} has no feature_extractor; "
                         "copy or download the folder again")  # fmt: skip
    return found


def _outputs(folder: Path, config: dict[str, Any]) -> outputs.Outputs:
    tokenizer = _optional(folder / "tokenizer_config.json")
    path, vocabulary, added = _vocabulary(folder)
    special = {text for text, is_special in added.items() if is_special}
    special |= {text for name in _SPECIAL if (text := _text({**_optional(folder / "special_tokens_map.json"),
                                                             **tokenizer}.get(name)))}  # fmt: skip
    size = max([*vocabulary.values(), int(config.get("vocab_size") or 0) - 1]) + 1
    if size > outputs.MOST:
        raise InputError(f"{path} has {size} tokens; expected at most {outputs.MOST}")
    symbols: list[str | None] = [None] * size
    for text, number in vocabulary.items():
        if number < 0 or symbols[number] is not None:
            raise InputError(f"{path}: '{text}' has the number {number}, which is negative or that of another token")
        symbols[number] = text
    blank = config.get("pad_token_id")
    if type(blank) is not int:
        raise InputError(f"{folder / 'config.json'}: pad_token_id, the blank, is {blank!r}; expected a number")
    delimiter = _text(tokenizer.get("word_delimiter_token", "|"))
    if tokenizer.get("do_lower_case"):
        symbols = [text if text is None or text in special or text == delimiter else text.lower() for text in symbols]
    return outputs.choose(symbols, blank, [delimiter, " "] if delimiter else [" "], special, path)


def _vocabulary(folder: Path) -> tuple[Path, dict[str, int], dict[str, bool]]:
    """The file, token -> number, and which tokens are added: token -> whether it is special."""
    path = folder / "vocab.json"
    added: dict[str, bool] = {}
    if path.exists():
        found: Any = read_json(path)
        if found and all(isinstance(table, dict) for table in found.values()):
            raise InputError(f"{path} has one table per language ({', '.join(list(found)[:5])}); save the model of "
                             "one language with load_adapter and save_pretrained of transformers")  # fmt: skip
        found |= _optional(folder / "added_tokens.json")
    else:
        path = folder / "tokenizer.json"
        data = read_json(path)
        table = data.get("model", {}).get("vocab") if isinstance(data.get("model"), dict) else None
        found = _without_scores(table)
        for entry in data.get("added_tokens") or []:
            if isinstance(entry, dict) and isinstance(found, dict) and isinstance(entry.get("content"), str):
                found[entry["content"]] = entry.get("id")
                added[entry["content"]] = bool(entry.get("special"))
    if not isinstance(found, dict) or not found or not all(type(number) is int for number in found.values()):
        raise InputError(f'{path} is not a table of tokens; expected {{"token": number, ...}}')
    return path, found, added


def _without_scores(table: Any) -> Any:
    """A list of [token, score], as in tokenizers of the kind Unigram, as token -> number."""
    if not isinstance(table, list) or not all(isinstance(e, list) and e and isinstance(e[0], str) for e in table):
        return table
    return {entry[0]: i for i, entry in enumerate(table)}


def _text(token: Any) -> str | None:
    """A token as files give it: its text, or {"content": text}."""
    token = token.get("content") if isinstance(token, dict) else token
    return token if isinstance(token, str) else None


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() else {}


def _licence(folder: Path) -> str | None:
    """The licence that the head of README.md states."""
    try:
        head = (folder / "README.md").read_text(encoding="utf-8", errors="replace")[:10000]
    except OSError:
        return None
    found = re.match(r"---\n.*?^licen[sc]e:[ \t]*([^\n]+)", head, re.DOTALL | re.MULTILINE)
    return found[1].strip().strip("\"'")[:100] if found else None
