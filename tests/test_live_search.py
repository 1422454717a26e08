"""The searches of streams: what the search of a whole utterance finds, and words that stay."""

import random

import numpy as np
import pytest
import test_open_vocabulary
from hypothesis import given, settings
from hypothesis import strategies as st
from test_dynamic import make_language
from test_graph import MODES
from tiny import TOKENS, graph_dir

from asr.config import DecoderConfig
from asr.errors import InputError
from asr.graph.lists import closed_graph, list_grammar
from asr.search.live import live_search
from asr.search.phrases import Phrases
from asr.search.searchers import GraphSearcher, GreedySearcher, make_decoder
from asr.search.space import SearchSpace
from asr.text.lexicon import Lexicon
from asr.tokens import BLANK, Tokens


def graph_searcher(space, tokens, **options):
    return GraphSearcher(make_decoder(space.graph, DecoderConfig(**{"beam": 8.0, **options})), space, tokens, nbest=3)


def searchers(folder):
    tiny = SearchSpace.read(graph_dir(folder / "tiny"), TOKENS)
    yield "words", graph_searcher(tiny, TOKENS)
    yield "no lattice", graph_searcher(tiny, TOKENS, lattice_beam=None)
    for mode in MODES:
        (folder / mode).mkdir()
        tokens, _, _, space = make_language(random.Random(3), mode, folder / mode)
        yield f"dynamic {mode}", graph_searcher(space, tokens, blank_skip=0.9)
    for kind in ("static", "dynamic"):
        (folder / kind).mkdir()
        opened = test_open_vocabulary.recognizer_of(folder / kind, kind)
        yield f"pieces {kind}", graph_searcher(opened.space, opened.tokens)
    words = ["a", "b"]
    spelled = Lexicon({"a": [("a",)], "b": [("b", "a")]})
    graph = closed_graph(list_grammar({"a b": 1.0, "b": 2.0}, {"a": 1, "b": 2}), words, spelled, TOKENS, None)
    yield "list", graph_searcher(SearchSpace(graph, ["<eps>", *words], spelled, is_closed=True), TOKENS)
    yield "greedy char", GreedySearcher(TOKENS, "char")
    yield "greedy phone", GreedySearcher(TOKENS, "phone")
    yield "greedy piece", GreedySearcher(Tokens([BLANK, "▁", "▁a", "b"]), "piece")


NAMES = ["words", "no lattice", *(f"dynamic {mode}" for mode in MODES), "pieces static", "pieces dynamic", "list",
         "greedy char", "greedy phone", "greedy piece"]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return dict(searchers(tmp_path_factory.mktemp("live")))


def draw_log_probs(rng, frames, tokens, sharpness):
    x = rng.standard_normal((frames, tokens)) * sharpness
    x[:, 0] += sharpness * (rng.random(frames) < 0.5)
    return (x - np.logaddexp.reduce(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_pieces_give_the_result_of_the_whole_and_stable_words_stay(made, name, data):
    searcher = made[name]
    rng = np.random.default_rng(data.draw(st.integers(0, 99999)))
    frames = data.draw(st.integers(1, 40))
    log_probs = draw_log_probs(rng, frames, len(searcher.tokens), data.draw(st.sampled_from([1.0, 3.0, 8.0])))
    cuts = sorted(data.draw(st.lists(st.integers(0, frames), max_size=8)))
    phrases = None
    if isinstance(searcher, GraphSearcher) and name == "words" and data.draw(st.booleans()):
        phrases = Phrases.of_words({"a b": 3.0}, searcher.space.labels, 2, searcher.space.segmented)
    search, stable = live_search(searcher, phrases), []
    for begin, end in zip([0, *cuts], [*cuts, frames], strict=True):
        search.accept(log_probs[begin:end])
        partial = search.partial()
        words = [found.word for found in partial.words]
        assert words[: len(stable)] == stable and partial.num_stable >= len(stable)
        stable = words[: partial.num_stable]
        assert 0 <= partial.silent_frames <= end
    found = search.finish(np.zeros(0, np.float32))
    assert [word.word for word in found.words][: len(stable)] == stable
    assert found == searcher.search(log_probs, phrases)


def test_before_any_frame_there_are_no_words(made):
    for searcher in made.values():
        partial = live_search(searcher).partial()
        assert (partial.words, partial.num_stable, partial.silent_frames) == ([], 0, 0)


def test_a_diverged_model_is_told(made):
    for searcher in made.values():
        with pytest.raises(InputError, match="NaN"):
            live_search(searcher).accept(np.full((2, len(searcher.tokens)), np.nan, np.float32))
