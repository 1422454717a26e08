"""The paths of LF-MMI through HMMs: those of a transcript, and those of all phone sequences.

Both are H o C o G, where G is the transcript with all pronunciations and optional silence, composed with a phone
n-gram, or the n-gram alone. So a path of the transcript has the same weight in both. Log-probabilities of steps count
as they are, without `Hmm.scale`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from asr import manifest
from asr.config import Config
from asr.criteria.acceptor import Acceptor
from asr.criteria.lfmmi import TokenModel
from asr.data.alignments import read_alignments
from asr.errors import InputError
from asr.graph.automaton import Automaton
from asr.hmm.alignment import acceptor
from asr.hmm.graph import expand
from asr.hmm.model import Hmm
from asr.hmm.segments import Segments
from asr.literals import parse_json
from asr.text.lexicon import Lexicon
from asr.tokens import Tokens
from asr.training.criteria import hmm_beside, hmm_text
from asr.training.token_lm import estimate

MOST_ARCS = 5_000_000  # of the denominator; as many take 10 ms per frame of eight utterances
KEPT = 5000  # numerators, of about 40 kB each


class HmmGraphs:
    """Acceptors over the outputs of HMMs."""

    def __init__(self, hmm: Hmm, lexicon: Lexicon, phones: TokenModel):
        """`phones`: an n-gram over the numbers of `hmm.phones`, silence among them."""
        self.hmm, self.lexicon, self.phones = replace(hmm, scale=1.0), lexicon, phones
        self._numerator = lru_cache(KEPT)(self._make_numerator)

    @classmethod
    def of(cls, cfg: Config) -> "HmmGraphs":
        """The graphs of a training on the HMMs beside `criterion.alignments`, whose phones give the n-gram."""
        trained = Hmm.read(hmm_beside(cfg))
        paths, lexicon = read_alignments(cfg.criterion.alignments or ""), Lexicon.read(cfg.tokens.lexicon or "")
        spoken = {u.id: u.text or "" for split in (cfg.data.train, cfg.data.dev) for u in manifest.read(split)}
        phones = list(phones_of(trained, paths, spoken, lexicon))
        model = estimate(phones, len(trained.phones), cfg.criterion.ngram_order)
        return cls(Hmm.of(parse_json(hmm_text(cfg, "lfmmi"))), lexicon, model)

    @cached_property
    def denominator(self) -> Acceptor:
        """Raises InputError if it would be too large."""
        before, phone = np.nonzero(self.phones.log_prob > -np.inf)
        after, cost = self.phones.successor[before, phone], -self.phones.log_prob[before, phone]
        label = phone + Tokens.label(0)
        every = Automaton.from_arcs(self.phones.start, -self.phones.log_final, before, label, 0 * label, cost, after)
        found = _over_outputs(expand(every, self.hmm))
        if len(found.label) > MOST_ARCS:
            raise InputError(f"the denominator of LF-MMI has {len(found.label):,} arcs, more than {MOST_ARCS:,}; lower "
                             "criterion.ngram_order, or train HMMs with fewer leaves")  # fmt: skip
        return found

    def numerator(self, text: str) -> Acceptor:
        """The paths of a transcript. Raises InputError naming a word that the lexicon lacks."""
        return self._numerator(text)

    def _make_numerator(self, text: str) -> Acceptor:
        spoken = acceptor(text.split(), self.lexicon, self.hmm)
        return _over_outputs(expand(_weighted(spoken, self.phones), self.hmm))


def phones_of(
    hmm: Hmm, paths: Mapping[str, NDArray[np.int32]], spoken: Mapping[str, str], lexicon: Lexicon
) -> Iterable[list[int]]:
    """The phones of each alignment (F,), silence among them. `spoken`: the texts by id, which tell how often phones of
    one state follow themselves; of one that is not that of the alignment, as without its fillers, they count once."""
    segments = Segments(hmm)
    for id, path in paths.items():
        words = spoken.get(id, "").split()
        spellings = segments.spellings(words, lexicon) if all(word in lexicon for word in words) else ()
        try:
            found = list(segments.of(path, spellings))
        except InputError:
            found = list(segments.of(path))
        yield [segment.phone for segment in found]


def _weighted(spoken: Automaton, model: TokenModel) -> Automaton:
    """The composition of phone sequences with a model, whose costs are the only ones."""
    first = spoken.first
    pairs = [(spoken.start, model.start)]
    numbers = {pairs[0]: 0}
    rows: list[tuple[int, int, float, int]] = []
    for source, (state, history) in enumerate(pairs):
        for arc in range(first[state], first[state + 1]):
            label = int(spoken.ilabel[arc])
            pair = int(spoken.target[arc]), int(model.successor[history, Tokens.token(label)])
            if pair not in numbers:
                numbers[pair] = len(pairs)
                pairs.append(pair)
            rows.append((source, label, -float(model.log_prob[history, Tokens.token(label)]), numbers[pair]))
    final = [-model.log_final[history] if np.isfinite(spoken.final[state]) else np.inf for state, history in pairs]
    columns = [np.array([row[k] for row in rows]) for k in range(4)]
    return Automaton.from_arcs(0, np.array(final), columns[0], columns[1], 0 * columns[1], columns[2], columns[3])


def _over_outputs(graph: Automaton) -> Acceptor:
    start = np.where(np.arange(graph.num_states) == graph.start, 0.0, -np.inf)
    columns = (graph.source, graph.ilabel - Tokens.label(0), -graph.cost.astype(float), graph.target)
    return Acceptor(*columns, start, -graph.final.astype(float))
