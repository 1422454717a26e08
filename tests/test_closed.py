"""Lists and phrase grammars against brute force; unlisted speech is rejected."""

import itertools
import math
import random
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import EXACT
from test_graph import MODES, brute_force, random_lexicon, tokens_of

from asr.errors import InputError
from asr.graph.jsgf import parse
from asr.graph.lists import closed_graph, list_grammar, read_list, words_of
from asr.graph.phrase_grammar import read_grammar
from asr.search.confidence import Calibration
from asr.search.decoder import Decoder
from asr.search.searchers import GraphSearcher, likeness
from asr.search.space import SearchSpace
from asr.text.lexicon import Lexicon
from asr.tokens import Tokens


def numbered(words):
    return {word: label for label, word in enumerate(words, 1)}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(8))
def test_lists_equal_brute_force(mode, seed):
    rng = random.Random(seed)
    tokens, lexicon = tokens_of(mode), random_lexicon(rng)
    names = list(lexicon.pronunciations)
    entries = {" ".join(rng.choices(names, k=rng.randint(1, 2))): rng.choice([1.0, 2.5]) for _ in range(4)}
    words = words_of(entries)
    used = Lexicon({word: lexicon.pronunciations[word] for word in words})
    graph = closed_graph(list_grammar(entries, numbered(words)), words, used, tokens, MODES[mode][0])
    total = sum(entries.values())
    for frames in (4, 5):
        scores = np.random.default_rng(seed).exponential(2.0, (frames, len(tokens)))
        costs = brute_force(scores, tokens, used, *MODES[mode], lambda w: 0.0)
        want = {w: c - math.log(entries[" ".join(w)] / total) for w, c in costs.items() if " ".join(w) in entries}
        path = Decoder(graph, **EXACT).decode((-scores).astype(np.float32))
        if want:
            found = tuple(words[label - 1] for label in path.labels)
            assert path.complete and path.cost == pytest.approx(min(want.values()), abs=1e-4)
            assert want[found] == pytest.approx(path.cost, abs=1e-4)
        else:
            assert not path.complete


def random_rule(rng, depth, rules):
    """Source text of an expression."""
    if depth == 0:
        return rng.choice(["a", "b", "한", '"c a"', *rules])
    kind = rng.choice(["sequence", "choice", "weighted", "option", "repeat", "leaf"])
    parts = [random_rule(rng, depth - 1, rules) for _ in range(rng.randint(1, 2))]
    if kind == "sequence":
        return " ".join(f"({p})" for p in parts)
    if kind == "choice":
        return "(" + " | ".join(parts) + ")"
    if kind == "weighted":
        return "(" + " | ".join(f"/{rng.choice([0.5, 1, 3])}/ {p}" for p in parts) + ")"
    if kind == "option":
        return f"[{parts[0]}]"
    return f"({parts[0]}){rng.choice('*+')}" if kind == "repeat" else parts[0]


def phrases(rules, node, longest):
    """{words: highest probability} of a node, up to a length, straight from the definition."""
    if node.kind == "word":
        return {(node.name,): 1.0}
    if node.kind in ("null", "void"):
        return {(): 1.0} if node.kind == "null" else {}
    if node.kind == "rule":
        return phrases(rules, rules.nodes[node.name], longest)
    if node.kind == "sequence":
        return joined([phrases(rules, part, longest) for part in node.parts], longest)
    if node.kind == "choice":
        return best(
            [(w, p * weight / sum(node.weights)) for part, weight in zip(node.parts, node.weights, strict=True)
             for w, p in phrases(rules, part, longest).items()]
        )  # fmt: skip
    once = phrases(rules, node.parts[0], longest)
    found, turns = ({} if node.least else {(): 0.5}), once
    share = 0.5 if node.least else 0.25
    for _ in range(longest + 2):
        found = best([*found.items(), *((w, p * share) for w, p in turns.items())])
        turns, share = joined([turns, once], longest), share / 2
    return found


def joined(parts, longest):
    return best(
        [(sum((w for w, _ in picked), ()), math.prod(p for _, p in picked))
         for picked in itertools.product(*(part.items() for part in parts))
         if sum(len(w) for w, _ in picked) <= longest]
    )  # fmt: skip


def best(pairs):
    found = {}
    for words, probability in pairs:
        found[words] = max(found.get(words, 0.0), probability)
    return found


def accepted(graph, names, longest):
    """{words: least cost} of an automaton's paths."""
    found = {}
    frontier = [(graph.start, (), 0.0)]
    for _ in range(longest + 1):
        for state, words, cost in frontier:
            if math.isfinite(graph.final[state]):
                found[words] = min(found.get(words, math.inf), cost + float(graph.final[state]))
        arcs = range(graph.num_arcs)
        frontier = [
            (int(graph.target[a]), (*words, names[graph.olabel[a] - 1]), cost + float(graph.cost[a]))
            for state, words, cost in frontier for a in arcs if graph.source[a] == state
        ]  # fmt: skip
    return found


@pytest.mark.parametrize("seed", range(60))
def test_phrase_grammars_equal_their_definition(seed, tmp_path):
    rng = random.Random(seed)
    text = f"#JSGF V1.0;\ngrammar g;\n<x> = {random_rule(rng, 1, [])};\npublic <y> = {random_rule(rng, 2, ['<x>'])};\n"
    text += f"public <z> = {random_rule(rng, 1, ['<x>'])}; // more\n"
    (tmp_path / "g.jsgf").write_text(text)
    grammar = read_grammar(tmp_path / "g.jsgf")
    want = best(
        (w, p / 2)
        for name in grammar.rules.public
        for w, p in phrases(grammar.rules, grammar.rules.nodes[name], 3).items()
    )
    if not any(want):
        with pytest.raises(InputError, match="only the empty sentence"):
            grammar.automaton(numbered(grammar.words))
        return
    graph = grammar.automaton(numbered(grammar.words))
    assert (graph.ilabel > 0).all() and not (graph.target == graph.start).any()
    found = accepted(graph, grammar.words, 3)
    assert found.keys() == {w for w in want if len(w) <= 3}
    for words, cost in found.items():
        assert cost == pytest.approx(-math.log(want[words]), abs=1e-4)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(6))
def test_graphs_of_grammars_equal_brute_force(mode, seed, tmp_path):
    rng = random.Random(seed)
    tokens, lexicon = tokens_of(mode), random_lexicon(rng)
    names = list(lexicon.pronunciations)
    first, second = names[0], names[-1]
    text = f"#JSGF V1.0;\ngrammar g;\npublic <y> = ({first} | {second} | {first} [{second}])+ | {second};\n"
    (tmp_path / "g.jsgf").write_text(text)
    grammar = read_grammar(tmp_path / "g.jsgf")
    used = Lexicon({word: lexicon.pronunciations[word] for word in grammar.words})
    graph = closed_graph(grammar.automaton(numbered(grammar.words)), grammar.words, used, tokens, MODES[mode][0])
    allowed = phrases(grammar.rules, grammar.rules.nodes["<y>"], 4)
    scores = np.random.default_rng(seed).exponential(2.0, (4, len(tokens)))
    costs = brute_force(scores, tokens, used, *MODES[mode], lambda w: 0.0)
    want = {w: c - math.log(allowed[w]) for w, c in costs.items() if w in allowed}
    path = Decoder(graph, **EXACT).decode((-scores).astype(np.float32))
    assert path.complete == bool(want)
    if want:
        assert path.cost == pytest.approx(min(want.values()), abs=1e-4)
        assert want[tuple(grammar.words[label - 1] for label in path.labels)] == pytest.approx(path.cost, abs=1e-4)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("public <a> = x", r":3:15: expected ';', found 'the end of the file'"),
        ("public <a> = (x;", r":3:16: expected '\)', found ';'"),
        ("public <a> = x | ;", r":3:18: expected a word"),
        ("<a> = x;", "no rule is public"),
        ("public <a> = <b>;", r":3:14: the rule <b> is not defined"),
        ("public <a> = x <b>; <b> = [<a>];", r"the rule <a> is recursive"),
        ("public <a> = /2/ x | y;", r":3:14: give a weight /w/ to all alternatives"),
        ("public <a> = x; public <a> = y;", r":3:24: the rule <a> is defined twice"),
        ("import <b.c>; public <a> = x;", "imports are not supported"),
        ("public <a> = x ^ > y;", r":3:18: unexpected character '>'"),
        ("public <a> = <NULL>;", "has no words"),
        ('public <a> = "" | <NULL>;', "has no words"),
        ("public <a> = /1e400/ x | /1/ y;", r":3:14: give a weight /w/ to all alternatives"),
        (f"public <a> = {'(' * 200}x{')' * 200};", "groups are nested more than 100 deep"),
        (
            "public <r0> = x;"
            + "".join(f"public <r{i + 1}> = (<r{i}>);" for i in range(3000))
            + "public <a> = <r3000>;",
            "are nested more than 300 deep",
        ),
    ],
)
def test_faults_of_grammars_are_named(body, sentence, tmp_path):
    (tmp_path / "g.jsgf").write_text(f"#JSGF V1.0;\ngrammar g;\n{body}")
    with pytest.raises(InputError, match=sentence):
        read_grammar(tmp_path / "g.jsgf")


def test_jsgf_files_with_comments_tags_and_qualified_names(tmp_path):
    text = """#JSGF V1.0 UTF-8 en;
// Copyright of somebody
/** what it is for */
grammar com.acme.lights;
public <all> = <lights.what> {tag with \\} brace} | "a \\"b\\" " {x} | <com.acme.lights.other>;
<what> = 불 켜; <other> = "";
"""
    for grammar in (read_grammar(text), read_grammar(_written(tmp_path / "g.jsgf", text))):
        assert grammar.words == ["불", "켜", "a", '"b"']
        assert accepted(grammar.automaton(numbered(grammar.words)), grammar.words, 3).keys() == {
            (), ("불", "켜"), ("a", '"b"'),
        }  # fmt: skip
    weights = parse("#JSGF V1.0;\ngrammar g;\npublic <a> = /1E3/ x | /2e-1/ y | /1e+1/ z;", "g").nodes["<a>"].weights
    assert weights == (1000.0, 0.2, 10.0)


def _written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@settings(max_examples=300, deadline=None)
@given(st.text('<>ab|()[]*+;=/"\\{}. 1e\n', max_size=40))
def test_any_text_is_parsed_or_refused(body):
    try:
        read_grammar(f"#JSGF V1.0;\ngrammar g;\npublic <a> = {body}").automaton({})
    except (InputError, KeyError):  # there are no labels
        pass


def test_many_alternatives_take_no_time():
    text = "#JSGF V1.0;\ngrammar g;\npublic <a> = " + " | ".join(f"w{i}" for i in range(20000)) + ";"
    start = time.process_time()
    grammar = read_grammar(text)
    assert grammar.automaton(numbered(grammar.words)).num_arcs == 20000
    assert time.process_time() - start < 10


def test_grammars_need_a_header_and_a_sentence(tmp_path):
    with pytest.raises(InputError, match="g.jsgf:1:1: expected '#JSGF V1.0;'"):
        parse("public <a> = x;", "g.jsgf")
    (tmp_path / "g.jsgf").write_text("#JSGF V1.0;\ngrammar g;\npublic <a> = x <VOID>;")
    with pytest.raises(InputError, match="allows no sentence"):
        read_grammar(tmp_path / "g.jsgf").automaton({"x": 1})


def test_files_of_lists(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("yes\n\nturn  on\t2.5\n불 켜\n")
    assert read_list(path) == {"yes": 1.0, "turn on": 2.5, "불 켜": 1.0}
    path.write_text("yes\tvery\n")
    with pytest.raises(InputError, match="list.txt:1: the weight 'very' of 'yes' is not a number"):
        read_list(path)
    path.write_text("\n")
    with pytest.raises(InputError, match="is empty"):
        read_list(path)
    with pytest.raises(InputError, match="'yes' has the weight 0"):
        list_grammar({"yes": 0.0}, {"yes": 1})
    for line, sentence in (
        ("yes\tnan", "list.txt:2: 'yes' has the weight nan"),
        ("yes\t-1", "list.txt:2: 'yes' has the weight -1"),
        ("no\t2", "list.txt:2: 'no' has the weight 2 here and another above"),
        ("\t2", "list.txt:2: expected 'entry' or 'entry<TAB>weight'"),
    ):
        path.write_text(f"no\n{line}\n")
        with pytest.raises(InputError, match=sentence):
            read_list(path)
    path.write_text("\ufeffno\r\nno\r\n")
    assert read_list(path) == {"no": 1.0}


def test_unlisted_speech_gets_a_low_confidence():
    tokens = Tokens(["<blk>", *"abcd"])
    lexicon = Lexicon({"ab": ["ab"], "cd": ["cd"]})
    graph = closed_graph(list_grammar({"ab": 1.0}, {"ab": 1}), ["ab"], Lexicon({"ab": ["ab"]}), tokens)
    space = SearchSpace(graph, ["<eps>", "ab"], lexicon, is_closed=True)
    searcher = GraphSearcher(Decoder(graph, lattice_beam=4.0), space, tokens)
    said = np.full((2, 6, 5), np.log(0.02), np.float32)
    for x, spelled in zip(said, ("ab", "cd"), strict=True):
        x[range(6), [0, *tokens.encode(spelled[:1]), 0, 0, *tokens.encode(spelled[1:]), 0]] = np.log(0.92)
    listed, other = (searcher.search(x) for x in said)
    assert [w.word for w in listed.words] == [w.word for w in other.words] == ["ab"]
    assert listed.words[0].confidence > 0.95 and other.words[0].confidence < 0.05
    assert likeness(said[0], said[0].argmax(1)) == 1.0
    half = searcher.search(said[0, :1])  # no frames for a whole entry
    assert half.words == [] and not half.complete
    sure = GraphSearcher(searcher.decoder, space, tokens, calibration=Calibration(1.0, 50.0))
    assert sure.search(said[1]).words[0].confidence < 0.1  # calibration does not change the likeness


def test_words_that_cannot_be_spelled_are_named():
    with pytest.raises(
        InputError, match="words that cannot be spelled in this model's units: ax; it has no x; leave them out"
    ):
        closed_graph(
            list_grammar({"a": 1, "ax": 1}, {"a": 1, "ax": 2}), ["a", "ax"], Lexicon({"a": ["a"], "ax": ["ax"]}),
            Tokens(["<blk>", "a"]),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("(a|b)* (a|c) " + "((a|b)|c) " * 40, "states once it is deterministic"),
        ("[a] " * 20_000 + "b", "ways to pass over optional words"),
        ("([a]* [b]*)* " * 2_000 + "b", "ways to pass over optional words"),
    ],
)
def test_small_grammars_that_would_explode_are_refused(rule, says):
    grammar = read_grammar(f"#JSGF V1.0;\ngrammar x;\npublic <c> = {rule};")
    start = time.process_time()
    with pytest.raises(InputError, match=says):
        grammar.automaton({word: label for label, word in enumerate(grammar.words, 1)})
    assert time.process_time() - start < 20
