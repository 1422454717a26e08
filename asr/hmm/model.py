"""The HMM of a language: a topology per phone, and for each of its states a tree that chooses the output by context.

Outputs are those of the net or of the mixtures: 0 is the blank, which no path passes, and each leaf of a tree is one of
the others. In a monophone HMM each tree is one leaf. `hmm.json` holds the whole.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from asr import _decoder
from asr.errors import InputError
from asr.files import atomic_write
from asr.hmm import topology
from asr.literals import parse_json
from asr.states import States, state_name
from asr.tokens import BLANK, Tokens

SIDES = ("left", "right")


@dataclass(frozen=True)
class Split:
    """A question of a tree: is the phone on this side (0 left, 1 right) among `phones`?"""

    side: int
    phones: frozenset[int]
    yes: "Node"
    no: "Node"


Node = Split | int  # a leaf is the number of an output


@dataclass(frozen=True)
class Hmm:
    """Phones are numbered as in `phones`, a token table: 0 is its blank, which stands for the edge of an utterance.

    scale: the factor on all log-probabilities of the HMM in the search, as Kaldi's acoustic scale: neighbouring frames
    are far from independent, so their product is too sure of itself.
    """

    phones: Tokens
    silence: str | None
    steps: tuple[np.ndarray, ...]  # per phone from 1 on, (S + 1, S + 1); see asr.hmm.topology
    trees: tuple[tuple[Node, ...], ...]  # per phone from 1 on, per state
    scale: float = 0.1

    @classmethod
    def monophone(cls, phones: Sequence[str], silence: str | None, states: int = 3, scale: float = 0.1) -> "Hmm":
        """Phones of `states` states from left to right, without contexts. `silence`, if any, is one of `phones`."""
        steps = tuple(topology.silence() if p == silence else topology.left_to_right(states) for p in phones)
        outputs = iter(range(1, 1 + sum(len(s) - 1 for s in steps)))
        trees = tuple(tuple(next(outputs) for _ in range(len(s) - 1)) for s in steps)
        return cls(Tokens([BLANK, *phones]), silence, steps, trees, scale)

    @cached_property
    def silence_id(self) -> int:
        """The number of the silence phone; 0 without one."""
        return self.phones.encode([self.silence])[0] if self.silence else 0

    @cached_property
    def has_contexts(self) -> bool:
        return any(isinstance(tree, Split) for trees in self.trees for tree in trees)

    @property
    def tokens(self) -> Tokens:
        """The table of the outputs, by name; see asr.states."""
        symbols = [BLANK]
        for phone, trees in zip(self.phones.symbols[1:], self.trees, strict=True):
            for state, tree in enumerate(trees):
                leaves = list(_leaves(tree))
                names = [None] if len(leaves) == 1 else range(len(leaves))
                symbols += [state_name(phone, state, leaf) for leaf in names]
        return Tokens(symbols)

    @cached_property
    def states(self) -> States:
        """What the outputs are."""
        found = States.of(self.tokens)
        assert found is not None
        # A question asks about one side, so a phone that follows itself with one output has it between itself, too.
        repeated = [self.outputs(phone, phone, phone)[0] for phone in np.flatnonzero(found.is_single).tolist()]
        found.repeats = np.isin(np.arange(len(found.phone)), repeated)
        return found

    def outputs(self, left: int, phone: int, right: int) -> tuple[int, ...]:
        """The outputs of the states of a phone between two others; the edge of an utterance counts as silence."""
        context = (left or self.silence_id, right or self.silence_id)
        return tuple(_leaf(tree, context) for tree in self.trees[phone - 1])

    def labels(self, left: int, phone: int, right: int) -> list[int]:
        """`outputs` as labels of a graph."""
        return [Tokens.label(output) for output in self.outputs(left, phone, right)]

    @cached_property
    def expander(self) -> object:
        """Puts the HMMs in the place of phones (asr.hmm.graph), and remembers those of phones in context."""
        asks = [False, *(any(isinstance(tree, Split) for tree in of_phone) for of_phone in self.trees)]
        with np.errstate(divide="ignore"):
            costs = [(-self.scale * np.log(steps)).ravel().tolist() for steps in self.steps]
        return _decoder.hmm_expander(asks, [[], *costs])

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}  # without what is cached

    def with_steps(self, steps: Sequence[np.ndarray]) -> "Hmm":
        return replace(self, steps=tuple(steps))

    def plain(self) -> dict[str, Any]:
        """The HMM as plain data, as in `hmm.json`."""
        symbols = self.phones.symbols
        return {
            "silence": self.silence,
            "scale": self.scale,
            "phones": [
                {"phone": p, "steps": s.tolist(), "trees": [_plain(tree, symbols) for tree in trees]}
                for p, s, trees in zip(symbols[1:], self.steps, self.trees, strict=True)
            ],
        }

    def text(self) -> str:
        """The content of `hmm.json`."""
        return json.dumps(self.plain(), ensure_ascii=False)

    def write(self, path: str | Path) -> None:
        with atomic_write(path) as file:
            file.write(self.text())

    @classmethod
    def read(cls, path: str | Path) -> "Hmm":
        """Raises InputError if the file cannot be read or is not what `write` writes."""
        try:
            data = Path(path).read_bytes()
        except OSError as e:
            raise InputError(f"cannot read {path}: {e.strerror}; `asr hmm train` writes it") from e
        return cls.parse(data, path)

    @classmethod
    def parse(cls, data: bytes, where: str | Path) -> "Hmm":
        """The HMM of the bytes of `hmm.json`. Raises InputError naming `where` they are if they are damaged."""
        try:
            return cls.of(parse_json(data.decode("utf-8")))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError, InputError) as e:
            raise InputError(f"{where} is not what `asr hmm train` writes ({e}); train again") from e

    @classmethod
    def of(cls, data: Any) -> "Hmm":
        """The inverse of `plain`. Raises an error of any of the kinds that `read` names in its sentence."""
        phones = Tokens([BLANK, *(entry["phone"] for entry in data["phones"])])
        steps = tuple(_checked(np.array(entry["steps"], float)) for entry in data["phones"])
        trees = tuple(tuple(_node(tree, phones) for tree in entry["trees"]) for entry in data["phones"])
        found = cls(phones, data["silence"], steps, trees, float(data["scale"]))
        leaves = [leaf for of_phone in trees for tree in of_phone for leaf in _leaves(tree)]
        if [len(s) - 1 for s in steps] != [len(of_phone) for of_phone in trees]:
            raise ValueError("a phone has more or fewer trees than states")
        if leaves != list(range(1, len(leaves) + 1)) or not 0 < found.scale < math.inf:
            raise ValueError("its outputs or its scale are out of range")
        if found.silence is not None and found.silence not in phones.symbols[1:]:
            raise ValueError("its silence is not one of its phones")
        return found


def number_leaves(trees: Sequence[Sequence[Node]]) -> tuple[tuple[Node, ...], ...]:
    """The trees with their leaves numbered 1, 2, ... by phone, state and place in the tree."""
    outputs = iter(range(1, 1 << 30))

    def numbered(node: Node) -> Node:
        if isinstance(node, Split):
            return replace(node, yes=numbered(node.yes), no=numbered(node.no))
        return next(outputs)

    return tuple(tuple(numbered(tree) for tree in of_phone) for of_phone in trees)


def _leaf(node: Node, context: tuple[int, int]) -> int:
    while isinstance(node, Split):
        node = node.yes if context[node.side] in node.phones else node.no
    return node


def _leaves(node: Node) -> Iterator[int]:
    if isinstance(node, Split):
        yield from _leaves(node.yes)
        yield from _leaves(node.no)
    else:
        yield node


def _plain(node: Node, symbols: Sequence[str]) -> Any:
    if not isinstance(node, Split):
        return node
    phones = [symbols[phone] for phone in sorted(node.phones)]
    return {SIDES[node.side]: phones, "yes": _plain(node.yes, symbols), "no": _plain(node.no, symbols)}


def _node(data: Any, phones: Tokens) -> Node:
    if not isinstance(data, dict):
        return int(data)
    side = 0 if SIDES[0] in data else 1
    asked = frozenset(phones.encode(data[SIDES[side]]))
    return Split(side, asked, _node(data["yes"], phones), _node(data["no"], phones))


def _checked(steps: np.ndarray) -> np.ndarray:
    is_square = steps.ndim == 2 and len(steps) == steps.shape[1] >= 2
    if not is_square or not (steps >= 0).all() or not np.allclose(steps.sum(1), 1) or steps[0, -1]:
        raise ValueError("the steps of a phone are no probabilities")
    return steps
