"""The search space of a recogniser without a graph, in which boosted phrases are spelled in the tokens of the net.

    loop = token_loop(tokens, "char")
    path = Decoder(loop.graph).decode(log_probs, loop.phrases({"siobhan": 6.0}))

The graph is a loop over all tokens without costs. Its cheapest path is that of the most probable token of each frame,
as greedy search finds it, unless a boost pays for another one.

A phrase is found where a word begins: behind a `<space>`, at the beginning of the utterance, at a piece with `▁`;
anywhere if the tokens have neither. A word may go on behind what the phrase holds of it, as `book` in `books` and 서울
in 서울에서. With pieces, a word may have several spellings. With phones, each phone is a word of a phrase.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from weakref import WeakValueDictionary

import numpy as np

from asr.graph import pack
from asr.graph.automaton import Automaton
from asr.graph.opened import Graph
from asr.pieces import BEGIN, merged, segmentations
from asr.search.decoder import Decoder
from asr.search.phrases import KeptPhrases, Phrases
from asr.text.units import to_units
from asr.tokens import BLANK, EPSILON_LABEL, SPACE, Tokens

MOST_SPELLINGS = 16  # of a phrase
Spelling = tuple[str, ...]


_loops: "WeakValueDictionary[tuple[tuple[str, ...], str], TokenLoop]" = WeakValueDictionary()


def token_loop(tokens: Tokens, unit: str) -> "TokenLoop":
    """The loop over the tokens, shared by all recognisers that have them."""
    key = (tuple(tokens.symbols), unit)
    found = _loops.get(key)
    return _loops.setdefault(key, TokenLoop(tokens, unit)) if found is None else found


class TokenLoop:
    """Immutable; shared by threads. The output label of a token is its input label; `<space>` between phones has none.

    `of_pieces`: whether a word may go on behind what a phrase holds of it.
    """

    def __init__(self, tokens: Tokens, unit: str):
        self._tokens, self._unit = tokens, unit
        self._begin = [SPACE] if unit in ("char", "jamo") and SPACE in tokens else []  # of each word of a phrase
        self.of_pieces = unit != "phone"
        self.graph = self._loop()
        self.phrases = KeptPhrases(self._compile)

    def _loop(self) -> Graph:
        """State 0 begins the utterance with the output of a space that is not heard, if words of phrases begin with
        one; state 1 loops."""
        symbols = self._tokens.symbols[1:]
        labels = np.array([Tokens.label(token) for token in range(1, len(self._tokens))], int)
        is_silent = np.array([self._unit == "phone" and symbol == SPACE for symbol in symbols], bool)
        begin = [Tokens.label(token) for token in self._tokens.encode(self._begin)] or [EPSILON_LABEL]
        source = np.append(0, np.ones_like(labels))
        inputs = np.append(EPSILON_LABEL, labels)
        outputs = np.append(begin, np.where(is_silent, EPSILON_LABEL, labels))
        target, costs = np.ones_like(source), np.zeros(len(source))
        loop = Automaton.from_arcs(0, np.array([np.inf, 0.0]), source, inputs, outputs, costs, target)
        return Graph.from_bytes(pack.to_bytes(loop.arrays(), implicit=True))

    def _compile(self, boosts: Mapping[str, float]) -> Phrases:
        advice = "write phrases as the model's texts are written (`asr text clean`)"
        if self._unit == "phone":
            advice = "without a graph of words, phrases are sequences of its phones"
        found = Phrases.of_texts(
            boosts, self._unspelled, self._spelled, Tokens.label(len(self._tokens) - 1),
            ("the model's tokens do not spell", advice),
        )  # fmt: skip
        Decoder(self.graph).decode(np.zeros((0, len(self._tokens)), np.float32), found)  # which refuses too many
        return found

    def _unspelled(self, phrase: str) -> str | None:
        return next((word for word in phrase.split() if not self.spellings(word)), None)

    def _spelled(self, phrase: str) -> list[list[int]]:
        """The labels of each spelling of a phrase."""
        if not (words := [self.spellings(word) for word in phrase.split()]):
            return [[]]
        found = islice(dict.fromkeys(combined(words)), MOST_SPELLINGS)
        spelled = [[unit for units in parts for unit in (*self._begin, *units)] for parts in found]
        return [[Tokens.label(token) for token in self._tokens.encode(units)] for units in spelled]

    def spellings(self, word: str) -> list[Spelling]:
        """The spellings of a word as tokens, that of BPE first; none if the tokens do not spell it."""
        if self._unit == "piece":
            by_bpe = merged(word, self._tokens)
            return [] if BEGIN in word else sorted(segmentations(word, self._tokens), key=lambda parts: parts != by_bpe)
        units = (word,) if self._unit == "phone" else tuple(to_units(word, self._unit))
        return [units] if all(unit in self._tokens and unit not in (BLANK, SPACE) for unit in units) else []


def combined(words: Sequence[Sequence[Spelling]]) -> Iterator[tuple[Spelling, ...]]:
    """The spellings of a phrase by those of its words, likely ones first: each word as it is spelled first; each with
    the fewest tokens; then those in which one word alone is spelled otherwise than first."""
    first = [spellings[0] for spellings in words]
    yield tuple(first)
    yield tuple(min(spellings, key=len) for spellings in words)
    for others in zip_longest(*(spellings[1:] for spellings in words)):
        for place, other in enumerate(others):
            if other is not None:
                yield (*first[:place], other, *first[place + 1 :])
