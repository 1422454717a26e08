"""An utterance of a stream by a net that runs in streams, over features that do.

The sound is heard in blocks of `BLOCK_S`, so that the result does not depend on the pieces in which it arrives. The
words are those that `transcribe` finds in the utterance: the features, the net and the search give the same values for
the blocks as for the whole. An utterance of more than `LONGEST_S` is cut in its next pause of `PAUSE_S`, at last after
`MOST_S`: the search begins anew there, the net goes on. Memory is bounded.
"""

import numpy as np
import torch

from asr.hypothesis import Hypothesis
from asr.models.acoustic import AcousticModel
from asr.recognizer.hypotheses import hypothesis_of
from asr.recognizer.utterance import Pieces, SoFar, StreamRecognizer, check_closed
from asr.search.live import live_search
from asr.search.phrases import Phrases
from asr.search.searchers import Found, needs_sound

BLOCK_S = 0.1
LONGEST_S, PAUSE_S, MOST_S = 30.0, 0.3, 60.0


class StreamedUtterance:
    def __init__(self, recognizer: StreamRecognizer, phrases: Phrases | None, id: str):
        assert isinstance(recognizer.model, AcousticModel)
        self._recognizer, self._phrases, self._id = recognizer, phrases, id
        self._net = recognizer.model.net
        self._features = recognizer.model.frontend.stream()
        self._state = self._net.begin(1)
        self._rate_hz, self._frame_s = recognizer.cfg.features.sample_rate_hz, recognizer.frame_s
        self._block = round(BLOCK_S * self._rate_hz)
        self._rest = np.zeros(0, np.float32)  # samples of the next block
        self._samples = 0  # of the utterance
        self._frames = 0  # of the piece
        self._sound: list[np.ndarray] = []  # of the piece and what follows, if the second pass needs it
        self._pieces = Pieces()
        self._so_far: SoFar | None = None
        self._begin_piece(np.zeros(0, np.float32))

    def accept(self, samples: np.ndarray) -> None:
        if not self._recognizer.can_cut:
            check_closed((self._samples + len(samples)) / self._rate_hz)
        self._samples += len(samples)
        if needs_sound(self._recognizer.searcher):
            self._sound.append(samples)
        rest = np.concatenate([self._rest, samples])
        for start in range(0, len(rest) - self._block + 1, self._block):
            self._advance(self._features.accept(rest[start : start + self._block]), False)
            if self._recognizer.can_cut and self._frames * self._frame_s >= LONGEST_S:
                self._cut()
        self._rest = rest[len(rest) - len(rest) % self._block :].copy()

    def partial(self, now: bool = False) -> SoFar:
        if self._so_far is None:
            self._so_far = self._pieces.so_far(self._search.partial(), self._frames, self._frame_s)
        return self._so_far

    def finish(self) -> Hypothesis:
        features = torch.cat([self._features.accept(self._rest), self._features.finish()])
        self._advance(features, True)
        return self._pieces.joined(self._found(self._samples / self._rate_hz - self._pieces.start_s))

    @torch.inference_mode()
    def _advance(self, features: torch.Tensor, is_last: bool) -> None:
        log_probs, self._state = self._net.advance(features[None], self._state, is_last)  # (1, F, V)
        if log_probs.shape[1]:
            self._search.accept(log_probs[0].cpu().numpy())
            self._frames += log_probs.shape[1]
            self._so_far = None

    def _cut(self) -> None:
        duration_s = self._frames * self._frame_s
        if self.partial().silence_s >= PAUSE_S or duration_s >= MOST_S:
            end = round(duration_s * self._rate_hz)
            sound = np.concatenate([np.zeros(0, np.float32), *self._sound])
            self._sound = [sound[:end]]
            self._pieces.add(self._found(duration_s))
            self._begin_piece(sound[end:])

    def _begin_piece(self, sound: np.ndarray) -> None:
        self._sound = [sound]
        self._search = live_search(self._recognizer.searcher, self._phrases)
        self._frames = 0
        self._so_far = None

    def _found(self, duration_s: float) -> Hypothesis:
        found = self._search.finish(np.concatenate(self._sound)) if self._frames else Found([], 0.0, complete=True)
        options = self._recognizer.cfg.decoder
        return hypothesis_of(
            found, self._frames, self._frame_s, self._id, duration_s, options.reject_below, options.remove,
            options.remove_restarts,
        )  # fmt: skip


def can_stream(model: object) -> bool:
    """Whether net and front end give in a stream what they give for a whole recording."""
    return isinstance(model, AcousticModel) and model.frontend.can_stream and model.net.can_stream
