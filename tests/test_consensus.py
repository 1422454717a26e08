"""Words of least expected errors, and confusion networks, against the enumeration of all readings."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from rapidfuzz.distance import Levenshtein
from test_confidence import SAID_ONE, searcher
from test_lattice import decode, random_case

from asr.errors import InputError
from asr.recognizer.hypotheses import hypothesis_of
from asr.search.consensus import WordArcs, align, confusions, consensus, least_errors
from asr.search.decoder import Decoder
from asr.search.lattice import Reading
from asr.search.phrases import Phrases
from asr.search.searchers import GraphSearcher


def cases(seed, number):
    """Lattices of readings of similar weights, the best words, the arcs, and the readings with weights of sum 1."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        lattice = decode(*random_case(rng, frames=5), 6.0).lattice
        if lattice.num_arcs < 5:
            continue
        best, lattice = lattice.best, lattice.scaled(0.3, 0.3)
        readings = [(tuple(r.labels), np.exp(-r.cost)) for r in lattice.readings()]
        total = sum(weight for _, weight in readings)
        arcs = WordArcs.of_lattice(lattice, lattice.arcs["word"].tolist())
        yield rng, lattice, best, arcs, [(words, weight / total) for words, weight in readings]


def risk(text, readings):
    """The expected word errors, by the definition."""
    return sum(weight * Levenshtein.distance(tuple(text), words) for words, weight in readings)


def test_the_words_of_least_expected_errors():
    """Over all texts of the lattice's words. The recursion finds the best one or, rarely, one a little worse."""
    gaps, of_readings, room, better = [], [], 0, 0
    for _, lattice, best, arcs, readings in cases(1, 120):
        found = consensus(arcs, [reading.labels for reading in lattice.nbest(5)])
        words = sorted(set(lattice.arcs["word"].tolist()))
        texts = {text for n in range(4) for text in product(words, repeat=n)} | {text for text, _ in readings}
        least = min(risk(text, readings) for text in texts)
        gaps.append(risk(found, readings) - least)
        room += risk(best, readings) > least + 1e-9
        better += risk(found, readings) < risk(best, readings) - 1e-9
        assert risk(found, readings) <= align(arcs, best).errors + 1e-6
        chosen = least_errors(lattice)  # a reading
        assert risk(chosen.labels, readings) <= align(arcs, chosen.labels).errors + 1e-6
        assert align(arcs, chosen.labels).errors <= align(arcs, lattice.nbest(1)[0].labels).errors + 1e-9
        of_readings.append(risk(chosen.labels, readings) - min(risk(text, readings) for text, _ in readings))
    assert room >= 10 and better >= 0.9 * room
    assert np.mean(np.array(gaps) < 1e-6) > 0.9 and np.mean(gaps) < 0.01 and np.mean(of_readings) < 0.02


def test_expected_errors_are_never_too_low_and_exact_without_words():
    for rng, _, _, arcs, readings in cases(2, 40):
        text = rng.integers(1, 4, rng.integers(0, 5)).tolist()
        assert align(arcs, text).errors >= risk(text, readings) - 1e-6
        assert confusions(arcs, text).errors == pytest.approx(align(arcs, text).errors, abs=1e-6)
        assert align(arcs, []).errors == pytest.approx(risk([], readings), abs=1e-6)


def test_the_shares_of_a_network_are_those_of_all_readings():
    """Each path has one word or none at each place. With a text of no words, the one place has each path's first word
    or another; with one word, the share of the word is that of the readings that hold it."""
    for _, _, best, arcs, readings in cases(3, 40):
        network = confusions(arcs, best)
        assert len(network.shares) == 2 * len(best) + 1
        assert all(sum(shares.values()) <= 1 + 1e-6 for shares in network.shares)
        words = sum(len(text) * weight for text, weight in readings)
        assert sum(sum(shares.values()) for shares in network.shares) <= words + 1e-6
        if len(best) == 1:
            holding = sum(weight for text, weight in readings if best[0] in text)
            assert network.shares[1].get(best[0], 0.0) == pytest.approx(holding, abs=0.03)


def test_the_nearest_reading_is_the_cheapest_of_those_with_the_fewest_errors():
    for rng, lattice, _, _, _ in cases(4, 60):
        text = tuple(rng.integers(1, 5, rng.integers(0, 6)).tolist())
        ranked = sorted((Levenshtein.distance(text, r.labels), round(r.cost, 4)) for r in lattice.readings())
        nearest = lattice.nearest(text)
        assert (Levenshtein.distance(text, nearest.labels), nearest.cost) == pytest.approx(ranked[0], abs=2e-4)
        assert lattice.oracle(text) == ranked[0][0]


def exact_shares(arcs, posteriors, text):
    """The recursion of `align` in fractions, place by place."""
    reached = [Fraction(1), *(sum(p for p, t in zip(posteriors, arcs.targets, strict=True) if t == s)
               for s in range(1, arcs.num_states))]  # fmt: skip
    weights = [p / reached[t] for p, t in zip(posteriors, arcs.targets, strict=True)]
    distances = [[Fraction(s == 0) * q for q in range(len(text) + 1)] for s in range(arcs.num_states)]

    def step(arc, q):
        """Of a word in place of the q-th, of one word more, and of none for the q-th."""
        before, word = distances[arcs.sources[arc]], arcs.words[arc]
        instead = before[q - 1] + (text[q - 1] != word) if q else before[q] + 2
        return instead, before[q] + 1, min(step(arc, q - 1)) + 1 if q else before[q] + 2

    for arc, target in enumerate(arcs.targets):
        for q in range(len(text) + 1):
            distances[target][q] += weights[arc] * min(step(arc, q))
    mass = [[Fraction(0)] * len(text) + [reached[s]] for s in range(arcs.num_states)]
    for p, source in zip(posteriors, arcs.sources, strict=True):
        mass[source][-1] -= p
    shares = [{} for _ in text]
    for arc in reversed(range(len(posteriors))):
        here = [weights[arc] * share for share in mass[arcs.targets[arc]]]
        for q in range(len(text), -1, -1):
            instead, more, none = step(arc, q)
            if none < min(instead, more):
                here[q - 1] += here[q]
                continue
            is_instead = instead <= more
            mass[arcs.sources[arc]][q - is_instead] += here[q]
            if is_instead:
                shares[q - 1][arcs.words[arc]] = shares[q - 1].get(arcs.words[arc], 0) + here[q]
    return shares


def test_rounding_decides_no_alignment():
    """Mean distances are no integers, so equal ones differ in their last bits: a word must not lose its share by it."""
    rng = np.random.default_rng(5)
    for _ in range(80):
        num_states, arcs, posteriors = 6, [], []
        reached = [Fraction(1)] + [Fraction(0)] * (num_states - 1)
        for source in range(num_states - 1):
            own = sorted(rng.choice(np.arange(1, 5), int(rng.integers(1, 4)), replace=False).tolist())
            sizes = rng.integers(1, 10, len(own)).tolist()
            for word, size in zip(own, sizes, strict=True):
                arcs.append((source, int(rng.integers(source + 1, min(source + 3, num_states))), word))
                posteriors.append(reached[source] * Fraction(size, sum(sizes)))
                reached[arcs[-1][1]] += posteriors[-1]
        kept = [k for k, p in enumerate(posteriors) if p]
        arcs, posteriors = [arcs[k] for k in kept], [posteriors[k] for k in kept]
        sources, targets, words = zip(*arcs, strict=True)
        lattice = WordArcs(num_states, np.array(sources), np.array(targets), words, np.array(posteriors, float))
        text = rng.integers(1, 5, rng.integers(2, 6)).tolist()
        for found, exact in zip(align(lattice, text).shares, exact_shares(lattice, posteriors, text), strict=True):
            exact = {word: float(share) for word, share in exact.items() if share}
            assert {word: share for word, share in found.items() if share > 1e-9} == pytest.approx(exact)


def test_texts_as_a_tree_have_their_own_risk():
    texts, weights = [["a", "b"], ["a", "c"], ["c"], []], [3.0, 2.0, 2.0, 1.0]
    readings = [Reading([], 5 - np.log(weight), 0.0, 0.0, 0.0, np.zeros(0, np.int32)) for weight in weights]
    arcs = WordArcs.of_readings(readings, texts)
    weights = [(tuple(text), weight / 8) for text, weight in zip(texts, weights, strict=True)]
    least = min(risk(text, weights) for n in range(3) for text in product("abc", repeat=n))
    assert risk(consensus(arcs, [["a", "b"]]), weights) == pytest.approx(least)
    network = confusions(arcs, ["a", "b"])
    assert network.shares[1] == pytest.approx({"a": 5 / 8})
    assert network.shares[3] == pytest.approx({"b": 3 / 8, "c": 4 / 8})
    assert confusions(WordArcs.of_readings([], []), []).shares == [{}]


# "one" is the cheapest reading; several with two words weigh more together.
UNSURE = np.log(np.array([[0.15, 0.45, 0.4], [0.32, 0.37, 0.31], [0.36, 0.22, 0.42], [0.05, 0.75, 0.2]], np.float32))


def found_by(**options):
    plain = searcher()
    return GraphSearcher(plain.decoder, plain.space, plain.tokens, nbest=20, **options)


def test_the_search_gives_the_reading_of_least_errors_and_its_network():
    plain = found_by().search(UNSURE)
    found = found_by(mbr=True, confusion=True).search(UNSURE)
    texts = {" ".join(w.word for w in plain.words): plain.cost} | dict(plain.alternatives)
    total = sum(np.exp(-cost) for cost in texts.values())
    readings = [(tuple(text.split()), np.exp(-cost) / total) for text, cost in texts.items()]
    words = [word.word for word in found.words]
    assert risk(words, readings) == pytest.approx(min(risk(text, readings) for text, _ in readings), abs=1e-6)
    assert risk(words, readings) < risk([w.word for w in plain.words], readings)
    assert found.cost == pytest.approx(texts[" ".join(words)], abs=1e-4)
    assert (" ".join(w.word for w in plain.words), pytest.approx(plain.cost)) in found.alternatives
    assert len(found.confusion) == 2 * len(words) + 1
    for choices in found.confusion:
        assert sum(share for _, share in choices) == pytest.approx(1.0)
        assert [share for _, share in choices] == sorted((share for _, share in choices), reverse=True)
    bins = hypothesis_of(found, 4, 0.5, "x", 2.0, 0.0).confusion
    assert all(0 <= b.start_s <= b.end_s <= 2.0 for b in bins)
    assert [b for b in bins if any(c.word in words for c in b.choices)]


def test_a_boost_decides_words_but_is_no_evidence_in_the_network():
    phrases = Phrases([([2], 12.0)], 2)
    plain = found_by(confusion=True).search(SAID_ONE)
    boosted = found_by(mbr=True, confusion=True).search(SAID_ONE, phrases)
    assert "two" in [w.word for w in boosted.words] and "two" not in [w.word for w in plain.words]
    network = hypothesis_of(boosted, 4, 0.5, "x", 2.0, 0.0).confusion
    said = {choice.word: choice.posterior for b in network for choice in b.choices if choice.posterior > 0.1}
    assert "two" not in said and "one" in said


def test_a_network_needs_a_lattice():
    for option in ("mbr", "confusion"):
        with pytest.raises(InputError, match=f"decoder.{option}=true needs a lattice"):
            plain = searcher()
            GraphSearcher(Decoder(plain.decoder.graph), plain.space, plain.tokens, **{option: True})
