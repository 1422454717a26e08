"""L: tokens in, words out.

    loop --token:word--> . --token:eps--> ... --#k:eps--> loop

A word's label is on its first arc. `#k` follows a pronunciation that is a homophone or a prefix of another one, so
that no spelling is a prefix of another and det(L o G) exists (Mohri, Pereira & Riley 2002, section 3). With a
`separator` (character units), exactly one is between two words, none before the first or after the last:

    start --eps--> loop --token:word--> . --token:eps--> ... end --separator:eps--> loop

With a `silence` token (phone units), a self-loop allows any number of silences between words and at both ends.
A self-loop with `#0` where words begin passes the grammar's back-off arcs through.
The cost of a pronunciation (`Lexicon.cost`) is on its first arc.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pywrapfst

from asr.text.lexicon import Lexicon
from asr.tokens import EPSILON_LABEL, Tokens


@dataclass(frozen=True)
class Spellings:
    """P spellings as columns of graph labels. Silence, if allowed, is the last spelling; its word is 0 (epsilon)."""

    word: np.ndarray  # (P,) output label, ascending except for silence
    length: np.ndarray  # (P,) number of labels
    labels: np.ndarray  # (sum of length,)
    silence: int | None = None  # graph label
    separator: int | None = None  # graph label
    cost: np.ndarray | None = None  # (P,) float32, of each pronunciation; None: all 0

    @property
    def first(self) -> np.ndarray:
        """(P,) start of each spelling in `labels`."""
        return np.cumsum(self.length) - self.length

    def sequences(self) -> list[tuple[int, ...]]:
        return [tuple(part.tolist()) for part in np.split(self.labels, self.first[1:])]


def spell(words: list[str], lexicon: Lexicon, tokens: Tokens, silence: str | None, separator: str | None) -> Spellings:
    """All spellings of `words`, which get the output labels 1..W."""
    spelled = [(i, units) for i, word in enumerate(words, 1) for units in lexicon.pronunciations[word]]
    if silence:
        spelled.append((EPSILON_LABEL, (silence,)))
    costs = [lexicon.cost(words[i - 1], units) if i else 0.0 for i, units in spelled] if lexicon.probabilities else []
    labels = [Tokens.label(token) for token in tokens.encode(unit for _, units in spelled for unit in units)]
    return Spellings(
        np.array([word for word, _ in spelled]),
        np.array([len(units) for _, units in spelled]),
        np.array(labels),
        Tokens.label(tokens.encode([silence])[0]) if silence else None,
        Tokens.label(tokens.encode([separator])[0]) if separator else None,
        np.array(costs, np.float32) if any(costs) else None,
    )


def disambiguate(sequences: list[tuple[int, ...]]) -> list[int]:
    """The k of each sequence's `#k`; 0 if it needs none. Homophones get 1, 2, ...; a prefix of another at least 1."""
    copies = Counter(sequences)
    prefixes = {sequence[:n] for sequence in sequences for n in range(1, len(sequence))}
    seen: Counter[tuple[int, ...]] = Counter()
    numbers = []
    for sequence in sequences:
        seen[sequence] += 1
        numbers.append(seen[sequence] if copies[sequence] > 1 or sequence in prefixes else 0)
    return numbers


def lexicon_fst(spellings: Spellings, num_tokens: int, num_words: int) -> pywrapfst.VectorFst:
    """L as an Fst, for drawing and for OpenFst. `#k` is input label `num_tokens + 1 + k`; `#0` is output label
    `num_words + 1`."""
    fst = pywrapfst.VectorFst()
    loop = start = fst.add_state()
    end = loop
    disambiguator = Tokens.label(num_tokens)
    if spellings.separator is not None:
        start, end = fst.add_state(), fst.add_state()
        fst.add_arc(start, pywrapfst.Arc(0, 0, 0, loop))
        fst.add_arc(end, pywrapfst.Arc(spellings.separator, 0, 0, loop))
    fst.set_start(start)
    fst.set_final(start)
    fst.set_final(end)
    fst.add_arc(loop, pywrapfst.Arc(disambiguator, num_words + 1, 0, loop))
    sequences = spellings.sequences()
    costs = np.zeros(len(sequences)) if spellings.cost is None else spellings.cost
    columns = spellings.word.tolist(), sequences, disambiguate(sequences), costs.tolist()
    for word, sequence, k, cost in zip(*columns, strict=True):
        labels = sequence + ((disambiguator + k,) if k else ())
        state = loop
        for i, label in enumerate(labels):
            last = i + 1 == len(labels)
            target = end if last and word else loop if last else fst.add_state()
            fst.add_arc(state, pywrapfst.Arc(label, 0 if i else word, 0 if i else cost, target))
            state = target
    return fst.arcsort("olabel")
