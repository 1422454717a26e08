import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import InputError
from asr.text.lexicon import Lexicon
from asr.text.units import to_text, to_units
from asr.tokens import BLANK, Tokens

HANGUL = st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3)
WORDS = st.lists(st.text(HANGUL | st.sampled_from("abcé'ㅋ日🙂1"), min_size=1, max_size=6), max_size=5)


@pytest.mark.parametrize("unit", ["char", "jamo"])
@given(words=WORDS)
def test_round_trip(unit, words):
    text = " ".join(words)
    assert to_text(to_units(text, unit), unit) == text


@given(words=WORDS)
def test_jamo_of_hangul_is_nfd(words):
    hangul = " ".join(w for w in words if all("가" <= c <= "힣" for c in w))
    assert "".join(to_units(hangul, "jamo")).replace("<space>", " ") == unicodedata.normalize("NFD", hangul)


HALF_WIDTH = {
    **{c: chr(0xFFA1 + i) for i, c in enumerate("ㄱㄲㄳㄴㄵㄶㄷㄸㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅃㅄㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ")},
    "ㅏ": "\uffc2",
    "ㅣ": "\uffdc",
}
FORMS = st.text(
    HANGUL
    | st.characters(min_codepoint=0x1100, max_codepoint=0x11FF)  # conjoining, also archaic and alone
    | st.characters(min_codepoint=0x3131, max_codepoint=0x318E)  # compatibility
    | st.sampled_from(sorted(HALF_WIDTH.values()))
    | st.sampled_from("aé1 \u0301"),
    max_size=8,
)


@pytest.mark.parametrize("unit", ["char", "jamo"])
@given(text=FORMS)
def test_every_form_of_hangul_comes_back(unit, text):
    """Conjoining jamo come back as the syllables that they are equivalent to, all else as it came."""
    again = to_text(to_units(text, unit), unit)
    hangul = re.sub("[\u1100-\u11ff가-힣]+", lambda run: unicodedata.normalize("NFC", run[0]), text)
    assert again == " ".join(hangul.split())
    assert to_text(to_units(again, unit), unit) == again


@pytest.mark.parametrize("unit", ["char", "jamo"])
@given(text=st.text(HANGUL, max_size=6))
def test_units_do_not_depend_on_the_normal_form(unit, text):
    assert to_units(unicodedata.normalize("NFD", text), unit) == to_units(text, unit)


def test_known_units():
    assert to_units("한 글", "jamo") == ["\u1112", "\u1161", "\u11ab", "<space>", "\u1100", "\u1173", "\u11af"]
    assert to_units(" a  bc\n", "char") == ["a", "<space>", "b", "c"]
    assert to_units("", "char") == []


def test_other_scripts_stay_as_they_came():
    decomposed = unicodedata.normalize("NFD", "é")
    assert to_units(f"é{decomposed}", "jamo") == ["é", *decomposed]
    assert to_text(["é", *decomposed], "jamo") == f"é{decomposed}"


def test_phones():
    lexicon = Lexicon({"read": [("R", "EH", "D"), ("R", "IY", "D")], "a": [("AH",)]})
    assert to_units("a read", "phone", lexicon) == ["AH", "R", "EH", "D"]
    assert to_text(["AH", "R"], "phone") == "AH R"


def test_bad_input_is_named():
    with pytest.raises(InputError, match="unknown unit 'syllable'"):
        to_units("a", "syllable")
    with pytest.raises(InputError, match="needs a lexicon"):
        to_units("a", "phone")
    with pytest.raises(InputError, match="'zebra'"):
        to_units("a zebra", "phone", Lexicon({"a": [("AH",)]}))


def test_a_token_table_survives_its_file(tmp_path):
    tokens = Tokens([BLANK, *"\u2028\x85\x0b\x1e\ufeffa한"])
    tokens.write(tmp_path / "tokens.txt")
    assert Tokens.read(tmp_path / "tokens.txt") == tokens
    with pytest.raises(InputError, match=r"cannot read the token table .*none.txt: .*expected one token per line"):
        Tokens.read(tmp_path / "none.txt")
