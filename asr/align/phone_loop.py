"""What HMMs hear in a recording of which only an imperfect text is known: its phones.

Mixtures tell phones apart too badly for a match of frame by frame with a text. So the best path is sought through all
phone sequences, weighted by an n-gram of the phones of the text (as Moreno et al., see asr.align.anchors, do with its
words), with silence anywhere.
"""

from collections.abc import Sequence

import numpy as np

from asr.align.aligner import HeardTokens
from asr.graph.automaton import Automaton
from asr.graph.opened import Graph
from asr.graph.pack import to_bytes
from asr.hmm.graph import expand
from asr.hmm.model import Hmm
from asr.hmm.segments import Segments
from asr.search.decoder import Decoder
from asr.tokens import Tokens
from asr.training.token_lm import estimate

ORDER = 3  # of the n-gram
QUIET_COST = 2.0  # of a silence
BEAM, MOST_ACTIVE = 8.0, 3000


class PhoneLoop:
    """Hears phones. `said`: those of the text, numbered as in `hmm.phones`."""

    def __init__(self, hmm: Hmm, said: Sequence[int]):
        graph = Graph.from_bytes(to_bytes(expand(phone_loop(hmm, said), hmm).arrays()))
        self.decoder = Decoder(graph, beam=BEAM, max_active=MOST_ACTIVE)
        self.segments, self.silence = Segments(hmm), hmm.silence_id

    def hear(self, log_probs: np.ndarray) -> HeardTokens:
        """The phones of log-probs (F, V), without silence."""
        path = self.decoder.decode(log_probs).alignment
        parts = [part for part in self.segments.of(path) if part.phone not in (0, self.silence)]
        columns = np.array([(part.phone, part.begin, part.end) for part in parts], np.int64).reshape(-1, 3)
        return HeardTokens(*columns.T)


def phone_loop(hmm: Hmm, said: Sequence[int]) -> Automaton:
    """All phone sequences, which may end anywhere: an arc for each phone behind each history of the n-gram, and a
    silence that keeps the history."""
    model = estimate([said], len(hmm.phones), ORDER)
    history, phone = np.nonzero(model.log_prob > -np.inf)
    is_speech = phone != hmm.silence_id
    history, phone = history[is_speech], phone[is_speech]
    after, cost = model.successor[history, phone], -model.log_prob[history, phone]
    if hmm.silence:
        every = np.arange(len(model.log_prob))
        history, after = np.append(history, every), np.append(after, every)
        phone = np.append(phone, np.full_like(every, hmm.silence_id))
        cost = np.append(cost, np.full(len(every), QUIET_COST))
    label = phone + Tokens.label(0)
    return Automaton.from_arcs(model.start, np.zeros(len(model.log_prob)), history, label, 0 * label, cost, after)
