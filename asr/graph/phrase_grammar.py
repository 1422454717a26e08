"""Phrase grammars as G: the sentences that a JSGF file (asr.graph.jsgf) allows, with their probabilities.

An option `[x]` is taken with probability 1/2, a repeat continues with probability 1/2, and alternatives have
probabilities in proportion to their weights. If a sentence can be parsed in two ways, the search takes the more
probable one.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pywrapfst

from asr.errors import InputError
from asr.graph.automaton import Automaton
from asr.graph.jsgf import DEEPEST, Node, Rules, read

MOST_STATES = 1_000_000
MOST_ADDED = 50_000  # states that determinization may add beyond doubling their number
SKIPS = 4  # ways to pass over optional parts, counted from each place of the grammar, for each state allowed


@dataclass(frozen=True)
class Grammar:
    rules: Rules
    words: list[str]

    def automaton(self, labels: Mapping[str, int], most_states: int = MOST_STATES) -> Automaton:
        """G over the words that `labels` numbers 1..W; costs are negative natural logs.

        Raises InputError if the grammar allows no sentence or only the empty one, or if it is too large.
        """
        builder = _Builder(self.rules, labels, most_states)
        start, end = builder.state(), builder.state()
        share = math.log(len(self.rules.public))
        for name in self.rules.public:
            middle = builder.state()
            builder.arc(start, 0, share, middle)
            builder.add(self.rules.nodes[name], middle, end)
        builder.require_few_skips()
        fst = builder.openfst(start, end)
        return _with_fresh_start(_compact(fst, min(most_states, MOST_ADDED)))


def read_grammar(grammar: str | Path) -> Grammar:
    """Parse a JSGF file, or a text that begins with `#JSGF`. Raises InputError naming file, line and column."""
    return grammar_of(read(grammar))


def grammar_of(rules: Rules) -> Grammar:
    """The grammar of the public rules. Raises InputError for a rule that is undefined or recursive."""
    words: dict[str, None] = {}
    for name in rules.public:
        _collect(rules, rules.nodes[name], (name,), words, {}, 0)
    if not words:
        raise InputError(f"the grammar of {', '.join(rules.public)} has no words")
    return Grammar(rules, list(words))


def _collect(
    rules: Rules, node: Node, above: tuple[str, ...], words: dict[str, None], heights: dict[str, int], depth: int
) -> int:
    """Add the words below a node to `words`; returns the node's height.

    Raises InputError for an undefined or recursive rule, and for rules nested too deeply.
    """
    if node.kind == "word":
        words[node.name] = None
    height = 0
    if node.kind == "rule":
        if node.name in above:
            raise InputError(f"{node.where}: the rule {node.name} is recursive: {' '.join(above)}; use a repeat * or +")
        if node.name not in rules.nodes:
            raise InputError(f"{node.where}: the rule {node.name} is not defined")
        if node.name not in heights and depth < DEEPEST:
            within = (*above, node.name)
            heights[node.name] = _collect(rules, rules.nodes[node.name], within, words, heights, depth + 1)
        height = 1 + heights.get(node.name, 0)
    if depth + height >= DEEPEST:
        raise InputError(f"rules and groups below {above[0]} are nested more than {DEEPEST} deep; flatten the grammar")
    for part in node.parts:
        height = max(height, 1 + _collect(rules, part, above, words, heights, depth + 1))
    return height


class _Builder:
    """Builds a nondeterministic automaton with epsilon arcs (Thompson 1968)."""

    def __init__(self, rules: Rules, labels: Mapping[str, int], most_states: int):
        self.rules, self.labels, self.most_states = rules, labels, most_states
        self.num_states = 0
        self.arcs: list[tuple[int, int, float, int]] = []  # source, label, cost, target

    def state(self) -> int:
        self.num_states += 1
        if self.num_states > self.most_states:
            raise InputError(
                f"the grammar has more than {self.most_states} states once its rules are expanded; make it smaller"
            )
        return self.num_states - 1

    def arc(self, source: int, label: int, cost: float, target: int) -> None:
        self.arcs.append((source, label, cost, target))

    def add(self, node: Node, start: int, end: int) -> None:
        """Add paths from `start` to `end` for all expansions of a node."""
        if node.kind == "word":
            self.arc(start, self.labels[node.name], 0.0, end)
        elif node.kind == "null":
            self.arc(start, 0, 0.0, end)
        elif node.kind == "rule":
            self.add(self.rules.nodes[node.name], start, end)
        elif node.kind == "sequence":
            for part in node.parts[:-1]:
                middle = self.state()
                self.add(part, start, middle)
                start = middle
            self.add(node.parts[-1], start, end)
        elif node.kind == "choice":
            total = sum(node.weights)
            for part, weight in zip(node.parts, node.weights, strict=True):
                if weight > 0:
                    middle = self.state()
                    self.arc(start, 0, math.log(total) - math.log(weight), middle)  # the quotient may be 0
                    self.add(part, middle, end)
        elif node.kind == "repeat":
            self._repeat(node, start, end)

    def _repeat(self, node: Node, start: int, end: int) -> None:
        again, turn = self.state(), self.state()
        half = math.log(2)
        if node.least:
            self.arc(start, 0, 0.0, turn)
        else:
            self.arc(start, 0, 0.0, again)
        self.add(node.parts[0], turn, again)
        self.arc(again, 0, half, turn)
        self.arc(again, 0, half, end)

    def require_few_skips(self) -> None:
        """Raises InputError before the removal of epsilons makes an arc for each of too many skips: in a run of n
        options, each can be followed by any later one."""
        after = defaultdict(list)
        for source, label, _, target in self.arcs:
            if label == 0:
                after[source].append(target)
        skips, most = 0, SKIPS * self.most_states
        for place in {0, *(target for _, label, _, target in self.arcs if label)}:
            reached, pending = {place}, [place]
            while pending:
                fresh = [state for state in after[pending.pop()] if state not in reached]
                reached.update(fresh)
                pending += fresh
                skips += len(fresh)
                if skips > most:
                    raise InputError(
                        f"the grammar has more than {most} ways to pass over optional words and repeats; "
                        "shorten its runs of options"
                    )

    def openfst(self, start: int, end: int) -> pywrapfst.MutableFst:
        source, label, cost, target = (np.array(column) for column in zip(*self.arcs, strict=True))
        final = np.where(np.arange(self.num_states) == end, 0.0, np.inf)
        return Automaton.from_arcs(start, final, source, label, label, cost, target).to_openfst()


def _compact(fst: pywrapfst.MutableFst, most_added: int) -> Automaton:
    """Remove epsilons, determinize and minimize. Costs are encoded in the labels, so determinization terminates."""
    fst = fst.rmepsilon().connect()
    if fst.start() < 0:
        raise InputError("the grammar allows no sentence; does every alternative contain <VOID>?")
    mapper = pywrapfst.EncodeMapper("standard", True, True)
    most = 2 * fst.num_states() + most_added  # n states may become 2^n
    fst = pywrapfst.determinize(fst.encode(mapper), nstate=most + 1)
    if fst.num_states() > most:
        raise InputError(f"the grammar has more than {most} states once it is deterministic; make it smaller")
    fst = fst.minimize().decode(mapper)
    if fst.num_arcs(fst.start()) == 0:
        raise InputError("the grammar allows only the empty sentence; add words")
    return Automaton.from_openfst(fst)


def _with_fresh_start(graph: Automaton) -> Automaton:
    """The same grammar with a start state that no arc enters: a copy of the old one, if needed."""
    if not (graph.target == graph.start).any():
        return graph
    copied = graph.source == graph.start
    columns = [np.concatenate([c, c[copied]]) for c in (graph.ilabel, graph.olabel, graph.cost, graph.target)]
    source = np.concatenate([graph.source, np.full(copied.sum(), graph.num_states)])
    final = np.append(graph.final, graph.final[graph.start])
    return Automaton.from_arcs(graph.num_states, final, source, *columns)
