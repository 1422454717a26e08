"""H o C o LG: each phone of a graph replaced by its HMM in context, which the search passes a frame at a time.

The phone after it decides how a phone sounds, so the HMM of a phone is passed when the next phone is read:

    (state of LG, phone before, pending phone) --HMM of the pending phone--> (next state, pending phone, phone read)

Without contexts no phone has to wait. This composes C, the context transducer of Mohri, Pereira & Riley 2002 (section
4.2), without building it. The arcs that pass the same HMM to the same state share its states: a passage is entered at
the cost of the LG arc, with its word, and left by an epsilon (csrc/decoder/hmm_graph.h).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from asr import _decoder
from asr.errors import InputError, refusals
from asr.graph import cache
from asr.graph.automaton import Automaton
from asr.graph.state_order import breadth_first
from asr.hmm.model import Hmm
from asr.tokens import Tokens


@dataclass(frozen=True)
class HmmExpansion:
    """What the compiler of graphs puts in the place of CTC's topology; see `asr.graph.topology.Expansion`."""

    hmm: Hmm
    most_arcs: int | None = None  # of the graph with the phones around each phone

    @property
    def outputs(self) -> Tokens:
        return self.hmm.tokens

    @property
    def digest(self) -> str:
        return cache.digest("HMM", json.dumps(self.hmm.plain()))

    def over(self, graph: Automaton) -> Automaton:
        """Raises InputError for a graph that would have more than `most_arcs`."""
        return breadth_first(expand(graph, self.hmm, self.most_arcs))


def expand(graph: Automaton, hmm: Hmm, most_arcs: int | None = None) -> Automaton:
    """The graph of net outputs for `graph`, an LG whose input labels are those of `hmm.phones`.

    Costs are negative natural logs; those of the steps between states are multiplied by `hmm.scale`. Raises InputError
    as `HmmExpansion.over`, and for a label that is of no phone.
    """
    most = -1 if most_arcs is None else most_arcs
    with refusals():
        found = _decoder.expand(
            hmm.expander, hmm.labels, graph.start, graph.final, graph.first, graph.ilabel, graph.olabel, graph.cost,
            graph.target, most,
        )  # fmt: skip
    if found is None:
        raise InputError(f"with the phones around each phone, the list or grammar takes more than {most_arcs} arcs "
                         "of a graph; give fewer words in a row, or fewer in all")  # fmt: skip
    return Automaton(*found)


def spell(words: Sequence[Sequence[tuple[Sequence[int], float]]], silence: int) -> Automaton:
    """The phone sequences of a transcript, as `asr.hmm.alignment.acceptor_of`, of phones by number. `silence`: 0 for
    none."""
    return Automaton(*_decoder.spell_transcript(words, silence))
