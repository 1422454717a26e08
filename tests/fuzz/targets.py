"""The readers of files from outside. Whatever the bytes are, a target returns or raises InputError."""

import json
import wave
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from tiny import TOKENS, config, graph_dir, model

from asr import g2p as _g2p  # noqa: F401  (imports what its readers need)
from asr import manifest
from asr.cli import conf_files
from asr.cli.options import all_groups
from asr.config import Config
from asr.data import importers
from asr.errors import InputError
from asr.evaluation.texts import read_texts
from asr.features import audio, recorded
from asr.features.files import load_features
from asr.g2p import file as g2p_file
from asr.graph import lists
from asr.graph.dynamic import Language, compile_dynamic
from asr.graph.ngram_file import NgramFile
from asr.graph.opened import Graph
from asr.graph.phrase_grammar import read_grammar
from asr.graph.tree_file import Tree
from asr.lm import arpa
from asr.lm.model import Ngrams
from asr.recognizer import bundle, run_folder
from asr.recognizer.recognizer import Recognizer
from asr.search import lattice_files, new_words, phrases
from asr.search.decoder import Decoder
from asr.text import repair
from asr.text.lexicon import Lexicon
from asr.tokens import Tokens
from asr.training import checkpoint

ARPA = b"\\data\\\nngram 1=5\nngram 2=3\n\n\\1-grams:\n-1.2\t<unk>\n-99\t<s>\t-0.3\n-0.9\t</s>\n-0.7\ta\t-0.2\n-0.8\tb\n\n\\2-grams:\n-0.3\t<s> a\n-0.4\ta b\n-0.5\ta </s>\n\n\\end\\\n"  # noqa: E501
JSGF = b'#JSGF V1.0;\ngrammar x;\npublic <c> = [please] turn (/2/ on | /1/ off) <w>+ "a b"; // c\n<w> = a | b {tag} | <NULL>*;\n'  # noqa: E501


@dataclass(frozen=True)
class Target:
    read: Callable[[Path], object]  # reads a file whose bytes are the input
    seeds: Callable[[Path], list[bytes]]  # small valid inputs, made in an empty folder
    suffix: str = ""


TARGETS: dict[str, Target] = {}


def target(name: str, *seeds: bytes | Callable[[Path], list[bytes]], suffix: str = "") -> Callable:
    def add(read: Callable[[Path], object]) -> Callable[[Path], object]:
        def make(folder: Path) -> list[bytes]:
            return [data for seed in seeds for data in ([seed] if isinstance(seed, bytes) else seed(folder))]

        TARGETS[name] = Target(read, make, suffix)
        return read

    return add


def run(name: str, data: bytes, folder: Path) -> bool:
    """Read the bytes as a file of the target. Returns whether they were accepted; InputError is a refusal."""
    path = folder / f"input{TARGETS[name].suffix}"
    path.write_bytes(data)
    try:
        TARGETS[name].read(path)
    except InputError as e:
        assert str(e) and "\n" not in str(e).strip(), f"not one sentence: {e!r}"
        return False
    return True


def _bundles(folder: Path) -> list[bytes]:
    cfg = config(cmvn="global")
    net = model(cfg)
    net.frontend.set_global_stats(net.frontend.cmvn.mean, net.frontend.cmvn.std + 1)
    (folder / "lm.arpa").write_bytes(ARPA)
    compile_dynamic(TOKENS, Lexicon({"a": [("a",)], "b": [("b", "a")]}), folder / "lm.arpa", folder / "dynamic")
    graphs = (None, graph_dir(folder / "graph", silence="<space>"), folder / "dynamic")
    for graph in graphs:
        bundle.write(folder / "m.asr", net, cfg, TOKENS, graph, "# card\n")
        yield (folder / "m.asr").read_bytes()


@target("bundle", lambda folder: [*_bundles(folder)])
def _read_bundle(path: Path) -> None:
    """Checksums are not compared, or no mutation would pass them."""
    verify, bundle._verify = bundle._verify, lambda members, *_: members.pop(bundle._SUMS)
    try:
        opened = bundle.read(path)
    finally:
        bundle._verify = verify
    recognizer = Recognizer(opened.model, opened.cfg, opened.tokens, opened.space)
    samples = np.random.default_rng(0).normal(0, 0.1, 2000).astype(np.float32)
    recognizer.transcribe(samples, opened.cfg.features.sample_rate_hz)


@target("config", json.dumps(bundle._config_data(config(), None)).encode())
def _read_config(path: Path) -> None:
    """The numbers of a bundle, and the model that they ask for."""
    cfg = bundle._config(path.read_text(encoding="utf-8", errors="replace"), path)
    bundle._model(memoryview(_weights()), cfg, TOKENS, path)


@cache
def _weights() -> bytes:
    from safetensors.torch import save

    return save(model(config()).state_dict())


@target("checksums", b'{"format": 1, "sha256": {"card.md": "abc"}}')
def _read_checksums(path: Path) -> None:
    bundle._verify({bundle._SUMS: memoryview(path.read_bytes()), "card.md": memoryview(b"")}, {bundle._SUMS: 0}, path)


@target("weights", lambda folder: [_weights()])
def _read_weights(path: Path) -> None:
    checkpoint.read_tensors(path)
    bundle._model(memoryview(path.read_bytes()), config(), TOKENS, path)


def _graphs(folder: Path) -> list[bytes]:
    return [(graph_dir(folder / "graph") / "graph.bin").read_bytes()]


@target("graph", _graphs)
def _search_graph(path: Path) -> None:
    graph = Graph.open(path)
    if graph.max_ilabel <= 16:
        Decoder(graph, lattice_beam=4.0).decode_lattice(np.zeros((4, 16), np.float32)).lattice.nbest(3)


def _language(folder: Path) -> list[bytes]:
    (folder / "lm.arpa").write_bytes(ARPA)
    compile_dynamic(TOKENS, Lexicon({"a": [("a",)], "b": [("b", "a")]}), folder / "lm.arpa", folder / "d")
    tree, ngram = (folder / "d" / "tree.bin").read_bytes(), (folder / "d" / "lm.ngram").read_bytes()
    return [len(tree).to_bytes(4, "little") + tree + ngram]


@target("language", _language)
def _search_language(path: Path) -> None:
    """tree.bin and lm.ngram in one input, the size of the first in its first 4 bytes."""
    data = np.fromfile(path, np.uint8)
    size = int.from_bytes(data[:4].tobytes(), "little")
    graph = Language(Tree(data[4 : 4 + size], "tree"), NgramFile(data[4 + size :], "ngram")).graph(most_bytes=64 << 20)
    if graph.max_ilabel <= 16:
        Decoder(graph).decode(np.zeros((4, 16), np.float32))


target("arpa", ARPA)(arpa.read)
target("jsgf", JSGF)(read_grammar)
target("list", "yes\nturn on\t2.5\n거실\t1e-3\n".encode())(lists.read_list)
target("lexicon", b"a AA1 B\na(2) AA B\nb B #c\n# x\n", b"a 0.5 AA\nb 0.1 0.2 0.3 B\n")(Lexicon.read)
target("tokens", b"<blk>\n<space>\na\nb\n")(Tokens.read)
target("phrases", b"new york\t3.5\na b\n")(lambda path: phrases.read_phrases(path, 3.0))
target("new_words", b"word\ta b\t<name>\t0.5\nx\n")(new_words.read_new_words)
target("texts", b'a\tx y\n{"id": "b", "text": "c", "speaker": null}\n')(read_texts)
target("repairs", b"teh\tthe\na b\tc\n")(repair.table)


@target("lattice", b"u1\n0 1 3 0.5,1.5,1_2\n1 2 4 1,2,3\n2 0,1,\n\nu2\n0 0,0,1\n\n")
def _read_lattice(path: Path) -> None:
    for lattice in lattice_files.read_kaldi(path).values():
        lattice.nbest(3)


@target(
    "manifest",
    b'{"id": "a", "audio": "a.wav", "start_s": 0.5, "duration_s": 1, "text": "x", "lang": "en", "k": [1]}\n'
    b'{"id": "b", "features": "f.ark:12", "speaker": null}\n',
    suffix=".jsonl",
)
def _read_manifest(path: Path) -> None:
    manifest.write(path.with_suffix(".out"), manifest.read(path))


@target("yaml", b"# @package _global_\ndefaults:\n  - override /model: cnn\nmodel: {hidden: 8}\noptim:\n  lr: 1e-3\n")
def _read_yaml(path: Path) -> None:
    conf_files.check("experiment", "x", {**all_groups(), "experiment": {"x": path}})


@target("recorded", lambda folder: [json.dumps(vars(Config().features)).encode()])
def _read_recorded(path: Path) -> None:
    recorded.behind(recorded.read(path), Config().features)  # type: ignore[arg-type]


@target("run_folder", json.dumps({"features": {}, "model": {}, "tokens": {"unit": "char"}}).encode())
def _read_run_folder(path: Path) -> None:
    """The results of earlier verbs, all from the same bytes."""
    folder = path.parent / "run"
    (folder / "train").mkdir(parents=True, exist_ok=True)
    for name in ("train/config.json", "tune.json", "calibration.json"):
        (folder / name).write_bytes(path.read_bytes())
    cfg = Config(out=str(folder))
    for read in (run_folder.as_trained, run_folder.tuned_scales, run_folder.calibration):
        try:
            read(cfg)
        except InputError:
            pass


def _arrays(folder: Path) -> list[bytes]:
    for array in (np.ones((3, 13), np.float32), np.zeros((2, 2), ">f8"), np.zeros((2, 3), np.int16, order="F")):
        file = BytesIO()
        np.save(file, array)
        yield file.getvalue()


target("npy", lambda folder: [*_arrays(folder)], suffix=".npy")(load_features)
target("mfc", b"\0\0\0\x1a" + bytes(104), b"\x0d\0\0\0" + bytes(52), suffix=".mfc")(load_features)


@target("ark", b"\0BFM \4\2\0\0\0\4\3\0\0\0" + bytes(24), b" [\n1 2\n3 4 ]\n", suffix=".ark")
def _read_ark(path: Path) -> None:
    load_features(f"{path}:0")


def _pronunciations(folder: Path) -> list[bytes]:
    ids = np.arange(5, dtype=np.int32)
    orders = [
        Ngrams(ids[:, None], -np.ones(5, np.float32), np.zeros(5, np.float32)),
        Ngrams(np.array([[1, 3], [3, 4]], np.int32), -np.ones(2, np.float32), np.zeros(2, np.float32)),
    ]
    contents = g2p_file.Contents([("a", ("AA",)), ("ph", ("F",))], {"b": ("B", "IY")}, 0.5, orders)
    g2p_file.write(folder / "g2p", contents)
    stored = BytesIO()
    with zipfile.ZipFile(folder / "g2p") as packed, zipfile.ZipFile(stored, "w") as plain:
        for name in packed.namelist():
            plain.writestr(name, packed.read(name))
    return [(folder / "g2p").read_bytes(), stored.getvalue()]


target("g2p", _pronunciations)(g2p_file.read)


def _sounds(folder: Path) -> list[bytes]:
    file = BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16000)
        out.writeframes(bytes(200))
    yield file.getvalue()


@target("audio", lambda folder: [*_sounds(folder)], suffix=".wav")
def _read_audio(path: Path) -> None:
    audio.info(path)
    audio.load(path, 16000)


def _importer(kind: str, name: str) -> Callable[[Path], object]:
    def read(path: Path) -> object:
        folder = path.parent / kind
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(path.read_bytes())
        return importers.import_corpus(folder if kind == "kaldi" else folder / name, kind)

    return read


target("import_nemo", b'{"audio_filepath": "a.wav", "duration": 1.5, "text": "x", "offset": 0}\n')(
    _importer("nemo", "m.json")
)
CUT = {
    "id": "c", "start": 0, "duration": 1, "channel": 0,
    "recording": {"id": "r", "sources": [{"type": "file", "channels": [0], "source": "a.wav"}]},
    "supervisions": [{"id": "s", "text": "x", "start": 0, "duration": 1}],
}  # fmt: skip
target("import_lhotse", json.dumps(CUT).encode())(_importer("lhotse", "cuts.jsonl"))
target("import_table", b"path,sentence,start,end\na.wav,hello,0,1\n")(_importer("table", "t.csv"))
target("import_common_voice", b"client_id\tpath\tsentence\n1\ta.mp3\tx\n")(_importer("common_voice", "train.tsv"))
target("import_kaldi", b"u1 a.wav\nu2 b.wav\n")(_importer("kaldi", "wav.scp"))
