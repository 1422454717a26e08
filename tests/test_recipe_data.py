"""What the recipes timit and english make of a corpus."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from onnx_writer import INT64, model, node, place, tensor

from asr import manifest
from asr.cli.overrides import compose, to_overrides
from asr.config import Config
from asr.errors import InputError
from asr.features.encoders import open_encoder
from asr.manifest import Utterance
from asr.text.lexicon import Lexicon
from recipes import whisper
from recipes.digits import adapted
from recipes.english import english_hama, english_scratch
from recipes.english import prepare as english
from recipes.english_import.pronounce import FILES
from recipes.run import RECIPES
from recipes.timit import prepare as timit
from recipes.timit import timit_scratch


def configure(recipe: str, experiment: str, folder: Path, root: Path) -> Config:
    words = [f"experiment={experiment}", f"out={folder}/out", f"data.root={root}"]
    return compose(to_overrides(words, (), str(RECIPES / recipe)))


def labelled(*labels: str) -> Utterance:
    return Utterance("a", "a.flac", extra={"phones": [[i, i + 1, label] for i, label in enumerate(labels)]})


def test_phones_are_folded_and_neighbouring_silences_joined():
    assert timit.fold_phones(labelled("h#", "sh", "ix", "dcl", "pau", "d", "q", "ao", "l", "el", "h#")) == (
        "SIL SH IH SIL D AA L L SIL"
    )
    assert timit.fold_phones(labelled("h#", "sh", "dcl", "pau", "d", "l", "el"), timit.SILENCE) == "SH D L L"
    folded = {p for p in timit.FOLDED.values() if p} | set(
        "aa ae ah aw ay b ch d dh dx eh er ey f g hh ih iy jh k l m n ng ow oy p r s sh t th uh uw v w y z".split()
    )
    assert len(folded) == 39


def test_every_speaker_is_tested_once_and_in_one_set_only():
    speakers = [f"s{i:02}" for i in range(16)]
    folds = [timit.split_speakers(speakers, fold) for fold in range(timit.FOLDS)]
    assert sorted(s for fold in folds for s in fold["test"]) == speakers
    for fold in folds:
        assert sorted(s for part in fold.values() for s in part) == speakers
        assert [len(fold[name]) for name in ("train", "dev", "test")] == [10, 2, 4]


def test_timit_leaves_out_what_all_speakers_read(tmp_path, monkeypatch):
    folder = tmp_path / "timit_en"
    folder.mkdir()
    rows = [
        {"id": f"dr1-s{s}-{name}", "audio": "x.flac", "duration_s": 1.0, "text": "it", "speaker": f"s{s}",
         "phones": [[0.0, 0.5, "ih"], [0.5, 1.0, "t"]]}
        for s in range(16) for name in ("sa1", "sa2", "sx1")
    ]  # fmt: skip
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    cfg = configure("timit", "timit", tmp_path, tmp_path)
    with pytest.raises(InputError, match="run `python -m recipes.run english`"):
        timit.prepare(cfg, "0")
    monkeypatch.setattr(timit, "START", folder / "manifest.jsonl")
    with pytest.raises(InputError, match="fold=4 must be one of 0 to 3"):
        timit.prepare(cfg, "4")
    timit.prepare(cfg, "3")
    without = configure("timit", "timit_scratch", tmp_path / "scratch", tmp_path)
    timit_scratch.prepare(without, "3")
    assert manifest.read(without.data.test) == manifest.read(cfg.data.test)  # these have no silence
    data = Path(cfg.data.dir)
    assert [u.text for u in manifest.read(data / "test.jsonl")] == ["IH T"] * 4
    assert {u.id.rsplit("-")[-1] for name in ("train", "dev") for u in manifest.read(data / f"{name}.jsonl")} == {"sx1"}
    assert Lexicon.read(data / "lexicon.txt").pronunciations == {"IH": [("IH",)], "T": [("T",)]}
    assert len((data / "lm.txt").read_text().split("\n")) == 11


def test_what_whisper_heard_is_kept_and_a_stopped_run_goes_on(tmp_path, monkeypatch):
    asked = []

    class Teacher:
        def __init__(self, folder):
            pass

        def transcribe(self, samples):
            asked.append(len(samples))
            if len(asked) == 22:
                raise KeyboardInterrupt
            return (" Mr. Smith paid $5.", 0.75) if len(samples) == 1600 else ("", 0.0)

    monkeypatch.setattr(english, "Whisper", Teacher)
    soundfile.write(tmp_path / "a.wav", np.full(2000, 0.1), 16000)
    utterances = [Utterance(f"u{n}", str(tmp_path / "a.wav"), duration_s=0.1 if n else 0.05) for n in range(22)]
    with pytest.raises(KeyboardInterrupt):
        english.transcribe(utterances, tmp_path, tmp_path / "heard.jsonl")
    assert len(manifest.read(tmp_path / "heard.jsonl")) == 20
    heard = english.transcribe(utterances, tmp_path, tmp_path / "heard.jsonl")
    assert len(asked) == 24 and [u.id for u in heard] == [u.id for u in utterances]
    assert [(u.text, u.extra) for u in heard[:2]] == [
        ("", {"confidence": 0.0}), ("mister smith paid five dollars", {"confidence": 0.75})
    ]  # fmt: skip
    assert manifest.read(tmp_path / "heard.jsonl") == heard
    assert len(english.transcribe(utterances, tmp_path, tmp_path / "heard.jsonl")) == 22 and len(asked) == 24


def test_chapters_from_nothing_are_in_one_set_only_and_books_give_the_words(tmp_path, monkeypatch):
    rows = [
        {"id": f"{chapter}-{n}", "audio": "x.flac", "duration_s": 1.0, "text": "the whale", "speaker": "1",
         "chapter": chapter} for chapter in ("198", "227") for n in range(9)
    ]  # fmt: skip
    for folder, name, text in (("libri_en", "manifest.jsonl", "\n".join(map(json.dumps, rows))),
                               ("text_en", "books.txt.xz", "Call me Ishmael.\nThe sea, the sea!\n")):  # fmt: skip
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(text)
    monkeypatch.setattr(english_scratch, "VOCABULARY", 3)
    cfg = configure("english", "english_scratch", tmp_path, tmp_path)
    assert "real speech" in english_scratch.prepare(cfg)
    data = Path(cfg.data.dir)
    sets = {name: [u.id for u in manifest.read(data / f"{name}.jsonl")] for name in ("train", "dev", "test")}
    assert sets == {
        "train": [f"227-{n}" for n in range(1, 8)], "dev": ["227-0", "227-8"], "test": [f"198-{n}" for n in range(9)]
    }  # fmt: skip
    assert (data / "lm.txt").read_text() == "call me ishmael\nthe sea the sea\n" + 7 * "the whale\n"
    assert set(Lexicon.read(data / "lexicon.txt").pronunciations) == {"the", "sea", "whale"}
    (tmp_path / "text_en").rename(tmp_path / "texts")
    with pytest.raises(InputError, match="holds no folder 'text_en'"):
        english_scratch.prepare(cfg)


def test_hama_is_an_encoder_at_its_last_hidden_layer(tmp_path):
    """A tiny model whose tensors have hama's names."""
    pytest.importorskip("onnxruntime", reason="ONNX models are run by onnxruntime")
    weights = np.random.default_rng(0).standard_normal((4, 1, 400)).astype(np.float32)
    nodes = [node("Unsqueeze", ["waveform", "one"], ["wave"]), node("Conv", ["wave", "w"], ["y"], strides=[320]),
             node("Transpose", ["y"], [english_hama.HIDDEN], perm=[0, 2, 1]),
             node("LogSoftmax", [english_hama.HIDDEN], ["log_probs"], axis=2)]  # fmt: skip
    inputs = [place("waveform", ("n", "t")), place("waveform_lengths", ("n",), INT64)]
    tensors = [tensor("one", np.array([1], np.int64)), tensor("w", weights)]
    (tmp_path / FILES[0]).write_bytes(model(nodes, inputs, [place("log_probs", ("n", "f", 4))], tensors))
    encoder = open_encoder(str(english_hama.describe(tmp_path)))
    found = encoder.encode(torch.full((720,), 0.1), 1)
    np.testing.assert_allclose(found, np.tile(0.1 * weights.sum((1, 2)), (2, 1)), atol=1e-4)
    cfg = configure("english", "english_hama", tmp_path, tmp_path)
    assert cfg.features.encoder == "data/hama/encoder.yaml" and cfg.data.train == "exp/english/data/train.jsonl"


def test_text_of_whispers_tokens():
    tokens = [
        "<|en|>",
        "\u0120Mrs",
        ".",
        "\u0120caf",
        "\u00c3\u00a9",
        "\u0120",
        "\u00ea\u00b0",
        "\u0122",
        "<|endoftext|>",
    ]
    assert whisper.text_of(tokens) == "Mrs. café 가"


def test_adapted_digits_leave_the_speaker_out(tmp_path, monkeypatch):
    for digit in range(10):
        for speaker in ("ann", "bob", "eve"):
            for take in (0, 6, 12):
                path = tmp_path / "fsdd" / f"{digit}_{speaker}_{take}.wav"
                path.parent.mkdir(exist_ok=True)
                soundfile.write(path, 0.1 * np.random.default_rng(take).standard_normal(4000), 16000)
    (tmp_path / "fsdd/manifest.jsonl").write_text("")
    monkeypatch.setattr(adapted, "START", tmp_path)
    monkeypatch.setattr(adapted, "COUNTS", {"train": 6, "dev": 4, "test": 3})
    cfg = configure("digits", "adapted", tmp_path, tmp_path)
    assert "without eve" in adapted.prepare(cfg, "eve")
    sets = {name: manifest.read(f"{cfg.data.dir}/{name}.jsonl") for name in ("train", "dev", "test")}
    assert {name: {u.speaker for u in utterances} for name, utterances in sets.items()} == {
        "train": {"ann", "bob"}, "dev": {"ann", "bob"}, "test": {"eve"}
    }  # fmt: skip
