"""Models for other runtimes: their log-probs against the recogniser's, the files of the folder, and refusals."""

import dataclasses
import json

import numpy as np
import pytest
import pywrapfst
import soundfile
import soxr
import torch
import yaml
from tiny import TOKENS, config, graph_dir, model, noise

import asr
from asr.cli.main import main
from asr.config import DecoderConfig, FeaturesConfig, ModelConfig
from asr.errors import InputError
from asr.graph.opened import Graph
from asr.graph.pack import pack
from asr.models.acoustic import AcousticModel
from asr.models.exported import export, graphs_of, onnx_file
from asr.recognizer import bundle
from asr.search.decoder import Decoder

for package in ("onnx", "onnxruntime"):
    pytest.importorskip(package, reason="asr export needs onnx and onnxruntime")
TELEPHONE = {"sample_rate_hz": 8000, "num_bins": 23, "high_hz": 3800.0}
SECONDS = (0.02, 0.03, 0.4, 1.0, 2.7)  # the first gives no frame


def exported(features, kind="cnn", **sizes):
    """(model, {folder: float32 file, folder + "int8": 8-bit file}, sentences about runtimes without a file)."""
    torch.manual_seed(1)
    made = AcousticModel(
        features, ModelConfig(**{"kind": kind, "hidden": 16, "layers": 2, **sizes}), len(TOKENS)
    ).eval()
    if features.sum_layers:
        made.sum.logits.data = torch.linspace(-1, 1, made.parts)
    if features.cmvn in ("global", "causal"):
        made.frontend.set_global_stats(torch.full((made.frontend.dim,), 9.0), torch.full((made.frontend.dim,), 3.0))
    graphs, notes = graphs_of(made, features)
    files = {
        graph.folder + name: file for graph in graphs for name, file in zip(("", "int8"), export(graph), strict=True)
    }
    return made, files, notes


def differences(made, file, rate_hz):
    """The largest difference of the log-probs for recordings of several lengths."""
    run, found = file.runner(), []
    for seconds in SECONDS:
        x = torch.from_numpy(noise(seconds, rate_hz=rate_hz))
        theirs = run(x)
        if made.can_score(torch.tensor([len(x)])):
            ours = made.score([x])[0]
            assert len(theirs) >= len(ours) and (theirs[len(ours) :].argmax(1) == 0).all()
            found.append(float((ours - theirs[: len(ours)]).abs().max()))
        else:
            assert (theirs.argmax(1) == 0).all()
    return max(found)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *((kind, {}) for kind in ("fc", "cnn", "lstm", "linear")),
        ("conformer", {"hidden": 64}),
        ("cnn", {"lookahead": 2}),
        ("lstm", {"bidirectional": False, "lookahead": 4}),
        ("conformer", {"hidden": 64, "positions": "relative", "chunk": 3, "left": 5, "causal": False}),
        ("ebranchformer", {"hidden": 64, "chunk": 3, "left": 5, "causal": False}),
    ],
)
def test_all_nets(kind, options):
    made, files, notes = exported(FeaturesConfig(), kind, **options)
    assert set(files) == {"", "int8", "sherpa-onnx", "sherpa-onnxint8"}
    assert notes == ["onnx-asr: not written, since it gives samples at 8000 Hz only and the net hears 16000 Hz"]
    assert differences(made, files[""], 16000) < 1e-3
    assert differences(made, files["sherpa-onnx"], 16000) < 1e-3
    assert files["sherpa-onnx"].graph.metadata["model_type"] == "fire-red-asr-2-ctc"
    assert differences(made, files["int8"], 16000) < 0.15
    assert len(files["sherpa-onnxint8"].data) < len(files["sherpa-onnx"].data) or kind == "linear"


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "mfcc", "deltas": 2, "num_bins": 23, "cmvn": "utterance"},
        {"kind": "loglinear", "num_bins": 40},
        {"kind": "wave", "window_ms": 4.0, "shift_ms": 2.0, "cmvn": "utterance"},
        {"kind": "logmel", "floor": 100.0, "cmvn": "causal"},
        {"kind": "logmel", "num_bins": 30, "cmvn": "global"},
        {"kind": "logmel", "num_bins": 30, "cmvn": "none"},
    ],
)
def test_all_front_ends(options):
    made, files, notes = exported(FeaturesConfig(**options))
    assert differences(made, files[""], 16000) < 1e-3
    if options.get("cmvn", "speech") in ("speech", "utterance"):
        assert differences(made, files["sherpa-onnx"], 16000) < 1e-3
    else:
        assert "sherpa-onnx" not in files and f"features.cmvn={options['cmvn']} does not take out" in notes[0]


def test_filters_on_the_raw_wave():
    made, files, _ = exported(FeaturesConfig(kind="wave", num_bins=20, cmvn="utterance"), filters="sinc")
    assert differences(made, files[""], 16000) < 1e-3


def test_filters_of_int8_files_hear_what_is_quiet():
    """A second that is 70 dB quieter than the next one: 8 bits of the wave would hold nothing of it."""
    features = FeaturesConfig(kind="wave", num_bins=20, cmvn="utterance")
    made, files, _ = exported(features, "linear", filters="learned")
    x = torch.from_numpy(np.concatenate([3e-4 * noise(1.0), noise(1.0, seed=1)]))
    changes = [(y[:30] - y[:30].mean(0)).flatten() for y in (made.score([x])[0], files["int8"].runner()(x))]
    assert torch.cosine_similarity(*changes, dim=0) > 0.9


@pytest.mark.parametrize("layers", [[], [1, 2]])
def test_stored_features(layers):
    made, files, notes = exported(FeaturesConfig(kind="stored", num_bins=14, cmvn="utterance", sum_layers=layers))
    assert set(files) == {"", "int8"} and len(notes) == 2
    x = torch.randn(70, 14)
    torch.testing.assert_close(files[""].runner()(x), made.score([x])[0], atol=1e-4, rtol=0)


def test_8_khz_in_other_runtimes():
    """sherpa-onnx hears 16 kHz at another level, onnx-asr whole numbers in chunks of 60 s."""
    made, files, notes = exported(FeaturesConfig(**TELEPHONE))
    assert not notes and differences(made, files[""], 8000) < 1e-3
    assert differences(made, files["sherpa-onnx"], 8000) < 0.05
    assert differences(made, files["onnx-asr"], 8000) < 0.05
    assert "multiply its timestamps by 1.5" in files["sherpa-onnx"].graph.notes[0]
    x = noise(1.0, rate_hz=8000)
    upper = soxr.resample(x, 8000, 16000)
    upper += 0.2 * np.sin(2 * np.pi * 6000 / 16000 * np.arange(len(upper))).astype(np.float32)  # would fold to 2 kHz
    session = onnx_file.OnnxFile.parse(files["sherpa-onnx"].data, "model").session
    scale = upper.std()
    theirs = session.run(None, {"x": ((upper - upper.mean()) / scale)[None].astype(np.float32)})[0][0]
    ours = made.score([torch.from_numpy(x)])[0].numpy()
    assert np.abs(ours - theirs[: len(ours)]).max() < 0.1


@pytest.mark.parametrize(
    ("kind", "options"),
    [("lstm", {}), ("conformer", {"positions": "relative", "chunk": 3, "left": 5, "causal": False})],
)
def test_a_batch_with_padding(kind, options):
    made, files, _ = exported(FeaturesConfig(), kind, **options)
    short, long = noise(0.5), noise(1.2)
    batch = np.zeros((2, len(long)), np.float32)
    batch[0, : len(short)], batch[0, len(short) :], batch[1] = short, 0.5, long  # padding with a click
    session = onnx_file.OnnxFile.parse(files[""].data, "model").session
    feeds = {"samples": batch, "lengths": np.array([len(short), len(long)])}
    log_probs, lengths = session.run(None, feeds)
    for row, n, x in zip(log_probs, lengths, (short, long), strict=True):
        np.testing.assert_allclose(row[:n], made.score([torch.from_numpy(x)])[0], atol=1e-3)
        assert (row[n:].argmax(1) == 0).all()


@pytest.fixture
def recogniser(tmp_path):
    """recogniser(**features) -> path of a bundle with a graph, and options that were tuned."""

    def make(graph=True, **features):
        cfg = config(**features)
        cfg.decoder = DecoderConfig(acoustic_scale=0.5, word_penalty=0.3, blank_penalty=-0.2)
        path = tmp_path / "model.asr"
        bundle.write(path, model(cfg), cfg, TOKENS, graph_dir(tmp_path / "graph") if graph else None, "card")
        return path

    return make


def test_the_folder_and_back(recogniser, tmp_path, capsys):
    path, folder = recogniser(**TELEPHONE), tmp_path / "out"
    assert main(["export", str(path), f"output={folder}"]) == 0
    shown = capsys.readouterr().out
    assert "6 pieces of noise; name a manifest" in shown and "6 of   6" in shown
    assert (folder / "sherpa-onnx/tokens.txt").read_text() == "<blk> 0\n▁ 1\na 2\nb 3\n"
    assert (folder / "sherpa-onnx/words.txt").read_text() == "<eps> 0\na 1\nb 2\n"
    settings = json.loads((folder / "onnx-asr/config.json").read_text())
    assert settings["decoder_params"]["vocabulary"] == ["<blk>", " ", "a", "b"]
    assert yaml.safe_load((folder / "model.yaml").read_text())["tokens"] == TOKENS.symbols
    assert main(["import", str(folder), f"output={tmp_path / 'back.asr'}"]) == 0
    ours, back = asr.load(path), asr.load(tmp_path / "back.asr")
    assert back.tokens.symbols == ours.tokens.symbols and back.frame_s == ours.frame_s
    sounds = [noise(seconds, rate_hz=8000) for seconds in SECONDS]
    for a, b in zip(ours.log_probs(sounds), back.log_probs(sounds), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)


def test_hlg_needs_no_options(recogniser, tmp_path):
    """The search of HLG.fst without options finds the paths of the recogniser, and their costs over the scale."""
    path = recogniser()
    assert main(["export", str(path), f"output={tmp_path / 'out'}"]) == 0
    pack(pywrapfst.Fst.read(str(tmp_path / "out/sherpa-onnx/HLG.fst")), tmp_path / "hlg.bin")
    plain = Decoder(Graph.open(tmp_path / "hlg.bin"), beam=32.0)
    recognizer = asr.load(path, lattice_beam=None)
    for seed in range(5):
        (log_probs,) = recognizer.log_probs([noise(1.5, seed=seed)])
        ours, theirs = recognizer.searcher.decoder.decode(log_probs), plain.decode(log_probs)
        assert ours.labels == theirs.labels and ours.cost == pytest.approx(0.5 * theirs.cost, abs=1e-3)


def test_comparison_on_speech(recogniser, tmp_path, capsys):
    path = recogniser()
    rows = []
    (tmp_path / "data").mkdir()
    for number, text in enumerate(["a b", "b", None]):
        soundfile.write(tmp_path / f"data/{number}.wav", noise(1.0, seed=number), 16000)
        rows.append({"id": str(number), "audio": f"{number}.wav", "duration_s": 1.0, "text": text})
    (tmp_path / "data/test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for argv in ([str(path), str(tmp_path / "data/test.jsonl")], [f"out={tmp_path}"]):  # of the run by itself
        assert main(["export", *argv, f"output={tmp_path / 'out'}"]) == 0
        shown = capsys.readouterr().out
        assert "3 utterances of" in shown and shown.count("%") == 5 and "model.int8.onnx" in shown


def test_phones_and_jamo_stay_apart():
    graph = graphs_of(model(config()), config().features)[0][0]
    assert "unit: phone" in graph.side_files(TOKENS, "phone")["model.yaml"]
    sherpa = exported(FeaturesConfig(**TELEPHONE))[1]["sherpa-onnx"].graph
    assert sherpa.side_files(TOKENS, "phone")["tokens.txt"] == "<blk> 0\n▁ 1\n▁a 2\n▁b 3\n"
    assert sherpa.side_files(TOKENS, "char")["tokens.txt"] == "<blk> 0\n▁ 1\na 2\nb 3\n"


def test_refusals(recogniser, tmp_path, capsys, monkeypatch):
    path, folder = recogniser(graph=False), tmp_path / "out"

    def refused(*argv):
        assert main(["export", *argv]) == 2
        return capsys.readouterr().err

    assert "output=FOLDER is missing" in refused(str(path))
    assert "there is no bundle" in refused(str(tmp_path / "none.asr"), f"output={folder}")
    assert "`asr export` writes onnx" in refused(str(path), f"output={folder}", "format=srt")
    assert main(["transcribe", str(path), "x.wav", "format=onnx"]) == 2
    assert "format=onnx is a format of `asr export`" in capsys.readouterr().err
    assert main(["export", str(path), f"output={folder}", "format=onnx"]) == 0
    assert "HLG.fst: not written, since the bundle has no graph" in capsys.readouterr().out
    (folder / "sherpa-onnx/HLG.fst").write_text("of another export")
    assert "HLG.fst is of another export" in refused(str(path), f"output={folder}")
    assert main(["import", str(folder), f"output={tmp_path / 'back.asr'}"]) == 0
    assert "holds an imported ONNX model" in refused(str(tmp_path / "back.asr"), f"output={tmp_path / 'new'}")
    monkeypatch.setattr(onnx_file.importlib.util, "find_spec", lambda name: None)
    assert "pip install 'onnx>=1.16' 'onnxruntime>=1.17'" in refused(str(path), f"output={tmp_path / 'new'}")
    assert not (tmp_path / "new").exists()
    with pytest.raises(InputError, match="pretrained encoder cannot be exported"):
        graphs_of(model(config()), dataclasses.replace(FeaturesConfig(), kind="pretrained"))
