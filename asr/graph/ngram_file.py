"""lm.ngram: an n-gram model in a format that the search maps and reads in place (layout: csrc/decoder/ngram.h).

It takes 12 bytes per n-gram and 16 per history. Opening it takes constant time. It does not depend on a lexicon: words
that the lexicon lacks are never reached.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.errors import InputError
from asr.graph.automaton import Automaton
from asr.graph.fillers import with_fillers
from asr.graph.grammar import ngram_grammar
from asr.graph.mapped_file import aligned, lines_of, read_parts, text_of, write_parts
from asr.lm.model import NgramModel
from asr.words import BEGIN, END, UNKNOWN, is_slot

MAGIC = b"asrngram"
HEADER = np.dtype(
    [("magic", "S8")]
    + [(name, "<u4") for name in ("version", "num_states", "num_arcs", "num_words", "start", "reserved")]
    + [("words_bytes", "<u8"), ("num_bytes", "<u8")]
)
STATE = np.dtype([("arc_begin", "<u4"), ("shorter", "<u4"), ("backoff", "<f4"), ("final_cost", "<f4")])
ARC = np.dtype([("word", "<u4"), ("cost", "<f4"), ("next", "<u4")])
NEVER = 1e6  # cost, in nats, of what no path does


def write_ngram(model: NgramModel, path: str | Path, fillers: Sequence[str] = (), filler_cost: float = 0.0) -> None:
    """Write `model`, including `<unk>`, in whose place new words are recognised. The file is replaced atomically.

    fillers: words of `asr.graph.fillers.filler_words` that may stand between any two others, at a cost.
    """
    words = list(dict.fromkeys([*(word for word in model.words if word not in (BEGIN, END)), *fillers]))
    labels = {word: label for label, word in enumerate(words, 1)}
    grammar = ngram_grammar(model, labels)
    if fillers:
        grammar = with_fillers(grammar, labels, fillers, filler_cost)
    write_grammar(grammar, words, path)


def write_grammar(grammar: Automaton, words: Sequence[str], path: str | Path) -> None:
    """Write a grammar whose label k stands for `words[k - 1]`; only back-off arcs are epsilon arcs, one per state at
    most."""
    is_word = grammar.olabel > 0
    back = np.flatnonzero(~is_word)
    states = np.zeros(grammar.num_states + 1, STATE)
    states["final_cost"][:-1] = grammar.final
    states["arc_begin"] = np.concatenate(
        [[0], np.cumsum(np.bincount(grammar.source[is_word], minlength=len(states) - 1))]
    )
    states["backoff"][1:] = NEVER  # the format has a back-off of every state other than the first
    states["shorter"][grammar.source[back]] = grammar.target[back]
    states["backoff"][grammar.source[back]] = grammar.cost[back]
    arcs = np.empty(int(is_word.sum()), ARC)
    arcs["word"], arcs["cost"] = grammar.olabel[is_word] - 1, grammar.cost[is_word]
    arcs["next"] = grammar.target[is_word]
    names = text_of(words)
    header = np.zeros((), HEADER)
    header["magic"], header["version"], header["start"] = MAGIC, 1, grammar.start
    header["num_states"], header["num_arcs"], header["num_words"] = grammar.num_states, len(arcs), len(words)
    header["words_bytes"] = len(names)
    write_parts(path, header, [states, arcs, names])


class NgramFile:
    """A mapped lm.ngram. `data` is passed to the search. Raises InputError for a damaged file."""

    def __init__(self, data: NDArray[np.uint8], name: str):
        self.data = aligned(data)
        if self.data[:8].tobytes() != MAGIC:
            raise InputError(f"{name} is no packed n-gram model; make one with `asr lm convert LM.arpa NAME.ngram`")
        header, parts_in = read_parts(self.data, HEADER, name)
        if header["num_states"] == 0:
            raise InputError(f"{name} has no states; make it again with `asr lm convert LM.arpa NAME.ngram`")
        states = parts_in.take(STATE, int(header["num_states"]) + 1)
        self.arcs = parts_in.take(ARC, header["num_arcs"])
        self.words = lines_of(parts_in.take(np.uint8, header["words_bytes"]), int(header["num_words"]), name)
        self.num_unigrams = int(states["arc_begin"][1])

    @cached_property
    def unknown(self) -> int:
        """The word number of `<unk>`; -1 if the model has none."""
        return self.words.index(UNKNOWN) if UNKNOWN in self.words else -1

    @cached_property
    def slots(self) -> dict[str, int]:
        """The numbers of the model's slots."""
        return {word: number for number, word in enumerate(self.words) if word[:1] == "<" and is_slot(word)}

    @cached_property
    def cost_of_unknown(self) -> float:
        """Unigram cost of `<unk>`; 0 if the model has none."""
        return float(self.unigrams["cost"][self.unigrams["word"] == self.unknown].sum()) if self.unknown >= 0 else 0.0

    @cached_property
    def knows_contexts_of_unknown(self) -> bool:
        """Whether the model has n-grams of order 2 or more that end in `<unk>`."""
        return self.unknown >= 0 and int(np.count_nonzero(self.arcs["word"] == self.unknown)) > 1

    @cached_property
    def sorted_costs(self) -> np.ndarray:
        """Unigram costs, ascending."""
        return np.sort(self.unigrams["cost"])

    @property
    def unigrams(self) -> np.ndarray:
        """The unigrams, as records of ARC."""
        return self.arcs[: self.num_unigrams]
