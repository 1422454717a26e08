"""Token tables of other toolkits."""

import json

import pytest

from asr.errors import InputError
from asr.tokens import Tokens

OURS = ["<blk>", "<space>", "a", "b", "'"]


def read(tmp_path, content):
    path = tmp_path / "tokens.txt"
    path.write_text(content, "utf-8")
    return Tokens.read(path).symbols


def numbered(tokens):
    return "".join(f"{token} {i}\n" for i, token in enumerate(tokens))


@pytest.mark.parametrize("blank", ["<blk>", "<blank>", "<eps>", "<pad>", "[PAD]", "<b>", "<ctc_blank>"])
@pytest.mark.parametrize("place", [0, 1, 4])
def test_the_blank_may_have_any_name_and_place(blank, place, tmp_path, caplog):
    tokens = ["<space>", "a", "b", "'"]
    tokens.insert(place, blank)
    assert read(tmp_path, numbered(tokens)) == OURS
    assert read(tmp_path, json.dumps({token: i for i, token in enumerate(tokens)}, indent=1)) == OURS
    caplog.clear()
    assert read(tmp_path, "\n".join(tokens) + "\n") == OURS
    changed = (blank, place) != ("<blk>", 0)
    assert (f"'{blank}' of place {place}" in caplog.text) == changed
    assert ("numbered anew" in caplog.text) == (place > 0)


@pytest.mark.parametrize(
    ("content", "expected", "told"),
    [
        (numbered(["<eps>", "SIL", "AA", "B", "#0", "#1"]), ["<blk>", "SIL", "AA", "B"], "2 disambiguation"),  # k2
        (numbered(["<blank>", "<unk>", "▁", "a", "b", "<sos/eos>"]), ["<blk>", "<space>", "a", "b"], "<unk> <sos/eos>"),
        ("<blank>\n<unk>\n<space>\n가\n나\n<sos/eos>\n", ["<blk>", "<space>", "가", "나"], "<unk> <sos/eos>"),  # ESPnet
        (
            '{"|": 4, "<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "E": 5}',
            ["<blk>", "<space>", "E"],
            "'|' is '<space>'",
        ),
        ('{"[PAD]": 2, "[UNK]": 1, "E": 0}', ["<blk>", "E"], "place 2"),
        ("a 1\n<blk> 0\n", ["<blk>", "a"], "'<blk>' of place 0"),  # not in the order of the numbers
        ("<blk> 0\n1 1\n2 2\n", ["<blk>", "1", "2"], ""),
        ("<blk>\na\n|\n▁\n", ["<blk>", "a", "|", "▁"], ""),  # ours, as it is
        ("<blk>\na\n\n\n", ["<blk>", "a"], ""),
    ],
)
def test_tables_of_toolkits(content, expected, told, tmp_path, caplog):
    assert read(tmp_path, content) == expected
    assert told in caplog.text and (caplog.text or not told)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        ("a\nb\n", "has no blank; write <blk> in its first line"),  # NeMo: the blank is not in its list
        ("<blk>\na\n\nb\n", ":3: the line is empty"),
        ("<blk>\na 1\n", ":2: 'a 1' is not one token"),
        ("<blank>\na b\n", ":2: 'a b' is neither"),
        ("<blk> 0\na 1\nb 3\n", ":3: 'b' has the number 3, expected 2"),
        ("<blk> 0\na 1\nb 1\n", ":3: 'b' has the number 1, expected 2"),
        ("<blk> 0\n#0 1\na 2\n", ":3: 'a' has the number 2, expected 1"),
        (numbered(["<eps>", "<s>", "</s>", "word", "#0"]), "table of words"),
        ("<unk>\t0\n<s>\t0\n▁the\t-3.2\ns\t-3.5\n", "sentencepiece"),
        (numbered(["<blk>", "<unk>", "▁the", "s"]), "'▁the' is a piece of a word"),
        (numbered(["[PAD]", "[UNK]", "the", "##s"]), "'##s' is a piece of a word"),
        ('{"a": "b"}', "is not a token table"),
        ('{"a": 0,', "is not JSON"),
        ('{"a": ' * 100_000, "is not JSON"),
        ("<blk> 0\na 1\na 2\n", "'a' appears twice"),
    ],
)
def test_other_tables_are_refused(content, says, tmp_path):
    with pytest.raises(InputError, match=says):
        read(tmp_path, content)


def test_our_own_tables_are_read_as_they_are(tmp_path, caplog):
    tokens = Tokens(["<blk>", "<space>", "|", "▁", "<unk>", "#1", "1", "7", "{", "<pad>"])
    tokens.write(tmp_path / "tokens.txt")
    assert Tokens.read(tmp_path / "tokens.txt") == tokens and not caplog.records
