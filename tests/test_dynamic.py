"""Dynamic graphs against brute force and against static graphs; new words and slots against a longer computation."""

import math
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from random_graphs import EXACT
from test_graph import MODES, brute_force, random_lexicon, random_ngrams, sentence_cost, tokens_of, write_arpa

from asr import _decoder
from asr.errors import InputError
from asr.graph import compile_graph
from asr.graph.dynamic import NGRAM, TREE, Language, compile_dynamic
from asr.graph.lexicon_fst import spell
from asr.graph.opened import Graph
from asr.graph.tree_file import HEADER, write_tree
from asr.search.decoder import Decoder
from asr.search.phrases import Phrases
from asr.search.space import DynamicSpace, SearchSpace
from asr.text.lexicon import Lexicon
from asr.tokens import Tokens


def make_language(rng, mode, folder, slots=()):
    """Writes a random language to a folder: (tokens, lexicon, n-grams, search space)."""
    tokens, silence = tokens_of(mode), MODES[mode][0]
    lexicon = random_lexicon(rng)
    ngrams = random_ngrams(rng, [*lexicon.pronunciations, "oov", *slots], rng.choice([1, 2, 3]))
    write_arpa(ngrams, folder / "lm.arpa")
    compile_dynamic(tokens, lexicon, folder / "lm.arpa", folder / "graph", silence)
    return tokens, lexicon, ngrams, SearchSpace.read(folder / "graph", tokens)


def best(space, frame_costs, **options):
    path = Decoder(space.graph, **EXACT, **options).decode((-frame_costs).astype(np.float32))
    return tuple(space.words[label] for label in path.labels), path.cost


def check_best(space, frame_costs, costs):
    """The best path has the least of the `costs` of all word sequences."""
    words, cost = best(space, frame_costs)
    assert cost == pytest.approx(min(costs.values()), abs=1e-4)
    assert costs[words] == pytest.approx(cost, abs=1e-4)


def no_pronunciation(words):
    raise AssertionError(f"{words} are spelled already")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(25))
def test_best_path_equals_brute_force(mode, seed, tmp_path):
    tokens, lexicon, ngrams, space = make_language(random.Random(seed), mode, tmp_path)
    for frames in (1, 3, 5):
        frame_costs = np.random.default_rng(seed).exponential(2.0, (frames, len(tokens)))
        costs = brute_force(frame_costs, tokens, lexicon, *MODES[mode], lambda w: sentence_cost(ngrams, w))
        check_best(space, frame_costs, costs)


@pytest.mark.parametrize("mode", MODES)
def test_lattices_equal_those_of_the_static_graph(mode, tmp_path):
    for seed in range(8):
        tokens, lexicon, _, space = make_language(random.Random(seed), mode, tmp_path)
        compile_graph(tokens, lexicon, tmp_path / "lm.arpa", tmp_path / "static", MODES[mode][0], draw_states=0)
        static = SearchSpace.read(tmp_path / "static", tokens)
        log_probs = -np.random.default_rng(seed).exponential(2.0, (8, len(tokens))).astype(np.float32)
        found = []
        for some in (static, space):
            lattice = Decoder(some.graph, lattice_beam=4.0, **EXACT).decode_lattice(log_probs).lattice
            readings = {tuple(some.words[x] for x in r.labels): r.cost for r in lattice.readings()}
            found.append({words: cost for words, cost in readings.items() if cost < min(readings.values()) + 3.99})
        assert found[0].keys() == found[1].keys()
        assert all(found[1][words] == pytest.approx(cost, abs=1e-3) for words, cost in found[0].items())


def test_a_failed_build_keeps_the_old_graph(tmp_path):
    tokens, lexicon, _, _ = make_language(random.Random(3), "plain", tmp_path)
    before = {file.name: file.read_bytes() for file in (tmp_path / "graph").iterdir()}
    (tmp_path / "bad.arpa").write_text("\\data\\\nngram 1=2\n\n\\1-grams:\n-1 </s>\n\\end\\\n")
    other = Lexicon({word: [("a", "a", "a")] for word in lexicon.pronunciations})
    with pytest.raises(InputError, match="bad.arpa"):
        compile_dynamic(tokens, other, tmp_path / "bad.arpa", tmp_path / "graph")
    assert {file.name: file.read_bytes() for file in (tmp_path / "graph").iterdir()} == before


def test_a_new_language_model_keeps_the_tree(tmp_path):
    rng = random.Random(3)
    tokens, lexicon, _, _ = make_language(rng, "plain", tmp_path)
    tree = (tmp_path / "graph" / TREE).read_bytes()
    other = random_ngrams(rng, [*lexicon.pronunciations, "more"], 2)
    write_arpa(other, tmp_path / "other.arpa")
    compile_dynamic(tokens, lexicon, tmp_path / "other.arpa", tmp_path / "both")
    (tmp_path / "graph" / NGRAM).write_bytes((tmp_path / "both" / NGRAM).read_bytes())
    assert (tmp_path / "graph" / TREE).read_bytes() == tree
    frame_costs = np.random.default_rng(3).exponential(2.0, (5, len(tokens)))
    assert best(SearchSpace.read(tmp_path / "graph", tokens), frame_costs) == best(
        SearchSpace.read(tmp_path / "both", tokens), frame_costs
    )


def zipf_language(folder, words=300, seed=5):
    """A language so large that a search composes thousands of states."""
    rng = np.random.default_rng(seed)
    tokens = Tokens(["<blk>", *"abcdefgh"])
    spellings = {f"w{i}": ["".join(rng.choice(list("abcdefgh"), rng.integers(2, 9)))] for i in range(words)}
    names = list(spellings)
    weights = 1 / np.arange(1, words + 1)
    text = [" ".join(rng.choice(names, rng.integers(1, 9), p=weights / weights.sum())) for _ in range(3000)]
    from asr.lm import arpa, train

    arpa.write(train(text, 3), folder / "lm.arpa")
    compile_dynamic(tokens, Lexicon(spellings), folder / "lm.arpa", folder / "graph")
    return tokens, Lexicon(spellings)


def test_results_do_not_depend_on_threads_chunks_or_cache_size(tmp_path):
    tokens, lexicon = zipf_language(tmp_path)
    compile_graph(tokens, lexicon, tmp_path / "lm.arpa", tmp_path / "static", draw_states=0)
    rng = np.random.default_rng(0)
    utterances = [np.log(rng.dirichlet(np.full(len(tokens), 0.1), 60) + 1e-6).astype(np.float32) for _ in range(12)]
    static = SearchSpace.read(tmp_path / "static", tokens)
    want = [[static.words[x] for x in Decoder(static.graph, beam=20.0).decode(u).labels] for u in utterances]
    language = Language.open(tmp_path / "graph")
    graph = language.graph(cache_bytes=300_000)
    decoder = Decoder(graph, beam=20.0)
    largest = 0
    for u, words in zip(utterances, want, strict=True):
        assert [language.tree.words[x] for x in decoder.decode(u).labels] == words
        largest = max(largest, graph.core.num_bytes)
    assert 300_000 < largest < 6_000_000  # restarted, not ever larger
    shared = Decoder(language.graph(), beam=20.0)
    assert [[language.tree.words[x] for x in p.labels] for p in shared.decode_batch(utterances, 4)] == want
    stream = shared.stream()
    for begin in range(0, 60, 7):
        stream.accept(utterances[0][begin : begin + 7])
    assert [language.tree.words[x] for x in stream.finish().labels] == want[0]


@pytest.mark.parametrize("word_penalty", [-4.0, 0.0, 2.0])
def test_arcs_beyond_the_cutoff_are_left_out_without_a_loss(word_penalty, tmp_path):
    """A further token that no word has but that is as cheap as can be keeps the search from ever leaving out arcs."""
    tokens, _ = zipf_language(tmp_path)
    language, rng = Language.open(tmp_path / "graph"), np.random.default_rng(7)
    most = len(language.tree.words) - 1
    drawn = [rng.integers(1, most + 1, rng.integers(1, 3)).tolist() for _ in range(300)]
    phrases = Phrases([(labels, float(rng.normal(0, 4))) for labels in drawn], most)
    decoder = Decoder(language.graph(), beam=8.0, word_penalty=word_penalty, lattice_beam=4.0)
    for _ in range(4):
        log_probs = np.log(rng.dirichlet(np.full(len(tokens), 0.1), 40) + 1e-6).astype(np.float32)
        log_probs[rng.random(log_probs.shape) < 0.1] = -np.inf
        with_cheapest = np.concatenate([log_probs, np.full((40, 1), 1e6, np.float32)], 1)
        for boosted in (None, phrases):
            found, whole = (decoder.decode_lattice(each, boosted) for each in (log_probs, with_cheapest))
            assert (found.path.labels, found.path.cost) == (whole.path.labels, whole.path.cost)
            assert np.array_equal(found.lattice.arcs, whole.lattice.arcs) and len(found.lattice.arcs) > 0


def test_a_stream_keeps_the_graph_it_started_with(tmp_path):
    tokens, _ = zipf_language(tmp_path)
    language = Language.open(tmp_path / "graph")
    rng = np.random.default_rng(0)
    u = np.log(rng.dirichlet(np.full(len(tokens), 0.1), 60) + 1e-6).astype(np.float32)
    decoder = Decoder(language.graph(cache_bytes=1), beam=16.0)
    stream = decoder.stream()
    stream.accept(u[:30])
    others = [threading.Thread(target=decoder.decode, args=(u,)) for _ in range(4)]
    for thread in others:
        thread.start()
    for thread in others:
        thread.join()
    stream.accept(u[30:])
    assert stream.finish().labels == decoder.decode(u).labels


@pytest.mark.parametrize("name", [TREE, NGRAM])
def test_damaged_files_are_refused(name, tmp_path):
    tokens = make_language(random.Random(1), "silence", tmp_path)[0]
    path = tmp_path / "graph" / name
    good = path.read_bytes()
    rng = np.random.default_rng(1)
    for size in (0, 10, 40, len(good) - 8):
        path.write_bytes(good[:size])
        with pytest.raises(InputError):
            Language.open(tmp_path / "graph")
    num_refused = 0
    for _ in range(300):  # the changed file is refused or can be searched
        bad = bytearray(good)
        bad[rng.integers(len(bad))] ^= 1 << rng.integers(8)
        path.write_bytes(bad)
        try:
            space = SearchSpace.read(tmp_path / "graph", tokens)
            Decoder(space.graph, beam=8.0).decode(np.full((4, len(tokens)), -1.0, np.float32))
        except InputError:
            num_refused += 1
    assert 50 < num_refused < 300
    path.unlink()
    with pytest.raises(InputError, match=name):
        Language.open(tmp_path / "graph")


def test_a_static_graph_opens_as_before(tmp_path):
    tokens, lexicon = tokens_of("plain"), Lexicon({"x": ["ab"]})
    write_arpa(random_ngrams(random.Random(1), ["x"], 2), tmp_path / "lm.arpa")
    compile_graph(tokens, lexicon, tmp_path / "lm.arpa", tmp_path / "graph", draw_states=0)
    space = SearchSpace.read(tmp_path / "graph", tokens)
    assert isinstance(space.graph, Graph) and not isinstance(space, DynamicSpace)


def random_frames(tokens, frames):
    return np.log(np.random.default_rng(0).dirichlet(np.full(len(tokens), 0.1), frames) + 1e-6).astype(np.float32)


def test_an_utterance_above_the_limit_is_refused_and_the_next_starts_empty(tmp_path):
    tokens, _ = zipf_language(tmp_path)
    language = Language.open(tmp_path / "graph")
    u = random_frames(tokens, 60)
    want = Decoder(language.graph(), beam=16.0).decode(u[:4])
    graph = language.graph(most_bytes=1 << 20)
    decoder = Decoder(graph, beam=16.0)
    for _ in range(3):
        with pytest.raises(InputError, match="reached its limit of 1 MB"):
            decoder.decode(u)
        assert graph.core.num_bytes < 2 << 20
        found = decoder.decode(u[:4])  # the full graph is not used again
        assert (found.labels, found.cost) == (want.labels, want.cost)
    stream = decoder.stream()
    with pytest.raises(InputError, match="reached its limit"):
        stream.accept(u)
    with pytest.raises(InputError, match="failed before"):
        stream.finish()
    assert decoder.stream().finish().complete
    with pytest.raises(InputError, match="reached its limit of 0 MB"):
        language.graph(most_bytes=1)


def test_idle_decoders_hold_no_graph(tmp_path):
    tokens, _ = zipf_language(tmp_path)
    u = random_frames(tokens, 20)
    graph = Language.open(tmp_path / "graph").graph(cache_bytes=1, most_bytes=4 << 30)  # address space
    decoders = [Decoder(graph, beam=8.0) for _ in range(5)]
    decoders[0].decode(u)
    status = Path("/proc/self/statm")
    if not status.exists():
        pytest.skip("needs /proc/self/statm")
    before = int(status.read_text().split()[0])
    for decoder in decoders:
        decoder.decode(u)
    assert (int(status.read_text().split()[0]) - before) * 4096 < 3 << 30


def test_properties_of_a_graph_do_not_discard_it(tmp_path):
    tokens, _ = zipf_language(tmp_path)
    graph = Language.open(tmp_path / "graph").graph(cache_bytes=1)
    Decoder(graph, beam=8.0).decode(random_frames(tokens, 20))
    grown = graph.num_states
    assert (graph.max_ilabel, graph.max_olabel, graph.is_implicit) == (len(tokens), 300, True)
    assert graph.num_states == grown > 100


def test_other_threads_run_while_a_language_is_opened_and_a_search_starts(tmp_path):
    words = [f"w{i}" for i in range(40_000)]
    letters = "abcdefgh"
    lexicon = Lexicon({w: [tuple(letters[i // 8**k % 8] for k in range(6))] for i, w in enumerate(words)})
    lines = [f"-4.6\t{word}" for word in ("</s>", *words)]
    arpa = "\\data\\\nngram 1=%d\n\n\\1-grams:\n-99\t<s>\n%s\n\n\\end\\\n"
    (tmp_path / "lm.arpa").write_text(arpa % (len(lines) + 1, "\n".join(lines)))
    compile_dynamic(Tokens(["<blk>", *letters]), lexicon, tmp_path / "lm.arpa", tmp_path / "graph")
    language = Language.open(tmp_path / "graph")
    numbers = language.tree.numbers
    word_of = np.array([numbers[word] for word in language.ngram.words], np.uint32)
    ticks, ended = [], threading.Event()

    def tick():
        while not ended.is_set():
            time.sleep(1e-4)
            ticks.append(1)

    def ticks_during(call):  # a sleeping thread wakes up only if the call releases the lock
        for _ in range(50):
            before = len(ticks)
            call()
            if len(ticks) > before:
                return True
        return False

    thread = threading.Thread(target=tick)
    thread.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(100)
    try:
        assert ticks_during(lambda: _decoder.Language(language.tree.data, language.ngram.data, word_of))
        graphs = iter([language.graph().core for _ in range(50)])
        options = (16.0, 7000, 20, 1.0, 0.0, math.inf, -1.0, [])
        assert ticks_during(lambda: _decoder.Decoder(next(graphs), *options).start(None))
    finally:
        sys.setswitchinterval(interval)
        ended.set()
        thread.join()


@pytest.mark.parametrize(
    ("field", "label"), [("max_label", 2**31 - 1), ("silence", 1), ("separator", 1), ("silence", -1)]
)
def test_invalid_labels_are_refused(field, label, tmp_path):
    make_language(random.Random(1), "silence", tmp_path)
    data = bytearray((tmp_path / "graph" / TREE).read_bytes())
    np.frombuffer(data, HEADER, 1)[field] = label
    (tmp_path / "graph" / TREE).write_bytes(data)
    with pytest.raises(InputError, match="label"):
        Language.open(tmp_path / "graph")


def test_the_blank_in_a_new_word_is_refused(tmp_path):
    tokens, lexicon, _, _ = make_language(random.Random(1), "plain", tmp_path)
    words = list(lexicon.pronunciations)
    spellings = spell(words, lexicon, tokens, None, None)
    spellings.labels[:] -= 1
    assert spellings.labels.min() == 1
    write_tree(words, spellings, tmp_path / "graph" / TREE)
    with pytest.raises(InputError, match="label"):
        Language.open(tmp_path / "graph")


def test_graphs_of_requests_fit_into_a_small_address_space(tmp_path):
    """Under `ulimit -v` a graph lowers its limit instead of failing."""
    make_language(random.Random(3), "plain", tmp_path)
    code = (
        "import resource, sys; from asr.graph.dynamic import Language; "
        "language = Language.open(sys.argv[1]); "
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize(); "
        "resource.setrlimit(resource.RLIMIT_AS, (used + (4 << 30),) * 2); "
        "graphs = [language.graph() for _ in range(6)]; bytearray(64 << 20); "
        "print(len(graphs), sum(g.num_states for g in graphs))"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "graph"], capture_output=True, text=True)
    assert done.stdout.split() == ["6", "6"], done.stderr
