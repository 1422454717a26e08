"""Slots of a language model, filled by lists and grammars: against brute force; invalid ones are refused."""

import gc
import logging
import math
import os
import random
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from random_graphs import EXACT
from test_closed import phrases
from test_dynamic import check_best, make_language, no_pronunciation
from test_graph import MODES, brute_force

from asr.errors import InputError
from asr.graph.dynamic import Language
from asr.graph.jsgf import parse
from asr.graph.slots import fillings, read_fillers
from asr.graph.spoken_rules import NAMES, spoken_rules
from asr.lm.training import train
from asr.search.decoder import Decoder
from asr.search.new_words import NewWord
from asr.text.lexicon import Lexicon

HEAD = "#JSGF V1.0; grammar g;\n"


def cost_with_slots(ngrams, slots, words, history=("<s>",)):
    """The least cost of a sentence in which a slot stands for any of its sentences: {slot: {words: cost}}."""
    order = max(map(len, ngrams))
    while history and history not in ngrams:
        history = history[1:]
    steps = [(words[0] if words else "</s>", 1, 0.0)]
    for slot, sentences in slots.items():
        steps += [(slot, len(s), fee) for s, fee in sentences.items() if s and words[: len(s)] == s]
    costs = [math.inf]
    for symbol, taken, fee in steps:
        if (gram := (*history, symbol)) in ngrams:
            after = gram[-(order - 1) :] if order > 1 else ()
            rest = 0.0 if symbol == "</s>" else cost_with_slots(ngrams, slots, words[taken:], after)
            costs.append(-math.log(10) * ngrams[gram][0] + fee + rest)
    if history:
        rest = cost_with_slots(ngrams, slots, words, history[1:])
        costs.append(-math.log(10) * ngrams[history][1] + rest)
    return min(costs)


def random_expression(rng, depth, leaves):
    """The source of an expression that no path passes without a word."""
    if depth == 0:
        return rng.choice(leaves)
    parts = [random_expression(rng, depth - 1, leaves) for _ in range(2)]
    return rng.choice(["{} [{}]", "({})+", "(/2/ {} | /1/ {})", "({} | {})", "{} {}"]).format(*parts)


def random_fillers(rng, words):
    """Fillers of two slots, the second nested into the first, and what they stand for: {slot: {words: cost}}."""
    entries = {" ".join(rng.choices(words, k=rng.randint(1, 3))): rng.choice([1.0, 2.5]) for _ in range(3)}
    rule, top = random_expression(rng, 1, words), random_expression(rng, 1, ["<x>", "<list>", *words])
    grammar = f"{HEAD}<x> = {rule};\npublic <whole> = {top};\n"
    listed = " | ".join(f"/{weight}/ {entry}" for entry, weight in entries.items())
    rules = parse(f"{grammar}public <list> = {listed};", "the expected grammar")
    want = {slot: phrases(rules, rules.nodes[name], 4) for slot, name in (("<g>", "<whole>"), ("<list>", "<list>"))}
    costs = {slot: {w: -math.log(p) for w, p in found.items()} for slot, found in want.items()}
    return {"<g>": grammar, "<list>": entries}, costs


def filled(rng, mode, folder):
    tokens, lexicon, ngrams, space = make_language(rng, mode, folder, ["<g>", "<list>"])
    new = {word: [tuple(rng.choice("ab") for _ in range(n))] for word, n in (("n1", 1), ("n2", 2))}
    fillers, costs = random_fillers(rng, [*list(lexicon.pronunciations)[:2], *new])
    more = space.with_words([], tokens, lambda words: {word: new[word] for word in words}, fillings(fillers))
    return tokens, Lexicon(lexicon.pronunciations | new), ngrams, more, costs


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(10))
def test_slots_equal_brute_force(mode, seed, tmp_path):
    tokens, lexicon, ngrams, space, slots = filled(random.Random(seed), mode, tmp_path)
    for frames in (3, 5):
        scores = np.random.default_rng(seed).exponential(2.0, (frames, len(tokens)))
        costs = brute_force(scores, tokens, lexicon, *MODES[mode], partial(cost_with_slots, ngrams, slots))
        check_best(space, scores, costs)


@pytest.mark.parametrize("mode", MODES)
def test_all_readings_of_a_lattice_have_the_costs_of_brute_force(mode, tmp_path):
    for seed in range(4):
        tokens, lexicon, ngrams, space, slots = filled(random.Random(seed), mode, tmp_path)
        scores = np.random.default_rng(seed).exponential(2.0, (5, len(tokens)))
        costs = brute_force(scores, tokens, lexicon, *MODES[mode], partial(cost_with_slots, ngrams, slots))
        decoder = Decoder(space.graph, lattice_beam=4.0, **EXACT)
        lattice = decoder.decode_lattice((-scores).astype(np.float32)).lattice
        found = {tuple(space.words[x] for x in r.labels): r.cost for r in lattice.readings()}
        limit = min(costs.values()) + 3.99
        assert {w for w, c in found.items() if c < limit} == {w for w, c in costs.items() if c < limit}
        assert all(found[w] == pytest.approx(c, abs=1e-3) for w, c in costs.items() if c < limit)


def test_a_slot_is_refused_in_one_sentence(tmp_path):
    tokens, _, _, space = make_language(random.Random(2), "plain", tmp_path, slots=["<g>"])
    loop = f"{HEAD}public <a> = w0 <b>; <b> = w0 | <a>;"
    for slots, sentence in [
        ({"<city>": ["w0"]}, "no slot '<city>'.*It has: <g>"),
        ({"name": ["w0"]}, "'name' is not a slot; expected a word in angle brackets"),
        ({"<unk>": ["w0"]}, "'<unk>' is not a slot"),
        ({"<g>": []}, "the list of the slot <g> is empty"),
        ({"<g>": [" "]}, "has an empty entry"),
        ({"<g>": 3}, "is filled by a list of phrases or by a JSGF grammar, not 3"),
        ({"<g>": {"w0": 0.0}}, "'w0' in the slot <g> has the weight 0"),
        ({"<g>": {"w0": "much"}}, "'w0' in the slot <g> has the weight 'much'; it must be a number"),
        ({"<g>": f'{HEAD}public <a> = w0 "<eps>";'}, "<g>: '<eps>' cannot be a word"),
        ({"<g>": f"{HEAD}public <a> = w0{'+' * 5000};"}, "nested more than 300 deep"),
        ({"<g>": loop}, ":2:33: the rule <g a> is recursive"),
        ({"<g>": ["w0 <h>"], "<h>": ["<g>"]}, "the slot <h>: the rule <g> is recursive: <g> <h>"),
        ({"<g>": ["w0 <nowhere>"]}, "the slot <g>: the rule <nowhere> is not defined"),
        ({"<g>": f"{HEAD}public <a> = [w0];"}, "the slot <g> may stay empty; require a word of it"),
        ({"<g>": f"{HEAD}public <a> = <VOID> w0;"}, "the slot <g>: the grammar allows no sentence"),
        ({"<g>": f"{HEAD}public <a> = <NULL>;"}, "the grammar of <g> has no words"),
        ({"<g>": f"{HEAD}public <a> = w0; <g> = w0;"}, "has a rule <g> that is not public"),
    ]:
        with pytest.raises(InputError, match=sentence):
            space.with_words([], tokens, no_pronunciation, fillings(slots))
    with pytest.raises(InputError, match="new word 'w0' names the slot <g>, which this request fills"):
        space.with_words([NewWord("w0", slot="<g>")], tokens, no_pronunciation, fillings({"<g>": ["w0"]}))
    with pytest.raises(InputError, match="'x' cannot be spelled"):
        space.with_words([], tokens, lambda words: {word: [("q",)] for word in words}, fillings({"<g>": ["x"]}))


def test_many_slots_together_are_no_larger_than_one_grammar():
    words = [f"w{n}" for n in range(300)]
    chain = {f"<s{n}>": [f"<s{n + 1}> w0"] for n in range(20)} | {"<s20>": words}
    assert len(fillings(chain, None, 10_000)) == 21
    with pytest.raises(InputError, match="slots have more than 5000 states once their rules are expanded"):
        fillings(chain, None, 5000)
    doubling = {f"<s{n}>": [f"<s{n + 1}> <s{n + 1}>"] for n in range(60)} | {"<s60>": ["w0"]}
    with pytest.raises(InputError, match="more than 50000 states"):
        fillings(doubling, None, 50_000)


def test_rules_of_a_slot_are_apart_from_other_slots():
    grammar = f"{HEAD}public <x> = <b>; <b> = right;"
    found = fillings({"<a>": grammar, "<a.b>": ["wrong"], "<c>": ["<a>"]})
    assert [found[name].words for name in ("<a>", "<a.b>", "<c>")] == [["right"], ["wrong"], ["right"]]


def test_members_of_slots_cost_the_garbage_collector_nothing(tmp_path, monkeypatch):
    tokens, _, _, space = make_language(random.Random(2), "plain", tmp_path, slots=["<g>"])
    given = []
    graph = Language.graph
    monkeypatch.setattr(Language, "graph", lambda language, slots: (given.extend(slots), graph(language, slots))[1])
    filled = space.with_words([], tokens, no_pronunciation, fillings({"<g>": ["w0 w0", "w0"]}))
    for _ in range(2):  # the members of a tuple may be visited after it
        gc.collect()
    assert given[0][1] and not any(map(gc.is_tracked, given[0][1]))
    assert not filled.plain_slots  # nothing is kept for a graph without weights, as it is the same


def test_a_file_of_slots_is_read_once(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    text = f"{HEAD}public <a> = w0; public <b> = w1;"
    with ThreadPoolExecutor(1) as pool:
        pool.submit(path.write_text, text)
        assert fillings(read_fillers(path)).keys() == {"<a>", "<b>"}


def test_the_public_rules_of_a_file_are_slots(tmp_path):
    path = tmp_path / "slots.jsgf"
    path.write_text(f"{HEAD}public <name> = john | mary ann; public <gate> = gate <side>; <side> = left | <name>;")
    found = fillings(read_fillers(path))
    assert {name: sorted(filling.words) for name, filling in found.items()} == {
        "<name>": ["ann", "john", "mary"],
        "<gate>": ["ann", "gate", "john", "left", "mary"],
    }


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_spoken_rules_fill_their_slots(lang):
    rules = spoken_rules(lang)
    assert set(rules.public) <= NAMES
    nested = fillings({"<ticket>": ["gate <digits>"]}, rules)
    words = set(nested["<ticket>"].words)
    assert words >= ({"gate", "zero", "oh", "nine"} if lang == "en" else {"gate", "공", "구"})
    found = phrases(rules, rules.nodes["<digits>"], 2)
    assert sum(p for w, p in found.items() if len(w) == 1) == pytest.approx(0.5)
    assert sum(p for w, p in found.items() if len(w) == 2) == pytest.approx(0.25)
    assert set(fillings({"<n>": ["<letter>"]}, spoken_rules("en", {"A", "B"}))["<n>"].words) >= {"A", "B", "c"}


def test_numbers_are_spoken_as_in_english():
    rules = spoken_rules("en")
    found = phrases(rules, rules.nodes["<number>"], 3)
    said = ["zero", "seven", "thirteen", "forty two", "one hundred", "three hundred five", "two thousand six"]
    assert all(tuple(text.split()) in found for text in said)
    assert not any(tuple(text.split()) in found for text in ["two seven", "twenty zero", "hundred", "ten one"])


def test_language_models_keep_the_slots_of_their_text(caplog):
    caplog.set_level(logging.ERROR)
    texts = ["call <name> now", "call <name>", "call home now", "call home now"]
    for options in ({"vocabulary": ["call", "now"]}, {"min_count": 3}, {"vocabulary_size": 1}, {"coverage": 0.2}):
        model = train(texts, order=2, **options)
        assert "<name>" in model.words and "home" not in model.words
