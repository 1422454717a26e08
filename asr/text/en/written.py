"""The grammar of written English: july fourth nineteen seventy six -> July 4, 1976; five dollars -> $5.

Numbers of one to nine stay words, and so do first to ninth (The Chicago Manual of Style, 9.3), unless they belong to
an amount, a date, a time, a unit, a decimal or a numbered thing (page 5). "second" and "one" alone never change.
"""

import pynini

from asr.text.en.numbers import UNITS, cardinal, ordinal
from asr.text.en.written_kept import kept, seconds, shared_scales
from asr.text.en.written_letters import addresses, letters
from asr.text.en.written_numbers import (
    CARDINAL,
    CODE_DIGIT,
    DECIMAL,
    DIGIT,
    EARLY_YEAR,
    FIGURE,
    FROM_TEN,
    NUMBER,
    ORDINAL,
    ORDINAL_FROM_TEN,
    ROUND,
    TWO_DIGITS,
    TWO_FIGURES,
    YEAR,
)  # fmt: skip
from asr.text.rewriting import JOINED, SPACE, costing, left_out, mapped, maybe, sentence, without, words, written_as

_OPENING, _CLOSING = "\"'‘“(", "\"'’”).,!?…:;"
_MONTHS = "January February March April May June July August September October November December".split()
_MONTH = mapped((name.lower(), name) for name in _MONTHS)
_CLEAR_MONTH = mapped((name.lower(), name) for name in _MONTHS if name not in ("May", "March"))
_DAYS = words(map(str, range(1, 32)))
_SUFFIXES = pynini.union(*(left_out(suffix) for suffix in ("st", "nd", "rd", "th")))
_NTH = (ORDINAL @ (_DAYS + words(["st", "nd", "rd", "th"]))).optimize()  # fourth -> 4th
_DAY = (_NTH @ (FIGURE ** (1, 2) + _SUFFIXES)).optimize()  # fourth -> 4
_LATER_DAY = (_DAY @ words(map(str, range(3, 32)))).optimize()  # not "may first", "march second"
_MINUTE = (TWO_DIGITS @ (words("012345") + FIGURE)).optimize()
_HOUR = (CARDINAL @ words(map(str, range(1, 13)))).optimize()
_HALF_DAY = mapped(
    (f"{half}{gap}m{point}", f"{half}.m.") for half in "ap" for gap, point in ((" ", ""), ("", ""), (".", "."))
)
_BEFORE_TIME = words("at by until till before after around about from since".split())


_SYMBOLS = ("% °C °F mph km/h m/s Hz kHz MHz GHz km² m² m³ kg g mg km m cm mm mL L kB MB GB TB V W kW MW kWh").split()


def _dates() -> pynini.Fst:
    """july fourth nineteen seventy six -> July 4, 1976; the fourth of july -> the 4th of July; nineteen eighties."""
    year = YEAR | EARLY_YEAR
    of_year = written_as(",") + SPACE + year
    figures = CARDINAL @ _DAYS
    day = _MONTH + SPACE + (_DAY | figures) + of_year | _CLEAR_MONTH + SPACE + _DAY | _MONTH + SPACE + _LATER_DAY
    month = _MONTH + SPACE + year
    day_first = _NTH + SPACE + "of" + SPACE + _MONTH + maybe(SPACE + year)
    tens = mapped((f"{cardinal(n)[:-1]}ies", f"{n}s") for n in range(20, 100, 10))
    century = (TWO_FIGURES @ words(map(str, range(11, 21)))) + JOINED
    hundreds = (TWO_FIGURES @ words(map(str, range(11, 22)))) + pynini.cross(" hundreds", "00s")
    early = words(["in", "since", "year"]) + SPACE + EARLY_YEAR
    return (day | month | day_first | century + tens | hundreds | early).optimize()


def _times() -> pynini.Fst:
    """three fifteen p m -> 3:15 p.m., three o'clock -> 3:00, at three fifteen -> at 3:15."""
    minutes = _HOUR + pynini.cross(" ", ":") + _MINUTE
    whole = _HOUR + pynini.cross(" o'clock", ":00")
    half = SPACE + _HALF_DAY
    clear = SPACE + without(_HALF_DAY, words(["am"]))  # "which one am i"
    quarters = _HOUR + pynini.cross(" ", ":") + mapped([("fifteen", "15"), ("thirty", "30"), ("forty five", "45")])
    at = _BEFORE_TIME + SPACE + minutes + maybe(half)
    return (_HOUR + clear | minutes + half | whole | at | costing(quarters, 0.3)).optimize()


def _money() -> pynini.Fst:
    """five dollars and twenty cents -> $5.20, three point five million dollars -> $3.5 million."""
    kinds = [("$", "dollar", "cent"), ("€", "euro", "cent"), ("£", "pound", "penny|pence")]
    cents = (CARDINAL @ (words("123456789") + FIGURE | written_as("0") + words("123456789"))).optimize()
    amounts = []
    for symbol, name, parts in kinds:
        unit = pynini.union(*(left_out(f" {form}") for form in (name, f"{name}s")))
        small = pynini.union(*(left_out(f" {form}") for part in parts.split("|") for form in (part, f"{part}s")))
        gap = pynini.union(left_out(" and "), JOINED)
        amounts.append(written_as(symbol) + CARDINAL + unit + gap + written_as(".") + cents + small)
        one = mapped([(f"a {name} ", "1."), (f"one {name} ", "1.")])  # a dollar fifty
        amounts.append(written_as(symbol) + one + TWO_FIGURES)
        if name != "pound":  # which is also a weight
            amounts.append(written_as(symbol) + (NUMBER | ROUND) + unit)
    sterling = written_as("£") + (NUMBER | ROUND) + left_out(" pounds") + left_out(" sterling")
    others = [written_as(symbol) + (NUMBER | ROUND) + left_out(f" {name}")
              for symbol, name in (("¥", "yen"), ("₹", "rupees"))]  # fmt: skip
    thousands = CARDINAL @ (pynini.closure(FIGURE | ",") + "," + FIGURE**3)
    others.append(written_as("₩") + (thousands | ROUND) + left_out(" won"))  # not "number ten won"
    few_cents = NUMBER + SPACE + words(["cent", "cents"])
    return pynini.union(*amounts, sterling, *others, few_cents).optimize()


def _measures() -> pynini.Fst:
    """five percent -> 5%, ten to twelve kilograms -> 10 to 12 kg, minus five degrees -> -5 degrees."""
    names: dict[str, str] = {}
    for symbol, (one, many) in UNITS.items():
        if symbol in _SYMBOLS:
            names |= {one.lower(): symbol, many.lower(): symbol}
    spaced = mapped((name, symbol) for name, symbol in names.items() if symbol not in ("%", "°C", "°F"))
    joined = {f" {name}": symbol for name, symbol in names.items() if symbol in ("%", "°C", "°F")}
    close = mapped((joined | {" per cent": "%"}).items())
    signed = maybe(mapped([("minus ", "-")])) + NUMBER
    first = maybe(signed + SPACE + "to" + SPACE)
    degrees = signed + SPACE + words(["degree", "degrees"])
    below_zero = mapped([("minus ", "-")]) + NUMBER
    of_unit = (signed | ROUND) + (SPACE + spaced | close)
    any_unit = shared_scales() + SPACE + pynini.closure(words("abcdefghijklmnopqrstuvwxyz "))
    return without(first + of_unit | first + degrees | below_zero, any_unit).optimize()


def _numbers() -> pynini.Fst:
    """Cardinals from 10 and ordinals from 10th; page five -> page 5."""
    nouns = words("page chapter room section figure table volume gate flight route channel version lesson".split())
    by_two = (DIGIT | TWO_FIGURES) + JOINED + TWO_FIGURES  # flight eleven eighty
    by_one = CODE_DIGIT + (JOINED + CODE_DIGIT) ** (2, 3)  # room two oh two
    versions = DECIMAL + pynini.closure(pynini.cross(" point ", ".") + (CODE_DIGIT | TWO_FIGURES))
    bare = FROM_TEN | costing(YEAR, -0.05) | DECIMAL | ROUND | ORDINAL_FROM_TEN
    of_price = pynini.project(DIGIT, "input") + SPACE + pynini.project(TWO_FIGURES, "input")  # two fifty: stays
    term = pynini.project(DIGIT, "input") | FROM_TEN | DECIMAL | words("abcdefghijklmnopqrstuvwxyz")
    difference = term + SPACE + "minus" + SPACE + term  # not a negative number
    out_of = CARDINAL + SPACE + "out" + SPACE + "of" + SPACE + FROM_TEN
    return (
        costing(bare, 0.2)
        | nouns + SPACE + (CARDINAL | versions | by_two | by_one)
        | _fractions()
        | out_of
        | difference
        | costing(of_price, 0.5)
    ).optimize()


def _fractions() -> pynini.Fst:
    """three quarters -> 3/4, two and two thirds -> 2 2/3."""
    names = {2: "half", 3: "third", 4: "quarter"} | {n: ordinal(n) for n in range(5, 17)} | {20: "twentieth"}
    one = [(f"one {name}", f"1/{n}") for n, name in names.items()] + [("one fourth", "1/4")]
    many = [
        (f"{cardinal(above)} {name}s", f"{above}/{n}")
        for n, name in [*names.items(), (4, "fourth")]
        for above in range(2, min(n, 100))
        if n > 2 and (above, name) != (2, "quarter")  # of a game, of a year
    ]
    plain = mapped(one + many)
    return (maybe(CARDINAL + SPACE + left_out("and ")) + plain).optimize()


def _codes() -> pynini.Fst:
    """five five five one two three four -> 555-1234; nine zero two one zero -> 90210."""
    later, hyphen = JOINED + CODE_DIGIT, pynini.cross(" ", "-")
    three, four = CODE_DIGIT + later**2, CODE_DIGIT + later**3
    local = three + hyphen + four
    area = three | DIGIT + pynini.cross(" hundred", "00")
    phone = local | maybe(pynini.cross("one", "1") + hyphen) + area + hyphen + local
    other = four + later ** (0, 30)
    return (phone | costing(other, 0.1) | mapped([("nine one one", "911"), ("twenty four seven", "24/7")])).optimize()


def grammar() -> pynini.Fst:
    """The grammar of whole sentences, which are in small letters."""
    numbers = _dates() | _times() | _money() | _measures() | _numbers() | _codes() | seconds()
    rewrites = (numbers | letters() | addresses() | kept()).optimize()
    return sentence(rewrites, _OPENING, _CLOSING, "hundred thousand million billion trillion")
