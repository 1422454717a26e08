"""Graphs of a word list or a grammar that a caller gives. They are built in memory, in milliseconds.

A file of a word list has one entry per line, of one or more words; a weight other than 1 follows after a tab:

    yes
    turn on the light	2.5

An utterance may match no entry: `asr.search.searchers` describes how it is rejected.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from asr.errors import InputError
from asr.graph import pack
from asr.graph.automaton import Automaton
from asr.graph.lexicon_fst import spell
from asr.graph.minimize import minimize
from asr.graph.opened import Graph
from asr.graph.spelling_trees import Forest
from asr.graph.topology import Expansion
from asr.text.lexicon import Lexicon, name_some
from asr.textfiles import lines
from asr.tokens import BLANK, SPACE, Tokens

LEAST, MOST = 1e-9, 1e9  # range of weights


def read_list(path: str | Path) -> dict[str, float]:
    """The entries of a file and their weights.

    Raises InputError naming the file, and the line of an empty entry, of an invalid weight, or of an entry that an
    earlier line gives another weight.
    """
    entries: dict[str, float] = {}
    for number, line in lines(path, "list", "one word or phrase per line"):
        if line.strip():
            entry, weight = _parse(line, f"{path}:{number}")
            if entries.setdefault(entry, weight) != weight:
                raise InputError(f"{path}:{number}: '{entry}' has the weight {weight:g} here and another above")
    if not entries:
        raise InputError(f"the list {path} is empty; write one word or phrase per line")
    return entries


def _parse(line: str, where: str) -> tuple[str, float]:
    entry, tab, weight = line.partition("\t")
    entry = " ".join(entry.split())
    if not entry:
        raise InputError(f"{where}: expected 'entry' or 'entry<TAB>weight'")
    try:
        value = float(weight) if tab and weight.strip() else 1.0
    except ValueError:
        raise InputError(f"{where}: the weight '{weight}' of '{entry}' is not a number") from None
    if not LEAST <= value <= MOST:
        raise InputError(f"{where}: '{entry}' has the weight {value:g}; it must be from {LEAST:g} to {MOST:g}")
    return entry, value


def list_grammar(entries: Mapping[str, float], labels: Mapping[str, int]) -> Automaton:
    """G: exactly one of the entries, with a probability in proportion to its weight. It is a tree of words whose costs
    are on the arcs where entries diverge.

    Raises InputError for a weight out of range.
    """
    if odd := next((e for e, weight in entries.items() if not LEAST <= weight <= MOST), None):
        raise InputError(f"the entry '{odd}' has the weight {entries[odd]:g}; it must be from {LEAST:g} to {MOST:g}")
    total = sum(entries.values())
    children: dict[tuple[int, int], int] = {}  # (state, label) -> state
    mass, final = [total], [0.0]  # by state: the weights below it, and that of the entry that ends there
    for entry, weight in entries.items():
        state = 0
        for word in entry.split():
            state = children.setdefault((state, labels[word]), len(mass))
            if state == len(mass):
                mass.append(0.0)
                final.append(0.0)
            mass[state] += weight
        final[state] = weight
    mass_of, last = np.array(mass), np.array(final)
    source, label = np.array([*children]).T
    target = np.array([*children.values()])
    with np.errstate(divide="ignore"):
        ends = np.log(mass_of) - np.log(last)
    return Automaton.from_arcs(0, ends, source, label, label, np.log(mass_of[source]) - np.log(mass_of[target]), target)


def words_of(entries: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(word for entry in entries for word in entry.split()))


def numbered(words: list[str]) -> dict[str, int]:
    """The labels of words: 1 .. W."""
    return {word: label for label, word in enumerate(words, 1)}


def closed_graph(grammar: Automaton, words: list[str], lexicon: Lexicon, tokens: Tokens,
                 silence: str | None = None, expansion: Expansion | None = None) -> Graph:  # fmt: skip
    """The graph of a grammar over `words`, with labels 1 .. W, for the implicit CTC topology; `expansion` takes its
    place, and `tokens` are then those that spell words, not the net's outputs.

    Raises InputError naming words that have no spelling in the lexicon and the token table.
    """
    separator = SPACE if SPACE in tokens else None
    units = set(tokens.symbols) - {BLANK, SPACE}
    spelled = {word: [s for s in lexicon.pronunciations[word] if s and units.issuperset(s)] for word in words}
    if unspelled := [word for word, spellings in spelled.items() if not spellings]:
        asked = {unit for word in unspelled for spelling in lexicon.pronunciations[word] for unit in spelling}
        lacking = name_some(sorted(asked - units)) or "spelling"
        raise InputError(
            f"words that cannot be spelled in this model's units: {name_some(unspelled)}; it has no "
            f"{lacking}; leave them out, or clean them as the training text is (`asr text clean`)"
        )
    spellings = spell(words, Lexicon(spelled, lexicon.probabilities), tokens, silence, separator)
    graph = minimize(Forest(grammar, spellings))
    if expansion:
        graph = expansion.over(graph)
    return Graph.from_bytes(pack.to_bytes(graph.arrays(), implicit=expansion is None))
