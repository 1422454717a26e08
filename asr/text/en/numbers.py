"""English numbers, amounts, dates and abbreviations written out as they are spoken: "$5.20" -> "five dollars and
twenty cents". American usage: "one hundred five", "July fourth". `RULES` are applied in order; the last one reads all
digits that the others left.
"""

import re
from collections.abc import Callable
from functools import partial

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "- - twenty thirty forty fifty sixty seventy eighty ninety".split()
_SCALES = ("", "thousand", "million", "billion", "trillion", "quadrillion", "quintillion")
_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth",
}  # fmt: skip
LARGEST_LENGTH = 3 * len(_SCALES)  # longer numbers are read digit by digit


def cardinal(n: int) -> str:
    """0 <= n < 10^21: 1105 -> "one thousand one hundred five"."""
    if n < 20:
        return _ONES[n]
    groups = []
    for scale in _SCALES:
        n, group = divmod(n, 1000)
        if group:
            groups.append(f"{_below_thousand(group)} {scale}".strip())
    return " ".join(reversed(groups))


def _below_thousand(n: int) -> str:
    hundreds, rest = divmod(n, 100)
    words = [f"{_ONES[hundreds]} hundred"] if hundreds else []
    if rest >= 20:
        words.append(_TENS[rest // 10])
        rest %= 10
    return " ".join([*words, _ONES[rest]] if rest else words)


def ordinal(n: int) -> str:
    """21 -> "twenty first"."""
    *head, last = cardinal(n).split()
    if last in _ORDINALS:
        last = _ORDINALS[last]
    else:
        last = f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th"
    return " ".join([*head, last])


def year(n: int) -> str:
    """1000 <= n < 10000: 1984 -> "nineteen eighty four", 1905 -> "nineteen oh five", 2007 -> "two thousand seven"."""
    century, rest = divmod(n, 100)
    if century % 10 == 0 and rest < 10:
        return cardinal(n)
    return f"{cardinal(century)} {_two_digits(rest) if rest else 'hundred'}"


def _two_digits(n: int) -> str:
    return cardinal(n) if n >= 10 else f"oh {_ONES[n]}"


def digits(written: str) -> str:
    """'007' -> "zero zero seven"."""
    return " ".join(_ONES[int(digit)] for digit in written)


def number(written: str) -> str:
    """'1,234.50' -> "one thousand two hundred thirty four point five zero"; '007' is read digit by digit."""
    whole, point, decimals = written.replace(",", "").partition(".")
    is_code = len(whole) > LARGEST_LENGTH or (len(whole) > 1 and whole[0] == "0")
    words = digits(whole) if is_code else cardinal(int(whole))
    return f"{words} point {digits(decimals)}" if point else words


def _plural(words: str) -> str:
    return f"{words[:-1]}ies" if words.endswith("y") else f"{words}es" if words.endswith("x") else f"{words}s"


_WHOLE = r"(?:\d{1,3}(?:,\d{3}){1,7}(?!,?\d)|\d+)"
_NUMBER = rf"{_WHOLE}(?:\.\d+)?(?!\.?\d)"
_MONTHS = "January February March April May June July August September October November December".split()
_MONTH = "|".join(form for month in _MONTHS for form in (month, month.upper()))
_DASH = "[-–—−~]"
_DAY_HALF = r"\s?([AaPp])(?:\.\s?[Mm]\.|[Mm]\b)"

UNITS = {
    "%": ("percent", "percent"), "°C": ("degree Celsius", "degrees Celsius"),
    "°F": ("degree Fahrenheit", "degrees Fahrenheit"), "°": ("degree", "degrees"),
    "mph": ("mile per hour", "miles per hour"),
    "km/h": ("kilometer per hour", "kilometers per hour"), "m/s": ("meter per second", "meters per second"),
    "ft": ("foot", "feet"), "lb": ("pound", "pounds"), "lbs": ("pound", "pounds"), "hz": ("hertz", "hertz"),
    "Hz": ("hertz", "hertz"), "kHz": ("kilohertz", "kilohertz"), "MHz": ("megahertz", "megahertz"),
    "GHz": ("gigahertz", "gigahertz"), "km²": ("square kilometer", "square kilometers"),
    "m²": ("square meter", "square meters"), "m³": ("cubic meter", "cubic meters"),
    "$": ("dollar", "dollars"), "¢": ("cent", "cents"), "€": ("euro", "euros"), "£": ("pound", "pounds"),
} | {
    short: (name, f"{name}s")
    for short, name in {
        "kg": "kilogram", "g": "gram", "mg": "milligram", "km": "kilometer", "m": "meter", "cm": "centimeter",
        "mm": "millimeter", "ml": "milliliter", "mL": "milliliter", "L": "liter", "l": "liter", "oz": "ounce",
        "mi": "mile",
        "yd": "yard", "hr": "hour", "hrs": "hour", "min": "minute", "mins": "minute", "sec": "second", "secs": "second",
        "ms": "millisecond", "kB": "kilobyte", "KB": "kilobyte", "MB": "megabyte", "GB": "gigabyte", "TB": "terabyte",
        "V": "volt", "W": "watt", "kW": "kilowatt", "MW": "megawatt", "kWh": "kilowatt hour", "USD": "dollar",
    }.items()
}  # fmt: skip
_UNIT = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
_MONEY = {
    "$": ("dollar", "dollars", "cent", "cents"), "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"), "¥": ("yen", "yen", "sen", "sen"), "₩": ("won", "won", "jeon", "jeon"),
    "₹": ("rupee", "rupees", "paisa", "paise"),
}  # fmt: skip
_CURRENCY = f"[{''.join(_MONEY)}]"
_MEASURE = rf"(?::[0-5]\d|\s?(?:{_UNIT}|[mb]illion|trillion|thousand)|{_DAY_HALF.replace('([AaPp])', '[AaPp]')})"
_COUNTABLE = "people|users|customers|viewers|subscribers|members|voters|jobs|homes|copies|dollars?|pounds|euros"
_SHORT_SCALES = {"k": "thousand", "m": "million", "mn": "million", "b": "billion", "bn": "billion", "t": "trillion"}
_KNOWN_PAIRS = {"9/11", "24/7", "50/50", "20/20"}  # not fractions


def _time(match: re.Match) -> str:
    hour, minute, second, half = int(match[1]), int(match[2]), match[3], match[4]
    words = [cardinal(hour)]
    if minute:
        words.append(_two_digits(minute))
    elif not (hour or second or half):
        return "midnight"
    elif not half:
        words.append("o'clock" if 1 <= hour <= 12 else "hundred")
    if second:
        words.append(f"and {number(str(int(second)))} seconds")
    return " ".join([*words, f"{half.lower()} m"] if half else words)


def _date(
    month: str, day: str, of_year: str | None, form: str = "{month} {day}", first: str | None = None
) -> str | None:
    """ "July fourth nineteen seventy six". In "July 4-6", `first` is 4, `day` is 6. None if a day is out of range."""
    if not all(1 <= int(one) <= 31 for one in (day, first or day)):
        return None
    days = (f"{ordinal(int(first))} to " if first else "") + ordinal(int(day))
    return form.format(month=month, day=days) + (f" {year(int(of_year))}" if of_year else "")


def _slash_date(match: re.Match) -> str:
    month, day = sorted((int(match[1]), int(match[2]))) if int(match[1]) > 12 else (int(match[1]), int(match[2]))
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return match[0].replace("/", " ")
    of_year = year(int(match[3])) if len(match[3]) == 4 and match[3] >= "1000" else _two_digits(int(match[3][-2:]))
    return f"{_MONTHS[month - 1]} {ordinal(day)} {of_year}"


def _iso_date(match: re.Match) -> str:
    date = _date(_MONTHS[int(match[2]) - 1], match[3], match[1] if match[1] >= "1000" else None)
    return date or match[0]


def _money(match: re.Match) -> str:
    one, many, cent, cents = _MONEY[match[1]]
    first, amount, scale = match[2], match[3], match[4]
    whole, _, decimals = amount.partition(".")
    if len(decimals) == 2 and not scale and not first:
        parts = [_amount(whole, one, many)] if int(whole.replace(",", "")[:LARGEST_LENGTH]) or decimals == "00" else []
        parts += [_amount(str(int(decimals)), cent, cents)] if decimals != "00" else []
        return " and ".join(parts)
    scale = _SHORT_SCALES.get(scale.lower(), scale) if scale else ""
    words = " ".join(filter(None, [f"{number(first)} to" if first else "", number(amount), scale]))
    return f"{words} {one if words == 'one' or _describes(match) else many}"


def _describes(match: re.Match) -> bool:
    """Whether the amount describes a noun after it, as in "a $5 bill", "an 8 kg bag"; its unit is then singular."""
    before = match.string[max(match.start() - 3, 0) : match.start()]
    return bool(
        re.search(r"\b[Aa]n?\s$", before) and re.match(r"\s?[a-z]", match.string[match.end() : match.end() + 2])
    )


def _amount(written: str, one: str, many: str) -> str:
    words = number(written)
    return f"{words} {one if words == 'one' else many}"


def _unit(match: re.Match) -> str:
    first = f"{number(match[1])} to " if match[1] else ""
    one, many = UNITS[match[3]]
    return first + _amount(match[2], one, one if _describes(match) else many)


def _fraction(match: re.Match) -> str:
    whole, above, below = match[1], int(match[2]), int(match[3])
    unit = match[4]
    if f"{match[2]}/{match[3]}" in _KNOWN_PAIRS or not 0 < above < below:
        return match[0].replace("/", " ")
    if below in (10, 100) and not whole and not unit:
        return f"{cardinal(above)} out of {cardinal(below)}"
    name = {2: "half", 4: "quarter"}.get(below, ordinal(below))
    if above > 1:
        name = "halves" if below == 2 else f"{name}s"
    words = (f"{number(whole)} and " if whole else "") + f"{cardinal(above)} {name}"
    return f"{words} {UNITS[unit][1 if whole else 0]}" if unit else words


def _decade(match: re.Match) -> str:
    n = int(match[1])
    return _plural(year(n) if n >= 1000 else cardinal(n))


RULES: list[tuple[re.Pattern[str], Callable[[re.Match], str]]] = [
    (re.compile(pattern), replace)
    for pattern, replace in (
        (r"(?<=\d) , (?=\d{3}(?!\d))", lambda m: ","),  # from tokenised text
        (r"\b[Nn]o\.\s?(?=\d)|№\s?|#\s?(?=\d)", lambda m: "number "),
        (
            rf"(?<=\d)({_MEASURE})(?:[-–−~]|\s{_DASH}\s(?={_CURRENCY}?[\d.,:]+{_MEASURE}))(?={_CURRENCY}?\d)",
            lambda m: f"{m[1]} to ",
        ),
        (rf"(?<![\d:.,])(1[0-2]|0?[1-9])\.([0-5]\d)(?={_DAY_HALF})", lambda m: f"{m[1]}:{m[2]}"),
        (r"(?<=\d)\s?m\.p\.h\b\.?", lambda m: " mph"),
        (rf"(?<=\d)m(?=\s(?:{_COUNTABLE})\b)", lambda m: " million"),
        (rf"(?<={_CURRENCY})\.(?=\d)", lambda m: "0."),
        (
            rf"({_CURRENCY})(\d+)[\s-](\d{{1,2}}/\d{{1,2}})(?![\d/])(?:(\s[mb]illion)s?\b)?",
            lambda m: f"{m[2]} {m[3]}{m[4] or ''} {_MONEY[m[1]][1]}",
        ),
        (rf"(?<=\d)[-–−~](?=(?:{_MONTH})\s\d)", lambda m: " to "),
        (
            rf"(?<![\d:.,-])(1[0-2]|0?[1-9])\s?{_DASH}\s?(?=(?:1[0-2]|0?[1-9])(?::[0-5]\d)?{_DAY_HALF})",
            lambda m: f"{m[1]} to ",
        ),
        (rf"(?<![\d:.])([01]?\d|2[0-4])\s?:\s?([0-5]\d)(?::([0-5]\d))?(?![\d:])(?:{_DAY_HALF})?", _time),
        (rf"(?<![\d:.,])(1[0-2]|0?[1-9]){_DAY_HALF}", lambda m: f"{number(str(int(m[1])))} {m[2].lower()} m"),
        (
            rf"\b({_MONTH})\s+(?:(\d{{1,2}})\s?{_DASH}\s?)?(\d{{1,2}})(?:st|nd|rd|th)?\b(?![.,/–-]?\d)"
            r"(?:\s*,?\s*(\d{4})\b(?!,\d))?",
            lambda m: _date(m[1], m[3], _real_year(m[4]), first=m[2]) or m[0],
        ),
        (
            rf"\b({_MONTH})\s+(\d{{1,2}}),([12]\d{{3}})\b",
            lambda m: _date(m[1], m[2], m[3]) or m[0],
        ),
        (
            rf"(?=[\dTt])(?:\b[Tt]he\s+)?(?<![\d,.$-])(?:(\d{{1,2}})\s?{_DASH}\s?)?(?<!\d)(\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?"
            rf"({_MONTH})\b(?:,?\s*([12]\d{{3}})\b)?",
            lambda m: _date(m[3], m[2], m[4], "the {day} of {month}", m[1]) or m[0],
        ),
        (r"(?<![\d-])(\d{4})-(0?[1-9]|1[0-2])-(0?[1-9]|[12]\d|3[01])(?![\d-])", _iso_date),
        (r"(?<![\d/])(\d{1,2})/(\d{1,2})/(\d{4}|\d{2})(?![\d/])", _slash_date),
        (rf"(?<=\d)\s?{_DASH}\s?(?={_CURRENCY}\d)", lambda m: " to "),
        (rf"(?<![\w.)%°$\-–—−])[-−](?={_CURRENCY}?\.?\d)", lambda m: "minus "),
        (
            rf"(?:\bUS)?(?<!\d)({_CURRENCY})\s?(?:({_NUMBER}){_DASH})?({_NUMBER})"
            r"(?:[\s-]?((?:hundred|thousand|million|billion|trillion)(?=s?\b)|(?:[kKmMbBtT]|bn|mn)\b))?",
            _money,
        ),
        (
            r"(?=[\d(+])(?:(?<![\d-])(?:\+?\d{1,3}[-. ])?(?:\(\d{3}\)\s?|\d{3}[-. ])\d{3}[-. ]\d{4}(?![\d-])"
            r"|\+\d{1,3}(?:[ -]\d{2,4}){2,4}(?![\d-])|\+\d{8,15}(?![\d.,])"
            r"|(?<![\d.,-])[2-9]\d{9}(?<!000)(?![\d.,-]*\d)"
            r"|(?<![\d-])\d{3}-\d{4}(?![\d-])|(?<![\d-])\d+(?:-\d+){2,}(?![\d-]))",
            lambda m: ", ".join(map(digits, re.findall(r"\d+", m[0]))),
        ),
        (rf"(?<![\d.])(?<!\d/)(?:({_NUMBER})\s?{_DASH}\s?)?(?<!\d)({_NUMBER})[\s-]?({_UNIT})(?![A-Za-z\d/])", _unit),
        (rf"(?<![\d,.])(?<!\d/)({_WHOLE})(?:st|nd|rd|th|ST|ND|RD|TH)\b", lambda m: _ordinal(m[1])),
        (r"(?<![\d.,])(?:['’]\s?)?((?:1[1-9]|20)\d0|[2-9]0)['’]?s\b", _decade),
        (r"(?<![\d.,])(\d{1,4})s\b", lambda m: _plural(number(m[1]))),
        (r"(?<!\w)['’](\d\d)(?![\d'’])", lambda m: _two_digits(int(m[1]))),
        (
            rf"(?<![\d/.,])(?:(\d{{1,6}})[\s-])?(?<!\d)(\d{{1,3}})[/⁄](\d{{1,3}})(?![\d/⁄])(?:(?:st|nd|rd|th)s?\b)?"
            rf"(?:[\s-]?({_UNIT})(?![A-Za-z\d/]))?",
            _fraction,
        ),
        (r"(?=[²³])(?<![²³])(?<=[\w)])([²³])(?![²³])", lambda m: " squared" if m[1] == "²" else " cubed"),
        (r"[²³]+", lambda m: " " + m[0].replace("²", "2").replace("³", "3")),
        (r"(?<!\d)\d+(?:\.\d+){2,}", lambda m: " point ".join(map(number, m[0].split(".")))),
        (rf"(?<=\d)\s?{_DASH}\s?(?=\d)", lambda m: " to "),
        (r"(?<=\d)\s?[x×]\s?(?=\d)", lambda m: " by "),
        (r"(?<=\d)\s?\+\s?(?=\d)", lambda m: " plus "),
        (r"(?<![\d.,])(?:1[1-9]|20)\d\d(?![.,]?\d)", lambda m: year(int(m[0]))),
        (rf"(?<!\d){_NUMBER}|\d+", lambda m: _any_number(m)),
    )
]


def _real_year(written: str | None) -> str | None:
    return written if written and written >= "1000" else None


def _ordinal(written: str) -> str:
    plain = written.replace(",", "")
    return ordinal(int(plain)) if len(plain) <= LARGEST_LENGTH else digits(plain)


def _any_number(match: re.Match) -> str:
    """Reads any digits; ".5" begins with "point"."""
    before = match.string[max(match.start() - 2, 0) : match.start()]
    return ("point " if before[-1:] == "." and not before[:-1].isalnum() else "") + number(match[0])


def spoken(text: str) -> str:
    """`text` with all numbers in words."""
    for pattern, replace in RULES:
        text = pattern.sub(partial(_apart, replace), text)
    return text


def _apart(replace: Callable[[re.Match], str], match: re.Match) -> str:
    """The replacement, separated by spaces from adjacent letters: F16, 3D."""
    words, text = replace(match), match.string
    before = " " if words[:1].isalnum() and text[max(match.start() - 1, 0) : match.start()].isalnum() else ""
    return before + words + (" " if words[-1:].isalnum() and text[match.end() : match.end() + 1].isalnum() else "")
