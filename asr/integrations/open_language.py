"""A language that also has words that no list has: an n-gram over known words, and a loop of tokens in place of <unk>.

The search goes through a dynamic graph (asr.graph.dynamic). Its lexicon tree has the known words, the first tokens of
an unknown word (`starts`), the tokens that go on with it (`continuations`), and, where words begin with a space, a
further space between words. The n-gram has a state for each history after <unk>: a start leads into it, a continuation
stays there, and its back-off arc ends the unknown word.

Costs are those of `Weights`, in nats: a word w after the history h costs

    -alpha ln(10) (log10 p(w | h) + Weights.offset(w) [w is unknown]) - beta

An unknown word costs as much as the dearest known word while it is spelled, and the rest when it ends, so that the beam
compares both fairly; the sum is that of the formula. So that the length of the word counts, an unknown word has a state
for each number of characters up to USUAL_LENGTH.
"""

import logging
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from asr.errors import InputError
from asr.graph.automaton import Automaton
from asr.graph.dynamic import NGRAM, TREE, WORD_ENDS, Language
from asr.graph.grammar import ngram_grammar
from asr.graph.lexicon_fst import Spellings
from asr.graph.ngram_file import write_grammar
from asr.graph.opened import Graph
from asr.graph.tree_file import write_tree
from asr.integrations.alphabet import Alphabet
from asr.lm.model import LN10, NgramModel
from asr.text.lexicon import name_some
from asr.tokens import Tokens
from asr.words import BEGIN, END, MARKS, UNKNOWN

_log = logging.getLogger(__name__)
USUAL_LENGTH = 6  # characters of a word, as in pyctcdecode
MOST_WEIGHT = 1000.0
IMPOSSIBLE = 100.0  # -log10 of <unk> in a model without it, as in kenlm


@dataclass(frozen=True)
class Weights:
    """See the formula above. `lm_score_boundary`: sentences begin with <s> and end with </s>."""

    alpha: float = 0.5
    beta: float = 1.5
    unk_score_offset: float = -10.0
    lm_score_boundary: bool = True

    def __post_init__(self) -> None:
        """Raises InputError for a weight that is not a finite number."""
        for name in ("alpha", "beta", "unk_score_offset"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= MOST_WEIGHT:
                raise InputError(f"{name} is {value!r}; it must be a number, at most {MOST_WEIGHT:g}")
        if not isinstance(self.lm_score_boundary, bool):
            raise InputError(f"lm_score_boundary is {self.lm_score_boundary!r}; it must be True or False")

    def offset(self, length: int | np.ndarray) -> Any:
        """What is added to the log10 probability of an unknown word of so many characters.

        It grows beyond USUAL_LENGTH: else one long unknown word would cost less than the words of a sentence.
        """
        return self.unk_score_offset * np.maximum(1.0, np.asarray(length) / USUAL_LENGTH)


@dataclass(frozen=True)
class HotWords:
    """Words of one request that score `weight` nats more."""

    words: frozenset[str]
    weight: float


@dataclass(frozen=True)
class Vocabulary:
    """The words of the tree, in the order of their output labels 1, 2, ..."""

    words: list[str]
    spellings: list[list[tuple[int, ...]]]  # of each word, as tokens
    lengths: list[list[int]]  # characters of the last words: the starts, the continuations, the further space

    @classmethod
    def of(cls, alphabet: Alphabet, model: NgramModel) -> "Vocabulary":
        """The words of `model` that the alphabet can spell, and the extras. Raises InputError for a model of pieces."""
        if model.of_pieces:
            raise InputError("the language model is of characters or pieces (▁), not of words; give one of words")
        spelled = {word: alphabet.spell(word) for word in model.words if word not in MARKS}
        listed = {word: spellings for word, spellings in spelled.items() if spellings}
        parts: list[list[tuple[int, ...]]] = [
            alphabet.starts(),
            alphabet.continuations(),
            [] if alphabet.is_pieces else [(alphabet.space,)],
        ]
        names = ("start", "continuation", "space")  # with a number behind a space, which no word contains
        return cls(
            [*listed, *(f"{name} {i}" for name, part in zip(names, parts, strict=True) for i in range(len(part)))],
            [*listed.values(), *([spelling] for part in parts for spelling in part)],
            [[alphabet.length(spelling) for spelling in part] for part in parts],
        )

    @property
    def num_listed(self) -> int:
        return len(self.words) - sum(map(len, self.lengths))

    @property
    def extras(self) -> list[str]:
        return self.words[self.num_listed :]


def known_words(vocabulary: Vocabulary, model: NgramModel, unigrams: Collection[str] | None) -> frozenset[str]:
    """The words of the model that are in `unigrams`; None: all.

    Logs a warning that names unigrams without effect. Raises InputError if no known word can be spelled.
    """
    if isinstance(unigrams, str):
        raise InputError(f"unigrams is the text {unigrams!r}; expected a list of words")
    words = frozenset(model.words).difference(MARKS)
    known = words if unigrams is None else words.intersection(unigrams)
    spelled = known.intersection(vocabulary.words[: vocabulary.num_listed])
    if not spelled:
        raise InputError(
            f"no word of the language model and the unigrams can be spelled with the labels; the model has "
            f"{name_some(sorted(words))}; are upper and lower case the same in both?"
        )
    if strange := sorted(set(unigrams or ()) - known):
        _log.warning("%d of %d unigrams are not in the language model and count as unknown words: %s",
                     len(strange), len(unigrams or ()), name_some(strange))  # fmt: skip
    if mute := sorted(known - spelled):
        _log.warning("%d of %d words cannot be spelled with the labels and are never found: %s",
                     len(mute), len(known), name_some(mute))  # fmt: skip
    return known


class OpenLanguage:
    """The language of one set of weights. Immutable; shared by threads."""

    def __init__(self, vocabulary: Vocabulary, model: NgramModel, known: Collection[str], weights: Weights):
        """`known`: the words of `model` that are not unknown."""
        names = [word for word in model.words if word not in (BEGIN, END)]
        grammar = ngram_grammar(model, {word: label for label, word in enumerate(names, 1)})
        if UNKNOWN not in names:
            names.append(UNKNOWN)
            grammar = _joined(grammar, np.array([[0, len(names), IMPOSSIBLE * LN10, 0]]))
        is_known = np.array([True, *(word in known for word in names)])
        offsets = np.array([0.0, *(weights.offset(0 if word == UNKNOWN else len(word)) for word in names)])
        grammar = _weighted(grammar, np.where(is_known, 0.0, offsets), weights)
        grammar = _opened(grammar, names.index(UNKNOWN) + 1, is_known, vocabulary, weights)
        with tempfile.TemporaryDirectory() as folder:  # the files are mapped and may be unlinked
            write_tree(vocabulary.words, _columns(vocabulary), Path(folder) / TREE)
            write_grammar(grammar, [*names, *vocabulary.extras], Path(folder) / NGRAM)
            self._language = Language.open(folder)
        self.labels = {word: label for label, word in enumerate(vocabulary.words[: vocabulary.num_listed], 1)}
        self.num_labels, self._weights = len(vocabulary.words), weights
        self.graph = lru_cache(maxsize=4)(self._graph)  # the states composed for one call serve the next

    def extra_cost(self, word: str) -> float:
        """What an unknown word costs beyond a short one."""
        return -self._weights.alpha * LN10 * float(self._weights.offset(len(word)) - self._weights.offset(1))

    def _graph(self, added: tuple[tuple[tuple[tuple[int, ...], ...], float], ...] = ()) -> Graph:
        """The graph, with `added` unknown words: the spellings of each, and a cost beyond that of a short unknown word.

        They get the output labels `num_labels` + 1, 2, ...
        """
        members: list[tuple[Sequence[int], int, float, int, int]] = [
            ([Tokens.label(token) for token in spelling], self.num_labels + number, cost, 0, 1)
            for number, (spellings, cost) in enumerate(added, 1)
            for spelling in spellings
        ]
        slot = (self._language.ngram.unknown, members, WORD_ENDS)
        return self._language.graph([slot] if members else [])


def _joined(grammar: Automaton, arcs: np.ndarray, final: Sequence[float] | np.ndarray = ()) -> Automaton:
    """`grammar` with more arcs, rows (source, word or 0, cost, target), and more states with these final costs."""
    own = (grammar.source, grammar.olabel, grammar.cost, grammar.target)
    source, label, cost, target = (np.concatenate(pair) for pair in zip(own, arcs.T, strict=True))
    ends = np.concatenate([grammar.final, final])
    return Automaton.from_arcs(grammar.start, ends, source, label, label, cost, target)


def _weighted(grammar: Automaton, offsets: np.ndarray, weights: Weights) -> Automaton:
    """`offsets`: by word, what is added to its log10 probability."""
    is_word = grammar.olabel > 0
    cost = weights.alpha * (grammar.cost - LN10 * offsets[grammar.olabel]) - weights.beta * is_word
    final = weights.alpha * grammar.final.astype(float) if weights.lm_score_boundary else np.zeros(grammar.num_states)
    start = grammar.start if weights.lm_score_boundary else 0
    return replace(grammar, start=start, final=final.astype(np.float32), cost=cost.astype(np.float32))


def _opened(
    grammar: Automaton, unknown: int, is_known: np.ndarray, vocabulary: Vocabulary, weights: Weights
) -> Automaton:
    """`grammar` with the loops of tokens in place of the word `unknown`, whose own arcs stay for added words."""
    first = len(is_known)  # the label of the first start
    by_kind = np.split(first + np.arange(len(vocabulary.extras)), np.cumsum([len(x) for x in vocabulary.lengths]))
    starts, continuations, spaces = by_kind[:3]
    root = grammar.cost[grammar.source == 0], grammar.olabel[grammar.source == 0]
    dearest = root[0][is_known[root[1]] & (root[1] > 0)].max(initial=-np.inf)
    rest = max(0.0, float(root[0][root[1] == unknown][0]) - dearest) if np.isfinite(dearest) else 0.0

    into = np.flatnonzero(grammar.olabel == unknown)
    after, which = np.unique(grammar.target[into], return_inverse=True)
    inside = grammar.num_states + USUAL_LENGTH * np.arange(
        len(after)
    )  # the state after no character, if there were one
    step = -weights.alpha * LN10 * (weights.offset(2 * USUAL_LENGTH) - weights.offset(USUAL_LENGTH)) / USUAL_LENGTH

    def spelled(
        source: np.ndarray, label: int, cost: np.ndarray, before: int, length: int, to: np.ndarray
    ) -> np.ndarray:
        """Arcs by which `length` more characters follow `before` ones; the words then are at the states of `to`."""
        count = max(1, before + length)
        more = step * (max(count, USUAL_LENGTH) - USUAL_LENGTH)
        return _rows(source, label, cost + more, to + min(count, USUAL_LENGTH) - 1)

    arcs = []  # by word, as lm.ngram holds them
    for start, length in zip(starts, vocabulary.lengths[0], strict=True):
        arcs.append(spelled(grammar.source[into], start, grammar.cost[into] - rest, 0, length, inside[which]))
    for before in range(1, USUAL_LENGTH + 1):
        here = inside + before - 1
        arcs.append(_rows(here, 0, rest, after))
        for token, length in zip(continuations, vocabulary.lengths[1], strict=True):
            arcs.append(spelled(here, token, np.zeros(len(here)), before, length, inside))
    states = np.arange(grammar.num_states)
    arcs += [_rows(states, space, 0.0, states) for space in spaces]
    return _joined(grammar, np.concatenate(arcs), np.repeat(grammar.final[after] + rest, USUAL_LENGTH))


def _rows(source: np.ndarray, label: int, cost: np.ndarray | float, target: np.ndarray) -> np.ndarray:
    """Arcs as rows (source, label, cost, target)."""
    return np.stack(np.broadcast_arrays(source, label, cost, target), axis=1)


def _columns(vocabulary: Vocabulary) -> Spellings:
    spelled = [(word, tokens) for word, variants in enumerate(vocabulary.spellings, 1) for tokens in variants]
    return Spellings(
        np.array([word for word, _ in spelled]),
        np.array([len(tokens) for _, tokens in spelled]),
        np.array([Tokens.label(token) for _, tokens in spelled for token in tokens]),
    )
