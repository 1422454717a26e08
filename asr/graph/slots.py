"""What fills the slots of a language model in one request: for each slot an automaton over words.

    fillings({"<name>": ["john", "mary ann"], "<ticket>": "#JSGF V1.0; grammar t; public <t> = gate <digits>;"}, spoken)

A slot is filled by a list of words and phrases, which may have weights, or by a JSGF grammar (asr.graph.jsgf): its
public rules are what may stand there. Both may refer to the other slots of the request and to the rules of
asr.graph.spoken_rules. The paths of an automaton share the probability that the language model gives its slot.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asr.errors import InputError
from asr.graph.automaton import Automaton
from asr.graph.jsgf import Node, Rules, read, renamed
from asr.graph.lists import LEAST, MOST, list_grammar, numbered, words_of
from asr.graph.phrase_grammar import MOST_STATES, Grammar, grammar_of
from asr.words import is_slot

START_STATES = 3  # of an automaton besides those of its rule
Filler = Iterable[str] | Mapping[str, float] | str | Path


@dataclass(frozen=True)
class Filling:
    """What may stand in a slot. Label k of the automaton is `words[k - 1]`; no arc leads back to its start."""

    automaton: Automaton
    words: list[str]

    def arcs(self) -> Iterator[tuple[str, float, int, int]]:
        """The word, cost, source and target of each arc; the start is state 0."""
        graph = self.automaton
        place = np.arange(graph.num_states)
        place[[0, graph.start]] = place[[graph.start, 0]]
        columns = (graph.olabel, graph.cost, place[graph.source], place[graph.target])
        for label, cost, source, target in zip(*(column.tolist() for column in columns), strict=True):
            yield self.words[label - 1], cost, source, target

    def final_costs(self) -> list[float]:
        final = self.automaton.final.copy()
        final[[0, self.automaton.start]] = final[[self.automaton.start, 0]]
        return final.tolist()


def read_fillers(slots: str | Path) -> dict[str, Rules]:
    """The slots that a JSGF file, or its text, fills: its public rules. Each slot gets the whole grammar."""
    rules = read(slots)
    return dict.fromkeys(rules.public, rules)


def fillings(
    slots: Mapping[str, Filler | Rules], spoken: Rules | None = None, most_states: int = MOST_STATES
) -> dict[str, Filling]:
    """What fills each of `slots`. `spoken`: rules that they may refer to. `most_states`: of all grammars together.

    Raises InputError for what is no slot, an empty list, weights out of range, grammars as `read_grammar` does, and a
    slot that may stay empty.
    """
    rules = dict(spoken.nodes) if spoken else {}
    lists: dict[str, dict[str, float]] = {}
    for name, filler in slots.items():
        if not isinstance(name, str) or not is_slot(name):
            raise InputError(f"{name!r} is not a slot; expected a word in angle brackets, such as <name>")
        if isinstance(filler, str | Path | Rules):
            rules |= _own_rules(name, filler if isinstance(filler, Rules) else read(filler))
        else:
            lists[name] = _weights(name, filler)
    plain = {name: weights for name, weights in lists.items() if not any(map(is_slot, words_of(weights)))}
    if len(plain) < len(slots):  # others may refer to the lists
        rules |= {name: _choice(name, weights) for name, weights in lists.items()}
    by_rules = _of_rules([name for name in slots if name not in plain], rules, most_states)
    return {name: by_rules[name] if name in by_rules else _of_list(plain[name]) for name in slots}


def _of_rules(names: list[str], rules: dict[str, Node], most_states: int) -> dict[str, Filling]:
    grammars: dict[str, Grammar] = {}
    sizes: dict[str, int] = {}
    for name in names:
        grammars[name] = grammar_of(Rules(rules, [name]))
        sizes[name] = START_STATES + _num_states(rules[name], rules, sizes)
        total = sum(sizes[name] for name in grammars)
        if total > most_states:
            raise InputError(f"the grammars of the slots have more than {most_states} states once their rules are "
                             "expanded; make them smaller")  # fmt: skip
    # Each may grow by its share, so that many slots take no longer than one large grammar.
    shares = {name: max(most_states * sizes[name] // total, most_states // 50) for name in grammars}
    return {name: _of_grammar(name, grammar, shares[name]) for name, grammar in grammars.items()}


def _num_states(node: Node, rules: Mapping[str, Node], sizes: dict[str, int]) -> int:
    """The states of a node's automaton before it is made small. `sizes`: of the rules so far."""
    if node.kind == "rule":
        if node.name not in sizes:
            sizes[node.name] = _num_states(rules[node.name], rules, sizes)
        return sizes[node.name]
    own = {"sequence": len(node.parts) - 1, "choice": len(node.parts), "repeat": 2}.get(node.kind, 0)
    return own + sum([_num_states(part, rules, sizes) for part in node.parts])


def _of_list(weights: Mapping[str, float]) -> Filling:
    """A tree of words: faster than by rules."""
    words = words_of(weights)
    return Filling(list_grammar(weights, numbered(words)), words)


def filling_of(name: str, rules: Rules) -> Filling:
    """The slot filled by the rule of its name. Raises InputError as `fillings` does."""
    return _of_grammar(name, grammar_of(Rules(rules.nodes, [name])), MOST_STATES)


def _of_grammar(name: str, grammar: Grammar, most_states: int) -> Filling:
    try:
        automaton = grammar.automaton(numbered(grammar.words), most_states)
    except InputError as e:
        raise InputError(f"the slot {name}: {e}") from None
    if np.isfinite(automaton.final[automaton.start]):
        raise InputError(f"the slot {name} may stay empty; require a word of it, and write the sentences without the "
                         "slot into the text of the language model")  # fmt: skip
    return Filling(automaton, grammar.words)


def _own_rules(slot: str, rules: Rules) -> dict[str, Node]:
    """The rules of the grammar of one slot, named apart from those of other grammars. If a public rule has the name of
    the slot, it alone fills the slot."""

    def name_of(rule: str) -> str:
        return slot if rule == slot else f"<{slot[1:-1]} {rule[1:]}"  # no slot or rule of a request has a space

    def rename(node: Node) -> str:
        return name_of(node.name) if node.kind == "rule" and node.name in rules.nodes else node.name

    own = {name_of(rule): renamed(node, rename) for rule, node in rules.nodes.items()}
    if slot in rules.public:
        return own
    if slot in own:
        raise InputError(f"the grammar of the slot {slot} has a rule {slot} that is not public; make it public")
    parts = tuple(Node("rule", name_of(rule), where=f"the slot {slot}") for rule in rules.public)
    return own | {slot: Node("choice", parts=parts, weights=(1.0,) * len(parts))}


def _weights(slot: str, filler: Any) -> dict[str, float]:
    entries = list(filler) if isinstance(filler, Iterable) else [filler]
    if odd := [entry for entry in entries if not isinstance(entry, str)]:
        raise InputError(f"the slot {slot} is filled by a list of phrases or by a JSGF grammar, not {odd[0]!r}")
    given = filler if isinstance(filler, Mapping) else dict.fromkeys(entries, 1.0)
    weights = {" ".join(entry.split()): weight for entry, weight in given.items()}
    if not weights or "" in weights:
        raise InputError(f"the list of the slot {slot} is empty or has an empty entry; give words or phrases")
    if odd := [entry for entry, weight in weights.items() if not _is_weight(weight)]:
        raise InputError(f"'{odd[0]}' in the slot {slot} has the weight {weights[odd[0]]!r}; it must be a number from "
                         f"{LEAST:g} to {MOST:g}")  # fmt: skip
    return weights


def _is_weight(weight: Any) -> bool:
    return isinstance(weight, int | float | np.number) and bool(LEAST <= weight <= MOST)


def _choice(slot: str, weights: Mapping[str, float]) -> Node:
    """A list as a rule; words in angle brackets are other slots and rules."""
    where = f"the slot {slot}"
    entries = (
        tuple(Node("rule", word, where=where) if is_slot(word) else Node("word", word) for word in entry.split())
        for entry in weights
    )
    parts = tuple(words[0] if len(words) == 1 else Node("sequence", parts=words) for words in entries)
    return Node("choice", parts=parts, weights=tuple(weights.values()))
