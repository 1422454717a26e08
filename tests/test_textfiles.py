"""Lines of text files: where they end, how they are numbered, and the messages for bad files."""

import gzip
import lzma
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr import textfiles
from asr.errors import InputError
from asr.textfiles import LINE_LIMIT, lines

ODD = "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e"  # str.splitlines splits here, a text editor does not


def read(path: Path) -> list[tuple[int, str]]:
    return list(lines(path, "list", "one word per line"))


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
def test_packed_or_not(tmp_path: Path, pack) -> None:
    (tmp_path / "list").write_bytes(pack("\ufeffyes\r\n\n 예 \t\n\ufefflast".encode()))
    assert read(tmp_path / "list") == [(1, "yes"), (2, ""), (3, " 예 \t"), (4, "\ufefflast")]


@pytest.mark.parametrize(("content", "expected"), [(b"", []), (b"\xef\xbb\xbf", []), (b"\n", [(1, "")])])
def test_empty(tmp_path: Path, content: bytes, expected: list) -> None:
    (tmp_path / "list").write_bytes(content)
    assert read(tmp_path / "list") == expected


@given(st.lists(st.text(st.sampled_from(f"ab 한{ODD}"), max_size=6)), st.sampled_from(["\n", "\r\n"]))
@settings(max_examples=100, deadline=None)
def test_lines_end_at_line_feeds_alone(tmp_path_factory, texts: list[str], end: str) -> None:
    path = tmp_path_factory.mktemp("lines") / "list"
    path.write_bytes("".join(text + end for text in texts).encode())
    assert read(path) == list(enumerate(texts, 1))


def test_chunk_size_does_not_change_the_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["x" * length for length in (3, 0, 100, 1, 7, 8, 9)] * 20
    (tmp_path / "list").write_text("\n".join(texts))
    for size in (4, 9, 64):
        monkeypatch.setattr(textfiles, "_CHUNK", size)
        assert read(tmp_path / "list") == list(enumerate(texts, 1))


def test_a_list_may_have_long_lines(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("x" * (2 * LINE_LIMIT) + "\ny\n")
    assert [len(line) for _, line in read(tmp_path / "list")] == [2 * LINE_LIMIT, 1]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, r"cannot read the list .*/list: No such file or directory; expected one word per line in UTF-8$"),
        (
            b"a\nb\r\n\xff\nc\n",
            r"cannot read the list .*/list:3: not UTF-8 \(.*\); expected one word per line in UTF-8$",
        ),
        (b"\x1f\x8b broken", r"cannot read the list .*/list beyond line 0: .*; expected one word per line in UTF-8$"),
        (gzip.compress(b"a\n" * 9, mtime=0)[:-9], r"cannot read the list .*/list beyond line 0: "),
    ],
)
def test_bad_files_are_named(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    if content is not None:
        (tmp_path / "list").write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        read(tmp_path / "list")


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read the list .*: Is a directory; expected one word per line"):
        read(tmp_path)


def test_lines_before_a_bad_one_are_read(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"a\r\nb\n\xff\n")
    reader = lines(tmp_path / "list", "list", "one word per line")
    assert [next(reader), next(reader)] == [(1, "a"), (2, "b")]


def test_a_list_needs_no_progress_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list").write_text("a\n")
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert read(tmp_path / "list") == [(1, "a")]
