"""An utterance of a stream, by a model that hears whole recordings: a bidirectional net, a pretrained encoder, or a
normalisation over the utterance.

The sound of the utterance is scored again as it grows, at most every `HOP_S`; the end is scored whole. An utterance of
up to `LONGEST_S` therefore gets exactly the words that `transcribe` finds in it. A longer one is cut in the clearest
pause of the last `LONGEST_S` seconds, and the words before the cut stay. Memory and the work per second are bounded.
"""

from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from asr.errors import InputError
from asr.features.pauses import best_pause
from asr.hypothesis import Hypothesis, Word
from asr.recognizer.hypotheses import hypothesis_of, timed
from asr.recognizer.long import join, placed
from asr.search.live import FoundSoFar, live_search
from asr.search.phrases import Phrases
from asr.search.searchers import Found

if TYPE_CHECKING:
    from asr.recognizer.recognizer import Recognizer

HOP_S = 0.3  # new sound for which an utterance is scored again
LONGEST_S, SHORTEST_S = 12.0, 6.0  # of a piece
CLOSED_S = 60.0  # longest utterance of a word list or grammar, which cannot be cut


@dataclass(frozen=True)
class SoFar:
    """The state of an utterance; times count from its start."""

    words: list[Word]
    num_stable: int
    silence_s: float  # after the last word
    final_cost: float  # cost of ending here; see `asr.search.live.FoundSoFar`


class RescoredUtterance:
    """Samples at the model's rate -> words. `start_s`: of the utterance in the stream; its words' times count on."""

    def __init__(self, recognizer: "Recognizer", phrases: Phrases | None, id: str):
        self._recognizer, self._phrases, self._id = recognizer, phrases, id
        self._rate_hz = recognizer.cfg.features.sample_rate_hz
        self._rest = np.zeros(0, np.float32)  # since the last cut
        self._cut = 0  # samples before
        self._done: list[Hypothesis] = []  # of the pieces before
        self._scored = -1  # samples of `_rest` that `_found` is of
        self._found = FoundSoFar([], 0, 0, inf)
        self._frames = 0

    def accept(self, samples: np.ndarray) -> None:
        self._rest = np.concatenate([self._rest, samples])
        if not self._recognizer.can_cut:
            if len(self._rest) > CLOSED_S * self._rate_hz:
                raise InputError(
                    f"an utterance of a word list or grammar lasts at most {CLOSED_S:g} s in a stream; call finalize() "
                    "when endpoint() tells its end"
                )
            return
        longest = round(LONGEST_S * self._rate_hz)
        while len(self._rest) > longest:
            end = best_pause(self._rest[:longest], self._rate_hz, SHORTEST_S)
            self._done.append(self._recognised(self._rest[:end]))
            self._rest, self._cut, self._scored = self._rest[end:], self._cut + end, -1

    def partial(self) -> SoFar:
        if self._scored < 0 or len(self._rest) - self._scored >= HOP_S * self._rate_hz:
            search = live_search(self._recognizer.searcher, self._phrases)
            [log_probs] = self._recognizer.log_probs([self._rest])
            search.accept(log_probs)
            self._found, self._frames, self._scored = search.partial(), len(log_probs), len(self._rest)
        frame_s, before_s = self._recognizer.frame_s, self._cut / self._rate_hz
        words = [
            replace(w, start_s=round(before_s + w.start_s, 3), end_s=round(before_s + w.end_s, 3))
            for w in timed(self._found.words, self._frames, frame_s)
        ]
        stable = [word for hypothesis in self._done for word in hypothesis.words]
        silence_s = self._found.silent_frames * frame_s
        return SoFar([*stable, *words], len(stable), silence_s, self._found.final_cost)

    def finish(self) -> Hypothesis:
        return join([*self._done, self._recognised(self._rest)])

    def _recognised(self, samples: np.ndarray) -> Hypothesis:
        [log_probs] = self._recognizer.log_probs([samples])
        duration_s = len(samples) / self._rate_hz
        if not len(log_probs):
            hypothesis = hypothesis_of(Found([], 0.0, True), 0, self._recognizer.frame_s, self._id, duration_s, 0.0)
        else:
            hypothesis = self._recognizer.search(self._id, log_probs, duration_s, self._phrases)
        return placed(hypothesis, self._cut / self._rate_hz) if self._done or self._cut else hypothesis
