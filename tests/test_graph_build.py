"""Building in blocks, forecasts, the memory limit, the cache, and the messages of the preflight."""

import itertools
import logging
import multiprocessing
import os
import random

import numpy as np
import pytest
from test_graph import MODES, random_lexicon, random_ngrams, tokens_of, write_arpa

from asr.errors import InputError
from asr.graph import Build, GraphOptions, compile_graph, minimize, spelling_trees, state_order, topology
from asr.graph.automaton import Automaton
from asr.graph.cache import Cache, digest
from asr.graph.forecast import forecast
from asr.graph.grammar import ngram_grammar, word_grammar
from asr.graph.grammar_sources import ArpaSource
from asr.graph.lexicon_fst import spell
from asr.graph.memory import Ceiling
from asr.graph.minimize import _Known
from asr.graph.preflight import check, homophones
from asr.graph.ranges import blocks, expand_ranges
from asr.graph.spelling_trees import Forest
from asr.graph.topology import apply_topology
from asr.lm import arpa
from asr.text.lexicon import Lexicon
from asr.tokens import Tokens

COLUMNS = ("final", "source", "ilabel", "olabel", "cost", "target")
UNITS = "abcdefghij"


def random_words(rng, count, variants=0.1):
    """A lexicon of `count` words of one to nine units, some with two spellings."""
    spelled = {f"w{i}": ["".join(rng.choices(UNITS, k=rng.randint(1, 9)))] for i in range(count)}
    for word in rng.sample(sorted(spelled), int(variants * count)):
        spelled[word].append(spelled[word][0][:-1] + rng.choice(UNITS))
    return Lexicon(spelled)


def problem(seed, mode, tmp_path, count=0):
    """(grammar, spellings, number of tokens) of a random model."""
    rng = random.Random(seed)
    silence, separator = MODES[mode]
    lexicon = random_words(rng, count) if count else random_lexicon(rng)
    tokens = Tokens(["<blk>", *filter(None, MODES[mode]), *UNITS])
    words = list(lexicon.pronunciations)
    write_arpa(random_ngrams(rng, words, rng.choice([1, 2, 3])), tmp_path / "lm.arpa")
    grammar = ngram_grammar(arpa.read(tmp_path / "lm.arpa"), {word: i for i, word in enumerate(words, 1)})
    return grammar, spell(words, lexicon, tokens, silence, separator), len(tokens)


def assert_same(one, other):
    assert one.start == other.start
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@pytest.mark.parametrize("mode", MODES)
def test_blocks_of_any_size_build_the_same_graph(mode, tmp_path, monkeypatch):
    for seed in range(5):
        grammar, spellings, num_tokens = problem(seed, mode, tmp_path, 20 * seed)
        graph = minimize.minimize(Forest(grammar, spellings))
        searched = apply_topology(graph, num_tokens)
        with monkeypatch.context() as patch:
            patch.setattr(spelling_trees, "BLOCK", 3)
            patch.setattr(minimize, "_BLOCK", 2)
            patch.setattr(topology, "_BLOCK", 8)
            assert_same(minimize.minimize(Forest(grammar, spellings)), graph)
            assert_same(apply_topology(graph, num_tokens), searched)


@pytest.mark.parametrize("mode", MODES)
def test_states_are_in_breadth_first_order(mode, tmp_path, monkeypatch):
    for seed in range(5):
        grammar, spellings, _ = problem(seed, mode, tmp_path, 20 * seed)
        graph = minimize.minimize(Forest(grammar, spellings))
        first, targets = graph.first, graph.target.tolist()
        met = {graph.start: None}
        for state in (queue := [graph.start]):
            fresh = [t for t in targets[first[state] : first[state + 1]] if t not in met]
            met.update(dict.fromkeys(fresh))
            queue += dict.fromkeys(fresh)
        number = np.empty(graph.num_states, np.int32)
        number[list(met)] = np.arange(len(met))
        arcs = (number[graph.source], graph.ilabel, graph.olabel, graph.cost, number[graph.target])
        monkeypatch.setattr(state_order, "_BLOCK", 4)
        want = Automaton.from_arcs(0, graph.final[list(met)], *arcs)
        assert_same(state_order.breadth_first(graph), want)


def test_unreachable_states_are_last():
    graph = Automaton.from_arcs(2, np.array([3.0, 1.0, 2.0]), *np.array([[0, 2], [5, 6], [7, 8], [1, 2], [1, 1]]))
    sorted_graph = state_order.breadth_first(graph)
    assert sorted_graph.start == 0 and sorted_graph.final.tolist() == [2, 1, 3]
    assert sorted_graph.source.tolist() == [0, 2] and sorted_graph.target.tolist() == [1, 1]


def test_equal_states_are_merged_except_in_cycles(tmp_path):
    grammar, spellings, _ = problem(3, "silence", tmp_path, 80)
    graph = minimize.minimize(Forest(grammar, spellings))
    columns = (graph.ilabel.tolist(), graph.olabel.tolist(), graph.cost.tolist(), graph.target.tolist())
    arcs = list(zip(*columns, strict=True))
    first = graph.first.tolist()
    states = [(frozenset(arcs[a:b]), f) for (a, b), f in zip(itertools.pairwise(first), graph.final, strict=True)]
    assert len(set(states)) == len(states)


def test_futures_are_numbered_by_first_appearance():
    """Compared with a dict; few distinct hashes, so that slots collide."""
    rng = np.random.default_rng(0)
    known, book = _Known(), {}
    for size in (1, 5, 300, 40, 2000):
        futures = rng.integers(40, size=(size, 2)).astype(np.uint64)
        number, is_new = known.add(futures)
        for key, found, new in zip(map(tuple, futures.tolist()), number.tolist(), is_new.tolist(), strict=True):
            assert new == (key not in book)
            assert book.setdefault(key, len(book)) == found
    assert known.count == len(book)


def test_ranges_and_blocks():
    which, row = expand_ranges(np.array([5, 0, 9]), np.array([2, 0, 3]))
    assert which.tolist() == [0, 0, 2, 2, 2] and row.tolist() == [5, 6, 9, 10, 11]
    first = np.array([0, 2, 2, 9, 10, 11])
    assert list(blocks(first, 3)) == [(0, 2), (2, 3), (3, 5)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("seed", "count"), [(0, 30), (1, 100), (2, 300), (3, 300), (4, 1000)])
def test_forecast_is_within_a_factor_of_two(mode, seed, count, tmp_path):
    grammar, spellings, num_tokens = problem(seed, mode, tmp_path, count)
    assert_forecast(grammar, spellings, num_tokens)


def test_forecast_of_a_word_list():
    lexicon = random_words(random.Random(5), 2000)
    words = list(lexicon.pronunciations)
    tokens = Tokens(["<blk>", *UNITS])
    assert_forecast(word_grammar(len(words)), spell(words, lexicon, tokens, None, None), len(tokens))


def assert_forecast(grammar, spellings, num_tokens):
    expected = forecast(grammar, spellings, num_tokens)
    graph = minimize.minimize(Forest(grammar, spellings))
    searched = apply_topology(graph, num_tokens)
    truth = (graph.num_states, graph.num_arcs, searched.num_states, searched.num_arcs)
    counted = (expected.lg_states, expected.lg_arcs, expected.states, expected.arcs)
    assert all(t / 1.5 < f < t * 1.5 for f, t in zip(counted, truth, strict=True)), (counted, truth)
    implicit = forecast(grammar, spellings, num_tokens, implicit=True)
    assert (implicit.states, implicit.arcs) == (expected.lg_states, expected.lg_arcs)


@pytest.fixture
def inputs(tmp_path):
    """Tokens, lexicon and ARPA file of a graph that is too large to draw."""
    rng = random.Random(7)
    lexicon = random_words(rng, 60)
    write_arpa(random_ngrams(rng, [*lexicon.pronunciations, "oov"], 3), tmp_path / "lm.arpa")
    return Tokens(["<blk>", *UNITS]), lexicon, tmp_path / "lm.arpa"


def reused(stats):
    return [stage.name for stage in stats.stages if stage.reused]


def test_only_changed_stages_are_rebuilt(inputs, tmp_path, caplog):
    tokens, lexicon, lm = inputs
    out, cache = tmp_path / "graph", tmp_path / "cache"
    plain = compile_graph(*inputs, tmp_path / "plain")
    assert [stage.name for stage in plain.stages] == ["G", "LG", "HLG"]
    graph = (tmp_path / "plain/graph.bin").read_bytes()

    assert reused(compile_graph(*inputs, out, cache_dir=cache)) == []
    made = (out / "graph.bin").stat().st_mtime_ns
    for draw_states in (60, 50):
        again = compile_graph(*inputs, out, draw_states=draw_states, cache_dir=cache)
        assert reused(again) == [stage.name for stage in again.stages] == ["G", "LG", "HLG"]
        assert (out / "graph.bin").stat().st_mtime_ns == made and again.graph_digest == plain.graph_digest
    assert reused(compile_graph(*inputs, out, topology="implicit", cache_dir=cache)) == ["LG"]
    assert reused(compile_graph(*inputs, out, cache_dir=cache)) == ["LG"]
    assert (out / "graph.bin").read_bytes() == graph

    longer = Lexicon({**lexicon.pronunciations, "w3": ["abcabc"]})
    assert reused(compile_graph(tokens, longer, lm, out, cache_dir=cache)) == ["G"]
    assert reused(compile_graph(tokens, lexicon, lm, out, silence="a", cache_dir=cache)) == ["G"]
    fewer = Lexicon({word: lexicon.pronunciations[word] for word in list(lexicon.pronunciations)[:-1]})
    assert reused(compile_graph(tokens, fewer, lm, out, cache_dir=cache)) == []
    lm.write_text(lm.read_text().replace("-1.", "-1.0", 1))
    assert reused(compile_graph(*inputs, out, cache_dir=cache)) == []
    assert all(len(list(cache.glob(f"{kind}-*"))) <= 4 for kind in ("words", "G", "LG"))


def test_the_model_is_not_read_if_its_grammar_is_cached(inputs, tmp_path, monkeypatch):
    compile_graph(*inputs, tmp_path / "graph", cache_dir=tmp_path / "cache")
    monkeypatch.setattr(arpa, "read", None)
    assert reused(compile_graph(*inputs, tmp_path / "other", cache_dir=tmp_path / "cache")) == ["LG"]


def test_a_damaged_graph_is_rebuilt(inputs, tmp_path):
    out = tmp_path / "graph"
    compile_graph(*inputs, out)
    graph = (out / "graph.bin").read_bytes()
    for damage in (graph[:-1] + bytes([graph[-1] ^ 1]), graph[:100], b""):
        (out / "graph.bin").write_bytes(damage)
        assert "HLG" not in reused(compile_graph(*inputs, out))
        assert (out / "graph.bin").read_bytes() == graph
    (out / "stats.json").write_text('{"key": 1, "stages": [7]}')
    compile_graph(*inputs, out)
    assert (out / "graph.bin").read_bytes() == graph


def test_damaged_cache_entries_count_as_missing(tmp_path, caplog):
    cache, rng = Cache(tmp_path), random.Random(1)
    arrays = {"start": np.int64(3), "final": np.arange(50, dtype=np.float32)}
    for _ in range(60):
        cache.store("G", "key", arrays)
        (path,) = tmp_path.iterdir()
        data = bytearray(path.read_bytes())
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data if rng.random() < 0.7 else data[: rng.randrange(len(data))])
        found = cache.load("G", "key")
        if found is not None:  # the damaged byte is not read, for instance in a time stamp
            assert {name: array.tolist() for name, array in found.items() if name in arrays} == {
                name: array.tolist() for name, array in arrays.items() if name in found
            }
    assert "is damaged" in caplog.text


def test_the_most_recently_used_entries_are_kept(tmp_path):
    cache = Cache(tmp_path)
    for i in range(7):
        cache.store("G", str(i), {"x": np.arange(i)})
        os.utime(tmp_path / f"G-{i}.npz", (i, i))
        assert cache.load("G", "0") is not None
    assert cache.load("G", "1") is None and cache.load("G", "6") is not None
    assert len(list(tmp_path.iterdir())) == 4
    assert Cache(None).load("G", "0") is None


def test_an_unwritable_cache_is_not_an_error(inputs, tmp_path, caplog):
    (tmp_path / "cache").write_text("a file")
    compile_graph(*inputs, tmp_path / "graph", cache_dir=tmp_path / "cache")
    assert "could not be cached" in caplog.text and (tmp_path / "graph/graph.bin").exists()


def build_often(inputs, out, cache):
    for topology_kind in ("explicit", "implicit") * 3:
        compile_graph(*inputs, out, topology=topology_kind, cache_dir=cache)


def test_two_processes_share_a_cache(inputs, tmp_path):
    context = multiprocessing.get_context("fork")
    args = [(inputs, tmp_path / str(i), tmp_path / "cache") for i in range(3)]
    workers = [context.Process(target=build_often, args=a) for a in args]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert len({(tmp_path / str(i) / "graph.bin").read_bytes() for i in range(3)}) == 1


def test_keys_distinguish_their_parts():
    keys = [digest("ab", "c"), digest("a", "bc"), digest(["a", "b"]), digest(np.arange(3)), digest(np.arange(3.0)),
            digest(None), digest(1)]  # fmt: skip
    assert len(set(keys)) == len(keys)


def test_a_graph_above_the_memory_limit_is_refused_with_advice(inputs, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"need.* \d+ MB.*memory_mb=10; prune .* to \d+ n-grams .*graph.kind=dynamic"):
        compile_graph(*inputs, tmp_path / "graph", memory_mb=10)
    assert not list((tmp_path / "graph").iterdir())
    monkeypatch.setattr(
        Build, "_forecast", lambda self, grammar: forecast(grammar, self.spellings, 11).__class__(*6 * [1])
    )
    with pytest.raises(InputError, match="takes more than"):
        compile_graph(*inputs, tmp_path / "graph", memory_mb=10)
    assert not list((tmp_path / "graph").iterdir())
    compile_graph(*inputs, tmp_path / "graph", memory_mb=100_000)
    assert (tmp_path / "graph/graph.bin").exists()


def test_the_memory_limit_is_checked_during_the_build():
    used = iter([5, 50])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("asr.graph.memory.resident_mb", lambda: next(used))
        seen = []
        with pytest.raises(InputError, match="takes more than 50 MB"):
            seen += Ceiling(20, 1000).watch([1, 2, 3], "LG", 3, lambda _: 1)
    assert Ceiling(None, 1).check(10**9, "needs") is None


def test_a_forecast_writes_nothing(inputs, tmp_path):
    tokens, lexicon, lm = inputs
    expected = Build(ArpaSource(lm), lexicon, tokens, GraphOptions()).forecast()
    assert "states" in str(expected) and {path.name for path in tmp_path.iterdir()} == {"lm.arpa"}


def test_left_out_words_are_logged_by_frequency(caplog):
    words = ["<s>", "rare", "ab", "often", "odd"]
    log10_prob = np.log10([0.5, 0.01, 0.2, 0.25, 0.04])
    with caplog.at_level(logging.INFO):
        _, _, left_out = check(words, Lexicon({"ab": ["ab"], "odd": ["x"]}), tokens_of("plain"), log10_prob=log10_prob)
    assert left_out == ["often", "rare", "odd"]
    assert "often, rare; the language model gives them 26 %" in caplog.text
    assert "odd; the language model gives them 4 %" in caplog.text


def test_homophones_are_logged(caplog):
    with caplog.at_level(logging.INFO):
        assert homophones(Lexicon({"red": ["ab"], "read": ["ab", "aab"], "reed": ["aab"], "other": ["b"]})) == 3
    assert "read = red, reed = read" in caplog.text
    assert homophones(Lexicon({"one": ["a", "b"]})) == 0
