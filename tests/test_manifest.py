"""Manifests: round trips, and messages that name file, line and field of a malformed line."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr import manifest
from asr.errors import InputError
from asr.manifest import Utterance

KNOWN = set(vars(Utterance("x"))) - {"extra"} | manifest.MISTAKEN
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
name = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=8).filter(
    lambda n: n not in (".", "..")
)
seconds = st.floats(1e-3, 1e6)
utterance = st.builds(
    Utterance,
    id=text.filter(bool),
    audio=name,
    features=st.none(),
    start_s=st.just(0.0) | seconds,
    duration_s=st.none() | seconds,
    text=st.none() | text,
    channel=st.none() | st.integers(0, 8),
    speaker=st.none() | text,
    lang=st.none() | text,
    extra=st.dictionaries(text.filter(lambda k: k not in KNOWN), st.none() | st.booleans() | st.integers() | text),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(utterance, min_size=1, max_size=5, unique_by=lambda u: u.id))
def test_what_is_written_is_read(utterances):
    with tempfile.TemporaryDirectory() as folder:
        for u in utterances:
            u.audio = str(Path(folder) / "audio" / u.audio)
        manifest.write(Path(folder) / "a.jsonl", utterances)
        assert manifest.read(Path(folder) / "a.jsonl") == utterances


def test_absent_null_and_empty_texts_differ(tmp_path):
    lines = ['{"id": "a", "audio": "a.wav"}', '{"id": "n", "audio": "n.wav", "text": null}',
             '{"id": "e", "audio": "e.wav", "text": ""}']  # fmt: skip
    (tmp_path / "m.jsonl").write_text("\n".join(lines) + "\n")
    absent, null, empty = manifest.read(tmp_path / "m.jsonl")
    assert (absent.text, null.text, empty.transcript) == (None, None, "")
    for utterance, why in ((absent, "it has no text"), (null, "its text is null")):
        with pytest.raises(InputError, match=why):
            utterance.transcript  # noqa: B018
    manifest.write(tmp_path / "again.jsonl", [absent, null, empty])
    assert (tmp_path / "again.jsonl").read_text() == (tmp_path / "m.jsonl").read_text()


def test_line(tmp_path):
    u = Utterance("a", str(tmp_path / "audio/하나.wav"), text="하나 둘", lang="ko", extra={"split": "train"})
    manifest.write(tmp_path / "m.jsonl", [u])
    line = '{"id": "a", "audio": "audio/하나.wav", "text": "하나 둘", "lang": "ko", "split": "train"}\n'
    assert (tmp_path / "m.jsonl").read_text(encoding="utf-8") == line


def test_paths(tmp_path, monkeypatch):
    """Relative below the manifest's folder, absolute elsewhere, independent of the working directory."""
    inside, outside = tmp_path / "set/a.wav", tmp_path / "other/x.ark"
    monkeypatch.chdir(tmp_path)
    manifest.write("set/m.jsonl", [Utterance("a", "set/a.wav"), Utterance("b", features=f"{outside}:12")])
    lines = [json.loads(line) for line in open("set/m.jsonl")]
    assert lines[0]["audio"] == "a.wav" and lines[1]["features"] == f"{outside}:12"
    monkeypatch.chdir("/")
    a, b = manifest.read(tmp_path / "set/m.jsonl")
    assert (a.audio, b.features) == (str(inside), f"{outside}:12")


def test_moved_folder(tmp_path):
    manifest.write(tmp_path / "old/m.jsonl", [Utterance("a", str(tmp_path / "old/audio/a.wav"))])
    (tmp_path / "old").rename(tmp_path / "new")
    assert manifest.read(tmp_path / "new/m.jsonl")[0].audio == str(tmp_path / "new/audio/a.wav")


GOOD = '{"id": "a", "audio": "a.wav", "text": "x"}'


@pytest.mark.parametrize(
    "line, message",
    [
        ("{", "not JSON"),
        ("[1]", "expected a JSON object, found list"),
        ('{"audio": "a.wav"}', "field 'id' is missing"),
        ('{"id": "", "audio": "a.wav"}', "field 'id' is missing or empty"),
        ('{"id": 7, "audio": "a.wav"}', "field 'id' is 7; expected str"),
        ('{"id": "b"}', "exactly one of the fields 'audio' and 'features'"),
        ('{"id": "b", "audio": "a.wav", "features": "a.npy"}', "exactly one of"),
        ('{"id": "b", "audio": ["a.wav"]}', "field 'audio' is .* expected str or null"),
        ('{"id": "b", "audio": "a.wav", "text": 5}', "field 'text' is 5; expected str or null"),
        ('{"id": "b", "audio": "a.wav", "channel": -1}', "field 'channel' is -1; expected 0 for the first channel"),
        ('{"id": "b", "audio": "a.wav", "channel": "A"}', "field 'channel' is 'A'; expected int or null"),
        (
            '{"id": "b", "audio": "a.wav", "duration_s": "2"}',
            "field 'duration_s' is '2'; expected int or float or null",
        ),
        ('{"id": "b", "audio": "a.wav", "duration_s": -2}', "field 'duration_s' is -2; expected seconds above 0"),
        ('{"id": "b", "audio": "a.wav", "duration_s": NaN}', "field 'duration_s' is nan"),
        ('{"id": "b", "audio": "a.wav", "start_s": -1}', "field 'start_s' is -1; expected seconds, 0 or more"),
        ('{"id": "b", "audio": "a.wav", "start_s": true}', "field 'start_s' is True"),
        ('{"id": "b", "audio": "a.wav", "speaker": 3}', "field 'speaker' is 3; expected str or null"),
        ('{"id": "b", "k": ' + "[" * 20000, "not JSON"),
        ('{"id": "\\ud800", "audio": "a.wav"}', "not JSON .*surrogates"),
        ('{"id": "b", "audio": "a\\u0000.wav"}', "the path holds the character NUL"),
        ('{"id": "b", "audio": "a.wav", "duration_s": 1' + "0" * 400 + "}", "expected seconds above 0"),
        ('{"id": "b", "audio": "a.wav", "end": 1.5}', "the field 'end' has no effect; give .* start_s and duration_s"),
        ('{"id": "b", "audio": "a.wav", "start_s": 1, "duration": 1.5}', "the field 'duration' has no effect"),
        ('{"id": "b", "audio": "a.wav", "offset": 2}', "the field 'offset' has no effect"),
        (GOOD, "duplicate id 'a', first used on line 1; keep one"),
    ],
)
def test_malformed(tmp_path, line, message):
    path = tmp_path / "m.jsonl"
    path.write_text(f"{GOOD}\n\n{line}\n")
    with pytest.raises(InputError, match=rf"m\.jsonl:3: .*{message}"):
        manifest.read(path)
    bad = {}
    assert [u.id for u in manifest.stream(path, bad)] == ["a"] and list(bad) == [3]


def test_no_manifest(tmp_path):
    with pytest.raises(
        InputError, match=r"no manifest .*none\.jsonl; check the path, or write it with `asr data import"
    ):
        manifest.read(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n\n")
    with pytest.raises(InputError, match=r"empty\.jsonl: 0 utterances"):
        manifest.read(tmp_path / "empty.jsonl")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"cannot read the manifest .*binary\.jsonl"):
        manifest.read(tmp_path / "binary.jsonl")


def test_byte_order_mark(tmp_path):
    (tmp_path / "m.jsonl").write_text("\ufeff" + GOOD + "\r\n", encoding="utf-8")
    assert manifest.read(tmp_path / "m.jsonl")[0].id == "a"


def test_nothing_half_written(tmp_path):
    manifest.write(tmp_path / "m.jsonl", [Utterance("a", "a.wav")])
    before = (tmp_path / "m.jsonl").read_text()
    with pytest.raises(InputError, match="m.jsonl: duplicate id 'b'; ids must differ"):
        manifest.write(tmp_path / "m.jsonl", [Utterance("b", "a.wav"), Utterance("b", "b.wav")])
    assert (tmp_path / "m.jsonl").read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.jsonl"]


@pytest.mark.parametrize("corpus", ["an4", "fsdd", "korean_read", "pansori", "yesno"])
def test_real_manifests(shared_data, corpus, tmp_path):
    utterances = manifest.read(shared_data / corpus / "manifest.jsonl")
    assert all(Path(u.audio or u.features or "").is_file() for u in utterances)
    manifest.write(tmp_path / "m.jsonl", utterances)
    assert manifest.read(tmp_path / "m.jsonl") == utterances
