"""Parsing phrase grammars in a subset of JSGF, the Java Speech Grammar Format (https://www.w3.org/TR/jsgf/).

    #JSGF V1.0;
    grammar lights;
    public <command> = [please] turn (/2/ on | /1/ off) <what>+;
    <what> = "living room" | kitchen | 거실 {tag};   // tags are ignored

Supported: sequences, alternatives `|` (weights `/w/` on all of them or on none), groups `( )`, options `[ ]`, repeats
`*` and `+`, rules, `<NULL>`, `<VOID>`, tags, comments. Not supported: imports and recursive rules.
"""

import math
import re
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from asr.errors import InputError
from asr.textfiles import lines

_HEADER = re.compile(r"\s*#JSGF[^;\n]*;")
_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/)|(?P<rule><[^<>\s]+>)|(?P<weight>/\s*[\d.]+(?:[eE][-+]?\d+)?\s*/)
    |(?P<tag>\{(?:\\.|[^{}\\])*\})|"(?P<quoted>(?:\\.|[^"\\])*)"|(?P<sign>[;=|*+()\[\]])
    |(?P<word>[^\s;=|*+<>()\[\]{}/"]+)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_CLOSING = {"(": ")", "[": "]"}
_DEEPEST = 100  # nested groups
DEEPEST = 300  # nested rules, groups and repeats


@dataclass(frozen=True)
class Node:
    """A node of a rule's syntax tree.

    `kind`: word or rule (with `name`), sequence, choice (with `weights`), repeat (at least `least` = 0 or 1 times),
    null, void.
    """

    kind: str
    name: str = ""
    parts: tuple["Node", ...] = ()
    weights: tuple[float, ...] = ()
    least: int = 0
    where: str = ""  # file:line:column of a reference to a rule


@dataclass(frozen=True)
class Rules:
    nodes: dict[str, Node]
    public: list[str]


def renamed(node: Node, rename: Callable[[Node], str], depth: int = 0) -> Node:
    """The tree with other names of words and rules; `rename` gets each node that has one.

    Raises InputError if it is deeper than grammars may be.
    """
    if depth > DEEPEST:
        raise InputError(f"groups and repeats are nested more than {DEEPEST} deep; flatten the grammar")
    parts = tuple([renamed(part, rename, depth + 1) for part in node.parts])
    return replace(node, name=rename(node) if node.name else "", parts=parts)


def parse(text: str, name: str) -> Rules:
    """Raises InputError naming file, line and column."""
    return _Parser(text, name).rules()


def read(grammar: str | Path) -> Rules:
    """A file, or the text itself, which begins with `#JSGF`."""
    if str(grammar).lstrip("\ufeff \t\r\n").startswith("#JSGF"):
        return parse(str(grammar).lstrip("\ufeff"), "the grammar")
    return parse("\n".join(line for _, line in lines(grammar, "grammar", "a JSGF file")), str(grammar))


class _Parser:
    def __init__(self, text: str, name: str):
        self.text, self.name, self.depth = text, name, 0
        self.breaks = [found.start() for found in re.finditer("\n", text)]
        header = _HEADER.match(text)
        if not header:
            self.fail(0, "expected '#JSGF V1.0;' and 'grammar NAME;'")
        self.tokens: list[tuple[str, str, int]] = []  # kind, text, place
        place = header.end()
        while place < len(text):
            found = _TOKEN.match(text, place)
            if not found:
                self.fail(place, f"unexpected character '{text[place]}'")
            kind = found.lastgroup or ""
            if kind not in ("space", "tag"):
                self.tokens.append((kind, found[kind], place))
            place = found.end()
        self.tokens.append(("end", "the end of the file", len(text)))
        self.at = 0

    def rules(self) -> Rules:
        self.head()
        nodes: dict[str, Node] = {}
        public = []
        while self.tokens[self.at][0] != "end":
            is_public = self.take_if("public")
            kind, name, place = self.tokens[self.at]
            if kind != "rule":
                self.fail(
                    place, f"expected '<rule> =', found '{name}'" + "; imports are not supported" * (name == "import")
                )
            name = self.local(name)
            if name in nodes:
                self.fail(place, f"the rule {name} is defined twice; keep one definition")
            self.at += 1
            self.expect("=")
            nodes[name] = self.choice()
            self.expect(";")
            public += [name] * is_public
        if not public:
            self.fail(len(self.text), "no rule is public; write 'public' before each rule that may be spoken")
        return Rules(nodes, public)

    def head(self) -> None:
        """`grammar NAME;`: references may qualify a rule by this name or by its last part, as in `<lights.what>`."""
        place = self.tokens[self.at][2]
        if not self.take_if("grammar") or self.tokens[self.at][0] != "word":
            self.fail(place, "expected 'grammar NAME;' after '#JSGF V1.0;'")
        name = self.tokens[self.at][1]
        self.at += 1
        self.expect(";")
        self.own = (name + ".", name.rpartition(".")[2] + ".")

    def local(self, rule: str) -> str:
        return "<" + next((rule[1:].removeprefix(own) for own in self.own if rule[1:].startswith(own)), rule[1:])

    def choice(self) -> Node:
        weights: list[float | None] = []
        parts = []
        begin = self.tokens[self.at][2]
        while True:
            weights.append(self.weight())
            parts.append(self.sequence())
            if not self.take_if("|"):
                break
        given = [w for w in weights if w is not None]
        if given and (len(given) < len(weights) or not 0 < sum(given) < math.inf):
            self.fail(begin, "give a weight /w/ to all alternatives, at least one above 0, or to none")
        return (
            parts[0]
            if len(parts) == 1
            else Node("choice", parts=tuple(parts), weights=tuple(given or [1.0] * len(parts)))
        )

    def weight(self) -> float | None:
        kind, text, place = self.tokens[self.at]
        if kind != "weight":
            return None
        self.at += 1
        try:
            return float(text.strip("/"))
        except ValueError:
            self.fail(place, f"'{text}' is not a weight; expected a number such as /2/")

    def sequence(self) -> Node:
        parts: list[Node] = []
        while (part := self.item()) is not None:
            while self.tokens[self.at][1] in ("*", "+") and self.tokens[self.at][0] == "sign":
                part = Node("repeat", parts=(part,), least=int(self.tokens[self.at][1] == "+"))
                self.at += 1
            parts.append(part)
        if not parts:
            self.fail(self.tokens[self.at][2], f"expected a word, rule or group, found '{self.tokens[self.at][1]}'")
        return parts[0] if len(parts) == 1 else Node("sequence", parts=tuple(parts))

    def item(self) -> Node | None:
        kind, text, place = self.tokens[self.at]
        if kind == "sign" and text in _CLOSING:
            self.at += 1
            self.depth += 1
            if self.depth > _DEEPEST:
                self.fail(place, f"groups are nested more than {_DEEPEST} deep; flatten the grammar")
            inside = self.choice()
            self.expect(_CLOSING[text])
            self.depth -= 1
            skip = Node("null")
            return inside if text == "(" else Node("choice", parts=(inside, skip), weights=(1.0, 1.0))
        if kind not in ("word", "quoted", "rule"):
            return None
        self.at += 1
        if kind == "rule":
            special = {"<NULL>": "null", "<VOID>": "void"}.get(text)
            return Node(special) if special else Node("rule", self.local(text), where=self.where(place))
        if kind == "quoted":
            text = _ESCAPED.sub(r"\1", text)
        words = tuple(Node("word", word) for word in text.split())
        return words[0] if len(words) == 1 else Node("sequence" if words else "null", parts=words)

    def take_if(self, text: str) -> bool:
        found = self.tokens[self.at][0] in ("sign", "word") and self.tokens[self.at][1] == text
        self.at += found
        return found

    def expect(self, sign: str) -> None:
        if not self.take_if(sign):
            self.fail(self.tokens[self.at][2], f"expected '{sign}', found '{self.tokens[self.at][1]}'")

    def where(self, place: int) -> str:
        line = bisect_left(self.breaks, place)  # by bisection, since it is asked for each reference to a rule
        return f"{self.name}:{line + 1}:{place - (self.breaks[line - 1] if line else -1)}"

    def fail(self, place: int, message: str) -> NoReturn:
        raise InputError(f"{self.where(place)}: {message}")
