"""Times of the words of a path, from its alignment (one token per frame) and the spellings of its words.

The output labels of a graph are no guide to times, as determinization and minimization move them; tokens are not moved.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from asr.errors import InputError
from asr.states import States
from asr.tokens import BLANK_ID

_State = tuple[int, int, int]  # word, its pronunciation, number of its tokens matched


@dataclass(frozen=True)
class Segment:
    """Consecutive frames [start, end) aligned with one token, and the token's highest log-prob in them."""

    token: int
    start: int
    end: int
    log_prob: float


def segments(alignment: np.ndarray, log_probs: np.ndarray, states: States | None = None) -> list[Segment]:
    """The segments of an alignment (F,), one token per frame. Blanks give no segment.

    With `states`, those of HMMs, the alignment holds a state per frame, and a segment is one of a phone.
    """
    if not len(alignment):
        return []
    begins = states.begins(alignment) if states else np.append(True, np.diff(alignment) != 0)
    tokens = states.phone[alignment] if states else alignment
    best = log_probs[np.arange(len(alignment)), alignment]  # (F,)
    starts = np.flatnonzero(begins).tolist()
    return [
        Segment(token, start, end, float(best[start:end].max()))
        for start, end in zip(starts, [*starts[1:], len(alignment)], strict=True)
        if (token := int(tokens[start])) != BLANK_ID
    ]


def match_words(
    tokens: Sequence[int],
    spellings: Sequence[Sequence[tuple[int, ...]]],
    between: set[int],
    complete: bool = True,
    most: Sequence[int] | None = None,
) -> list[list[int]]:
    """Match tokens with words: returns the token positions of each word.

    `spellings[i]` are the pronunciations of word i; the tokens in `between` may stand between words. Each token stands
    for one of a spelling, or for up to `most` that follow each other; its position is then repeated. A complete match
    uses all words and tokens; of several, the first in the order of the pronunciations is taken, or with `most` any. On
    an incomplete path the graph may output words before or after their tokens: the last word may be matched in part,
    and words without any token are omitted. Raises InputError if `complete` and there is no complete match.
    """
    frontier: list[_State] = [(-1, 0, 0)]
    trail: list[dict[_State, tuple[_State, list[int]]]] = []  # per token: state after -> state before, its words
    for position, token in enumerate(tokens):
        reached: dict[_State, tuple[_State, list[int]]] = {}
        for state in frontier:
            for following in _moves(state, token, spellings, between):
                reached.setdefault(following, (state, [] if following == state else [following[0]]))
        more = {state: back for state, back in reached.items() if back[1]}
        for _ in range(most[position] - 1 if most else 0):
            more = {
                following: (before, [*words, following[0]])
                for state, (before, words) in more.items()
                for following in _moves(state, token, spellings, set())
            }
            if not more:
                break
            reached |= {following: back for following, back in more.items() if following not in reached}
        if not reached:
            break
        trail.append(reached)
        frontier = list(reached)
    last = len(spellings) - 1
    ended = [(i, v, p) for i, v, p in frontier if i == last and (i < 0 or p == len(spellings[i][v]))]
    if complete and (not ended or len(trail) < len(tokens)):
        raise InputError("the path's tokens do not match the graph's lexicon.txt; run `asr graph` again")
    state = ended[0] if ended else max(frontier, key=lambda s: (s[0], s[2]))
    spans: list[list[int]] = [[] for _ in range(state[0] + 1)]
    for position in reversed(range(len(trail))):
        state, words = trail[position][state]
        for word in reversed(words):  # none of a token between words
            spans[word].insert(0, position)
    return spans


def divided(parts: Sequence[Segment], spans: Sequence[Sequence[int]]) -> list[list[Segment]]:
    """The segments of each word, of `parts` at the positions `spans`. One that stands for several tokens is divided
    into equal shares of its frames: all divisions are equally probable."""
    counts = Counter(position for span in spans for position in span)
    seen: Counter[int] = Counter()
    found: list[list[Segment]] = []
    for span in spans:
        found.append([])
        for position in span:
            part, count, number = parts[position], counts[position], seen[position]
            size = part.end - part.start
            start, end = (part.start + size * k // count for k in (number, number + 1))
            found[-1].append(replace(part, start=start, end=end) if count > 1 else part)
            seen[position] += 1
    return found


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
