"""Word posteriors against all paths of the lattice, and calibration on words of simulated correctness."""

from dataclasses import replace

import numpy as np
import pytest
from random_graphs import EXACT, make_arrays, to_graph
from test_lattice import decode, paths_of, random_case

from asr.config import DecoderConfig
from asr.evaluation.calibrate import are_correct, fit
from asr.search.confidence import (
    Calibration,
    calibration_error,
    confidences_by,
    coverage,
    information,
    ranking,
    reliability,
    search_of,
    warn_if_uncalibrated,
    word_confidences,
)
from asr.search.decoder import Decoder
from asr.search.phrases import Phrases
from asr.search.searchers import GraphSearcher
from asr.tokens import Tokens


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


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def test_the_fit_is_the_best_also_for_posteriors_near_one(share):
    """A third of the words have the posterior 1, as with nets that are too sure. Full steps of Newton's method went
    back and forth there, and the calibration was none. The truth is a grid."""
    rng = np.random.default_rng(3)
    posteriors = np.where(rng.random(1500) < 1 / 3, 1.0, rng.beta(2, 0.7, 1500))
    correct = rng.random(1500) < share * np.where(posteriors > 0.99, 1.0, 0.7)
    fitted = Calibration.fit(posteriors, correct)

    def loss(scale, offset):
        p = np.clip(Calibration(scale, offset).apply(posteriors), 1e-12, 1 - 1e-12)
        return -np.log(np.where(correct, p, 1 - p)).mean() + ((scale - 1) ** 2 + offset**2) / (2 * len(correct))

    least = loss(fitted.scale, fitted.offset)
    grid = [(s, o) for s in np.linspace(-1, 3, 21) for o in np.linspace(-3, 3, 13)]
    grid += [(fitted.scale + a, fitted.offset + b) for a in (-0.01, 0, 0.01) for b in (-0.01, 0, 0.01)]
    assert all(loss(scale, offset) >= least - 1e-9 for scale, offset in grid)


def by_utterance(calibration, count=4000, words=8, seed=4):
    """As `drawn`, in utterances of which some are harder than others."""
    rng = np.random.default_rng(seed)
    numbers = np.repeat(np.arange(count), words)
    posteriors = rng.beta(np.repeat(rng.uniform(1, 20, count), words), 1)
    return posteriors, rng.random(len(numbers)) < calibration.of_utterances(posteriors, numbers), numbers


@pytest.mark.parametrize("truth", [Calibration(0.3, -0.5, 0.6), Calibration(0.0, 0.2, 0.8), Calibration(0.7, -0.5)])
def test_fit_recovers_how_hard_utterances_lower_confidences(truth):
    posteriors, correct, numbers = by_utterance(truth)
    found = Calibration.fit(posteriors, correct, numbers)
    assert (found.scale, found.offset, found.clarity) == pytest.approx(
        (truth.scale, truth.offset, truth.clarity), abs=0.15
    )
    assert found.scale >= 0 and found.clarity >= 0
    assert calibration_error(found.of_utterances(posteriors, numbers), correct) < 0.015


def test_the_same_posterior_is_believed_less_in_a_hard_utterance():
    calibration = Calibration(0.3, -0.5, 0.6)
    posteriors, numbers = np.array([0.9, 0.99, 0.9, 0.4]), np.array([7, 7, 3, 3])
    found = calibration.of_utterances(posteriors, numbers)
    most = np.log(0.9999 / 0.0001)
    for utterance in (slice(0, 2), slice(2, 4)):  # by the formula
        odds = np.log(posteriors[utterance] / (1 - posteriors[utterance]))
        scale = 0.3 + 0.6 * odds.mean() / most
        assert found[utterance] == pytest.approx(1 / (1 + np.exp(0.5 - scale * odds)))
        assert calibration.apply(posteriors[utterance]) == pytest.approx(found[utterance])
    assert found[0] > found[2] > found[3]
    assert calibration.apply([]) == [] and "0.600" in calibration.formula()


def test_surer_words_that_are_wrong_more_often_get_two_numbers():
    posteriors, correct, numbers = by_utterance(Calibration(0.6, 0.5), 200)
    turned = Calibration.fit(posteriors, ~correct, numbers)
    assert turned == Calibration.fit(posteriors, ~correct) and turned.scale < 0 == turned.clarity


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


def test_ranking_and_information_by_their_definitions():
    rng = np.random.default_rng(5)
    p = rng.integers(1, 8, 60) / 8
    y = rng.random(60) < p
    pairs = [(a > b) + 0.5 * (a == b) for a in p[y] for b in p[~y]]
    assert ranking(p, y) == pytest.approx(np.mean(pairs))
    share = y.mean()
    entropy = -share * np.log2(share) - (1 - share) * np.log2(1 - share)
    assert information(p, y) == pytest.approx(1 + np.mean(np.log2(np.where(y, p, 1 - p))) / entropy)
    assert information(np.full(60, share), y) == pytest.approx(0)
    assert np.isnan(ranking([0.5], [True])) and np.isnan(information([0.5], [True]))


def test_a_calibration_of_another_search_says_so(caplog):
    fitted = DecoderConfig(beam=16, lattice_beam=8.0, confidence_scale=0.5)
    fitted = replace(fitted, calibrated_for=search_of(fitted))
    warn_if_uncalibrated(fitted)
    warn_if_uncalibrated(replace(fitted, nbest=5, reject_below=0.5, confusion=True))  # the same search
    warn_if_uncalibrated(replace(fitted, calibrated_for=[]))  # of an earlier version
    assert not caplog.text
    for _ in range(2):
        warn_if_uncalibrated(replace(fitted, lattice_beam=None, mbr=True))
    assert caplog.text.count("with lattice_beam=8, mbr=False, but the search has lattice_beam=None, mbr=True") == 1


def test_each_half_is_calibrated_on_the_other():
    posteriors, correct = drawn(0.5, 1.0, 4000)
    numbers = np.arange(4000) // 5
    own = numbers % 2 == 0
    result = fit(posteriors, correct, numbers)
    other = Calibration.fit(posteriors[~own], correct[~own], numbers[~own])
    assert result.held_out[own] == pytest.approx(other.of_utterances(posteriors[own], numbers[own]))
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


class _Spelled:
    """A search space of two words, one token each."""

    words, silence, is_closed, weights, of_pieces = ("<eps>", "one", "two"), None, False, {}, False

    def text(self, labels):
        return " ".join(self.words[label] for label in labels)

    def spellings(self, label, tokens):
        return [(label,)]


def searcher(beam=16.0, lattice_beam=8.0, blank_skip=None):
    loop = [(0, 1, 0, 0.0, 0), (0, 2, 1, 0.7, 1), (1, 2, 0, 0.0, 1), (1, 1, 0, 0.0, 0), (0, 3, 2, 0.7, 2),
            (2, 3, 0, 0.0, 2), (2, 1, 0, 0.0, 0), (1, 3, 2, 0.7, 2), (2, 2, 1, 0.7, 1)]  # fmt: skip
    decoder = Decoder(to_graph(make_arrays(0, {0: 0.0, 1: 0.0, 2: 0.0}, 3, loop)), beam=beam,
                      lattice_beam=lattice_beam, blank_skip=blank_skip)  # fmt: skip
    return GraphSearcher(decoder, _Spelled(), Tokens(["<blk>", "a", "b"]))


SAID_ONE = np.log(np.array([[0.97, 0.02, 0.01], [0.1, 0.88, 0.02], [0.97, 0.02, 0.01], [0.97, 0.02, 0.01]], np.float32))


@pytest.mark.parametrize("boost", [0.0, 1.0, 3.0, 10.0, 15.0, 20.0, 500.0])
@pytest.mark.parametrize("lattice_beam", [0.0, 2.0, 8.0])
def test_a_boost_is_no_evidence(boost, lattice_beam):
    """A word that was not said has a low confidence, whatever its boost; one that was said keeps its own."""
    plain = searcher(lattice_beam=lattice_beam).search(SAID_ONE)
    assert [w.word for w in plain.words] == ["one"]
    found = searcher(lattice_beam=lattice_beam).search(SAID_ONE, Phrases([([2], boost)], 2))
    for word in found.words:
        if word.word == "two":
            assert word.confidence < 0.1
        elif lattice_beam == 8.0:
            assert word.confidence == pytest.approx(plain.words[0].confidence, abs=0.02)
    assert any(w.word == "two" for w in found.words) == (boost > 3)
    same = searcher(lattice_beam=lattice_beam).search(SAID_ONE, Phrases([([1], min(boost, 100.0) / 100)], 2))
    assert [w.confidence for w in same.words] == pytest.approx([w.confidence for w in plain.words], abs=0.02)


class _Names(_Spelled):
    words = ("<eps>", "knew", "new", "car", "york")

    def spellings(self, label, tokens):
        return [((0,), (1,), (2,), (3, 4), (5, 6))[label]]


@pytest.mark.parametrize("boost", [3.0, 4.0, 10.0, 20.0, 34.0, 100.0])
def test_a_phrase_that_is_only_begun_is_no_evidence(boost, monkeypatch):
    """A word that sounds like the beginning of a boosted phrase keeps its confidence, although the boost prunes what
    speaks against it; small boosts take no second search."""
    arcs = [(0, 2, 1, 0.0, 0), (0, 3, 2, 0.0, 0), (0, 4, 0, 0.0, 1), (1, 5, 3, 0.0, 0), (0, 6, 0, 0.0, 2),
            (2, 7, 4, 0.0, 0)]  # fmt: skip
    e = 1e-9
    log_probs = np.log(np.array([[.01, .69, .3, e, e, e, e], [.01, e, e, .97, e, e, e], [.01, e, e, e, .97, e, e]],
                                np.float32))  # fmt: skip
    decoder = Decoder(to_graph(make_arrays(0, {0: 0.0}, 3, arcs)), beam=16.0, lattice_beam=8.0, min_active=0)
    names = GraphSearcher(decoder, _Names(), Tokens(["<blk>", *"abcdef"]))
    searches = []
    plain_lattice = GraphSearcher._plain_lattice
    monkeypatch.setattr(GraphSearcher, "_plain_lattice", lambda *a: searches.append(a) or plain_lattice(*a))
    expected = {"knew": 0.69 / 0.99, "new": 0.3 / 0.99, "car": 1.0}
    found = names.search(log_probs, Phrases([([2, 4], boost)], 4)).words
    assert {w.word: w.confidence for w in found} == pytest.approx({w.word: expected[w.word] for w in found}, abs=0.02)
    assert len(searches) == (boost > 4)


@pytest.mark.parametrize("boost", [0.0, 2.0, 6.0, 12.0, 20.0])
def test_a_word_that_was_said_once_is_not_found_twice(boost):
    found = searcher().search(SAID_ONE, Phrases([([1], boost)], 2))
    assert sum(w.confidence > 0.1 for w in found.words) == 1
    assert len(found.words) > 1 or boost < 12
    twice = np.concatenate([SAID_ONE, SAID_ONE])
    found = searcher().search(twice, Phrases([([1], boost)], 2))
    assert sum(w.confidence > 0.5 for w in found.words) == 2


def test_one_word_has_the_share_of_the_readings_that_hold_it():
    rng = np.random.default_rng(7)
    seen = 0
    for _ in range(60):
        arrays, log_probs = random_case(rng, frames=7)
        lattice = decode(arrays, log_probs, 6.0).lattice
        readings = list(lattice.readings())
        weights = np.exp([-reading.cost for reading in readings])
        decoder = Decoder(to_graph(arrays), lattice_beam=0.0, **EXACT)
        boosted = decoder.decode_lattice(log_probs, Phrases([([1], 9.0), ([1, 1], -18.0)], 99)).lattice
        if boosted.best is None or len(boosted.best) != 1:
            continue
        says = [boosted.best[0] in reading.labels for reading in readings]
        expected = weights @ says / weights.sum()
        assert confidences_by(lattice, boosted, boosted.best)[0] == pytest.approx(expected, abs=2e-2)
        seen += 1
    assert seen > 10


def test_suppressing_a_word_does_not_prove_another():
    unsure = np.log(np.array([[0.9, 0.05, 0.05], [0.1, 0.42, 0.48]], np.float32))
    plain = searcher().search(unsure)
    assert [w.word for w in plain.words] == ["two"]
    found = searcher().search(unsure, Phrases([([2], -20.0)], 2))
    assert [w.word for w in found.words] == ["one"]
    assert 0.8 < plain.words[0].confidence + found.words[0].confidence <= 1  # the rest: nothing was said


def test_posteriors_of_a_boosted_lattice_leave_boosts_out():
    """Against all paths of the lattice; the readings keep the boosts, and their order."""
    rng = np.random.default_rng(6)
    seen = 0
    for _ in range(60):
        arrays, log_probs = random_case(rng)
        phrases = Phrases([([1, 2], 2.0), ([3], 1.5), ([2], -1.0)], 99)
        lattice = Decoder(to_graph(arrays), lattice_beam=6.0, **EXACT).decode_lattice(log_probs, phrases).lattice
        paths = [(arcs, cost) for arcs, cost in paths_of(lattice.unboosted)]
        weights = np.exp([-cost for _, cost in paths])
        expected = np.zeros(lattice.num_arcs)
        for (arcs, _), weight in zip(paths, weights, strict=True):
            expected[arcs] += weight / weights.sum()
        np.testing.assert_allclose(lattice.posteriors(), expected, atol=1e-9)
        for reading in lattice.readings():
            counted = sum(2.0 for a, b in zip(reading.labels, reading.labels[1:], strict=False) if (a, b) == (1, 2))
            counted += 1.5 * reading.labels.count(3) - 1.0 * reading.labels.count(2)
            assert reading.boost_cost == pytest.approx(-counted, abs=1e-4)
            assert reading.cost == pytest.approx(reading.graph_cost + reading.acoustic_cost - counted, abs=1e-4)
            seen += bool(counted)
    assert seen > 30


def test_a_calibration_that_makes_confidences_worse_is_told():
    """The halves of the dev set disagree, so each is calibrated badly by the other."""
    numbers = np.arange(40)
    worse = fit(np.full(40, 0.5), numbers % 2 == 0, numbers)
    assert "makes confidences worse: expected error 0.000 before" in worse.warning() and "warning" in worse.table()
    better = fit(np.full(40, 0.9), numbers % 4 < 2, numbers)
    assert better.warning() is None and "warning" not in better.table()


def test_figures_that_need_wrong_words_are_not_nan_without_them():
    table = fit(np.full(8, 0.9), np.ones(8, bool), np.arange(8)).table()
    assert "nan" not in table and "ROC curve: undefined, because all words are correct" in table
