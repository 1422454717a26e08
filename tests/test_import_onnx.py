"""ONNX models with a YAML description, and the package hama: against the model itself, and refusals."""

import importlib.util
import json
import zipfile
from pathlib import Path

import numpy as np
import onnx_writer
import pytest
import torch
import yaml
from tiny import noise

import asr
from asr.cli.main import main
from asr.config import FeaturesConfig
from asr.errors import InputError
from asr.features.encoders import open_encoder
from asr.features.frontend import FrontEnd
from asr.models.imported import outputs, read_model
from asr.recognizer import bundle
from asr.tokens import BLANK, SPACE

pytest.importorskip("onnxruntime", reason="ONNX models are run by onnxruntime")
RATE_HZ, SHIFT = 16000, 320
SYMBOLS = ["a", "b", "<unk>", "<blank>", "|", "c"]
KEPT = [3, 0, 1, 4, 5]
WEIGHTS = np.random.default_rng(3).standard_normal((len(SYMBOLS), 400)).astype(np.float32)
BANDS = np.random.default_rng(4).standard_normal((80, len(SYMBOLS))).astype(np.float32) * 0.05


def describe(folder, data=None, **changes):
    """A model of samples with its files; a change to None removes a key."""
    (folder / "m.onnx").write_bytes(data or onnx_writer.of_samples(WEIGHTS, SHIFT))
    (folder / "tokens.txt").write_text("".join(f"{symbol} {i}\n" for i, symbol in enumerate(SYMBOLS)))
    description = {
        "model": "m.onnx", "input": "samples", "lengths": "count", "output": "log_probs", "shift_ms": 20,
        "tokens": "tokens.txt", "blank": "<blank>", "licence": "MIT",
    }  # fmt: skip
    description |= changes
    path = folder / "m.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in description.items() if value is not None}))
    return path


def test_samples_of_a_yaml_file(tmp_path):
    path = describe(tmp_path)
    assert main(["import", str(path), f"output={tmp_path / 'x.asr'}"]) == 0
    recognizer = asr.load(tmp_path / "x.asr")
    assert recognizer.tokens.symbols == [BLANK, "a", "b", SPACE, "c"] and recognizer.frame_s == 0.02
    sounds = [noise(1.0), noise(0.3, seed=2), noise(0.02), noise(0.025)]
    for x, found in zip(sounds, recognizer.log_probs(sounds), strict=True):
        frames = np.lib.stride_tricks.sliding_window_view(x, 400)[::SHIFT] if len(x) >= 400 else np.zeros((0, 400))
        expected = torch.from_numpy(frames @ WEIGHTS[KEPT].T).float().log_softmax(1)
        np.testing.assert_allclose(found, expected, atol=1e-4)  # onnxruntime sums in another order
    text = recognizer.transcribe(noise(2.0), RATE_HZ).text
    assert set(text) <= set("abc ") and len(text) > 5
    card = bundle.read(tmp_path / "x.asr").card
    assert "licence: MIT" in card and "left out: <unk>" in card


@pytest.mark.parametrize("bands_first", [False, True])
def test_features_of_ours(bands_first, tmp_path):
    path = describe(
        tmp_path, onnx_writer.of_features(BANDS, bands_first), input="x", output="y", lengths=None, shift_ms=10,
        frontend={"kind": "logmel", "num_bins": 80, "low_hz": 0.0}, bands_first=bands_first,
    )  # fmt: skip
    imported = read_model(str(path))
    bundle.write(tmp_path / "x.asr", imported.model, imported.cfg, imported.tokens, None, imported.card())
    x = noise(0.7)
    features = FrontEnd(FeaturesConfig(low_hz=0.0, cmvn="none"))(torch.from_numpy(x)[None], torch.tensor([len(x)]))[0]
    expected = (features[0] @ torch.from_numpy(BANDS[:, KEPT])).log_softmax(1)
    found = asr.load(tmp_path / "x.asr").log_probs([x, x[:399]])
    np.testing.assert_allclose(found[0], expected, atol=1e-4)
    assert found[1].shape == (0, 5)


def test_log_probs_and_logits_give_the_same(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    logits = read_model(str(describe(tmp_path / "a"))).model
    data = onnx_writer.of_samples(WEIGHTS, SHIFT, softmax="LogSoftmax")
    log_probs = read_model(str(describe(tmp_path / "b", data))).model
    x = [torch.from_numpy(noise(1.0))]
    torch.testing.assert_close(log_probs.score(x), logits.score(x), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": "wave"}, "the model has no input 'wave'; it has samples, count"),
        ({"output": "y"}, "the model has no output 'y'"),
        ({"lengths": None}, "nothing is known for the model's input 'count'"),
        ({"shift_ms": 10}, "shift_ms is 10, but the model gives a frame per 20 ms"),
        ({"shift_ms": "x"}, "shift_ms is 'x', expected 1 to 1000"),
        ({"blank": "<b>"}, "the blank '<b>' is not among the tokens"),
        ({"space": "_"}, "the space '_' is not among the tokens"),
        ({"model": None}, "the key 'model' is missing"),
        ({"model": "other.onnx"}, "cannot read the model"),
        ({"modle": "m.onnx"}, "there is no key 'modle'; did you mean 'model'"),
        ({"tokens": ["<blank>", "a"]}, "the model has 6 outputs, the table 2 tokens"),
        ({"tokens": 3}, "'tokens' must be a list"),
        ({"unit": "word"}, "tokens.unit=word: expected one of"),
        ({"frontend": "mel"}, "frontend is 'mel', expected samples or the options of a front end"),
        ({"frontend": {"kind": "logmel", "bins": 3}}, "an option that features do not have"),
        ({"sample_rate_hz": "fast"}, "sample_rate_hz=fast"),
        ({"lengths": 3}, "lengths is 3"),
    ],
)
def test_wrong_descriptions_are_refused(changes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        read_model(str(describe(tmp_path, **changes)))


def test_wrong_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="is not an ONNX model"):
        read_model(str(describe(tmp_path, b"no model")))
    with pytest.raises(InputError, match="holds probabilities"):
        read_model(str(describe(tmp_path, onnx_writer.of_samples(WEIGHTS, SHIFT, softmax="Softmax"))))
    path = describe(tmp_path)
    for content in ("[1", "- a", "x", "!!python/object:os.system {}"):
        path.write_text(content)
        with pytest.raises(InputError, match="is not YAML|does not describe"):
            read_model(str(path))
    (tmp_path / "m.onnx").write_bytes(onnx_writer.of_samples(WEIGHTS, SHIFT))
    with pytest.raises(InputError, match="metadata name the model_type None; .* Describe other models in a YAML file"):
        read_model(str(tmp_path / "m.onnx"))


LAUGHS = "[&x0 [x, x], " + ", ".join(f"&x{k + 1} [*x{k}, *x{k}]" for k in range(36)) + "]"


@pytest.mark.parametrize(
    "line",
    [
        f"frontend: {LAUGHS}",  # 2^37 values
        f"licence: {LAUGHS}",
        "shift_ms: 0x" + "f" * 6000,  # longer than Python writes in decimal
        "shift_ms: 1:" + "1:" * 300 + "1.5",  # in base 60, larger than a float
        'shift_ms: !!int ""',
        "shift_ms: !!bool x",
        "shift_ms: !!timestamp x",
        "frontend: {kind: [logmel]}",
        r'model: "a\0b"',
        "model: /dev/zero",
        "model: .",
    ],
)
@pytest.mark.parametrize("reader", [read_model, open_encoder], ids=["model", "encoder"])
def test_hostile_descriptions_are_refused(line, reader, tmp_path):
    path = describe(tmp_path, **{line.split(":")[0]: None})
    path.write_text(f"{path.read_text()}{line}\n")
    with pytest.raises(InputError, match="m.yaml|cannot read the model"):
        reader(str(path))


@pytest.mark.parametrize("kind", ["sequence", "no number", "not a number"])
def test_outputs_of_another_type_are_refused(kind, tmp_path):
    """The output, or the number of its frames, is something that no frame can be made of."""
    node, tensor = onnx_writer.node, onnx_writer.tensor
    nodes = [
        node("Unsqueeze", ["samples", "one"], ["wave"]), node("Conv", ["wave", "w"], ["y"], strides=[SHIFT]),
        node("Transpose", ["y"], ["logits"], perm=[0, 2, 1]), node("SequenceConstruct", ["logits"], ["list"]),
        node("Log", ["minus"], ["number"]), node("Slice", ["minus", "one", "one"], ["nothing"]),
    ]  # fmt: skip
    tensors = [tensor("one", np.array([1], np.int64)), tensor("w", WEIGHTS[:, None]),
               tensor("minus", -np.ones(1, np.float32))]  # fmt: skip
    output, lengths = {"sequence": ("list", None), "no number": ("logits", "nothing"),
                       "not a number": ("logits", "number")}[kind]  # fmt: skip
    data = onnx_writer.model(
        nodes,
        [onnx_writer.place("samples", ("n", "t"))],
        [onnx_writer.message((1, name)) for name in (output, lengths) if name],
        tensors,
    )
    changes = {"output": output, "lengths": None, "output_lengths": lengths}
    for reader in (read_model, open_encoder):
        with pytest.raises(InputError, match="m.onnx"):
            reader(str(describe(tmp_path, data, **changes)))


def test_weights_outside_the_file_are_refused(tmp_path, monkeypatch):
    """Reading them would let a model read any file of the machine."""
    monkeypatch.chdir(tmp_path)
    secret = tmp_path / "secret"
    secret.write_bytes(WEIGHTS.tobytes())
    nodes = [onnx_writer.node("MatMul", ["samples", "w"], ["y"])]
    for location in (str(secret), "secret", "../secret"):
        data = onnx_writer.model(
            nodes, [onnx_writer.place("samples", ("n", "f", 400))], [onnx_writer.place("y", ("n", "f", 6))],
            [onnx_writer.external("w", (400, 6), location)],
        )  # fmt: skip
        with pytest.raises(InputError, match="keeps weights in another file"):
            read_model(str(describe(tmp_path, data, output="y", lengths=None)))


def test_damaged_models_are_refused(tmp_path):
    data = bytearray(onnx_writer.of_samples(WEIGHTS, SHIFT))
    rng = np.random.default_rng(5)
    for _ in range(30):
        damaged = data.copy()
        damaged[rng.integers(100)] = rng.integers(256)
        try:
            read_model(str(describe(tmp_path, bytes(damaged))))
        except InputError:
            continue
    with pytest.raises(InputError, match="not an ONNX model|cannot open"):
        read_model(str(describe(tmp_path, bytes(data[: len(data) // 2]))))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": [3, 0, 1]}, "names 3 outputs for 5 tokens"),
        ({"columns": [3, 0, 1, 4, 60]}, "has 6 outputs, but the tokens use output 60"),
        ({"columns": [3, 0, 1, 4, -1]}, "config.json"),
        ({"columns": "x"}, "config.json"),
        ({"input": "other"}, "no input 'other'"),
        ({"extra": 1}, "config.json"),
        ({"least_samples": 1e9}, "config.json"),
    ],
)
def test_a_bundle_with_another_description_is_refused(change, message, tmp_path):
    imported = read_model(str(describe(tmp_path)))
    known = imported.model.description()
    imported.model.description = lambda: known | change
    bundle.write(tmp_path / "x.asr", imported.model, imported.cfg, imported.tokens, None, "")
    with pytest.raises(InputError, match=message):
        bundle.read(tmp_path / "x.asr")


def test_a_bundle_holds_weights_or_a_model_in_onnx(tmp_path):
    imported = read_model(str(describe(tmp_path)))
    bundle.write(tmp_path / "x.asr", imported.model, imported.cfg, imported.tokens, None, "")
    with zipfile.ZipFile(tmp_path / "x.asr") as archive:
        assert "model.onnx" in archive.namelist() and "model.safetensors" not in archive.namelist()
        assert "onnx" in json.loads(archive.read("config.json"))
    imported.model.description = lambda: None
    bundle.write(tmp_path / "x.asr", imported.model, imported.cfg, imported.tokens, None, "")
    with pytest.raises(InputError, match="config.json"):
        bundle.read(tmp_path / "x.asr")


def test_tables_of_tokens(tmp_path):
    path = tmp_path / "tokens.txt"
    for content in ("a 0\n  1\nb 2\n", '{"a": 0, " ": 1, "b": 2}'):
        path.write_text(content)
        assert outputs.read_table(path) == ["a", " ", "b"]
    path.write_text("a\n\nb\n")
    assert outputs.read_table(path) == ["a", None, "b"]
    for content in ("a 0\nb 0\n", "a 0\nb 99999999999\n"):
        path.write_text(content)
        with pytest.raises(InputError, match="tokens.txt:2: 'b' has the number"):
            outputs.read_table(path)


def test_hama_gives_its_own_log_probs(tmp_path):
    if importlib.util.find_spec("hama") is None:
        pytest.skip("the package hama (8 MB) is not installed: pip install hama==1.3.13")
    from hama.asr import ASRModel

    imported = read_model("hama")
    bundle.write(tmp_path / "x.asr", imported.model, imported.cfg, imported.tokens, None, imported.card())
    assert SPACE not in asr.load(tmp_path / "x.asr").transcribe(noise(3.0), RATE_HZ).text
    original = ASRModel()
    x = noise(2.0)
    feeds = {"waveform": x[None], "waveform_lengths": np.array([len(x)])}
    expected = original.session.run(["log_probs"], feeds)[0][0]
    spec = imported.model.spec
    np.testing.assert_array_equal(imported.model.run(torch.from_numpy(x)), expected)
    assert [([*original.decoder_tokens])[c] for c in spec.columns][:3] == ["<blank>", "%", ","]
    assert imported.cfg.tokens.unit == "phone" and SPACE in imported.tokens
    folder = Path(importlib.util.find_spec("hama").submodule_search_locations[0]) / "assets"
    assert read_model(str(folder)).tokens == imported.tokens


def test_hama_not_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install hama"):
        read_model("hama")
