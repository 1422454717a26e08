"""Reading and writing ARPA files: round trips, files of other tools, and a message for every fault."""

import gzip
import lzma
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ngram_reference import BackoffScorer

import asr.lm
from asr import textfiles
from asr._lm import write_arpa
from asr.errors import InputError
from asr.lm import arpa, score
from asr.lm.model import NgramModel, Ngrams

GOOD = """\\data\\
ngram 1=5
ngram 2=4
ngram 3=2

\\1-grams:
-1.5\t<unk>\t0
0\t<s>\t-0.5
-0.7\t</s>\t0
-0.6\tyes\t-0.25
-0.8\t아니\t-0.1

\\2-grams:
-0.3\t<s> yes\t-0.2
-0.4\tyes 아니\t-0.3
-0.2\t아니 yes\t0
-0.1\tyes </s>\t0

\\3-grams:
-0.05\t<s> yes 아니
-0.06\tyes 아니 yes

\\end\\
"""

# As SRILM writes and prunes: a comment, -99, missing back-offs, unsorted, a suffix ("b </s>") that is not listed.
SRILM = """made by hand

\\data\\
ngram 1=4
ngram 2=2
ngram 3=1

\\1-grams:
-0.5 </s>
-99 <s> -0.3
-0.4 b
-0.3 a -0.2

\\2-grams:
-0.2 a b
-0.1 <s> a

\\3-grams:
-0.01 a b </s>

\\end\\
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def assert_equal(a: NgramModel, b: NgramModel) -> None:
    assert a.words == b.words and a.order == b.order
    for x, y in zip(a.orders, b.orders, strict=True):
        assert np.array_equal(x.ids, y.ids)
        np.testing.assert_allclose(x.log10_prob, y.log10_prob, rtol=1e-6)
        np.testing.assert_allclose(x.log10_backoff, y.log10_backoff, rtol=1e-6)


def test_arrays_of_a_file(tmp_path: Path) -> None:
    model = arpa.read(write(tmp_path / "lm.arpa", GOOD))
    assert model.words == ["<unk>", "<s>", "</s>", "yes", "아니"]
    assert model.orders[1].ids.tolist() == [[1, 3], [3, 2], [3, 4], [4, 3]]
    assert model.orders[1].log10_prob == pytest.approx([-0.3, -0.1, -0.4, -0.2])
    assert model.orders[1].log10_backoff == pytest.approx([-0.2, 0, -0.3, 0])
    assert model.orders[2].log10_backoff.tolist() == [0, 0]
    assert model.orders[2].ids.dtype == np.int32 and model.orders[2].log10_prob.dtype == np.float32
    assert model.find(np.array([[3, 4], [4, 4], [4, 3]])).tolist() == [2, -1, 3]
    assert model.find(np.array([[3, 4, 3], [4, 4, 3]])).tolist() == [1, -1]


def test_files_of_other_tools(tmp_path: Path) -> None:
    model = arpa.read(write(tmp_path / "lm.arpa", SRILM))
    assert model.words == ["</s>", "<s>", "b", "a"]
    assert model.orders[0].log10_backoff == pytest.approx([0, -0.3, 0, -0.2])
    assert model.orders[1].ids.tolist() == [[1, 3], [3, 2]]
    found = [p for p, _, _ in BackoffScorer(model).full_scores("a b")]
    assert found == pytest.approx([-0.1, -0.2, -0.01])
    found = [p for p, _, _ in BackoffScorer(model).full_scores("b a b")]
    assert found == pytest.approx([-0.3 - 0.4, -0.3, -0.2, -0.01])


@given(st.lists(st.lists(st.text("abcdefé가나<>\\", min_size=1, max_size=3), max_size=8).map(" ".join), min_size=1),
       st.integers(1, 4))  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_round_trip(tmp_path_factory, texts: list[str], order: int) -> None:
    try:
        model = asr.lm.train(texts, order)
    except InputError:
        return
    path = tmp_path_factory.mktemp("arpa") / "lm.arpa"
    arpa.write(model, path)
    assert_equal(arpa.read(path), model)


def test_many_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textfiles, "_CHUNK", 20)
    model = asr.lm.train([f"w{i} w{i + 1} w{i * i % 7}" for i in range(20)], 3)
    arpa.write(model, tmp_path / "lm.arpa")
    assert_equal(arpa.read(tmp_path / "lm.arpa"), model)
    assert_equal(arpa.read(write(tmp_path / "srilm.arpa", SRILM)), arpa.read(write(tmp_path / "b.arpa", SRILM)))


@given(st.floats(-1e7, 0, width=32) | st.floats(-10, 0, width=32) | st.floats(-(2**-9), 0, width=32))
@settings(max_examples=500, deadline=None)
def test_numbers_are_written_as_by_printf(value: float) -> None:
    ngrams = (np.zeros((1, 1), np.int32), np.array([value], np.float32), np.zeros(1, np.float32))
    blocks: list[bytes] = []
    write_arpa(["a"], [ngrams], blocks.append, lambda steps: None)
    assert b"".join(blocks) == b"\\data\\\nngram 1=1\n\n\\1-grams:\n%.7g\ta\n\n\\end\\\n" % value


@given(st.integers(1, 6).flatmap(lambda n: st.lists(st.tuples(*[st.integers(0, 3)] * n), unique=True)), st.randoms())
@settings(max_examples=60, deadline=None)
def test_any_order_of_lines(tmp_path_factory, ngrams: list[tuple[int, ...]], shuffle) -> None:
    """The n-grams of one order may be listed in any sequence."""

    def value_of(row: Sequence[int]) -> float:
        return -sum(i * 4.0**-n for n, i in enumerate(row, 1))

    order = len(ngrams[0]) if ngrams else 1
    wanted = [{(i,) for i in range(4)}, *({ngram[:n] for ngram in ngrams} for n in range(2, order + 1))]
    words, path = ["<s>", "</s>", "a", "b"], tmp_path_factory.mktemp("arpa") / "lm.arpa"
    text = "\\data\\\n" + "".join(f"ngram {n}={len(listed)}\n" for n, listed in enumerate(wanted, 1))
    for n, listed in enumerate(wanted, 1):
        rows = sorted(listed) if n == 1 else shuffle.sample(sorted(listed), len(listed))
        text += f"\n\\{n}-grams:\n"
        text += "".join(f"{value_of(row)} {' '.join(words[i] for i in row)}\n" for row in rows)
    model = arpa.read(write(path, text + "\n\\end\\\n"))
    for listed, found in zip(wanted, model.orders, strict=True):
        assert found.ids.tolist() == [list(row) for row in sorted(listed)]
        values = [value_of(row) for row in found.ids.tolist()]
        assert found.log10_prob.tolist() == np.array(values, np.float32).tolist()


def test_packed_files(tmp_path: Path) -> None:
    model = arpa.read(write(tmp_path / "lm.arpa", GOOD))
    for name, module in (("lm.arpa.gz", gzip), ("lm.arpa.xz", lzma), ("again.gz", gzip)):
        arpa.write(model, tmp_path / name)
        assert_equal(arpa.read(tmp_path / name), model)
        assert module.open(tmp_path / name, "rt", encoding="utf-8").read().startswith("\\data\\\nngram 1=5\n")
    assert (tmp_path / "lm.arpa.gz").read_bytes() == (tmp_path / "again.gz").read_bytes()


def test_highest_order_has_no_backoff_and_rows_are_sorted(tmp_path: Path) -> None:
    arpa.write(arpa.read(write(tmp_path / "lm.arpa", GOOD)), tmp_path / "new.arpa")
    lines = (tmp_path / "new.arpa").read_text(encoding="utf-8").splitlines()
    assert lines[lines.index("\\2-grams:") + 1 :][:4] == [
        "-0.3\t<s> yes\t-0.2",
        "-0.1\tyes </s>\t0",
        "-0.4\tyes 아니\t-0.3",
        "-0.2\t아니 yes\t0",
    ]
    assert "-0.05\t<s> yes 아니" in lines and lines[-1] == "\\end\\"


FAULTS = [
    ("ngram 1=5", "ngram 1=6", "13: the 1-grams end here"),
    ("ngram 1=5", "ngram 1=4", r"11: expected '\\2-grams:' after 4 1-grams, found '-0.8"),
    ("ngram 3=2", "ngram 3=1", r"21: expected '\\end\\' after 1 3-grams"),
    ("ngram 3=2", "ngram 3=9", "23: the 3-grams end here"),
    ("ngram 2=4", "ngram 4=4", "3: expected 'ngram 2=COUNT'"),
    ("ngram 2=4", "ngram 2=four", "3: expected 'ngram 2=COUNT'"),
    ("-0.6\tyes", "-0,6\tyes", "10: '-0,6' is not a finite number"),
    ("-0.6\tyes", "nan\tyes", "10: 'nan' is not"),
    ("-0.3\t<s> yes\t-0.2", "-0.3\t<s> yes\tx", "14: 'x' is not a finite number"),
    ("-0.4\tyes 아니", "0.4\tyes 아니", "15: the log10 probability is positive"),
    ("-0.4\tyes 아니", "-0.4\tyes no", "15: word 'no' is not among the 1-grams"),
    ("-0.05\t<s> yes 아니", "-0.05\t아니 아니 yes", "20: the n-gram's history is not among"),
    ("-0.06\tyes 아니 yes", "-0.06\t<s> yes 아니", "21: the n-gram is listed twice"),
    ("-0.8\t아니", "-0.8\tyes", "11: the word is listed twice"),
    ("-0.05\t<s> yes 아니", "-0.05\t<s> yes", "20: expected a log10 probability, 3 words"),
    (
        "-0.4\tyes 아니\t-0.3",
        "-0.4\tyes 아니 yes\t-0.3\t1",
        "15: expected a log10 probability, 2 words and a log10 back",
    ),
    ("-0.05\t<s> yes 아니", "-0.05\t<s> yes 아니\t-1", "20: an n-gram of the highest order has a back-off weight"),
    ("\\end\\\n", "", r"22: expected '\\end\\' after 2 3-grams, the file ends"),
    ("-0.06\tyes 아니 yes\n\n\\end\\\n", "", "the file ends within the 3-grams; it is truncated"),
    ("\\2-grams:", "\\3-grams:", r"13: expected '\\2-grams:'"),
    ("-0.7\t</s>\t0", "-0.7\tend\t0", "no '</s>' among the 1-grams"),
    ("\\data\\", "data", r"no line '\\data\\'; this is not an ARPA file"),
    ("-0.8\t아니", "-0.8\t\udcff", "11: the word is not UTF-8"),
    ("-0.8\t아니", "-0.8\tn\0o", "11: the word contains a NUL"),
    ("-0.8\t아니", "-0.8\t<eps>", "11: the word '<eps>' is reserved for epsilon"),
    ("-0.6\tyes", "-1e39\tyes", "10: '-1e39' is not a finite float32 number"),
    ("-0.3\t<s> yes\t-0.2", "-0.3\t<s> yes\t1e39", "14: '1e39' is not a finite float32 number"),
    (
        "-0.3\t<s> yes\t-0.2",
        "-0.3\t<s> yes\tinf",
        "14: 'inf' is not a finite float32 number; expected a log10",
    ),
    ("-1.5\t<unk>", "-1.5\t<s>\n-1.5\t<unk>", "9: the word is listed twice among the 1-grams"),
    ("-0.8\t아니", "-0.8\t<UNK>", "11: '<UNK>' and '<unk>' above are spellings of one mark; keep one"),
    ("-0.8\t아니", "-0.8\t[unk]", r"11: '\[unk\]' and '<unk>' above are spellings of one mark"),
    ("-0.8\t아니", "-0.8\t</S>", "11: '</S>' and '</s>' above are spellings of one mark"),
    ("-0.4\tyes 아니", "-0.4\tyes <UNK>", "15: word '<UNK>' is not among the 1-grams, which spell it '<unk>'; use one"),
    ("\n\\data\\".lstrip(), "qARPA 3 256\n\\data\\", "it is a quantized model of IRSTLM; .*compile-lm --text=yes"),
    ("\\data\\", "a comment\n\ufeff\\data\\", "this is not an ARPA file"),
]


@pytest.mark.parametrize(("old", "new", "message"), FAULTS)
@pytest.mark.parametrize("chunk", [textfiles._CHUNK, 9])
def test_faults_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, message: str, chunk: int
) -> None:
    monkeypatch.setattr(textfiles, "_CHUNK", chunk)
    assert old in GOOD
    path = tmp_path / "lm.arpa"
    path.write_bytes(GOOD.replace(old, new).encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=message):
        arpa.read(path)


def test_byte_order_mark_and_numbers_at_the_ends_of_float32(tmp_path: Path) -> None:
    text = GOOD.replace("-0.6\tyes", "-3.4028234e38\tyes").replace("yes\t-0.2", "yes\t1e-99")
    model = arpa.read(write(tmp_path / "lm.arpa", "\ufeff" + text))
    assert model.orders[0].log10_prob[3] == np.finfo(np.float32).min
    assert model.orders[1].log10_backoff[0] == 0


@pytest.mark.parametrize(
    ("ids", "rows", "message"),
    [
        ([[0], [2]], 2, "an id in the 1-grams is not that of one of the 2 words"),
        ([[0], [-1]], 2, "an id in the 1-grams is not that of one of the 2 words"),
        ([[0], [50_000_000]], 2, "an id in the 1-grams is not that of one of the 2 words"),
        ([[0, 1], [1, 0]], 2, "the shapes of the arrays of the 1-grams do not match"),
        ([[0], [1]], 1, "the shapes of the arrays of the 1-grams do not match"),
    ],
)
def test_bad_arrays_are_not_written(tmp_path: Path, ids: list[list[int]], rows: int, message: str) -> None:
    values, short = np.zeros(2, np.float32), np.zeros(rows, np.float32)
    for columns in ((values, short), (short, values)):
        model = NgramModel(["a", "b"], [Ngrams(np.array(ids, np.int32), *columns)])
        with pytest.raises(InputError, match=message):
            arpa.write(model, tmp_path / "lm.arpa")
    assert list(tmp_path.iterdir()) == []


def test_missing_empty_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        arpa.read(tmp_path / "none.arpa")
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(InputError, match="not an ARPA file"):
        arpa.read(tmp_path / "empty")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(GOOD.encode() * 2)[:100])
    with pytest.raises(InputError, match="cannot read the ARPA file .*cut.gz beyond line"):
        arpa.read(tmp_path / "cut.gz")
    with pytest.raises(InputError, match="not an ARPA file"):
        score.load(tmp_path / "empty")


@pytest.mark.parametrize("rest", ["\nNAME 0.5 ann\nNAME 0.5 bob\n", "junk\n", GOOD])
def test_what_follows_the_end_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture, rest: str) -> None:
    (tmp_path / "m.arpa").write_text(GOOD + rest)
    assert len(arpa.read(tmp_path / "m.arpa").words) == 5
    assert f"such as '{rest.strip().splitlines()[0]}'" in caplog.text
    caplog.clear()
    (tmp_path / "m.arpa").write_text(GOOD + "\n\n")
    arpa.read(tmp_path / "m.arpa")
    assert not caplog.text
