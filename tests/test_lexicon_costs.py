"""Probabilities of pronunciations as costs in graphs: against brute force, and the two kinds of graphs alike."""

import itertools
import math
import random

import numpy as np
import pytest
from random_graphs import EXACT
from test_graph import MODES, by_the_book, collapse, random_ngrams, search, sentence_cost, tokens_of, write_arpa

from asr.config import Config
from asr.graph import compile_graph
from asr.graph.dynamic import compile_dynamic
from asr.graph.grammar import ngram_grammar
from asr.graph.lexicon_fst import spell
from asr.graph.lists import closed_graph, list_grammar
from asr.graph.topology import ctc_topology
from asr.lm import arpa
from asr.recognizer.spaces import RequestSpaces
from asr.search.decoder import Decoder
from asr.search.new_words import NewWord
from asr.search.space import SearchSpace
from asr.text.lexicon import Lexicon


def weighted_lexicon(rng):
    """Few units and short words; (lexicon, {(word, units): cost}). Some words have no most probable pronunciation of 1,
    and some pronunciations have no probability, which counts as 1."""
    spellings = [s for n in (1, 2, 3) for s in itertools.product("ab", repeat=n)]
    words = {f"w{i}": rng.sample(spellings, rng.choice([1, 2, 3])) for i in range(rng.randint(1, 5))}
    probability = {(w, s): rng.choice([1.0, 0.5, rng.uniform(0.01, 1)]) for w, v in words.items() for s in v}
    given = {pair: p for pair, p in probability.items() if p != 1.0}
    costs = {(w, s): math.log(max(probability[w, t] for t in words[w]) / p) for (w, s), p in probability.items()}
    return Lexicon(words, given), costs


def readings(symbols, costs, silence, separator, start=True):
    """(words, cost of their pronunciations) of a token sequence."""
    if not symbols:
        yield (), 0.0
    if silence and symbols[:1] == (silence,):
        yield from readings(symbols[1:], costs, silence, separator, start)
    if separator and not start:
        if symbols[:1] != (separator,) or len(symbols) == 1:
            return
        symbols = symbols[1:]
    for (word, units), own in costs.items():
        if symbols[: len(units)] == units:
            for words, cost in readings(symbols[len(units) :], costs, silence, separator, start=False):
                yield (word, *words), cost + own


def brute_force(frame_costs, tokens, costs, mode, cost_of):
    """{words: least cost} over all frame sequences; `frame_costs` (F, V)."""
    found = {}
    for frames in itertools.product(range(frame_costs.shape[1]), repeat=len(frame_costs)):
        symbols = tuple(tokens.decode(collapse(frames)))
        cost = frame_costs[range(len(frame_costs)), frames].sum()
        for words, own in readings(symbols, costs, *MODES[mode]):
            found[words] = min(found.get(words, math.inf), cost + own + cost_of(words))
    return found


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(12))
def test_static_and_dynamic_graphs_equal_brute_force(mode, seed, tmp_path):
    rng = random.Random(seed)
    tokens, silence = tokens_of(mode), MODES[mode][0]
    lexicon, costs = weighted_lexicon(rng)
    ngrams = random_ngrams(rng, [*lexicon.pronunciations, "oov"], rng.choice([1, 2, 3]))
    write_arpa(ngrams, tmp_path / "lm.arpa")
    compile_graph(tokens, lexicon, tmp_path / "lm.arpa", tmp_path / "static", silence, draw_states=0)
    compile_dynamic(tokens, lexicon, tmp_path / "lm.arpa", tmp_path / "dynamic", silence)
    spaces = [SearchSpace.read(tmp_path / kind, tokens) for kind in ("static", "dynamic")]
    words = list(lexicon.pronunciations)
    grammar = ngram_grammar(arpa.read(tmp_path / "lm.arpa"), {word: i for i, word in enumerate(words, 1)})
    book = by_the_book(grammar, spell(words, lexicon, tokens, *MODES[mode]), len(tokens), len(words))
    book = ctc_topology(len(tokens)).to_openfst().copy(), book.arcsort("ilabel")
    for frames in (1, 4):
        frame_costs = np.random.default_rng(seed).exponential(2.0, (frames, len(tokens)))
        truth = brute_force(frame_costs, tokens, costs, mode, lambda w: sentence_cost(ngrams, w))
        for space in spaces:
            path = Decoder(space.graph, **EXACT).decode((-frame_costs).astype(np.float32))
            assert path.cost == pytest.approx(min(truth.values()), abs=1e-4)
            assert truth[tuple(space.words[x] for x in path.labels)] == pytest.approx(path.cost, abs=1e-4)
        import pywrapfst

        assert search(pywrapfst.compose(*book), frame_costs)[1] == pytest.approx(min(truth.values()), abs=1e-4)


def test_a_list_and_known_words_of_slots_keep_their_costs(tmp_path):
    lexicon = Lexicon({"w": ["a", "b"], "v": ["ab"]}, {("w", ("b",)): 0.25})
    tokens = tokens_of("plain")
    graph = closed_graph(list_grammar({"w": 1.0}, {"w": 1}), ["w"], lexicon, tokens)
    costs = np.array([[9.0, 9.0, 0.0]], np.float32)  # b was said
    assert Decoder(graph, **EXACT).decode(-costs).cost == pytest.approx(math.log(4), abs=1e-5)

    ngrams = {(w,): (-1.0, 0.0) for w in ("<s>", "</s>", "<unk>", "<name>", "v")}
    write_arpa(ngrams, tmp_path / "lm.arpa")
    compile_dynamic(tokens, lexicon, tmp_path / "lm.arpa", tmp_path / "graph")
    space = SearchSpace.read(tmp_path / "graph", tokens)
    assert space.language.tree.costs(space.labels["w"]) == pytest.approx([0.0, math.log(4)])
    assert space.probabilities(["w", "other"], tokens)["w", ("b",)] == pytest.approx(0.25)
    slotted = space.with_words([NewWord("w", slot="<name>")], tokens, lambda words: {})
    cost = Decoder(slotted.graph, **EXACT).decode(-costs).cost
    assert cost == pytest.approx(2 * math.log(10) + math.log(4), abs=1e-4)


@pytest.mark.parametrize("kind", ["static", "dynamic", "lexicon"])
def test_a_list_takes_the_probabilities_of_the_recogniser(kind, tmp_path):
    """Those of its graph, or of a lexicon file if it has no graph."""
    lexicon = Lexicon({"w": ["a", "b"], "v": ["ab"]}, {("w", ("b",)): 0.25})
    tokens = tokens_of("plain")
    write_arpa({(w,): (-1.0, 0.0) for w in ("<s>", "</s>", "<unk>", "w", "v")}, tmp_path / "lm.arpa")
    build = compile_dynamic if kind == "dynamic" else compile_graph
    build(tokens, lexicon, tmp_path / "lm.arpa", tmp_path / "graph")
    space = None if kind == "lexicon" else SearchSpace.read(tmp_path / "graph", tokens)
    spaces = RequestSpaces(Config(), tokens, space, lexicon if kind == "lexicon" else None)
    costs = np.array([[9.0, 9.0, 0.0]], np.float32)  # b was said
    for derived in (spaces, RequestSpaces(Config(), tokens, spaces.of_list(["v"]), spaces.lexicon)):
        found = derived.of_list(["w"])
        assert Decoder(found.graph, **EXACT).decode(-costs).cost == pytest.approx(math.log(4), abs=1e-5)


def test_a_graph_folder_and_its_files_keep_probabilities(tmp_path):
    lexicon, _ = weighted_lexicon(random.Random(2))
    tokens = tokens_of("plain")
    write_arpa(random_ngrams(random.Random(2), list(lexicon.pronunciations), 2), tmp_path / "lm.arpa")
    compile_graph(tokens, lexicon, tmp_path / "lm.arpa", tmp_path / "graph", draw_states=0)
    space = SearchSpace.read(tmp_path / "graph", tokens)
    again = space.lexicon
    assert space.probabilities(again.pronunciations, tokens) == pytest.approx(dict(again.probabilities))
    for word, units in lexicon.items():
        assert again.cost(word, units) == pytest.approx(lexicon.cost(word, units), abs=1e-6)


def test_without_probabilities_files_stay_as_they_were(tmp_path):
    """The tree has no costs then, and older versions can read it."""
    words = {"w": ["a", "b"], "v": ["ab"]}
    tokens = tokens_of("plain")
    write_arpa(random_ngrams(random.Random(2), list(words), 2), tmp_path / "lm.arpa")
    for name, given in (("none", None), ("ones", {("w", ("a",)): 0.5, ("w", ("b",)): 0.5})):
        compile_dynamic(tokens, Lexicon(words, given), tmp_path / "lm.arpa", tmp_path / name)
    assert (tmp_path / "none" / "tree.bin").read_bytes() == (tmp_path / "ones" / "tree.bin").read_bytes()


def test_homophones_are_chosen_by_the_probability_of_the_pronunciation(tmp_path):
    """Without probabilities both words of equal unigrams would tie: the one that is usually said so wins."""
    lexicon = Lexicon({"read": ["ab", "aa"], "red": ["ab"]}, {("read", ("a", "b")): 0.1, ("read", ("a", "a")): 0.9})
    tokens = tokens_of("plain")
    write_arpa({(w,): (-1.0, 0.0) for w in ("<s>", "</s>", "<unk>", "read", "red")}, tmp_path / "lm.arpa")
    compile_graph(tokens, lexicon, tmp_path / "lm.arpa", tmp_path / "static", draw_states=0)
    compile_dynamic(tokens, lexicon, tmp_path / "lm.arpa", tmp_path / "dynamic")
    costs = np.array([[9, 0, 9], [9, 9, 0]], np.float32)
    for kind in ("static", "dynamic"):
        space = SearchSpace.read(tmp_path / kind, tokens)
        assert [space.words[x] for x in Decoder(space.graph, **EXACT).decode(-costs).labels] == ["red"]


def test_damaged_costs_are_refused(tmp_path):
    lexicon = Lexicon({"w": ["a", "b"]}, {("w", ("b",)): 0.25})
    tokens = tokens_of("plain")
    write_arpa({(w,): (-1.0, 0.0) for w in ("<s>", "</s>", "<unk>", "w")}, tmp_path / "lm.arpa")
    compile_dynamic(tokens, lexicon, tmp_path / "lm.arpa", tmp_path / "graph")
    path = tmp_path / "graph" / "tree.bin"
    data = bytearray(path.read_bytes())
    at = data.rindex(np.float32(math.log(4)).tobytes())
    for bad in (-1.0, math.nan, math.inf):
        data[at : at + 4] = np.float32(bad).tobytes()
        path.write_bytes(data)
        with pytest.raises(ValueError, match="cost of a spelling is out of range"):
            SearchSpace.read(tmp_path / "graph", tokens)
