"""Filtering, conversion, adaptation and comparison of language models, and their verbs on small files."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import pywrapfst
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ngram_reference import BackoffScorer
from test_lm import corpora, listed, orders, words, zipf_text

import asr.lm
from asr.cli import main as cli
from asr.errors import InputError
from asr.graph.ngram_file import NgramFile
from asr.lm import arpa
from asr.lm.compare import compare
from asr.lm.filter import restrict
from asr.lm.model import NgramModel
from asr.lm.score import perplexity, sentence_scores
from asr.words import END, MARKS


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two models and texts, as the working directory."""
    monkeypatch.chdir(tmp_path)
    for name, seed, vocabulary in (("a", 1, 30), ("b", 2, 60)):
        texts = zipf_text(seed, 120, vocabulary)
        (tmp_path / f"{name}.txt").write_text("\n".join(texts))
        arpa.write(asr.lm.train(texts, 3), tmp_path / f"{name}.arpa")
    (tmp_path / "dev.txt").write_text("\n".join([*zipf_text(3, 40, 50), "w1 unheard unheard", "strange w2"]))
    return tmp_path


def run(*words: str) -> None:
    assert cli.main(["lm", *words]) == 0


def size(model: NgramModel) -> int:
    return sum(len(ngrams.ids) for ngrams in model.orders)


@given(corpora, orders, st.sets(words, min_size=1), st.lists(st.lists(words, min_size=1, max_size=6), min_size=1))
@example(["a a b"], 4, {"a"}, [["a", "a"]])  # no 4-gram stays, but the 3-grams have back-offs
@settings(max_examples=40, deadline=None)
def test_restricted_models_score_as_the_whole(texts: list[str], order: int, kept: set[str], test: list) -> None:
    model = asr.lm.train([*texts, " ".join(kept)], order)
    restricted = restrict(model, kept)
    assert restricted.words == [word for word in model.words if word in kept or word in MARKS]
    assert set(listed(restricted)) == {g for g in listed(model) if set(g) <= {*kept, *MARKS}}
    sentences = [" ".join(w for w in sentence if w in kept) for sentence in test]
    for before, after in zip(*(sentence_scores(BackoffScorer(m), sentences) for m in (model, restricted)), strict=True):
        assert before == after
    for ngrams in restricted.orders:  # rows ascend, as NgramModel promises
        assert sorted(map(tuple, ngrams.ids.tolist())) == list(map(tuple, ngrams.ids.tolist()))


def test_a_list_of_strange_words_is_refused() -> None:
    with pytest.raises(InputError, match="knows none of the 1 words"):
        restrict(asr.lm.train(["a b"], 2), ["A", "<unk>"])


def test_filter(folder: Path, capsys: pytest.CaptureFixture) -> None:
    (folder / "words.txt").write_text("w1\nw2\nw3\nnowhere\n")
    run("filter", "arpa=a.arpa", "vocabulary=words.txt", "output=small.arpa")
    assert set(arpa.read("small.arpa").words) == {*MARKS, "w1", "w2", "w3"}
    assert "1 of 4 words are not in a.arpa" in capsys.readouterr().out
    assert perplexity("small.arpa", ["w1 w2", "w3"]).log10_prob == pytest.approx(
        perplexity("a.arpa", ["w1 w2", "w3"]).log10_prob, abs=1e-4
    )


@pytest.mark.parametrize("name", ["c.arpa.gz", "deep/c.arpa.xz", "c.arpa"])
def test_convert_packs_and_unpacks(folder: Path, name: str) -> None:
    run("convert", "a.arpa", name)
    run("convert", name, "again.arpa")
    assert (folder / "again.arpa").read_bytes() == (folder / "a.arpa").read_bytes()


def test_convert_to_openfst(folder: Path) -> None:
    """The cheapest path of a sentence has the cost of the model: with Kneser-Ney, no back-off is cheaper."""
    run("convert", "a.arpa", "G.fst")
    run("convert", "a.arpa", "a.ngram")
    packed = NgramFile(np.fromfile("a.ngram", np.uint8), "a.ngram")
    assert set(packed.words) == set(arpa.read("a.arpa").words) - {"<s>", "</s>"}
    symbols = dict(line.split() for line in (folder / "G.words.txt").read_text().splitlines())
    assert symbols["<eps>"] == "0" and symbols["#0"] == str(len(symbols) - 1)
    grammar = pywrapfst.Fst.read("G.fst")
    grammar.project("output")  # back-off arcs become epsilons
    grammar.arcsort("ilabel")
    scorer = BackoffScorer(arpa.read("a.arpa"))
    for sentence in zipf_text(4, 10, 30):
        acceptor = pywrapfst.VectorFst()
        states = [acceptor.add_state() for _ in range(len(sentence.split()) + 1)]
        acceptor.set_start(states[0])
        acceptor.set_final(states[-1])
        for k, word in enumerate(sentence.split()):
            label = int(symbols.get(word, symbols["<unk>"]))
            acceptor.add_arc(states[k], pywrapfst.Arc(label, label, 0.0, states[k + 1]))
        paths = pywrapfst.shortestdistance(pywrapfst.compose(acceptor, grammar), reverse=True)
        expected = -math.log(10) * sum(x[0] for x in scorer.full_scores(sentence))
        assert float(paths[0]) == pytest.approx(expected, rel=1e-4)


def test_prune(folder: Path, capsys: pytest.CaptureFixture) -> None:
    run("prune", "arpa=a.arpa", "size=200", "output=small.arpa")
    assert size(arpa.read("small.arpa")) == 200 and "-> small.arpa: 200 n-grams" in capsys.readouterr().out
    run("prune", "arpa=a.arpa", "lm=small", "threshold=1e-3", "output=other.arpa.gz")
    assert 33 < size(arpa.read("other.arpa.gz")) < size(arpa.read("a.arpa"))


def test_mix_finds_weights_and_prints_a_report(folder: Path, capsys: pytest.CaptureFixture) -> None:
    run("mix", "a.arpa", "b.arpa", "dev=dev.txt", "output=mixed.arpa")
    printed = capsys.readouterr().out
    lines = {line.split("  ")[0].strip(): line.split() for line in printed.splitlines()}
    for name in ("a.arpa", "b.arpa", "mixed.arpa"):  # our scores in memory, kenlm's of the file
        assert float(lines[name][1]) == pytest.approx(
            perplexity(name, (folder / "dev.txt").read_text().splitlines()).perplexity, rel=1e-3
        )
    assert float(lines["exact mixture"][2]) < min(float(lines[name][1]) for name in ("a.arpa", "b.arpa"))
    assert "steps of expectation maximisation" in printed
    assert set(arpa.read("mixed.arpa").words) == set(arpa.read("a.arpa").words) | set(arpa.read("b.arpa").words)


def test_mix_with_given_weights_needs_no_text(folder: Path, capsys: pytest.CaptureFixture) -> None:
    run("mix", "a.arpa", "b.arpa", "weights=1,0", "output=mixed.arpa")
    before, after = listed(arpa.read("a.arpa")), listed(arpa.read("mixed.arpa"))
    assert all(after[g][0] == pytest.approx(before[g][0], abs=1e-5) for g in before)
    assert "-> mixed.arpa" in capsys.readouterr().out


def test_adapt_takes_in_new_words(folder: Path, capsys: pytest.CaptureFixture) -> None:
    (folder / "domain.txt").write_text("Order a PIZZA, please!\nA pizza with cheese.\n" * 5)
    (folder / "domain.dev").write_text("a pizza please\nOrder cheese\n")
    run("adapt", "base=a.arpa", "text=domain.txt", "dev=domain.dev", "lang=en", "output=domain.arpa")
    printed = capsys.readouterr().out
    figures = {line.split("  ")[0].strip(): line.split() for line in printed.splitlines()}
    adapted = arpa.read("domain.arpa")
    assert {"order", "pizza", "w1"} <= set(adapted.words) and adapted.order == 3
    assert "6 new words" in printed
    assert float(figures["after"][1]) < float(figures["before"][1]) / 10
    assert figures["before"][-1] == "100.00%" and figures["after"][-1] == "0.00%"
    run("adapt", "base=a.arpa", "text=domain.txt", "dev=domain.dev", "lang=en", "size=100", "output=domain.arpa")
    assert size(arpa.read("domain.arpa")) == 100 and "after pruning" in capsys.readouterr().out


def test_adapt_cleans_as_text_clean_does(folder: Path, capsys: pytest.CaptureFixture) -> None:
    (folder / "domain.txt").write_text("It costs $25 today.\n!!!\nOrder 3 pizzas!\n" * 5)
    (folder / "domain.dev").write_text("It costs $25\n")
    assert cli.main(["text", "clean", "domain.txt", "output=clean.txt", "lang=en"]) == 0
    spoken = set((folder / "clean.txt").read_text().split())
    assert {"twenty", "five", "dollars", "three"} <= spoken
    capsys.readouterr()
    run("adapt", "base=a.arpa", "text=domain.txt", "dev=domain.dev", "lang=en", "output=domain.arpa")
    printed = capsys.readouterr().out
    assert set(arpa.read("domain.arpa").words) == {*arpa.read("a.arpa").words, *spoken}
    assert "cleaned (en): 10 of 15 sentences kept" in printed and "of 5 words in 1 sentences" in printed


def test_ppl_side_by_side(folder: Path, capsys: pytest.CaptureFixture) -> None:
    texts = (folder / "dev.txt").read_text().splitlines()
    run("ppl", "a.arpa", "dev.txt", "b.arpa", "output=each.tsv", "unknown=unknown.tsv")
    printed = capsys.readouterr().out
    for name in ("a.arpa", "b.arpa"):
        assert f"{perplexity(name, texts).perplexity:.2f}" in printed
    head, *lines = [line.split("\t") for line in (folder / "each.tsv").read_text().splitlines()]
    assert head == ["a.arpa:log10_prob", "a.arpa:unknown", "b.arpa:log10_prob", "b.arpa:unknown", "sentence"]
    assert [line[-1] for line in lines] == texts
    assert sum(float(line[2]) for line in lines) == pytest.approx(perplexity("b.arpa", texts).log10_prob, abs=1e-2)
    unknown = [line.split("\t") for line in (folder / "unknown.tsv").read_text().splitlines()]
    assert ["2", "unheard", "a.arpa", "b.arpa"] in unknown
    known = arpa.read("a.arpa").ids
    expected = Counter(word for text in texts for word in text.split() if word not in known)
    assert {word: int(count) for count, word, *lacking in unknown if "a.arpa" in lacking} == expected


def test_vocabulary(folder: Path, capsys: pytest.CaptureFixture) -> None:
    (folder / "t.txt").write_text("b b a\nc b a d\n")
    run("vocabulary", "text=t.txt", "output=words.txt", "min_count=2")
    assert (folder / "words.txt").read_text() == "b\na\n"
    assert "2 of 4 words, 71.43% of the text" in capsys.readouterr().out
    run("vocabulary", "text=t.txt", "output=words.txt", "size=3")
    assert (folder / "words.txt").read_text() == "b\na\nc\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("mix a.arpa output=c.arpa", "two or more models"),
        ("mix a.arpa b.arpa dev=none.txt output=c.arpa", "cannot read the text none.txt"),
        ("mix a.arpa b.arpa weights=0.5 output=c.arpa", "expected 2 numbers"),
        ("mix a.arpa b.arpa weights=nan,1 output=c.arpa", "lm.weights=[nan, 1.0]: expected a number in [0, inf)"),
        ("mix a.arpa b.arpa dev=empty.txt output=c.arpa", "empty.txt has no sentences"),
        ("mix a.arpa b.arpa dev=dev.txt output=c.bin", "c.bin: language models are written as files that end in .arpa"),
        ("mix a.arpa b.arpa dev=dev.txt", "output=FILE is missing"),
        ("prune arpa=a.arpa output=c.arpa", "either lm.size, a number of n-grams, or lm.threshold"),
        ("prune arpa=a.arpa threshold=nan output=c.arpa", "lm.threshold=nan: expected a number in [0, inf)"),
        ("prune arpa=a.arpa threshold=-1 output=c.arpa", "lm.threshold=-1.0: expected a number in [0, inf)"),
        ("prune arpa=dev.txt size=100 output=c.arpa", "dev.txt: no line '\\data\\'; this is not an ARPA file"),
        ("adapt base=a.arpa dev=dev.txt output=c.arpa", "needs base=GENERAL.arpa and text=DOMAIN.txt"),
        ("adapt base=a.arpa text=b.txt dev=dev.txt lang=fr output=c.arpa", "lm.lang=fr: expected one of none, en, ko"),
        ("adapt base=a.arpa text=b.txt dev=empty.txt output=c.arpa", "empty.txt has no sentences"),
        ("filter arpa=a.arpa output=c.arpa", "vocabulary=FILE is missing"),
        ("vocabulary text=a.txt size=0 output=c.txt", "lm.size=0: expected a whole number in [1, 1e12]"),
        ("vocabulary text=a.txt size=-1 output=c.txt", "lm.size=-1: expected a whole number in [1, 1e12]"),
        ("convert a.arpa", "expected two files, 1 were given"),
        ("convert bad.arpa c.arpa.gz", "bad.arpa: no line"),
        ("convert none.fst c.arpa", "cannot read the ARPA file none.fst: No such file"),
        ("ppl empty.txt arpa=a.arpa", "no text to score"),
        ("ppl dev.txt noise.arpa", "noise.arpa: no line"),
        ("ppl dev.txt cut.arpa", "cut.arpa:40: expected"),
        ("ppl dev.txt none.arpa", "cannot read the ARPA file none.arpa"),
    ],
)
def test_bad_calls_are_refused_and_leave_no_model(folder: Path, line: str, message: str, capsys) -> None:
    (folder / "bad.arpa").write_text("no model\n")
    (folder / "empty.txt").write_text("")
    (folder / "noise.arpa").write_bytes(bytes(range(255, 127, -1)) * 20)
    (folder / "cut.arpa").write_text("".join((folder / "a.arpa").read_text().splitlines(keepends=True)[:40]))
    assert cli.main(["lm", *line.split()]) == 2
    assert message in capsys.readouterr().err
    assert not list(folder.glob("c.*"))


def test_compare_skips_empty_sentences(folder: Path) -> None:
    comparison = compare(["a.arpa"], ["", "w1  w2", " "])
    assert comparison.texts == ["w1 w2"] and len(comparison.scores["a.arpa"]) == 1
    assert END not in comparison.unknown["a.arpa"]
    assert np.isfinite(comparison.scores["a.arpa"][0].log10_prob)
