"""Texts that differ from what is said: words may be left out, and so may sound.

Between any two words, and at both ends, is a gap. It is passed by none, one or several of some phones, such as silence
and one for any other sound; from a gap, the words behind it may be skipped.

Each word that is passed has a gain. Apart from the sum over all words, that is the same as a cost for each word that is
skipped.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from asr.graph.automaton import Automaton
from asr.hmm.alignment import Spelled
from asr.hmm.model import Hmm
from asr.tokens import Tokens


def loose_acceptor(words: Sequence[Spelled], hmm: Hmm, gaps: Sequence[int], gain: float) -> Automaton:
    """The phone sequences of words of which some may be skipped, with phones of `gaps` between them.

    Labels and numbers are those of `asr.hmm.alignment.acceptor_of`. `gain`: of each phone of the shortest pronunciation
    of a word, in natural logs, as all costs.
    """
    arcs: list[tuple[int, int, int, float, int]] = []  # source, input, output, cost, target
    states = itertools.count(2 * (len(words) + 1))  # before them: 2 n in front of the gap before word n, 2 n + 1 behind
    numbers = itertools.count(1)
    for number in range(len(words) + 1):
        before, behind = 2 * number, 2 * number + 1
        arcs += [(source, Tokens.label(gap), 0, 0.0, behind) for gap in gaps for source in (before, behind)]
    for number, spelled in enumerate(words):
        before, behind, end = 2 * number, 2 * number + 1, 2 * number + 2
        arcs.append((behind, 0, 0, 0.0, behind + 2))
        gained = gain * min(len(units) for units, _ in spelled)
        for units, cost in spelled:
            labels = [Tokens.label(phone) for phone in hmm.phones.encode(units)]
            inner = [*itertools.islice(states, len(labels) - 1), end]
            first = next(numbers)
            arcs += [(source, labels[0], first, cost - gained, inner[0]) for source in (before, behind)]
            arcs += [(*row[:2], 0, 0.0, row[2]) for row in zip(inner, labels[1:], inner[1:], strict=False)]
    final = np.full(next(states), np.inf)
    final[[2 * len(words), 2 * len(words) + 1]] = 0.0
    return Automaton.from_arcs(0, final, *(np.array(column) for column in zip(*arcs, strict=True)))
