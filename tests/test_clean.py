"""Examples of cleaned text, and properties of any cleaned text."""

import lzma
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asr.errors import InputError
from asr.text.characters import composed, is_mojibake
from asr.text.clean import clean

TEXTS = Path(__file__).parents[2] / "shared" / "data"

ENGLISH = [
    ("Hello, World!", "hello world"),
    ("  tabs\tand\nlines  ", "tabs and lines"),
    ("Don’t – he'd said — 'stop'", "don't he'd said stop"),
    ("the dogs' bowl, rock 'n' roll", "the dogs bowl rock n roll"),
    ("well-known U.S. e-mail", "well known u s e mail"),
    ("1,234,567 people paid $3.50.", "1234567 people paid 3.50"),
    ("1,23 and 12,3456", "1 23 and 12 3456"),
    ("cafe\u0301 NAÏVE", "café naïve"),
    ("ＡＢＣ １２", "abc 12"),
    ("co\u00adoperate zero\u200bwidth", "cooperate zerowidth"),
    ("<s> a_b </s>", "s a b s"),
    ("the ﬁrst oﬃcer ﬂew, ﬆill ﬅuck; Ĳssel ﬀ", "the first officer flew still stuck ijssel ff"),
    *((f"don{c}t {c}quoted{c} o{c}clock", "don't quoted o'clock") for c in "´`‘’‛′ʹʻʼʽʾʿˈ＇｀՚׳ꞌ"),
    ("‘tis the boys′ ``thing''", "tis the boys thing"),
    ("𝐁𝐨𝐥𝐝 𝒾𝓉𝒶𝓁𝒾𝒸 ſo 1ª nº xⁿ", "bold italic so 1a no xn"),
    ("non\u2011breaking e\u2010mail fi\u200bne so\u00adft wo\u2060rd", "non breaking e mail fine soft word"),
    ("a\u00a0b\u2009c\u202fd\u3000e\u2003f", "a b c d e f"),
    ("heart ❤\ufe0f 1\ufe0f\u20e3 a\u034fb", "heart 1 ab"),
    ("10² ½ Ⅳ ① ٣", "10 2 1 2 iv 1 3"),
    ("ﻻ ﷲ", "لا الله"),
    ("", ""),
    ("?!…", ""),
]
KOREAN = [
    ("안녕하세요, 여러분!", "안녕하세요 여러분"),
    (unicodedata.normalize("NFD", "한국어"), "한국어"),
    ("“사랑”이라는 말", "사랑이라는 말"),
    ("'나'의 것, \"너\"의 것", "나의 것 너의 것"),
    ("‘집’에서 don't", "집에서 don't"),
    ("한·미 관계(關係)는…", "한 미 관계 關係 는"),
    ("ㅋㅋㅋ ＫＢＳ 뉴스", "ㅋㅋㅋ kbs 뉴스"),
    ("ﾡﾢ", "ㄱㄲ"),  # half width
    ("초ㆍ중ㆍ고 가ᆞ나 도쿄・오사카", "초 중 고 가 나 도쿄 오사카"),
    ("ﾾￂﾤﾡￚﾩ ﾾￂﾡￚ ﾻﾻ", "한글 하그 ㅋㅋ"),
    ("\u110b\u1161\u11ab\u1102\u1167\u11bc \u110f\u110f", "안녕 ㅋㅋ"),
    ("한\u3164글 \u1112\u119e\u11ab", "한글 \u1112\u119e\u11ab"),  # filler; archaic syllable
    ("`집`에서 ´집´이 ‘집’을", "집에서 집이 집을"),
    ("it´s don`t", "it's don't"),
    ("ｶﾞｷﾞ 人⼈", "ガギ 人人"),
    ("1,000원 3.5%", "1000원 3.5"),
]


@pytest.mark.parametrize(("text", "expected"), ENGLISH)
def test_english(text: str, expected: str) -> None:
    assert clean(text, "en") == expected


@pytest.mark.parametrize(("text", "expected"), KOREAN)
def test_korean(text: str, expected: str) -> None:
    assert clean(text, "ko") == expected


@given(
    st.text(st.characters(codec="utf-8") | st.sampled_from("'’\"., 19가ab"), max_size=30), st.sampled_from(["en", "ko"])
)
@settings(max_examples=500, deadline=None)
@example("İ'ſ", "en")
@example("a'\u0301", "ko")
def test_properties_of_any_text(text: str, lang: str) -> None:
    cleaned = clean(text, lang)
    assert clean(cleaned, lang) == cleaned
    assert unicodedata.is_normalized("NFC", cleaned)
    assert cleaned == " ".join(cleaned.split())
    assert not any(unicodedata.category(c)[0] in "PSC" for c in cleaned if c not in "'.")
    assert clean(unicodedata.normalize("NFD", text), lang) == cleaned


def test_other_languages_are_refused() -> None:
    with pytest.raises(InputError, match="language 'fr' cannot be cleaned; choose one of en, ko"):
        clean("bonjour", "fr")


@given(st.text(st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3), min_size=1, max_size=12))
@settings(max_examples=200, deadline=None)
def test_half_width_hangul_becomes_the_same_syllables(word: str) -> None:
    """Each jamo has one half-width form, so the syllables can be read back if a consonant is not ambiguous."""
    narrow = {}
    for code in range(0xFFA1, 0xFFDD):
        if found := unicodedata.decomposition(chr(code)):
            narrow[int(found.split()[-1], 16)] = chr(code)
    spelled = ""
    for syllable in word:
        for jamo in unicodedata.normalize("NFD", syllable):
            spelled += narrow[ord(_LETTER_OF[jamo])]
    assert composed(spelled) == word


_JAMO = {
    0x1100: "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ",
    0x1161: "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ",
    0x11A8: "ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ",
}
_LETTER_OF = {chr(first + i): letter for first, letters in _JAMO.items() for i, letter in enumerate(letters)}


def test_no_letter_stays_in_a_form_of_its_own() -> None:
    """Every character whose compatibility form is made of letters of English or Korean becomes these letters, or is
    counted as outside the alphabet by the report; modern compatibility jamo are their own letters."""
    own = []
    for code in range(0x80, 0x110000):
        character = chr(code)
        plain = unicodedata.normalize("NFKC", character)
        if unicodedata.category(character)[0] == "L" and plain != character and plain.isascii() and plain.isalpha():
            if composed(character) != plain:
                own.append(character)
    assert own == ["ℓ"]  # liter, for numbers in words


@pytest.mark.parametrize("path", ["text_en/genesis.txt.xz", "text_ko/chatbot.txt.xz"])
def test_real_text_becomes_plain_words(path: str) -> None:
    if not (TEXTS / path).exists():
        pytest.skip(f"needs {TEXTS / path}")
    lang = path[5:7]
    with lzma.open(TEXTS / path, "rt", encoding="utf-8") as file:
        cleaned = clean(file.read(200_000), lang)
    letters = [c for c in cleaned if not c.isspace()]
    plain = sum(c.isalnum() and (c.isascii() or "가" <= c <= "힣") for c in letters)
    assert plain / len(letters) > 0.99


def test_wrong_encodings_are_noticed() -> None:
    for text in ("don’t", "café", "안녕하세요", "naïve – yes"):
        assert not is_mojibake(text)
        assert is_mojibake(text.encode().decode("latin-1"))
    assert is_mojibake("안녕하세요".encode("cp949").decode("latin-1")) and is_mojibake("caf\ufffd")
    for text in ("größe und ÄÖÜß", "façade élève", "Ελλάδα", "“quoted” — dash", "£5 ½ °C", "Ã", "São Paulo"):
        assert not is_mojibake(text)


@pytest.mark.parametrize("mark", "\x91\x92\u07f4\u07f5\u275b\u275c\uff07\uff40\u2019\u02bc\u0384")
def test_more_apostrophes(mark):
    assert clean(f"don{mark}t", "en") == "don't"
