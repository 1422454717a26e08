"""The data check on corpora with planted faults: it finds these and no others, and never stops."""

import json
from dataclasses import asdict, replace

import matplotlib.image
import numpy as np
import pytest

from asr import manifest
from asr.cli import main as cli
from asr.config import Config, FeaturesConfig, ModelConfig
from asr.data.check import ERRORS, WARNINGS, check
from asr.data.dataset import load_input
from asr.data.sets import keep_usable
from asr.errors import InputError
from asr.manifest import Utterance
from asr.text.lexicon import Lexicon
from asr.tokens import Tokens

TOKENS = Tokens.from_characters(["abcdefghijklmnopqrstuvwxyz "])


def found(report):
    """{id: sorted check names of its findings}"""
    names = {}
    for f in report.findings:
        names.setdefault(f.id, []).append(f.check)
    return {id: sorted(checks) for id, checks in names.items()}


def speechlike(seconds=1.0, rate_hz=16000, seed=0, amplitude=0.1):
    return amplitude * np.random.default_rng(seed).standard_normal(round(seconds * rate_hz))


@pytest.fixture
def corpus(make_wav, tmp_path):
    """corpus(id=Utterance fields or samples) writes recordings and a manifest, returns the manifest's path."""

    def write(name="train", **utterances):
        made = []
        for seed, (id, u) in enumerate(utterances.items()):
            if not isinstance(u, Utterance):
                samples = speechlike(seed=seed) if u is None else u
                u = Utterance(id, str(make_wav(f"{name}/{id}.wav", samples)), text="one", speaker="s")
            made.append(replace(u, id=id))
        manifest.write(tmp_path / f"{name}.jsonl", made)
        return tmp_path / f"{name}.jsonl"

    return write


def test_healthy(corpus, tmp_path):
    path = corpus(a=None, b=None)
    report = check(path, tmp_path / "out", TOKENS, frame_s=0.03)
    assert (report.findings, report.total, report.kept) == ([], 2, 2)
    assert report.total_s == report.kept_s == pytest.approx(2.0)
    clean = manifest.read(report.clean)
    assert clean == [replace(u, duration_s=1.0) for u in manifest.read(path)]  # durations are filled in


def test_every_fault_is_reported(corpus, make_wav, tmp_path):
    good = make_wav("good.wav", speechlike(seed=99))
    (tmp_path / "zero.wav").touch()
    (tmp_path / "text.wav").write_text("this is no audio\n" * 50)
    cut = make_wav("cut.flac", speechlike(4.0, seed=98))
    cut.write_bytes(cut.read_bytes()[:20000])
    nan = speechlike(seed=97)
    nan[5000] = np.nan

    def said(path, text="one", **fields):
        return Utterance("", str(path), text=text, **fields)

    path = corpus(
        healthy=said(good),
        missing=said(tmp_path / "none.wav"),
        zero=said(tmp_path / "zero.wav"),
        text=said(tmp_path / "text.wav"),
        cut=said(cut),
        nan=said(make_wav("nan.wav", nan, subtype="FLOAT")),
        early=said(make_wav("early.wav", 1.0), duration_s=2.0),
        outside=said(make_wav("outside.wav", 1.0), start_s=3.0),
        silent=said(make_wav("silent.wav", 1e-4 * np.ones(16000), subtype="FLOAT")),
        clipped=said(make_wav("clipped.wav", np.clip(speechlike(seed=96, amplitude=1.0), -1, 1))),
        slow=said(make_wav("slow.wav", 1.0, 8000)),
        long=said(make_wav("long.wav", 3.0), duration_s=1.0),
        wordless=said(make_wav("wordless.wav", 1.0), "  "),
        absent=said(make_wav("absent.wav", 1.0), None),
        null=said(make_wav("null.wav", 1.0), None, extra={"text": None}),
        foreign=said(make_wav("foreign.wav", 1.0), "één"),
        crowded=said(make_wav("crowded.wav", 1.0), "abcdefgh" * 5),
        again=said(good),
    )
    with open(path, "a") as file:
        file.write('{"id": "broken"\n{"id": "healthy", "audio": "x.wav"}\n')
    report = check(path, tmp_path / "out", TOKENS, frame_s=0.03)
    assert found(report) == {
        "line 19": ["malformed"],
        "line 20": ["malformed"],
        "missing": ["unreadable"],
        "zero": ["empty"],
        "text": ["unreadable"],
        "cut": ["unreadable"],
        "nan": ["unreadable"],
        "early": ["ends early"],
        "outside": ["unreadable"],
        "silent": ["silent"],
        "clipped": ["clipped"],
        "slow": ["rate"],
        "long": ["duration"],
        "wordless": ["empty text"],
        "absent": ["no text"],
        "null": ["no text"],
        "foreign": ["tokens"],
        "crowded": ["too long for CTC"],
        "again": ["heard twice"],
    }
    kept = [u.id for u in manifest.read(report.clean)]
    assert kept == ["healthy", "clipped", "slow", "long", "wordless", "again"]
    assert (report.total, report.kept) == (20, 6)
    whys = {f.id: f.why for f in report.findings}
    assert "it has no text" in whys["absent"] and "its text is null" in whys["null"]
    assert "none.wav does not exist" in whys["missing"] and "'é'" not in whys["foreign"] and "é" in whys["foreign"]
    assert "40 tokens need 40 output frames, the audio has 33" in whys["crowded"]


def test_files_of_the_report(corpus, tmp_path, drawn):
    path = corpus(a=None, b=Utterance("", "gone.wav", text="two"))
    report = check(path, tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "train.clean.jsonl", "train.report.json", "train.report.png", "train.report.txt",
    ]  # fmt: skip
    written = json.loads((tmp_path / "out/train.report.json").read_text())
    assert written["utterances"] == {"total": 2, "kept": 1}
    assert written["hours"]["kept"] == pytest.approx(1 / 3600)
    assert written["counts"] == {"unreadable": 1}
    assert [(f["id"], f["severity"], f["check"]) for f in written["findings"]] == [("b", "error", "unreadable")]
    table = (tmp_path / "out/train.report.txt").read_text()
    assert table == report.table() and "kept 1 of 2 utterances" in table and "b: audio file" in table
    assert matplotlib.image.imread(tmp_path / "out/train.report.png").std() > 0


def test_table_lists_some_and_counts_all(corpus, tmp_path):
    path = corpus(**{f"u{i}": Utterance("", f"gone{i}.wav", text="x") for i in range(8)})
    table = check(path, tmp_path / "out").table()
    assert "u4: " in table and "u5: " not in table and "... and 3 more" in table
    assert check(path, tmp_path / "out").kept == 0


def test_without_a_token_table_any_text_is_accepted(corpus, tmp_path, make_wav):
    path = corpus(a=Utterance("", str(make_wav("a.wav", 0.1)), text="één " * 100))
    assert found(check(path, tmp_path / "out")) == {}


def test_ctc_length(corpus, make_wav, tmp_path):
    """200 random texts against the shortest alignment: one frame per token, one blank between equal neighbours."""
    rng, utterances, expected = np.random.default_rng(1), {}, {}
    for i in range(200):
        frames = int(rng.integers(1, 17))
        text = "a" + "".join(rng.choice(list("ab "), rng.integers(0, 12)))
        units = " ".join(text.split())
        shortest = "".join(c + ("-" if units[k + 1 : k + 2] == c else "") for k, c in enumerate(units))
        if len(shortest) > frames:
            expected[f"u{i}"] = ["too long for CTC"]
        utterances[f"u{i}"] = Utterance("", str(make_wav(f"{i}.wav", speechlike(frames * 0.03, seed=i))), text=text)
    assert 20 < len(expected) < 180
    assert found(check(corpus(**utterances), tmp_path / "out", TOKENS, frame_s=0.03)) == expected


def test_phones(corpus, make_wav, tmp_path):
    lexicon = Lexicon({"yes": [("Y", "EH", "S")], "no": [("N", "OW")]})
    wav = str(make_wav("a.wav", 1.0))
    path = corpus(a=Utterance("", wav, text="yes"), b=Utterance("", wav, text="maybe"), c=Utterance("", wav, text="no"))
    report = check(path, tmp_path / "out", Tokens(["<blk>", "Y", "EH", "S"]), "phone", lexicon)
    text_faults = ("tokens", "not in the lexicon")
    assert {id: [c for c in checks if c in text_faults] for id, checks in found(report).items()} == {
        "b": ["not in the lexicon"],
        "c": ["tokens"],
    }
    assert any("'maybe' is not in the lexicon" in f.why for f in report.findings)
    assert any("not in the token table: N OW" in f.why for f in report.findings)


def test_words_that_the_lexicon_lacks_are_counted(corpus, make_wav, tmp_path):
    texts = ["yes maybe maybe", "perhaps maybe", "yes", "yes yes"]
    path = corpus(**{f"u{i}": Utterance("", str(make_wav(f"{i}.wav", speechlike(seed=i))), text=text)
                     for i, text in enumerate(texts)})  # fmt: skip
    report = check(path, tmp_path / "out", None, "phone", Lexicon({"yes": ["YES"]}))
    assert found(report) == {"u0": ["not in the lexicon"], "u1": ["not in the lexicon"]}
    assert report.unlisted == {"maybe": 2, "perhaps": 1}
    table = [line.split() for line in report.table().splitlines()]
    assert ["2", "utterances", "maybe"] in table and ["1", "utterances", "perhaps"] in table
    assert "the words perhaps, maybe are not in the lexicon" in report.table()
    assert json.loads((tmp_path / "out/train.report.json").read_text())["not_in_lexicon"] == report.unlisted
    report = check(path, tmp_path / "out", None, "phone", Lexicon({"YES": ["YES"]}))
    assert "the word 'yes' is not in the lexicon, which lists 'YES'" in report.table()
    with pytest.raises(InputError, match="needs a lexicon"):
        check(path, tmp_path / "out", None, "phone")


@pytest.mark.parametrize("unit", ["char", "jamo", "phone"])
def test_the_check_keeps_what_training_keeps(unit, corpus, make_wav, tmp_path):
    """Words inside and outside the lexicon, units inside and outside the table, short and long sound."""
    rng = np.random.default_rng(2)
    lexicon = Lexicon({"aa": ["a"], "b": ["bc"], "안": ["ca"], "x": ["x"]})
    tokens = Tokens(["<blk>", "<space>", "a", "b", "c", *"\u110b\u1161\u11ab", "안"])
    cfg = Config()
    cfg.tokens.unit, cfg.data.max_audio_s = unit, 0.4
    utterances = {}
    for i in range(120):
        text = " ".join(rng.choice(["aa", "b", "안", "x", "zz"], rng.integers(1, 5), p=[0.4, 0.3, 0.2, 0.05, 0.05]))
        wav = make_wav(f"{i}.wav", speechlike(rng.integers(1, 16) * 0.03, seed=i))
        utterances[f"u{i}"] = Utterance("", str(wav), text=text)
    path = corpus(**utterances)
    report = check(path, tmp_path / "out", tokens, unit, lexicon, 0.03, max_audio_s=0.4)
    aside = {}
    measured = {u.id: u for u in manifest.read(report.clean)}
    kept, _ = keep_usable(
        cfg,
        [
            measured.get(u.id) or replace(u, duration_s=next(f.duration_s for f in report.findings if f.id == u.id))
            for u in manifest.read(path)
        ],
        tokens,
        lexicon,
        aside,
    )
    assert 20 < len(aside) < 100
    assert aside.keys() == {f.id for f in report.findings if f.check in ERRORS}
    assert [u.id for u in kept] == list(measured)
    kinds = {f.check for f in report.findings}
    assert {"too long for CTC", "too long", "not in the lexicon" if unit == "phone" else "tokens"} <= kinds


def test_against(corpus, make_wav, tmp_path):
    """The same audio is found in another container and under another name; other takes of a text are only a warning."""
    take = np.round(speechlike(seed=50) * 32767).astype(np.int16)
    test = corpus(
        "test",
        t1=Utterance("", str(make_wav("test/t1.flac", take)), text="yes", speaker="s1"),
        t2=Utterance("", str(make_wav("test/t2.wav", 1.0)), text="no", speaker="s2"),
        t3=Utterance("", "gone.wav", text="lost", speaker="s2"),
    )
    train = corpus(
        copied=Utterance("", str(make_wav("train/copy.wav", take)), text="other text", speaker="s9"),
        t2=Utterance("", str(make_wav("train/another.wav", 1.0)), text="other", speaker="s9"),
        take2=Utterance("", str(make_wav("train/take2.wav", 1.0)), text="no", speaker="s2"),
        fine=Utterance("", str(make_wav("train/fine.wav", 1.0)), text="no", speaker="s3"),
        anonymous=Utterance("", str(make_wav("train/anonymous.wav", 1.0)), text="no"),
    )
    report = check(train, tmp_path / "out", against=[test])
    assert found(report) == {"copied": ["duplicate"], "t2": ["duplicate"], "take2": ["said twice"]}
    assert [u.id for u in manifest.read(report.clean)] == ["take2", "fine", "anonymous"]
    assert {f.id: f.why for f in report.findings}["copied"] == f"same audio as 't1' in {test}"


def test_segments_of_one_recording(corpus, make_wav, tmp_path):
    """Segments of one file are not duplicates, and a first segment gives no warning about the file's duration."""
    wav = str(make_wav("a.wav", 4.0))
    path = corpus(**{f"u{i}": Utterance("", wav, start_s=float(i), duration_s=1.0, text="one") for i in range(4)})
    report = check(path, tmp_path / "out", TOKENS, frame_s=0.03)
    assert report.findings == [] and report.kept_s == pytest.approx(4.0)


@pytest.mark.parametrize("amplitude, name", [(1.0, []), (0.999, []), (3.0, ["clipped"]), (1e-5, ["silent"])])
def test_levels(corpus, make_wav, tmp_path, amplitude, name):
    """A tone at full scale is not clipped, a tone cut at full scale is; channels are examined separately."""
    t = np.arange(16000) / 16000
    tone = np.clip(amplitude * np.sin(2 * np.pi * 220 * t), -1, 1)
    for subtype in ("PCM_16", "FLOAT"):
        path = corpus(a=Utterance("", str(make_wav("a.wav", tone, subtype=subtype)), text="one"))
        assert found(check(path, tmp_path / "out")).get("a", []) == name
    if name == ["clipped"]:
        stereo = np.stack([0.01 * np.sin(t), tone], axis=1)
        path = corpus(a=Utterance("", str(make_wav("a.wav", stereo)), text="one"))
        assert found(check(path, tmp_path / "out")) == {"a": ["clipped"]}


def test_stored_features(corpus, tmp_path):
    for name, frames in (("a", 100), ("b", 0), ("c", 30)):
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(len(name)).standard_normal((frames, 13)).astype("f"))
    (tmp_path / "d.npy").write_text("no array")

    def stored(name, text="one", duration_s=None):
        return Utterance("", features=str(tmp_path / f"{name}.npy"), text=text, duration_s=duration_s)

    path = corpus(a=stored("a", duration_s=1.0), b=stored("b"), c=stored("c", "eleven letters"), d=stored("d"),
                  e=stored("none"), f=stored("a", duration_s=2.0))  # fmt: skip
    report = check(path, tmp_path / "out", TOKENS, frame_s=0.03)
    assert found(report) == {
        "b": ["empty"],
        "c": ["too long for CTC"],
        "d": ["unreadable"],
        "e": ["unreadable"],
        "f": ["duration", "heard twice"],
    }


def test_a_failing_decoder_does_not_stop_the_check(corpus, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("codec exploded")

    path = corpus(a=None, b=None)
    monkeypatch.setattr("asr.data.check.audio.info", fail)
    report = check(path, tmp_path / "out")
    assert found(report) == {"a": ["unreadable"], "b": ["unreadable"]}
    assert "codec exploded" in report.findings[0].why


@pytest.mark.parametrize("workers", [1, 3])
def test_order_and_progress(corpus, tmp_path, workers, capsys):
    path = corpus(**{f"u{i}": speechlike(0.05, seed=i) for i in range(40)})
    report = check(path, tmp_path / "out", workers=workers)
    assert [u.id for u in manifest.read(report.clean)] == [f"u{i}" for i in range(40)]
    assert "check train: 100%" in capsys.readouterr().err


def test_no_manifest(tmp_path):
    with pytest.raises(InputError, match="there is no manifest"):
        check(tmp_path / "none.jsonl", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_check_has_one_severity():
    assert not set(ERRORS) & set(WARNINGS)


def test_real_recordings(shared_data, tmp_path):
    """Takes of a speaker are not duplicates, all files are valid, and 8 kHz gives a warning."""
    utterances = [u for u in manifest.read(shared_data / "fsdd/manifest.jsonl") if u.speaker == "george"]
    for split in ("train", "test"):
        manifest.write(tmp_path / f"{split}.jsonl", [u for u in utterances if u.extra["split"] == split])
    tokens = Tokens.from_characters(u.text for u in utterances)
    report = check(tmp_path / "train.jsonl", tmp_path, tokens, frame_s=0.03, against=[tmp_path / "test.jsonl"])
    assert report.kept == report.total == 450
    assert report.counts() == {"rate": 450, "said twice": 450}


def test_real_features(shared_data, tmp_path):
    utterances = manifest.read(shared_data / "an4/manifest.jsonl")[:60]
    manifest.write(tmp_path / "an4.jsonl", utterances)
    tokens = Tokens.from_characters(u.text for u in utterances)
    assert check(tmp_path / "an4.jsonl", tmp_path, tokens, frame_s=0.02).findings == []


def test_given_manifests_are_checked_against_the_first(corpus, tmp_path, capsys):
    take = speechlike(seed=50)
    train = corpus("first", a=take, b=None)
    test = corpus("second", c=take, d=Utterance("", str(next(tmp_path.glob("first/b.wav"))), text="né"))
    argv = ["data", "check", str(train), str(test), f"out={tmp_path}/out", f"output={tmp_path}/check"]
    assert cli.main(argv) == 2  # nothing of the second is kept
    findings = json.loads((tmp_path / "check/second.report.json").read_text())["findings"]
    assert sorted((f["id"], f["check"]) for f in findings) == [("c", "duplicate"), ("d", "duplicate"), ("d", "tokens")]
    assert json.loads((tmp_path / "check/first.report.json").read_text())["findings"] == []


def test_equal_names_get_reports_of_their_own(corpus, tmp_path, capsys):
    paths = [corpus(f"{x}/part", **{x: speechlike(seed=seed)}) for seed, x in enumerate("abc")]
    argv = ["data", "check", f"out={tmp_path}/out", f"output={tmp_path}/check"]
    assert cli.main([*argv, str(paths[0]), str(paths[1])]) == 0
    for name in ("a", "b"):
        assert [u.id for u in manifest.read(tmp_path / f"check/{name}-part.clean.jsonl")] == [name]
    for path, name in ((paths[0], "part"), (paths[2], "c-part"), (paths[0], "part")):  # one call each
        assert cli.main([*argv, str(path)]) == 0
        assert [u.id for u in manifest.read(tmp_path / f"check/{name}.clean.jsonl")] == [path.parent.name]
    assert cli.main([*argv, str(paths[0]), f"{tmp_path}/b/../a/part.jsonl"]) == 2
    assert "is named twice" in capsys.readouterr().err


def test_channels_are_other_sounds(corpus, make_wav, tmp_path):
    sound = np.stack([speechlike(seed=1), speechlike(seed=2)], 1)
    stereo = str(make_wav("stereo.wav", sound))
    channels = {"mix": None, "left": 0, "right": 1, "third": 2}
    path = corpus(**{id: Utterance("", stereo, text="one", channel=channel) for id, channel in channels.items()})
    report = check(path, tmp_path / "out", TOKENS)
    assert found(report) == {"third": ["channels"]} and "has no channel 2" in report.findings[0].why
    for u in manifest.read(report.clean):
        samples = sound.mean(1) if u.channel is None else sound[:, u.channel]
        np.testing.assert_allclose(load_input(Config(), u), samples, atol=1e-4)


def test_ctc_length_needs_no_token_table(corpus, make_wav, tmp_path):
    path = corpus(a=Utterance("", str(make_wav("a.wav", 0.1)), text="one two three"))
    assert found(check(path, tmp_path / "out", frame_s=0.03)) == {"a": ["too long for CTC"]}


def test_the_verb_checks_against_the_trained_net_in_its_unit(corpus, make_wav, tmp_path, capsys):
    """Its phones, its lexicon and its frames, although tokens.unit=char by default."""
    path = corpus(a=Utterance("", str(make_wav("a.wav", speechlike(0.2))), text="yes"),
                  b=Utterance("", str(make_wav("b.wav", speechlike(0.05, seed=1))), text="yes yes"),
                  c=Utterance("", str(make_wav("c.wav", speechlike(0.2, seed=2))), text="no"))  # fmt: skip
    (tmp_path / "run/train").mkdir(parents=True)
    Tokens(["<blk>", "Y", "EH", "S"]).write(tmp_path / "run/train/tokens.txt")
    (tmp_path / "run/l.txt").write_text("yes Y EH S\n")
    trained = {"features": asdict(FeaturesConfig()), "model": asdict(ModelConfig()), "sha256": {},
               "tokens": {"unit": "phone", "lexicon": "l.txt"}}  # fmt: skip
    (tmp_path / "run/train/config.json").write_text(json.dumps(trained))
    assert cli.main(["data", "check", str(path), f"out={tmp_path}/run", f"output={tmp_path}/out"]) == 0
    shown = capsys.readouterr().out
    assert "kept 1 of 3" in shown and "the word 'no' is not in the lexicon" in shown and "too long for CTC" in shown
