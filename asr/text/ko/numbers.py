"""Korean numbers, amounts, dates, units and Latin letters as they are spoken: "3시 15분" -> "세 시 십오 분".

The counter after a number decides between native numerals (세 명) and Sino-Korean ones (삼 층). Spaces separate a
number from its counter (한글 맞춤법 43) and groups of 만 from each other (한글 맞춤법 44). Particles stay attached.
"""

import re
from collections.abc import Callable

_SINO = "영일이삼사오육칠팔구"
_CODE = "공일이삼사오육칠팔구"  # digit by digit: telephone numbers, 05번
_SMALL = ("", "십", "백", "천")
_LARGE = ("", "만", "억", "조", "경", "해")
LARGEST_LENGTH = 4 * len(_LARGE)  # longer numbers are read digit by digit
_NATIVE_ONES = ("", "한", "두", "세", "네", "다섯", "여섯", "일곱", "여덟", "아홉")
_NATIVE_TENS = ("", "열", "스물", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔")
_NATIVE_PAIRS = ("", "한두", "두세", "서너", "네다섯", "대여섯", "예닐곱", "일고여덟", "여덟아홉")  # 1~2 to 8~9
_MONTHS = {6: "유", 10: "시"}

# Counters that take native numerals, with the largest such number; Sino-Korean numerals are usual above it.
_NATIVE_TO_19 = "시간 달 명 사람 마디 해 돌 끼 주먹"
_NATIVE_TO_49 = (
    "개 가지 곳 군데 마리 대 장 권 병 잔 그루 송이 켤레 벌 채 척 자루 통 편 건 줄 쌍 그릇 접시 조각 봉지 상자 "
    "박스 팩 캔 컵 다발 바퀴 걸음 판 모금 방울 숟갈 숟가락 스푼 알 톨 포기 모 차례 팀 나라 종류 골 방 발 갈래 "
    "꼭지 묶음 뭉치 쪽지 가닥 입 손 칸 집 가구 테이블 세트 경기 모델 작품 문장 사례 도시 단어 회사 자리"
)
NATIVE = {
    **dict.fromkeys(_NATIVE_TO_49.split(), 49), **dict.fromkeys(_NATIVE_TO_19.split(), 19),
    "살": 99, "번째": 99, "째": 99, "시": 12, "배": 10, "번": 9,
}  # fmt: skip
SINO_COUNTERS = (
    "년 년대 년도 년간 년생 년째 월 일 일간 분 초 주 주일 주간 주년 개월 개국 개년 개소 개사 박 세기 세 세대 분기 "
    "학년 학기 교시 반 층 호 호선 호점 호실 호차 위 등 등급 급 회 회말 회초 차 차원 인 인분 인용 인승 도 퍼센트 "
    "퍼센트포인트 포인트 프로 점 원 달러 유로 엔 위안 파운드 센트 페소 루피 킬로그램 그램 밀리그램 톤 킬로미터 "
    "미터 센티미터 밀리미터 킬로 인치 피트 마일 야드 리터 밀리리터 씨씨 와트 킬로와트 볼트 헤르츠 킬로헤르츠 "
    "메가헤르츠 기가헤르츠 킬로바이트 메가바이트 기가바이트 테라바이트 비트 바이트 칼로리 킬로칼로리 제곱미터 "
    "제곱킬로미터 세제곱미터 평 헥타르 에이커 배럴 갤런 온스 노트 데시벨 조 항 절 페이지 쪽 면 단계 단 부 막 탄 "
    "강 승 패 연승 연패 관왕 군 동 번지 번길 단지 구역 공화국 라운드 이닝 타수 안타 홈런 득점 실점 표 석 좌석 량 "
    "기 종 과목 학점 촌 관 사단 연대 사이클 킬로볼트 캐럿 수 시리즈 여단 부작"
).split()
NUMBERED = (  # nouns before which 번 is an ordinal, not a count: 3번 출구
    "출구|버스|마을버스|플랫폼|홈|게이트|국도|창구|트랙|선수|타자|아이언|우드|문제|승강장|교향곡|채널|방|지|길|염색체|좌석|기|타순|레인|코스"
)
_FOLLOWED = {  # what must not follow, since it makes another word: 3시즌, 5대양
    "번": rf"\s?(?:{NUMBERED})",
    "시": "리즈|즌|스템|립|민|장은", "대": "강|표|학|륙|양|통령", "장": "관|군", "개": "발|선|조",
    "발": "표|전|생", "방": "향|법", "조": "각", "일": "반|본|치", "수": "준", "기": "가", "분": "의",
    "인": "치", "월": "드", "종": "류", "단": "어", "모": "델", "손": "님", "집": "단", "입": "방|니",
    "알": "러|려", "채": "널", "통": "신|화|합", "판": "매", "명": "령", "원": "인|리", "점": "수", "강": "남",
    "부": "산", "초": "등", "주": "인|장", "면": "적", "위": "치|원", "도": "시", "반": "도", "등": "록",
}  # fmt: skip
_PARTICLE = (
    "이|가|을|를|은|는|의|에|와|과|도|로|으로|만|까지|부터|씩|째|간|정도|쯤|께|인|여|당|들|동안|전|후|나|마다|보다|밖|뿐|처럼|라|"
    "란|짜리|내|외|말|초|대|이상|이하|미만|중|동|하|였|입|째|차|가량"
)
_READ = {
    "AIDS": "에이즈", "NATO": "나토", "OPEC": "오펙", "NASA": "나사", "UNESCO": "유네스코", "FIFA": "피파",
    "OK": "오케이", "TV": "티비",
}  # fmt: skip
LETTERS = dict(
    zip(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        (
            "에이 비 씨 디 이 에프 지 에이치 아이 제이 케이 엘 엠 엔 오 피 큐 알 에스 티 유 브이 더블유 엑스 와이 제트"
        ).split(),
        strict=True,
    )
)
_ENGLISH = ("제로", "원", "투", "쓰리", "포", "파이브", "식스", "세븐", "에잇", "나인")  # next to letters: MP3, 3D
UNITS = {
    "%p": "퍼센트포인트", "%": "퍼센트", "kg": "킬로그램", "g": "그램", "mg": "밀리그램", "t": "톤",
    "km": "킬로미터", "m": "미터", "M": "미터", "cm": "센티미터", "mm": "밀리미터", "m²": "제곱미터",
    "m2": "제곱미터", "km²": "제곱킬로미터", "km2": "제곱킬로미터", "m³": "세제곱미터", "m3": "세제곱미터",
    "L": "리터", "l": "리터", "ml": "밀리리터", "mL": "밀리리터", "cc": "씨씨", "CC": "씨씨", "W": "와트",
    "kW": "킬로와트", "V": "볼트", "Hz": "헤르츠", "kHz": "킬로헤르츠", "MHz": "메가헤르츠",
    "GHz": "기가헤르츠", "KB": "킬로바이트", "MB": "메가바이트", "GB": "기가바이트", "TB": "테라바이트",
    "kcal": "킬로칼로리", "cal": "칼로리", "dB": "데시벨", "°": "도", "$": "달러", "€": "유로", "£": "파운드",
    "¥": "엔",
}  # fmt: skip
_MONEY = {"$": "달러", "€": "유로", "£": "파운드", "¥": "엔", "₩": "원", "￦": "원"}
_EMERGENCY = {"112", "114", "119", "911", "007", "365"}  # digit by digit if no counter follows
_KNOWN = {"63빌딩": "육삼빌딩", "3·1절": "삼일절", "3.1절": "삼일절", "9/11": "구일일"}
_DAYS = {"3·1": "삼일", "4·19": "사일구", "5·18": "오일팔", "6·25": "육이오", "8·15": "팔일오"}  # historic
_OF_DAYS = "전쟁|사변|동란|참전|남침|때|이후|당시|광복|해방|만세|운동|민주|광주|항쟁|혁명|의거|기념"  # after 6.25


def sino(n: int) -> str:
    """0 <= n < 10^24: 16000 -> "만 육천", 115 -> "백십오". 일 is omitted before 십, 백, 천 and a leading 만."""
    if n == 0:
        return _SINO[0]
    groups = []
    for large in _LARGE:
        n, group = divmod(n, 10000)
        if group:
            words = _below_ten_thousand(group)
            groups.append("만" if (large, words) == ("만", "일") and not n else words + large)
    return " ".join(reversed(groups))


def _below_ten_thousand(n: int) -> str:
    digits_of_n = [(int(digit), small) for digit, small in zip(f"{n:04}", reversed(_SMALL), strict=True)]
    return "".join((small if digit == 1 and small else _SINO[digit] + small) for digit, small in digits_of_n if digit)


def native(n: int) -> str:
    """1 <= n < 100, in the form before a counter: 3 -> "세", 20 -> "스무", 21 -> "스물한"."""
    return "스무" if n == 20 else _NATIVE_TENS[n // 10] + _NATIVE_ONES[n % 10]


def digits(written: str) -> str:
    """'007' -> "공공칠"."""
    return "".join(_CODE[int(digit)] for digit in written)


def number(written: str) -> str:
    """'3.14' -> "삼 점 일사"; '05' and numbers that are too long are read digit by digit."""
    whole, point, decimals = written.partition(".")
    is_code = len(whole) > LARGEST_LENGTH or (len(whole) > 1 and whole[0] == "0")
    words = digits(whole) if is_code else sino(int(whole))
    return f"{words} 점 {digits(decimals).replace('공', '영')}" if point else words


def counted(written: str, counter: str) -> str:
    """The number as read before `counter`: ('3', '명') -> "세", ('3', '층') -> "삼", ('6', '월') -> "유"."""
    if written.isdigit() and len(written) < 3 and written[0] != "0":
        n = int(written)
        if counter == "월":
            return _MONTHS.get(n) or sino(n)
        is_age_group = counter == "대" and n % 10 == 0  # 20대: people in their twenties
        if n <= NATIVE.get(counter, 0) and not is_age_group:
            return "첫" if n == 1 and counter in ("번째", "째") else native(n)
    return number(written)


_NUMBER = r"(?<![\d.])\d+(?:\.\d+)?(?!\.?\d)"
_TILDE = "[~∼〜-]"
_COUNTER = "|".join(
    f"{counter}(?!{_FOLLOWED[counter]})" if counter in _FOLLOWED else counter
    for counter in sorted({*NATIVE, *SINO_COUNTERS}, key=len, reverse=True)
)
_COUNTED = rf"(?:(?P<near>{_COUNTER})|\s(?P<far>{_COUNTER})(?=[^가-힣]|$|{_PARTICLE}))"
_UNIT = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
DIVISION = "의|조|항|회|차|호|장|절|편|권|부|대|기|위|과|관"  # after 제
_SCALE = "[십백천]?[만억조]|[십백천]"
_MEASURE = rf"(?:{_SCALE})?\s?(?:{_COUNTER})|{_SCALE}"
_LAST = r"(?:제|마이너스 |(?:[섭화]씨 )?(?:영하 )?|(?:오전|오후)\s?)\d"  # how the second number of a range may begin


def _counter(match: re.Match) -> str:
    return match["near"] or match["far"]


def _counted(match: re.Match) -> str:
    counter = _counter(match)
    return f"{counted(match[1], counter)}{'' if counter == '월' else ' '}{counter}"  # months are single words


def _range(match: re.Match) -> str:
    first, last, counter = match[1], match[2], _counter(match)
    if _is_next(first, last):
        is_native = counter in NATIVE and counter != "시"
        pair = _NATIVE_PAIRS[int(first)] if is_native else sino(int(first)) + sino(int(last))
        return f"{pair} {counter}"
    return f"{counted(first, counter)}에서 {counted(last, counter)} {counter}"


def _score(match: re.Match) -> str:
    first, last = match[1], match[2]
    is_range = len(first) > 3 or len(first) < len(last) or (len(first) == len(last) and first < last)
    return f"{number(first)}{'에서' if is_range else ' 대'} {number(last)}"


def _is_next(first: str, last: str) -> bool:
    return len(last) == 1 and last.isdigit() and last != "0" and first == str(int(last) - 1) != "0"


def _rough(match: re.Match) -> str:
    """Two consecutive digits are read together: "3,4명" -> "3~4명", which is 서너 명."""
    return f"{match[1]}~{match[2]}" if _is_next(match[1], match[2]) else match[0]


def _rough_tens(match: re.Match) -> str:
    first, last = match[1], match[2]
    return f"{number(first)}{number(f'{last}0')} 대" if _is_next(first, last) else match[0]


def _rough_scaled(match: re.Match) -> str:
    """1~2만 원 -> 일이만 원, 5~10억 원 -> 오에서 십억 원."""
    joint = "" if _is_next(match[1], match[2]) else "에서 "
    return f"{number(match[1])}{joint}{number(match[2])}{match[3]}" + (f" {match[4]}" if match[4] else "")


def _scaled(match: re.Match) -> str:
    written, scale, some = match[1], match[2], (match[3] or "").strip()
    words = (scale if written == "1" and scale[0] in "십백천만" else number(written) + scale) + some
    return f"{words} {match[4]}" if match[4] else words


def _date(match: re.Match) -> str:
    is_date = 1 <= int(match[2]) <= 12 and 1 <= int(match[3]) <= 31
    return f"{match[1]}년 {int(match[2])}월 {int(match[3])}일" if is_date else match[0]


def _time(match: re.Match) -> str:
    minutes = f" {int(match[2])}분" if int(match[2]) else ""
    return f"{int(match[1])}시{minutes}" + (f" {int(match[3])}초" if match[3] else "")


def _money(match: re.Match) -> str:
    whole, _, cents = match[2].partition(".")
    if match[1] in "$€" and len(cents) == 2 and not match[3]:
        return f"{whole}{_MONEY[match[1]]}" + (f" {int(cents)}센트" if int(cents) else "")
    return f"{match[2]}{match[3] or ''}{_MONEY[match[1]]}"


def _fraction(match: re.Match) -> str:
    is_long = max(len(match[1]), len(match[2])) > LARGEST_LENGTH
    if is_long or not 0 < int(match[1]) < int(match[2]):
        return match[0].replace("/", " ")
    return f"{number(match[2])}분의 {number(match[1])}"


def _degrees(match: re.Match) -> str:
    scale = "섭씨" if match[4] == "C" else "화씨"
    return f"{'' if match[1] else scale + ' '}{match[1] or ''}{'영하 ' if match[2] else ''}{match[3]}도"


RULES: list[tuple[re.Pattern[str], Callable[[re.Match], str]]] = [
    (re.compile(pattern), replace)
    for pattern, replace in (
        (rf"(?<![\d.])(?:{'|'.join(map(re.escape, _KNOWN))})(?!\d)", lambda m: _KNOWN[m[0]]),
        (
            rf"(?<![\d.])(?:(?:{'|'.join(_DAYS)})(?!\s?[%a-zA-Z°]|[\d점배위차호번명개일])"
            rf"|(?:{'|'.join(_DAYS).replace('·', '[.]')})(?=\s?(?:{_OF_DAYS})))",
            lambda m: _DAYS[m[0].replace(".", "·")],
        ),
        (r"중(?=\d+(?:명|개|건|곳|가지|마리))", lambda m: "중 "),  # 중: among
        (r"(?<![가-힣])([초중고])([1-6])(?!\d)", lambda m: m[1] + number(m[2])),  # years of school
        (r"(?<!\d)([1-4])/4\s?분기", lambda m: f"{number(m[1])}사분기"),
        (r"(?<![\w.)])\.(?=\d)", lambda m: "0."),
        (r"(?:(?<=\d)|(?<=\d[조항호절장편])|(?<=[법령칙]))(?=제\d)", lambda m: " "),
        (r"(?<=\d),(?=\d{3}(?!\d))", lambda m: ""),
        (rf"(?<![\d.])([1-9])\s?(?:{_TILDE}|[,·])\s?([1-9])0\s?대", _rough_tens),
        (rf"(?<![\d.,대])(?<!\d, )([1-9]),\s?([1-9])(?!\s?[편권장])(?={_COUNTED})", _rough),
        (r"(?<![\d-])(\d{4})\s?[-./]\s?(\d{1,2})\s?[-./]\s?(\d{1,2})(?!\d)\.?", _date),
        (
            r"(?<![\d-])\(?0\d{1,2}[-).]\s?\d{3,4}[-.]\d{4}(?![\d-])|(?<![\d-])1[568]\d\d-\d{4}(?![\d-])"
            r"|(?<![\d-])\d+(?:-\d+){2,}(?![\d-])",
            lambda m: " ".join(map(digits, re.findall(r"\d+", m[0]))),
        ),
        (r"(?<![\d:])([01]?\d|2[0-4]):([0-5]\d)(?::([0-5]\d))?(?![\d:])", _time),
        (rf"({_NUMBER})\s?:\s?({_NUMBER})", lambda m: f"{number(m[1])} 대 {number(m[2])}"),
        (
            rf"(섭씨\s?|화씨\s?|영하\s?)?((?<![A-Za-z\d°])[-−])?((?:{_NUMBER}\s?{_TILDE}\s?)?{_NUMBER})\s?°\s?([CF])(?![A-Za-z])",
            _degrees,
        ),
        (rf"(?<![\w.)%°$-])[-−](?=[{''.join(_MONEY)}]?\d)", lambda m: "마이너스 "),
        (rf"(?:US|U\.S\.)?([{''.join(_MONEY)}])\s?({_NUMBER})({_SCALE})?", _money),
        (
            rf"(?:시속\s?)?({_NUMBER})\s?(km/h|mph)",
            lambda m: f"시속 {m[1]}{'킬로미터' if m[2] == 'km/h' else '마일'}",
        ),
        (rf"({_NUMBER}(?:{_SCALE})?)\s?({_UNIT})(?![A-Za-z\d])", lambda m: f"{m[1]}{UNITS[m[2]]}"),
        (
            rf"({_NUMBER})\s?대\s?({_NUMBER})(?!\s?(?:[%/~∼〜여-]|{_SCALE})|{_COUNTED})",
            lambda m: f"{number(m[1])} 대 {number(m[2])}",
        ),
        (
            rf"(?<=\d)(?P<unit>\s?(?:{_MEASURE}))(?:[~∼〜]|\s[~∼〜]\s|\s?-(?=\s?\d+(?P=unit)|[섭화]씨 ))"
            rf"(?={_LAST})",
            lambda m: f"{m['unit']}에서 ",
        ),
        (rf"(?<=\d)\s?{_TILDE}\s?(?=마이너스 )", lambda m: "에서 "),
        (rf"(?<=\d)({_COUNTER}|[십백천]?[만억조])(?=\d)", lambda m: f"{m[1]} "),
        (rf"(?<![가-힣])제\s?(\d+)\s?({DIVISION})", lambda m: f"제{number(m[1])}{'' if m[2] == '의' else ' '}{m[2]}"),
        (r"(?<![가-힣])제(\s?)(\d+)(?![\d.]|\s?(?:명|사람|살|개|가지|시간))", lambda m: f"제{m[1]}{number(m[2])}"),
        (rf"({_NUMBER})\s?{_TILDE}\s?({_NUMBER}){_COUNTED}", _range),
        (rf"({_NUMBER})\s?{_TILDE}\s?({_NUMBER})({_SCALE})(?:\s?({_COUNTER}))?", _rough_scaled),
        (r"(?<![\d/])(\d+)\s?/\s?(\d+)(?![\d/])", _fraction),
        (rf"({_NUMBER})({_SCALE})(여|\s여(?=\s|명))?(?:\s?({_COUNTER}))?", _scaled),
        (rf"({_NUMBER})\s?여\s?({_COUNTER})", lambda m: f"{number(m[1])}여 {m[2]}"),
        (rf"({_NUMBER})\s?번(?={_FOLLOWED['번']})", lambda m: f"{number(m[1])} 번"),
        (rf"({_NUMBER}){_COUNTED}", _counted),
        (rf"({_NUMBER})\s?{_TILDE}\s?({_NUMBER})", _score),
        (r"(?<=\d)\s?\+\s?(?=\d)", lambda m: " 더하기 "),
        (r"(?<=\d)\s?×\s?(?=\d)", lambda m: " 곱하기 "),
        (r"(?<![²³])(?<=[\w)])([²³])(?![²³])", lambda m: " 제곱" if m[1] == "²" else " 세제곱"),
        (r"[²³]+", lambda m: " " + m[0].replace("²", "2").replace("³", "3")),
        (r"\s?&\s?", lambda m: " 앤 "),
        (rf"(?<!\d)(?:{'|'.join(sorted(_EMERGENCY))})(?![\d.])", lambda m: digits(m[0])),
        (r"(?<!\d)\d+(?:\.\d+){2,}", lambda m: " 점 ".join(map(number, m[0].split(".")))),
        (rf"{_NUMBER}|\d+", lambda m: number(m[0])),
    )
]
_LATIN = re.compile(r"(?<![A-Za-z\d°])([1-9]?)((?:[A-Z]\.?){1,5})(?:-?([1-9])(?!\d))?(?![A-Za-z$])")
_ROMAN = dict(zip("II III IV VI VII VIII IX".split(), "이삼사육칠팔구", strict=True))


def _by_letters(match: re.Match) -> str:
    """TV -> 티비, L.A -> 엘에이. A digit next to the letters is read in English: MP3 -> 엠피쓰리, 3D -> 쓰리디."""
    before, letters, after = match[1], match[2].replace(".", ""), match[3]
    if before and letters in UNITS:
        return match[0]
    words = _READ.get(letters) or _ROMAN.get(letters) or "".join(map(LETTERS.__getitem__, letters))
    return (_ENGLISH[int(before)] if before else "") + words + (_ENGLISH[int(after)] if after else "")


def named(text: str) -> str:
    """`text` with the names of its capital letters: "TV" -> "티비"."""
    return _LATIN.sub(_by_letters, text)


def is_known(word: str) -> bool:
    """Whether a word in Latin letters has a reading of its own, in any case: NATO."""
    return word.upper() in _READ


def spoken(text: str, latin: bool) -> str:
    """`text` with numbers and symbols in words; with `latin`, capital letters become their names."""
    if latin and not text.isascii():
        text = named(text)
    if any(map(str.isdigit, text)):
        for pattern, replace in RULES:
            text = pattern.sub(replace, text)
    return text
