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
    is_token = graph.ilabel > 0
    pairs = _pairs(graph, num_tokens)  # sorted keys: state * num_tokens + last
    state, last = np.divmod(pairs, num_tokens)

    num_arcs = np.diff(graph.first)[state]
    source = np.repeat(np.arange(len(pairs), dtype=np.int32), num_arcs)
    arc = np.arange(len(source)) - np.repeat(np.cumsum(num_arcs) - num_arcs - graph.first[state], num_arcs)
    entered = np.searchsorted(pairs, graph.target * np.int64(num_tokens) + graph.ilabel - blank)
    target = entered[arc].astype(np.int32)
    epsilon = np.flatnonzero(~is_token[arc])
    target[epsilon] = np.searchsorted(pairs, graph.target[arc[epsilon]] * np.int64(num_tokens) + last[source[epsilon]])
    kept = graph.ilabel[arc] != last[source] + blank
    source, arc, target = source[kept], arc[kept], target[kept]

    everyone, none = np.arange(len(pairs), dtype=np.int32), np.zeros(len(pairs), np.int32)
    spoken = np.flatnonzero(last > 0)
    blanks = np.searchsorted(pairs, state * num_tokens).astype(np.int32)
    return Automaton.from_arcs(
        start=int(np.searchsorted(pairs, graph.start * num_tokens)),
        final=graph.final[state],
        source=np.concatenate([source, everyone, everyone[spoken]]),
        ilabel=np.concatenate([graph.ilabel[arc], none + blank, last[spoken] + blank]),
        olabel=np.concatenate([graph.olabel[arc], none, none[spoken]]),
        cost=np.concatenate([graph.cost[arc], none, none[spoken]]),
        target=np.concatenate([target, blanks, everyone[spoken]]),
    )


def _pairs(graph: Automaton, num_tokens: int) -> np.ndarray:
    is_token = graph.ilabel > 0
    base = np.int64(num_tokens)
    pairs = graph.target[is_token] * base + graph.ilabel[is_token] - Tokens.label(0)
    pairs = np.unique(np.concatenate([np.arange(graph.num_states) * base, pairs]))
    source, target = graph.source[~is_token], graph.target[~is_token]
    fresh = pairs
    while len(fresh):  # once for each epsilon in a row
        state, last = np.divmod(fresh, base)
        low, high = (np.searchsorted(source, state, side) for side in ("left", "right"))
        arc = np.repeat(low - (np.cumsum(high - low) - (high - low)), high - low) + np.arange((high - low).sum())
        fresh = np.setdiff1d(target[arc] * base + np.repeat(last, high - low), pairs)
        pairs = np.union1d(pairs, fresh)
    return pairs
