"""Renumbering a graph's states so that the search finds them close together in memory."""

import dataclasses

import numpy as np

from asr.graph.automaton import Automaton
from asr.graph.counts import require_count
from asr.graph.ranges import blocks, expand_ranges

_BLOCK = 1 << 16  # arcs moved at a time


def breadth_first(graph: Automaton) -> Automaton:
    """The graph with its states numbered in breadth-first order from the start.

    The states in the beam are then closer together in memory, and the search is 10 % faster
    (docs/measured/graphs.md). Unreachable states come last. The columns of `graph` are overwritten, so that no second
    copy is needed.
    """
    return _renumbered(graph, _numbers(graph))


def _numbers(graph: Automaton) -> np.ndarray:
    """(S,) int32: breadth-first number of each state."""
    require_count(graph.num_states, "states")
    require_count(graph.num_arcs, "arcs")
    first = graph.first
    number = np.full(graph.num_states, -1, np.int32)
    place = np.empty(graph.num_states, np.int32)  # first position of each state among the targets of a level
    count, level = 0, np.array([graph.start], np.int32)
    while len(level):
        number[level] = np.arange(count, count + len(level))
        count += len(level)
        target = graph.target[expand_ranges(first[level], first[level + 1] - first[level])[1]]
        target = target[number[target] < 0]
        rank = np.arange(len(target), dtype=np.int32)
        place[target[::-1]] = rank[::-1]  # reversed: if several write to one place, the first wins
        level = target[place[target] == rank]
    unreached = np.flatnonzero(number < 0)
    number[unreached] = np.arange(count, count + len(unreached))
    return number


def _renumbered(graph: Automaton, number: np.ndarray) -> Automaton:
    """State s becomes state number[s]; the order of a state's arcs does not change."""
    old = np.empty_like(number)
    old[number] = np.arange(len(number), dtype=np.int32)
    begin = graph.first
    degree = np.diff(begin).astype(np.int32)[old]
    first = np.append(0, np.cumsum(degree, dtype=np.int64))
    arc = np.empty(graph.num_arcs, np.int32)
    for low, high in blocks(first, _BLOCK):
        arc[first[low] : first[high]] = expand_ranges(begin[old[low:high]], degree[low:high])[1]
    for column in graph.arc_columns:
        column[:] = column[arc]
    graph.target[:] = number[graph.target]
    graph.source[:] = np.repeat(np.arange(len(old), dtype=np.int32), degree)
    return dataclasses.replace(graph, start=int(number[graph.start]), final=graph.final[old])
