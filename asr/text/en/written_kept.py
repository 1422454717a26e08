"""English words that a grammar of written forms would misread, and that stay: two fifty dollars, at this point one."""

import pynini

from asr.text.en.numbers import UNITS
from asr.text.en.written_numbers import DIGIT, FROM_TEN, TWO_FIGURES
from asr.text.rewriting import SPACE, costing, maybe, words

_TWO = pynini.project(TWO_FIGURES, "input").optimize()
_SMALL = (pynini.project(DIGIT, "input") | _TWO).optimize()
_ONES = "one two three four five six seven eight nine".split()
_LETTERS = pynini.closure(words("abcdefghijklmnopqrstuvwxyz -"))
_UNITS = words(
    sorted(
        {name.lower() for names in UNITS.values() for name in names}
        | set("dollar dollars euro euros cent cents pound pounds percent degree degrees mile miles inch inches".split())
        | {f"{unit}{s}" for unit in "second minute hour day week month year".split() for s in ("", "s")}
    )
)
_GRADES = "third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split()


def shared_scales() -> pynini.Fst:
    """two or three hundred: not 2 or 300."""
    joint = words([" to ", " or "])
    digits = words(f"{a}{j}{b}" for k, a in enumerate(_ONES) for b in _ONES[k + 1 :] for j in (" to ", " or "))
    pairs = (digits | _SMALL + joint + _TWO) + words([" hundred", " thousand"]) + _LETTERS
    large = _SMALL + joint + pynini.project(FROM_TEN, "input")
    return pynini.intersect(pairs.optimize().arcsort(), large.optimize().arcsort()).optimize()


def kept() -> pynini.Fst:
    """What is cheaper as it is than in figures."""
    # $2.50 or $250; 350 degrees; ten or fifteen minutes
    doubtful = _SMALL + SPACE + _TWO + SPACE + _UNITS + maybe(SPACE + "and" + SPACE + _SMALL + " cents")
    point = words("this that the a what which some any my your every no".split()) + SPACE + words(["point"])
    verb = words("i you we they to can could".split()) + SPACE + words(["figure"])
    grade = words("one two may march".split()) + SPACE + words(_GRADES) + SPACE + words("grade grader graders".split())
    other = words("fifty fifty|one third party|one third parties|one half brother|one half sister".split("|"))
    web = words("the a this that any every".split()) + SPACE + words(["dot com", "dot coms"])
    article = words("a hundred|a thousand|a million|a billion|half a million|half a billion".split("|"))
    return (costing(doubtful | verb, -0.01) | shared_scales() | point | grade | other | web | article).optimize()


def seconds() -> pynini.Fst:
    """a twenty second delay, thirty second timeout: not the 22nd, the 32nd."""
    tens = (TWO_FIGURES @ (words("23456789") + "0")).optimize()
    before = words("a an another every each per one".split())
    after = words(
        "ad ads break breaks clip clips commercial countdown delay delays interval intervals limit pause pauses "
        "penalty rule silence spot timeout timer video videos warning window".split()
    )
    second = tens + SPACE + words(["second"])
    return costing(before + SPACE + second | maybe(before + SPACE) + second + SPACE + after, -0.05).optimize()
