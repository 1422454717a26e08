"""The grammar of written Korean: 오전 아홉시 삼십분 -> 오전 9시 30분, 삼십칠 점 오 도 -> 37.5도, 에이티엠 -> ATM.

A number is written in figures if the words around it show that it is one: a counter after it, 제 before it, a unit.
Particles stay attached. Words that also mean something else stay words: 이번 달, 사회, 일부, 세대, 한번. So do native
numerals up to ten that are apart from their counter (두 개), unless they count hours, years of age or people.
"""

import pynini

from asr.text.ko import written_spaced as spaced
from asr.text.ko.numbers import DIVISION, NATIVE, SINO_COUNTERS, UNITS, sino
from asr.text.ko.other_words import OTHER_APART, OTHER_LONG, OTHER_NATIVE, OTHER_WORDS
from asr.text.ko.written_letters import letters
from asr.text.ko.written_numbers import (
    APART,
    CODE_DIGIT,
    DECIMAL,
    DIGIT,
    FIGURE,
    FIGURES,
    FOUR_FIGURES,
    GAP,
    MANS_APART,
    NATIVE_ABOVE_TEN,
    NATIVE_APART,
    SCALED,
    YEAR_APART,
)
from asr.text.ko.written_numbers import NATIVE as NATIVE_NUMBER
from asr.text.rewriting import ANY, JOINED, SPACE, costing, left_out, mapped, maybe, sentence, without, words

_PARTICLES = (
    "은 는 이 가 을 를 에 에서 에게 에는 에도 의 엔 로 으로 로서 로써 와 과 도 만 까지 부터 나 이나 마다 보다 밖에 "
    "뿐 처럼 라 라는 라고 이라 이라는 이라고 이고 고 이며 며 이다 다 입니다 입니까 이에요 예요 에요 이야 야 이죠 "
    "죠 이지 지 요 이요 이면 면 이었다 였다 이었어요 였어요 이니까 니까 인 인데 인데요 인가요 하고 랑 이랑 한테 "
    "만큼 조차 쯤 께"
).split()
_AFTER_COUNTERS = (
    "씩 간 정도 여 당 들 동안 전 후 밖 짜리 내 이내 외 말 초 대 이상 이하 미만 중 차 가량 산 용 권 발 행 반 경 된"
).split()
_NAMES = pynini.closure(words("영일이삼사오육칠팔구십백천만"))
_DIGIT_NAME = words("일이삼사오육칠팔구")
_OPENING, _CLOSING = "\"'‘“(<〈《", "\"'’”)>〉》.,!?…:;"
_JOSA = pynini.closure(words(_PARTICLES), 0, 2)
_TAIL = pynini.closure(words([*_PARTICLES, *_AFTER_COUNTERS]), 0, 3)


def _as_written(names: list[str]) -> pynini.Fst:
    """Counters as they are written: 퍼센트 as %, 킬로그램 as kg, 시간 as it is."""
    symbols = {name: symbol for symbol, name in reversed(UNITS.items())} | {"씨씨": "CC"}
    symbols |= {f"{spelling}미터": "cm" for spelling in ("쎈티", "센치", "쎈치")}
    spelled = "미터 리터 톤 도 달러 유로 파운드 엔 와트 볼트 칼로리".split()
    shown = {name: symbol for name, symbol in symbols.items() if name not in spelled}
    return (mapped(shown.items()) | words(name for name in names if name not in shown)).optimize()


_COUNTERS = [name for name in SINO_COUNTERS if name not in ("수", "월", "군")] + "번 라운더 시간 명 주차".split()
_MEASURES = {
    *(name for name in UNITS.values() if len(name) > 1),
    *"개월 학년 학기 인분 호선 등급 세기 개국 주년 인용 학점 달러 유로".split(),
}
_SINO = _as_written(_COUNTERS)
_NATIVE = words(name for name in NATIVE if name not in ("해", "째", "시"))
_ANY_COUNTER = (_SINO | _NATIVE).optimize()
_ONE = (DIGIT | mapped([("십", "10"), ("백", "100")])).optimize()
_MANY = without(FIGURES, pynini.project(_ONE, "input"))
_SCALED = without(SCALED, pynini.project(DIGIT, "input") + "조" | words("천만"))  # 구조, 천 원
_THIS = words(f"이 {name}" for name in [*_COUNTERS, *NATIVE] if name not in _MEASURES)  # 이: this

_DURATIONS = "동안 간 간의 째 전 뒤 후 만에 만의 이내 넘게 내내 이상 가량".split()
# 삼백이십일 is 321, and 320 days only if a word of duration follows; 이십일 and 삼십일 are rather days of a month.
_ENDS_IN_ONE = (_NAMES + words("십백천") + "일" - words("십일 이십일 삼십일 백일 천일".split())).optimize()
_VERBS = words("넘 되 돼 됐 된 될 아니 아닌 안 모자라".split()) + pynini.closure(ANY)  # 삼백이십이 넘는: 320이
_AFTER_VOWELS = "는 가 를 와 로 로서 로써 예요 의 에 에서 도 만 까지 부터 보다".split()  # 이다 may be of 320


def _counted() -> pynini.Fst:
    """이십육쩜칠개, 육개월, 오천원, 칠십만 원."""
    attached = without(_ONE + _SINO, words(OTHER_WORDS))
    year_end = words("일이삼사오육칠팔구") + words("천") + _NAMES + "일"  # 이천십일: 2011, not 2010 days
    apart = without(_ONE + JOINED + _SINO, _THIS | words(OTHER_APART))
    many = _MANY | DECIMAL | without(APART, pynini.project(_ONE, "input"))
    long = many + GAP + _ANY_COUNTER | (MANS_APART | _SCALED) + maybe(SPACE) + _ANY_COUNTER
    days = without((_MANY | APART) + GAP + "일", year_end) + (words(_DURATIONS) | SPACE + words(_DURATIONS))
    apart_one = pynini.closure(_NAMES + " ", 1) + _NAMES + words("십백천") + maybe(SPACE) + "일"
    long = without(long, words(OTHER_LONG) | year_end | _ENDS_IN_ONE | apart_one) | days
    trillions = without(DIGIT + "조" + maybe(SPACE) + words("원 달러 위안 엔".split()), words(["구조원"]))
    none = mapped([("영", "0")]) + GAP + pynini.cross("퍼센트", "%")
    return (attached | apart | long | trillions | none).optimize()


def _dates() -> pynini.Fst:
    """이천십육년 칠월 사일, 만 이십사개월: that is not 10,024 months."""
    round_years = [f"{digit}천" for digit in "삼사오육칠팔구"] + ["천"]
    year = (
        without(FOUR_FIGURES | YEAR_APART, words(round_years + [f"{name} " for name in round_years]))
        + GAP
        + words(["년", "년대", "년도", "년생", "년형"])
    )
    numbers = "일 이 삼 사 오 육 유 칠 팔 구 십 시 십일 십이".split()
    figures = "1 2 3 4 5 6 6 7 8 9 10 10 11 12".split()
    month = mapped(zip(numbers, figures, strict=True)) + words(["월", "월달"])
    apart = mapped([*zip(numbers, figures, strict=True), ("십 일", "11"), ("십 이", "12")]) + JOINED + "월"
    day = SPACE + (DIGIT | _MANY | APART) + GAP + "일"
    apart = apart + day | without(apart, words(["일 월", "이 월", "시 월"]))
    age = pynini.accep("만") + SPACE + (_MANY | DIGIT | NATIVE_NUMBER) + GAP + words("세 살 개월 년".split())
    return (costing(year, -0.05) | month | apart | month + SPACE + DIGIT + GAP + "일" | age).optimize()


def _hours() -> pynini.Fst:
    """오후 한 시, 한 시 반, 십팔 시."""
    half_days = words("오전 오후 새벽 아침 낮 저녁 밤".split())
    late = mapped((sino(n), str(n)) for n in (0, *range(13, 25)))
    hour = ((NATIVE_NUMBER | NATIVE_APART) @ words(map(str, range(2, 13))) | late) + GAP + "시"
    one = pynini.cross("한", "1") + GAP + "시"
    minutes = (_MANY | _ONE) + GAP + "분"
    seconds = maybe(SPACE + (_MANY | _ONE) + GAP + "초")
    after = SPACE + (words(["반"]) | minutes + seconds)  # after an hour, 이 분 is no person
    return ((hour | one) + after | hour | half_days + SPACE + one).optimize()


def _native() -> pynini.Fst:
    """두개, 스물다섯 살, 세 명; 두 개 stays in words."""
    attached = without(NATIVE_NUMBER + _NATIVE, words(OTHER_NATIVE))
    apart = (
        NATIVE_ABOVE_TEN + JOINED + _NATIVE
        | NATIVE_APART + GAP + _NATIVE
        | NATIVE_NUMBER + JOINED + words(["시간", "살", "명"])
    )
    return (attached | apart).optimize()


def _ranges() -> pynini.Fst:
    """십육세에서 십팔세 -> 16~18세, 일위부터 사위까지 -> 1위부터 4위까지."""
    number = (_MANY | _ONE | DECIMAL | NATIVE_NUMBER).optimize()
    tilde = pynini.cross("에서 ", "~")
    ranges = [number + tilde + number + GAP + _ANY_COUNTER]
    ranges += [number + left_out(name) + tilde + number + name for name in "세 살 명 개 도 분 초 번 층".split()]
    ranges += [
        number + f"{name}부터" + SPACE + number + f"{name}까지" for name in "위 회 차 번 호 등 층".split()
    ]  # fmt: skip
    return pynini.union(*ranges).optimize()


def _ordered() -> pynini.Fst:
    """제일차 -> 제1차, 제 이도시 -> 제 2도시, 이번 아이언 -> 2번 아이언; 이번 버스 is this bus."""
    number = _MANY | _ONE
    divided = words(name for name in DIVISION.split("|") if name not in ("의", "위", "과", "관"))
    near = without(pynini.accep("제") + number + GAP + divided, words(OTHER_LONG))
    far = pynini.accep("제") + SPACE + number + words(["차", "도시", "회", "호"])
    second = pynini.cross("이번", "2번") + SPACE + words("출구 플랫폼 게이트 국도 창구 트랙 아이언 우드 승강장".split())
    licence = _ONE + "종" + SPACE + words("대형 보통 면허 소형 특수".split())
    days = (DIGIT | _MANY) + "박" + SPACE + (DIGIT | _MANY) + "일"  # 일박 이일
    return (days | near | far | second | licence | _ONE + "호" + SPACE + "차").optimize()


def _bare() -> pynini.Fst:
    """Numbers without a counter: 이백이십팔입니다, 이천에 육십만 원."""
    tens = words(f"{digit}십" for digit in "이삼사오육칠팔구")
    is_long = pynini.closure(words("일이삼사오육칠팔구십백천만"), 3) | tens
    year = costing(FOUR_FIGURES @ (words(["18", "19", "20"]) + FIGURE**2), -0.05)
    this = (pynini.closure(words("일이삼사오육칠팔구십백천점쩜영공 ")) + " 이").optimize()
    decimal = without(DECIMAL, (_DIGIT_NAME + "점" + _DIGIT_NAME | this).optimize())  # 이점이: a subject
    sizes = mapped([("육육", "66"), ("칠칠", "77")])
    price = _SCALED + "에" + SPACE + _SCALED + maybe(SPACE) + "원"
    number = without(is_long @ _MANY, _NAMES + "이")
    return (costing(number | is_long @ year | decimal | sizes, 0.5) | price).optimize()


def _ending_in_one_or_two() -> pynini.Fst:
    """삼백이십일 -> 321, 삼백이십이를 -> 322를; but 삼백이십이 넘는 -> 320이 넘는, and 삼백이십이다 -> 320이다."""
    scale = _NAMES + words("십백천")
    long = pynini.closure(words("일이삼사오육칠팔구십백천만"), 3)
    two = pynini.intersect((scale + "이").optimize().arcsort(), long.optimize()) @ _MANY
    number = _ENDS_IN_ONE @ _MANY + _JOSA | two + maybe(words(_AFTER_VOWELS) + _JOSA)
    subject = scale @ _MANY + "이" + SPACE + _VERBS
    return (costing(number, 0.45) | costing(subject, 0.5)).optimize()


def _codes() -> pynini.Fst:
    """공일공 일이삼사 오육칠팔 -> 010-1234-5678, 공오번 -> 05번, 삼육오 -> 365."""
    zero, hyphen = pynini.cross("공", "0"), mapped([(" ", "-"), ("에 ", "-"), ("", "-")])
    four, hyphen_apart = CODE_DIGIT**4, pynini.cross(" ", "-")
    area = zero + CODE_DIGIT ** (1, 2) + hyphen | pynini.cross("일", "1") + CODE_DIGIT**3 + hyphen
    phone = area + maybe(CODE_DIGIT ** (3, 4) + hyphen) + CODE_DIGIT**4
    card = four + (hyphen_apart + four) ** 3
    numbered = zero + CODE_DIGIT ** (1, 3) + GAP + "번"
    known = mapped([("삼육오", "365"), ("일일구", "119"), ("공공칠", "007"), ("육삼빌딩", "63빌딩")])
    days = mapped([("육이오", "6·25"), ("사일구", "4·19"), ("오일팔", "5·18")])
    march = pynini.cross("삼일", "3·1") + SPACE + words(["운동", "만세", "독립"])
    return (phone | spaced.phone() | card | numbered | known | days | march).optimize()


def _fractions() -> pynini.Fst:
    """이분의 일 -> 1/2."""
    pairs = [(n, d, gap) for d in range(2, 101) for n in range(1, d) for gap in (" ", "")]
    apart = [
        (f"{sino(d)} 분의 {sino(n)}", f"{n}/{d}") for n, d, gap in pairs if d > 2 and gap
    ]  # 이 분의: this person's
    return mapped([*((f"{sino(d)}분의{gap}{sino(n)}", f"{n}/{d}") for n, d, gap in pairs), *apart])


def _kept() -> pynini.Fst:
    """Numbers in several words of which only a part is understood: 이 삼 일, 두 세 명, 삼 십 분."""
    sino = pynini.closure(words("일이삼사오육륙칠팔구십백천만억"), 1)
    tens = words("열 스물 서른 마흔 쉰 예순 일흔 여든 아흔".split())
    few = words("두 세 네 다섯 여섯 일곱 여덟 아홉".split())
    ones = few | words(["한 두", "서 너", "두서너", "두세", "서너"])
    native = tens + SPACE + ones | few + SPACE + few | words(["한 두", "서 너"])
    counter = pynini.project(_ANY_COUNTER | words(["시", "월"]), "input")
    last = without(sino + counter, words(OTHER_WORDS)) | sino + SPACE + counter  # 일일구 구급대
    digit = (pynini.closure(sino + SPACE, 2) | _NAMES + words("십백천") + SPACE) + _DIGIT_NAME  # 이십 이
    syllables = pynini.closure(words("일이삼사오육륙칠팔구십백천만") + SPACE, 2) + sino
    run = pynini.closure(sino + SPACE, 1) + last | digit | syllables | native + maybe(SPACE) + counter
    return costing(run, 0.3)


def grammar() -> pynini.Fst:
    """The grammar of whole sentences."""
    few = words(["수", "몇"]) + SPACE + words("십백천만") + maybe(maybe(SPACE) + words([*_COUNTERS, *NATIVE]))
    counted = _counted() | spaced.counted(without(_ANY_COUNTER, pynini.accep("일")))
    counted = (counted | _dates() | _native() | _ranges() | _ordered() | _codes() | _fractions() | few) + _TAIL
    named = (_bare() | _hours() | letters()) + _JOSA | _ending_in_one_or_two()
    named |= spaced.alone(_JOSA, words(_AFTER_VOWELS) + _JOSA, _VERBS)
    return sentence((counted | named | _kept() + _TAIL).optimize(), _OPENING, _CLOSING)
