"""The pronunciation model against brute force, OpenFst and kenlm; its file and its verbs."""

import itertools
import math
import unicodedata
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pynini
import pytest
import pywrapfst
from hypothesis import given, settings
from hypothesis import strategies as st
from ngram_reference import BackoffScorer

from asr.cli.main import main
from asr.errors import InputError
from asr.g2p import file as g2p_file
from asr.g2p.alignment import Group, _grids, _number, align
from asr.g2p.model import G2p, chunk_names
from asr.text.lexicon import Lexicon

TOY = """\
fish F IH SH
fin F IH N
shin SH IH N
ship SH IH P
phone F OW N
photo F OW T OW
hip HH IH P
hop HH AA P
shop SH AA P
pin P IH N
tin T IH N
nit N IH T
box B AA K S
fox F AA K S
tax T AE K S
tonic T AA N IH K
picnic P IH K N IH K
note N OW T
tone T OW N
bone B OW N
"""


@pytest.fixture(scope="module")
def toy() -> G2p:
    return G2p.train(Lexicon.parse(TOY, "toy"), order=3)


def cuts_of(word: str, units: tuple[str, ...], sizes: list[tuple[int, int]]) -> list[list[tuple[str, tuple[str, ...]]]]:
    """All cuts of a pair into chunks, by recursion."""
    if not word:
        return [] if units else [[]]
    return [
        [(word[:a], units[:b]), *rest]
        for a, b in sizes
        if a <= len(word) and b <= len(units)
        for rest in cuts_of(word[a:], units[b:], sizes)
    ]


SIZES = [(1, 0), (1, 1), (1, 2), (2, 1)]
pairs_of_few = st.lists(
    st.tuples(st.text("ab", min_size=1, max_size=4), st.lists(st.sampled_from("XY"), max_size=4).map(tuple)),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(pairs_of_few, st.integers(0, 2**32 - 1))
def test_expected_chunks_and_best_cut_are_those_of_all_cuts(pairs, seed):
    groups, letters, units = _grids(pairs, 2, 2)
    keys = _number(groups, len(units))
    table = [(letters[key // len(units)], units[key % len(units)]) for key in keys]
    probs = np.random.default_rng(seed).uniform(0.05, 1, len(keys))
    weight = dict(zip(table, probs, strict=True))
    seen = set()
    for group in groups:
        expected, best = group.expected(probs.copy()), group.best(-np.log(probs))
        for column, number in enumerate(group.pairs):
            seen.add(number)
            cuts = cuts_of(*pairs[number], SIZES)
            weights = [math.prod(weight[chunk] for chunk in cut) for cut in cuts]
            counts = dict.fromkeys(table, 0.0)
            for cut, w in zip(cuts, weights, strict=True):
                for chunk in cut:
                    counts[chunk] += w / sum(weights)
            found = np.bincount(group.chunks[:, column], expected[:, column], len(table))
            np.testing.assert_allclose(found, [counts[chunk] for chunk in table], atol=1e-9)
            best_weight = math.prod(probs[chunk] for chunk in best[column])
            assert best_weight == pytest.approx(max(weights))
            assert [table[chunk] for chunk in best[column]] in cuts
    assert all(not cuts_of(*pairs[n], SIZES) for n in range(len(pairs)) if n not in seen)


def test_em_raises_the_likelihood():
    pairs = [(word, units) for word, units in Lexicon.parse(TOY, "toy").items()]

    def log_likelihood(groups: list[Group], probs: np.ndarray) -> float:
        total = 0.0
        for group in groups:
            for number in group.pairs:
                cuts = cuts_of(*pairs[number], SIZES)
                total += math.log(sum(math.prod(probs[index[c]] for c in cut) for cut in cuts))
        return total

    groups, letters, units = _grids(pairs, 2, 2)
    keys = _number(groups, len(units))
    index = {(letters[key // len(units)], units[key % len(units)]): n for n, key in enumerate(keys)}
    probs = np.full(len(keys), 1 / len(keys))
    history = [log_likelihood(groups, probs)]
    for _ in range(4):
        counts = sum(np.bincount(g.chunks.ravel(), g.expected(probs).ravel(), len(keys)) for g in groups)
        probs = counts / counts.sum()
        history.append(log_likelihood(groups, probs))
    assert history == sorted(history) and history[-1] > history[0] + 10


def test_alignment_finds_the_chunks_that_words_were_made_of():
    made_of = [("sh", ("SH",)), ("x", ("K", "S")), ("e", ()), *((c, (c.upper(),)) for c in "fioptnk")]
    rng = np.random.default_rng(1)
    cuts = [[made_of[k] for k in rng.integers(0, len(made_of), rng.integers(2, 8))] for _ in range(400)]
    pairs = [("".join(a for a, _ in cut), tuple(u for _, units in cut for u in units)) for cut in cuts]
    alignment = align(pairs, max_letters=2, max_units=3)
    found = [[alignment.chunks[chunk] for chunk in cut] for cut in alignment.cuts]
    assert sum(a == b for a, b in zip(found, cuts, strict=True)) >= 0.97 * len(cuts)
    assert align([("a", ("X", "Y", "Z"))], 2, 2).cuts == [[]]  # too many units for one letter


def readings(model: G2p, word: str) -> dict[tuple[str, ...], float]:
    """The least cost of each pronunciation under the back-off rule, over all cuts: no graph, no search."""
    scorer = BackoffScorer(model.model)
    name = dict(zip(model.chunks, chunk_names(len(model.chunks)), strict=True))
    costs: dict[tuple[str, ...], float] = {}

    def walk(place: int, history: tuple[str, ...], units: tuple[str, ...], log10_prob: float) -> None:
        keep = history[max(0, len(history) - model.model.order + 1) :]
        if place == len(word):
            cost = -math.log(10) * (log10_prob + scorer.score(keep, "</s>")[0])
            costs[units] = min(cost, costs.get(units, math.inf))
        for chunk in model.chunks:
            if word.startswith(chunk[0], place):
                more = scorer.score(keep, name[chunk])[0]
                walk(place + len(chunk[0]), (*keep, name[chunk]), units + chunk[1], log10_prob + more)

    walk(0, ("<s>",), (), 0.0)
    return costs


@pytest.mark.parametrize("word", ["ship", "phoxi", "nopho", "xxsh", "tip"])
def test_nbest_is_that_of_all_cuts(toy, word):
    costs = readings(toy, word)
    cheapest = sorted((cost, units) for units, cost in costs.items() if units)
    found = toy.pronounce([word], n=4)[word]
    # The graph may back off where an n-gram is listed, so a pronunciation can cost less there, never more.
    for variant in found:
        assert variant.units in costs
    assert found[0].units == cheapest[0][1]
    assert [v.probability for v in found] == sorted((v.probability for v in found), reverse=True)
    assert sum(v.probability for v in found) <= 1 + 1e-6


def openfst_readings(model: G2p, word: str, n: int) -> list[tuple[float, tuple[str, ...]]]:
    """The n best by composition and shortest paths of OpenFst."""
    letters = {letter: k + 1 for k, letter in enumerate(model.letters)}
    chain = pynini.Fst()
    chain.add_states(len(word) + 1)
    chain.set_start(0)
    chain.set_final(len(word))
    for place, letter in enumerate(word):
        chain.add_arc(place, pywrapfst.Arc(letters[letter], letters[letter], 0, place + 1))
    graph = model.automaton().to_openfst()
    graph.arcsort("ilabel")
    lattice = pywrapfst.compose(chain, graph)
    lattice.project("output").rmepsilon()
    best = pywrapfst.shortestpath(pywrapfst.determinize(lattice), nshortest=n)
    best.rmepsilon()
    paths, stack = [], [(best.start(), 0.0, ())]
    while stack:
        state, cost, units = stack.pop()
        if (final := float(best.final(state))) < math.inf:
            paths.append((cost + final, units))
        stack += [(arc.nextstate, cost + float(arc.weight), (*units, model.units[arc.olabel - 1]))
                  for arc in best.arcs(state)]  # fmt: skip
    return sorted(paths)


@pytest.mark.parametrize("word", ["fishbone", "shoptax", "phonetic", "phonebox"])
def test_nbest_is_that_of_openfst(toy, word):
    expected = openfst_readings(toy, word, 6)
    found = toy.pronounce([word], n=5)[word]
    spoken = [(cost, units) for cost, units in expected if units][: len(found)]
    assert len(found) >= 2
    for variant, (cost, _) in zip(found, spoken, strict=True):
        assert math.log(found[0].probability / variant.probability) == pytest.approx(cost - spoken[0][0], abs=1e-3)
    assert found[0].units == spoken[0][1]


def test_a_small_lexicon_is_reproduced(toy):
    words = Lexicon.parse(TOY, "toy").pronunciations
    found = toy.pronounce(words)
    assert sum(found[word][0].units == variants[0] for word, variants in words.items()) >= 18


def test_the_best_is_the_first_of_all(toy):
    words = [*Lexicon.parse(TOY, "toy").pronunciations, "shon", "tiph", "eee", "фish", ""]
    assert toy.best(words) == {word: variants[0].units for word, variants in toy.pronounce(words).items()}
    initials = ["tv", "hbo", "pst", "nfl's", "mrs"]
    english = G2p.default()
    assert english.best(initials) == {word: v[0].units for word, v in english.pronounce(initials).items()}


def test_hangul_syllables_become_jamo():
    syllables = [chr(c) for c in range(0xAC00, 0xAC00 + 28 * 30, 7)]
    words = ["".join(pair) for pair in itertools.pairwise(syllables)]
    lexicon = Lexicon({word: [tuple(unicodedata.normalize("NFD", word))] for word in words})
    model = G2p.train(lexicon, order=2)
    word = syllables[3] + syllables[50] + syllables[-1]
    assert model.pronounce([word])[word][0].units == tuple(unicodedata.normalize("NFD", word))
    decomposed = unicodedata.normalize("NFD", word)
    assert model.pronounce([decomposed])[decomposed][0].units == tuple(decomposed)


def test_spelling_is_brought_to_known_letters(toy):
    assert "e" in toy.letters and toy.pronounce(["eee"]) == {}  # `e` follows only `n` or `t`
    found = toy.pronounce(["Físh", "f-i.s'h", "FISH", "fi5h", "фish", ""])
    assert {word: variants[0].units for word, variants in found.items()} == dict.fromkeys(
        ["Físh", "f-i.s'h", "FISH"], ("F", "IH", "SH")
    )


def test_words_without_vowels_are_spelled_where_the_lexicon_does_so():
    names = "b B IY\nt T IY\nn EH N\n"
    spelling = G2p.train(Lexicon.parse(TOY + names + "bt B IY T IY\nnb EH N B IY\npst P S T\n", "toy"), order=3)
    variants = spelling.pronounce(["tbn"], n=3)["tbn"]
    assert variants[0].units == ("T", "IY", "B", "IY", "EH", "N")
    assert variants[0].probability >= 2 / 3 - 1e-9 and sum(v.probability for v in variants) <= 1 + 1e-6
    reading = G2p.train(Lexicon.parse(TOY + names + "bt B T\nnb N B\n", "toy"), order=3)
    assert reading.letter_names == {}


def test_options(toy):
    assert len(toy.pronounce(["photo"], n=5)["photo"]) > 1
    assert len(toy.pronounce(["photo"], n=5, min_probability=1.0)["photo"]) == 1
    with pytest.raises(InputError, match="g2p.nbest is 0"):
        toy.pronounce(["photo"], n=0)
    with pytest.raises(InputError, match="g2p.order is 9"):
        G2p.train(Lexicon.parse(TOY, "toy"), order=9)
    with pytest.raises(InputError, match="both must be 1 or more"):
        G2p.train(Lexicon.parse(TOY, "toy"), order=3, max_units=0)
    with pytest.raises(InputError, match=r"no word of the lexicon can be cut .*a \(X Y Z W\)"):
        G2p.train(Lexicon({"a": [tuple("XYZW")]}), order=2)


def test_words_that_cannot_be_cut_are_named(caplog):
    G2p.train(Lexicon.parse(TOY + "mr M IH S T ER HH AA P IH N\n", "toy"), order=2)
    assert "1 of 21 pronunciations" in caplog.text and "mr (M IH" in caplog.text


def test_threads_give_the_same(toy):
    words = ["".join(letters) for letters in itertools.product("ship", repeat=3)]
    model = G2p(toy.chunks, toy.model, {}, 0.0)  # its graph is not built yet
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: model.pronounce(words, n=2), range(8)))
    assert all(answer == toy.pronounce(words, n=2) for answer in answers)


def test_file_keeps_the_model(toy, tmp_path):
    toy.write(tmp_path / "g2p.npz")
    again = G2p.open(tmp_path / "g2p.npz")
    assert again.chunks == toy.chunks and again.letter_names == toy.letter_names
    for ours, theirs in zip(toy.model.orders, again.model.orders, strict=True):
        assert (ours.ids == theirs.ids).all()
        np.testing.assert_allclose(ours.log10_prob, theirs.log10_prob, rtol=2**-11, atol=1e-6)
        np.testing.assert_allclose(ours.log10_backoff, theirs.log10_backoff, rtol=2**-11, atol=1e-6)
    again.write(tmp_path / "twice.npz")
    assert (tmp_path / "twice.npz").read_bytes() == (tmp_path / "g2p.npz").read_bytes()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damage_is_refused(toy, tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp()
    toy.write(folder / "g2p.npz")
    content = bytearray((folder / "g2p.npz").read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (folder / "bad.npz").write_bytes(content)
    try:
        model = G2p.open(folder / "bad.npz")
    except InputError as e:
        assert "bad.npz" in str(e)
    else:  # a bit that no reader uses, such as a date
        assert model.chunks == toy.chunks


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="there is no pronunciation model"):
        G2p.open(tmp_path / "none.npz")
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as archive:
        archive.writestr("x.npy", b"nothing")
    with pytest.raises(InputError, match="other.npz is not a pronunciation model"):
        G2p.open(tmp_path / "other.npz")
    np.savez(tmp_path / "objects.npz", tables=np.array([{}], object))  # a pickle: never loaded
    with pytest.raises(InputError, match="objects.npz is not a pronunciation model"):
        G2p.open(tmp_path / "objects.npz")


def test_members_must_fit(toy, tmp_path):
    toy.write(tmp_path / "g2p.npz")
    with np.load(tmp_path / "g2p.npz") as file:
        members = dict(file)
    for name, value in [("n2_children", members["n2_children"][1:]), ("n1_word", members["n1_word"][1:]),
                        ("n3_log10_prob", members["n3_log10_prob"] * np.float16(np.nan)),
                        ("n2_word", members["n2_word"] + 200)]:  # fmt: skip
        with pytest.raises(ValueError):
            g2p_file._parsed(members | {name: value})


def test_verbs(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("lexicon.txt").write_text(TOY)
    Path("words.txt").write_text("fishbone shoptax\nfishbone 25\n")
    assert main(["g2p", "train", "lexicon.txt", "output=g2p.npz", "order=3"]) == 0
    assert "20 words" in capsys.readouterr().out
    assert main(["g2p", "apply", "words.txt", "output=out.txt", "g2p.model=g2p.npz", "nbest=2"]) == 0
    out = capsys.readouterr().out
    assert "2 of 3 words" in out and "25" in out
    made = Lexicon.read("out.txt")
    assert list(made.pronunciations) == ["fishbone", "shoptax"] and len(made.pronunciations["fishbone"]) == 2
    assert main(["g2p", "apply", "words.txt", "output=out.txt", "g2p.model=none"]) == 2
    assert "g2p.model is none" in capsys.readouterr().err


def test_english_model_guesses_what_cmudict_lacks(tmp_path, capsys, caplog):
    (tmp_path / "t.txt").write_text("two kubernetes blorbing 4711\n")
    assert main(["lexicon", str(tmp_path / "t.txt"), f"output={tmp_path / 'l.txt'}"]) == 0
    found = Lexicon.read(tmp_path / "l.txt").pronunciations
    assert found["two"] == [("T", "UW")] and found["blorbing"] == [("B", "L", "AO", "R", "B", "IH", "NG")]
    assert list(found) == ["two", "kubernetes", "blorbing"]
    assert main(["lexicon", str(tmp_path / "t.txt"), f"output={tmp_path / 'l.txt'}", "g2p.model=none"]) == 0
    assert list(Lexicon.read(tmp_path / "l.txt").pronunciations) == ["two"]
