"""Graphs of what a caller lists: words, phrases or a grammar, and nothing else. Made in memory, in milliseconds.

A file of a list holds an entry a line, a word or several, and behind a tab its weight where it is not 1:

    yes
    turn on the light	2.5

What is said may be none of it: see `asr.searchers.GraphSearcher` on rejection.
"""

import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from asr.errors import InputError
from asr.graph import pack
from asr.graph.automaton import Automaton
from asr.graph.expand import Forest
from asr.graph.lexicon_fst import spell
from asr.graph.minimize import minimize
from asr.graph.preflight import check
from asr.search import Graph
from asr.text.lexicon import Lexicon, name_some
from asr.tokens import SPACE, Tokens


def read_list(path: str | Path) -> dict[str, float]:
    """Entries and their weights. Raises InputError naming the file, and the line whose weight is no positive number."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"cannot read the list {path}: {e}; it holds a word or phrase a line, in UTF-8") from e
    entries: dict[str, float] = {}
    for number, line in enumerate(lines, 1):
        entry, tab, weight = line.partition("\t")
        if entry := " ".join(entry.split()):
            try:
                entries[entry] = float(weight) if tab else 1.0
            except ValueError:
                raise InputError(f"{path}:{number}: the weight '{weight}' of '{entry}' is no number") from None
    if not entries:
        raise InputError(f"the list {path} is empty; write a word or phrase a line")
    return entries


def list_grammar(entries: Mapping[str, float], labels: Mapping[str, int]) -> Automaton:
    """G: exactly one of the entries, each as likely as its weight says. A tree of words, costs where entries part.

    Raises InputError for a weight that is not positive and finite.
    """
    if odd := next((e for e, weight in entries.items() if not (weight > 0 and math.isfinite(weight))), None):
        raise InputError(f"the entry '{odd}' has the weight {entries[odd]:g}; it must be a positive number")
    total = sum(entries.values())
    children: dict[tuple[int, int], int] = {}  # (state, label) -> state
    mass, final = [total], [0.0]  # of each state: the weights below it, and of the entry that ends there
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


def closed_graph(grammar: Automaton, words: list[str], lexicon: Lexicon, tokens: Tokens,
                 silence: str | None = None) -> Graph:  # fmt: skip
    """The graph of a grammar over `words`, labels 1 .. W, for the implicit topology.

    Raises InputError naming words that the lexicon or the token table cannot spell.
    """
    separator = SPACE if SPACE in tokens else None
    kept, lexicon, left_out = check(words, lexicon, tokens, silence, separator)
    if left_out:
        raise InputError(f"{len(left_out)} words of the list cannot be spelled by this model: {name_some(left_out)}")
    file = io.BytesIO()
    pack.write(minimize(Forest(grammar, spell(kept, lexicon, tokens, silence, separator))).arrays(), file, True)
    return Graph.from_bytes(file.getvalue())
