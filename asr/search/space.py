"""The search space: a graph, the words of its output labels, and their spellings."""

import logging
import math
import threading
from collections import ChainMap, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import chain, islice, product
from pathlib import Path
from typing import Any, overload

import numpy as np

from asr.errors import InputError
from asr.graph.dynamic import WORD_ENDS, Language, Member, Slot
from asr.graph.opened import Graph
from asr.graph.slots import Filling
from asr.literals import read_object
from asr.pieces import are_pieces, fewest, joined
from asr.search.new_words import NewWord, merged
from asr.search.phrases import KeptPhrases, Phrases
from asr.text.lexicon import Lexicon, Pair, Spelled, name_some
from asr.textfiles import lines
from asr.tokens import BLANK, SPACE, Tokens
from asr.words import check_word

# The unigram cost of a new word is this quantile of the unigram costs of the language model: LIKELY_ALONE if the model
# has no n-grams that end in <unk>. Chosen on the first half of the bench pack: docs/measured/graphs.md.
LIKELY, LIKELY_ALONE = 0.25, 0.005
MOST_JOINED = 16  # pronunciations of a word that are joined from those of its pieces
Pronounce = Callable[[Sequence[str]], Spelled]
_indexing = threading.Lock()
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchSpace:
    """A graph with the words of its output labels and their pronunciations. Immutable; shared by threads."""

    graph: Graph
    words: Sequence[str]  # by output label
    lexicon: Lexicon | None
    silence: str | None = None  # the token that the graph allows between words
    is_closed: bool = False  # a word list or grammar: the utterance may match none of its entries
    base: "SearchSpace | None" = None  # of a closed graph: the space whose pronunciations the next list uses

    def __post_init__(self) -> None:
        if self.graph.max_olabel >= len(self.words):
            raise InputError(
                f"the graph has output labels up to {self.graph.max_olabel}, words.txt names {len(self.words)}; "
                "run `asr graph` again"
            )

    @cached_property
    def of_pieces(self) -> bool:
        """Whether the words are pieces of words (asr.pieces)."""
        return not self.is_closed and are_pieces(self.words)

    @property
    def labels(self) -> Mapping[str, int]:
        """The output labels by word. The index of a static graph is built at first use, by one thread, and kept."""
        with _indexing:
            return self._labels

    @cached_property
    def _labels(self) -> Mapping[str, int]:
        return {word: label for label, word in enumerate(self.words)}

    @property
    def weights(self) -> Mapping[int, float]:
        """The words that this request has made cheaper or dearer, by label: nats by which each costs less."""
        return {}

    @property
    def plain(self) -> Graph:
        """The graph without these weights."""
        return self.graph

    @cached_property
    def phrases(self) -> KeptPhrases:
        """Compiles phrases, as text with their boosts; see `Phrases.of_words`."""
        return KeptPhrases(lambda boosts: Phrases.of_words(boosts, self.labels, len(self.words) - 1, self.segmented))

    def text(self, labels: Iterable[int]) -> str:
        """The words of a path's output labels; pieces are joined to words."""
        words = (self.words[label] for label in labels)
        return joined(words) if self.of_pieces else " ".join(words)

    def segmented(self, text: str) -> str:
        """A text in the words of the graph: with pieces, the fewest that spell each word; otherwise unchanged."""
        if not self.of_pieces:
            return text
        return " ".join(" ".join(next(iter(fewest(word, self.labels, 1)), (word,))) for word in text.split())

    def spellings(self, label: int, tokens: Tokens) -> list[tuple[int, ...]]:
        """The spellings of an output label as tokens. Raises InputError for a word that has none."""
        assert self.lexicon is not None
        word = self.words[label]
        if word not in self.lexicon:
            raise InputError(f"word '{word}' of the graph is not in its lexicon.txt; run `asr graph` again")
        return [tuple(tokens.encode(units)) for units in self.lexicon.pronunciations[word]]

    def known(self, words: Iterable[str], tokens: Tokens) -> Spelled:
        """The pronunciations, in units, of those of `words` that the graph's lexicon lists."""
        if self.is_closed:
            return self.base.known(words, tokens) if self.base else {}
        assert self.lexicon is not None
        return self.lexicon.listed(words)

    def by_pieces(self, words: Iterable[str], tokens: Tokens) -> Spelled:
        """The pronunciations, in units, of those of `words` that the pieces of the graph spell: those of the fewest
        pieces, one after the other. None in a graph of words."""
        if not self.of_pieces:
            return {}
        parts = {word: pieces for word in words for pieces in fewest(word, self.labels, 1)}
        known = self.known({piece for pieces in parts.values() for piece in pieces}, tokens)
        return {
            word: [tuple(chain(*units)) for units in islice(product(*(known[p] for p in pieces)), MOST_JOINED)]
            for word, pieces in parts.items()
            if known.keys() >= set(pieces)
        }

    def probabilities(self, words: Iterable[str], tokens: Tokens) -> dict[Pair, float]:
        """The probabilities of the pronunciations that `known` returns, where the graph's lexicon has them."""
        if self.is_closed:
            return self.base.probabilities(words, tokens) if self.base else {}
        assert self.lexicon is not None
        return self.lexicon.weights(words)

    @classmethod
    def read(cls, folder: str | Path, tokens: Tokens, ngram: str | Path | None = None) -> "SearchSpace":
        """Open the folder of a static or dynamic graph; `ngram` replaces the language model of a dynamic one.

        Raises InputError when the graph was compiled for other tokens.
        """
        folder = Path(folder)
        if not (folder / "stats.json").exists():
            raise InputError(f"{folder} holds no graph (stats.json is missing); run `asr graph` first")
        check_same_tokens(tokens, Tokens.read(folder / "tokens.txt"), folder)
        stats = read_stats(folder)
        if stats.get("kind") == "dynamic":
            return DynamicSpace.of(Language.open(folder, ngram), stats.get("silence"))
        if ngram is not None:
            raise InputError(f"graph.ngram={ngram} needs a dynamic graph; {folder} holds a static one")
        words = [word for _, word in lines(folder / "words.txt", "graph's words", "the file that `asr graph` writes")]
        written = lines(folder / "lexicon.txt", "graph's lexicon", "the file that `asr graph` writes")
        lexicon = Lexicon.parse("\n".join(line for _, line in written), folder / "lexicon.txt")
        return cls(Graph.open(folder / "graph.bin"), words, lexicon, stats.get("silence"))


@dataclass(frozen=True)
class DynamicSpace(SearchSpace):
    """The search space of a dynamic graph."""

    language: Language = field(kw_only=True)
    added_words: dict[str, int] = field(default_factory=dict, kw_only=True)  # new words -> labels
    added: dict[int, list[tuple[int, ...]]] = field(default_factory=dict, kw_only=True)  # label -> spellings
    added_weights: dict[int, float] = field(default_factory=dict, kw_only=True)  # as `weights`
    plain_slots: list[Slot] = field(default_factory=list, kw_only=True)  # of the graph without weights
    filled: frozenset[str] | None = field(default=None, kw_only=True)  # slots that have a filling; None: not yet asked

    @classmethod
    def of(cls, language: Language, silence: str | None) -> "DynamicSpace":
        return cls(language.graph(), language.tree.words, None, silence, language=language)

    @property
    def weights(self) -> Mapping[int, float]:
        return self.added_weights

    @cached_property
    def plain(self) -> Graph:
        return self.language.graph(self.plain_slots) if self.added_weights else self.graph

    @cached_property
    def _labels(self) -> Mapping[str, int]:
        shared = self.language.tree.numbers  # built when the graph was opened
        return ChainMap(self.added_words, shared) if self.added_words else shared

    def spellings(self, label: int, tokens: Tokens) -> list[tuple[int, ...]]:
        known = self.language.tree.spellings(label) if label < len(self.language.tree.words) else []
        return known + self.added.get(label, [])

    def known(self, words: Iterable[str], tokens: Tokens) -> Spelled:
        labels = {word: label for word in words if (label := self.labels.get(word))}
        return {word: [tuple(tokens.decode(s)) for s in self.spellings(at, tokens)] for word, at in labels.items()}

    def probabilities(self, words: Iterable[str], tokens: Tokens) -> dict[Pair, float]:
        tree = self.language.tree
        labels = {word: tree.numbers[word] for word in words if tree.cost is not None and word in tree.numbers}
        return {
            (word, tuple(tokens.decode(spelling))): math.exp(-cost)
            for word, label in labels.items()
            for spelling, cost in zip(tree.spellings(label), tree.costs(label), strict=True)
        }

    def with_ngram(self, path: str | Path) -> "DynamicSpace":
        """The space of the same lexicon with another packed n-gram model; the lexicon is shared."""
        return DynamicSpace.of(self.language.with_ngram(path), self.silence)

    def with_words(
        self,
        new_words: Iterable[NewWord],
        tokens: Tokens,
        pronounce: Pronounce,
        fillings: Mapping[str, Filling] | None = None,
    ) -> "DynamicSpace":
        """The space with `new_words`, and with what `fillings` put in slots; they replace those of this space.

        `pronounce` spells the words that have no pronunciation and are not in the lexicon. The lexicon and the language
        model are shared, not copied. New words that cannot be spelled in `tokens` are left out; a warning names them.
        Raises InputError if none can be, for a word of `fillings` that cannot be, and for a slot that the language
        model does not have.
        """
        tree, fillings = self.language.tree, fillings or {}
        new_words, spelled = _spellable(merged(new_words), tree.numbers, pronounce, tokens)
        if both := [new for new in new_words if new.slot in fillings]:
            raise InputError(f"the new word '{both[0].word}' names the slot {both[0].slot}, which this request fills "
                             "with a list or grammar; put the word into it")  # fmt: skip
        used = {word: check_word(word, name) for name, filling in fillings.items() for word in filling.words}
        unknown = [word for word in used if word not in tree.numbers and word not in spelled]
        pronounced = pronounce(unknown) if unknown else {}
        spelled |= {word: [encoded(units, word, tokens) for units in pronounced[word]] for word in unknown}
        fresh = dict.fromkeys(w for w in [*(new.word for new in new_words), *unknown] if w not in tree.numbers)
        labels = {word: len(tree.words) + i for i, word in enumerate(fresh)}
        added = {labels.get(word) or tree.numbers[word]: variants for word, variants in spelled.items()}
        slots: dict[str | None, list[NewWord]] = defaultdict(list)
        for new in new_words:
            slots[new.slot].append(new)

        def members(arcs: Iterable[tuple[str, float, int, int]]) -> list[Member]:
            return [
                (spelling, label, cost + own, source, target)
                for word, cost, source, target in arcs
                for label, spelling, own in variants(word)
            ]

        @cache
        def variants(word: str) -> list[tuple[int, tuple[int, ...], float]]:
            label = labels.get(word) or tree.numbers[word]
            known = [(spelling, 0.0) for spelling in added.get(label, [])]
            known = known or [*zip(tree.spellings(label), tree.costs(label), strict=True)]
            return [(label, tuple([Tokens.label(token) for token in spelling]), own) for spelling, own in known]

        filled: list[Slot] = [
            (self._place(name), members(filling.arcs()), filling.final_costs()) for name, filling in fillings.items()
        ]

        def placed(slots: Mapping[str | None, list[NewWord]]) -> list[Slot]:
            costs = {name: self._cost(name, found) for name, found in slots.items()}
            arcs = {name: [(n.word, costs[name] - n.weight, 0, 1) for n in found] for name, found in slots.items()}
            return filled + [(self._place(name), members(arcs[name]), WORD_ENDS) for name in slots]

        # The words of a slot share its probability, whatever their weights. Without a slot, a weight is a preference.
        alone = slots.get(None, [])
        weights = {labels.get(new.word) or tree.numbers[new.word]: new.weight for new in alone if new.weight}
        plain = {**slots, None: [replace(new, weight=0.0) for new in alone]} if weights else {}
        words = _Joined(tree.words, tuple(labels))
        return DynamicSpace(
            self.language.graph(placed(slots)),
            words,
            None,
            self.silence,
            language=self.language,
            added_words=labels,
            added=added,
            added_weights=weights,
            plain_slots=placed(plain) if weights else [],
            filled=frozenset([*fillings, *filter(None, slots)]),
        )

    def _place(self, slot: str | None) -> int:
        """The word of the language model that stands for the slot; -1 for the empty history."""
        if slot is None:
            return self.language.ngram.unknown
        slots = self.language.ngram.slots
        if slot not in slots:
            raise InputError(
                f"the language model has no slot '{slot}'; write it into the training text of the model. It has: "
                f"{name_some(list(slots)) or 'none'}"
            )
        return slots[slot]

    def _cost(self, slot: str | None, members: list[NewWord]) -> float:
        """The cost of each word in the slot, before its weight."""
        if slot is not None:
            return float(np.logaddexp.reduce([new.weight for new in members]))
        ngram = self.language.ngram
        if not len(ngram.sorted_costs):
            return 0.0
        share = LIKELY if ngram.knows_contexts_of_unknown else LIKELY_ALONE
        return _quantile(ngram.sorted_costs, share) - ngram.cost_of_unknown


class _Joined(Sequence[str]):
    """The words of a graph, followed by those of a request, without a copy of either."""

    def __init__(self, shared: Sequence[str], own: Sequence[str]):
        self._shared, self._own = shared, own

    def __len__(self) -> int:
        return len(self._shared) + len(self._own)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        places = range(len(self))[at]
        if isinstance(places, range):
            return [self[i] for i in places]
        return self._shared[places] if places < len(self._shared) else self._own[places - len(self._shared)]


def _quantile(ascending: np.ndarray, share: float) -> float:
    """As np.quantile, which would copy them all."""
    place = share * (len(ascending) - 1)
    below, above = ascending[int(place)], ascending[min(int(place) + 1, len(ascending) - 1)]
    return float(below + (above - below) * (place - int(place)))


def read_stats(folder: str | Path) -> dict[str, Any]:
    """The stats.json of a graph: its `kind`, the `silence` token that it allows between words, and counts."""
    path = Path(folder) / "stats.json"
    try:
        return read_object(path)
    except FileNotFoundError as e:
        raise InputError(f"{folder} holds no graph ({path.name} is missing); run `asr graph` first") from e
    except (OSError, ValueError) as e:
        raise InputError(f"cannot read {path} ({e!r}); run `asr graph` again") from e


def check_same_tokens(tokens: Tokens, others: Tokens, where: str | Path) -> None:
    if tokens != others:
        raise InputError(
            f"the graph in {where} was compiled for another token set ({len(others)} tokens, the model has "
            f"{len(tokens)}); run `asr graph` with this model's tokens.txt"
        )


def _spellable(
    new_words: Sequence[NewWord], known: Mapping[str, int], pronounce: Pronounce, tokens: Tokens
) -> tuple[list[NewWord], dict[str, list[tuple[int, ...]]]]:
    """The words that can be spelled, and the spellings of those that do not use the lexicon's."""
    given: Spelled = defaultdict(list)
    for new in new_words:
        given[new.word] += [units for units in new.pronunciations if units not in given[new.word]]
    found, faults = _pronounced([word for word in given if not given[word] and word not in known], pronounce)
    spelled = {}
    for word, variants in (given | found).items():
        try:
            spelled[word] = [encoded(units, word, tokens) for units in variants]
        except InputError as e:
            faults[word] = e
    kept = [new for new in new_words if new.word not in faults]
    if faults and not kept:
        raise next(iter(faults.values()))
    if faults:
        _log.warning("%d of %d new words cannot be spelled and are left out: %s (%s)", len(faults), len(given),
                     name_some(list(faults)), next(iter(faults.values())))  # fmt: skip
    return kept, {word: variants for word, variants in spelled.items() if variants}


def _pronounced(words: Sequence[str], pronounce: Pronounce) -> tuple[Spelled, dict[str, InputError]]:
    """The pronunciations of words, and an error for each word that has none."""
    try:
        return (pronounce(words) if words else {}), {}
    except InputError as e:
        if len(words) == 1:
            return {}, {words[0]: e}
    each = [_pronounced([word], pronounce) for word in words]
    return {w: v for found, _ in each for w, v in found.items()}, {w: e for _, bad in each for w, e in bad.items()}


def encoded(units: Sequence[str], word: str, tokens: Tokens) -> tuple[int, ...]:
    if not units or BLANK in units or SPACE in units:
        raise InputError(f"the new word '{word}' is spelled '{' '.join(units)}'; give it units other than these")
    try:
        return tuple(tokens.encode(units))
    except InputError:
        missing = name_some([repr(unit) for unit in sorted(set(units) - set(tokens.symbols))])
        raise InputError(f"the new word '{word}' cannot be spelled: this model has no unit {missing}") from None
