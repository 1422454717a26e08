"""Lattices in the formats of other tools, and with the costs of other models."""

import math
from math import inf

import numpy as np
import pytest
import pywrapfst
from random_graphs import make_arrays, random_log_probs, to_graph
from test_lattice import decode, random_case

from asr.errors import InputError
from asr.search.decoder import Decoder
from asr.search.lattice_files import draw_lattice, read_kaldi, to_openfst, write_kaldi
from asr.search.rescoring import NgramScorer, compose, rerank, rescore

WORDS = ["<eps>", "a", "b", "c"]


def lattices(count, seed=1):
    rng = np.random.default_rng(seed)
    made = [decode(*random_case(rng), 6.0).lattice for _ in range(count)]
    return [lattice for lattice in made if lattice.complete]


def readings(lattice):
    return {tuple(r.labels): r.cost for r in lattice.readings()}


def test_openfst_has_the_same_paths():
    for lattice in lattices(60):
        fst = to_openfst(lattice)
        assert fst.verify()
        assert float(pywrapfst.shortestdistance(fst, reverse=True)[0]) == pytest.approx(
            lattice.nbest(1)[0].cost, abs=1e-4
        )
        assert fst.num_states() == lattice.num_states


@pytest.mark.parametrize("words", [None, WORDS])
def test_kaldi_archive_round_trip(tmp_path, words):
    made = {f"utt-{n}": lattice for n, lattice in enumerate(lattices(30))}
    write_kaldi(tmp_path / "lat.txt", made, words)
    back = read_kaldi(tmp_path / "lat.txt", words)
    assert list(back) == list(made)
    for name, lattice in made.items():
        old = {tuple(r.labels): r for r in lattice.readings()}
        new = {tuple(r.labels): r for r in back[name].readings()}
        assert new.keys() == old.keys()
        for labels, reading in old.items():
            assert new[labels].cost == pytest.approx(reading.cost, abs=1e-4)
            np.testing.assert_array_equal(new[labels].alignment, reading.alignment)


def test_kaldi_archive_includes_skipped_frames(tmp_path):
    blank, word = [0.0, -20.0], [-20.0, 0.0]
    log_probs = np.array([blank, blank, blank, word, word, blank, blank, blank], np.float32)
    arrays = make_arrays(0, {0: 0.0}, 1, [(0, 1, 0, 0.0, 0), (0, 2, 1, 0.5, 0)])
    lattice = Decoder(to_graph(arrays), beam=9.0, lattice_beam=5.0, blank_skip=0.9).decode_lattice(log_probs).lattice
    write_kaldi(tmp_path / "lat.txt", {"x": lattice})
    (reading,) = read_kaldi(tmp_path / "lat.txt")["x"].nbest(1)
    assert reading.alignment.tolist() == lattice.nbest(1)[0].alignment.tolist() == [0, 0, 0, 1, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("utt one\n0 1 2 0,0,\n\n", "lat.txt:1: expected a line with the id"),
        ("utt\n0 1 2 0,zero,\n\n", "lat.txt:2: not an arc"),
        ("utt\n1 0 2 0,0,\n\n", "lat.txt:2: states are out of order"),
        ("utt\n0 1 2 3 4 5\n\n", "lat.txt:2: "),
        ("utt\n0 1 99999999999 0,0,\n\n", "lat.txt:2: .* out of range"),
        ("utt\n0 1000000 1 0,0,\n\n", "lat.txt:2: .* without gaps"),
        ("utt\n0 1 1 0,0,1\n0 1 2 0,0,1_1\n1\n\n", "lat.txt:2: .* have different numbers of frames"),
        ("utt\n0 1 1 0,0,1\n0 2 2 0,0,1_1\n1\n2\n\n", "lat.txt:2: .* 1 and 2 frames"),
        ("utt\n0 1 1 0,0,1\n3 0,0,\n\n", "lat.txt:2: .* no path from state 0 reaches the final state 3"),
        ("utt\n0 1 1 0,0,1\n1\n1 0,2,\n\n", "lat.txt:2: .* state 1 has 2 final weights"),
        ("utt\n0 1 1 nan,0,1\n1\n\n", "lat.txt:2: .* not finite"),
        ("utt\n0 1 1 0,0,1\n1 0,-inf,\n\n", "lat.txt:3: .* not finite"),
        ("utt\n0 1 1 1e300,0,1\n1\n\n", "lat.txt:2: .* not finite"),
        ("utt\n0 1 1 0,0,1_0_2\n1\n\n", "lat.txt:2: .*[(]0 is out of range"),
        ("utt\n0 1 1 0,0,1\n\n", "lat.txt:2: .* no final state"),
        ("utt\n0 1 1 0,0,1\n1\n\nutt\n0 1 2 0,0,1\n1\n\n", "lat.txt:5: .* 'utt' occurs twice"),
    ],
)
def test_bad_archives_are_refused_with_the_line(tmp_path, text, said):
    (tmp_path / "lat.txt").write_text(text)
    with pytest.raises(InputError, match=said):
        read_kaldi(tmp_path / "lat.txt")


def test_ids_with_spaces_are_refused(tmp_path):
    with pytest.raises(InputError, match="spaces"):
        write_kaldi(tmp_path / "lat.txt", {"an utterance": lattices(3)[0]})
    assert not (tmp_path / "lat.txt").exists()


def test_drawing_shows_the_words(tmp_path):
    lattice = max(lattices(20), key=lambda x: x.num_arcs)
    if draw_lattice(lattice, tmp_path / "lat.svg", WORDS):
        assert "b:b" in (tmp_path / "lat.svg").read_text()


ARPA = """\\data\\
ngram 1=6
ngram 2=4

\\1-grams:
-1.0\t<unk>
-99\t<s>\t-0.3
-0.9\t</s>
-0.5\ta\t-0.2
-0.7\tb\t-0.1
-0.8\tc\t-0.4

\\2-grams:
-0.2\t<s> a
-0.1\ta b
-0.6\tb </s>
-0.3\tc c

\\end\\
"""


def nats(model, labels):
    return -math.log(10) * model.score(" ".join(WORDS[label] for label in labels))


def test_composition_adds_the_cost_of_the_model_to_every_path(tmp_path):
    (tmp_path / "lm.arpa").write_text(ARPA)
    kenlm = pytest.importorskip("kenlm", reason="the peer has no sources that compile on Python 3.13")
    model, scorer = kenlm.Model(str(tmp_path / "lm.arpa")), NgramScorer(tmp_path / "lm.arpa", WORDS)
    for lattice in lattices(60):
        before, after = readings(lattice), readings(compose(lattice, scorer, 0.7))
        assert after.keys() == before.keys()
        for labels, cost in after.items():
            assert cost == pytest.approx(before[labels] + 0.7 * nats(model, labels), abs=1e-3)
        same = readings(rescore(lattice, scorer, old=scorer))
        assert same == pytest.approx(before, abs=1e-3)
        for a, b in zip(lattice.nbest(3), rescore(lattice, scorer, old=scorer).nbest(3), strict=True):
            assert a.alignment.shape == b.alignment.shape


def test_rerank_adds_the_costs_of_a_callable():
    lattice = max(lattices(20), key=lambda x: x.num_arcs)
    listed = lattice.nbest(5)
    ranked = rerank(listed, lambda texts: [10.0 * text.count("a") for text in texts], WORDS, weight=0.5)
    assert [r.cost for r in ranked] == sorted(r.cost + 5.0 * r.labels.count(1) for r in listed)
    with pytest.raises(InputError, match="one number per text"):
        rerank(listed, lambda texts: [1.0], WORDS)
    with pytest.raises(InputError, match="one number per text"):
        rerank(listed, lambda texts: [math.nan] * len(texts), WORDS)


def test_a_missing_model_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match="nowhere.arpa"):
        NgramScorer(tmp_path / "nowhere.arpa", WORDS)


def test_an_empty_lattice_stays_empty(tmp_path):
    rng = np.random.default_rng(1)
    arrays = make_arrays(0, {}, 1, [(0, 1, 1, 0.0, 0)])
    lattice = decode(arrays, random_log_probs(rng, 3, 1, impossible=0), inf).lattice
    assert not lattice.complete
    assert len(lattice.nbest(5)) == 1
