"""Files of models of texts given their sound: as those of neural language models (`asr.lm.neural.file`), with the
format `attention 1`. Weights have half precision.

    data     the encoder's description, the decoder's shape, its tokens and their merges, the language
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from asr.bounds import complaint
from asr.errors import InputError
from asr.features.encoders import Encoder, build_encoder, ctranslate2, open_encoder
from asr.files import keep_inputs
from asr.lm.attention.net import Decoder, Sizes, from_tensors
from asr.lm.attention.pieces import LANGUAGES, Pieces, beginning, read_tokenizer
from asr.lm.neural.file import format_of, parse_tensors, read_bytes, write_tensors
from asr.lm.texts import sentences

FORMAT = "attention 1"
_BOUNDS = {"tokens": "[257, 1e6]", "dim": "[1, 65536]", "heads": "[1, 1024]", "layers": "[1, 256]",
           "hidden": "[1, 65536]", "positions": "[8, 65536]"}  # fmt: skip


@dataclass(frozen=True)
class AttentionModel:
    encoder: Encoder
    decoder: Decoder
    pieces: Pieces  # the tokens of the decoder
    language: str

    @property
    def parts(self) -> nn.ModuleDict:
        return nn.ModuleDict({"encoder": self.encoder, "decoder": self.decoder})


def convert(source: str | Path, path: str | Path, language: str, texts: Sequence[str]) -> str:
    """Writes a Whisper of CTranslate2 as a file of ours, and returns what is in it. Of its tokens, those of the files
    `texts` are kept; of none, all. Raises InputError as `open_whisper`, and for a name that does not tell its kind."""
    if not str(path).endswith(".safetensors"):
        raise InputError(f"{path}: a Whisper is written as a file that ends in .safetensors")
    keep_inputs([path], texts)
    model = open_whisper(source, language)
    if texts:
        model = with_pieces(model, model.pieces.kept(sentences(texts), beginning(language)))
    write(path, model)
    count = sum(weight.numel() for weight in model.parts.parameters())
    return f"{count:,} weights, {len(model.pieces.tokens):,} tokens"


def open_whisper(source: str | Path, language: str) -> AttentionModel:
    """The model in a folder of CTranslate2 (faster-whisper), with all its tokens. Raises InputError if it is none."""
    folder = Path(source)
    if language not in LANGUAGES:
        raise InputError(f"lm.lang={language}: name the language that Whisper is to expect, {' or '.join(LANGUAGES)}")
    if not (folder / "model.bin").is_file():
        raise InputError(f"{source} holds no model.bin; name a folder of Whisper in CTranslate2's format")
    decoder = from_tensors(ctranslate2.read(folder / "model.bin", "WhisperSpec", "decoder/"), folder / "model.bin")
    pieces = read_tokenizer(folder / "tokenizer.json", decoder.sizes.tokens)
    if lacking := [mark for mark in beginning(language) if mark not in pieces.ids]:
        raise InputError(f"{folder} does not know the token {lacking[0]}; name a multilingual Whisper")
    return AttentionModel(open_encoder(str(source)), decoder, pieces, language)


def with_pieces(model: AttentionModel, pieces: Pieces) -> AttentionModel:
    """The model with some of its tokens alone."""
    rows = [model.pieces.ids[token] for token in pieces.tokens]
    decoder = Decoder(Sizes(**asdict(model.decoder.sizes) | {"tokens": len(rows)}))
    decoder.load_state_dict(model.decoder.state_dict() | {"embeddings": model.decoder.embeddings.detach()[rows]})
    return AttentionModel(model.encoder, decoder.eval(), pieces, model.language)


def write(path: str | Path, model: AttentionModel) -> None:
    data = {"encoder": model.encoder.description(), "decoder": asdict(model.decoder.sizes),
            "tokens": model.pieces.tokens, "merges": model.pieces.merges, "language": model.language}  # fmt: skip
    write_tensors(path, {name: x.half() for name, x in model.parts.state_dict().items()}, data, FORMAT)


def is_attention(path: str | Path) -> bool:
    """Whether a file is a model that `write` wrote."""
    return format_of(path) == FORMAT


def read(path: str | Path) -> AttentionModel:
    """Raises InputError for a file that is missing, damaged, or not such a model."""
    return parse(read_bytes(path), path)


def parse(content: bytes, path: str | Path) -> AttentionModel:
    """The model in the content of a file, which is named in errors."""
    tensors, data = parse_tensors(content, path, FORMAT)
    try:
        with torch.device("meta"):
            wanted = _described(data).parts.state_dict()
        if {name: x.shape for name, x in wanted.items()} != {name: x.shape for name, x in tensors.items()}:
            raise ValueError("its tensors do not fit its description")
        model = _described(data)
        model.parts.load_state_dict({name: x.float() for name, x in tensors.items()})
    except (ValueError, KeyError, TypeError, RuntimeError) as e:
        raise InputError(f"{path} is not a model of texts given their sound ({e!s:.200}); make it again "
                         "with `asr lm convert`") from None  # fmt: skip
    return model


def _described(data: dict[str, Any]) -> AttentionModel:
    sizes = Sizes(**data["decoder"])
    for name, within in _BOUNDS.items():
        if wrong := complaint(getattr(sizes, name), int, within):
            raise ValueError(f"{name}: {wrong}")
    pieces, language = Pieces(data["tokens"], data["merges"]), data["language"]
    if language not in LANGUAGES or not set(beginning(language)) <= pieces.ids.keys():
        raise ValueError(f"its language is {language!r:.20}")
    if len(pieces.tokens) != sizes.tokens or sizes.dim % sizes.heads:
        raise ValueError("its tokens do not fit its shape")
    encoder = build_encoder(data["encoder"])
    if encoder.dim != sizes.dim:
        raise ValueError("its encoder and its decoder do not fit each other")
    return AttentionModel(encoder, Decoder(sizes).eval().requires_grad_(False), pieces, language)
