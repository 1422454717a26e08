"""Graphs against brute force: all frame sequences, all token sequences of a word sequence, all paths of the n-gram."""

import io
import itertools
import json
import logging
import math
import random

import numpy as np
import pytest
import pywrapfst
from random_graphs import random_arrays

from asr.errors import InputError
from asr.graph import compile_graph, word_graph
from asr.graph.arrays import Block
from asr.graph.automaton import Automaton
from asr.graph.draw import dot, draw, find_dot
from asr.graph.grammar import ngram_grammar, word_grammar
from asr.graph.lexicon_fst import disambiguate, lexicon_fst, spell
from asr.graph.minimize import minimize
from asr.graph.pack import Pieces, Writer, to_bytes, unpack
from asr.graph.preflight import check
from asr.graph.spelling_trees import Forest
from asr.graph.topology import apply_topology, ctc_topology
from asr.lm import arpa
from asr.text.lexicon import Lexicon
from asr.tokens import SPACE, Tokens

MODES = {"plain": (None, None), "silence": ("sil", None), "separator": (None, SPACE)}


def collapse(frames):
    return tuple(token for token, _ in itertools.groupby(frames) if token)


def tokens_of(mode):
    return Tokens(["<blk>", *filter(None, MODES[mode]), "a", "b"])


def random_lexicon(rng):
    """Few units and short words, so that homophones, prefixes and variants are frequent."""
    spellings = ["".join(s) for n in (1, 2, 3) for s in itertools.product("ab", repeat=n)]
    return Lexicon({f"w{i}": rng.sample(spellings, rng.choice([1, 1, 2])) for i in range(rng.randint(1, 6))})


def random_ngrams(rng, words, order):
    """{n-gram: (log10 prob, log10 back-off)}. The history of each n-gram is listed; its suffix may be missing."""

    ngrams = {(w,): (rng.uniform(-2, 0), rng.uniform(-1, 0.3)) for w in ["<s>", "</s>", "<unk>", *words]}
    for n in range(2, order + 1):
        for history in [g for g in ngrams if len(g) == n - 1 and g[-1] != "</s>"]:
            for word in rng.sample(["</s>", *words], rng.randint(0, min(2, len(words)))):
                ngrams[(*history, word)] = (rng.uniform(-2, 0), rng.uniform(-1, 0.3))
    top = max(map(len, ngrams))
    return {g: (prob, backoff if len(g) < top else 0.0) for g, (prob, backoff) in ngrams.items()}


def write_arpa(ngrams, path):
    orders = [[g for g in ngrams if len(g) == n] for n in range(1, max(map(len, ngrams)) + 1)]
    lines = ["\\data\\", *(f"ngram {n}={len(o)}" for n, o in enumerate(orders, 1))]
    for n, grams in enumerate(orders, 1):
        lines += ["", f"\\{n}-grams:"]
        for g in grams:
            backoff = f"\t{ngrams[g][1]:.6f}" if n < len(orders) else ""
            lines.append(f"{ngrams[g][0]:.6f}\t{' '.join(g)}{backoff}")
    path.write_text("\n".join([*lines, "", "\\end\\", ""]))


def sentence_cost(ngrams, words, history=("<s>",)):
    """The cost of the cheapest path through the n-gram, where backing off is always allowed."""
    order = max(map(len, ngrams))
    while history and history not in ngrams:
        history = history[1:]
    costs = [math.inf]
    gram = (*history, words[0] if words else "</s>")
    if gram in ngrams:
        rest = sentence_cost(ngrams, words[1:], gram[-(order - 1) :] if order > 1 else ()) if words else 0.0
        costs.append(-math.log(10) * ngrams[gram][0] + rest)
    if history:
        costs.append(-math.log(10) * ngrams[history][1] + sentence_cost(ngrams, words, history[1:]))
    return min(costs)


def readings(tokens, lexicon, silence, separator, start=True):
    """All word sequences whose spelling is the token sequence."""
    if not tokens:
        yield ()
    if silence and tokens[:1] == (silence,):
        yield from readings(tokens[1:], lexicon, silence, separator, start)
    if separator and not start:
        if tokens[:1] != (separator,) or len(tokens) == 1:
            return
        tokens = tokens[1:]
    for word, units in lexicon.items():
        if tokens[: len(units)] == units:
            for rest in readings(tokens[len(units) :], lexicon, silence, separator, start=False):
                yield (word, *rest)


def brute_force(frame_costs, tokens, lexicon, silence, separator, cost_of):
    """{words: least cost} over all frame sequences; `frame_costs` (F, V)."""
    spelled = {}
    for frames in itertools.product(range(frame_costs.shape[1]), repeat=len(frame_costs)):
        symbols = tuple(tokens.decode(collapse(frames)))
        cost = frame_costs[range(len(frame_costs)), frames].sum()
        spelled[symbols] = min(cost, spelled.get(symbols, math.inf))
    costs = {}
    for symbols, cost in spelled.items():
        for words in set(readings(symbols, lexicon, silence, separator)):
            costs[words] = min(costs.get(words, math.inf), cost + cost_of(words))
    return costs


def search(graph, frame_costs):
    """(word labels, cost) of the best path by OpenFst; None if there is no path."""
    frames, outputs = frame_costs.shape
    source = np.repeat(np.arange(frames), outputs)
    label = np.tile(np.arange(outputs), frames) + 1
    final = np.where(np.arange(frames + 1) == frames, 0.0, np.inf)
    acceptor = Automaton.from_arcs(0, final, source, label, label, frame_costs.ravel(), source + 1)
    path = pywrapfst.shortestpath(pywrapfst.compose(acceptor.to_openfst(), graph.arcsort("ilabel")))
    if path.start() < 0:
        return None
    state, labels, cost = path.start(), [], 0.0
    while arcs := list(path.arcs(state)):
        labels += [arcs[0].olabel] if arcs[0].olabel else []
        cost += float(arcs[0].weight)
        state = arcs[0].nextstate
    return labels, cost + float(path.final(state))


def by_the_book(grammar, spellings, num_tokens, num_words):
    """min(det(L o G)) by OpenFst, with `#k` replaced by epsilon."""
    lexicon = lexicon_fst(spellings, num_tokens, num_words)
    log = (pywrapfst.arcmap(fst, map_type="to_log") for fst in (lexicon, grammar.to_openfst().arcsort("ilabel")))
    fst = pywrapfst.arcmap(pywrapfst.determinize(pywrapfst.compose(*log)), map_type="to_std")
    mapper = pywrapfst.EncodeMapper("standard", True, True)
    fst = pywrapfst.VectorFst(fst) if not hasattr(fst, "encode") else fst
    fst.encode(mapper)
    fst.minimize()
    fst.decode(mapper)
    return fst.relabel_pairs(ipairs=[(num_tokens + 1 + k, 0) for k in range(len(spellings.word) + 1)])


def test_topology_maps_every_frame_sequence_to_its_tokens():
    graph = ctc_topology(4)
    arcs = {(s, i): (o, t) for s, i, o, t in zip(graph.source, graph.ilabel, graph.olabel, graph.target, strict=True)}
    assert len(arcs) == graph.num_arcs == 16
    for frames in itertools.product(range(4), repeat=6):
        state, spelled = graph.start, []
        for k in frames:
            label, state = arcs[state, Tokens.label(k)]
            spelled += [Tokens.token(label)] if label else []
        assert tuple(spelled) == collapse(frames) and np.isfinite(graph.final[state])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(25))
def test_best_path_equals_brute_force(mode, seed, tmp_path):
    rng = random.Random(seed)
    tokens, (silence, separator) = tokens_of(mode), MODES[mode]
    lexicon = random_lexicon(rng)
    words = list(lexicon.pronunciations)
    ngrams = random_ngrams(rng, [*words, "oov"], rng.choice([1, 2, 3]))
    write_arpa(ngrams, tmp_path / "lm.arpa")

    compile_graph(tokens, lexicon, tmp_path / "lm.arpa", tmp_path / "graph", silence, draw_states=0)
    arrays = unpack(tmp_path / "graph" / "graph.bin")
    arcs = (arrays.arcs[name] for name in ("ilabel", "olabel", "cost", "next"))
    hlg = Automaton.from_arcs(arrays.start, arrays.final_costs, arrays.sources, *arcs).to_openfst()
    names = (tmp_path / "graph" / "words.txt").read_text().split("\n")
    grammar = ngram_grammar(arpa.read(tmp_path / "lm.arpa"), {word: i for i, word in enumerate(names[1:-1], 1)})
    spellings = spell(names[1:-1], lexicon, tokens, silence, separator)
    book = by_the_book(grammar, spellings, len(tokens), len(words))
    ours = minimize(Forest(grammar, spellings))
    assert ours.num_states <= book.num_states()
    book = pywrapfst.compose(ctc_topology(len(tokens)).to_openfst(), book.arcsort("ilabel"))

    for frames in (1, 3, 5):
        frame_costs = np.random.default_rng(seed).exponential(2.0, (frames, len(tokens)))
        costs = brute_force(frame_costs, tokens, lexicon, silence, separator, lambda w: sentence_cost(ngrams, w))
        labels, cost = search(hlg, frame_costs)
        assert cost == pytest.approx(min(costs.values()), abs=1e-4)
        assert costs[tuple(names[label] for label in labels)] == pytest.approx(cost, abs=1e-4)
        assert search(book, frame_costs)[1] == pytest.approx(cost, abs=1e-4)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(5))
def test_word_graph_takes_exactly_one_word(mode, seed, tmp_path):
    rng = random.Random(seed)
    tokens, lexicon = tokens_of(mode), random_lexicon(rng)
    silence, separator = MODES[mode]
    word_graph(lexicon.pronunciations, lexicon, tokens, tmp_path, silence, draw_states=0)
    spellings = spell(list(lexicon.pronunciations), lexicon, tokens, silence, separator)
    graph = apply_topology(minimize(Forest(word_grammar(len(lexicon)), spellings)), len(tokens)).to_openfst()
    for frames in (3, 5):
        frame_costs = np.random.default_rng(seed).exponential(2.0, (frames, len(tokens)))
        costs = brute_force(frame_costs, tokens, lexicon, silence, separator, lambda w: math.log(len(lexicon)))
        labels, cost = search(graph, frame_costs)
        assert len(labels) == 1
        assert cost == pytest.approx(min(c for w, c in costs.items() if len(w) == 1), abs=1e-4)


def test_apply_topology_equals_composition():
    """With consecutive epsilon arcs, epsilon cycles, and repeated tokens."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        states, arcs, outputs = 5, 12, 4
        source, target = rng.integers(states, size=(2, arcs))
        ilabel = rng.choice([0, 2, 3, 4], arcs)
        final = np.where(rng.random(states) < 0.5, rng.random(states), np.inf)
        graph = Automaton.from_arcs(0, final, source, ilabel, rng.integers(3, size=arcs), rng.random(arcs), target)
        book = pywrapfst.compose(ctc_topology(outputs).to_openfst(), graph.to_openfst().arcsort("ilabel"))
        for frames in (1, 4):
            frame_costs = rng.exponential(2.0, (frames, outputs))
            found, wanted = (search(g, frame_costs) for g in (apply_topology(graph, outputs).to_openfst(), book))
            assert (found and found[1]) == (wanted and pytest.approx(wanted[1], abs=1e-4))


def test_disambiguation():
    sequences = [(1, 2), (1,), (1, 2), (3,), (3, 1)]
    assert disambiguate(sequences) == [1, 1, 2, 1, 0]


def test_preflight_logs_and_leaves_out_words(caplog):
    tokens = Tokens(["<blk>", "a", "b"])
    lexicon = Lexicon({"ab": ["ab"], "odd": ["axb"], "both": ["x", "b"], "#0": ["a"]})
    with caplog.at_level(logging.WARNING):
        words, kept, left_out = check(["<s>", "ab", "odd", "both", "#0", "new", "<unk>", "</s>"], lexicon, tokens)
    assert words == ["ab", "both"] and left_out == ["#0", "new", "odd"]
    assert kept.pronunciations == {"ab": [("a", "b")], "both": [("b",)]}
    assert "new" in caplog.text and "odd" in caplog.text


@pytest.mark.parametrize(
    ("pronunciations", "options", "sentence"),
    [
        ({"w": ["a"], "e": [()]}, {}, "empty pronunciation.*: e"),
        ({"w": [("a", "#1")]}, {}, "disambiguation symbol.*: w"),
        ({"w": [("a", "<blk>")]}, {}, "the blank is not a unit of speech: w"),
        ({"w": [("a", SPACE)]}, {"separator": SPACE}, "begin or end with <space>.*: w"),
        ({"w": ["a"]}, {"silence": "SIL"}, "'SIL' .* not in the token table"),
        ({"w": ["x"]}, {}, "none of the 2 words .* 1 are not in the lexicon .v., 1 have units outside .* .w."),
    ],
)
def test_preflight_refuses(pronunciations, options, sentence):
    with pytest.raises(InputError, match=sentence):
        check(["w", "v"], Lexicon(pronunciations), Tokens(["<blk>", "a", SPACE]), **options)


def test_compile_writes_all_files_or_none(tmp_path):
    tokens, lexicon = tokens_of("silence"), Lexicon({"x": ["ab"], "y": ["ab", "b"]})
    out = tmp_path / "graph"
    write_arpa(random_ngrams(random.Random(1), ["x", "y", "z"], 2), tmp_path / "lm.arpa")
    with pytest.raises(InputError):
        compile_graph(tokens, Lexicon({"q": ["a"]}), tmp_path / "lm.arpa", out)
    assert not out.exists()

    stats = compile_graph(tokens, lexicon, tmp_path / "lm.arpa", out, silence="sil")
    files = {"graph.bin", "words.txt", "tokens.txt", "lexicon.txt", "stats.json"}
    pictures = {"H.svg", "L.svg", "G.svg", "LG.svg", "HLG.svg"} if find_dot() else set()
    assert {f.name for f in out.iterdir()} == files | pictures
    assert (out / "words.txt").read_text() == "<eps>\nx\ny\n"
    assert Tokens.read(out / "tokens.txt") == tokens
    assert Lexicon.read(out / "lexicon.txt").pronunciations == lexicon.pronunciations
    assert stats.left_out == ["z"] and [s.name for s in stats.stages] == ["G", "LG", "HLG"]
    assert json.loads((out / "stats.json").read_text())["stages"][-1]["states"] == stats.stages[-1].states


def test_compiling_again_replaces_the_graph(tmp_path):
    write_arpa(random_ngrams(random.Random(1), ["x"], 2), tmp_path / "lm.arpa")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "tree.bin").write_text("of a dynamic graph")
    for silence, draw_states in ((None, 60), ("sil", 0)):
        compile_graph(
            tokens_of("silence"), Lexicon({"x": ["ab"]}), tmp_path / "lm.arpa", tmp_path, silence, draw_states
        )
    assert not list(tmp_path.glob("*.svg")) and not list(tmp_path.glob(".*"))
    assert (tmp_path / "notes.txt").read_text() == "mine" and not (tmp_path / "tree.bin").exists()


def test_a_failed_drawing_is_not_an_error(tmp_path, monkeypatch, caplog):
    graph = Automaton.from_arcs(0, np.zeros(1), *np.zeros((5, 1), int))
    for program in (None, "false", "/no/such/program"):
        monkeypatch.setattr("asr.graph.draw.find_dot", lambda program=program: program)
        assert not draw(graph, tmp_path / "x.svg", ["<eps>"], ["<eps>"])
    assert caplog.text.count("x.svg is not drawn") == 3 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [64, 1000])
def test_a_graph_is_the_same_in_pieces_of_any_size(size, monkeypatch):
    rng = np.random.default_rng(1)
    arrays = random_arrays(rng, num_states=200, num_arcs=700)
    monkeypatch.setattr(Pieces, "SIZE", size)
    file = io.BytesIO(b"bundle")
    file.seek(6)
    writer = Writer(file, arrays.start, 200)
    for low, high in [(0, 3), (3, 150), (150, 200)]:
        arcs = arrays.arcs[(arrays.sources >= low) & (arrays.sources < high)]
        sources = arrays.sources[(arrays.sources >= low) & (arrays.sources < high)] - low
        columns = (arcs[name] for name in ("ilabel", "olabel", "cost", "next"))
        writer.add(Block(arrays.final_costs[low:high], sources, *columns))
    writer.finish()
    monkeypatch.undo()
    assert file.getvalue() == b"bundle" + to_bytes(arrays)
    assert file.tell() == len(file.getvalue())


def test_dot_quotes_labels():
    graph = Automaton.from_arcs(0, np.array([np.inf, 0.5]), *(np.array([x]) for x in (0, 1, 1, 2.0, 1)))
    text = dot(graph, ["<eps>", '"'], ["<eps>", "\\"])
    assert '0 -> 1 [label="\\":\\\\/2"]' in text and '1 [shape=doublecircle, label="1/0.5"]' in text
