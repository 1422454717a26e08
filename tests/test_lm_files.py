"""Language models as other tools write them: all verbs accept the same files, and refuse others in the same words."""

import bz2
import gzip
import lzma
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from asr.cli import main as cli
from asr.errors import InputError
from asr.filekinds import foreign
from asr.graph.dynamic import Language
from asr.graph.ngram_file import NgramFile
from asr.lm import arpa
from asr.lm.score import Scorer, load
from asr.search.rescoring import NgramScorer
from asr.textfiles import lines
from asr.words import BEGIN, END, UNKNOWN, is_slot, mark_of

PLAIN = """\\data\\
ngram 1=5
ngram 2=4

\\1-grams:
-1.5\t<unk>\t-0.2
-99\t<s>\t-0.5
-0.7\t</s>
-0.6\tyes\t-0.25
-0.8\tno\t-0.1

\\2-grams:
-0.3\t<s> yes
-0.4\tyes no
-0.1\tno </s>
-0.5\tyes <unk>

\\end\\
"""


def rewritten(*changes: tuple[str, str]) -> str:
    text = PLAIN
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


FORMS = {
    "KenLM": PLAIN,
    "spaces": PLAIN.replace("\t", " "),
    "IRSTLM": "iARPA\n" + rewritten(("ngram 1=", "ngram  1=\t"), ("ngram 2=", "ngram  2=\t"), ("\n\n", "\n")),
    "CMU": "A CLOSED-vocabulary model\np(w) = bo * p(w'); \\data\\ begins it\n\n" + PLAIN.replace("-99", "-99.999"),
    "SRILM": "\n" + rewritten(("-0.7\t</s>", "-0.7\t</s>\t0")),
    "blank lines": rewritten(("-0.8\tno", "\n \t\n-0.8\tno"), ("-0.1\tno", "\n-0.1\tno"), ("ngram 2", "\nngram 2")),
    "trailing blanks": PLAIN.replace("\n", " \t\n"),
    "CRLF": PLAIN.replace("\n", "\r\n"),
    "BOM": "\ufeff" + PLAIN,
    "exponents": rewritten(("-0.6\t", "-6e-1\t"), ("-0.8\t", "-.8E+0\t"), ("-1.5\t", "-15.0e-01\t"), ("-0.25", "-.25")),
    "<UNK>": PLAIN.replace("<unk>", "<UNK>"),
    "<Unk>": PLAIN.replace("<unk>", "<Unk>"),
    "[unk]": PLAIN.replace("<unk>", "[unk]"),
    "[UNK]": PLAIN.replace("<unk>", "[UNK]"),
    "upper case": PLAIN.replace("<unk>", "<UNK>").replace("<s>", "<S>").replace("</s>", "</S>"),
    "no back-offs of 0": rewritten(("-0.8\tno\t-0.1", "-0.8\tno -1e-1")),
    "an empty order": rewritten(("ngram 2=4", "ngram 2=4\nngram 3=0"), ("\\end\\", "\\3-grams:\n\n\\end\\")),
    "an empty order without head": rewritten(("ngram 2=4", "ngram 2=4\nngram 3=0")),
    "text after the end": PLAIN + "\nmade by hand\n",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.arpa").write_text(PLAIN)
    (tmp_path / "tokens.txt").write_text("<blk>\n<space>\ne\nn\no\ns\ny\n")
    (tmp_path / "dev.txt").write_text("yes no\nno maybe\n")
    (tmp_path / "words.txt").write_text("yes\n<UNK>\n")
    return tmp_path


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_other_tools(tmp_path: Path, form: str) -> None:
    (tmp_path / "plain.arpa").write_text(PLAIN)
    (tmp_path / "lm").write_bytes(FORMS[form].encode())
    expected, found = arpa.read(tmp_path / "plain.arpa"), arpa.read(tmp_path / "lm")
    assert found.words == expected.words == [UNKNOWN, BEGIN, END, "yes", "no"]
    for a, b in zip(expected.orders, found.orders, strict=False):
        np.testing.assert_array_equal(a.ids, b.ids)
        np.testing.assert_allclose(a.log10_prob[a.log10_prob > -90], b.log10_prob[b.log10_prob > -90], rtol=1e-6)
        np.testing.assert_allclose(a.log10_backoff, b.log10_backoff, rtol=1e-6)
    texts = ["yes no", "no maybe yes", "yes maybe"]
    scores = [[list(load(tmp_path / name).full_scores(text)) for text in texts] for name in ("plain.arpa", "lm")]
    assert np.allclose(*([x[0] for text in texts_ for x in text] for texts_ in scores))
    arpa.write(found, tmp_path / "new.arpa")
    assert "\t<unk>\t" in (tmp_path / "new.arpa").read_text()


def zstd(content: bytes) -> bytes:
    return pytest.importorskip("zstandard").ZstdCompressor().compress(content)


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": zstd, "none": bytes,
}  # fmt: skip


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("name", ["lm.arpa", "lm.arpa.gz", "lm.xz", "lm.zst", "model"])
def test_packing_is_told_by_content(tmp_path: Path, packing: str, name: str) -> None:
    pack = PACKINGS[packing]
    (tmp_path / name).write_bytes(pack(PLAIN.encode()))
    assert len(arpa.read(tmp_path / name).words) == 5 and arpa.is_model(tmp_path / name)
    (tmp_path / name).write_bytes(pack(PLAIN[:40].encode()) + pack(PLAIN[40:].encode()))  # two parts, as by cat
    assert len(arpa.read(tmp_path / name).words) == 5


@pytest.mark.parametrize("packing", ["gzip", "bzip2", "xz", "zstd"])
def test_cut_files_are_refused(tmp_path: Path, packing: str) -> None:
    content = PACKINGS[packing]("".join(f"word{i * i}\n" for i in range(20_000)).encode())
    for size in (len(content) - 1, len(content) - 9, len(content) // 2, 12):
        (tmp_path / "list").write_bytes(content[:size])
        with pytest.raises(InputError, match=r"cannot read the list .*/list beyond line \d+: "):
            list(lines(tmp_path / "list", "list", "one word per line"))


@pytest.mark.parametrize("ending", ["", ".gz", ".bz2", ".xz", ".zst"])
def test_packed_files_are_written(tmp_path: Path, ending: str) -> None:
    if ending == ".zst":
        pytest.importorskip("zstandard")
    (tmp_path / "plain").write_text(PLAIN)
    model = arpa.read(tmp_path / "plain")
    for name in ("a", "b"):
        arpa.write(model, tmp_path / f"{name}.arpa{ending}")
    first = (tmp_path / f"a.arpa{ending}").read_bytes()
    assert first == (tmp_path / f"b.arpa{ending}").read_bytes() and first.startswith(b"\\data") == (not ending)
    assert arpa.read(tmp_path / f"a.arpa{ending}").words == model.words


# Name, content, what the message says.
FOREIGN = [
    ("KenLM binary", b"mmap lm http://kheafield.com/code format version 5\n\0" + bytes(99), "a KenLM binary"),
    ("OpenFst", b"\xd6\xfd\xb2\x7e\x06\0\0\0vector", "an OpenFst file"),
    ("packed", b"asrngram" + bytes(50), "a packed n-gram model"),
    ("SRILM binary", b"SRILM_BINARY_NGRAM_002\nmaxorder 3\n", "a binary model of SRILM"),
    ("IRSTLM binary", b"blmt 3 10 20 30\n" + bytes(9), "a binary model of IRSTLM"),
    ("IRSTLM quantized", b"qARPA 3 256 256\n" + PLAIN.encode(), "a quantized model of IRSTLM"),
    ("Sphinx", b"\x11\0\0\0Darpa Trigram LM\0" + bytes(20), "a Sphinx DMP"),
    ("Git LFS", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "a Git LFS pointer"),
    ("HTML", b"\n<!DOCTYPE html>\n<html><body>404</body></html>", "an HTML page"),
    ("html", b"<HTML>\n<head>", "an HTML page"),
    ("UTF-16", PLAIN.encode("utf-16"), "UTF-16"),
    ("UTF-16 BE", b"\xfe\xff" + PLAIN.encode("utf-16-be"), "UTF-16"),
    ("zip", b"PK\x03\x04\x14\0\0\0", "a zip archive"),
    ("lz4", b"\x04\x22\x4d\x18abc", "compressed with lz4"),
    ("compress", b"\x1f\x9d\x90abc", "compressed with compress"),
    ("twice", gzip.compress(gzip.compress(PLAIN.encode())), "compressed twice, the inner time with gzip"),
    ("packed HTML", gzip.compress(b"<html></html>"), "an HTML page"),
    ("tar", b"lm.arpa".ljust(257, b"\0") + b"ustar\x0000", "a tar archive"),
    ("PDF", b"%PDF-1.7\n", "a PDF document"),
    ("recording", b"RIFF\x24\0\0\0WAVEfmt ", "a recording"),
    ("CR", PLAIN.replace("\n", "\r").encode(), "its lines end with CR alone"),
]


@pytest.mark.parametrize(("kind", "content", "message"), FOREIGN, ids=[kind for kind, *_ in FOREIGN])
def test_other_kinds_of_files_are_named(tmp_path: Path, kind: str, content: bytes, message: str) -> None:
    (tmp_path / "lm.arpa").write_bytes(content)
    with pytest.raises(InputError, match=f"cannot read the ARPA file .*/lm.arpa: .*{message}"):
        arpa.read(tmp_path / "lm.arpa")
    with pytest.raises(InputError, match=f"cannot read the list .*/lm.arpa: .*{message}"):
        list(lines(tmp_path / "lm.arpa", "list", "one word per line"))


def test_pipes_are_read_once(folder: Path, capsys: pytest.CaptureFixture) -> None:
    """As in `asr lm ppl good.arpa <(xz -dc dev.txt.xz)`."""
    assert cli.main("lm ppl good.arpa dev.txt".split()) == 0
    printed = capsys.readouterr().out
    os.mkfifo("pipe")
    with subprocess.Popen(["sh", "-c", "cat dev.txt > pipe"]) as writer:
        assert cli.main("lm ppl good.arpa pipe".split()) == 0
    assert capsys.readouterr().out == printed and writer.returncode == 0
    with subprocess.Popen(["sh", "-c", "cat dev.txt > pipe"]) as writer:
        assert cli.main("lm train text=pipe order=1 arpa=new.arpa out=o".split()) == 0
    assert "2 sentences, 4 words" in capsys.readouterr().out and writer.returncode == 0


def test_text_is_no_other_kind() -> None:
    for text in ("BZh is a word", "PK", "RIFF R IH F", "version https", "html", "\u00ff\u00fe", "blmt", "Rar!", ""):
        assert foreign(text.encode()) is None
    assert foreign(b"\xff\xfe\x80\x81") is None  # no UTF-16 without NUL: the reader names the line


VERBS = [
    "graph tokens.table=tokens.txt arpa={} graph.dir=g out=o cache=null",
    "graph kind=dynamic tokens.table=tokens.txt arpa={} graph.dir=d out=o",
    "lm ppl dev.txt {}",
    "lm ppl dev.txt arpa={}",
    "lm prune arpa={} threshold=0 output=new.arpa",
    "lm mix {} good.arpa weights=0.5,0.5 output=new.arpa",
    "lm mix good.arpa {} dev=dev.txt output=new.arpa",
    "lm adapt base={} text=dev.txt dev=dev.txt output=new.arpa",
    "lm filter arpa={} vocabulary=words.txt output=new.arpa",
    "lm convert {} new.arpa",
    "lm convert {} new.fst",
    "lm convert {} new.ngram",
    "lm convert {} new.trie",
]


@pytest.mark.parametrize(("form", "name"), [("upper case", "lm"), ("spaces", "lm.arpa.gz"), ("IRSTLM", "lm.arpa")])
def test_every_verb_reads_a_form(folder: Path, capsys: pytest.CaptureFixture, form: str, name: str) -> None:
    (folder / name).write_bytes(bz2.compress(FORMS[form].encode()))
    for verb in VERBS:
        assert cli.main(verb.format(name).split()) == 0, (verb, capsys.readouterr().err)
    assert NgramScorer(name, ["", "yes"]).start() == NgramScorer("good.arpa", ["", "yes"]).start()


BAD = {
    "twice": (rewritten(("ngram 2=4", "ngram 2=5"), ("-0.4\tyes no", "-0.4\tyes no\n-0.5\tyes no")).encode(), ":15: "),
    "counts": (rewritten(("ngram 1=5", "ngram 1=6")).encode(), ":12: "),
    "no <s>": (rewritten(("-99\t<s>", "-99\t<begin>"), ("<s> yes", "yes yes")).encode(), ":10: no '<s>' among"),
    "two spellings": (rewritten(("ngram 1=5", "ngram 1=6"), ("-0.8\tno", "-1.5\t<UNK>\n-0.8\tno")).encode(), ":10: "),
    "KenLM binary": (FOREIGN[0][1], ": it is a KenLM binary"),
    "HTML": (FOREIGN[8][1], ": it is an HTML page"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_every_verb_refuses_a_file_in_the_same_words(folder: Path, capsys: pytest.CaptureFixture, kind: str) -> None:
    content, message = BAD[kind]
    (folder / "bad.arpa").write_bytes(content)
    printed = set()
    for verb in VERBS:
        assert cli.main(verb.format("bad.arpa").split()) == 2
        printed.add(capsys.readouterr().err.splitlines()[-1])
    with pytest.raises(InputError) as refused:
        NgramScorer("bad.arpa", ["", "yes"])
    assert {f"asr: error: {refused.value}"} == printed
    assert f"bad.arpa{message}" in str(refused.value)
    assert not list(folder.glob("new*"))


def test_the_unknown_word_keeps_its_place_in_any_spelling(folder: Path, capsys: pytest.CaptureFixture) -> None:
    (folder / "UNK.arpa").write_text(PLAIN.replace("<unk>", "<UNK>"))
    assert cli.main("graph kind=dynamic tokens.table=tokens.txt arpa=UNK.arpa graph.dir=g out=o".split()) == 0
    ngram = Language.open("g", None).ngram
    assert ngram.unknown >= 0 and ngram.knows_contexts_of_unknown
    assert cli.main("lm mix good.arpa UNK.arpa weights=0.5,0.5 output=mixed.arpa".split()) == 0
    mixed = arpa.read("mixed.arpa")
    assert mixed.words == [UNKNOWN, BEGIN, END, "no", "yes"]
    scorers = Scorer(mixed), load("good.arpa")
    assert np.allclose(*([x[0] for x in scorer.full_scores("no maybe yes")] for scorer in scorers), atol=1e-5)
    capsys.readouterr()
    assert cli.main("lm ppl dev.txt good.arpa UNK.arpa".split()) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[1].split()[1:] == rows[2].split()[1:] and rows[1].split()[3] == "25.00%"


def test_other_files_are_no_packed_model(folder: Path) -> None:
    for content in (PLAIN.encode(), gzip.compress(PLAIN.encode()), b"", FOREIGN[7][1]):
        with pytest.raises(InputError, match="x is no packed n-gram model; make one with `asr lm convert"):
            NgramFile(np.frombuffer(content, np.uint8), "x")


def test_minus_infinity_is_the_logarithm_of_zero(folder: Path, capsys: pytest.CaptureFixture) -> None:
    Path("inf.arpa").write_text(rewritten(("-1.5\t<unk>\t-0.2", "-inf\t<unk>\t-INF")))
    unigrams = arpa.read("inf.arpa").orders[0]
    assert unigrams.log10_prob[0] == -99 and unigrams.log10_backoff[0] == -99
    assert cli.main("lm ppl dev.txt inf.arpa".split()) == 0
    assert "e+" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("word", "mark"),
    [("<unk>", UNKNOWN), ("<UNK>", UNKNOWN), ("<Unk>", UNKNOWN), ("[unk]", UNKNOWN), ("[UNK]", UNKNOWN), ("<S>", BEGIN),
     ("</S>", END), ("<s>", BEGIN), ("unk", None), ("<unk", None), ("<name>", None), ("[s]", None), ("", None),
     ("<\u017f>", None), ("<un\u212a>", None)],
)  # fmt: skip
def test_spellings_of_marks(tmp_path: Path, word: str, mark: str | None) -> None:
    """In Python and in csrc/lm. Long s and the Kelvin sign are other letters, though lower() maps them."""
    assert mark_of(word) == mark and is_slot(word) == (word == "<name>" or (mark is None and not word.isascii()))
    if word and mark != END:
        rows = {word, "<s>", "</s>"} if mark != BEGIN else {word, "</s>"}
        counts = f"\\data\\\nngram 1={len(rows)}\n\\1-grams:\n"
        (tmp_path / "lm").write_text(counts + "".join(f"-1 {row}\n" for row in sorted(rows)) + "\\end\\\n")
        assert set(arpa.read(tmp_path / "lm").words) == {mark or word, BEGIN, END}


def test_numbers_do_not_depend_on_the_locale(tmp_path: Path) -> None:
    if not shutil.which("localedef"):
        pytest.skip("no localedef to make a locale with decimal commas")
    command = ["localedef", "-i", "de_DE", "-f", "UTF-8", str(tmp_path / "de_DE.UTF-8")]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("localedef cannot make de_DE.UTF-8")
    (tmp_path / "lm.arpa").write_text(rewritten(("-0.25", "-1e-50")))
    program = (
        "import locale, sys; from asr.lm import arpa; locale.setlocale(locale.LC_ALL, 'de_DE.UTF-8')\n"
        "assert locale.localeconv()['decimal_point'] == ','\n"
        "model = arpa.read(sys.argv[1]); arpa.write(model, sys.argv[2])\n"
        "print(model.orders[0].log10_prob.tolist(), model.orders[0].log10_backoff.tolist())"
    )
    done = []
    for environment in ({}, {"LOCPATH": str(tmp_path), "LC_ALL": "de_DE.UTF-8"}):
        code = program if environment else program.replace("'de_DE.UTF-8'", "'C'").replace("','", "'.'")
        run = [sys.executable, "-c", code, str(tmp_path / "lm.arpa"), str(tmp_path / f"{len(done)}.arpa")]
        done.append(subprocess.run(run, capture_output=True, text=True, env={**os.environ, **environment}, check=True))
    assert done[0].stdout == done[1].stdout and "-0.6" in done[0].stdout
    assert (tmp_path / "0.arpa").read_bytes() == (tmp_path / "1.arpa").read_bytes()
