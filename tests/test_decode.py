"""Words and times from log-probs with a known answer."""

import itertools
import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TOKENS, graph_dir

from asr import hypothesis as hypothesis_file
from asr.config import DecoderConfig
from asr.errors import InputError
from asr.graph.compile import compile_graph
from asr.hypothesis import Hypothesis, Word
from asr.recognizer.hypotheses import decode_log_probs
from asr.search.searchers import GraphSearcher, GreedySearcher, SearchSpace, make_decoder
from asr.search.word_times import Segment, divided, match_words, segments
from asr.text.lexicon import Lexicon
from asr.text.units import to_units
from asr.tokens import BLANK, SPACE, Tokens

FRAME_S = 0.03


def log_probs_of(alignment, num_tokens, posterior=0.9):
    """Log-probs (F, V) with `posterior` on the aligned token of each frame and the rest shared."""
    rest = (1 - posterior) / (num_tokens - 1)
    return np.log(np.where(np.arange(num_tokens) == np.array(alignment)[:, None], posterior, rest)).astype(np.float32)


def collapse(alignment):
    return [k for k, _ in itertools.groupby(alignment) if k != 0]


class FakeDecoder:
    """Returns the hypothesis that the test sets."""

    def __init__(self, labels, alignment, complete=True):
        self.path = SimpleNamespace(labels=labels, alignment=np.array(alignment), cost=1.5, complete=complete)

    lattice_beam = None

    def decode(self, log_probs, phrases):
        return self.path


def fake_searcher(spoken, alignment, lexicon, tokens, complete=True, silence=None):
    words = ["<eps>", *lexicon]
    space = SearchSpace(SimpleNamespace(max_olabel=0), words, Lexicon(lexicon), silence)
    return GraphSearcher(FakeDecoder([words.index(w) for w in spoken], alignment, complete), space, tokens)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=30))
def test_segments_collapse_and_cover(alignment):
    found = segments(np.array(alignment), log_probs_of(alignment, 4))
    assert [s.token for s in found] == collapse(alignment)
    rebuilt = [0] * len(alignment)
    for s in found:
        rebuilt[s.start : s.end] = [s.token] * (s.end - s.start)
    assert rebuilt == alignment


def test_greedy_words_and_times():
    #            0  1  2  3  4  5  6  7  8  9 10 11 12 13 14 15
    alignment = [0, 2, 2, 0, 3, 0, 0, 0, 0, 1, 0, 0, 0, 3, 2, 0]  # "ab ba"
    hypo = decode_log_probs(log_probs_of(alignment, 4), GreedySearcher(TOKENS, "char"), FRAME_S, "u", 0.5)
    assert hypo.text == "ab ba" and hypo.id == "u" and hypo.duration_s == 0.5 and hypo.complete
    assert hypo.words == [
        Word("ab", 0.03, 0.25, 0.9),  # 5 frames + 0.1 s, which is less than half the gap of 8 frames
        Word("ba", 0.39, 0.48, 0.9),  # no word follows: to the end, which is closer than 0.1 s
    ]
    assert hypo.cost == pytest.approx(-16 * math.log(0.9), rel=1e-5)


def test_words_share_a_short_gap():
    hypo = decode_log_probs(log_probs_of([2, 0, 1, 3], 4), GreedySearcher(TOKENS, "char"), FRAME_S)
    assert [(w.start_s, w.end_s) for w in hypo.words] == [(0.0, 0.06), (0.09, 0.12)]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.text("한국어말각", min_size=1, max_size=3), min_size=1, max_size=4))
def test_greedy_jamo(words):
    text = " ".join(words)
    units = to_units(text, "jamo")
    tokens = Tokens([BLANK, *sorted(set(units))])
    alignment = [k for token in tokens.encode(units) for k in (token, 0)]
    hypo = decode_log_probs(log_probs_of(alignment, len(tokens)), GreedySearcher(tokens, "jamo"), FRAME_S)
    assert hypo.text == text and [w.word for w in hypo.words] == words


def test_greedy_phones_are_words_of_their_own():
    tokens = Tokens([BLANK, "AH", "B"])
    hypo = decode_log_probs(log_probs_of([1, 0, 2], 3), GreedySearcher(tokens, "phone"), FRAME_S)
    assert hypo.text == "AH B"


def test_graph_words_times_and_confidence():
    tokens = Tokens([BLANK, SPACE, "S", "EH", "V", "AH", "N", "SIL"])
    lexicon = {"seven": [("S", "EH", "V", "AH", "N"), ("S", "EH", "N")], "an": [("AH", "N")]}
    #  frames: 0 SIL, 2-5 S EH N, 7 SIL, 9 AH, 10 N, 12-16 S EH V AH N
    alignment = [7, 0, 2, 3, 3, 6, 0, 7, 0, 5, 6, 0, 2, 3, 4, 5, 6, 0]
    log_probs = log_probs_of(alignment, len(tokens))
    log_probs[3:5, 3] = np.log([0.1, 0.4])
    searcher = fake_searcher(["seven", "an", "seven"], alignment, lexicon, tokens, silence="SIL")
    hypo = decode_log_probs(log_probs, searcher, 0.01)
    assert hypo.text == "seven an seven" and hypo.cost == 1.5
    assert [w.start_s for w in hypo.words] == [0.02, 0.09, 0.12]
    assert [w.end_s for w in hypo.words] == [0.075, 0.115, 0.18]
    assert hypo.words[0].confidence == pytest.approx((0.9 * 0.4 * 0.9) ** (1 / 3), abs=1e-4)


def brute_force_matches(tokens, spellings, between):
    """All ways to spell the words with the tokens, with tokens of `between` between words."""
    if not spellings:
        return [[]] if all(t in between for t in tokens) else []
    ways = []
    for skip in range(len(tokens) + 1):
        if all(t in between for t in tokens[:skip]):
            for spelling in spellings[0]:
                end = skip + len(spelling)
                if tuple(tokens[skip:end]) == spelling:
                    rest = brute_force_matches(tokens[end:], spellings[1:], between)
                    ways += [[list(range(skip, end)), *[[i + end for i in span] for span in way]] for way in rest]
    return ways


SPELLING = st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple)


def draw_tokens(data, spellings, between, most):
    """A spelling of each word, with up to `most` tokens `between` before it."""
    tokens = []
    for variants in spellings:
        tokens += data.draw(st.lists(st.just(between), max_size=most)) + list(data.draw(st.sampled_from(variants)))
    return tokens


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data(), st.lists(st.lists(SPELLING, min_size=1, max_size=3), min_size=1, max_size=5))
def test_match_is_a_valid_one(data, spellings):
    tokens = draw_tokens(data, spellings, 3, 2)
    possible = brute_force_matches(tokens, spellings, {3})
    assert match_words(tokens, spellings, {3}) in possible


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 3), max_size=8), st.lists(st.lists(SPELLING, min_size=1, max_size=2), max_size=4))
def test_match_is_refused_only_if_there_is_none(tokens, spellings):
    possible = brute_force_matches(tokens, spellings, {3})
    if possible:
        assert match_words(tokens, spellings, {3}) in possible
    else:
        with pytest.raises(InputError, match="lexicon"):
            match_words(tokens, spellings, {3})
        match_words(tokens, spellings, {3}, complete=False)


def merged_matches(tokens, most, spellings, between):
    """All ways to spell the words with tokens of which each stands for one to `most` equal ones: the position of each
    token of each word."""
    found = []
    for counts in itertools.product(*(range(1, size + 1) for size in most)):
        places = [i for i, count in enumerate(counts) for _ in range(count)]
        ways = brute_force_matches([tokens[i] for i in places], spellings, between)
        found += [[[places[k] for k in span] for span in way] for way in ways]
    return found


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.data(), st.lists(st.lists(SPELLING, min_size=1, max_size=2), min_size=1, max_size=4))
def test_a_token_may_stand_for_several(data, spellings):
    """Phones of one state that follow themselves look like one: runs of the spelled tokens are joined."""
    spoken = draw_tokens(data, spellings, 4, 1)
    parts = [data.draw(st.integers(1, 3)) if token < 4 else 1 for token in spoken]  # where a new output begins
    tokens, most = [], []
    for token, part in zip(spoken, parts, strict=True):
        if tokens and tokens[-1] == token and token < 4 and part > 1 and most[-1] < 4:
            most[-1] += 1
        else:
            tokens.append(token)
            most.append(1)
    possible = merged_matches(tokens, most, spellings, {4})
    found = match_words(tokens, spellings, {4}, most=most)
    assert found in possible
    segments = [Segment(token, 10 * i, 10 * i + 7, -1.0) for i, token in enumerate(tokens)]
    words = divided(segments, found)
    assert [[s.token for s in word] for word in words] == [[tokens[i] for i in span] for span in found]
    for position, whole in enumerate(segments):
        shares = [s for word in words for s in word if whole.start <= s.start < whole.end]
        assert not shares or [shares[0].start, shares[-1].end] == [whole.start, whole.end]
        assert all(a.end == b.start and abs(a.end - a.start - b.end + b.start) <= 1 for a, b in pairwise(shares))
        assert len(shares) == sum(span.count(position) for span in found)


@pytest.mark.parametrize(
    ("tokens", "spans"),
    [
        ([1, 2, 1], [[0, 1], [2]]),  # the last word is incomplete
        ([1, 2], [[0, 1]]),  # the graph output the word before its tokens
        ([1, 2, 1, 3, 2], [[0, 1], [2, 3]]),  # spoken, but not output yet
        ([], []),
    ],
)
def test_incomplete_paths_keep_the_recognised_words(tokens, spans):
    assert match_words(tokens, [[(1, 2)], [(1, 3)]], set(), complete=False) == spans


def test_incomplete_hypothesis_has_no_word_without_tokens():
    lexicon = {"ab": [("a", "b")], "b": [("b",)]}
    searcher = fake_searcher(["ab", "b"], [2, 3, 0], lexicon, TOKENS, complete=False)
    hypo = decode_log_probs(log_probs_of([2, 3, 0], 4), searcher, FRAME_S)
    assert hypo.text == "ab" and not hypo.complete


def test_long_utterances_take_linear_time():
    lexicon = {"ab": [("a", "b")], "b": [("b",)]}
    alignment = [k for _ in range(5000) for k in (2, 0, 3, 0, 3, 0)]
    searcher = fake_searcher(["ab", "b"] * 5000, alignment, lexicon, TOKENS)
    assert len(decode_log_probs(log_probs_of(alignment, 4), searcher, FRAME_S).words) == 10000


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([0, 2, 3]), min_size=1, max_size=20))
def test_real_search_finds_the_words_of_a_known_alignment(tmp_path_factory, alignment):
    searcher = real_searcher(tmp_path_factory.getbasetemp() / "graph")
    hypo = decode_log_probs(log_probs_of(alignment, 4), searcher, FRAME_S)
    found = segments(np.array(alignment), log_probs_of(alignment, 4))
    assert [w.word for w in hypo.words] == [TOKENS[s.token] for s in found]
    assert [w.start_s for w in hypo.words] == [round(s.start * FRAME_S, 3) for s in found]
    assert all(s.end * FRAME_S <= w.end_s + 1e-3 for s, w in zip(found, hypo.words, strict=True))
    assert all(w.confidence == 0.9 for w in hypo.words)


def real_searcher(folder):
    space = SearchSpace.read(graph_dir(folder), TOKENS)
    return GraphSearcher(make_decoder(space.graph, DecoderConfig(lattice_beam=None)), space, TOKENS)


LEXICON = {
    "one": [("W", "AH", "N")],
    "won": [("W", "AH", "N"), ("W", "AA", "N")],
    "a": [("AH",), ("EY",)],
    "eighty": [("EY", "T", "IY")],
    "tea": [("T", "IY")],
}


@pytest.fixture(scope="module")
def phone_searcher(tmp_path_factory):
    """A searcher over a compiled graph with homophones, variants, prefixes and silence."""
    folder = tmp_path_factory.mktemp("phones")
    lexicon = Lexicon(LEXICON)
    tokens = Tokens([BLANK, "SIL", *lexicon.units()])
    arpa = ["\\data\\", f"ngram 1={len(LEXICON) + 3}", "", "\\1-grams:", "-99 <s>", "-0.8 </s>", "-9 <unk>"]
    arpa += [f"{-0.7 - 0.1 * i:.1f} {word}" for i, word in enumerate(LEXICON)] + ["", "\\end\\", ""]
    (folder / "lm.arpa").write_text("\n".join(line.replace(" ", "\t") if line[:1] == "-" else line for line in arpa))
    compile_graph(tokens, lexicon, folder / "lm.arpa", folder / "graph", silence="SIL", draw_states=0)
    space = SearchSpace.read(folder / "graph", tokens)
    return GraphSearcher(make_decoder(space.graph, DecoderConfig(beam=30.0, lattice_beam=None)), space, tokens), tokens


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data(), st.lists(st.sampled_from(["one", "eighty", "tea", "a"]), min_size=1, max_size=6))
def test_compiled_graph_places_each_word(phone_searcher, data, words):
    """For a known alignment of phones, words may differ only if their phones are equal, and times not at all."""
    searcher, tokens = phone_searcher
    alignment, spans = [0], []
    for word in words:
        alignment += data.draw(st.sampled_from([[], [0], tokens.encode(["SIL"]) + [0]]))
        start = len(alignment)
        for token in tokens.encode(data.draw(st.sampled_from(LEXICON[word]))):
            if alignment[-1] == token:
                alignment.append(0)
                start += start == len(alignment) - 1
            alignment += [token] * data.draw(st.integers(1, 2))
        spans.append((start, len(alignment)))
    alignment.append(0)
    hypo = decode_log_probs(log_probs_of(alignment, len(tokens), 0.999), searcher, 0.01)
    assert hypo.complete
    if hypo.text.split() == words:
        assert [w.start_s for w in hypo.words] == [round(0.01 * start, 3) for start, _ in spans]
        assert all(0.01 * end <= w.end_s + 1e-6 for (_, end), w in zip(spans, hypo.words, strict=True))
    else:  # "a tea" is pronounced like "eighty"
        assert hypo.text.replace("a tea", "eighty") == " ".join(words).replace("a tea", "eighty")
    assert all(w.confidence == 0.999 for w in hypo.words)


def test_speech_that_ends_within_a_word(phone_searcher):
    searcher, tokens = phone_searcher
    alignment = [k for unit in ("T", "IY", "SIL", "W", "AH") for k in (*tokens.encode([unit]), 0)]
    certain = np.where(np.arange(len(tokens)) == np.array(alignment)[:, None], 0.0, -np.inf)
    hypo = decode_log_probs(certain, searcher, 0.01)
    assert not hypo.complete and hypo.words[0].word == "tea" and hypo.words[0].start_s == 0.0
    assert all(w.start_s == 0.06 for w in hypo.words[1:])


def test_bad_log_probs_are_refused():
    searcher = GreedySearcher(TOKENS, "char")
    for bad in (np.full((3, 4), np.nan), np.zeros(4)):
        with pytest.raises(InputError, match="utterance 'u7'"):
            decode_log_probs(bad, searcher, FRAME_S, "u7")


def test_no_frames_no_words():
    hypo = decode_log_probs(np.zeros((0, 4), np.float32), GreedySearcher(TOKENS, "char"), FRAME_S, duration_s=0.01)
    assert hypo.text == "" and hypo.words == [] and hypo.duration_s == 0.01


def test_tables_of_another_token_set_are_refused(tmp_path):
    with pytest.raises(InputError, match="another token set"):
        SearchSpace.read(graph_dir(tmp_path, [BLANK, SPACE, "b", "a"]), TOKENS)
    (graph_dir(tmp_path) / "words.txt").write_text("<eps>\na\n")
    with pytest.raises(InputError, match="output labels up to 2"):
        SearchSpace.read(tmp_path, TOKENS)
    (tmp_path / "words.txt").unlink()
    with pytest.raises(InputError, match="words.txt"):
        SearchSpace.read(tmp_path, TOKENS)
    (graph_dir(tmp_path) / "stats.json").unlink()
    with pytest.raises(InputError, match="stats.json"):
        SearchSpace.read(tmp_path, TOKENS)


def test_hypotheses_survive_the_file(tmp_path):
    path = tmp_path / "hyp.jsonl"
    written = [
        Hypothesis("u1", "나 너", [Word("나", 0.1, 0.2, 0.5), Word("너", 0.3, 0.4, 1.0)], 3.25, 1.0, True),
        Hypothesis("u2", "", [], math.inf, 0.0, False),
    ]
    hypothesis_file.write(path, written)
    assert hypothesis_file.read(path) == written


@pytest.mark.parametrize(("line", "says"), [("{}", ":1: field 'id'"), ("[1]", ":1: not a hyp"), ("{", ":1: not a hyp")])
def test_bad_hypothesis_lines_are_refused(tmp_path, line, says):
    path = tmp_path / "hyp.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(InputError, match=says):
        hypothesis_file.read(path)
