"""Encoders in ONNX: against onnxruntime itself, cut graphs, long recordings, bundles, and refusals."""

import json
import shutil
from dataclasses import replace

import numpy as np
import onnx_writer
import pytest
import tone_words
import torch
import yaml
from onnx_writer import node, place, tensor
from tiny import noise

from asr import manifest, pipeline
from asr.config import AugmentConfig, Config, DataConfig, FeaturesConfig, ModelConfig, OptimConfig
from asr.data.extract import extract
from asr.errors import InputError
from asr.features import audio
from asr.features.encoders import build_encoder, open_encoder
from asr.features.frontend import FrontEnd
from asr.features.onnx.cut import cut
from asr.features.onnx.file import OnnxFile
from asr.models.imported import read_model
from asr.recognizer import bundle, opening
from asr.training.start import Start
from asr.training.trainer import load_model, train

pytest.importorskip("onnxruntime", reason="ONNX models are run by onnxruntime")
RATE_HZ, SHIFT, WINDOW = 16000, 320, 400
WEIGHTS = np.random.default_rng(3).standard_normal((6, WINDOW)).astype(np.float32)
WHOLE = onnx_writer.of_samples(WEIGHTS, SHIFT, softmax="LogSoftmax")  # its tensor `logits` is no output


def describe(folder, data=WHOLE, **changes):
    """A model of samples and its description; a change to None removes a key."""
    folder.mkdir(exist_ok=True)
    (folder / "m.onnx").write_bytes(data)
    found = {"model": "m.onnx", "input": "samples", "lengths": "count", "output": "logits", "shift_ms": 20,
             "licence": "MIT"} | changes  # fmt: skip
    (folder / "m.yaml").write_text(yaml.safe_dump({key: value for key, value in found.items() if value is not None}))
    return str(folder)


def encode(encoder, x):
    with torch.inference_mode():
        return encoder.encode(torch.from_numpy(x), 1)


def run(data, x):
    """The first output of a model of samples, by onnxruntime."""
    session = OnnxFile.parse(data, "model").session
    feeds = {"samples": x[None], "count": np.array([len(x)], np.int64)}
    return session.run(None, {place.name: feeds[place.name] for place in session.get_inputs()})[0][0]


@pytest.mark.parametrize("name", ["", "m.yaml", "m.onnx"])
def test_output_is_that_of_the_graph(tmp_path, name):
    """Behind the tensor `logits` the whole model has a softmax."""
    encoder = open_encoder(str(tmp_path / "e" / name) if describe(tmp_path / "e") and name else str(tmp_path / "e"))
    assert (encoder.dim, encoder.shift_samples, encoder.rate_hz, encoder.licence) == (6, SHIFT, RATE_HZ, "MIT")
    for samples in (399, 400, 719, 720, 721, 16000, 30 * RATE_HZ):
        x = noise(samples / RATE_HZ)[:samples]
        found = encode(encoder, x)
        assert len(found) == encoder.num_frames(samples) == max(0, (samples - WINDOW) // SHIFT + 1)
        if samples >= WINDOW:
            np.testing.assert_allclose(found.log_softmax(1), run(WHOLE, x), atol=1e-4)
    assert b"LogSoftmax" in WHOLE and b"LogSoftmax" not in encoder.graph.numpy().tobytes()


def test_an_output_of_the_graph_needs_no_cut(tmp_path):
    encoder = open_encoder(describe(tmp_path / "e", output="log_probs"))
    assert encoder.graph.numpy().tobytes() == WHOLE
    x = noise(1.0)
    np.testing.assert_array_equal(encode(encoder, x), run(WHOLE, x))


def of_first(seconds):
    """The model, which hears only the first seconds."""
    nodes = [
        node("Slice", ["samples", "zero", "end", "one"], ["heard"]),
        node("Unsqueeze", ["heard", "one"], ["wave"]),
        node("Conv", ["wave", "w"], ["y"], strides=[SHIFT]),
        node("Transpose", ["y"], ["logits"], perm=[0, 2, 1]),
    ]
    numbers = {"zero": [0], "end": [round(seconds * RATE_HZ)], "one": [1]}
    tensors = [tensor(name, np.array(value, np.int64)) for name, value in numbers.items()]
    return onnx_writer.model(nodes, [place("samples", ("n", "t"))], [place("logits", ("n", "f", 6))],
                             [*tensors, tensor("w", WEIGHTS[:, None])])  # fmt: skip


@pytest.mark.parametrize(("hears_s", "window_s"), [(100, 30), (29.99, 20), (12, 10)])
def test_long_recordings_are_heard_whole(tmp_path, hears_s, window_s):
    """In windows that the model hears, joined exactly: its frames depend on no other."""
    encoder = open_encoder(describe(tmp_path / "e", of_first(hears_s), lengths=None))
    assert encoder.window_s == window_s
    x = noise(50.003)
    np.testing.assert_allclose(encode(encoder, x), run(of_first(100), x), atol=1e-5)


def test_a_model_that_hears_too_little_is_refused(tmp_path):
    with pytest.raises(InputError, match="160080 samples give 399 frames instead of 500"):
        open_encoder(describe(tmp_path / "e", of_first(8), lengths=None))
    (tmp_path / "e" / "t.txt").write_text("".join(f"{token}\n" for token in ("<blank>", *"abcde")))
    tokens = {"tokens": "t.txt", "blank": "<blank>"}
    model = read_model(f"{describe(tmp_path / 'e', of_first(25), lengths=None, **tokens)}/m.yaml").model
    assert len(model.score([torch.from_numpy(noise(25.0))])[0]) == 1249
    with pytest.raises(InputError, match=r"hears only 25\.0 s of 26\.0 s"):
        model.score([torch.from_numpy(noise(26.0))])


def test_front_ends(tmp_path):
    """Features of ours, and samples that are normalised over the whole recording."""
    bands = np.random.default_rng(4).standard_normal((40, 5)).astype(np.float32)
    frontend = {"kind": "logmel", "num_bins": 40}
    encoder = open_encoder(describe(tmp_path / "a", onnx_writer.of_features(bands), input="x", output="y",
                                    lengths=None, shift_ms=10, frontend=frontend))  # fmt: skip
    x = noise(1.3)
    front_end = FrontEnd(FeaturesConfig(num_bins=40, cmvn="none"))
    expected = front_end(torch.from_numpy(x)[None], torch.tensor([len(x)]))[0][0] @ torch.from_numpy(bands)
    np.testing.assert_allclose(encode(encoder, x), expected, atol=1e-4)
    encoder = open_encoder(describe(tmp_path / "b", frontend="normalised"))
    x = np.concatenate([0.01 * noise(25.0), noise(25.0)]) + 0.1
    scaled = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
    np.testing.assert_allclose(encode(encoder, x), encode(open_encoder(describe(tmp_path / "c")), scaled), atol=1e-3)


def test_graphs_within_a_node_keep_what_they_read(tmp_path):
    """The branches of an If read a tensor and a weight of the graph around them, which no node lists as an input."""

    def branch(name):
        z = place("z", ("n", "f", 6))
        return onnx_writer.message((1, node("Add", ["logits", name], ["z"])), (2, "b"), (12, z))

    branches = [branch("bias"), branch("other")]
    attributes = [onnx_writer.message((1, name), (6, branch), (20, 5))
                  for name, branch in zip(("then_branch", "else_branch"), branches, strict=True)]  # fmt: skip
    chosen = onnx_writer.message((1, "yes"), (2, "chosen"), (4, "If"), *[(5, a) for a in attributes])
    nodes = [node("Unsqueeze", ["samples", "one"], ["wave"]), node("Conv", ["wave", "w"], ["y"], strides=[SHIFT]),
             node("Transpose", ["y"], ["logits"], perm=[0, 2, 1]), node("Greater", ["one", "zero"], ["yeses"]),
             node("Squeeze", ["yeses"], ["yes"]), chosen, node("LogSoftmax", ["chosen"], ["last"], axis=2)]  # fmt: skip
    tensors = [tensor("one", np.array([1], np.int64)), tensor("zero", np.array([0], np.int64)),
               tensor("w", WEIGHTS[:, None]), tensor("bias", np.arange(6, dtype=np.float32)),
               tensor("other", np.ones(6, np.float32)), tensor("spare", np.ones(6, np.float32))]  # fmt: skip
    data = onnx_writer.model(nodes, [place("samples", ("n", "t"))], [place("last", ("n", "f", 6))], tensors)
    x = noise(0.5)
    short = cut(data, ["chosen"])
    np.testing.assert_allclose(run(short, x), run(of_first(9), x) + np.arange(6), atol=1e-5)
    assert b"other" in short and b"spare" not in short and b"LogSoftmax" not in short
    assert run(cut(data, ["last"]), x).tobytes() == run(data, x).tobytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output": "logit"}, "the graph has no tensor 'logit'; did you mean 'logits'"),
        ({"output": "none of them"}, "the graph has no tensor 'none of them'; the last are"),
        ({"output": "y"}, r"output of shape \(1, 6, 99\)|samples give|the model gives"),
        ({"input": "wave"}, "no input 'wave'"),
        ({"shift_ms": 10}, "shift_ms is 10, but .* samples give .* correct shift_ms"),
        ({"shift_ms": 20.03}, "20.03 is 320.48 samples at 16000 Hz; expected a whole number"),
        ({"shift_ms": None}, "the key 'shift_ms' is missing"),
        ({"modle": "x"}, "no key 'modle'; did you mean 'model'"),
        ({"frontend": {"kind": "pretrained"}}, "expected samples or the options of a front end"),
        ({"model": "other.onnx"}, "cannot read the model"),
    ],
)
def test_wrong_descriptions_are_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        open_encoder(describe(tmp_path / "e", **changes))


def test_files_that_are_missing_are_named(tmp_path):
    describe(tmp_path / "e")
    (tmp_path / "e" / "m.yaml").unlink()
    for name in ("e", "e/m.onnx"):
        with pytest.raises(InputError, match="needs one YAML file that describes it, but there is none; write"):
            open_encoder(str(tmp_path / name))
    features = FeaturesConfig(kind="pretrained", encoder=describe(tmp_path / "e"), shift_ms=20.0, cmvn="none", layer=0)
    with pytest.raises(InputError, match="features.layer=0, but the encoder .* gives only its output"):
        FrontEnd(features)


def test_what_a_bundle_says_of_an_encoder_is_checked(tmp_path):
    encoder = open_encoder(describe(tmp_path / "e"))
    described = json.loads(json.dumps(encoder.description()))
    again = build_encoder(described)
    again.load_state_dict(encoder.state_dict())
    x = noise(0.4)
    np.testing.assert_array_equal(encode(again, x), encode(encoder, x))
    for change in ({"dim": 0}, {"bytes": 1 << 40}, {"window_s": 60}, {"shift_samples": "1"}, {"licence": 3}, {"x": 1},
                   {"spec": described["spec"] | {"lengths": 3}}, {"features": {"kind": "pretrained"}}):  # fmt: skip
        with pytest.raises((ValueError, TypeError, InputError)):
            build_encoder(described | change)
    garbage = {"graph": torch.zeros_like(encoder.graph)}
    with pytest.raises(InputError, match="is not an ONNX model|cannot open"):
        build_encoder(described).load_state_dict(garbage)
    wrong = build_encoder(described | {"dim": 5})
    wrong.load_state_dict(encoder.state_dict())
    with pytest.raises(InputError, match=r"expected \(19, 5\)"):
        encode(wrong, x)


def test_another_call_of_the_same_graph_is_another_encoder(tmp_path):
    """Stored outputs are kept by the digest. A licence changes no output."""
    changes = [{}, {"licence": "Apache-2.0"}, {"frontend": "normalised"}]
    digests = [open_encoder(describe(tmp_path / "e", **change)).digest() for change in changes]
    assert digests[0] == digests[1] != digests[2]


def config(corpus, encoder):
    return Config(
        out=str(corpus / "run"),
        data=DataConfig(train=str(corpus / "train.jsonl"), dev=str(corpus / "dev.jsonl")),
        features=FeaturesConfig(kind="pretrained", encoder=encoder, shift_ms=20.0, cmvn="global"),
        augment=AugmentConfig(speeds=[1.0], freq_masks=0, time_masks=0),
        model=ModelConfig(kind="lstm", hidden=8, layers=1, subsampling=1),
        optim=OptimConfig(epochs=1, batch_s=5, lr=1e-2),
        threads=1,
    )


def test_from_a_corpus_to_a_bundle_and_on(tmp_path, make_wav):
    """The bundle holds the graph, hears what the run hears, and starts another training."""
    corpus = tone_words.write(tmp_path, make_wav)
    cfg = config(corpus, describe(corpus / "e"))
    train(cfg)
    x = audio.load(str(corpus / "dev0.wav"))
    stored = np.load(manifest.read(corpus / "run" / "features" / "dev.jsonl")[0].features)
    assert stored.dtype == np.float16
    np.testing.assert_allclose(stored, encode(open_encoder(cfg.features.encoder), x), atol=5e-3, rtol=2e-3)
    expected = load_model(cfg)[0].score([torch.from_numpy(x)])[0]
    cfg.decoder.kind, cfg.graph.kind = "greedy", "none"
    path = pipeline.bundle(cfg)
    shutil.rmtree(corpus / "e")
    packed = bundle.read(path)
    torch.testing.assert_close(packed.model.score([torch.from_numpy(x)])[0], expected)
    assert opening.load(path).transcribe(corpus / "dev0.wav") is not None
    size, digest = packed.model.frontend.encoder.num_bytes, packed.model.frontend.encoder.digest()
    assert f"{corpus}/e, weights of {size} bytes, SHA-256 {digest}" in packed.card
    assert "licence of the encoder: MIT" in packed.card
    start = Start(str(path), packed.model, packed.cfg, packed.tokens)
    again = replace(cfg, out=str(corpus / "again"), features=replace(cfg.features, encoder=None))
    train(again, start)
    encoder = open_encoder(str(corpus / "again" / "train" / "encoder"))
    assert encoder.digest() == digest and encoder.licence == "MIT"


def test_outputs_beyond_half_precision_set_the_utterance_aside(tmp_path, make_wav):
    corpus = tone_words.write(tmp_path, make_wav)
    loud = onnx_writer.of_samples(1e5 * WEIGHTS, SHIFT)
    cfg = config(corpus, describe(corpus / "e", loud))
    with pytest.raises(InputError, match="no utterance of .* has usable input"):
        extract(corpus / "dev.jsonl", corpus / "made" / "dev.jsonl", cfg)
    assert "half precision cannot hold" in (corpus / "made" / "dev" / "set_aside.tsv").read_text()
