"""Where the words of a path lie: a search's alignment, a token a frame, matched with the words' spellings.

Output labels of a graph tell little of times, as determinization and minimization move them; tokens stay.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from asr.errors import InputError
from asr.tokens import BLANK_ID

_State = tuple[int, int, int]  # word, its pronunciation, tokens of it seen


@dataclass(frozen=True)
class Segment:
    """The frames [start, end) on which an alignment holds one token, and the token's highest log-prob there."""

    token: int
    start: int
    end: int
    log_prob: float


def segments(alignment: np.ndarray, log_probs: np.ndarray) -> list[Segment]:
    """Collapse an alignment (F,), a token a frame, by the CTC rule; blanks leave no segment."""
    edges = np.flatnonzero(np.diff(alignment)) + 1
    starts, ends = [0, *edges.tolist()], [*edges.tolist(), len(alignment)]
    return [
        Segment(token, start, end, float(log_probs[start:end, token].max()))
        for start, end in zip(starts, ends, strict=True)
        if (token := int(alignment[start])) != BLANK_ID
    ]


def match_words(
    tokens: Sequence[int], spellings: Sequence[Sequence[tuple[int, ...]]], between: set[int], complete: bool = True
) -> list[list[int]]:
    """Which tokens spell which word: the token positions of each word.

    `spellings[i]` are the pronunciations of word i; tokens of `between` may stand between words. A complete match
    uses every word and token; where several do, the first in the order of the pronunciations is taken. For an
    incomplete path the graph may name words before or after their tokens: the last word may be a part only, and
    words without any token are left off. Raises InputError when a complete match is wanted and there is none.
    """
    frontier: list[_State] = [(-1, 0, 0)]
    trail: list[dict[_State, _State]] = []  # for each token: state after it -> state before it
    for token in tokens:
        reached: dict[_State, _State] = {}
        for state in frontier:
            for following in _moves(state, token, spellings, between):
                reached.setdefault(following, state)
        if not reached:
            break
        trail.append(reached)
        frontier = list(reached)
    last = len(spellings) - 1
    ended = [(i, v, p) for i, v, p in frontier if i == last and (i < 0 or p == len(spellings[i][v]))]
    if complete and (not ended or len(trail) < len(tokens)):
        raise InputError("the graph's path is not spelled by its lexicon.txt; run `asr graph` again")
    state = ended[0] if ended else max(frontier, key=lambda s: (s[0], s[2]))
    spans: list[list[int]] = [[] for _ in range(state[0] + 1)]
    for position in reversed(range(len(trail))):
        before = trail[position][state]
        if before != state:  # the token was not skipped
            spans[state[0]].insert(0, position)
        state = before
    return spans


def _moves(
    state: _State, token: int, spellings: Sequence[Sequence[tuple[int, ...]]], between: set[int]
) -> Iterator[_State]:
    word, variant, seen = state
    if word >= 0 and seen < len(spellings[word][variant]):
        if spellings[word][variant][seen] == token:
            yield word, variant, seen + 1
        return
    if word + 1 < len(spellings):
        for number, spelling in enumerate(spellings[word + 1]):
            if spelling[0] == token:
                yield word + 1, number, 1
    if token in between:
        yield state
