"""Absent, null and empty texts are three things: what each step does with them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from asr import manifest
from asr.cli import main as cli
from asr.config import Config, TextConfig
from asr.data.importers import import_corpus
from asr.data.sets import prepare_sets
from asr.errors import InputError
from asr.evaluation.transcribed import transcribed
from asr.lm.texts import sentences
from asr.manifest import Utterance
from asr.text.cleaning import clean_files


@pytest.fixture
def wav(make_wav):
    return str(make_wav("a.wav", 0.1 * np.random.default_rng(0).standard_normal(16000)))


def utterances(wav, *texts):
    """One utterance per text; "absent" and None are texts that are absent and null."""
    made = []
    for number, text in enumerate(texts):
        extra = {"text": None} if text is None else {}
        made.append(Utterance(f"u{number}", wav, text=None if text == "absent" else text, extra=extra))
    return made


def sets(folder, wav, train, dev):
    cfg = Config(out=str(folder))
    manifest.write(cfg.data.train, utterances(wav, *train))
    manifest.write(cfg.data.dev, [replace(u, id=f"dev-{u.id}") for u in utterances(wav, *dev)])
    return prepare_sets(cfg, folder / "train")[:3]


def test_training(tmp_path, wav, capsys):
    tokens, train, _ = sets(tmp_path, wav, ["one", "absent", None, ""], ["one"])
    assert [u.id for u in train.utterances] == ["u0", "u3"] and len(train.targets[1]) == 0
    assert list(tokens) == ["<blk>", "e", "n", "o"]
    aside = (tmp_path / "train/set_aside.jsonl").read_text()
    assert "it has no text" in aside and "its text is null" in aside
    assert '1 utterances have "text": "" and count as nothing said' in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("train", "dev", "message"),
    [
        (["absent", None], ["one"], "train.jsonl: 0 usable utterances"),
        (["", ""], ["one"], "train.jsonl: the text of each usable utterance is empty"),
        (["one"], ["absent"], "dev.jsonl: 0 usable utterances"),
        (["one"], ["", "absent"], "dev.jsonl: the text of each usable utterance is empty"),
    ],
)
def test_training_without_words_is_refused(tmp_path, wav, train, dev, message):
    with pytest.raises(InputError, match=message):
        sets(tmp_path, wav, train, dev)


def test_tuning_and_calibration(wav, capsys):
    assert [u.id for u in transcribed(utterances(wav, "absent", "one", None, ""))] == ["u1", "u3"]
    assert "2 utterances without a text are left out; the first is u0" in "".join(capsys.readouterr())
    with pytest.raises(InputError, match="none of the 2 utterances has a text"):
        transcribed(utterances(wav, "absent", None))


def test_language_models(tmp_path, wav, capsys):
    path = tmp_path / "m.jsonl"
    manifest.write(path, utterances(wav, "one two", None, "", "absent"))
    assert list(sentences([path])) == ["one two", ""]
    assert "2 utterances without a text are left out; the first is u1" in capsys.readouterr().err
    manifest.write(path, utterances(wav, None))
    with pytest.raises(InputError, match="none of its 1 utterances has a text"):
        list(sentences([path]))


def test_cleaning(tmp_path, wav):
    source, output = tmp_path / "m.jsonl", tmp_path / "clean.jsonl"
    manifest.write(source, utterances(wav, "One!", None, "", "absent"))
    report = clean_files([str(source)], str(output), TextConfig())
    assert [(u.id, u.text) for u in manifest.read(output)] == [("u0", "one"), ("u2", "")]
    assert report.dropped["no text"].count == 2
    clean_files([str(source)], str(tmp_path / "clean.txt"), TextConfig())
    assert (tmp_path / "clean.txt").read_text() == "one\n"


def test_check_fails_if_nothing_is_kept(tmp_path, wav, capsys):
    manifest.write(tmp_path / "m.jsonl", utterances(wav, None, "absent"))
    argv = ["data", "check", str(tmp_path / "m.jsonl"), f"out={tmp_path}/out", f"output={tmp_path}/check"]
    assert cli.main(argv) == 2
    assert "0 utterances kept" in capsys.readouterr().err
    assert Path(tmp_path / "check/m.report.json").exists()


def test_texts_of_json_that_are_none(tmp_path):
    lines = ['{"id": "a", "audio": "a.wav", "sentence": NaN}', '{"id": "b", "audio": "b.wav", "sentence": "x"}']
    path = tmp_path / "c.jsonl"
    path.write_text("\n".join(lines))
    found = import_corpus(path, "table", [].append)
    assert [(u.text, u.extra) for u in found] == [(None, {"text": None}), ("x", {})]
    path.write_text(lines[0].replace("NaN", "true"))
    with pytest.raises(InputError, match=r"c\.jsonl:1: field 'sentence' is True; expected a string"):
        import_corpus(path, "table")


def test_a_field_that_occurs_twice_is_refused(tmp_path):
    (tmp_path / "c.jsonl").write_text('{"id": "a", "audio": "a.wav", "text": "x", "text": "y"}\n')
    with pytest.raises(InputError, match=r"c\.jsonl:1: the field 'text' occurs twice; keep one"):
        manifest.read(tmp_path / "c.jsonl")
