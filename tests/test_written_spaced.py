"""Korean numbers with spaces inside, as language models of syllables write them, and words that only look like them."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asr.text.ko.numbers import sino
from asr.text.written import spans, written

NUMBERS = [
    ("삼백 이십 일", "321"),
    ("삼백 이십 이", "322"),
    ("삼백 이십 이입니다", "322입니다"),
    ("삼백 이십일", "321"),
    ("이십 사", "24"),
    ("삼십 구", "39"),
    ("천 이백 삼십 사", "1,234"),
    ("만 이천 삼백", "12,300"),
    ("이만 삼천 오백", "23,500"),
    ("십만 오천", "105,000"),
    ("이 천 이 십 육 년", "2026년"),
    ("천 구백 구십", "1990"),
    ("삼 백 이 십 일", "321"),
    ("삼 십 분", "30분"),
    ("삼 백 명", "300명"),
    ("삼 만 오 천 원", "35,000원"),
    ("회비는 삼 만원씩", "회비는 3만원씩"),
    ("공 일 공 일 이 삼 사 오 육 칠 팔", "010-1234-5678"),
    ("육 백 이 십 이 번", "622번"),
    ("삼백 이십 일 동안", "320일 동안"),
    ("오월 이십 일", "5월 20일"),
    ("구십 일", "90일"),
    ("이백이십 일", "220일"),  # the space before the counter is the right one
    ("삼백 이십 이 넘는", "320이 넘는"),
]
WORDS = (
    "이 일|이 일을 하면|이 백|이 백 명|이 천 명|이 십 분|사 백|오 이|일 이 삼|이 삼 백 이십|삼 사 십 명|십 이|십 사|"
    "백 오|백 이|천 이|이천 오|이십 이|오십 이 넘는|이십 사는|삼백 이십 오는|백만 이|만 이|만 이천|구 만주의|"
    "삼백 이십 일을|오 육|이 사람|사 오 명|구 일본|백 일 이|오 륙 십 명|오륙 십 명"
)


@pytest.mark.parametrize("said,form", NUMBERS)
def test_a_number_with_spaces(said: str, form: str) -> None:
    assert written(said, "ko") == form


@pytest.mark.parametrize("said", WORDS.split("|"))
def test_words_stay(said: str) -> None:
    assert written(said, "ko") == said


def figures(number: int) -> str:
    return str(number) if 1800 <= number < 2100 else f"{number:,}"


@given(st.integers(111, 99_999))
@settings(max_examples=80, deadline=None)
@example(321)
@example(1991)
@example(20_300)
def test_numbers_of_two_scales_in_any_spacing(number: int) -> None:
    """Only a first 백 or 천 without a digit must be followed by one with a digit: 백 십 stays."""
    said = sino(number).replace(" ", "")
    if len(re.findall("[십백천만]", said)) < 2 or re.match("[십만]|[백천][십백]|[백천][일-힣]?$", said):
        return
    in_parts = re.sub("(?<=[십백천만])(?=.)", " ", said)
    if not re.search("만 .$", in_parts) and not re.match("[백천] .$", in_parts):
        assert written(in_parts, "ko") == figures(number)
    in_syllables = " ".join(said)
    if len(said) > 3 and said[0] not in "백천" and not re.search("만 .$", in_syllables):
        assert written(f"{in_syllables} 번", "ko") == f"{figures(number)}번"
        assert [count for count, _ in spans(f"{in_syllables} 번".split(), "ko")] == [len(said) + 1]
