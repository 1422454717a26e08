"""Boosted phrases: each occurrence of a phrase lowers the cost of a path by the boost of the phrase.

    phrases = Phrases.of_words({"jonas brothers": 4.0, "new york": 2.5}, space.labels, len(space.words) - 1)
    decoder.decode(log_probs, phrases=phrases)

Boosts are in nats, as LM costs are; negative boosts suppress a phrase. Occurrences may overlap, and each one counts. A
phrase that a path begins but does not complete, also at the end of the utterance, changes no cost. The search does not
merge paths that have begun different phrases, so this holds exactly.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from asr import _decoder
from asr.errors import InputError
from asr.textfiles import lines

MOST_BOOST = 1e4  # nats


class Phrases:
    """Immutable; shared by any number of searches."""

    def __init__(self, phrases: Iterable[tuple[Sequence[int], float]], max_label: int):
        """A phrase is a sequence of output labels, 1 to `max_label`, with a boost; the last boost given for it counts.

        Raises InputError for an empty phrase, a label out of range, or an invalid boost.
        """
        checked = [(list(labels), _number(boost, labels)) for labels, boost in phrases]
        try:
            self.automaton = _decoder.Phrases(checked, max_label)
        except (ValueError, TypeError) as e:
            raise InputError(f"a phrase is a sequence of word labels with a boost: {e}") from None

    @classmethod
    def of_words(cls, boosts: Mapping[str, float], labels: Mapping[str, int], max_label: int) -> "Phrases":
        """From phrases as text, the labels of the graph's words, and the largest label.

        Raises InputError naming the phrases with words that the graph does not have.
        """
        if not isinstance(boosts, Mapping) or not all(isinstance(phrase, str) for phrase in boosts):
            raise InputError('phrases must be a mapping from text to boost: {"new york": 3.0}')
        unknown = {w: phrase for phrase in boosts for w in phrase.split() if not labels.get(w)}
        if unknown:
            named = ", ".join(f"'{word}' in '{phrase}'" for word, phrase in list(unknown.items())[:5])
            more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
            raise InputError(f"phrases to boost have words that the graph does not know: {named}{more}; remove these")
        phrases = (([labels[word] for word in phrase.split()], boost) for phrase, boost in boosts.items())
        return cls(phrases, max_label)


def _number(boost: float, phrase: Sequence[int]) -> float:
    if isinstance(boost, bool) or not isinstance(boost, (int, float)) or not abs(boost) <= MOST_BOOST:
        raise InputError(
            f"the phrase {phrase} has the boost {boost!r}; it must be a finite number, at most {MOST_BOOST:g}"
        )
    return float(boost)


def read_phrases(path: str | Path, boost: float) -> dict[str, float]:
    """The phrases of a file, one per line: `phrase`, or `phrase<TAB>boost`; `boost` is the default.

    Raises InputError naming the file, and the line of an invalid boost.
    """
    phrases = {}
    for number, line in lines(path, "phrases", "one phrase per line"):
        phrase, tab, own = line.partition("\t")
        try:
            if phrase.strip():
                phrases[" ".join(phrase.split())] = float(own) if tab else boost
        except ValueError:
            raise InputError(f"{path}:{number}: the boost '{own}' of '{phrase}' is not a number") from None
    return phrases
