"""Word posteriors against all paths of the lattice, and calibration on words of simulated correctness."""

import numpy as np
import pytest
from test_lattice import decode, paths_of, random_case

from asr.evaluation.calibrate import are_correct, fit
from asr.search.confidence import Calibration, calibration_error, coverage, reliability, word_confidences


def test_posteriors_equal_those_of_all_paths():
    """The maximum, over the frames of a word, of the share of paths with the word at that frame."""
    rng = np.random.default_rng(1)
    seen = 0
    for _ in range(80):
        lattice = decode(*random_case(rng, frames=7), 8.0).lattice
        reading = lattice.nbest(1)[0]
        paths = list(paths_of(lattice))
        weights = np.exp(-np.array([cost for _, cost in paths]))
        weights /= weights.sum()
        begins = lattice.state_frames[lattice.arcs["from"]]
        ends = np.maximum(lattice.state_frames[lattice.arcs["to"]], begins + 1)
        best = min(paths, key=lambda path: path[1])[0]
        expected = []
        for arc in best:
            word = lattice.arcs["word"][arc]
            shares = []
            for frame in range(begins[arc], ends[arc]):
                says = [
                    sum(lattice.arcs["word"][a] == word and begins[a] <= frame < ends[a] for a in arcs)
                    for arcs, _ in paths
                ]
                shares.append(float(np.dot(weights, says)))
            expected.append(min(1.0, max(shares)))
        if lattice.arcs["word"][best].tolist() != reading.labels:
            continue  # a tie
        assert word_confidences(lattice, reading.labels) == pytest.approx(expected, abs=1e-6)
        seen += len(expected)
    assert seen > 80


def test_a_path_outside_the_lattice_has_no_posteriors():
    lattice = decode(*random_case(np.random.default_rng(2)), 2.0).lattice
    assert word_confidences(lattice, [99, 98]) is None


def drawn(scale, offset, count=20000, seed=3):
    """Posteriors, and words that are correct with the probability of the calibration."""
    rng = np.random.default_rng(seed)
    posteriors = rng.beta(3, 1, count)
    truth = np.array(Calibration(scale, offset).apply(posteriors))
    return posteriors, rng.random(count) < truth


@pytest.mark.parametrize(("scale", "offset"), [(0.5, 1.0), (1.0, 0.0), (2.0, -1.0)])
def test_fit_recovers_the_true_calibration(scale, offset):
    posteriors, correct = drawn(scale, offset)
    found = Calibration.fit(posteriors, correct)
    assert (found.scale, found.offset) == pytest.approx((scale, offset), abs=0.12)
    assert calibration_error(found.apply(posteriors), correct) < 0.015


def test_calibration_keeps_order_and_range():
    posteriors = np.linspace(0, 1, 50)
    after = np.array(Calibration(0.7, 0.4).apply(posteriors))
    assert (np.diff(after) >= 0).all() and ((after > 0) & (after < 1)).all()
    assert Calibration().apply([0.0, 0.3, 1.0]) == [0.0, 0.3, 1.0]


@pytest.mark.parametrize("correct", [[True] * 5, [False] * 5])
def test_words_of_one_kind_give_a_finite_calibration(correct):
    found = Calibration.fit([0.2, 0.5, 0.9, 1.0, 0.0], correct)
    assert np.isfinite([found.scale, found.offset]).all()
    assert (np.array(found.apply([0.5])) > 0.5) == correct[0]


def test_error_and_coverage_of_a_small_example():
    confidences, correct = [0.95, 0.95, 0.15, 0.55], [True, False, False, True]
    # bins: 0.95 twice, half right: 0.45; 0.15: 0.15; 0.55: 0.45
    assert calibration_error(confidences, correct) == pytest.approx((2 * 0.45 + 0.15 + 0.45) / 4)
    edges, mean, right, words = reliability(confidences, correct)
    assert words.tolist() == [1, 1, 2] and right.tolist() == [0, 1, 0.5]
    assert edges == pytest.approx([0.1, 0.5, 0.9]) and mean == pytest.approx([0.15, 0.55, 0.95])
    thresholds, kept, precise = coverage(confidences, correct)
    assert thresholds.tolist() == [0.95, 0.55, 0.15]
    assert kept.tolist() == [0.5, 0.75, 1.0] and precise == pytest.approx([0.5, 2 / 3, 0.5])


def test_each_half_is_calibrated_on_the_other():
    posteriors, correct = drawn(0.5, 1.0, 4000)
    halves = np.arange(4000) % 2
    result = fit(posteriors, correct, halves)
    other = Calibration.fit(posteriors[halves == 1], correct[halves == 1])
    assert result.held_out[halves == 0] == pytest.approx(np.array(other.apply(posteriors[halves == 0])))
    assert calibration_error(result.held_out, correct) < calibration_error(posteriors, correct)


def test_correctness_comes_from_the_alignment():
    assert are_correct(["a", "x", "c", "d"], ["a", "b", "c"]) == [True, False, True, False]
    assert are_correct(["b"], ["a", "b"]) == [True]
    assert are_correct([], ["a"]) == []


def test_without_words_confidences_do_not_change(tmp_path):
    result = fit(np.zeros(0), np.zeros(0, bool), np.zeros(0))
    assert result.calibration == Calibration() and "no word" in result.table()
    result.write(tmp_path / "calibration.json")
    assert (tmp_path / "calibration.json").exists()
