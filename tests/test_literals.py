"""JSON and whole numbers from outside: what the standard library answers with other errors is refused too."""

import io
import json

import pytest

from asr import hypothesis, locks, manifest
from asr.cli import earlier
from asr.config import Config
from asr.data.importers import import_corpus
from asr.errors import InputError
from asr.features.containers.contents import find_recordings
from asr.features.files import is_feature_file
from asr.literals import parse_digits, parse_json
from asr.recognizer import run_folder, sources
from asr.search.space import read_stats
from asr.tokens import Tokens
from asr.training import settings

NESTED, HALF = "[" * 100_000, r'{"id": "\ud800"}'


@pytest.mark.parametrize("text", [NESTED, '{"a":' * 100_000, HALF, "", "nul"])
def test_json_that_is_refused_with_a_value_error(text):
    for given in (text, text.encode()):
        with pytest.raises(ValueError):
            parse_json(given)


def test_json_that_is_read():
    assert parse_json(r'{"a": ["\ud83d\ude00", 1]}') == {"a": ["😀", 1]}


@pytest.mark.parametrize(("text", "value"), [("7", 7), ("007", 7), (b"12", 12), ("9" * 18, 10**18 - 1)])
def test_digits(text, value):
    assert parse_digits(text) == value


@pytest.mark.parametrize("text", ["", "²", "٣", "-1", "+1", "1.0", "1_0", " 1", "9" * 19, "9" * 5000, b"9" * 5000])
def test_what_is_no_number(text):
    assert parse_digits(text) is None


@pytest.mark.parametrize("text", [NESTED, HALF])
def test_readers_refuse_such_json(text, tmp_path):
    file = tmp_path / "file.json"
    file.write_text(text)
    (tmp_path / "stats.json").write_text(text)
    (tmp_path / "tune.json").write_text(text)
    (tmp_path / "hyp.jsonl").touch()
    sources._record(tmp_path / "hyp.jsonl").write_text(text)
    cfg = Config(out=str(tmp_path))
    for read in (
        lambda: hypothesis.read(file),
        lambda: manifest.read(file),
        lambda: Tokens.read(file),
        lambda: read_stats(tmp_path),
        lambda: run_folder.tuning(cfg),
        lambda: settings.check_resumable(file, cfg),
        lambda: settings._read_inputs(file, 1),
        lambda: sources.check(tmp_path / "hyp.jsonl", str(file), ""),
    ):
        with pytest.raises(InputError):
            read()
    assert not manifest.is_manifest(file)


def test_a_lock_that_holds_anything_is_in_use(tmp_path):
    (tmp_path / locks.NAME).write_text(NESTED)
    with pytest.raises(InputError, match="in use"), locks.locked(tmp_path):
        pass


@pytest.mark.parametrize("method", [1, 99], ids=["encrypted", "unknown compression"])
def test_options_of_a_bundle_that_cannot_be_unpacked_are_none(method, tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "m.asr", "w") as archive:
        archive.writestr("config.json", json.dumps({"decoder": {"beam": 3.0}}))
    data = bytearray((tmp_path / "m.asr").read_bytes())
    directory = data.index(b"PK\x01\x02")
    at, value = (6, 8) if method == 99 else (6, 6)
    for header, offset in ((0, 0), (directory, 2)):
        field = header + offset + value
        data[field] = method
    (tmp_path / "m.asr").write_bytes(data)
    assert earlier.bundled(Config(bundle=str(tmp_path / "m.asr"))) == ["data.max_audio_s=inf"]


@pytest.mark.parametrize("channel", ["²", "9" * 5000, "9" * 400])
def test_channels_that_are_no_numbers_are_refused(channel, tmp_path):
    (tmp_path / "x.stm").write_text(f"a {channel} s 0.0 0.5 x\n")
    (tmp_path / "a.wav").touch()
    with pytest.raises(InputError, match="channel"):
        import_corpus(tmp_path / "x.stm")


def test_numbers_in_names_and_headers_that_are_none():
    assert not is_feature_file("f.ark:²") and not is_feature_file("f.ark:" + "9" * 5000)
    header = b"NIST_1A\n   1024\nchannel_count -i 1\nsample_count -i " + b"9" * 5000 + b"\nend_head\n"
    for data in (header.ljust(1024) + bytes(100), header.replace(b"   1024", b"8" * 8).ljust(1024)):
        try:
            find_recordings(io.BytesIO(data), len(data))
        except InputError:
            pass


def test_a_column_without_a_name_is_no_audio(tmp_path):
    (tmp_path / "data.list").write_text('{"": "x", "txt": "a"}\n')
    with pytest.raises(InputError, match="no audio file"):
        import_corpus(tmp_path / "data.list", "wenet")


@pytest.mark.parametrize("text", ['{"": 0, "<pad>": 1}', '{"<pad>": 0, "a": true}', '{"<pad>": 0, "a": 1, "a": 2}'])
def test_token_tables_with_odd_keys_or_numbers_are_refused(text, tmp_path):
    (tmp_path / "vocab.json").write_text(text)
    with pytest.raises(InputError, match="vocab.json"):
        Tokens.read(tmp_path / "vocab.json")


def test_a_number_of_a_token_beyond_all_tokens_is_refused(tmp_path):
    (tmp_path / "tokens.txt").write_text("<eps> 0\na " + "1" * 5000 + "\n")
    with pytest.raises(InputError, match="tokens.txt:2"):
        Tokens.read(tmp_path / "tokens.txt")
