"""From recordings and a pretrained encoder to a bundle."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tone_words
import torch
from ctranslate2_model import model_bytes, weights, write_model

import asr
from asr import manifest, pipeline
from asr.cli.main import main
from asr.config import AugmentConfig, Config, DataConfig, FeaturesConfig, ModelConfig, OptimConfig
from asr.data.extract import extract
from asr.errors import InputError
from asr.features import audio
from asr.features.encoders import build_encoder, open_encoder, write_encoder
from asr.features.frontend import FrontEnd
from asr.models.acoustic import AcousticModel
from asr.recognizer import bundle
from asr.training.trainer import load_model, train


@pytest.fixture
def corpus(tmp_path, make_wav):
    return tone_words.write(tmp_path, make_wav)


def config(corpus: Path, **features: object) -> Config:
    return Config(
        out=str(corpus / "run"),
        data=DataConfig(train=str(corpus / "train.jsonl"), dev=str(corpus / "dev.jsonl")),
        features=FeaturesConfig(
            **{"kind": "pretrained", "encoder": str(corpus / "whisper"), "shift_ms": 20.0, "cmvn": "global", **features}
        ),
        augment=AugmentConfig(speeds=[0.9, 1.0, 1.1], freq_masks=0, time_masks=0),
        model=ModelConfig(kind="fc", hidden=16, layers=1, subsampling=1),
        optim=OptimConfig(epochs=1, batch_s=5, lr=1e-2),
        threads=1,
    )


def test_bundle_of_a_net_on_an_encoder(corpus):
    """The bundle holds the encoder, in half precision only if that loses nothing, and hears what the run hears."""
    write_model(corpus / "whisper")
    cfg = config(corpus)
    train(cfg)
    rows = manifest.read(corpus / "run" / "features" / "train.jsonl")
    assert len(rows) == 48 and {u.extra.get("speed") for u in rows} == {None, 0.9, 1.1}
    assert np.load(rows[0].features).dtype == np.float16
    model, _ = load_model(cfg)
    x = torch.from_numpy(audio.load(str(corpus / "dev0.wav")))
    expected = model.score([x])[0]
    cfg.decoder.kind, cfg.graph.kind = "greedy", "none"
    packed = bundle.read(pipeline.bundle(cfg))
    os.rename(corpus / "whisper", corpus / "elsewhere")
    torch.testing.assert_close(packed.model.score([x])[0], expected)
    assert packed.cfg.features.encoder is None and str(corpus / "whisper") in packed.card


def test_stored_outputs_are_those_of_the_encoder(corpus):
    write_model(corpus / "whisper")
    train(config(corpus, layer=1))
    encoder = open_encoder(str(corpus / "whisper"))
    for utterance in manifest.read(corpus / "run" / "features" / "dev.jsonl"):
        x = torch.from_numpy(audio.load(str(corpus / f"{utterance.id}.wav")))
        with torch.inference_mode():
            expected = encoder.encode(x, 1)
        np.testing.assert_allclose(np.load(utterance.features), expected, atol=5e-3, rtol=2e-3)


def test_a_changed_encoder_is_noticed(corpus):
    """By the stored outputs, by a resumed training, and by a recogniser of the trained net."""
    write_model(corpus / "whisper")
    cfg = config(corpus)
    train(cfg)
    stored = corpus / "run" / "features" / "dev" / "dev0.npy"
    before = stored.read_bytes()
    write_model(corpus / "whisper", seed=2)
    with pytest.raises(InputError, match="encoder .*whisper has changed since .*train was trained"):
        load_model(cfg)
    with pytest.raises(InputError, match="changed"):
        train(cfg)
    assert stored.read_bytes() != before


def test_a_relative_encoder_is_found_from_everywhere(corpus, monkeypatch):
    write_model(corpus / "whisper")
    monkeypatch.chdir(corpus)
    cfg = config(corpus, encoder="whisper")
    train(cfg)
    (corpus / "other").mkdir()
    monkeypatch.chdir(corpus / "other")
    assert main(
        ["decode", f"out={corpus}/run", "decoder.kind=greedy", "split=dev", f"data.dev={corpus}/dev.jsonl"]
    ) in (0, None)


@pytest.mark.parametrize("is_stored", [False, True])
def test_an_encoder_that_has_moved_is_named(corpus, capsys, is_stored):
    """To decode and to bundle, also behind a net of stored outputs; one with other weights is refused."""
    write_model(corpus / "whisper")
    cfg = config(corpus)
    train(cfg)
    if is_stored:
        cfg.features.kind, cfg.features.num_bins, cfg.features.encoder = "stored", 16, None
        cfg.data.train, cfg.data.dev = (f"{corpus}/run/features/{split}.jsonl" for split in ("train", "dev"))
        cfg.augment.speeds, cfg.out = [1.0], str(corpus / "second")
        train(cfg)
    words = [f"out={cfg.out}", "decoder.kind=greedy", "graph.kind=none"]
    verbs = [["bundle", *words]] + [["decode", *words, "split=dev", f"data.dev={corpus}/dev.jsonl"]] * (not is_stored)
    os.rename(corpus / "whisper", corpus / "elsewhere")
    write_model(corpus / "third", seed=2)
    (corpus / "experiment").mkdir()
    (corpus / "experiment/e.yaml").write_text("# @package _global_\nfeatures: {kind: pretrained, encoder: whisper}\n")
    os.rename(corpus / "elsewhere", corpus / "whisper")
    by_file = [f"--config-dir={corpus}", "experiment=e"]  # a path from the folder of the training
    for verb in verbs:
        assert main([*verb, *by_file]) in (0, None)
    os.rename(corpus / "whisper", corpus / "elsewhere")
    for verb in verbs:
        assert main(verb) == 2
        assert "whisper (features.encoder); name a folder" in capsys.readouterr().err
        assert main([*verb, f"features.encoder={corpus}/elsewhere"]) in (0, None)
        assert main([*verb, f"features.encoder={corpus}/third"]) == 2
        assert "third has other weights than" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": None}, "features.encoder=DIR"),
        ({"encoder": "nowhere/at/all"}, "there is no folder nowhere/at/all"),
        ({"shift_ms": 10.0}, "features.shift_ms=10, but the encoder .* has 20"),
        ({"sample_rate_hz": 8000}, "features.sample_rate_hz=8000, but the encoder .* has 16000"),
        ({"layer": 3}, "features.layer=3, but the encoder .* has 2 layers"),
        ({"cmvn": "speech"}, "features.cmvn=speech needs log filterbank energies"),
    ],
)
def test_options_that_do_not_fit_are_refused(corpus, options, message):
    write_model(corpus / "whisper")
    with pytest.raises(InputError, match=message):
        FrontEnd(config(corpus, **options).features)


def test_no_stream(corpus):
    write_model(corpus / "whisper")
    with pytest.raises(InputError, match="cannot run in a stream"):
        FrontEnd(config(corpus).features).stream()


def test_truncated_and_foreign_models_are_refused(tmp_path):
    whole = model_bytes(weights(dim=8, layers=1, hidden=8))
    path = tmp_path / "model.bin"
    for length in [*range(120), *range(120, len(whole) - 4, 997)]:
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=str(tmp_path)):
            open_encoder(str(tmp_path))
    path.write_bytes(model_bytes({}, "TransformerSpec"))
    with pytest.raises(InputError, match="holds a TransformerSpec; expected a WhisperSpec"):
        open_encoder(str(tmp_path))
    odd = weights()
    odd["encoder/layer_1/ffn/linear_1/weight"] = np.ones((16, 25), np.float32)
    path.write_bytes(model_bytes(odd))
    with pytest.raises(InputError, match=r"'blocks.1.narrow.weight' has the shape \(16, 25\), expected \(16, 24\)"):
        open_encoder(str(tmp_path))


def test_weights_of_eight_bits_are_scaled(tmp_path):
    """CTranslate2 stores round(w * scale), one scale per row, with the scale beside it."""
    plain = weights()
    quantised = dict(plain)
    for name in [name for name in plain if "linear" in name and name.endswith("weight")]:
        scale = 127 / np.abs(plain[name]).max(1)
        quantised[name] = np.round(plain[name] * scale[:, None]).astype(np.int8)
        quantised[f"{name}_scale"] = scale.astype(np.float32)
    outputs = []
    for tensors in (plain, quantised):
        (tmp_path / "model.bin").write_bytes(model_bytes(tensors))
        with torch.inference_mode():
            outputs.append(open_encoder(str(tmp_path)).encode(torch.sin(torch.arange(16000) / 20), 2))
    torch.testing.assert_close(*outputs, atol=0.15, rtol=0.05)
    assert not torch.equal(*outputs)


@pytest.mark.parametrize(
    "change",
    [{"family": "x"}, {"dim": 1 << 17}, {"layers": "2"}, {"other": 3}, {"dim": 0}, {"heads": 5}, {"positions": 1499}],
)
def test_bundle_with_another_description_of_the_encoder_is_refused(corpus, change):
    write_model(corpus / "whisper")
    description = open_encoder(str(corpus / "whisper")).description()
    with pytest.raises((ValueError, TypeError)):
        build_encoder(json.loads(json.dumps(description | change)))


def test_front_end_is_restored_for_features_made_by_hand(corpus):
    """`asr features features=pretrained`, then training on stored features: the bundle takes sound."""
    write_model(corpus / "whisper")
    cfg = config(corpus)
    for split in ("train", "dev"):
        extract(corpus / f"{split}.jsonl", corpus / "made" / f"{split}.jsonl", cfg)
    data = replace(cfg.data, train=str(corpus / "made/train.jsonl"), dev=str(corpus / "made/dev.jsonl"))
    stored = FeaturesConfig(kind="stored", num_bins=16, shift_ms=20.0, cmvn="global")
    cfg = replace(cfg, data=data, features=stored)
    train(cfg)
    cfg.decoder.kind, cfg.graph.kind = "greedy", "none"
    assert asr.load(pipeline.bundle(cfg)).transcribe(corpus / "dev0.wav") is not None


def test_upper_layers_are_trained_with_the_net(corpus):
    """They start as the encoder's own, do not hear padding, learn, and are part of the bundle."""
    write_model(corpus / "whisper")
    cfg = config(corpus, layer=1, cmvn="none")
    cfg.model.tune_layers, cfg.optim.tune_lr, cfg.optim.epochs = 1, 1e-3, 2
    encoder = open_encoder(cfg.features.encoder)
    x = torch.from_numpy(audio.load(str(corpus / "dev0.wav")))
    upper = AcousticModel(cfg.features, cfg.model, 4).upper
    with torch.inference_mode():
        below, whole = encoder.encode(x, 1), encoder.encode(x, 2)
        padded = torch.nn.functional.pad(below[None], (0, 0, 0, 7), value=3.0)
        torch.testing.assert_close(upper(padded, torch.tensor([len(below)]))[0, : len(below)], whole)
    train(cfg)
    model, _ = load_model(cfg)
    changed = [not torch.equal(a, b) for a, b in zip(upper.parameters(), model.upper.parameters(), strict=True)]
    assert all(changed)
    for old, new in zip(encoder.parameters(), model.frontend.encoder.parameters(), strict=True):
        torch.testing.assert_close(old, new)
    expected = model.score([x])[0]
    cfg.decoder.kind, cfg.graph.kind = "greedy", "none"
    packed = bundle.read(pipeline.bundle(cfg))
    torch.testing.assert_close(packed.model.score([x])[0], expected)


@pytest.mark.parametrize(
    ("features", "layers", "message"),
    [
        ({"layer": None, "cmvn": "none"}, 1, "features.layer: the last layer that is kept"),
        ({"layer": 1}, 1, "needs features.cmvn=none, not global"),
        ({"layer": 1, "cmvn": "none"}, 2, "more than the encoder's 2 layers"),
        ({"kind": "logmel", "encoder": None, "cmvn": "none"}, 1, "needs features=pretrained"),
    ],
)
def test_upper_layers_that_there_are_not_are_refused(corpus, features, layers, message):
    write_model(corpus / "whisper")
    cfg = config(corpus, **features)
    cfg.model.tune_layers = layers
    with pytest.raises(InputError, match=message):
        train(cfg)


def test_an_encoder_written_by_a_training_is_read_whole_or_refused(tmp_path):
    encoder = open_encoder(str(write_model(tmp_path / "whisper")))
    write_encoder(encoder, tmp_path / "own")
    again = open_encoder(str(tmp_path / "own"))
    assert again.digest() == encoder.digest() and again.description() == encoder.description()
    for name in ("model.safetensors", "config.json"):
        whole = (tmp_path / "own" / name).read_bytes()
        for length in (0, 9, len(whole) // 2, len(whole) - 1):
            (tmp_path / "own" / name).write_bytes(whole[:length])
            with pytest.raises(InputError, match=str(tmp_path / "own")):
                open_encoder(str(tmp_path / "own"))
        (tmp_path / "own" / name).write_bytes(whole)
    for change in ({"family": "x"}, {"dim": 32}, {"layers": "2"}, {"heads": 5}, {"more": 1}):
        (tmp_path / "own" / "config.json").write_text(json.dumps(encoder.description() | change))
        with pytest.raises(InputError, match="own does not hold an encoder"):
            open_encoder(str(tmp_path / "own"))
