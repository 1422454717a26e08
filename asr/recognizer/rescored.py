"""An utterance of a stream by a model that hears whole recordings: a bidirectional net, a pretrained encoder, or a
normalisation over the utterance (`features.cmvn=speech` or `utterance`).

The sound is scored again when its state is asked for, up to the last multiple of `HOP_S`. So the state depends on the
sound alone, not on when it was asked for before. At the end the whole is scored, so an utterance of up to `LONGEST_S`
gets exactly the words that `transcribe` finds in it. A longer one is cut in the clearest pause of its last `LONGEST_S`;
the words before the cut stay. Memory and the work per second of sound are bounded.
"""

from dataclasses import replace
from math import inf

import numpy as np

from asr.features.pauses import best_pause
from asr.hypothesis import Hypothesis
from asr.recognizer.utterance import Pieces, SoFar, StreamRecognizer, check_closed
from asr.search.live import FoundSoFar, live_search
from asr.search.phrases import Phrases

HOP_S = 0.3
LONGEST_S, SHORTEST_S = 12.0, 6.0  # of a piece


class RescoredUtterance:
    def __init__(self, recognizer: StreamRecognizer, phrases: Phrases | None, id: str):
        self._recognizer, self._phrases, self._id = recognizer, phrases, id
        self._rate_hz = recognizer.cfg.features.sample_rate_hz
        self._pieces = Pieces()
        self._rest = np.zeros(0, np.float32)  # since the last cut
        self._begin_piece()

    def _begin_piece(self) -> None:
        self._num_scored = 0  # samples of the rest
        self._scored = np.zeros((0, 0), np.float32)  # their log-probs
        self._found = FoundSoFar([], 0, 0, inf)

    def accept(self, samples: np.ndarray) -> None:
        rest = np.concatenate([self._rest, samples])
        if not self._recognizer.can_cut:
            check_closed(len(rest) / self._rate_hz)
        self._rest, longest = rest, round(LONGEST_S * self._rate_hz)
        while self._recognizer.can_cut and len(self._rest) > longest:
            end = best_pause(self._rest[:longest], self._rate_hz, SHORTEST_S)
            piece, self._rest = self._rest[:end], self._rest[end:]
            [log_probs] = self._recognizer.log_probs([piece])
            self._pieces.add(self._searched(log_probs, piece))
            self._begin_piece()

    def partial(self, now: bool = False) -> SoFar:
        """Without `now`, the last `HOP_S` may not be heard yet."""
        hop = 1 if now else round(HOP_S * self._rate_hz)
        if (end := len(self._rest) // hop * hop) > self._num_scored:
            self._score(end)
            search = live_search(self._recognizer.searcher, self._phrases)
            search.accept(self._inner())
            self._found = replace(search.partial(), num_stable=0)  # the next score may change all
        return self._pieces.so_far(self._found, len(self._inner()), self._recognizer.frame_s)

    def _inner(self) -> np.ndarray:
        """The log-probs of the sound itself, without the noise around it (`decoder.pad_s`)."""
        side = round(self._recognizer.cfg.decoder.pad_s / self._recognizer.frame_s)
        return self._scored[side : max(side, len(self._scored) - side)]

    def finish(self) -> Hypothesis:
        if len(self._rest) != self._num_scored or not self._num_scored:
            self._score(len(self._rest))
        return self._pieces.joined(self._searched(self._scored, self._rest))

    def _score(self, end: int) -> None:
        [self._scored] = self._recognizer.log_probs([self._rest[:end]])
        self._num_scored = end

    def _searched(self, log_probs: np.ndarray, samples: np.ndarray) -> Hypothesis:
        return self._recognizer.search(self._id, log_probs, len(samples) / self._rate_hz, self._phrases, samples)
