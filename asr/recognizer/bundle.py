"""The bundle: a complete recogniser in one file, `*.asr`.

A bundle is a zip archive whose members are stored without compression and start at multiples of `ALIGNMENT` bytes. The
search reads the graph directly from the memory-mapped file.

    model.safetensors   the weights, or model.onnx, the model in ONNX
    config.json         features, model, decoder and unit; how to call the model in ONNX
    tokens.txt          the net's outputs      card.md       a description for people
    hmm.json            the HMMs of a net that scores their states; bundles of earlier versions lack it
    graph.bin, words.txt, lexicon.txt          a static graph, or
    tree.bin, lm.ngram                         a dynamic graph; a greedy recogniser has neither
    rescore.safetensors or rescore.trie        the language model of decoder.rescore, if there is one
    checksums.json      {"format": 1, "sha256": {member: digest}}

A bundle contains no code: no pickle, no class names, no paths. The same input gives the same bytes.

Whatever a file contains, `read` returns a bundle or raises InputError. Numbers of config.json are compared with the
bounds of asr/config.py, and shapes with the weights, before anything of their size is made.
"""

import hashlib
import json
import mmap
import shutil
import struct
import zipfile
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from omegaconf import OmegaConf

from asr.config import Config, check_choices
from asr.errors import InputError
from asr.features.encoders import build_encoder
from asr.files import atomic_write, moved_into
from asr.graph.arrays import Arrays
from asr.graph.dynamic import NGRAM, STATIC_FILES, TREE, Language
from asr.graph.ngram_file import NgramFile
from asr.graph.opened import Graph
from asr.graph.pack import unpack_bytes
from asr.graph.tree_file import Tree
from asr.hmm.model import Hmm
from asr.literals import parse_json
from asr.models.acoustic import AcousticModel
from asr.models.imported import OnnxFile, OnnxModel, OnnxSpec
from asr.recognizer import bundled_scorer, bundled_weights
from asr.search.second_pass import BUNDLED, Rescorer
from asr.search.space import DynamicSpace, SearchSpace, check_same_tokens, read_stats
from asr.states import HMM_FILE, States
from asr.text.lexicon import Lexicon
from asr.tokens import Tokens

FORMAT = 1
ALIGNMENT = 64
MAX_BYTES = 8 << 30  # size limit of a bundle
MAX_TEXT_BYTES = 256 << 20  # size limit of words.txt, lexicon.txt and hmm.json
MAX_SMALL_BYTES = 4 << 20  # size limit of the other texts, and of the archive's directory
_GROUPS = ("features", "model", "decoder")
_WEIGHTS, _ONNX = "model.safetensors", "model.onnx"  # one of the two
_MODEL_MEMBERS = ("config.json", "tokens.txt", "card.md")
_GRAPH_MEMBERS = {"static": STATIC_FILES, "dynamic": (TREE, NGRAM)}
_LIMITS = dict.fromkeys((_WEIGHTS, _ONNX, "graph.bin", TREE, NGRAM, *bundled_scorer.MEMBERS), MAX_BYTES)
_LIMITS |= dict.fromkeys(("words.txt", "lexicon.txt", HMM_FILE), MAX_TEXT_BYTES)
_SUMS = "checksums.json"
_PADDING_ID = 0xD935  # the extra field of Android's zipalign
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")  # APPNOTE.TXT 4.3.7; the last two are the lengths of name and extra field


Model = AcousticModel | OnnxModel


@dataclass(frozen=True)
class Bundle:
    model: Model
    # features, model, decoder, tokens.unit, graph.silence and, for states of HMMs, criterion.kind come from the bundle;
    # the rest are defaults
    cfg: Config
    tokens: Tokens
    space: SearchSpace | None
    card: str
    rescorer: Rescorer | None = None
    hmm: Hmm | None = None


def write(path: str | Path, model: Model, cfg: Config, tokens: Tokens, graph_dir: str | Path | None, card: str,
          hmm: Hmm | None = None) -> None:  # fmt: skip
    """Write a bundle atomically. `graph_dir` is a folder written by `asr graph`; None makes a greedy recogniser.
    `hmm`: of a net that scores states.

    Raises InputError if the model or the graph has other tokens, if a file of the graph is missing, and if
    `cfg.decoder.rescore` is neither a model of `asr lm train` in safetensors nor a packed n-gram.
    """
    if model.num_tokens != len(tokens):
        raise InputError(
            f"the model has {model.num_tokens} outputs, the token table {len(tokens)}; take both from the same run"
        )
    stats = {} if graph_dir is None else read_stats(graph_dir)
    if isinstance(model, OnnxModel):
        contents: dict[str, bytes | Path] = {_ONNX: model.file.data}
    else:
        contents = {_WEIGHTS: bundled_weights.packed(model)}
    if cfg.decoder.rescore is not None:
        if graph_dir is None:
            raise InputError(f"decoder.rescore={cfg.decoder.rescore} needs a graph, and this bundle gets none; set "
                             "decoder.rescore=null")  # fmt: skip
        contents[bundled_scorer.member_of(cfg.decoder.rescore)] = Path(cfg.decoder.rescore)
    data = _config_data(model, cfg, stats.get("silence"))
    if States.of(tokens):  # what its outputs are, for a training that continues it
        data["criterion"] = cfg.criterion.kind
    contents |= {
        "config.json": json.dumps(data, indent=1, sort_keys=True).encode(),
        "tokens.txt": "".join(symbol + "\n" for symbol in tokens.symbols).encode(),
        "card.md": card.encode(),
    }
    if hmm:
        contents[HMM_FILE] = hmm.text().encode()
    if graph_dir is not None:
        check_same_tokens(tokens, Tokens.read(Path(graph_dir) / "tokens.txt"), graph_dir)
        contents |= {name: Path(graph_dir) / name for name in _GRAPH_MEMBERS[stats.get("kind", "static")]}
    sums = {}
    with atomic_write(path, "wb") as file, zipfile.ZipFile(file, "w") as archive:
        for name, content in contents.items():
            sums[name] = _add(archive, name, content)
        _add(archive, _SUMS, json.dumps({"format": FORMAT, "sha256": sums}, indent=1).encode())
        if file.tell() + MAX_SMALL_BYTES > MAX_BYTES:  # with the directory
            raise InputError(f"{path} would have {file.tell()} bytes, more than can be opened ({MAX_BYTES}); prune its "
                             "n-grams, or bundle with decoder.rescore=null and name the model later")  # fmt: skip


def read(path: str | Path, max_bytes: int = MAX_BYTES) -> Bundle:
    """Open a bundle. The graph stays in the memory-mapped file, which processes share.

    Raises InputError if the file is not a bundle, larger than `max_bytes`, damaged (naming the member), or of a later
    format.
    """
    members = _members(Path(path), max_bytes)
    hmm = Hmm.parse(bytes(members.pop(HMM_FILE)), f"{path}: {HMM_FILE}") if HMM_FILE in members else None
    texts = {name: _text(data, name, path) for name, data in members.items() if name.endswith((".txt", ".md", ".json"))}
    cfg, foreign = _config(texts["config.json"], path)
    tokens = Tokens(texts["tokens.txt"].removesuffix("\n").split("\n"))
    if isinstance(foreign, OnnxSpec) != (_ONNX in members):
        raise InputError(f"{path}: config.json describes another kind of model than the bundle holds; make it again")
    if isinstance(foreign, OnnxSpec):
        model: Model = _onnx_model(bytes(members[_ONNX]), cfg, foreign, tokens, path)
    else:
        model = _model(members[_WEIGHTS], cfg, foreign, tokens, path)
    states = States.of(tokens)
    if cfg.graph.silence is not None and cfg.graph.silence not in (states.phones if states else tokens):
        raise InputError(f"{path}: silence {cfg.graph.silence!r} of config.json is not a token; make the bundle again")
    if hmm and hmm.tokens != tokens:
        raise InputError(f"{path}: {HMM_FILE} has other states than tokens.txt; make the bundle again")
    space = None
    if "graph.bin" in members:
        words = texts["words.txt"].removesuffix("\n").split("\n")
        lexicon = Lexicon.parse(texts["lexicon.txt"], f"{path}: lexicon.txt")
        space = SearchSpace(Graph.from_bytes(members["graph.bin"]), words, lexicon, cfg.graph.silence)
    elif TREE in members:
        tree, ngram = (np.frombuffer(members[name], np.uint8) for name in (TREE, NGRAM))
        language = Language(Tree(tree, f"{path}: {TREE}"), NgramFile(ngram, f"{path}: {NGRAM}"))
        space = DynamicSpace.of(language, cfg.graph.silence)
    rescorer = bundled_scorer.opened(members, path)
    if cfg.decoder.rescore != (BUNDLED if rescorer else None):  # the name of another would be opened
        raise InputError(f"{path}: config.json and the members disagree about decoder.rescore; make the bundle again")
    return Bundle(model, cfg, tokens, space, texts["card.md"], rescorer, hmm)


def unpack_graph(path: str | Path, folder: str | Path) -> None:
    """Write the graph of a bundle to `folder` as `asr graph` does. Raises InputError as `read`, and if it has none."""
    members = _members(Path(path), MAX_BYTES)
    kind = next((kind for kind, names in _GRAPH_MEMBERS.items() if names[0] in members), None)
    if kind is None:
        raise InputError(f"{path} has no graph; it recognises greedily")
    silence = _config(_text(members["config.json"], "config.json", path), path)[0].graph.silence
    stale = [name for names in _GRAPH_MEMBERS.values() for name in names]
    with moved_into(Path(folder), stale) as place:
        for name in (*_GRAPH_MEMBERS[kind], "tokens.txt"):
            (place / name).write_bytes(members[name])
        (place / "stats.json").write_text(json.dumps({"kind": kind, "silence": silence}))


def unpack_rescorer(path: str | Path, folder: str | Path) -> Path:
    """Write the language model of a second pass, which the bundle must have, to `folder` -> its file. Raises InputError
    as `read` does."""
    members = _members(Path(path), MAX_BYTES)
    [name] = members.keys() & bundled_scorer.MEMBERS
    with atomic_write(Path(folder) / name, "wb") as place:
        place.write(members[name])
    return Path(folder) / name


def read_graph(path: str | Path) -> Arrays | None:
    """The arrays of the static graph in a bundle; None if it has none. Raises InputError as `read` does."""
    data = _members(Path(path), MAX_BYTES).get("graph.bin")
    return None if data is None else unpack_bytes(np.frombuffer(data, np.uint8))


def _add(archive: zipfile.ZipFile, name: str, content: bytes | Path) -> str:
    """Store a member at an aligned offset; returns its SHA-256."""
    try:
        source: IO[bytes] = content.open("rb") if isinstance(content, Path) else BytesIO(content)
    except OSError as e:
        raise InputError(f"cannot read the graph: {e}; run `asr graph` again") from e
    member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    member.create_system = 3  # unix, on every system
    member.external_attr = 0o644 << 16
    member.file_size = content.stat().st_size if isinstance(content, Path) else len(content)
    assert archive.fp is not None
    zip64 = 20 if member.file_size * 1.05 > zipfile.ZIP64_LIMIT else 0  # the field that zipfile adds itself
    start = archive.fp.tell() + _LOCAL_HEADER.size + len(name) + 4 + zip64
    member.extra = struct.pack("<HH", _PADDING_ID, -start % ALIGNMENT) + bytes(-start % ALIGNMENT)
    with source, archive.open(member, "w") as target:
        shutil.copyfileobj(source, target, 1 << 20)
        source.seek(0)
        return _sha256(source)


def _sha256(source: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while block := source.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _members(path: Path, max_bytes: int) -> dict[str, memoryview]:
    """Every member's bytes within the mapped file, checked against the checksums."""
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise InputError(f"{path} has {size} bytes, more than the limit of {max_bytes}; raise max_bytes")
        with path.open("rb") as file, zipfile.ZipFile(_ShortReads(file)) as archive:  # type: ignore[arg-type]
            infos = archive.infolist()
            mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except FileNotFoundError as e:
        raise InputError(f"there is no bundle {path}; check the path, or write it with `asr bundle`") from e
    except OSError as e:
        raise InputError(f"cannot read the bundle {path}: {e.strerror or e}; `asr bundle` writes one") from e
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as e:
        raise InputError(
            f"{path} is not a bundle or is truncated ({e}); copy it again or make it with `asr bundle`"
        ) from e
    names = {info.filename for info in infos}
    if len(names) < len(infos):
        raise InputError(f"{path} contains a member twice; make it again with `asr bundle`")
    graph = next((files for files in _GRAPH_MEMBERS.values() if files[0] in names), ())
    rescorer = sorted(names & bundled_scorer.MEMBERS)[:1]
    allowed = {_ONNX if _ONNX in names else _WEIGHTS, *_MODEL_MEMBERS, _SUMS, *graph, *rescorer, *names & {HMM_FILE}}
    if odd := sorted(names ^ allowed):
        raise InputError(
            f"{path}: member {odd[0]!r:.100} is missing or does not belong there; make it again with `asr bundle`"
        )
    members = {info.filename: _slice(mapped, info, path) for info in infos}
    _verify(members, {info.filename: info.CRC for info in infos}, path)
    return members


class _ShortReads:
    """A file for zipfile, which would read a directory of any size that the archive claims to have."""

    def __init__(self, file: IO[bytes]):
        self.seek, self.tell, self.seekable, self._read = file.seek, file.tell, file.seekable, file.read

    def read(self, size: int = -1) -> bytes:
        if size > MAX_SMALL_BYTES:
            raise ValueError(f"its directory has {size} bytes")
        return self._read(size)


def _slice(mapped: memoryview, info: zipfile.ZipInfo, path: Path) -> memoryview:
    limit = _LIMITS.get(info.filename, MAX_SMALL_BYTES)
    header = mapped[info.header_offset : info.header_offset + _LOCAL_HEADER.size]
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > limit or len(header) < _LOCAL_HEADER.size:
        raise InputError(f"{path}: member {info.filename} is compressed, too large or truncated; copy the bundle again")
    name_length, extra_length = _LOCAL_HEADER.unpack(header)[-2:]
    start = info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
    return mapped[start : start + info.file_size]


def _verify(members: dict[str, memoryview], crcs: dict[str, int], path: Path) -> None:
    sums = members.pop(_SUMS)
    if zlib.crc32(sums) != crcs[_SUMS]:
        raise InputError(f"{path}: member {_SUMS} is damaged; copy the bundle again")
    try:
        data = parse_json(bytes(sums))
        version, digests = data["format"], {name: data["sha256"][name] for name in members}
    except (ValueError, KeyError, TypeError) as e:
        raise InputError(
            f"{path}: member {_SUMS} is not what `asr bundle` writes ({e!r}); make the bundle again"
        ) from e
    if version != FORMAT:
        raise InputError(f"{path} is of bundle format {version}, this version reads {FORMAT}; update the toolkit")
    for name, data in members.items():
        if hashlib.sha256(data).hexdigest() != digests[name]:
            raise InputError(f"{path}: member {name} is damaged (sha256 differs); copy the bundle again")


def _text(data: memoryview, name: str, path: str | Path) -> str:
    try:
        return bytes(data).decode("utf-8")
    except UnicodeDecodeError as e:
        raise InputError(f"{path}: member {name} is not UTF-8 ({e}); make the bundle again") from e


def _config_data(model: Model, cfg: Config, silence: str | None) -> dict[str, Any]:
    """The part of the configuration that decoding needs; it contains no paths of the training machine."""
    groups = {name: _plain(getattr(cfg, name)) for name in _GROUPS}
    if isinstance(model, OnnxModel):
        groups["onnx"] = model.description()
    elif cfg.features.kind == "pretrained":
        groups["features"]["encoder"] = None
        groups["encoder"] = model.frontend.encoder.description()
    if cfg.decoder.rescore is not None:
        groups["decoder"]["rescore"] = BUNDLED
    return groups | {"unit": cfg.tokens.unit, "silence": silence}


def _plain(group: Any) -> Any:
    return OmegaConf.to_container(OmegaConf.create(group), resolve=True)


def _config(text: str, path: str | Path) -> tuple[Config, OnnxSpec | dict[str, Any] | None]:
    """The inverse of `_config_data`, with the description of the ONNX model or of the encoder; every key, type and
    bound is checked."""
    cfg, encoder = Config(), None
    try:
        data = parse_json(text)
        if "${" in text:
            raise ValueError("it contains a reference ${")
        for name in _GROUPS:
            setattr(cfg, name, type(getattr(cfg, name))(**data[name]))
        cfg.tokens.unit, cfg.graph.silence = data["unit"], data["silence"]
        cfg.criterion.kind = data.get("criterion", cfg.criterion.kind)
        check_choices(cfg)
        if "onnx" in data:
            spec = OnnxSpec(**data["onnx"])
            spec.check()
            return cfg, spec
        if cfg.features.kind == "pretrained":
            encoder = dict(data["encoder"])
            with torch.device("meta"):
                build_encoder(encoder)
    except InputError as e:
        raise InputError(f"{path}: member config.json has {e}; make the bundle again") from None
    except (ValueError, KeyError, TypeError) as e:
        raise InputError(f"{path}: member config.json is not of this version ({e!r}); make the bundle again") from e
    return cfg, encoder


def _model(
    data: memoryview, cfg: Config, encoder: dict[str, Any] | None, tokens: Tokens, path: str | Path
) -> AcousticModel:
    """Build the model and load its weights. Shapes are compared first, on a meta model that needs no memory."""
    state = bundled_weights.unpacked(data, path)
    if cfg.model.kind != "linear" and (layers := cfg.model.layers) > len(state):  # not even one tensor each
        raise InputError(
            f"{path}: member model.safetensors does not fit config.json: {len(state)} tensors for {layers} layers; "
            "make the bundle again"
        )

    def build() -> AcousticModel:
        own = build_encoder(encoder) if encoder else None
        return AcousticModel(cfg.features, cfg.model, len(tokens), own)

    with torch.device("meta"):
        wanted = bundled_weights.kinds(build().state_dict())
    found = bundled_weights.kinds(state)
    if odd := sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)):
        raise InputError(
            f"{path}: tensor {odd[0]} of model.safetensors does not fit config.json; make the bundle again"
        )
    model = build()
    model.load_state_dict(state)
    return model.eval()


def _onnx_model(data: bytes, cfg: Config, spec: OnnxSpec, tokens: Tokens, path: str | Path) -> OnnxModel:
    if len(spec.columns) != len(tokens):
        raise InputError(f"{path}: config.json names {len(spec.columns)} outputs for {len(tokens)} tokens; "
                         "make the bundle again")  # fmt: skip
    return OnnxModel(spec, cfg.features, cfg.model.subsampling, OnnxFile.parse(data, f"{path}: {_ONNX}"))
