"""Rescoring of lattices against the scores of all their paths, one by one."""

import math
from dataclasses import replace
from math import inf

import numpy as np
import pytest
from test_lattice import decode, random_case
from test_neural_lm import model as neural_model

from asr.errors import InputError
from asr.lm import arpa
from asr.lm.neural.scorer import NeuralScorer
from asr.lm.training import train
from asr.search.confidence import word_confidences
from asr.search.consensus import WordArcs, confusions
from asr.search.rescoring import NgramScorer, compose
from asr.search.second_pass import PathScorer, SecondPass, open_scorer
from asr.search.space import SearchSpace
from asr.words import END, UNKNOWN

WORDS = ["<eps>", "a", "b", "c"]
SHARE, PENALTY, WORD_PENALTY = 0.6, -0.3, 0.2


@pytest.fixture(scope="module", params=["n-gram", "neural"])
def scorer(request, tmp_path_factory):
    """`c` is unknown to both."""
    if request.param == "neural":
        return NeuralScorer(neural_model([END, UNKNOWN, "a", "b"], layers=2, seed=7))
    path = tmp_path_factory.mktemp("lm") / "lm.arpa"
    arpa.write(train(["a a b a b", "b a a a", "a b b", "b x"], 4, min_count=2), path)
    return open_scorer(path)


def lattices(count, seed=1, lattice_beam=inf):
    rng = np.random.default_rng(seed)
    made = [decode(*random_case(rng, 7), lattice_beam, word_penalty=WORD_PENALTY).lattice for _ in range(count)]
    return [lattice for lattice in made if lattice.complete]


def by_paths(lattice, scorer):
    """Each word sequence with its new cost, by the formula of docs/concepts/lm.md, and its old reading."""
    old = list(lattice.readings())
    new = scorer.costs([" ".join(WORDS[label] for label in r.labels) for r in old])
    found = {}
    for r, cost in zip(old, new, strict=True):
        fixed = WORD_PENALTY * len(r.labels)
        language = (1 - SHARE) * (r.graph_cost - fixed) + SHARE * cost
        found[tuple(r.labels)] = r.acoustic_cost + r.boost_cost + fixed + language + PENALTY * len(r.labels), r
    return found


def rescored(lattice, scorer, order, beam=inf):
    per_word = SHARE * WORD_PENALTY + PENALTY
    return compose(lattice, scorer.along(WORDS, order), SHARE, 1 - SHARE, per_word, beam)


def test_all_paths_have_their_costs_alignments_and_posteriors(scorer):
    changed = split = 0
    for lattice in lattices(120):
        wanted = by_paths(lattice, scorer)
        found = rescored(lattice, scorer, 50)
        readings = list(found.readings())
        assert {tuple(r.labels) for r in readings} == wanted.keys() and len(readings) == len(wanted)
        for r in readings:
            cost, old = wanted[tuple(r.labels)]
            assert (r.cost, r.acoustic_cost) == pytest.approx((cost, old.acoustic_cost), abs=1e-4)
            assert r.alignment.tolist() == old.alignment.tolist()
        assert readings[0].cost == pytest.approx(min(cost for cost, _ in wanted.values()), abs=1e-4)
        weights = {labels: math.exp(-cost) for labels, (cost, _) in wanted.items()}
        total = sum(weights.values())
        assert np.exp(found.log_masses()[0]) == pytest.approx(total, rel=1e-3)
        first = found.posteriors()[: found.first[1]].sum()
        assert first == pytest.approx(sum(w for labels, w in weights.items() if labels) / total, abs=1e-4)
        assert (found.arcs["from"] < found.arcs["to"]).all() and (np.diff(found.arcs["from"]) >= 0).all()
        best = readings[0].labels
        assert all(0 <= c <= 1 for c in word_confidences(found, best))
        bins = confusions(WordArcs.of_lattice(found, [WORDS[w] for w in found.arcs["word"]]), [WORDS[w] for w in best])
        assert all(sum(dict(shares).values()) <= 1 + 1e-6 for shares in bins.shares)
        changed += best != lattice.nbest(1)[0].labels
        split += found.num_states > lattice.num_states
    assert changed > 8 and split > 20


def test_it_equals_the_ranking_of_all_readings(scorer):
    space = SearchSpace.__new__(SearchSpace)
    object.__setattr__(space, "words", WORDS)
    for lattice in lattices(40, seed=2):
        lists = SecondPass(scorer, SHARE, PENALTY, 100_000, WORD_PENALTY)
        whole = replace(lists, paths=scorer.along(WORDS, 50))
        a, b = (list(second.apply(lattice, space).readings()) for second in (lists, whole))
        assert [r.cost for r in a] == pytest.approx([r.cost for r in b], abs=1e-4)
        assert {tuple(r.labels) for r in a} == {tuple(r.labels) for r in b}


def test_merged_histories_follow_the_cheapest_path():
    """Each path costs what the model says after the words of the cheapest path to the last place that it shares with
    others, so the cheapest path of all may differ from the exact one, but each path to a state whose last words no
    other path has is exact."""
    scorer = NeuralScorer(neural_model([END, UNKNOWN, "a", "b"], layers=2, seed=7))
    sizes = []
    for lattice in lattices(60, seed=3):
        exact = by_paths(lattice, scorer)
        for order in (1, 2, 3, 8):
            found = rescored(lattice, scorer, order)
            readings = {tuple(r.labels): r.cost for r in found.readings()}
            assert readings.keys() == exact.keys()
            sizes.append((order, found.num_states))
            for labels, cost in readings.items():
                if len(labels) < order:  # with the beginning among the words, such a history is whole
                    assert cost == pytest.approx(exact[labels][0], abs=1e-4)
            assert found.num_states == len(_places(lattice, order))
    assert sum(n for order, n in sizes if order == 1) < sum(n for order, n in sizes if order == 3)


def _places(lattice, order):
    """The pairs of a state and the last words of a path to it."""
    found, stack = set(), [(0, ("<s>",)[: order - 1])]
    while stack:
        state, words = stack.pop()
        if (state, words) in found:
            continue
        found.add((state, words))
        for arc in range(lattice.first[state], lattice.first[state + 1]):
            label = int(lattice.arcs["word"][arc])
            known = UNKNOWN if WORDS[label] == "c" else WORDS[label]
            after = (*words, known)
            stack.append((int(lattice.arcs["to"][arc]), after[max(0, len(after) - order + 1) :]))
    return found


@pytest.mark.parametrize("beam", [0.0, 1.0, 4.0])
def test_a_beam_keeps_cheap_paths_and_leaves_no_dead_ends(scorer, beam):
    fewer = 0
    for lattice in lattices(60, seed=4):
        exact = by_paths(lattice, scorer)
        found = rescored(lattice, scorer, 50, beam)
        readings = {tuple(r.labels): r.cost for r in found.readings()}
        assert readings and readings.keys() <= exact.keys()
        for labels, cost in readings.items():
            assert cost == pytest.approx(exact[labels][0], abs=1e-4)
        assert max(found.to_end) < inf and set(found.arcs["to"]) == set(range(1, found.num_states))
        fewer += len(readings) < len(exact)
        least = min(lattice.readings(), key=lambda r: r.cost)
        if len(exact) == 1:
            assert readings.keys() == {tuple(least.labels)}
    assert fewer > 10


def test_what_is_refused(scorer):
    assert isinstance(scorer, PathScorer)
    with pytest.raises(InputError, match="do not have the same unit"):
        scorer.along(["<eps>", "▁a", "b"], 3)
    with pytest.raises(InputError, match="not finite"):
        broken = scorer.along(WORDS, 3)
        step = broken.step
        broken.step = lambda *given: (step(*given)[0], step(*given)[1] * np.nan)
        compose(lattices(30)[0], broken, 1.0)


def test_an_n_gram_model_keeps_no_more_histories_than_it_knows(tmp_path):
    arpa.write(train(["a a b a b", "b a a a", "a b b"], 2), tmp_path / "lm.arpa")
    for lattice in lattices(30, seed=5):
        found = compose(lattice, NgramScorer(tmp_path / "lm.arpa", WORDS), 1.0)
        assert found.num_states <= lattice.num_states * 4  # a word, its absence, or the beginning
