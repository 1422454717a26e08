"""HMMs by brute force: every path through every phone sequence, enumerated or by a slow recursion."""

import itertools
import math

import numpy as np

from asr.tokens import Tokens


def state_paths(steps, frames):
    """(states, log-probability) of every passage of a topology (S + 1, S + 1) that takes so many frames."""
    size = len(steps) - 1
    for states in itertools.product(range(size), repeat=frames):
        rows, columns = (0, *(s + 1 for s in states)), (*states, size)
        p = math.prod(steps[r, c] for r, c in zip(rows, columns, strict=True))
        if p > 0:
            yield states, math.log(p)


def splits(frames, parts):
    """Every way to share frames out to parts, each at least one."""
    for cuts in itertools.combinations(range(1, frames), parts - 1):
        yield [b - a for a, b in itertools.pairwise((0, *cuts, frames))]


def best_passage(hmm, phones, scores, scale=None):
    """(cost, outputs) of the cheapest path through the HMMs of a phone sequence for log-likelihoods (F, V)."""
    scale = hmm.scale if scale is None else scale
    around = [0, *phones, 0]
    found = (math.inf, ())
    for lengths in splits(len(scores), len(phones)):
        cost, path, at = 0.0, [], 0
        for n, (phone, length) in enumerate(zip(phones, lengths, strict=True)):
            outputs = hmm.outputs(around[n], phone, around[n + 2])
            candidates = [
                (
                    -hmm.scale * log_p - scale * sum(scores[at + f, outputs[s]] for f, s in enumerate(states)),
                    [outputs[s] for s in states],
                )
                for states, log_p in state_paths(hmm.steps[phone - 1], length)
            ]
            part, chosen = min(candidates, default=(math.inf, []))
            cost, path, at = cost + part, path + chosen, at + length
        found = min(found, (cost, tuple(path)))
    return found


def graph_paths(graph, most_phones, most_arcs=12):
    """(phones, words, cost) of every path of a graph of phones from its start to a final state."""
    arcs = [[] for _ in range(graph.num_states)]
    for row in zip(graph.source, graph.ilabel, graph.olabel, graph.cost, graph.target, strict=True):
        arcs[row[0]].append(row[1:])
    stack = [(graph.start, (), (), 0.0, 0)]
    while stack:
        state, phones, words, cost, count = stack.pop()
        if np.isfinite(graph.final[state]):
            yield phones, words, cost + graph.final[state]
        for ilabel, olabel, more, target in arcs[state] if count < most_arcs else ():
            longer = (*phones, Tokens.token(int(ilabel))) if ilabel else phones
            if len(longer) <= most_phones:
                said = (*words, int(olabel)) if olabel else words
                stack.append((target, longer, said, cost + more, count + 1))
