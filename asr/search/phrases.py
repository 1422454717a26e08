"""Boosted phrases: each occurrence of a phrase lowers the cost of a path by the boost of the phrase.

    phrases = Phrases.of_words({"jonas brothers": 4.0, "new york": 2.5}, space.labels, len(space.words) - 1)
    decoder.decode(log_probs, phrases=phrases)

Boosts are in nats, as LM costs are; negative boosts suppress a phrase. Occurrences may overlap, and each one counts. A
phrase that a path begins but does not complete, also at the end of the utterance, changes no cost. The search does not
merge paths that have begun different phrases, so this holds exactly.

A boost is a preference, not evidence: it decides between readings, and no confidence counts it.
"""

import logging
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from asr import _decoder
from asr.errors import InputError
from asr.frozen import Content, FrozenDict
from asr.textfiles import lines

MOST_BOOST = 1e4  # nats
# A list of so many single words raises the error rate of other speech from about this sum of e^boost - 1 on:
# docs/measured/lattices.md
MANY, HARMLESS, MOST_EXPONENT = 1000, 20_000, 50.0
MOST_KEPT = 8  # lists of phrases for each vocabulary: with 10,000 phrases and a million words, 10 MB each
_log = logging.getLogger(__name__)


class Phrases:
    """Immutable; shared by any number of searches.

    `left_out`: the phrases that have a word outside the vocabulary, and that word.
    """

    def __init__(
        self,
        phrases: Iterable[tuple[Sequence[int], float]],
        max_label: int,
        left_out: Mapping[str, str] | None = None,
        unknown: str = "the graph does not know",
    ):
        """A phrase is a sequence of output labels, 1 to `max_label`, with a boost; the last boost given for it counts.

        Raises InputError for an empty phrase, a label out of range, or an invalid boost.
        """
        checked = [(list(labels), _number(boost, labels)) for labels, boost in phrases]
        self.left_out, self._unknown = dict(left_out or {}), unknown
        self.suppress = any(boost < 0 for _, boost in checked)  # whether readings may be lost that no phrase favours
        self.largest = max((boost for _, boost in checked), default=0.0)
        try:
            self.automaton = _decoder.Phrases(checked, max_label)
        except (ValueError, TypeError) as e:
            raise InputError(f"a phrase is a sequence of word labels with a boost: {e}") from None

    @classmethod
    def of_words(
        cls,
        boosts: Mapping[str, float],
        labels: Mapping[str, int],
        max_label: int,
        segmented: Callable[[str], str] = str,
    ) -> "Phrases":
        """From phrases as text, the labels of the graph's words, the largest label, and what splits a phrase into the
        words of the graph.

        Raises InputError as `of_texts` does.
        """

        def lacking(phrase: str) -> str | None:
            return next((word for word in segmented(phrase).split() if not labels.get(word)), None)

        def spelled(phrase: str) -> list[list[int]]:
            return [[labels[word] for word in segmented(phrase).split()]]

        advice = "give phrases of its words; a dynamic graph takes others as new words"
        found = cls.of_texts(boosts, lacking, spelled, max_label, ("the graph does not know", advice))
        _warn_of_single_words([own for phrase, own in boosts.items() if len(phrase.split()) == 1 and phrase in labels])
        return found

    @classmethod
    def of_texts(
        cls,
        boosts: Mapping[str, float],
        lacking: Callable[[str], str | None],
        spelled: Callable[[str], Iterable[Sequence[int]]],
        max_label: int,
        lack: tuple[str, str],
    ) -> "Phrases":
        """From phrases as text. `lacking`: the word of a phrase that the search cannot output, if there is one.
        `spelled`: the label sequences of a phrase that has no such word. `lack`: how to say that words are unknown, and
        what to do then.

        Phrases with such a word are left out; a warning names them. Raises InputError if no phrase remains.
        """
        unknown, advice = lack
        if not isinstance(boosts, Mapping) or not all(isinstance(phrase, str) for phrase in boosts):
            raise InputError('phrases must be a mapping from text to boost: {"new york": 3.0}')
        boosts = {phrase: _number(boost, phrase) for phrase, boost in boosts.items()}
        left_out = {phrase: word for phrase in boosts if (word := lacking(phrase))}
        known = {phrase: boost for phrase, boost in boosts.items() if phrase not in left_out}
        if left_out and not known:
            raise InputError(f"{unknown} words of any phrase to boost: {_named(left_out)}; {advice}")
        found = ((labels, boost) for phrase, boost in known.items() for labels in spelled(phrase))
        compiled = cls(found, max_label, left_out, unknown)
        compiled.warn(len(boosts))
        return compiled

    def warn(self, given: int) -> None:
        """Warns of phrases that are left out, if there are any, `given` being the number of all."""
        if self.left_out:
            _log.warning("%d of %d phrases are not boosted, because %s their words: %s",
                         len(self.left_out), given, self._unknown, _named(self.left_out))  # fmt: skip


class KeptPhrases:
    """The lists of phrases of one vocabulary that were compiled last, by their content: requests often send the same.

    Shared by threads. Two that ask for a new list at once both compile it.
    """

    def __init__(self, compile: Callable[[Mapping[str, float]], Phrases]):
        self._compile, self._lock = compile, threading.Lock()
        self._kept: OrderedDict[Content, Phrases] = OrderedDict()

    def __call__(self, boosts: Mapping[str, float]) -> Phrases:
        """A `FrozenDict`, as `DecodingOptions` have, that is given again is compared by its place in memory alone."""
        try:
            items = boosts if isinstance(boosts, FrozenDict) else FrozenDict(boosts)
            key = items.content
        except (TypeError, ValueError):  # no mapping, or to lists
            return self._compile(boosts)  # which refuses it
        with self._lock:
            found = self._kept.get(key)
        if found is None:
            found = self._compile(boosts)
        else:
            found.warn(len(boosts))
        with self._lock:
            self._kept[key] = found
            self._kept.move_to_end(key)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return found


def _warn_of_single_words(boosts: Sequence[float]) -> None:
    """Warns if the boosts of these single words are likely to raise the error rate of all other speech."""
    if len(boosts) >= MANY and sum(math.expm1(min(boost, MOST_EXPONENT)) for boost in boosts) > HARMLESS:
        _log.warning("%d single words are boosted by %.1f on average, which raises the error rate of all other speech; "
                     "give them another word before or behind, or a boost of at most %.1f", len(boosts),
                     sum(boosts) / len(boosts), math.log1p(HARMLESS / len(boosts)))  # fmt: skip


def _named(left_out: Mapping[str, str]) -> str:
    named = ", ".join(f"'{word}' in '{phrase}'" for phrase, word in list(left_out.items())[:5])
    return named + (f" and {len(left_out) - 5} more" if len(left_out) > 5 else "")


def _number(boost: float, phrase: str | Sequence[int]) -> float:
    if isinstance(boost, bool) or not isinstance(boost, (int, float)) or not abs(boost) <= MOST_BOOST:
        raise InputError(
            f"the phrase {phrase!r} has the boost {boost!r}; it must be a finite number, at most {MOST_BOOST:g}"
        )
    return float(boost)


def read_phrases(path: str | Path, boost: float, per_word: bool = False) -> dict[str, float]:
    """The phrases of a file, one per line: `phrase`, or `phrase<TAB>boost`. `boost` is the default, with `per_word` for
    each word of a phrase.

    Raises InputError naming the file, and the line of an invalid boost.
    """
    phrases = {}
    for number, line in lines(path, "phrases", "one phrase per line"):
        phrase, tab, own = line.partition("\t")
        try:
            if words := phrase.split():
                phrases[" ".join(words)] = float(own) if tab else boost * (len(words) if per_word else 1)
        except ValueError:
            raise InputError(f"{path}:{number}: the boost '{own}' of '{phrase}' is not a number") from None
    return phrases
