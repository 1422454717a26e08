"""Slots that every recogniser can fill by itself: spoken digits, letters, codes and numbers, as rules of JSGF.

If the text of a language model has one of these slots, as in "enter `<digits>`", its words are found without a request.
Grammars that fill other slots may refer to the rules: `<ticket> = gate <letter> <digits>;`.
"""

from collections.abc import Container

from asr.graph.jsgf import Node, Rules, parse, renamed
from asr.text.ko.numbers import LETTERS

_HEAD = "#JSGF V1.0; grammar spoken;\n"
_RUNS = """
public <digits> = <digit>+;
public <letters> = <letter>+;
public <code> = (<letter> | <digit>)+;
"""
_EN = """
public <digit> = zero | oh | one | two | three | four | five | six | seven | eight | nine;
public <letter> = a | b | c | d | e | f | g | h | i | j | k | l | m | n | o | p | q | r | s | t | u | v | w | x | y | z;
<ones> = one | two | three | four | five | six | seven | eight | nine;
<teens> = ten | eleven | twelve | thirteen | fourteen | fifteen | sixteen | seventeen | eighteen | nineteen;
<tens> = twenty | thirty | forty | fifty | sixty | seventy | eighty | ninety;
<below_hundred> = <ones> | <teens> | <tens> [<ones>];
<below_thousand> = <below_hundred> | <ones> hundred [[and] <below_hundred>];
public <number> = zero | <below_thousand> | <below_thousand> thousand [[and] <below_thousand>];
"""
_KO = f"""
public <digit> = 공 | 영 | 일 | 이 | 삼 | 사 | 오 | 육 | 칠 | 팔 | 구;
public <letter> = {" | ".join(LETTERS.values())};
"""  # numbers are not words of their own in Korean: 이십삼, 이십 삼
_TEXTS = {"en": _HEAD + _EN + _RUNS, "ko": _HEAD + _KO + _RUNS}
NAMES = frozenset(name for text in _TEXTS.values() for name in parse(text, "the spoken rules").public)


def spoken_rules(lang: str, known: Container[str] = ()) -> Rules:
    """The rules of English (`en`) or Korean (`ko`), in capitals where only those are `known` words."""
    rules = parse(_TEXTS[lang], "the spoken rules")

    def as_known(node: Node) -> str:
        is_upper = node.kind == "word" and node.name not in known and node.name.upper() in known
        return node.name.upper() if is_upper else node.name

    return Rules({name: renamed(node, as_known) for name, node in rules.nodes.items()}, rules.public)
