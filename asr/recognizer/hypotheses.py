"""Log-probs -> words with times.

A net trained with CTC marks each token with a short peak. A word therefore starts at the first frame of its first token
and ends `EXTENSION_S` after the last frame of its last token, but at most halfway to the next word. HMMs give every
frame to a phone, so their words end with their last frame.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

import numpy as np

from asr.errors import InputError
from asr.hypothesis import Alternative, Bin, Choice, Hypothesis, Word
from asr.recognizer.restarts import are_restarts, without_restarts
from asr.search.phrases import Phrases
from asr.search.searchers import Choices, Found, FoundWord, Searcher

EXTENSION_S = 0.1


def decode_log_probs(
    log_probs: np.ndarray,
    searcher: Searcher,
    frame_s: float,
    id: str = "",
    duration_s: float | None = None,
    phrases: Phrases | None = None,
    reject_below: float = 0.0,
    remove: Collection[str] = (),
    remove_restarts: bool = False,
) -> Hypothesis:
    """Search log-probs (F, V), natural log, for words with times in seconds; `frame_s` is the length of a frame.

    Words with a confidence below `reject_below`, those of `remove`, and with `remove_restarts` those said again
    (asr.recognizer.restarts), stay in `words`, with `accepted=False`, and are left out of `text`.
    Raises InputError if the log-probs are not a matrix or contain NaN.
    """
    if log_probs.ndim != 2 or np.isnan(log_probs).any():
        raise InputError(
            f"the log-probs of utterance '{id}' have shape {log_probs.shape} and {np.isnan(log_probs).sum()} NaN; "
            "expected (frames, tokens) without NaN: the model may have diverged"
        )
    frames = len(log_probs)
    duration_s = frames * frame_s if duration_s is None else duration_s
    if frames == 0:
        return Hypothesis(id, "", [], 0.0, duration_s, complete=True)
    found = searcher.search(np.ascontiguousarray(log_probs, dtype=np.float32), phrases)
    return hypothesis_of(found, frames, frame_s, id, duration_s, reject_below, remove, remove_restarts)


def hypothesis_of(
    found: Found,
    frames: int,
    frame_s: float,
    id: str,
    duration_s: float,
    reject_below: float,
    remove: Collection[str] = (),
    remove_restarts: bool = False,
) -> Hypothesis:
    """The result of a search of so many frames, with times in seconds."""
    words = list(timed(found.words, frames, frame_s, reject_below, remove))
    others = [Alternative(_without(other, remove), cost) for other, cost in found.alternatives]
    if remove_restarts:
        words = _without_restarts(words)
        others = [Alternative(without_restarts(other.text), other.cost) for other in others]
    text = " ".join(w.word for w in words if w.accepted)
    bins = list(_bins(found.confusion, words, frames * frame_s))
    return Hypothesis(id, text, words, found.cost, duration_s, found.complete, others, bins)


def _bins(confusion: Sequence[Choices], words: Sequence[Word], end_s: float) -> Iterator[Bin]:
    """The bins of all words, and of the gaps in which another reading has a word."""
    for number, choices in enumerate(confusion):
        at, is_word = divmod(number, 2)
        own = words[at].word if is_word else None
        kept = [Choice(text, round(share, 4)) for text, share in choices if round(share, 4) or text == own]
        if is_word:
            yield Bin(words[at].start_s, words[at].end_s, kept)
        elif any(choice.word for choice in kept):
            start_s = words[at - 1].end_s if at else 0.0
            yield Bin(start_s, max(start_s, words[at].start_s if at < len(words) else round(end_s, 3)), kept)


def _without_restarts(words: list[Word]) -> list[Word]:
    """Words that are not accepted may stand between a restart and the word itself: I um I want."""
    numbers = [number for number, word in enumerate(words) if word.accepted]
    flags = are_restarts([words[number].word for number in numbers])
    restarts = {number for number, is_restart in zip(numbers, flags, strict=True) if is_restart}
    return [replace(word, accepted=False) if number in restarts else word for number, word in enumerate(words)]


def _without(text: str, remove: Collection[str]) -> str:
    return " ".join(word for word in text.split() if word not in remove) if remove else text


def timed(
    words: Sequence[FoundWord],
    frames: int,
    frame_s: float,
    reject_below: float = 0.0,
    remove: Collection[str] = (),
) -> Iterator[Word]:
    """Words with times in seconds; those with a confidence below `reject_below`, or in `remove`, are not accepted."""
    starts = [found.segments[0].start for found in words]
    for number, found in enumerate(words):
        end = found.segments[-1].end
        room = (starts[number + 1] - end) / 2 if number + 1 < len(words) else frames - end
        end_s = end * frame_s + (0.0 if found.has_end else min(EXTENSION_S, room * frame_s))
        confidence = round(found.confidence, 4)
        is_accepted = confidence >= reject_below and found.word not in remove
        yield Word(found.word, round(starts[number] * frame_s, 3), round(end_s, 3), confidence, is_accepted)
