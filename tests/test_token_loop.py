"""Phrases in a search without a graph, against the rule counted over all alignments."""

from itertools import groupby, product
from unicodedata import normalize

import numpy as np
import pytest

from asr.errors import InputError
from asr.recognizer.searching import can_boost, phrases_for
from asr.search.live import live_search
from asr.search.searchers import GreedySearcher
from asr.search.token_loop import combined, token_loop
from asr.text.units import to_text
from asr.tokens import BLANK, SPACE, Tokens

CHARS = Tokens([BLANK, SPACE, "a", "b"])
TABLES = {
    "char": CHARS,
    "phone": Tokens([BLANK, "AA", SPACE, "B"]),
    "piece": Tokens([BLANK, "▁a", "b", "▁", "a"]),
    "jamo": Tokens([BLANK, SPACE, "ᄒ", "ᅡ"]),
}
LETTERS = {"char": "ab", "phone": ("AA", "B"), "piece": "ab", "jamo": "하"}


def collapsed(alignment):
    return [k for k, _ in groupby(alignment) if k]


def occurrences(symbols, phrase, unit):
    """The places at which a phrase is found in the tokens of an output."""
    words = phrase.split()
    if unit == "phone":
        found = [symbol for symbol in symbols if symbol != SPACE]
        return sum(found[i : i + len(words)] == words for i in range(len(found)))
    if unit == "piece":
        text = "".join("▁" + word for word in words)
        spans = [(i, j) for i in range(len(symbols)) for j in range(i + 1, len(symbols) + 1)]
        return sum("".join(symbols[i:j]) == text for i, j in spans)
    text = "".join(" " if symbol == SPACE else symbol for symbol in [SPACE, *symbols])
    wanted = normalize("NFD", "".join(" " + word for word in words))
    return sum(text.startswith(wanted, i) for i in range(len(text)))


def best_by_enumeration(log_probs, boosts, tokens, unit):
    """The least cost, and the tokens that have it."""
    frames, outputs = log_probs.shape
    costs = {}
    for alignment in product(range(outputs), repeat=frames):
        found = tuple(collapsed(alignment))
        costs[found] = min(costs.get(found, np.inf), -float(log_probs[range(frames), alignment].sum()))
    for found in costs:
        costs[found] -= sum(boost * occurrences(tokens.decode(found), p, unit) for p, boost in boosts.items())
    best = min(costs, key=costs.get)
    return costs[best], tokens.decode(best)


def draw(rng, frames, outputs, sharpness=2):
    x = sharpness * rng.standard_normal((frames, outputs)).astype(np.float32)
    return (x - np.log(np.exp(x).sum(1, keepdims=True))).astype(np.float32)


def drawn_phrases(rng, unit):
    def word():
        return "".join(rng.choice(list(LETTERS[unit]), 1 if unit == "phone" else rng.integers(1, 3)))

    return {" ".join(word() for _ in range(rng.integers(1, 3))): float(rng.uniform(0.5, 6)) for _ in range(3)}


@pytest.mark.parametrize("unit", TABLES)
def test_equals_enumeration_of_all_alignments(unit):
    rng, tokens, num_changed = np.random.default_rng(1), TABLES[unit], 0
    searcher = GreedySearcher(tokens, unit, beam=np.inf)
    for _ in range(10):
        log_probs, boosts = draw(rng, 5, len(tokens)), drawn_phrases(rng, unit)
        cost, symbols = best_by_enumeration(log_probs, boosts, tokens, unit)
        found = searcher.search(log_probs, searcher.loop.phrases(boosts))
        assert found.cost == pytest.approx(cost, abs=1e-4)
        text = " ".join(word.word for word in found.words)
        symbols = [s for s in symbols if unit != "phone" or s != SPACE]
        assert text == " ".join(to_text(symbols, unit).split())
        num_changed += text != " ".join(word.word for word in searcher.search(log_probs).words)
    assert num_changed > 3


@pytest.mark.parametrize("unit", TABLES)
def test_phrases_that_are_not_said_change_nothing(unit):
    rng, tokens = np.random.default_rng(2), TABLES[unit]
    searcher = GreedySearcher(tokens, unit)
    phrases = searcher.loop.phrases({("AA " if unit == "phone" else LETTERS[unit][0]) * 6: 1.0})
    for _ in range(10):
        log_probs = draw(rng, 8, len(tokens))
        plain, boosted = searcher.search(log_probs), searcher.search(log_probs, phrases)
        assert boosted.words == plain.words
        assert boosted.cost == pytest.approx(plain.cost, abs=1e-4)


@pytest.mark.parametrize("unit", TABLES)
def test_a_stream_finds_the_same_and_its_stable_words_stay(unit):
    rng, tokens = np.random.default_rng(3), TABLES[unit]
    searcher = GreedySearcher(tokens, unit)
    num_stable = 0
    for _ in range(10):
        log_probs, phrases = draw(rng, 30, len(tokens), 10), searcher.loop.phrases(drawn_phrases(rng, unit))
        live, stable = live_search(searcher, phrases), []
        for begin in range(0, 30, 4):
            live.accept(log_probs[begin : begin + 4])
            partial = live.partial()
            words = [word.word for word in partial.words]
            assert words[: len(stable)] == stable
            stable = words[: partial.num_stable]
            num_stable += len(stable)
        found = live.finish(np.zeros(0))
        assert found == searcher.search(log_probs, phrases)
        assert [word.word for word in found.words][: len(stable)] == stable
    assert num_stable > 50


def test_a_name_is_found_where_words_begin():
    """A net that hears `ba` for the name `bb`."""
    searcher = GreedySearcher(CHARS, "char")
    log_probs = np.full((6, 4), -20.0, np.float32)
    for frame, token in enumerate([3, 0, 2, 1, 2, 3]):  # ba ab
        log_probs[frame, token] = 0.0
    log_probs[2, 3] = log_probs[4, 3] = -4.0

    def text(boosts):
        found = searcher.search(log_probs, searcher.loop.phrases(boosts))
        return " ".join(word.word for word in found.words)

    assert text({"bb": 3.9}) == "ba ab"
    assert text({"bb": 4.1}) == "bb ab"
    assert text({"bb ab": 4.1}) == "bb ab"
    assert text({"b": 9.0}) == "ba b"  # the first is found already, and the second begins the second word


def test_what_the_tokens_cannot_spell(caplog):
    searcher = GreedySearcher(CHARS, "char")
    phrases = searcher.loop.phrases({"ab": 1.0, "ab cab": 1.0})
    assert phrases.left_out == {"ab cab": "cab"}
    assert "the model's tokens do not spell their words: 'cab' in 'ab cab'" in caplog.text
    with pytest.raises(InputError, match="do not spell words of any phrase.*'c' in 'c'; write phrases as"):
        searcher.loop.phrases({"c": 1.0})
    with pytest.raises(InputError, match="no words"):
        searcher.loop.phrases({" ": 1.0})
    with pytest.raises(InputError, match="negative boosts"):
        phrases_for(searcher, {"ab": -1.0})
    assert phrases_for(GreedySearcher(TABLES["phone"], "phone"), {"AA": -1.0}).suppress
    assert can_boost(searcher, "abba") and not can_boost(searcher, "abc") and not can_boost(searcher, SPACE)
    assert not can_boost(GreedySearcher(TABLES["piece"], "piece"), "a▁a")


def test_recognisers_of_the_same_tokens_share_the_loop_and_its_lists():
    first, second = (GreedySearcher(Tokens(CHARS.symbols), "char") for _ in range(2))
    assert first.loop.phrases({"ab": 2.0}) is second.loop.phrases({"ab": 2.0})
    assert token_loop(CHARS, "jamo") is not first.loop


def test_without_spaces_a_phrase_is_found_anywhere():
    tokens = Tokens([BLANK, "a", "b"])
    searcher = GreedySearcher(tokens, "char")
    log_probs = np.log(np.array([[0.1, 0.8, 0.1], [0.1, 0.5, 0.4], [0.1, 0.8, 0.1]], np.float32))
    found = searcher.search(log_probs, searcher.loop.phrases({"b": 1.0}))
    assert [word.word for word in found.words] == ["aba"]


def test_spellings_of_long_phrases_begin_with_the_likely_ones():
    words = [[(f"{word}{spelling}",) * (3 - spelling % 3) for spelling in range(5)] for word in "abcd"]
    found = list(dict.fromkeys(combined(words)))
    assert found[0] == tuple(word[0] for word in words)  # all as BPE spells them
    assert found[1] == tuple(word[2] for word in words)  # all with the fewest tokens
    assert len(found) == 2 + 4 * 4 and {
        sum(a != b for a, b in zip(found[0], other, strict=True)) for other in found[2:]
    } == {1}
