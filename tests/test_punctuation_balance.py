"""The offsets of marks, against brute force; training text is kept out for them."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from asr.punctuation import training
from asr.punctuation.balance import FEWEST, OFFSETS, mean_f1, offsets
from asr.punctuation.marks import COMMA, FULL_STOP, NONE, QUESTION_MARK
from asr.punctuation.scores import Score


def drawn(seed: int, count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Scores of a net that tells little, with calibrated probabilities, and the true marks."""
    random = np.random.default_rng(seed)
    scores = np.array([2.0, 0.0, 0.0, -8.0]) + random.normal(size=(count, 4))
    shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    marks = (shares.cumsum(1) > random.random((count, 1))).argmax(1)
    return scores.astype(np.float32), marks.astype(np.uint8)


@pytest.mark.parametrize("seed", range(3))
def test_offsets_are_close_to_the_best_of_all_pairs(seed: int) -> None:
    scores, marks = drawn(seed)
    used = [COMMA, FULL_STOP]
    assert np.bincount(marks, minlength=4)[QUESTION_MARK] < FEWEST
    best = max(
        mean_f1((scores + np.array([0, comma, stop, 0])).argmax(1), marks, used)
        for comma, stop in itertools.product(OFFSETS[::2], OFFSETS[::2])
    )
    found = offsets(scores, marks)
    plain = mean_f1(scores.argmax(1), marks, used)
    assert found[NONE] == found[QUESTION_MARK] == 0 and (found[[COMMA, FULL_STOP]] > 0).all()
    assert mean_f1((scores + found).argmax(1), marks, used) >= best - 0.01 > plain + 0.05


def test_the_mean_f1_is_that_of_the_scores() -> None:
    marks, found = np.array([0, 1, 2, 1, 2, 0]), np.array([1, 1, 2, 0, 2, 0])
    by_hand = (Score(right=1, found=2, true=2).f1 + Score(right=2, found=2, true=2).f1) / 2
    assert mean_f1(found, marks, [COMMA, FULL_STOP]) == pytest.approx(by_hand)


def test_a_mark_that_hardly_occurs_has_no_offset() -> None:
    assert not offsets(np.zeros((0, 4), np.float32), np.zeros(0, np.uint8)).any()
    marks = np.repeat(np.array([NONE, COMMA], np.uint8), [1000, FEWEST - 1])
    assert not offsets(np.random.default_rng(1).normal(size=(len(marks), 4)), marks).any()


def test_no_word_that_is_kept_out_is_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each word is trained on, kept out, or in a run that touches both."""
    monkeypatch.setattr(training, "BLOCK", 40)
    monkeypatch.setattr(training, "KEPT_OUT", 4)
    (tmp_path / "a.txt").write_text("We go, now.\n" * 400)
    texts = training.corpus([str(tmp_path / "a.txt")])
    seen: dict[str, set[int]] = {"trained": set(), "kept out": set()}
    loss, balance = training._loss, training.offsets

    def trained(model: training.Trained, texts: training.Corpus, runs: list[tuple[int, int]]) -> object:
        seen["trained"].update(place for start, last in runs for place in range(start, last))
        return loss(model, texts, runs)

    def kept_out(scores: np.ndarray, marks: np.ndarray) -> np.ndarray:
        seen["kept out"].add(len(marks))
        assert scores.shape == (len(marks), 4)
        return balance(scores, marks)

    monkeypatch.setattr(training, "_loss", trained)
    monkeypatch.setattr(training, "offsets", kept_out)
    training.train(texts, 2, 1, lambda line: None)
    assert not [place for place in seen["trained"] if place // 40 % 4 == 3]
    assert len(seen["trained"]) > 0.6 * len(texts.words) and 0 < max(seen["kept out"]) < 0.3 * len(texts.words)
