"""Everyday sentences whose written form was once wrong, by kind."""

import pytest

from asr.text.written import written

ENGLISH = [
    ("between one hundred and two hundred", "between 100 and 200"),  # not 102 hundred
    ("a hundred and two hundred people", "a hundred and 200 people"),
    ("a hundred and fifty dollars", "$150"),
    ("a thousand five hundred dollars", "$1,500"),
    ("half a million five dollar bills", "half a million $5 bills"),
    ("a twenty second delay", "a 20 second delay"),
    ("thirty second timeout", "30 second timeout"),
    ("on the twenty second of april", "on the 22nd of April"),
    ("forty second street", "42nd street"),
    ("number ten won the race", "number 10 won the race"),
    ("five thousand won", "₩5,000"),
    ("in the u s i think", "in the US i think"),
    ("at five p m i went", "at 5 p.m. i went"),
    ("i am a u s citizen", "i am a US citizen"),
    ("july four nineteen seventy six", "July 4, 1976"),
    ("version one point two point three", "version 1.2.3"),
    ("room two oh two", "room 202"),
    ("her p h d is due a s a p", "her PhD is due ASAP"),
    ("email me at gmail dot com", "email me at gmail.com"),
    ("at this point five percent is enough", "at this point 5% is enough"),
    ("in twenty twenty ten percent of us", "in 2020 10% of us"),
    ("it costs a dollar fifty", "it costs $1.50"),
    ("one dollar twenty five please", "$1.25 please"),
    ("a pound eighty", "£1.80"),
    ("three quarters of it", "3/4 of it"),
]
ENGLISH_KEPT = (
    "two fifty dollars|nineteen ninety nine dollars and ninety nine cents|bake at three fifty degrees|"
    "in ten fifteen minutes|two or three hundred people|ten to twenty thousand dollars|two to three hundred kilometers|"
    "the point one must make|at that point two people left|i figure one of us knows|"
    "x minus five|two quarters|in two quarters of the year|a dollar a day|"
    "the dot com bubble|one third party|the team five won"
)


@pytest.mark.parametrize("said,form", ENGLISH)
def test_english(said: str, form: str) -> None:
    assert written(said, "en") == form


@pytest.mark.parametrize("said", ENGLISH_KEPT.split("|"))
def test_english_that_stays(said: str) -> None:
    assert written(said, "en") == said


KOREAN = [  # as recognisers space numbers
    ("열 두 시에", "12시에"),
    ("열 한 시 반", "11시 반"),
    ("서른 다섯 살", "35살"),
    ("스물 두 명", "22명"),
    ("삼천 오백 원", "3,500원"),
    ("오만 삼천 오백 원", "53,500원"),
    ("이백 삼십 사만 원", "234만 원"),
    ("천 이백 삼 호", "1,203호"),
    ("이천 이십 육 년 십일 월 이십 구 일", "2026년 11월 29일"),
    ("십 이 월 이십 오 일", "12월 25일"),
    ("오 월 오 일", "5월 5일"),
    ("삼 점 일 사", "3.14"),
    ("영 점 일 이 퍼센트", "0.12%"),
    ("영점 오 퍼센트", "0.5%"),
    ("일박 이일", "1박 2일"),
    ("삼 분의 일", "1/3"),
    ("카드 번호 일이삼사 오육칠팔 구공일이 삼사오육", "카드 번호 1234-5678-9012-3456"),
    ("한 이십 분", "한 20분"),
    ("일일구 구급대를", "119 구급대를"),
    ("답은 삼백이십일", "답은 321"),  # not 320 days
    ("답은 삼백이십일입니다", "답은 321입니다"),
    ("오십일은 소수가 아니다", "51은 소수가 아니다"),
    ("이백 오십이다", "250이다"),
    ("삼백 이십오", "325"),
    ("천이백구십일이", "1,291이"),
    ("삼백이십일 동안", "320일 동안"),
    ("삼백이십일간", "320일간"),
    ("오십일 만에", "50일 만에"),
    ("삼백육십오일 내내", "365일 내내"),
    ("오월 이십일에", "5월 20일에"),
    ("이십일까지", "20일까지"),
    ("답은 삼백이십이", "답은 322"),
    ("삼백이십이를", "322를"),
    ("점수는 구십이예요", "점수는 92예요"),
    ("삼백이십이 넘는", "320이 넘는"),
    ("삼백이십이다", "320이다"),
]
KOREAN_KEPT = "한 두 시간|두 세 명|세 네 시|이 삼 일|삼 사 년 전|이 삼십 분|구구 팔십일|천 년|이 분의 일"


@pytest.mark.parametrize("said,form", KOREAN)
def test_korean(said: str, form: str) -> None:
    assert written(said, "ko") == form


@pytest.mark.parametrize("said", KOREAN_KEPT.split("|"))
def test_korean_that_stays(said: str) -> None:
    assert written(said, "ko") == said
