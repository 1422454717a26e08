"""Reading of texts and word lists for the estimation of language models, and its temporary files."""

import bz2
import fcntl
import gzip
import io
import json
import lzma
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asr.lm
from asr._lm import Corpus, count
from asr.config import LmConfig
from asr.errors import InputError
from asr.lm import arpa
from asr.lm.texts import sentences
from asr.lm.training import read_vocabulary
from asr.textfiles import LINE_LIMIT
from asr.words import mark_of


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0<"), max_size=20), min_size=1))
@settings(max_examples=200, deadline=None)
def test_words_are_those_of_str_split(texts: list[str]) -> None:
    corpus = Corpus(1 << 20, "")
    assert corpus.add("\n".join(text.replace("\n", " ") for text in [*texts, "end"]).encode()) == len(texts) + 1
    corpus.select(None, 1, 0, 1.0)
    assert corpus.words[3:] == sorted({"end", *(word for text in texts for word in text.split())})
    assert corpus.num_sentences == 1 + sum(bool(text.split()) for text in texts)


@given(st.binary(max_size=8) | st.sampled_from([b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xe0\x80\x80"]))
@settings(max_examples=300, deadline=None)
def test_utf8_is_that_of_python(line: bytes) -> None:
    line = line.replace(b"\n", b" ").replace(b"\0", b" ")
    try:
        line.decode()
        assert Corpus(1 << 20, "").add(line + b"\n") == 1
    except UnicodeDecodeError:
        assert Corpus(1 << 20, "").add(line + b"\n") == 0


@given(
    st.lists(st.sampled_from("<[/usnkUSNK>]ſ"), max_size=6).map("".join) | st.sampled_from(["<UNK>", "[Unk]", "</S>"])
)
@settings(max_examples=300, deadline=None)
def test_marks_are_those_of_python(word: str) -> None:
    assert Corpus(1 << 20, "").add(f"a {word}\n".encode()) == (mark_of(word) is None)


def test_text_files_packed_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\ufeffyes  no\r\n\n 예 \nlast".encode()
    packed = {
        "a.txt": text,
        "b.gz": gzip.compress(text),
        "c": lzma.compress(text),
        "d.gz": text,
        "e.txt": bz2.compress(text),
    }
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(text))))
    for name, content in packed.items():
        (tmp_path / name).write_bytes(content)
        cfg = LmConfig(text=[str(tmp_path / name)], order=1, arpa=str(tmp_path / "lm.arpa"))
        assert asr.lm.train_file(cfg).words == 4
        assert [s.split() for s in sentences([tmp_path / name])] == [["yes", "no"], ["예"], ["last"]]
    assert [s.split() for s in sentences(["-"])] == [["yes", "no"], ["예"], ["last"]]


def test_manifest_as_text(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    lines = [{"id": "1", "audio": "1.wav", "text": "yes no"}, {"id": "2", "audio": "2.wav", "text": "a </s>"}]
    path.write_text("\n".join(map(json.dumps, lines[:1])))
    assert list(sentences([path])) == ["yes no"]
    (tmp_path / "list").write_bytes(gzip.compress(path.read_bytes()))  # a manifest by its content
    assert list(sentences([tmp_path / "list"])) == ["yes no"]
    cfg = LmConfig(text=[str(tmp_path / "list")], order=1, arpa=str(tmp_path / "lm.arpa"))
    assert asr.lm.train_file(cfg).words == 2
    path.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(InputError, match="train.jsonl: utterance '2': the text contains '</s>'"):
        list(sentences([path]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\nb <s>\n", "a.txt:2: the text contains '<s>'"),
        (b"a\nb <UNK>\n", "a.txt:2: the text contains '<UNK>'"),
        (b"a\nb\n[unk] c", r"a.txt:3: the text contains '\[unk\]'"),
        (b"a\n</S>\n", "a.txt:2: the text contains '</S>'"),
        (b"a\nb\xff\n", "a.txt:2: not UTF-8"),
        ("a\nd\xe9j\xe0\n".encode("latin-1"), "a.txt:2: not UTF-8"),
        (b"a\nb\0\n", "a.txt:2: the text contains a NUL"),
        ("a\nb\n".encode("utf-16"), "cannot read the text .*a.txt: it is UTF-16; convert it with `iconv"),
        (b"a\rb\rc\r", "cannot read the text .*a.txt: its lines end with CR alone"),
        (b"<!DOCTYPE html>\n<p>a b", "cannot read the text .*a.txt: it is an HTML page"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
            "cannot read the text .*a.txt: it is a Git LFS",
        ),
        (b'{"id": "1", "audio": "1.wav", "text": "yes"}\n{"id": 2}\n', "a.txt:2: field 'id' is 2; expected str"),
        (b'{"audio_filepath": "1.wav", "text": "yes"}\n', "a.txt:1: field 'id' is missing"),
        (b"a\nb\nc <eps>\n", "a.txt:3: the text contains '<eps>'"),
        (b"a\n" + b"x" * LINE_LIMIT, "a.txt:2: the line is longer"),
        (gzip.compress(b"a b\n" * 9, mtime=0)[:-9], "cannot read the text .*a.txt beyond line 0"),
        (lzma.compress(b"a b\n" * 9)[:-30], "cannot read the text .*a.txt beyond line 0"),
        (b"", "no word"),
        (None, "cannot read .*a.txt"),
    ],
)
def test_bad_files_leave_no_model(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        asr.lm.train_file(LmConfig(text=[str(tmp_path / "a.txt")], arpa=str(tmp_path / "lm.arpa")))
    assert not (tmp_path / "lm.arpa").exists()


def test_no_text() -> None:
    with pytest.raises(InputError, match="lm.text is empty"):
        asr.lm.train_file(LmConfig())


def test_lists_of_words(tmp_path: Path) -> None:
    path = tmp_path / "words"
    path.write_bytes("\ufeff<unk>\r\n\n 예 \n\ufeffa".encode())
    assert read_vocabulary(path) == ["<unk>", "예", "\ufeffa"]
    path.write_bytes(bz2.compress(b"<UNK>\na\n</S>\n"))
    assert read_vocabulary(path) == ["<unk>", "a", "</s>"]
    assert asr.lm.train(["a b"], 2, vocabulary=["a", "[UNK]"]).words == ["<unk>", "<s>", "</s>", "a"]
    path.write_bytes("\ufeff<unk>\r\n\n 예 \n\ufeffa".encode())
    assert asr.lm.train(["\ufeffa a"], 2, vocabulary=read_vocabulary(path)).words[3:] == ["예", "\ufeffa"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\nb 3\n", "words:2: expected one word"),
        (b"a\n\nb\xff\n", r"words:3: not UTF-8 .*; expected one word per line in UTF-8"),
        (b"\xed\xa0\x80", "words:1: not UTF-8"),
        (b"a\nx\0y\n", r"words:2: 'x\\x00y' cannot be a word"),
        (b"a\n<eps>\n", "words:2: '<eps>' cannot be a word"),
        ("a\nb\n".encode("utf-16"), "cannot read the vocabulary .*words: it is UTF-16"),
        (b"a\rb\r", "cannot read the vocabulary .*words: its lines end with CR alone"),
        (b"\n<html>", "cannot read the vocabulary .*words: it is an HTML page"),
    ],
)
def test_bad_lists_of_words(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "words").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_vocabulary(tmp_path / "words")


@given(st.lists(st.text(max_size=3) | st.sampled_from(["\ud800", "<eps>", "\0", "a\x1fb", "<s>"]), max_size=4))
@settings(max_examples=150, deadline=None)
def test_a_model_of_any_listed_words_can_be_read_again(tmp_path_factory, listed: list[str]) -> None:
    path = tmp_path_factory.mktemp("lm") / "lm.arpa"
    try:
        model = asr.lm.train(["a b"], 2, vocabulary=[*listed, "a"])
    except InputError:
        return
    arpa.write(model, path)
    assert arpa.read(path).words == model.words


def test_no_room_for_temporary_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a b\n")
    with pytest.raises(InputError, match="cannot write the language model"):
        asr.lm.train_file(LmConfig([str(tmp_path / "file")], arpa=str(tmp_path / "file" / "lm.arpa")))
    corpus = Corpus(1 << 20, str(tmp_path / "none"))
    with pytest.raises(OSError, match="cannot create a temporary file in .*none: No such file"):
        corpus.add(b"a b c\n" * 100_000)


def temporary_files() -> list[int]:
    """Descriptors of the open temporary files of an estimation."""
    found = [(int(fd.name), os.readlink(fd)) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]
    return [fd for fd, target in found if "/.asr-lm-" in target]


def test_temporary_files_are_private_and_complete(tmp_path: Path) -> None:
    corpus = Corpus(1 << 20, str(tmp_path))
    corpus.add(b"a b c\n" * 100_000)
    corpus.select(None, 1, 0, 1.0)
    (file,) = temporary_files()
    assert fcntl.fcntl(file, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    os.truncate(file, 1000)
    with pytest.raises(OSError, match="cannot read a temporary file in .*: Input/output error"):
        count(corpus, 2, [0, 0], lambda steps: None)
    assert temporary_files() == []


def test_no_room_in_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(
        InputError, match="cannot estimate the language model: cannot create a temporary file in .*none"
    ):
        asr.lm.train(["a b c"] * 100_000, 2, memory_mb=1)
