"""H: the exact CTC topology, from the net's outputs to tokens.

A state for each token remembers which output came last, state 0 the blank. Repeats of an output are one token, and
the same token twice needs a blank between:

    any state --blank:eps--> 0      any state --k:k--> k, except from k itself: k --k:eps--> k

This is the rule of Graves et al. 2006; Hannun 2017 and k2 draw it the same way. It has V^2 arcs for V outputs.
"""

import numpy as np

from asr.graph.automaton import Automaton
from asr.tokens import Tokens


def ctc_topology(num_tokens: int) -> Automaton:
    """H for `num_tokens` net outputs, blank included: state k follows output k, all states are final."""
    source, target = (grid.ravel() for grid in np.indices((num_tokens, num_tokens)))
    label = target + Tokens.label(0)
    olabel = np.where((target == 0) | (source == target), 0, label)
    return Automaton.from_arcs(0, np.zeros(num_tokens), source, label, olabel, np.zeros(len(source)), target)


def apply_topology(graph: Automaton, num_tokens: int) -> Automaton:
    """H o graph without ever building H: its states are pairs (state of the graph, output that came last).

    A pair exists where an arc of that token enters the state, or where epsilons lead on from such a pair; with the
    blank all do.
    """
    blank = Tokens.label(0)
    pairs = _pairs(graph, num_tokens)  # sorted keys: state * num_tokens + last
    state, last = (part.astype(np.int32) for part in np.divmod(pairs, num_tokens))
    entered = np.searchsorted(pairs, graph.target * np.int64(num_tokens) + graph.ilabel - blank).astype(np.int32)
    everyone = np.arange(len(pairs), dtype=np.int32)
    blanks = everyone[last == 0]  # of each state of the graph

    # The arcs of a pair: the blank, then its own token once more (for the blank: none), then those of its state.
    first = graph.first
    degree = np.diff(first)[state] + 2
    begin = np.cumsum(degree) - degree
    source = np.repeat(everyone, degree)
    arc = np.arange(len(source)) - np.repeat(begin - first[state] + 2, degree)
    arc[begin] = arc[begin + 1] = 0  # filled in below
    ilabel, olabel, cost, target = (c[arc] for c in (graph.ilabel, graph.olabel, graph.cost, entered))
    epsilon = np.flatnonzero(ilabel == 0)
    target[epsilon] = np.searchsorted(pairs, graph.target[arc[epsilon]] * np.int64(num_tokens) + last[source[epsilon]])
    kept = ilabel != last[source] + blank
    for slot, label, goal in ((begin, blank, blanks[state]), (begin + 1, last + blank, everyone)):
        ilabel[slot], olabel[slot], cost[slot], target[slot] = label, 0, 0, goal
    kept[begin], kept[begin + 1] = True, last > 0
    columns = (column[kept] for column in (source, ilabel, olabel, cost, target))
    return Automaton(int(blanks[graph.start]), graph.final[state], *columns)


def _pairs(graph: Automaton, num_tokens: int) -> np.ndarray:
    is_token = graph.ilabel > 0
    base = np.int64(num_tokens)
    entered = graph.target[is_token] * base + graph.ilabel[is_token] - Tokens.label(0)
    pairs = _distinct(np.concatenate([np.arange(graph.num_states) * base, entered]))
    source, target = graph.source[~is_token], graph.target[~is_token]
    fresh = pairs[pairs % base > 0]
    while len(fresh):  # once for each epsilon in a row
        state, last = np.divmod(fresh, base)
        begin, end = (np.searchsorted(source, state, side) for side in ("left", "right"))
        count = end - begin
        arc = np.repeat(begin - (np.cumsum(count) - count), count) + np.arange(count.sum())
        reached = _distinct(target[arc] * base + np.repeat(last, count))
        place = np.minimum(np.searchsorted(pairs, reached), len(pairs) - 1)
        fresh = reached[pairs[place] != reached]
        pairs = np.sort(np.concatenate([pairs, fresh]))
    return pairs


def _distinct(keys: np.ndarray) -> np.ndarray:
    """The keys once each, ascending. (np.unique hashes: ten times slower on millions of keys.)"""
    keys = np.sort(keys)
    return keys[np.diff(keys, prepend=-1) > 0]
