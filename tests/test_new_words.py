"""Words and slots that a request brings along, against brute force; invalid ones are refused."""

import math
import random

import numpy as np
import pytest
from test_dynamic import best, make_language, no_pronunciation
from test_graph import MODES, brute_force

from asr.errors import InputError
from asr.search.decoder import Decoder
from asr.search.new_words import NewWord, read_new_words
from asr.search.searchers import GraphSearcher
from asr.search.space import LIKELY, LIKELY_ALONE, SearchSpace
from asr.text.lexicon import Lexicon


def cost_with_slots(ngrams, words, slots, history=("<s>",)):
    """As `sentence_cost`; a word may also fill a slot: {slot: {word: cost}}."""
    order = max(map(len, ngrams))
    while history and history not in ngrams:
        history = history[1:]
    costs = [math.inf]
    word = words[0] if words else "</s>"
    symbols = {word: 0.0} | {slot: members[word] for slot, members in slots.items() if word in members}
    for symbol, fee in symbols.items():
        if (gram := (*history, symbol)) in ngrams:
            after = gram[-(order - 1) :] if order > 1 else ()
            rest = cost_with_slots(ngrams, words[1:], slots, after) if words else 0.0
            costs.append(-math.log(10) * ngrams[gram][0] + fee + rest)
    if history:
        rest = cost_with_slots(ngrams, words, slots, history[1:])
        costs.append(-math.log(10) * ngrams[history][1] + rest)
    return min(costs)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(15))
def test_new_words_and_slots_equal_brute_force(mode, seed, tmp_path):
    rng = random.Random(seed)
    contexts = ["<unk>"] if seed % 2 else []
    tokens, lexicon, ngrams, space = make_language(rng, mode, tmp_path, ["<name>", "<place>", *contexts])

    def spell():
        return tuple(rng.choice("ab") for _ in range(rng.randint(1, 3)))

    new = [
        NewWord("n1", (spell(),), "<name>", 0.5),
        NewWord("n2", (spell(), spell()), "<name>"),
        NewWord("w0", (), "<name>", -0.5),  # of the lexicon
        NewWord("anew", (spell(),), None, 1.0),
        NewWord("n1"),
    ]
    total = math.log(sum(math.exp(w) for w in (0.5, 0.0, -0.5)))
    has_contexts = any(len(gram) > 1 and gram[-1] == "<unk>" for gram in ngrams)
    unigrams = space.language.ngram.unigrams
    share = LIKELY if has_contexts else LIKELY_ALONE
    place = space.language.ngram.words.index("<unk>")
    alone = float(np.quantile(unigrams["cost"], share) - unigrams["cost"][unigrams["word"] == place][0])
    slots = {
        "<name>": {"n1": total - 0.5, "n2": total, "w0": total + 0.5},
        "<unk>": {"anew": alone - 1.0, "n1": alone},
    }
    space = space.with_words(new, tokens, no_pronunciation)
    more = {word: [s for n in new if n.word == word for s in n.pronunciations] for word in ("n1", "n2", "anew")}
    extended = Lexicon(lexicon.pronunciations | more)
    for frames in (3, 5):
        scores = np.random.default_rng(seed).exponential(2.0, (frames, len(tokens)))
        costs = brute_force(scores, tokens, extended, *MODES[mode], lambda w: cost_with_slots(ngrams, w, slots))
        words, cost = best(space, scores)
        assert cost == pytest.approx(min(costs.values()), abs=1e-4)
        assert costs[words] == pytest.approx(cost, abs=1e-4)


def test_lists_behind_new_words_and_lists_know_their_pronunciations(tmp_path):
    tokens, lexicon, _, space = make_language(random.Random(3), "plain", tmp_path)
    first = next(iter(lexicon.pronunciations))
    more = space.with_words([NewWord("anew", (("a", "b", "a"),))], tokens, no_pronunciation)
    closed = SearchSpace(more.graph, more.words, None, is_closed=True, base=more)
    for some in (more, closed):
        known = some.known([first, "anew", "other"], tokens)
        assert {word: set(variants) for word, variants in known.items()} == {
            first: set(lexicon.pronunciations[first]), "anew": {("a", "b", "a")},
        }  # fmt: skip


def test_new_words_that_cannot_be_added_are_named(tmp_path):
    tokens, _, _, space = make_language(random.Random(2), "separator", tmp_path, slots=["<name>"])
    for new, sentence in [
        (NewWord("x", (("q",),)), "'x' cannot be spelled.*'q'"),
        (NewWord("x", (("a", "<space>"),)), "'x' is spelled 'a <space>'"),
        (NewWord("x", (("a",),), "<city>"), "no slot '<city>'.*It has: <name>"),
        (NewWord("x", (("a",),), "<unk>"), "no slot '<unk>'.*It has: <name>"),
        (NewWord("x", (("a",),), "w0"), "no slot 'w0'"),
    ]:
        with pytest.raises(InputError, match=sentence):
            space.with_words([new], tokens, no_pronunciation)
    found = space.with_words([NewWord("x")], tokens, lambda words: {word: [("a", "b")] for word in words})
    assert found.words[-1] == "x" and found.spellings(len(found.words) - 1, tokens) == [tuple(tokens.encode("ab"))]
    assert found.words[:-1] == space.words


def test_a_word_that_cannot_be_spelled_costs_that_word(tmp_path, caplog):
    tokens, _, _, space = make_language(random.Random(2), "separator", tmp_path)

    def pronounce(words):
        if lost := [word for word in words if word in ("x", "y")]:
            raise InputError(f"{len(lost)} words have no pronunciation")
        return {word: [("a", "b")] for word in words}

    given = [NewWord("x"), NewWord("one"), NewWord("two", (("b", "a"),)), NewWord("bad", (("q",),))]
    found = space.with_words(given, tokens, pronounce)
    assert list(found.words[len(space.words) :]) == ["one", "two"]
    assert found.spellings(found.labels["two"], tokens) == [tuple(tokens.encode("ba"))]
    assert "2 of 4 new words cannot be spelled and are left out: x, bad (1 words have no" in caplog.text
    with pytest.raises(InputError, match="1 words have no pronunciation"):
        space.with_words([NewWord("x"), NewWord("y")], tokens, pronounce)


@pytest.mark.parametrize(
    "bad", [{"word": ""}, {"word": "a b"}, {"word": "<eps>"}, {"word": "x", "weight": math.nan},
            {"word": "x", "weight": math.inf}, {"word": "x", "weight": 1e39}],
)  # fmt: skip
def test_invalid_new_words_are_refused(bad):
    with pytest.raises(InputError, match="new word"):
        NewWord(**bad)


def test_a_new_word_listed_twice_shares_its_slot_once(tmp_path):
    tokens, _, _, space = make_language(random.Random(2), "plain", tmp_path, slots=["<name>"])
    once = [NewWord("kim", (("a",), ("b", "a")), "<name>", 1.0), NewWord("lee", (("b", "b"),), "<name>")]
    twice = [NewWord("kim", (("a",),), "<name>"), once[1], NewWord("kim", (("b", "a"),), "<name>", 1.0), once[1]]
    scores = np.random.default_rng(1).exponential(2.0, (5, len(tokens)))
    found = [best(space.with_words(new, tokens, no_pronunciation), scores) for new in (once, twice)]
    assert found[0] == found[1]


def test_files_of_new_words(tmp_path):
    path = tmp_path / "new.txt"
    path.write_text("bixby\n\nseoul\tS OW L\t<place>\t1.5\nanna\t\t<name>\n")
    assert read_new_words(path) == [
        NewWord("bixby"),
        NewWord("seoul", (("S", "OW", "L"),), "<place>", 1.5),
        NewWord("anna", (), "<name>"),
    ]
    for line, sentence in [("two words\n", ":1: expected 'word'"), ("x\ta\tb\tmuch\n", "'much' is not a number"),
                           ("x\nx\t\t\tnan\n", ":2: the new word 'x' has the weight nan")]:  # fmt: skip
        path.write_text(line)
        with pytest.raises(InputError, match=sentence):
            read_new_words(path)


def test_a_word_stands_for_one_slot(tmp_path):
    _, _, _, space = make_language(random.Random(2), "plain", tmp_path, slots=["<name>"])
    place = space.language.ngram.words.index("<name>")
    members, ends = [([2, 3], 1, 0.5, 0, 1)], [math.inf, 0.0]
    space.language.graph([(place, members, ends), (-1, members, ends), (-1, members, ends)])
    with pytest.raises(InputError, match="two slots"):
        space.language.graph([(place, members, ends), (place, members, ends)])
    for odd_members, odd_ends, sentence in [
        (members, [0.0, 0.0], "may stay empty"),
        (members, [math.inf, math.inf], "leads nowhere"),
        (members, [math.inf, math.nan], "not a number"),
        ([([2, 3], 1, 0.5, 0, 2)], ends, "out of range"),
        ([([2, 3], 1, 0.5, 0, 0)], ends, "out of range"),
    ]:
        with pytest.raises(InputError, match=sentence):
            space.language.graph([(place, odd_members, odd_ends)])


def test_the_weight_of_a_new_word_is_no_evidence(tmp_path):
    """A word that was not said is found for its weight, but not with the confidence of one that was."""
    forced = 0
    for seed in range(12):
        tokens, _, _, space = make_language(random.Random(seed), "plain", tmp_path)
        plain, weighted = (
            space.with_words([NewWord("anew", (("a", "b"),), weight=w)], tokens, no_pronunciation) for w in (0.0, 25.0)
        )
        log_probs = np.log(np.random.default_rng(seed).dirichlet(np.ones(len(tokens)) / 3, 8) + 1e-6)
        log_probs = log_probs.astype(np.float32)
        one, two = (
            GraphSearcher(Decoder(s.graph, lattice_beam=8.0), s, tokens).search(log_probs) for s in (plain, weighted)
        )
        assert all(0 <= w.confidence <= 1 for w in two.words)
        if "anew" not in {w.word for w in one.words} and one.complete and two.complete:
            found = [w.confidence for w in two.words if w.word == "anew"]
            forced += len(found)
            assert all(c < 0.6 for c in found)
        if [w.word for w in one.words] == [w.word for w in two.words]:
            assert [w.confidence for w in two.words] == pytest.approx([w.confidence for w in one.words], abs=0.02)
    assert forced > 3
