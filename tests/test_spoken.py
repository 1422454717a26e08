"""Numbers in words: hand-written examples, an independent slow reader that reads words back, and random text."""

import random
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asr import manifest
from asr.errors import InputError
from asr.text.clean import clean
from asr.text.en import numbers as numbers_en
from asr.text.en.abbreviations import roman
from asr.text.ko import numbers as numbers_ko
from asr.text.spoken import spoken

SIGNS = (
    ". , : / - ~ $ € % ° ℃ ' st s th am kg m² 년 시 명 번째 만 억 제 TV "
    "Mr. Henry VIII XC Cat Part May & ½ ① ٣ 가 ² ³ ፩ vs mrſ ı.e İ"
)
PIECES = st.sampled_from([*SIGNS.split(), " ", " "])
FIGURES = st.sampled_from(
    "0 1 5 10 12 20 31 100 555 1234 1900 1999 2024 007 1,000 3.14 9999999999999999999999999".split()
)


@given(st.lists(PIECES | FIGURES | st.text(max_size=3), max_size=12).map("".join), st.sampled_from(["en", "ko"]))
@settings(max_examples=400, deadline=None)
@example("9" * 5000, "en")
@example("9" * 5000, "ko")
@example("İvs İetc. İMr", "en")
@example("mrſ ı.e ፩ 10²³", "en")
def test_any_text_can_be_written_out(text: str, lang: str) -> None:
    words = clean(spoken(text, lang), lang)
    assert not any(map(str.isdigit, words))
    assert clean(spoken(words, lang), lang) == words


ENGLISH = [
    (
        "5'10\", 5′10″ and 37°33′20″ on the 1ˢᵗ",
        "five ten five ten and thirty seven thirty three twenty on the first",
    ),
    ("10‑12 kg, 10‐12 kg", "ten to twelve kilograms ten to twelve kilograms"),
    ("$5.20, £3 and €1.50", "five dollars and twenty cents three pounds and one euro and fifty cents"),
    ("$1 $0.50 £0.01 $3.5 million", "one dollar fifty cents one penny three point five million dollars"),
    (
        "$10-12 million, $2bn, ¥100, 20€, 50¢",
        "ten to twelve million dollars two billion dollars one hundred yen twenty euros fifty cents",
    ),
    ("$ 50 , 000 and 1 , 234 people", "fifty thousand dollars and one thousand two hundred thirty four people"),
    (
        "a $5 bill, an $8 million loan, a 5 km run, but $5",
        "a five dollar bill an eight million dollar loan a five kilometer run but five dollars",
    ),
    ("in 1984, 2007 and 2010", "in nineteen eighty four two thousand seven and twenty ten"),
    ("1900 1905 1066 2100", "nineteen hundred nineteen oh five one thousand sixty six two thousand one hundred"),
    ("the 1900s, the '90s, the 80s", "the nineteen hundreds the nineties the eighties"),
    ("a '57 Chevy, 747s", "a fifty seven chevy seven hundred forty sevens"),
    ("1st 2nd 3rd 12th 21st 30th 1,000th", "first second third twelfth twenty first thirtieth one thousandth"),
    ("at 3:15, 3:05 pm, 12:00 and 10am", "at three fifteen three oh five p m twelve o'clock and ten a m"),
    ("10 a.m. 15:30", "ten a m fifteen thirty"),
    ("July 4, 1976", "july fourth nineteen seventy six"),
    ("May 28,1945", "may twenty eighth nineteen forty five"),
    ("the 5th of May and 11 September 2001", "the fifth of may and the eleventh of september two thousand one"),
    (
        "2024-02-29 12/25/1999 Jan. 5",
        "february twenty ninth twenty twenty four december twenty fifth nineteen ninety nine january fifth",
    ),
    ("1/2, 3/4, 2 1/2, 5/8, 2½", "one half three quarters two and one half five eighths two and one half"),
    ("24/7 on 9/11, rated 8/10", "twenty four seven on nine eleven rated eight out of ten"),
    ("10-12 people in 1914-18", "ten to twelve people in nineteen fourteen to eighteen"),
    (
        "call 555-1234 or (800) 555-0199",
        "call five five five one two three four or eight zero zero five five five zero one nine nine",
    ),
    (
        "5 kg, 1 km, 20°C, 60mph, 5 m²",
        "five kilograms one kilometer twenty degrees celsius sixty miles per hour five square meters",
    ),
    ("5%, 1.5 %, -5 and 10-12 kg", "five percent one point five percent minus five and ten to twelve kilograms"),
    (
        "3.14, 0.05, .5, 1,234.5",
        "three point one four zero point zero five point five one thousand two hundred thirty four point five",
    ),
    ("agent 007, version 1.2.3", "agent zero zero seven version one point two point three"),
    ("F16, 3D, 4x4, 2+2", "f sixteen three d four by four two plus two"),
    ("No. 7 and #5", "number seven and number five"),
    ("1,234,567", "one million two hundred thirty four thousand five hundred sixty seven"),
    ("Mr. and Mrs. Smith vs. Dr. Jones", "mister and missus smith versus doctor jones"),
    ("Elm St. near St. Louis, John Ford Jr.", "elm street near saint louis john ford junior"),
    ("Chapter IV, World War II", "chapter four world war two"),
    (
        "Henry VIII and Louis XIV's; Henry Cat; I saw Mary I think",
        "henry the eighth and louis the fourteenth's henry cat i saw mary i think",
    ),
    (
        "When Dr. Perry and John L. Smith met in Bury St. Edmunds",
        "when doctor perry and john l smith met in bury saint edmunds",
    ),
    ("AT&T, e.g. cats & dogs, etc.", "at and t for example cats and dogs et cetera"),
    ("٣٤ and １２", "thirty four and twelve"),
    ("10:00-11:00, 9am-5pm, 10-11am", "ten o'clock to eleven o'clock nine a m to five p m ten to eleven a m"),
    (
        "5%-10%, 5kg-10kg, 3 ft - 4 ft",
        "five percent to ten percent five kilograms to ten kilograms three feet to four feet",
    ),
    (
        "5 kg — 10 of them, $5 million-$6 million",
        "five kilograms ten of them five million dollars to six million dollars",
    ),
    (
        "July 4–6, May 3-5, 2020, 4-6 July",
        "july fourth to sixth may third to fifth twenty twenty the fourth to sixth of july",
    ),
    (
        "June 5-July 6, MAY 5, Sep 11, 2001, DEC. 3",
        "june fifth to july sixth may fifth september eleventh two thousand one december third",
    ),
    ("$.50, 5$, ₹500, $1 1/2 million", "fifty cents five dollars five hundred rupees one and one half million dollars"),
    (
        "1/2 kg, 2 1/2 miles, 2 1/2 kg, 2/3rds",
        "one half kilogram two and one half miles two and one half kilograms two thirds",
    ),
    ("7.30pm, 7.30, 20 m.p.h., 0:00", "seven thirty p m seven point three zero twenty miles per hour midnight"),
    ("2m people, 5 m, 100m", "two million people five meters one hundred meters"),
    (
        "555 123 4567, (555) 123 4567",
        "five five five one two three four five six seven five five five one two three four five six seven",
    ),
    (
        "5551234567, +44 20 7946 0958",
        "five five five one two three four five six seven four four two zero seven nine four six zero nine five eight",
    ),
    ("1000000000, 3000000000", "one billion three billion"),
    ("Fig. 3, Vol. 3, Ch. 5, ch. 5", "figure three volume three chapter five chapter five"),
    ("10², x³ and (a+b)², 5 m², 10²³", "ten squared x cubed and a b squared five square meters ten twenty three"),
    (
        "It was -5°C, not -40°F: a -5% change",
        "it was minus five degrees celsius not minus forty degrees fahrenheit a minus five percent change",
    ),
    (
        "-$5, −3.5 kg, -£2.50, -.5",
        "minus five dollars minus three point five kilograms minus two pounds and fifty pence minus point five",
    ),
    ("-4 to +4, F-16, 5-6%, $5-$10", "minus four to four f sixteen five to six percent five dollars to ten dollars"),
]
KOREAN = [
    ("3명이 20살, 21살", "세 명이 스무 살 스물한 살"),
    ("3시 15분, 15:30, 12시", "세 시 십오 분 십오 시 삼십 분 열두 시"),
    ("2023년 6월 10일, 10월 3일", "이천이십삼 년 유월 십 일 시월 삼 일"),
    ("2023.5.17. 1990 년대", "이천이십삼 년 오월 십칠 일 천구백구십 년대"),
    ("010-1234-5678, 1588-1234", "공일공 일이삼사 오육칠팔 일오팔팔 일이삼사"),
    ("50%는 3.14", "오십 퍼센트는 삼 점 일사"),
    ("1만 2천, 1억 2천3백만 원, 5,000원", "만 이천 일억 이천삼백만 원 오천 원"),
    ("16,000명, 3천만 원, $5.20, 10달러", "만 육천 명 삼천만 원 오 달러 이십 센트 십 달러"),
    ("5kg, 165cm, 20°C, 영하 5도, -3℃", "오 킬로그램 백육십오 센티미터 섭씨 이십 도 영하 오 도 섭씨 영하 삼 도"),
    ("시속 100km/h, 30㎡", "시속 백 킬로미터 삼십 제곱미터"),
    ("TV, KBS, L.A에서 MP3와 3D", "티비 케이비에스 엘에이에서 엠피쓰리와 쓰리디"),
    ("1번째, 2번째, 제3회, 1등, 제2조제1항", "첫 번째 두 번째 제삼 회 일 등 제이 조 제일 항"),
    ("1/2, 3분의 1, 3:2", "이분의 일 삼분의 일 삼 대 이"),
    ("2~3명, 16~18세, 2~3일", "두세 명 십육에서 십팔 세 이삼 일"),
    ("119에 신고, 365일, 63빌딩", "일일구에 신고 삼백육십오 일 육삼빌딩"),
    ("100여 명, 20여년", "백여 명 이십여 년"),
    ("3시간, 24시간, 1개월, 2개국", "세 시간 이십사 시간 일 개월 이 개국"),
    ("4번 출구에서 3번", "사 번 출구에서 세 번"),
    ("20대 후반, 5대, 05번", "이십 대 후반 다섯 대 공오 번"),
    ("228입니다, 77로", "이백이십팔입니다 칠십칠로"),
    ("3 가지와 5 대통령", "세 가지와 오 대통령"),
    ("10²은, x³과, 5m²", "십 제곱은 x 세제곱과 오 제곱미터"),
    ("문제 3개를 풀고 어제 3시에 숙제 2개를", "문제 세 개를 풀고 어제 세 시에 숙제 두 개를"),
    ("이제 2명, 국제 1위, 통제 1.5단계, 편제 3개", "이제 두 명 국제 일 위 통제 일 점 오 단계 편제 세 개"),
    ("제 3회, 제 2의 고향, 제3의 물결, 제5공화국", "제삼 회 제이의 고향 제삼의 물결 제오공화국"),
    ("제 5살 아들과 제 3명의 친구, 제 2도시의 제 2외국어", "제 다섯 살 아들과 제 세 명의 친구 제 이도시의 제 이외국어"),
    (
        "안 제63조제2항제4호, 헌법제3조, 제50조의2제1항",
        "안 제육십삼 조 제이 항 제사 호 헌법 제삼 조 제오십 조의이 제일 항",
    ),
    ("3천여 명, 1만여 개, 3억여 원, 5만여", "삼천여 명 만여 개 삼억여 원 오만여"),
    ("3만 여 명, 3만 여명, 20여 명, 3만 명", "삼만여 명 삼만여 명 이십여 명 삼만 명"),
    ("1천억, 1천만 원, 1억, 1만", "천억 천만 원 일억 만"),
    (
        "금리 6.25%, 6.25km를, 6.25점, 4.19 퍼센트",
        "금리 육 점 이오 퍼센트 육 점 이오 킬로미터를 육 점 이오 점 사 점 일구 퍼센트",
    ),
    ("6.25 전쟁, 6.25 때는, 6·25, 3·1운동, 3.1절", "육이오 전쟁 육이오 때는 육이오 삼일운동 삼일절"),
    ("6ㆍ25 전쟁, 3・1운동, 3ㆍ1절, 10∼18시, 10‑18시", "육이오 전쟁 삼일운동 삼일절 열에서 십팔 시 열에서 십팔 시"),
    ("4·19민주이념과 8·15 광복절, 13.1절", "사일구민주이념과 팔일오 광복절 십삼 점 일 절"),
    ("10:00~18:00, 오전 9시~오후 6시까지", "열 시에서 십팔 시 오전 아홉 시에서 오후 여섯 시까지"),
    ("5월~6월, 3월1일~3월5일, 5월-9월", "오월에서 유월 삼월 일 일에서 삼월 오 일 오월에서 구월"),
    ("3명~5명, 1만~2만원, 100원~200원", "세 명에서 다섯 명 만에서 이만 원 백 원에서 이백 원"),
    (
        "5%~10%, $5~$10, -5~-3도, 제1조~제3조",
        "오 퍼센트에서 십 퍼센트 오 달러에서 십 달러 마이너스 오에서 마이너스 삼 도 제일 조에서 제삼 조",
    ),
    ("5%-10%, 20°C-30°C, 3-5%", "오 퍼센트에서 십 퍼센트 섭씨 이십 도에서 섭씨 삼십 도 삼에서 오 퍼센트"),
    ("3시에 봐~ 2시에, 101동-1203호", "세 시에 봐 두 시에 백일 동 천이백삼 호"),
    ("1~2만원, 5~10억 원, 3~4천 명", "일이만 원 오에서 십억 원 삼사천 명"),
    ("3시15분, 2023년6월10일, 1시간30분", "세 시 십오 분 이천이십삼 년 유월 십 일 한 시간 삼십 분"),
    ("2박3일, 3층5호, 1만2천원, 3분의1", "이 박 삼 일 삼 층 오 호 만 이천 원 삼분의일"),
    ("3 대 1로, 8대 3으로, 1대1, 425 대 2", "삼 대 일로 팔 대 삼으로 일 대 일 사백이십오 대 이"),
    (
        "10대 5명, 20대 30대, 버스 3대 2층, 10대 20여 명",
        "십 대 다섯 명 이십 대 삼십 대 버스 세 대 이 층 십 대 이십여 명",
    ),
    ("2~30대, 2,30대, 20~30대", "이삼십 대 이삼십 대 이십에서 삼십 대"),
    ("3,4명, 2, 3년 전, 7, 8월, 3,400명", "서너 명 이삼 년 전 칠팔 월 삼천사백 명"),
    ("3,5명과 1, 2편, 1, 2, 3등", "삼 다섯 명과 일 두 편 일 이 삼 등"),
    ("1/4분기, 4/4 분기, 3×4, .5초", "일사분기 사사분기 삼 곱하기 사 영 점 오 초"),
    ("중3명, 그중 3명, 중3이, 중2병, 초6학년", "중 세 명 그중 세 명 중삼이 중이병 초육학년"),
    (
        "-3~5도, -5%, -$5, -3~5℃, 기온 -3℃",
        "마이너스 삼에서 오 도 마이너스 오 퍼센트 마이너스 오 달러 섭씨 영하 삼에서 오 도 기온 섭씨 영하 삼 도",
    ),
]


@pytest.mark.parametrize(("text", "expected"), ENGLISH)
def test_english(text: str, expected: str) -> None:
    assert clean(spoken(text, "en"), "en") == expected


@pytest.mark.parametrize(("text", "expected"), KOREAN)
def test_korean(text: str, expected: str) -> None:
    assert clean(spoken(text, "ko"), "ko") == expected


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("text", ["{}/2", "1/{}", "{}", "1.{}", "{}%", "{}th", "${}", "{}:30", "제{}조", "{}-{}-{}"])
def test_numbers_of_thousands_of_digits(text, language):
    said = spoken(text.replace("{}", "1" * 5000), language)
    assert not any(map(str.isdigit, said)) and len(said.split()) > 0


def test_the_tables_of_the_docs() -> None:
    page = (Path(__file__).parents[1] / "docs" / "concepts" / "text.md").read_text(encoding="utf-8")
    lines = page.partition("## Written forms")[0].splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if " · " in line and line.startswith("|")]
    assert len(rows) == 19
    for written, words in rows:
        lang = "ko" if any("가" <= c <= "힣" for c in words) else "en"
        assert [clean(spoken(w, lang), lang) for w in written.split(" · ")] == words.split(" · ")


def test_latin_letters_may_stay() -> None:
    assert clean(spoken("TV 3대", "ko", latin=False), "ko") == "tv 세 대"


def test_other_languages_are_refused() -> None:
    with pytest.raises(InputError, match="language 'fr' cannot be written out; choose one of en, ko"):
        spoken("3 fois", "fr")


def some_numbers(largest: int) -> list[int]:
    draws = random.Random(1)
    return [
        *range(130),
        *(draws.randrange(largest) for _ in range(3000)),
        *(draws.randrange(10**6) for _ in range(3000)),
    ]


def read_english(words: str) -> int:
    """Reads English number words back to a number."""
    small = dict(zip("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
                     "sixteen seventeen eighteen nineteen".split(), range(20), strict=True))  # fmt: skip
    small |= dict(zip("twenty thirty forty fifty sixty seventy eighty ninety".split(), range(20, 100, 10), strict=True))
    large = dict(zip("thousand million billion trillion quadrillion quintillion".split(), range(3, 21, 3), strict=True))
    total = group = 0
    for word in words.split():
        if word == "hundred":
            group *= 100
        elif word in large:
            total, group = total + group * 10 ** large[word], 0
        else:
            group += small[word]
    return total + group


def read_korean(words: str) -> int:
    total = group = figure = 0
    for syllable in words.replace(" ", ""):
        if syllable in "영일이삼사오육칠팔구":
            figure = "영일이삼사오육칠팔구".index(syllable)
        elif syllable in "십백천":
            group, figure = group + (figure or 1) * 10 ** ("십백천".index(syllable) + 1), 0
        else:
            total += (group + figure or 1) * 10 ** (4 * "만억조경해".index(syllable) + 4)
            group = figure = 0
    return total + group + figure


def test_cardinals_can_be_read_back() -> None:
    assert all(read_english(numbers_en.cardinal(n)) == n for n in some_numbers(10**21))
    assert all(read_korean(numbers_ko.sino(n)) == n for n in some_numbers(10**24))
    assert len({numbers_ko.native(n) for n in range(1, 100)}) == 99


def test_cardinals_and_ordinals_are_those_of_num2words() -> None:
    num2words = pytest.importorskip("num2words").num2words

    def plain(words: str) -> str:
        return " ".join(words.replace("-", " ").replace(",", "").replace(" and ", " ").split())

    for n in some_numbers(10**15):
        assert numbers_en.cardinal(n) == plain(num2words(n))
        assert numbers_en.ordinal(n) == plain(num2words(n, to="ordinal"))
    for n in range(1100, 2100):
        if not 2000 <= n < 2010:
            assert numbers_en.year(n) == plain(num2words(n, to="year"))
    for n in range(1, 10000):
        assert numbers_ko.sino(n) == num2words(n, lang="ko").replace(" ", "")


def test_roman_numerals() -> None:
    numerals = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X"]
    assert [roman(numeral) for numeral in numerals] == list(range(1, 11))
    assert [roman(numeral) for numeral in ("XIV", "XXIX", "XL", "XC", "LXXXIX")] == [14, 29, 40, 90, 89]


def test_transcripts_of_people_agree_with_the_written_text(shared_data: Path) -> None:
    """korean_dialog, train and dev. Annotators disagree on spacing and on 점 or 쩜."""
    found = [u for u in manifest.read(shared_data / "korean_dialog" / "manifest.jsonl") if u.extra["split"] != "test"]
    pairs = [(clean(spoken(u.extra["text_written"], "ko"), "ko"), clean(u.text, "ko")) for u in found]
    right = sum(ours.replace(" ", "") == theirs.replace(" ", "") for ours, theirs in pairs)
    assert right / len(pairs) > 0.97
