"""Stored encoder outputs of the training set: with the silences and levels that ordinary training draws."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tones
import torch
from ctranslate2_model import write_model

from asr import manifest
from asr.config import AugmentConfig, Config
from asr.data import augment
from asr.data.encoded import encode_sets
from asr.data.extract import extract
from asr.data.scenes.scene import has_scenes
from asr.errors import InputError
from asr.features import audio
from asr.features.encoders import open_encoder

DRAWN = AugmentConfig(speeds=[0.9, 1.0], silence_s=1.0, gain_db=[-20.0, 6.0])


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    write_model(tmp_path / "whisper")
    return tones.corpus(tmp_path, 6, 2)


def config(corpus: Path) -> Config:
    return tones.config(corpus, "run", kind="pretrained", encoder=str(corpus / "whisper"), shift_ms=20.0)


def outputs(corpus: Path, name: str, drawn: AugmentConfig | None = DRAWN, seed: int = 1) -> dict[str, np.ndarray]:
    cfg = config(corpus)
    cfg.seed = seed
    path = extract(corpus / "train.jsonl", corpus / name / "train.jsonl", cfg, drawn)
    return {u.id: np.load(u.features or "") for u in manifest.read(path)}


def equal(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(a[name], b[name]) for name in a)


def test_draws_follow_from_content_options_and_seed(corpus: Path) -> None:
    first = outputs(corpus, "first")
    assert equal(first, outputs(corpus, "second"))
    for change in ({"silence_s": 1.5}, {"gain_db": [-20.0, 5.0]}):
        other = outputs(corpus, "other", replace(DRAWN, **change))  # in the folder of the one before
        assert not any(np.array_equal(first[name], other[name]) for name in first)
    assert not equal(first, outputs(corpus, "third", seed=2))
    assert equal(first, outputs(corpus, "third", seed=1))
    added = {name: len(x) - round(30 / (0.9 if "@" in name else 1)) for name, x in first.items()}
    assert len(set(added.values())) > 4 and any(added[f"train{i}@0.9"] != added[f"train{i}"] for i in range(6))
    stored = manifest.read(corpus / "first/train.jsonl")
    assert all(u.duration_s == pytest.approx(len(first[u.id]) * 0.02) for u in stored)
    rows = manifest.read(corpus / "train.jsonl")
    manifest.write(corpus / "train.jsonl", [replace(u, id=f"x{u.id}") for u in reversed(rows)])
    assert equal(first, {name[1:]: x for name, x in outputs(corpus, "fourth").items()})


def test_outputs_are_those_of_the_changed_sound(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = []

    def change(*args: object) -> tuple[np.ndarray, bool]:
        heard.append(augment.change_sound(*args))
        return heard[-1]

    monkeypatch.setattr("asr.data.extract.change_sound", change)
    found = outputs(corpus, "first", replace(DRAWN, speeds=[]))
    encoder = open_encoder(str(corpus / "whisper"))
    for (x, _), y in zip(heard, found.values(), strict=True):
        with torch.inference_mode():
            np.testing.assert_allclose(encoder.encode(torch.from_numpy(x), 2), y, atol=5e-3, rtol=2e-3)


def test_without_silence_and_level_the_sound_stays(corpus: Path) -> None:
    plain = replace(DRAWN, speeds=[], silence_s=0.0, gain_db=[])
    before = outputs(corpus, "first", None)
    times = {path: path.stat().st_mtime_ns for path in (corpus / "first/train").glob("*.npy")}
    assert equal(before, outputs(corpus, "first", plain, seed=3))
    assert times == {path: path.stat().st_mtime_ns for path in times}  # nothing is computed again
    x = torch.from_numpy(audio.load(str(corpus / "train0.wav")))
    with torch.inference_mode():
        expected = open_encoder(str(corpus / "whisper")).encode(x, 2)
    np.testing.assert_allclose(before["train0"], expected, atol=5e-3, rtol=2e-3)


def test_silence_in_place_of_words_has_no_text(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "NOTHING", 0.5)
    for _ in range(2):  # made, then found
        outputs(corpus, "first")
        texts = {u.id: u.text for u in manifest.read(corpus / "first/train.jsonl")}
        assert 2 < list(texts.values()).count("") < 10
    stamps = {name: os.stat(corpus / "first/train" / f"{name}.npy").st_mtime_ns for name in texts}
    outputs(corpus, "first")
    assert stamps == {name: os.stat(corpus / "first/train" / f"{name}.npy").st_mtime_ns for name in texts}


def test_only_the_training_sets_are_changed(corpus: Path) -> None:
    """And the longest recordings are not lost because silence makes them longer."""
    cfg = config(corpus)
    cfg.augment, cfg.data.replay, cfg.data.max_audio_s = DRAWN, cfg.data.train, 0.61
    encoded = encode_sets(cfg)
    for path, changed in ((encoded.data.train, True), (encoded.data.replay, True), (encoded.data.dev, False)):
        frames = [round((u.duration_s or 0) / 0.02) for u in manifest.read(path or "")]
        assert any(f > 33 for f in frames) == changed
        assert max(frames) * 0.02 < encoded.data.max_audio_s
    assert encoded.augment.speeds == []


def test_scenes_are_drawn_once_and_not_drawn_again_from_the_stored_outputs(corpus: Path) -> None:
    noisy = replace(DRAWN, speeds=[], silence_s=0.0, gain_db=[], noise_share=1.0, noises=["coloured"])
    plain = outputs(corpus, "first", replace(DRAWN, speeds=[], silence_s=0.0, gain_db=[]))
    first = outputs(corpus, "first", noisy)
    assert not any(np.array_equal(plain[name], first[name]) for name in first)
    assert equal(first, outputs(corpus, "second", noisy)) and not equal(first, outputs(corpus, "third", noisy, seed=2))
    for change in ({"noise_db": [0.0, 5.0]}, {"noises": ["hum"]}, {"codec_share": 1.0}):
        assert not equal(first, outputs(corpus, "other", replace(noisy, **change)))
    cfg = config(corpus)
    cfg.augment = noisy
    assert not has_scenes(encode_sets(cfg).augment)


def test_a_babble_needs_other_utterances(corpus: Path) -> None:
    with pytest.raises(InputError, match=r"babble is mixed from other utterances.*set augment.noises=\[coloured,hum\]"):
        outputs(corpus, "first", replace(DRAWN, noise_share=0.5))
