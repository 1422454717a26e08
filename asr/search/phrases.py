"""Phrases that a request expects: a path that holds one costs less by its boost.

    phrases = Phrases.of_words({"jonas brothers": 4.0, "new york": 2.5}, words)
    decoder.decode(log_probs, phrases=phrases)

The boost, in cost units (nats, as LM costs), counts once for each place where the phrase stands in a path's words; a
phrase begun and abandoned, or cut off by the end of the utterance, earns nothing. Paths that differ in what they have
begun are kept apart, so the rule holds exactly. Negative boosts suppress.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from asr import _decoder
from asr.errors import InputError
from asr.textfiles import lines

MOST_BOOST = 1e4


class Phrases:
    """Immutable; any number of searches may share one."""

    def __init__(self, phrases: Iterable[tuple[Sequence[int], float]], max_label: int):
        """`phrases`: output labels of the graph, 1 to `max_label`, and the boost; given twice, the last one holds.

        Raises InputError for an empty phrase, another label, or a boost that is not finite.
        """
        checked = [(list(labels), _number(boost, labels)) for labels, boost in phrases]
        try:
            self.automaton = _decoder.Phrases(checked, max_label)
        except (ValueError, TypeError) as e:
            raise InputError(f"phrases are labels of words with a boost: {e}") from None

    @classmethod
    def of_words(cls, boosts: Mapping[str, float], words: Sequence[str]) -> "Phrases":
        """From phrases as text and the graph's words (line number = label).

        Raises InputError naming the phrases with words that the graph does not have.
        """
        if not isinstance(boosts, Mapping) or not all(isinstance(phrase, str) for phrase in boosts):
            raise InputError('phrases map texts to boosts: {"new york": 3.0}')
        labels = {word: label for label, word in enumerate(words)}
        unknown = {w: phrase for phrase in boosts for w in phrase.split() if w not in labels}
        if unknown:
            named = ", ".join(f"'{word}' in '{phrase}'" for word, phrase in list(unknown.items())[:5])
            more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
            raise InputError(f"phrases to boost have words that the graph does not know: {named}{more}")
        phrases = (([labels[word] for word in phrase.split()], boost) for phrase, boost in boosts.items())
        return cls(phrases, len(words) - 1)


def _number(boost: float, phrase: Sequence[int]) -> float:
    if isinstance(boost, bool) or not isinstance(boost, (int, float)) or not abs(boost) <= MOST_BOOST:
        raise InputError(
            f"the phrase {phrase} has the boost {boost!r}; it must be a finite number, at most {MOST_BOOST:g}"
        )
    return float(boost)


def read_phrases(path: str | Path, boost: float) -> dict[str, float]:
    """Phrases of a file, one a line, with the boost behind a tab where it is not `boost`.

    Raises InputError naming the file, and the line whose boost is no number.
    """
    phrases = {}
    for number, line in lines(path, "phrases", "one phrase per line"):
        phrase, tab, own = line.partition("\t")
        try:
            if phrase.strip():
                phrases[" ".join(phrase.split())] = float(own) if tab else boost
        except ValueError:
            raise InputError(f"{path}:{number}: the boost '{own}' of '{phrase}' is no number") from None
    return phrases
