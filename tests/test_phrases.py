"""Boosted phrases against their rule: a path gains a phrase's boost at each place where the phrase occurs."""

import sys
from math import inf
from pathlib import Path

import numpy as np
import pytest
from random_graphs import (
    EXACT,
    Scoring,
    make_arrays,
    random_arrays,
    random_log_probs,
    readings_by_enumeration,
    to_graph,
    without_epsilon_cycles,
)

from asr.errors import InputError
from asr.frozen import FrozenDict
from asr.search import endpoint
from asr.search.decoder import Decoder
from asr.search.phrases import MOST_KEPT, KeptPhrases, Phrases, read_phrases


def boost_of(words, phrases):
    """The rule, counted place by place; of a phrase given twice the last boost holds."""
    phrases = {tuple(phrase): boost for phrase, boost in phrases}.items()
    return sum(
        boost
        for phrase, boost in phrases
        for begin in range(len(words) - len(phrase) + 1)
        if tuple(words[begin : begin + len(phrase)]) == tuple(phrase)
    )


def random_phrases(rng, num_words=3):
    lengths = rng.integers(1, 5, rng.integers(1, 6))
    return [(rng.integers(1, num_words + 1, n).tolist(), float(rng.uniform(-1, 4))) for n in lengths]


@pytest.mark.parametrize("lattice_beam", [None, 6.0])
def test_equals_enumeration_of_all_paths(lattice_beam):
    rng = np.random.default_rng(1)
    num_changed = 0
    for _ in range(150):
        arrays = without_epsilon_cycles(random_arrays(rng, rng.integers(1, 5), rng.integers(3, 10), 3))
        arrays.arcs["olabel"] %= 4
        log_probs = random_log_probs(rng, rng.integers(1, 6), 3)
        phrases = random_phrases(rng)
        plain = readings_by_enumeration(arrays, Scoring(log_probs))
        expected = {words: cost - boost_of(words, phrases) for words, cost in plain.items()}
        decoder = Decoder(to_graph(arrays), lattice_beam=lattice_beam, **EXACT)
        path = decoder.decode(log_probs, Phrases(phrases, 99))
        assert path.cost == pytest.approx(min(expected.values()), abs=1e-3)
        assert expected[tuple(path.labels)] == pytest.approx(path.cost, abs=1e-3)
        num_changed += tuple(path.labels) != min(plain, key=plain.get)
        if lattice_beam:
            best = min(expected.values())
            lattice = decoder.decode_lattice(log_probs, Phrases(phrases, 99)).lattice
            found = {tuple(r.labels): r.cost for r in lattice.readings()}
            for words, cost in expected.items():
                if cost < best + lattice_beam - 1e-3:
                    assert found[words] == pytest.approx(cost, abs=1e-3)
    assert num_changed > 10


def test_a_lattice_knows_whether_a_phrase_is_said_in_it():
    """Against all its readings; phrases that are only begun leave boosts on arcs, which are given back."""
    rng = np.random.default_rng(3)
    only_begun = said = 0
    for _ in range(300):
        arrays = without_epsilon_cycles(random_arrays(rng, rng.integers(1, 6), rng.integers(3, 12), 3))
        arrays.arcs["olabel"] %= 4
        phrases = [(rng.integers(1, 4, rng.integers(2, 5)).tolist(), float(rng.uniform(1, 4))) for _ in range(2)]
        decoder = Decoder(to_graph(arrays), lattice_beam=6.0, **EXACT)
        lattice = decoder.decode_lattice(random_log_probs(rng, rng.integers(2, 7), 3), Phrases(phrases, 99)).lattice
        expected = any(boost_of(reading.labels, phrases) for reading in lattice.readings())
        assert lattice.has_preferred == expected
        only_begun += lattice.has_boosts and not expected
        said += expected
    assert only_begun > 20 and said > 20


def chain(num_words):
    """Any sequence of words, one frame each: token k is word k."""
    arcs = [(0, word, word, 1.0, 0) for word in range(1, num_words + 1)]
    return to_graph(make_arrays(0, {0: 0.0}, 1, arcs))


def forced(words, num_words):
    """Log-probs that allow one word per frame."""
    log_probs = np.full((len(words), num_words), -inf, np.float32)
    log_probs[range(len(words)), np.array(words, int) - 1] = 0.0
    return log_probs


@pytest.mark.parametrize(
    ("words", "gain"),
    [
        ([1, 2, 3], 4.0 + 1.5),  # the long phrase and the one at its end
        ([1, 2, 4], 0.0),  # begun and abandoned
        ([1, 2], 0.0),  # cut off by the end
        ([1, 1, 2, 3], 5.5),  # the failure leads to a shorter beginning
        ([2, 3, 2, 3], 3.0),
        ([1, 2, 3, 1, 2, 3], 11.0),
    ],
)
def test_phrases_overlap_and_are_refunded(words, gain):
    phrases = Phrases([([1, 2, 3], 4.0), ([2, 3], 1.5)], 4)
    decoder = Decoder(chain(4), **EXACT)
    assert decoder.decode(forced(words, 4), phrases).cost == pytest.approx(len(words) - gain)


def test_random_texts():
    rng = np.random.default_rng(2)
    decoder = Decoder(chain(3), **EXACT)
    for _ in range(200):
        phrases = random_phrases(rng)
        words = rng.integers(1, 4, rng.integers(0, 12)).tolist()
        cost = decoder.decode(forced(words, 3), Phrases(phrases, 99)).cost
        assert cost == pytest.approx(len(words) - boost_of(words, phrases), abs=1e-4)


def test_long_lists():
    """Words that continue many phrases, in phrases that begin, end and contain others."""
    rng = np.random.default_rng(4)
    decoder = Decoder(chain(100), **EXACT)
    for _ in range(5):
        phrases = [(rng.zipf(1.5, rng.integers(1, 5)) % 100 + 1, float(rng.uniform(-1, 4))) for _ in range(1000)]
        compiled = Phrases([(words.tolist(), boost) for words, boost in phrases], 100)
        words = (rng.zipf(1.5, 60) % 100 + 1).tolist()
        cost = decoder.decode(forced(words, 100), compiled).cost
        assert cost == pytest.approx(len(words) - boost_of(words, phrases), abs=1e-3)


def test_only_words_that_a_phrase_continues_have_states():
    """The search keeps paths in different states apart, so each state costs time."""
    assert Phrases([([word], 1.0) for word in range(1, 100)], 99).automaton.num_states == 1
    assert Phrases([([1, 2], 1.0), ([1, 3], 1.0), ([3], 1.0)], 3).automaton.num_states == 2
    assert Phrases([([1, 2, 3], 1.0), ([2, 4], 1.0), ([3, 2], 1.0)], 4).automaton.num_states == 5


def test_beam_counts_boosts_before_it_prunes():
    """Word 2 costs 5 more than word 1; a beam of 4 would drop it if its boost of 6 did not count at once."""
    graph = to_graph(make_arrays(0, {0: 0.0}, 1, [(0, 1, 1, 0.0, 0), (0, 2, 2, 5.0, 0)]))
    decoder = Decoder(graph, beam=4.0, min_active=0)
    log_probs = np.zeros((3, 2), np.float32)
    assert decoder.decode(log_probs).labels == [1, 1, 1]
    assert decoder.decode(log_probs, Phrases([([2], 6.0)], 2)).labels == [2, 2, 2]
    assert decoder.decode(log_probs, Phrases([([2, 2], 12.0)], 2)).labels == [2, 2, 2]


def test_streams_and_batches_take_them_too():
    rng = np.random.default_rng(3)
    arrays = without_epsilon_cycles(random_arrays(rng, 8, 40, 5, finals=1.0))
    arrays.arcs["olabel"] %= 4
    log_probs = random_log_probs(rng, 30, 5, impossible=0)
    decoder, phrases = Decoder(to_graph(arrays), beam=8.0), Phrases(random_phrases(rng), 99)
    whole = decoder.decode(log_probs, phrases)
    stream = decoder.stream(phrases)
    for begin in range(0, 30, 4):
        stream.accept(log_probs[begin : begin + 4])
        stream.partial()
    assert stream.finish().labels == whole.labels
    assert [p.cost for p in decoder.decode_batch([log_probs] * 3, 2, phrases)] == [whole.cost] * 3
    assert decoder.decode(log_probs).cost != whole.cost  # a search that is used again forgets the phrases


def test_phrases_by_their_words():
    labels = {"new": 1, "york": 2, "old": 3}
    phrases = Phrases.of_words({"new york": 2.0}, labels, 3)
    decoder = Decoder(chain(3), **EXACT)
    assert decoder.decode(forced([1, 2], 3), phrases).cost == pytest.approx(0.0)
    assert phrases.left_out == {}


def test_a_phrase_outside_the_vocabulary_costs_that_phrase_alone(caplog):
    labels = {"new": 1, "york": 2, "old": 3}
    phrases = Phrases.of_words({"old yorkshire": 1.0, "new york": 2.0, "jersey": 3.0}, labels, 3)
    assert phrases.left_out == {"old yorkshire": "yorkshire", "jersey": "jersey"}
    assert "2 of 3 phrases are not boosted" in caplog.text and "'yorkshire' in 'old yorkshire'" in caplog.text
    assert Decoder(chain(3), **EXACT).decode(forced([1, 2], 3), phrases).cost == pytest.approx(0.0)
    with pytest.raises(InputError, match="'yorkshire' in 'old yorkshire'; give phrases of its words"):
        Phrases.of_words({"old yorkshire": 1.0}, labels, 3)
    with pytest.raises(InputError, match="finite"):
        Phrases.of_words({"old yorkshire": inf, "new": 1.0}, labels, 3)


@pytest.mark.parametrize("boost", [None, 3.0, 6.0, -4.0])
def test_partials_cost_what_their_words_cost(boost):
    """A phrase that is begun has earned nothing; an endpoint comes when it comes without phrases."""
    loop = [(0, 1, 0, 0.0, 0), (0, 2, 1, 1.0, 0), (0, 3, 2, 1.0, 0)]
    decoder = Decoder(to_graph(make_arrays(0, {0: 0.0}, 1, loop)))
    word, blank = (np.array([row], np.float32) for row in ([-9, -0.01, -9], [-0.01, -9, -9]))
    stream = decoder.stream(None if boost is None else Phrases([([1, 2], boost)], 2))
    stream.accept(word)
    for frame in range(1, 18):
        assert endpoint.reached(stream.partial(), 0.03) is None
        stream.accept(blank)
        partial = stream.partial()
        assert partial.path.cost == pytest.approx(1.01 + 0.01 * frame, abs=1e-4)
        assert partial.final_cost == pytest.approx(0.0, abs=1e-4)
    assert endpoint.reached(partial, 0.03).silence_s == 0.5
    assert stream.finish().cost == pytest.approx(partial.path.cost, abs=1e-5)


def test_random_partials():
    """A partial path is the cheapest by the rule, of all paths that any frame so far allows."""
    rng = np.random.default_rng(8)
    for _ in range(40):
        arrays = without_epsilon_cycles(random_arrays(rng, 3, 8, 3, finals=1.0))
        arrays.arcs["olabel"] %= 4
        arrays.final_costs[:] = 0  # a partial path ends anywhere
        log_probs, phrases = random_log_probs(rng, 5, 3, impossible=0), random_phrases(rng)
        stream = Decoder(to_graph(arrays), **EXACT).stream(Phrases(phrases, 99))
        for frame in range(5):
            stream.accept(log_probs[frame : frame + 1])
            plain = readings_by_enumeration(arrays, Scoring(log_probs[: frame + 1]))
            partial = stream.partial()
            if len(partial.path.alignment) > frame + 1 or partial.final_cost == inf:
                break  # the search died
            expected = min(cost - boost_of(words, phrases) for words, cost in plain.items())
            assert partial.path.cost == pytest.approx(expected, abs=1e-3)
            assert partial.final_cost == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize(("per_word", "boosts"), [(False, (2.0, 2.0, 5.0)), (True, (2.0, 6.0, 5.0))])
def test_a_file_of_phrases(tmp_path, per_word, boosts):
    """A boost of its own is that of the whole phrase."""
    (tmp_path / "phrases.txt").write_text("york\n\nnew  york city\nold york\t5\n")
    found = read_phrases(tmp_path / "phrases.txt", 2.0, per_word)
    assert found == dict(zip(("york", "new york city", "old york"), boosts, strict=True))


def kb_of_huge_pages():
    """The size of all memory for which the process has asked for pages of 2 MB."""
    size = total = 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, *values = line.split()
        size = int(values[0]) if name == "Size:" else size
        total += size if name == "VmFlags:" and "hg" in values else 0
    return total


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_requests_bring_asks_for_no_pages_of_2_mb():
    """A list of phrases uses few places of a table of all words, and the graph of a word list is small."""
    before = kb_of_huge_pages()
    phrases = Phrases([([1 + 250_000 * i], 1.0) for i in range(4)], 1_000_000)
    graph = to_graph(random_arrays(np.random.default_rng(0)))
    assert phrases.automaton.num_states == 1 and graph.num_states == 4
    assert kb_of_huge_pages() == before


def test_invalid_phrases_are_refused():
    with pytest.raises(InputError, match="no words"):
        Phrases([([], 1.0)], 3)
    with pytest.raises(InputError, match="label 0"):
        Phrases([([0], 1.0)], 3)
    with pytest.raises(InputError, match="label 4, which is not a word"):
        Phrases([([4], 1.0)], 3)
    with pytest.raises(InputError, match="fewer words"):
        Decoder(chain(4)).decode(forced([1], 4), Phrases([([1], 1.0)], 3))
    with pytest.raises(InputError, match="finite"):
        Phrases([([1], inf)], 3)


@pytest.mark.parametrize("boosts", [{"new": "high"}, {"new": None}, {"new": 1e39}, ["new"], {5: 1.0}])
def test_boosts_of_another_kind_are_refused(boosts):
    with pytest.raises(InputError, match="boost"):
        Phrases.of_words(boosts, {"new": 1}, 1)


def test_labels_out_of_range_are_refused():
    with pytest.raises(InputError):
        Phrases([([2**40], 1.0)], 3)


def test_large_boosts_change_no_other_words():
    rng = np.random.default_rng(5)
    arrays = without_epsilon_cycles(random_arrays(rng, 20, 150, 6, finals=1.0))
    arrays.arcs["olabel"] %= 4
    decoder = Decoder(to_graph(arrays))
    small, large = (Phrases([([9, 8], boost)], 99) for boost in (1.0, 1e4))
    for _ in range(30):
        log_probs = random_log_probs(rng, 12, 6, impossible=0) - 35
        assert decoder.decode(log_probs, large).labels == decoder.decode(log_probs, small).labels


def test_long_lists_of_single_words_are_warned_of(caplog):
    words = [f"w{k}" for k in range(60_000)]
    labels = {word: k + 1 for k, word in enumerate(words)}

    def compiled(phrases, boost):
        caplog.clear()
        Phrases.of_words(dict.fromkeys(phrases, boost), labels, len(words))
        return caplog.text

    said = compiled(words[:10_000], 3.0)
    assert "10000 single words are boosted by 3.0 on average" in said and "a boost of at most 1.1" in said
    assert "at most 3.0" in compiled(words[:1_000], 1e4)
    for phrases, boost in [
        (words[:10_000], 1.0), (words[:999], 9.0), ([f"{word} w1" for word in words[:10_000]], 9.0),
        (words[:10_000], -9.0),
    ]:  # fmt: skip
        assert not compiled(phrases, boost)


def counting():
    """Kept lists of two words, and the lists that were compiled for them."""
    compiled = []

    def compile(boosts):
        compiled.append(boosts)
        return Phrases.of_words(boosts, {"new": 1, "york": 2}, 2)

    return KeptPhrases(compile), compiled


def test_lists_are_compiled_once_by_their_content(caplog):
    kept, compiled = counting()
    first = kept({"new york": 2.0, "old york": 1.0})
    caplog.clear()
    assert kept({"new york": 2.0, "old york": 1.0}) is first and len(compiled) == 1
    assert "1 of 2 phrases are not boosted" in caplog.text  # said for each request
    assert kept({"new york": 2.5}) is not first and len(compiled) == 2
    for wrong in ({"york": True}, {"york": [1]}, ["york"], {5: 1.0}):
        kept({"york": 1.0})
        with pytest.raises(InputError, match="boost|must be a mapping"):
            kept(wrong)
    for number in range(MOST_KEPT):
        kept({"york": 2.0 + number})
    count = len(compiled)
    assert kept({"new york": 2.0, "old york": 1.0}) is not first and len(compiled) == count + 1  # it was dropped


def test_a_read_only_list_is_known_by_itself():
    kept, compiled = counting()
    boosts = FrozenDict({"new york": 2.0})
    first = kept(boosts)
    assert kept(boosts) is first and kept({"new york": 2.0}) is first and len(compiled) == 1
    for number in range(3 * MOST_KEPT):  # others, at places in memory that may have been used before
        assert kept(FrozenDict({"york": 3.0 + number})) is not first
    assert kept(boosts) is not first and len(compiled) == 2 + 3 * MOST_KEPT  # it was dropped
    hot = FrozenDict({"new york": 1.5})
    for number in range(3 * MOST_KEPT):
        kept(hot)
        kept({"york": 50.0 + number})
    assert sum(boosts == hot for boosts in compiled) == 1  # the list that is used most is not dropped
