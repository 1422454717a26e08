"""Examples of cleaned text, and properties of any cleaned text."""

import lzma
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asr.errors import InputError
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
    ("ﾡﾢ", "ᄀᄁ"),
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
