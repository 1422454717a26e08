"""Models by their name in Hugging Face's hub, as `openai/whisper-base`."""

import os
from pathlib import Path

from asr.errors import InputError, missing

FILES = (
    "config.json", "preprocessor_config.json", "processor_config.json", "vocab.json", "tokenizer.json",
    "merges.txt", "*.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "README.md",
    "*.safetensors", "*.safetensors.index.json", "model.bin",
)  # fmt: skip


def find_folder(source: str, option: str | None = "features.encoder") -> Path:
    """The folder `source`, or the downloaded copy of the model of that name. `option` is the one that names it.

    Raises InputError if there is neither.
    """
    if Path(source).is_dir():
        return Path(source)
    way_out = "download the model where there is a network, and name its folder"
    way_out += f" with {option}=DIR" if option else ""
    named = f"{source} ({option})" if option else source
    if source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise InputError(f"there is no folder {named}; name a folder, or a model as OWNER/NAME")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        way = missing("pretrained", "downloading the model of that name", "huggingface_hub")
        raise InputError(f"there is no folder {named}; {way}") from None
    try:
        return Path(snapshot_download(source, allow_patterns=list(FILES)))
    except (OSError, ValueError) as e:  # the hub's errors are OSErrors or ValueErrors
        reason = str(e).strip().splitlines()[0]
        raise InputError(f"the model {source} cannot be downloaded ({reason}); {way_out}") from e


def full_name(source: str | None) -> str | None:
    """The absolute path of a folder or file; another name as it is."""
    return os.path.abspath(source) if source and Path(source).exists() else source
