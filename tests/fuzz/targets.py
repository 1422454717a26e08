"""The readers of models, graphs and settings as fuzz targets. TARGETS also holds those beside it."""

import json
import zipfile
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from ctranslate2_model import model_bytes, weights
from tiny import TOKENS, config, graph_dir, model

import fuzz.corpora
import fuzz.foreign
import fuzz.sounds  # noqa: F401
from asr import g2p as _g2p  # noqa: F401  (imports what its readers need)
from asr import locks
from asr.cli import conf_files, earlier
from asr.cli.options import all_groups
from asr.config import Config, LmConfig
from asr.errors import InputError
from asr.features import recorded
from asr.features.encoders import whisper_files
from asr.g2p import file as g2p_file
from asr.graph.dynamic import Language, compile_dynamic
from asr.graph.ngram_file import NgramFile
from asr.graph.opened import Graph
from asr.graph.phrase_grammar import read_grammar
from asr.graph.tree_file import Tree
from asr.lm import arpa, counting, counts_file, score, trie_file
from asr.lm.corpus import new_corpus
from asr.lm.estimation import Estimation
from asr.lm.model import Ngrams
from asr.models.imported import OnnxSpec
from asr.recognizer import bundle, run_folder
from asr.recognizer.recognizer import Recognizer
from asr.search import space
from asr.search.decoder import Decoder
from asr.text.lexicon import Lexicon
from asr.training import checkpoint, settings
from asr.training.moving_average import MovingAverage
from fuzz.registry import TARGETS as TARGETS
from fuzz.registry import run as run
from fuzz.registry import target

ARPA = b"\\data\\\nngram 1=5\nngram 2=3\n\n\\1-grams:\n-1.2\t<unk>\n-99\t<s>\t-0.3\n-0.9\t</s>\n-0.7\ta\t-0.2\n-0.8\tb\n\n\\2-grams:\n-0.3\t<s> a\n-0.4\ta b\n-0.5\ta </s>\n\n\\end\\\n"  # noqa: E501
JSGF = b'#JSGF V1.0;\ngrammar x;\npublic <c> = [please] turn (/2/ on | /1/ off) <w>+ "a b"; // c\n<w> = a | b {tag} | <NULL>*;\n'  # noqa: E501


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


@target("config", json.dumps(bundle._config_data(model(config()), config(), None)).encode())
def _read_config(path: Path) -> None:
    """The numbers of a bundle, and the model that they ask for."""
    cfg, foreign = bundle._config(path.read_text(encoding="utf-8", errors="replace"), path)
    if not isinstance(foreign, OnnxSpec):
        bundle._model(memoryview(_weights()), cfg, foreign, TOKENS, path)


@target("encoder", model_bytes(weights(dim=8, layers=1, hidden=8)))
def _read_encoder(path: Path) -> None:
    whisper_files.read_ctranslate2(path)


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
    bundle._model(memoryview(path.read_bytes()), config(), None, TOKENS, path)


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


def _tries(folder: Path) -> list[bytes]:
    (folder / "lm.arpa").write_bytes(ARPA)
    trie_file.write(arpa.read(folder / "lm.arpa"), folder / "lm.trie")
    return [(folder / "lm.trie").read_bytes()]


@target("trie", _tries)
def _score_trie(path: Path) -> None:
    scorer = score.Scorer(trie_file.read(path))
    list(scorer.full_scores("a b a x"))


def _counts(folder: Path) -> list[bytes]:
    (folder / "a.txt").write_text("a b c\nb c d\na b d\n")
    for order in 1, 3:
        counting.count_files(LmConfig([str(folder / "a.txt")], order=order), str(folder / "a.counts"))
        yield (folder / "a.counts").read_bytes()


@target("counts", lambda folder: [*_counts(folder)])
def _estimate_from_counts(path: Path) -> None:
    """Checksums are not compared, or no mutation would pass them."""
    compare, counts_file._is_intact = counts_file._is_intact, lambda block, checksum: True
    try:
        corpus = new_corpus(1, path.parent)
        counts_file.add(corpus, path, 1, "word")
        corpus.select(None, 1, 0, 1.0)
        Estimation(corpus, 3, [0, 1]).write(BytesIO())
    finally:
        counts_file._is_intact = compare


target("jsgf", JSGF)(read_grammar)


@target("yaml", b"# @package _global_\ndefaults:\n  - override /model: cnn\nmodel: {hidden: 8}\noptim:\n  lr: 1e-3\n")
def _read_yaml(path: Path) -> None:
    conf_files.check("experiment", "x", {**all_groups(), "experiment": {"x": path}})


@target("recorded", lambda folder: [json.dumps(vars(Config().features)).encode()])
def _read_recorded(path: Path) -> None:
    recorded.behind(recorded.read(path), Config().features)  # type: ignore[arg-type]


@target("resume", b'{"step": 3, "epoch": 1, "records": [], "resume": "resume-00000003.safetensors"}')
def _read_resume(path: Path) -> None:
    """The state of a training that was interrupted, its settings and its list of recordings."""
    folder = path.parent / "training"
    if not folder.exists():
        folder.mkdir()
        checkpoint.write_resume(folder, *_training(), {"step": 3})
    for name in ("state.json", "config.json", "inputs.json"):
        (folder / name).write_bytes(path.read_bytes())
    for read in (
        lambda: checkpoint.read_resume(folder, *_training()),
        lambda: settings.check_resumable(folder / "config.json", Config()),
        lambda: settings._read_inputs(folder / "inputs.json", 1),
    ):
        try:
            read()
        except InputError:
            pass


@cache
def _training() -> tuple[torch.nn.Module, torch.optim.Optimizer, MovingAverage]:
    net = torch.nn.Linear(1, 1)
    return net, torch.optim.SGD(net.parameters()), MovingAverage([], 0.0)


@target("lock", json.dumps(locks._owner()).encode(), b'{"host": "x", "pid": 1, "started": null, "taken": "now"}')
def _take_lock(path: Path) -> None:
    """A lock that another process has left."""
    (path.parent / locks.NAME).write_bytes(path.read_bytes())
    with locks.locked(path.parent):
        pass


@target("stats", b'{"kind": "dynamic", "silence": null, "stages": []}')
def _read_stats(path: Path) -> None:
    (path.parent / "stats.json").write_bytes(path.read_bytes())
    space.read_stats(path.parent)


def _options(folder: Path) -> list[bytes]:
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("config.json", b'{"decoder": {"beam": 16.0, "blank_skip": null}}')
    return [file.getvalue()]


@target("bundle_options", _options)
def _read_options(path: Path) -> None:
    """The options of a bundle, which the command line shows before the bundle is opened."""
    earlier.bundled(Config(bundle=str(path)))


@target("run_folder", json.dumps({"features": {}, "model": {}, "tokens": {"unit": "char"}}).encode())
def _read_run_folder(path: Path) -> None:
    """The results of earlier verbs, all from the same bytes."""
    folder = path.parent / "run"
    (folder / "train").mkdir(parents=True, exist_ok=True)
    for name in ("train/config.json", "tune.json", "calibration.json"):
        (folder / name).write_bytes(path.read_bytes())
    cfg = Config(out=str(folder))
    for read in (run_folder.as_trained, run_folder.tuning, run_folder.calibration):
        try:
            read(cfg)
        except InputError:
            pass


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
