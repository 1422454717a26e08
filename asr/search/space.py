"""A graph with what turns its labels into words: their names and their spellings."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from asr.errors import InputError
from asr.graph.dynamic import Language
from asr.graph.opened import Graph
from asr.search.new_words import NewWord, merged
from asr.text.lexicon import Lexicon, Spelled, name_some
from asr.tokens import BLANK, SPACE, Tokens
from asr.words import is_slot

# A new word costs, without context, as much as this share of the language model's words cost at most. Where the model
# knows no contexts of unknown words it must cost less. Found on the first half of the bench pack: docs/graphs.md.
LIKELY, LIKELY_ALONE = 0.25, 0.005
Pronounce = Callable[[Sequence[str]], Spelled]


@dataclass(frozen=True)
class SearchSpace:
    """A graph with the words of its output labels, their pronunciations, and the token that it allows between words,
    if any."""

    graph: Graph
    words: list[str]
    lexicon: Lexicon | None
    silence: str | None = None
    is_closed: bool = False  # it holds what a caller lists; what is said may be none of it
    base: "SearchSpace | None" = None  # of a closed graph: the graph that spells words which are listed next

    def __post_init__(self) -> None:
        if self.graph.max_olabel >= len(self.words):
            raise InputError(
                f"the graph has output labels up to {self.graph.max_olabel}, words.txt names {len(self.words)}; "
                "run `asr graph` again"
            )

    def spellings(self, label: int, tokens: Tokens) -> list[tuple[int, ...]]:
        """The spellings of an output label in tokens of the net. Raises InputError for a word without one."""
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

    @classmethod
    def read(cls, folder: str | Path, tokens: Tokens, ngram: str | Path | None = None) -> "SearchSpace":
        """Open what `asr graph` wrote, of either kind; a dynamic graph with another `ngram`, if given.

        Raises InputError when the graph was made for other tokens.
        """
        folder = Path(folder)
        check_same_tokens(tokens, Tokens.read(folder / "tokens.txt"), folder)
        stats = read_stats(folder)
        if stats.get("kind") == "dynamic":
            return DynamicSpace.of(Language.open(folder, ngram), stats.get("silence"))
        if ngram is not None:
            raise InputError(f"graph.ngram={ngram} needs a dynamic graph; {folder} holds a static one")
        try:
            words = (folder / "words.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
        except (OSError, UnicodeDecodeError) as e:
            raise InputError(f"cannot read {folder / 'words.txt'}: {e}; run `asr graph` again") from e
        lexicon = Lexicon.read(folder / "lexicon.txt")
        return cls(Graph.open(folder / "graph.bin"), words, lexicon, stats.get("silence"))


@dataclass(frozen=True)
class DynamicSpace(SearchSpace):
    """The space of a dynamic graph."""

    language: Language = field(kw_only=True)
    added: dict[int, list[tuple[int, ...]]] = field(default_factory=dict, kw_only=True)  # label -> spellings

    @classmethod
    def of(cls, language: Language, silence: str | None) -> "DynamicSpace":
        return cls(language.graph(), language.tree.words, None, silence, language=language)

    def spellings(self, label: int, tokens: Tokens) -> list[tuple[int, ...]]:
        known = self.language.tree.spellings(label) if label < len(self.language.tree.words) else []
        return known + self.added.get(label, [])

    def known(self, words: Iterable[str], tokens: Tokens) -> Spelled:
        added, own = {self.words[label]: label for label in self.added}, self.language.tree.numbers
        labels = {word: label for word in words if (label := added.get(word) or own.get(word))}
        return {word: [tuple(tokens.decode(s)) for s in self.spellings(at, tokens)] for word, at in labels.items()}

    def with_words(self, new_words: Iterable[NewWord], tokens: Tokens, pronounce: Pronounce) -> "DynamicSpace":
        """These space with `new_words` in the place of those they may have.

        `pronounce` spells those that come without a pronunciation and are not in the lexicon. Raises InputError naming
        words that cannot be spelled in `tokens`, and a slot that the language model does not have.
        """
        new_words = merged(new_words)
        tree = self.language.tree
        spelled = _spell(new_words, tree.numbers, pronounce)
        fresh = dict.fromkeys(new.word for new in new_words if new.word not in tree.numbers)
        labels = {word: len(tree.words) + i for i, word in enumerate(fresh)}
        added: dict[int, list[tuple[int, ...]]] = {}
        slots: dict[str | None, list[NewWord]] = defaultdict(list)
        for new in new_words:
            slots[new.slot].append(new)
        for word, variants in spelled.items():
            added[labels.get(word) or tree.numbers[word]] = [_encode(units, word, tokens) for units in variants]

        def members(found: list[NewWord], cost: float) -> list[tuple[list[int], int, float]]:
            numbered = [(labels.get(new.word) or tree.numbers[new.word], new.weight) for new in found]
            return [
                ([Tokens.label(token) for token in spelling], label, cost - weight)
                for label, weight in numbered
                for spelling in added.get(label) or tree.spellings(label)
            ]

        graph = self.language.graph(
            [(self._place(name), members(found, self._cost(name, found))) for name, found in slots.items()]
        )
        return DynamicSpace(graph, [*tree.words, *fresh], None, self.silence, language=self.language, added=added)

    def _place(self, slot: str | None) -> int:
        """The word of the language model that stands for the slot."""
        words = self.language.ngram.words
        if slot is None:
            return self.language.ngram.unknown  # or anywhere, where that is -1
        if slot not in words or not is_slot(slot):
            known = name_some([word for word in words if is_slot(word)]) or "none"
            raise InputError(f"the language model has no slot '{slot}'; write it into its text. It has: {known}")
        return words.index(slot)

    def _cost(self, slot: str | None, members: list[NewWord]) -> float:
        """Of each word in the slot, but for its weight."""
        if slot is not None:
            return float(np.logaddexp.reduce([new.weight for new in members]))
        ngram = self.language.ngram
        if not len(ngram.sorted_costs):
            return 0.0
        share = LIKELY if ngram.knows_contexts_of_unknown else LIKELY_ALONE
        return float(np.quantile(ngram.sorted_costs, share) - ngram.cost_of_unknown)


def read_stats(folder: str | Path) -> dict[str, Any]:
    """What the graph in `folder` is: its `kind`, the `silence` token that it allows between words, and counts."""
    path = Path(folder) / "stats.json"
    try:
        stats = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(stats, dict):
            raise ValueError("it holds no object")
    except (OSError, ValueError) as e:
        raise InputError(f"cannot read {path} ({e!r}); run `asr graph` again") from e
    return stats


def check_same_tokens(tokens: Tokens, others: Tokens, where: str | Path) -> None:
    if tokens != others:
        raise InputError(
            f"the graph in {where} was compiled for another token set ({len(others)} tokens, the model has "
            f"{len(tokens)}); run `asr graph` with this model's tokens.txt"
        )


def _spell(new_words: Sequence[NewWord], known: dict[str, int], pronounce: Pronounce) -> Spelled:
    """The pronunciations of the words that do not take those of the lexicon."""
    spelled: Spelled = defaultdict(list)
    for new in new_words:
        spelled[new.word] += [units for units in new.pronunciations if units not in spelled[new.word]]
    unknown = [word for word, variants in spelled.items() if not variants and word not in known]
    found = pronounce(unknown) if unknown else {}
    return {word: variants for word, variants in (spelled | found).items() if variants}


def _encode(units: Sequence[str], word: str, tokens: Tokens) -> tuple[int, ...]:
    if not units or BLANK in units or SPACE in units:
        raise InputError(f"the new word '{word}' is spelled '{' '.join(units)}'; spell it in units without gaps")
    try:
        return tuple(tokens.encode(units))
    except InputError as e:
        raise InputError(f"the new word '{word}' cannot be spelled: {e}") from None
