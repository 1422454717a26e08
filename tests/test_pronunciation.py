"""Pronunciations of a caller's words in a net's units."""

import os

import pytest

from asr.cli import main as cli
from asr.config import G2pConfig
from asr.errors import InputError
from asr.g2p.model import G2p
from asr.g2p.pronunciation import guesser, pronunciations
from asr.text.lexicon import Lexicon


def test_letters_and_jamo_spell_themselves():
    assert pronunciations(["ab", "c"], "char", {"c": [("k",)]}, G2pConfig()) == {"ab": [("a", "b")], "c": [("k",)]}
    assert pronunciations(["한"], "jamo", {}, G2pConfig()) == {"한": [("ᄒ", "ᅡ", "ᆫ")]}


def test_english_phones_come_from_what_is_known_then_the_dictionary_then_the_model():
    found = pronunciations(["read", "tomato", "zorblax"], "phone", {"read": [("R", "EH", "D")]}, G2pConfig())
    assert found["read"] == [("R", "EH", "D")]
    assert len(found["tomato"]) == 2 and ("T", "AH", "M", "EY", "T", "OW") in found["tomato"]
    assert found["zorblax"] == [("Z", "AO", "R", "B", "L", "AE", "K", "S")]


def test_words_that_no_source_can_spell_are_named():
    with pytest.raises(InputError, match="1 words have no pronunciation: 한국"):
        pronunciations(["hello", "한국"], "phone", {}, G2pConfig())
    with pytest.raises(InputError, match="1 words have no pronunciation: zorblax"):
        pronunciations(["hello", "zorblax"], "phone", {}, G2pConfig(model="none"))


def test_a_custom_model_pronounces_without_the_english_dictionary(tmp_path):
    words = {"".join(pair): [[c.upper() for c in pair]] for pair in ["ab", "ba", "aa", "bb", "abb", "baa"]}
    G2p.train(Lexicon(words), order=2).write(tmp_path / "g2p.npz")
    found = pronunciations(["abba", "a"], "phone", {}, G2pConfig(model=str(tmp_path / "g2p.npz")))
    assert found == {"abba": [("A", "B", "B", "A")], "a": [("A",)]}
    with pytest.raises(InputError, match="no pronunciation: hello"):
        pronunciations(["hello"], "phone", {}, G2pConfig(model=str(tmp_path / "g2p.npz")))


def test_a_changed_model_file_is_read_again(tmp_path):
    """Also one of equal size and time."""
    path = tmp_path / "g2p.npz"
    said = []
    for units in ("a b c", "c b a"):
        words = "abc abd acd bcd bca cab dab cad".split()
        spelled = dict(zip("abcd", [*units.split(), "d"], strict=True))
        G2p.train(Lexicon({w: [tuple(spelled[c] for c in w)] for w in words}), order=2).write(path)
        os.utime(path, (1e9, 1e9))
        guess = guesser(G2pConfig(model=str(path)))
        assert guess
        said.append(guess(["abc"])["abc"][0])
    assert said == [("a", "b", "c"), ("c", "b", "a")]


def test_lexicons_keep_the_probabilities_of_several_pronunciations(tmp_path):
    (tmp_path / "words.txt").write_text("zorblax tomato\n")
    for verb in (["g2p", "apply"], ["lexicon"]):
        path = tmp_path / f"{verb[0]}.txt"
        assert cli.main([*verb, str(tmp_path / "words.txt"), f"output={path}", "nbest=3"]) == 0
        lexicon = Lexicon.read(path)
        said = lexicon.pronunciations["zorblax"]
        costs = [lexicon.cost("zorblax", units) for units in said]
        assert len(said) == 3 and costs[0] == 0 and 0 < costs[1] < costs[2]
    assert [lexicon.cost("tomato", units) for units in lexicon.pronunciations["tomato"]] == [0, 0]  # of the dictionary


def test_words_for_noises_are_not_spelled(caplog):
    words = {"".join(pair): [[c.upper() for c in pair]] for pair in ["ab", "ba", "aa", "bb", "abb", "baa"]}
    model = G2p.train(Lexicon(words | {"<unk>": [["SPN"]], "!SIL": [["SIL"]], "[noise]": [["NSN"]]}), order=2)
    assert model.letters == ["a", "b"] and model.units == ["A", "B"]
    assert "3 words of the lexicon that stand for noises or the like are left out: <unk>, !SIL" in caplog.text
    with pytest.raises(InputError, match="the lexicon has no words but <unk>"):
        G2p.train(Lexicon({"<unk>": [["SPN"]]}), order=2)
