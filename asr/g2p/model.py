"""Grapheme to phoneme: pronunciations of words that the lexicon does not list, by a model trained on a lexicon.

A joint-sequence model (Bisani & Ney 2008, "Joint-sequence models for grapheme-to-phoneme conversion"): the words of a
lexicon are cut into chunks of letters and units (asr/g2p/alignment.py), `ph:F o:OW n:N e:`, and an n-gram model of the
chunks is estimated. A word is pronounced by a search of its letters through the graph of the n-gram: each letter is
one frame, input labels are letters, output labels are units.

    model = G2p.train(Lexicon.read("lexicon.txt"), order=8)
    model.write("g2p.npz")
    G2p.open("g2p.npz").pronounce(["phonetics"], n=3)  # {"phonetics": [Pronunciation(("F", "AH", ...), 0.93), ...]}
"""

import logging
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, cached_property
from math import exp
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import asr.lm
from asr.errors import InputError
from asr.g2p import file as g2p_file
from asr.g2p.alignment import Pair, align
from asr.graph import pack
from asr.graph.automaton import Automaton
from asr.graph.grammar import ngram_grammar
from asr.graph.opened import Graph
from asr.lm.model import MAX_ORDER, NgramModel
from asr.search.decoder import Decoder
from asr.text.lexicon import Lexicon, name_some
from asr.words import MARKS

ENGLISH = Path(__file__).with_name("g2p_en.npz")
CONSONANTS = frozenset("bcdfghjklmnpqrstvwxz")
DROPPED = "'-."  # marks inside words, ignored unless the model knows them
BEAM, LATTICE_BEAM = 12.0, 8.0  # costs; wider beams give the same words
_EVENT = re.compile(r"<.*>|\[.*\]|\{.*\}|\(.*\)|!\w+")  # <UNK>, [noise], !SIL: not spelled in letters
_log = logging.getLogger(__name__)


class Pronunciation(NamedTuple):
    units: tuple[str, ...]
    probability: float  # given the letters; sums to at most 1 over the pronunciations of a word


class G2p:
    """A pronunciation model. It is immutable, so threads may share it. Letters are lower case and Unicode NFC."""

    def __init__(
        self,
        chunks: Sequence[Pair],
        model: NgramModel,
        letter_names: Mapping[str, tuple[str, ...]],
        spelled_share: float,
    ):
        """`chunks[k]` is word k + 3 of `model`, whose first three words are the marks. A word without vowels is
        pronounced as the names of its letters with probability `spelled_share`.
        """
        self.chunks, self.model = list(chunks), model
        self.letter_names, self.spelled_share = dict(letter_names), spelled_share
        self.letters = sorted({letter for letters, _ in self.chunks for letter in letters})
        self.units = sorted({unit for _, units in self.chunks for unit in units})
        self._column = {letter: k for k, letter in enumerate(self.letters)}

    @classmethod
    def train(cls, lexicon: Lexicon, order: int, max_letters: int = 2, max_units: int = 3) -> "G2p":
        """Trains a model on all pronunciations of a lexicon. A warning names words that cannot be cut into chunks.

        Raises InputError for sizes out of range, and if no word can be cut.
        """
        if not 1 <= order <= MAX_ORDER:
            raise InputError(f"g2p.order is {order}; it must be from 1 to {MAX_ORDER}")
        if not (max_letters >= 1 and max_units >= 1):
            raise InputError(f"g2p.max_letters is {max_letters}, g2p.max_units is {max_units}; both must be 1 or more")
        if events := [word for word in lexicon.pronunciations if _EVENT.fullmatch(word)]:
            _log.warning("%d words of the lexicon that stand for noises or the like are left out: %s", len(events),
                         name_some(events))  # fmt: skip
        pairs = [(normal(word), units) for word, units in lexicon.items() if not _EVENT.fullmatch(word)]
        if not pairs:
            raise InputError(f"the lexicon has no words but {name_some(events)}; give one of words and their units")
        alignment = align(pairs, max_letters, max_units)
        uncut = [f"{word} ({' '.join(units)})" for (word, units), cut in zip(pairs, alignment.cuts, strict=True)
                 if not cut]  # fmt: skip
        if len(uncut) == len(pairs):
            raise InputError(f"no word of the lexicon can be cut into chunks of up to {max_letters} letters and "
                             f"{max_units} units ({name_some(uncut)}); allow longer ones")  # fmt: skip
        if uncut:
            _log.warning("%d of %d pronunciations cannot be cut into chunks of letters and units and are ignored: %s",
                         len(uncut), len(pairs), name_some(uncut))  # fmt: skip
        names = chunk_names(len(alignment.chunks))
        model = asr.lm.train((" ".join(names[c] for c in cut) for cut in alignment.cuts), order)
        return cls(alignment.chunks, model, *_spelling_habit(lexicon))

    @classmethod
    def open(cls, path: str | Path) -> "G2p":
        """Opens a file. Raises InputError naming a file that is not a pronunciation model, or is damaged."""
        chunks, letter_names, spelled_share, orders = g2p_file.read(path)
        return cls(chunks, NgramModel([*MARKS, *chunk_names(len(chunks))], orders), letter_names, spelled_share)

    @classmethod
    def default(cls) -> "G2p":
        """The English model of the package, with the 39 phones of the CMU dictionary (asr/g2p/g2p_en.md)."""
        return _english()

    def write(self, path: str | Path) -> None:
        """Writes the model's file (asr/g2p/file.py), atomically."""
        contents = g2p_file.Contents(self.chunks, self.letter_names, self.spelled_share, self.model.orders)
        g2p_file.write(path, contents)

    def pronounce(
        self, words: Iterable[str], n: int = 1, min_probability: float = 0.0
    ) -> dict[str, list[Pronunciation]]:
        """Up to `n` pronunciations per word, the most probable first, the others of at least `min_probability`.

        Words with a letter or a sequence of letters that the model cannot read are left out.
        """
        if not n >= 1:
            raise InputError(f"g2p.nbest is {n}; it must be at least 1")
        self._decoder  # noqa: B018 (built before the progress bar starts)
        bar = tqdm(dict.fromkeys(words), unit=" words", desc="pronounce", delay=2.0, leave=False)
        found = {word: self._pronounce(word, n, min_probability) for word in bar}
        return {word: variants for word, variants in found.items() if variants}

    def best(self, words: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The most probable pronunciation of each word, as `pronounce` finds it. It is several times as fast, since it
        computes no alternatives and no probabilities."""
        bar = tqdm(dict.fromkeys(words), unit=" words", desc="pronounce", delay=2.0, leave=False)
        found = {word: self._best(word) for word in bar}
        return {word: units for word, units in found.items() if units}

    def _best(self, word: str) -> tuple[str, ...]:
        letters = self._spelling(word)
        log_probs = self._log_probs(letters)
        if log_probs is not None and not _is_initials(letters, self.letter_names):
            path = self._decoder.decode(log_probs)
            if path.complete and path.labels:
                return tuple(self.units[label - 1] for label in path.labels)
        variants = self._pronounce(word, 1, 0.0)
        return variants[0].units if variants else ()

    def _pronounce(self, word: str, n: int, min_probability: float) -> list[Pronunciation]:
        letters = self._spelling(word)
        variants = self._search(letters, n)
        if variants and _is_initials(letters, self.letter_names):
            spelled, rest = _spelled(letters, self.letter_names), 1 - self.spelled_share
            by_model = sum(v.probability for v in variants if v.units == spelled)
            others = [Pronunciation(v.units, rest * v.probability) for v in variants if v.units != spelled]
            variants = [Pronunciation(spelled, self.spelled_share + rest * by_model), *others]
        return variants[:1] + [v for v in variants[1:n] if v.probability >= min_probability]

    def _search(self, letters: str, n: int) -> list[Pronunciation]:
        """The `n` best pronunciations of letters; empty if the graph has no path for them."""
        log_probs = self._log_probs(letters)
        if log_probs is None:
            return []
        lattice = self._decoder.decode_lattice(log_probs).lattice
        if not lattice.complete:
            return []
        log_mass = lattice.log_masses()[0]
        spoken = [reading for reading in lattice.nbest(n + 1) if reading.labels][:n]  # one may have no units
        return [Pronunciation(tuple(self.units[label - 1] for label in reading.labels), exp(-reading.cost - log_mass))
                for reading in spoken]  # fmt: skip

    def _log_probs(self, letters: str) -> NDArray[np.float32] | None:
        """(F, V): one letter per frame. None without letters, or with a letter that the model does not know."""
        columns = [self._column[letter] for letter in letters if letter in self._column]
        if len(columns) < len(letters) or not columns:
            return None
        log_probs = np.full((len(columns), len(self.letters)), -np.inf, np.float32)
        log_probs[np.arange(len(columns)), columns] = 0.0
        return log_probs

    def _spelling(self, word: str) -> str:
        """The word's letters. Letters that the model does not know lose their accents, such marks are dropped."""
        known = (letter if letter in self._column else _bare(letter) for letter in normal(word))
        return "".join(letter for letter in known if letter in self._column or letter not in DROPPED)

    @cached_property
    def _decoder(self) -> Decoder:
        graph = Graph.from_bytes(pack.to_bytes(self.automaton().arrays()))
        return Decoder(graph, beam=BEAM, min_active=0, lattice_beam=LATTICE_BEAM)

    def automaton(self) -> Automaton:
        """The graph of the n-gram: letters in (label k + 1 for `letters[k]`), units out, costs in natural logs.

        Each arc of the n-gram's grammar becomes a chain of arcs that read the chunk's letters and write its units.
        """
        grammar = ngram_grammar(self.model, {name: k + 1 for k, name in enumerate(chunk_names(len(self.chunks)))})
        inputs, outputs = _padded(self.chunks, self.letters, self.units)  # (C + 2, links): per label of the grammar
        links = np.maximum(1, np.maximum((inputs > 0).sum(1), (outputs > 0).sum(1)))[grammar.ilabel]
        first = grammar.num_states + np.cumsum(links - 1) - (links - 1)  # first state inside each chain
        columns = []
        for link in range(inputs.shape[1]):
            has_link, is_last = links > link, links == link + 1
            source = grammar.source if link == 0 else first + link - 1
            target = np.where(is_last, grammar.target, first + link)
            cost = grammar.cost if link == 0 else np.zeros_like(grammar.cost)
            labels = inputs[grammar.ilabel, link], outputs[grammar.ilabel, link]
            columns.append([column[has_link] for column in (source, *labels, cost, target)])
        final = np.concatenate([grammar.final, np.full(int((links - 1).sum()), np.inf)])
        return Automaton.from_arcs(grammar.start, final, *map(np.concatenate, zip(*columns, strict=True)))


def normal(word: str) -> str:
    """A word as models spell it: Unicode NFC, lower case, `'` as the only apostrophe."""
    return unicodedata.normalize("NFC", word.casefold()).replace("\u2019", "'")


def chunk_names(count: int) -> list[str]:
    """Names of the chunks as words of the n-gram: their numbers, zero-padded so that they sort as text."""
    return [f"{k:07d}" for k in range(count)]


def _spelling_habit(lexicon: Lexicon) -> tuple[dict[str, tuple[str, ...]], float]:
    """The names of the letters (the pronunciations of one-letter words), and the share of words without vowels that
    are pronounced as the names of their letters.

    No names if the share is below 0.5: some languages have many words without vowels.
    """
    letter_names = {normal(word): variants[0] for word, variants in lexicon.pronunciations.items() if len(word) == 1}
    words = [word for word in lexicon.pronunciations if _is_initials(normal(word), letter_names)]
    spelled = [word for word in words if _spelled(normal(word), letter_names) in lexicon.pronunciations[word]]
    share = len(spelled) / max(1, len(words))
    return (letter_names, share) if share >= 0.5 else ({}, 0.0)


def _spelled(letters: str, letter_names: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(unit for letter in letters for unit in letter_names[letter])


def _is_initials(letters: str, letter_names: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether the letters are two or more Latin consonants that all have names."""
    return len(letters) > 1 and all(letter in CONSONANTS and letter in letter_names for letter in letters)


def _padded(
    chunks: Sequence[Pair], letters: Sequence[str], units: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(C + 2, links) input and output labels. Row 0 is epsilon, row k + 1 is chunk k, the last row is the back-off."""
    links = max(max(len(a), len(b)) for a, b in chunks)
    letter_label = {letter: k + 1 for k, letter in enumerate(letters)}
    unit_label = {unit: k + 1 for k, unit in enumerate(units)}
    inputs, outputs = np.zeros((2, len(chunks) + 2, links), np.int64)
    for row, (chunk_letters, chunk_units) in enumerate(chunks, 1):
        inputs[row, : len(chunk_letters)] = [letter_label[letter] for letter in chunk_letters]
        outputs[row, : len(chunk_units)] = [unit_label[unit] for unit in chunk_units]
    return inputs, outputs


def _bare(letter: str) -> str:
    """The letter without accents."""
    return "".join(c for c in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(c))


@cache
def _english() -> G2p:
    return G2p.open(ENGLISH)
