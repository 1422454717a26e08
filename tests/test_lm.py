"""Estimation against a slow reference, hand-computed values and lmplz."""

import logging
import math
import random
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ngram_reference import BackoffScorer

import asr.lm
from asr.config import LmConfig
from asr.errors import InputError
from asr.lm import arpa, score
from asr.lm.corpus import Selection, encode_texts
from asr.lm.estimation import Estimation
from asr.lm.model import NgramModel
from asr.words import BEGIN, END, UNKNOWN

FALLBACK = (0.5, 1.0, 1.5)
words = st.sampled_from(["a", "b", "c", "d", "하나", "e", "f"])
corpora = st.lists(st.lists(words, min_size=1, max_size=7).map(" ".join), min_size=1, max_size=25)
orders = st.integers(1, 6)


def zipf_text(seed: int, sentences: int, vocabulary: int = 60) -> list[str]:
    """Random sentences with word counts distributed as in real text, so that no discount is degenerate."""
    draw = random.Random(seed)
    names = [f"w{i}" for i in range(vocabulary)]
    weights = [1 / (i + 1) for i in range(vocabulary)]
    return [" ".join(draw.choices(names, weights, k=draw.randint(1, 9))) for _ in range(sentences)]


def reference(texts: list[str], order: int) -> tuple[dict[tuple[str, ...], float], dict[tuple[str, ...], float]]:
    """Probabilities and back-offs of all n-grams, by the formulas of Chen & Goodman (1998) over dicts."""
    padded = [(BEGIN, *text.split(), END) for text in texts]
    seen = {n: Counter(s[i : i + n] for s in padded for i in range(len(s) - n + 1)) for n in range(1, order + 1)}
    del seen[1][(BEGIN,)]
    adjusted = {}
    for n in range(1, order + 1):
        predecessors = Counter(ngram[1:] for ngram in seen.get(n + 1, ()))
        is_plain = {g: n == order or g[0] == BEGIN for g in seen[n]}
        adjusted[n] = {g: seen[n][g] if is_plain[g] else predecessors[g] for g in seen[n]}
    vocabulary = {w for s in padded for w in s} - {BEGIN} | {UNKNOWN}
    adjusted[1][(UNKNOWN,)] = 0

    prob: dict[tuple[str, ...], float] = {}
    backoff: dict[tuple[str, ...], float] = {}
    for n in range(1, order + 1):
        discounts = reference_discounts(list(adjusted[n].values()))
        total, taken = Counter(), Counter()
        for ngram, a in adjusted[n].items():
            total[ngram[:-1]] += a
            taken[ngram[:-1]] += discounts[min(a, 3)]
        for history in total:
            backoff[history] = taken[history] / total[history]
        for ngram, a in adjusted[n].items():
            lower = prob[ngram[1:]] if n > 1 else 1 / len(vocabulary)
            history = ngram[:-1]
            prob[ngram] = (a - discounts[min(a, 3)]) / total[history] + backoff[history] * lower
    return prob, backoff


def reference_discounts(adjusted: list[int]) -> tuple[float, ...]:
    t1, t2, t3, t4 = (adjusted.count(k) for k in (1, 2, 3, 4))
    if not t1 or not t2 or not t3:
        return (0.0, *FALLBACK)
    y = t1 / (t1 + 2 * t2)
    d = (1 - 2 * y * t2 / t1, 2 - 3 * y * t3 / t2, 3 - 4 * y * t4 / t3)
    return (0.0, *d) if all(0 < x <= k for k, x in enumerate(d, 1)) else (0.0, *FALLBACK)


def listed(model: NgramModel) -> dict[tuple[str, ...], tuple[float, float]]:
    return BackoffScorer(model).table


def assert_equals_reference(texts: list[str], order: int) -> None:
    table = listed(asr.lm.train(texts, order))
    prob, backoff = reference(texts, order)
    prob[(BEGIN,)] = 1.0
    assert set(table) == set(prob)
    for ngram, (log10_prob, log10_backoff) in table.items():
        assert 10**log10_prob == pytest.approx(prob[ngram], rel=2e-6)
        assert 10**log10_backoff == pytest.approx(backoff.get(ngram, 1.0), rel=2e-6)


@given(corpora, orders)
@settings(max_examples=60, deadline=None)
def test_equals_slow_reference_on_any_text(texts: list[str], order: int) -> None:
    assert_equals_reference(texts, order)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_equals_slow_reference_on_natural_counts(order: int) -> None:
    assert_equals_reference(zipf_text(order, 400), order)


def test_tiny_example_by_hand() -> None:
    # Counts of counts lack a 3, so D = 0.5 1 1.5. Adjusted unigrams: a 1, b 1, c 1, </s> 2, 5 in all; gamma() = 0.5.
    # <s> a was seen twice: p(a | <s>) = (2 - 1) / 2 + 0.5 p(a). a b was seen once: p(b | a) = 0.5 / 2 + 0.5 p(b).
    table = listed(asr.lm.train(["a b", "a c"], 2))
    unigrams = {UNKNOWN: 0.1, BEGIN: 1.0, END: 0.3, "a": 0.2, "b": 0.2, "c": 0.2}
    bigrams = {(BEGIN, "a"): 0.6, ("a", "b"): 0.35, ("a", "c"): 0.35, ("b", END): 0.65, ("c", END): 0.65}
    assert {g: 10 ** p[0] for g, p in table.items()} == pytest.approx({(w,): p for w, p in unigrams.items()} | bigrams)
    backoffs = {(UNKNOWN,): 1.0, (END,): 1.0, (BEGIN,): 0.5, ("a",): 0.5, ("b",): 0.5, ("c",): 0.5}
    assert {g: 10 ** p[1] for g, p in table.items() if len(g) == 1} == pytest.approx(backoffs)


@given(corpora, orders, st.lists(words, max_size=6), st.booleans())
@settings(max_examples=60, deadline=None)
def test_probabilities_sum_to_one(texts: list[str], order: int, history: list[str], from_begin: bool) -> None:
    model = asr.lm.train(texts, order)
    scorer = BackoffScorer(model)
    context = ([BEGIN] * from_begin + history)[-(order - 1) :] if order > 1 else []
    total = sum(10 ** scorer.score(context, word)[0] for word in model.words if word != BEGIN)
    assert total == pytest.approx(1.0, abs=2e-6)


@pytest.mark.parametrize(
    ("name", "texts", "prune"),
    [("lmplz", zipf_text(0, 120, 300), []), ("lmplz_pruned", [*zipf_text(0, 300, 120), "last"], [0, 0, 1])],
)
def test_equals_lmplz(name: str, texts: list[str], prune: list[int]) -> None:
    """The files are lmplz's own (kenlm 0.3.0): `lmplz -o 4 --discount_fallback [--prune 0 0 1]` of these texts.

    The word "last": in the counts of counts lmplz takes the n-grams that end in the newest word by how often they were
    seen, not by their adjusted count. Where that word was seen once, both are the same.
    """
    expected = listed(arpa.read(Path(__file__).parent / "data" / f"{name}.arpa.gz"))
    found = listed(asr.lm.train(texts, 4, prune=prune))
    assert set(found) == set(expected)
    assert max(abs(x - y) for g in found for x, y in zip(found[g], expected[g], strict=True)) < 2e-6


@pytest.mark.parametrize("order", [1, 2, 4])
def test_perplexity_of_training_text_is_exact(tmp_path: Path, order: int) -> None:
    texts = zipf_text(1, 200)
    (tmp_path / "a.txt").write_text("\n".join(texts))
    cfg = LmConfig(text=[str(tmp_path / "a.txt")], order=order, arpa=str(tmp_path / "lm.arpa"))
    report = asr.lm.train_file(cfg, dev=cfg.text)
    assert report.dev and report.perplexity == pytest.approx(report.dev.perplexity, rel=1e-5)
    assert (report.sentences, report.words) == (200, sum(len(t.split()) for t in texts))
    assert f"1-grams     {report.vocabulary + 3}" in str(report)


def test_scores_count_unknown_words(tmp_path: Path) -> None:
    arpa.write(asr.lm.train(["a b", "b a"], 2), tmp_path / "lm.arpa")
    result = score.perplexity(tmp_path / "lm.arpa", ["a x", "", "b"])
    assert (result.sentences, result.words, result.unknown) == (2, 3, 1)
    assert result.oov_rate == pytest.approx(1 / 3)
    known = result.log10_prob - result.log10_prob_unknown
    assert result.perplexity_known == pytest.approx(10 ** (-known / 4))
    assert math.log10(result.perplexity) == pytest.approx(-result.log10_prob / 5)
    with pytest.raises(InputError, match="no text"):
        score.perplexity(tmp_path / "lm.arpa", [" "])


def test_words_are_in_code_point_order() -> None:
    a, b = asr.lm.train(["b a", "c"], 2), asr.lm.train(["c", "b a"], 2)
    assert a.words == b.words == [UNKNOWN, BEGIN, END, "a", "b", "c"]
    for x, y in zip(a.orders, b.orders, strict=True):
        assert all(np.array_equal(*columns) for columns in zip(x, y, strict=True))


@given(corpora, st.integers(2, 5), st.lists(st.integers(0, 3), max_size=3), st.lists(words, max_size=6))
@settings(max_examples=40, deadline=None)
def test_pruned_models_sum_to_one(texts: list[str], order: int, prune: list[int], history: list[str]) -> None:
    prune = [0, *sorted(prune)][:order]
    model = asr.lm.train(texts, order, prune=prune)
    scorer = BackoffScorer(model)
    total = sum(10 ** scorer.score(history[1 - order :], word)[0] for word in model.words if word != BEGIN)
    assert total == pytest.approx(1.0, abs=2e-6)
    padded = [(BEGIN, *text.split(), END) for text in texts]
    for n, cutoff in enumerate([*prune, *[prune[-1]] * order][: model.order], 1):
        seen = Counter(s[i : i + n] for s in padded for i in range(len(s) - n + 1))
        kept = {g for g, count in seen.items() if count > cutoff} | ({(UNKNOWN,)} if n == 1 else set())
        assert {g for g in scorer.table if len(g) == n} == kept


def models_equal(a: NgramModel, b: NgramModel) -> bool:
    pairs = zip(a.orders, b.orders, strict=True)
    return a.words == b.words and all(np.array_equal(*c) for x, y in pairs for c in zip(x, y, strict=True))


@pytest.mark.parametrize("prune", [[], [0, 0, 1]])
def test_results_do_not_depend_on_the_memory_limit(tmp_path: Path, prune: list[int]) -> None:
    """At 1 MiB the sorted runs go to files, and are too many for one merge."""
    draw = np.random.default_rng(0)
    lines = [" ".join(f"w{i}" for i in line) for line in (1500 * draw.random((40_000, 12)) ** 2).astype(int)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    reports = []
    for name, memory_mb in (("large", 1000), ("small", 1)):
        cfg = LmConfig([str(tmp_path / "a.txt")], arpa=str(tmp_path / name), memory_mb=memory_mb, prune=prune)
        reports.append(asr.lm.train_file(cfg))
    assert (tmp_path / "large").read_bytes() == (tmp_path / "small").read_bytes()
    assert reports[0].perplexity == reports[1].perplexity
    assert sum(reports[0].ngrams) + sum(reports[0].pruned) > 450_000
    assert len(list(tmp_path.iterdir())) == 3  # no temporary file is left


def test_ngrams_wider_than_64_and_128_bits() -> None:
    texts = zipf_text(3, 200)
    narrow = listed(asr.lm.train(texts, 6))
    for size in (3_000, 2_200_000):  # 6 words of 12 and 22 bits
        unseen = [f"x{i}" for i in range(size)]
        model = asr.lm.train(texts, 6, vocabulary=[*unseen, *(f"w{i}" for i in range(60))])
        assert [len(n.ids) for n in model.orders[1:]] == [sum(len(g) == n for g in narrow) for n in range(2, 7)]
        for ngrams in model.orders[1:]:
            found = {
                tuple(model.words[i] for i in ids): p for ids, p in zip(ngrams.ids, ngrams.log10_prob, strict=True)
            }
            assert all(g in narrow for g in found)
        wanted = {g: p for g, (p, _) in narrow.items() if len(g) == 6}
        assert found.keys() == wanted.keys() and found == pytest.approx(wanted, abs=0.05)


def test_most_frequent_words_are_selected() -> None:
    texts = ["a a a b b", "c c d e"]  # 9 running words
    chosen = lambda **options: asr.lm.train(texts, 2, **options).words[3:]  # noqa: E731
    assert chosen(vocabulary_size=2) == ["a", "b"]  # c has the same count as b, but ranks later
    assert chosen(vocabulary_size=9) == chosen(coverage=1.0) == ["a", "b", "c", "d", "e"]
    assert chosen(coverage=0.33) == ["a"] and chosen(coverage=0.34) == ["a", "b"]
    assert chosen(coverage=7 / 9) == ["a", "b", "c"]
    assert chosen(vocabulary_size=4, min_count=2) == ["a", "b", "c"]
    assert chosen(vocabulary_size=1, coverage=0.9) == ["a"]


def test_report_counts_the_selected_words(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(zipf_text(1, 200)))
    cfg = LmConfig([str(tmp_path / "a.txt")], arpa=str(tmp_path / "lm"), vocabulary_size=20, prune=[0, 1])
    report = asr.lm.train_file(cfg)
    assert f"vocabulary  20 words; {report.seen} in the text, " in str(report) and report.seen > 20
    assert f"; {report.pruned[0]:,} pruned; discounts" in str(report) and min(report.pruned) > 0


def test_rare_words_become_unknown() -> None:
    table = listed(asr.lm.train(["a b", "a c", "a b"], 2, min_count=2))
    assert ("c",) not in table and ("a", UNKNOWN) in table
    assert table == listed(asr.lm.train(["a b", "a x", "a b"], 2, vocabulary=["b", "a", UNKNOWN]))


def test_listed_words_are_in_the_model_even_if_unseen() -> None:
    table = listed(asr.lm.train(["a b"], 2, vocabulary=["a", "b", "z"]))
    assert table[("z",)] == table[(UNKNOWN,)]


def test_order_is_limited_by_the_longest_sentence() -> None:
    assert asr.lm.train(["a", "b"], 6).order == 3


def test_fallback_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        asr.lm.train(["one two", "two one"], 2)
    assert "2-grams: discounts 0.5 1 1.5 (fallback" in caplog.text


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        (["a b", "a <s> b"], {}, "sentence 2: the text contains '<s>'"),
        (["<unk>"], {}, "sentence 1: the text contains '<unk>'"),
        (["a \0"], {}, "NUL"),
        (["a", "a <eps>"], {}, "sentence 2: the text contains '<eps>'"),
        (["a"], {"vocabulary": ["a", "a b"]}, "word 2 of the vocabulary: 'a b' cannot be a word"),
        (["a"], {"vocabulary": ["c\n", "a"]}, r"word 1 of the vocabulary: 'c\\n'"),
        (["a"], {"vocabulary": ["a\u3000"]}, r"word 1 of the vocabulary: 'a\\u3000'"),
        (["a"], {"vocabulary": ["a", ""]}, "word 2 of the vocabulary: ''"),
        (["a"], {"vocabulary": ["x\0y"]}, r"word 1 of the vocabulary: 'x\\x00y'"),
        (["a"], {"vocabulary": ["\ud800", "a"]}, r"word 1 of the vocabulary: '\\ud800'"),
        (["a"], {"vocabulary": ["<eps>"]}, "word 1 of the vocabulary: '<eps>'"),
        ([], {}, "no word"),
        (["", "  "], {}, "no word"),
        (["a"], {"min_count": 2}, "no word"),
        (["a"], {"min_count": 0}, "min_count is 0"),
        (["a"], {"min_count": 2, "vocabulary": ["a"]}, "min_count is 2"),
        (["a"], {"order": 9}, "order is 9"),
        (["a"], {"vocabulary_size": -1}, "vocabulary_size is -1"),
        (["a"], {"vocabulary_size": 1, "vocabulary": ["a"]}, "vocabulary_size is 1"),
        (["a"], {"coverage": 0.0}, "coverage is 0"),
        (["a"], {"coverage": 0.5, "vocabulary": ["a"]}, "coverage is 0.5"),
        (["a"], {"prune": [1]}, "prune is 1; expected at most 2 numbers"),
        (["a"], {"prune": [0, -1]}, "prune is 0,-1"),
        (["a"], {"prune": [0, 2, 1]}, "prune is 0,2,1"),
        (["a"], {"memory_mb": 0}, "memory_mb is 0"),
        (["a \ud800"], {}, "sentence 1: the text contains half of a surrogate pair"),
        (["a"], {"order": 0}, "order is 0"),
    ],
)
def test_bad_text_and_options(texts: list[str], options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        asr.lm.train(texts, **{"order": 2, **options})


def test_a_corpus_gives_one_estimation() -> None:
    corpus = encode_texts(["a b"], Selection(), 1, "")
    Estimation(corpus, 2).model()
    with pytest.raises(RuntimeError, match="the text of this corpus has been used"):
        Estimation(corpus, 2)
    with pytest.raises(RuntimeError, match="the text of this corpus has been used"):
        corpus.add(b"a b\n")
    late = encode_texts(["a b"], Selection(), 1, "")
    late.add(b"c\n")
    with pytest.raises(RuntimeError, match="the words have not been selected"):
        Estimation(late, 2)


def test_both_libraries_fit_into_one_program() -> None:
    """Headers that define a class twice would let the linker choose one of them."""
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    csrc = Path(__file__).parent.parent / "csrc"
    every = sorted([*(csrc / "lm").glob("*.h"), *(csrc / "decoder").glob("*.h")])
    headers = [path for path in every if path.stem != "hmm_binding"]  # it needs nanobind, which is not installed
    source = "".join(f'#include "{header}"\n' for header in headers)
    command = [compiler, "-std=c++17", "-fsyntax-only", "-x", "c++", "-"]
    result = subprocess.run(command, input=source, capture_output=True, text=True)
    assert len(headers) > 20 and not result.returncode, result.stderr
