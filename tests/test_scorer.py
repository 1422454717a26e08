"""Scores of words: csrc/lm against the plain rule and kenlm."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ngram_reference import BackoffScorer
from test_lm import corpora, words, zipf_text

import asr.lm
from asr._lm import Scorer as Core
from asr.lm import arpa, score
from asr.lm.model import NgramModel, Ngrams
from asr.lm.prune import prune

DATA = Path(__file__).parent / "data"
sentences = st.lists(st.lists(words | st.just("unheard"), max_size=9).map(" ".join), min_size=1)


def model_of(texts: list[str], order: int, size: float = 1.0) -> NgramModel:
    model = asr.lm.train(texts, order)
    total, smallest = sum(len(ngrams.ids) for ngrams in model.orders), len(model.words)
    return prune(model, int(smallest + size * (total - smallest))) if size < 1 else model


def assert_scores(model: NgramModel, texts: list[str]) -> None:
    ours, slow = score.Scorer(model), BackoffScorer(model)
    for text in texts:
        expected, found = list(slow.full_scores(text)), list(ours.full_scores(text))
        assert [x[0] for x in found] == pytest.approx([x[0] for x in expected], abs=1e-6)
        assert [x[1:] for x in found] == [x[1:] for x in expected]
        state, steps = ours.begin, []
        for word in (*text.split(), "</s>"):
            state, log10_prob = ours.step(state, word)
            steps.append(log10_prob)
        assert steps == [x[0] for x in found]


@given(corpora, st.integers(1, 6), sentences)
@settings(max_examples=60, deadline=None)
def test_scores_are_those_of_the_plain_rule(texts: list[str], order: int, test: list[str]) -> None:
    assert_scores(asr.lm.train(texts, order), test)


@given(corpora, st.integers(2, 5), st.floats(0, 1), sentences)
@settings(max_examples=40, deadline=None)
def test_scores_of_pruned_models(texts: list[str], order: int, size: float, test: list[str]) -> None:
    assert_scores(model_of(texts, order, size), test)


def without_unknown(model: NgramModel) -> NgramModel:
    """`model` without `<unk>`, which is its first word and in no other n-gram."""
    ids, log10_prob, log10_backoff = model.orders[0]
    first = Ngrams(ids[:-1], log10_prob[1:], log10_backoff[1:])
    return NgramModel(model.words[1:], [first, *(Ngrams(n.ids - 1, *n[1:]) for n in model.orders[1:])])


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("kind", ["whole", "pruned", "without <unk>"])
def test_scores_and_states_are_those_of_kenlm(tmp_path: Path, order: int, kind: str) -> None:
    kenlm = pytest.importorskip("kenlm", reason="the peer has no sources that compile on Python 3.13")
    model = model_of(zipf_text(0, 300, 60), order, 0.5 if kind == "pruned" and order > 1 else 1.0)
    model = without_unknown(model) if kind == "without <unk>" else model
    arpa.write(model, tmp_path / "lm.arpa")
    ours = score.load(tmp_path / "lm.arpa")
    texts = [*zipf_text(1, 200, 70), "", "unheard", "w1 unheard w2 w1 w1"]
    if order == 1:  # kenlm reads no unigram models
        return assert_scores(arpa.read(tmp_path / "lm.arpa"), texts)
    peer = kenlm.Model(str(tmp_path / "lm.arpa"))
    assert any(word not in model.ids for text in texts for word in text.split())
    seen: dict[object, int] = {}
    for text in texts:
        theirs = list(peer.full_scores(text))
        found = list(ours.full_scores(text))
        assert [x[0] for x in found] == pytest.approx([x[0] for x in theirs], abs=1e-6, rel=3e-7)
        assert [x[2] for x in found] == [x[2] for x in theirs]
        if kind == "pruned":  # kenlm lists missing suffixes itself: lengths and states count them
            continue
        assert [x[1] for x in found] == [x[1] for x in theirs]
        state, peer_state = ours.begin, kenlm.State()
        peer.BeginSentenceWrite(peer_state)
        for word in text.split():
            state = ours.step(state, word)[0]
            peer_state, before = kenlm.State(), peer_state
            peer.BaseScore(before, word, peer_state)
            assert seen.setdefault(peer_state, state) == state  # equal there, equal here
    assert len(set(seen.values())) == len(seen)  # and no others are


@pytest.mark.parametrize("name", ["lmplz", "lmplz_pruned"])
def test_scores_of_files_that_lmplz_wrote(name: str) -> None:
    path = DATA / f"{name}.arpa.gz"
    assert_scores(arpa.read(path), zipf_text(5, 60, 300))


def test_unlisted_suffixes_are_passed_over(tmp_path: Path) -> None:
    """SRILM's pruning drops suffixes: `b c` and `c` stay histories though `b c` is not listed."""
    text = (
        "\\data\\\nngram 1=5\nngram 2=3\nngram 3=2\n\n\\1-grams:\n-0.5 </s>\n-99 <s> -0.3\n-0.4 b -0.7\n-0.3 a -0.2\n"
        "-0.9 c -0.6\n\n\\2-grams:\n-0.2 a b -0.15\n-0.1 <s> a -0.25\n-0.35 c a\n\n\\3-grams:\n-0.01 a b </s>\n"
        "-0.02 a b c\n\n\\end\\\n"
    )
    (tmp_path / "lm.arpa").write_text(text)
    assert_scores(arpa.read(tmp_path / "lm.arpa"), ["a b", "b a b", "a b c a b c", "c c a", "x a b x"])


def ngrams(ids: list[list[int]]) -> Ngrams:
    values = np.zeros(len(ids), np.float32)
    return Ngrams(np.array(ids, np.int32).reshape(len(ids), -1), values, values)


@pytest.mark.parametrize(
    "orders",
    [
        [[[0], [2]]],
        [[[1], [0]]],
        [[[0], [1]], [[1, 0], [0, 1]]],
        [[[0], [1]], [[0, 1], [0, 1]]],
        [[[0], [1]], [[0, 2]]],
        [[[0], [1]], [[0, -1]]],
        [[[0], [1]], [[2, 0]]],
        [[[0], [1]], [[0, 1]], [[1, 1, 0]]],
        [[[0, 1]]],
    ],
)
def test_bad_arrays_are_refused(orders: list[list[list[int]]]) -> None:
    with pytest.raises(ValueError, match="do not ascend|do not match"):
        Core([ngrams(ids) for ids in orders])


def test_bad_states_and_words_are_refused() -> None:
    core = Core([ngrams([[0], [1]]), ngrams([[0, 1]])])
    for state, word in ((0, 2), (0, -2), (3, 0), (4_000_000_000, 0)):
        with pytest.raises(ValueError, match="there is no state"):
            core.step(state, word)
    assert Core([]).step(0, -1) == (0, -100.0, 1)


def test_the_arrays_of_a_model_without_ngrams() -> None:
    """One node, the empty history, which no n-gram continues."""
    order_begin, word, log10_prob, log10_backoff, first, shorter = Core([]).arrays
    assert list(order_begin) == [0, 1]
    assert [list(array) for array in (word, log10_prob, log10_backoff, first, shorter)] == [[-1], [0], [0], [1, 1], [0]]
