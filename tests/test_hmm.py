"""HMMs: topologies, trees, graphs and alignments, against brute force."""

import dataclasses
import itertools
from functools import cache, partial
from types import SimpleNamespace

import numpy as np
import pytest
from hmm_reference import best_passage, graph_paths

from asr.errors import InputError
from asr.graph.automaton import Automaton
from asr.graph.opened import Graph
from asr.graph.pack import to_bytes
from asr.hmm import topology
from asr.hmm.alignment import Aligner, acceptor, equal_path, read_path
from asr.hmm.contexts import relabelled
from asr.hmm.graph import HmmExpansion, expand
from asr.hmm.model import Hmm, Split, number_leaves
from asr.hmm.segments import Segments
from asr.search.decoder import Decoder
from asr.search.searchers import GraphSearcher
from asr.search.space import SearchSpace
from asr.states import States
from asr.text.lexicon import Lexicon
from asr.tokens import BLANK, Tokens

LEXICON = Lexicon({"ab": [("A", "B")], "a": [("A",), ("B", "B")]}, {("a", ("A",)): 0.7, ("a", ("B", "B")): 0.3})


def monophone(silence="SIL", seed=0):
    """Phones of two states with random probabilities of their steps; silence of three."""
    rng = np.random.default_rng(seed)
    hmm = Hmm.monophone(["A", "B", *([silence] if silence else [])], silence, states=2, scale=0.4)
    steps = [topology.left_to_right(2)] * 2 + [topology.silence(3)] * bool(silence)
    counts = [rng.integers(0, 9, s.shape) for s in steps]
    hmm = hmm.with_steps([topology.reestimated(s, c) for s, c in zip(steps, counts, strict=True)])
    return dataclasses.replace(hmm, trees=number_leaves([[0] * (len(s) - 1) for s in steps]))


def one_state(hmm):
    """The same with one state per phone, which may be said twice in a row."""
    rng = np.random.default_rng(7)
    single = topology.left_to_right(1)
    steps = [topology.reestimated(single, rng.integers(0, 9, single.shape)), single, *hmm.steps[2:]]
    return dataclasses.replace(hmm, steps=tuple(steps), trees=number_leaves([[0] * (len(s) - 1) for s in steps]))


def single_in_context(hmm):
    trees = [[Split(0, frozenset({1}), 0, Split(1, frozenset({2}), 0, 0))], [Split(1, frozenset({1}), 0, 0)], [0, 0, 0]]
    return dataclasses.replace(hmm, trees=number_leaves(trees[: len(hmm.steps)]))


def in_context(hmm):
    """Some states of A and B depend on the phones around."""
    a, b, quiet = {1}, {2}, {hmm.silence_id} - {0}
    trees = [
        [Split(0, frozenset(a | quiet), 0, Split(1, frozenset(b), 0, 0)), 0],
        [0, Split(1, frozenset(a), Split(0, frozenset(quiet), 0, 0), 0)],
        [0, 0, 0],
    ]
    return dataclasses.replace(hmm, trees=number_leaves(trees[: len(hmm.steps)]))


HMMS = {
    "mono": monophone(),
    "tri": in_context(monophone(seed=1)),
    "no silence": in_context(monophone(silence=None, seed=2)),
    "one state": one_state(monophone(seed=3)),
    "one state, tri": single_in_context(one_state(monophone(seed=4))),
    "one state, no silence": single_in_context(one_state(monophone(silence=None, seed=5))),
}
each_hmm = pytest.mark.parametrize("hmm", HMMS.values(), ids=HMMS.keys())


@pytest.mark.parametrize("steps", [*map(topology.left_to_right, (1, 2, 3, 5)), *map(topology.silence, (1, 3, 5))])
def test_topologies_are_probabilities_that_consume_a_frame(steps):
    np.testing.assert_allclose(steps.sum(1), 1)
    assert steps[0, -1] == 0
    assert (steps >= 0).all()


def test_silence_is_kaldis_topology():
    quarter = topology.silence(5)
    assert [np.flatnonzero(row).tolist() for row in quarter] == [[0], [0, 1, 2, 3], *[[1, 2, 3, 4]] * 3, [4, 5]]


def test_steps_are_counted_and_reestimated():
    counts = topology.count_steps(np.array([0, 0, 0, 1]), 2)
    assert counts.tolist() == [[1, 0, 0], [2, 1, 0], [0, 0, 1]]
    found = topology.reestimated(topology.left_to_right(2), counts)
    np.testing.assert_allclose(found, [[1, 0, 0], [3 / 5, 2 / 5, 0], [0, 1 / 3, 2 / 3]])


@each_hmm
def test_an_hmm_survives_its_file(hmm, tmp_path):
    hmm.write(tmp_path / "hmm.json")
    found = Hmm.read(tmp_path / "hmm.json")
    assert found.plain() == hmm.plain()
    assert found.tokens == hmm.tokens
    contexts = [(left, phone, right) for left in range(3) for phone in (1, 2) for right in range(3)]
    assert [found.outputs(*c) for c in contexts] == [hmm.outputs(*c) for c in contexts]
    assert HmmExpansion(found).digest == HmmExpansion(hmm).digest


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-5],
        lambda text: "[]",
        lambda text: text.replace('"scale": 0.4', '"scale": -1'),
        lambda text: text.replace('"trees": [1, 2]', '"trees": [1]'),
        lambda text: text.replace('"trees": [1, 2]', '"trees": [1, 3]'),
        lambda text: text.replace('"trees": [1, 2]', '"trees": [{"left": ["Q"], "yes": 1, "no": 2}, 3]'),
        lambda text: text.replace("[[1.0, 0.0, 0.0]", "[[0.5, 0.0, 0.0]", 1),
        lambda text: text.replace('"silence": "SIL"', '"silence": "Q"'),
        lambda text: text.replace('"trees": [1, 2]', '"trees": [1, Infinity]'),
    ],
)
def test_a_damaged_hmm_is_refused(damage, tmp_path):
    path = tmp_path / "hmm.json"
    HMMS["mono"].write(path)
    text = path.read_text()
    assert damage(text) != text
    path.write_text(damage(text))
    with pytest.raises(InputError, match="hmm.json is not what `asr hmm train` writes"):
        Hmm.read(path)


def test_names_of_states_tell_phones_and_states():
    hmm = HMMS["tri"]
    assert hmm.tokens.symbols[:6] == [BLANK, "A[0.0]", "A[0.1]", "A[0.2]", "A[1]", "B[0]"]
    states = States.of(hmm.tokens)
    assert states.phones == hmm.phones
    assert states.phone.tolist() == [0, *[1] * 4, *[2] * 4, *[3] * 3]
    assert states.state.tolist() == [0, 0, 0, 0, 1, 0, 1, 1, 1, 0, 1, 2]
    assert States.of(Tokens([BLANK, "A[0]", "B"])) is None
    assert States.of(Tokens([BLANK])) is None


def random_scores(hmm, frames, seed):
    return np.random.default_rng(seed).normal(0, 4, (frames, len(hmm.tokens))).astype(np.float32)


def align(hmm, words, scores):
    aligner = Aligner(acceptor(words, LEXICON, hmm), hmm)
    return aligner.align(scores[:, aligner.outputs])


@each_hmm
@pytest.mark.parametrize("words", [["ab"], ["a", "ab"], ["a"]], ids=" ".join)
@pytest.mark.parametrize("frames", [5, 7])
def test_an_alignment_is_the_best_of_all_paths(hmm, words, frames):
    scores = random_scores(hmm, frames, seed=len(words) + frames)
    graph = acceptor(words, LEXICON, hmm)
    found = min(
        (cost + best_passage(hmm, phones, scores)[0], best_passage(hmm, phones, scores)[1])
        for phones, _, cost in graph_paths(graph, frames)
    )
    path = align(hmm, words, scores)
    assert (None if path is None else tuple(path.tolist())) == (found[1] or None)


def test_an_utterance_too_short_for_its_transcript_has_no_alignment():
    hmm = HMMS["tri"]
    assert align(hmm, ["ab"], random_scores(hmm, 3, 0)) is None
    assert align(hmm, ["ab"], random_scores(hmm, 4, 0)) is not None
    assert align(hmm, [], random_scores(hmm, 4, 0)) is not None  # silence
    with pytest.raises(InputError, match="nothing is said"):
        align(HMMS["no silence"], [], random_scores(HMMS["no silence"], 4, 0))


def test_a_transcript_has_each_pronunciation_and_optional_silence():
    hmm = HMMS["mono"]
    found = {hmm.phones.symbols[p] for phones, *_ in graph_paths(acceptor(["a"], LEXICON, hmm), 4) for p in phones}
    assert found == {"A", "B", "SIL"}
    spoken = sorted(
        (phones, round(float(cost), 6)) for phones, _, cost in graph_paths(acceptor(["a"], LEXICON, hmm), 9)
    )
    rare = round(0.4 * float(np.log(0.7 / 0.3)), 6)
    assert spoken == sorted(
        ((*before, *said, *after), cost)
        for before in ((), (3,))
        for said, cost in (((1,), 0.0), ((2, 2), rare))
        for after in ((), (3,))
    )
    with pytest.raises(InputError, match="'c' is not in the lexicon"):
        acceptor(["c"], LEXICON, hmm)


def test_equal_shares():
    hmm = HMMS["mono"]
    path = equal_path(["a"], LEXICON, hmm, 16)  # silence, A, silence
    assert path.tolist() == [5, 5, 6, 6, 7, 7, 1, 1, 2, 2, 5, 5, 6, 6, 7, 7]
    assert equal_path(["a"], LEXICON, hmm, 7) is None


def language():
    """An LG with a loop, epsilons and two words, one of them of two pronunciations; label 0 is epsilon."""
    arcs = [  # source, phone, word, cost, target
        (0, 1, 1, 0.3, 1), (1, 2, 0, 0.1, 2), (0, 2, 2, 0.6, 2), (0, 1, 2, 0.9, 2), (2, None, 0, 0.2, 0),
        (2, 1, 1, 0.4, 1), (0, 3, 0, 0.0, 0), (2, 3, 0, 0.0, 2),
    ]  # fmt: skip
    source, phone, word, cost, target = zip(*arcs, strict=True)
    labels = [0 if p is None else Tokens.label(p) for p in phone]
    final = np.array([np.inf, np.inf, 0.25])
    return Automaton.from_arcs(0, final, *map(np.array, (source, labels, word, cost, target)))


@pytest.mark.parametrize("name", ["mono", "tri", "one state", "one state, tri"])
@pytest.mark.parametrize("frames", [4, 6, 7])
def test_a_search_of_the_expanded_graph_finds_the_best_of_all_paths(name, frames):
    hmm, graph = HMMS[name], language()
    frames -= 2 * name.startswith("one state")
    for seed in range(3):
        scores = random_scores(hmm, frames, seed)
        passages = cache(partial(best_passage, hmm, scores=scores))
        found = [
            (cost + passages(phones)[0], words, passages(phones)[1])
            for phones, words, cost in graph_paths(graph, frames // min(map(len, hmm.trees)), most_arcs=8)
            if phones
        ]
        cost, words, outputs = min(found)
        expanded = Graph.from_bytes(to_bytes(expand(graph, hmm).arrays()))
        path = Decoder(expanded, beam=1e6, acoustic_scale=hmm.scale).decode(scores)
        assert path.complete
        assert path.cost == pytest.approx(cost, abs=1e-4)
        assert tuple(path.labels) == words
        assert tuple(path.alignment.tolist()) == outputs


def test_segments_of_a_path_are_its_phones_in_context():
    hmm = HMMS["mono"]
    path = np.array([5, 6, 5, 7, 1, 2, 1, 1, 2, 3, 4, 5, 6, 7], np.int32)  # SIL (going back) A A B SIL
    found = list(Segments(hmm).of(path))
    assert [tuple(s) for s in found] == [(3, 3, 1, 0, 4), (3, 1, 1, 4, 6), (1, 1, 2, 6, 9), (1, 2, 3, 9, 11),
                                         (2, 3, 3, 11, 14)]  # fmt: skip


@pytest.mark.parametrize("name", ["one state", "one state, tri", "one state, no silence"])
def test_words_tell_phones_of_one_state_that_follow_themselves(name):
    """On the best path of each of several texts: the phones, in contexts that have the outputs of the path."""
    hmm, twice = HMMS[name], 0
    segments = Segments(hmm)
    for words, seed in itertools.product((["a"], ["ab", "a"], ["a", "a"], ["a", "ab", "a"]), range(4)):
        scores = random_scores(hmm, 7, seed)
        spelled = [[(u, hmm.scale * LEXICON.cost(w, u)) for u in LEXICON.pronunciations[w]] for w in words]
        path, numbers = read_path(spelled, hmm, hmm.scale * scores)
        variants = [units for word in spelled for units, _ in word]
        said = [hmm.phones.encode(variants[number - 1]) for number in numbers]
        found = list(segments.of(path, [[tuple(phones)] for phones in said]))
        heard = [part.phone for part in found if part.phone != hmm.silence_id]
        assert heard == [phone for phones in said for phone in phones]
        assert [part.begin for part in found] == [0, *(part.end for part in found[:-1])] and found[-1].end == 7
        for left, phone, right, begin, end in found:
            assert end > begin and set(path[begin:end]) <= set(hmm.outputs(left, phone, right))
        doubled = sum(a == b for a, b in itertools.pairwise([part.phone for part in found]))
        twice += doubled
        alone = list(segments.of(path))
        assert len(alone) <= len(found) and (doubled or alone == found)
        open_to = list(segments.of(path, segments.spellings(words, LEXICON)))  # any pronunciation of the words
        assert [part.end for part in open_to][-1] == 7 and len(open_to) >= len(alone)
    assert twice > 5


@pytest.mark.parametrize("name", ["one state", "one state, tri", "one state, no silence"])
def test_outputs_tell_how_often_phones_of_one_state_follow_themselves(name):
    """Each phone of a path is in a context that has its output, also where one is said three times or more."""
    hmm, texts = HMMS[name], (["a", "a"], ["a", "a", "a"], ["ab", "a", "a"], ["a", "a", "ab"])
    for words, frames, seed in itertools.product(texts, (6, 9), range(15)):
        path = align(hmm, words, random_scores(hmm, frames, seed))
        spelled = Segments(hmm).spellings(words, LEXICON)
        np.testing.assert_array_equal(relabelled(path, hmm, hmm, spelled), path)
    if name == "one state, tri":  # A A A, of which the first is behind silence and the others are behind A
        path = np.array([3, 3, 3, 1, 1, 1], np.int32)
        assert [part.end for part in Segments(hmm).of(path, [[(1,)]] * 3)] == [3, 4, 6]


def test_times_of_recognised_words_follow_the_rule_of_alignments():
    """A A A again, each a word: the outputs tell that the first word ends where the output changes."""
    hmm, path = HMMS["one state, tri"], np.array([3, 3, 3, 1, 1, 1], np.int32)
    space = SearchSpace(SimpleNamespace(max_olabel=0), ["<eps>", "a"], Lexicon({"a": [("A",)]}), "SIL")
    best = SimpleNamespace(labels=[1, 1, 1], alignment=path, complete=True)
    searcher = GraphSearcher(SimpleNamespace(lattice_beam=None), space, hmm.tokens, states=hmm.states)
    _, groups = searcher.words_on(best, np.zeros((6, len(hmm.tokens)), np.float32))
    assert [(group[0].start, group[-1].end) for group in groups] == [(0, 3), (3, 4), (4, 6)]


def test_a_stretch_is_divided_into_equal_shares():
    """A A B B, of which the phones of one state are not told apart by the path."""
    hmm = HMMS["one state"]
    path = np.array([1, 1, 1, 1, 1, 2, 2, 3, 4, 5], np.int32)
    found = list(Segments(hmm).of(path, [[(1,)], [(1, 2), (2,)], [(2,)]]))
    assert [tuple(s)[1:] for s in found] == [(1, 1, 0, 2), (1, 2, 2, 5), (2, 2, 5, 6), (2, 3, 6, 7), (3, 3, 7, 10)]
