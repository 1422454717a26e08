"""Recognising sound while it arrives.

    stream = recognizer.stream()
    for samples in microphone:  # (T,) of any length
        stream.accept(samples, sample_rate_hz=48000)
        print(stream.partial().text)
        if stream.endpoint():
            print(stream.finalize().text)  # this utterance; the stream goes on with the next one
    print(stream.finish().text)

The words of an utterance do not depend on the lengths of the pieces. It has none unless at least `LEAST_SPEECH_S` of it
may be speech to the voice activity detector, so that the noise between two utterances is not taken for words. A stream
is used by one thread at a time; different streams of a recogniser by any number of threads.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import soxr

from asr.errors import InputError
from asr.features.vad import VADS
from asr.hypothesis import Hypothesis, Word
from asr.recognizer.inputs import check_rate, chunk_of
from asr.recognizer.rescored import RescoredUtterance
from asr.recognizer.searching import NoSearcher
from asr.recognizer.streamed import StreamedUtterance, can_stream
from asr.recognizer.utterance import SoFar, StreamRecognizer, Utterance, moved
from asr.recognizer.written import Writing
from asr.search.endpoint import EndpointOptions, holding
from asr.search.phrases import Phrases

LEAST_SPEECH_S = 0.08


@dataclass(frozen=True)
class StreamPartial:
    """The words of the utterance so far; times count from the beginning of the stream."""

    text: str
    words: tuple[Word, ...]
    num_stable: int  # the first words that will not change; their times and confidences may


@dataclass(frozen=True)
class StreamEnd:
    """An endpoint: the name of the rule that holds, and the time where speech stopped, from the stream's beginning."""

    rule: str
    at_s: float


class Stream:
    """One stream of sound. Made by `Recognizer.stream`."""

    def __init__(
        self,
        recognizer: StreamRecognizer,
        phrases: Phrases | None = None,
        endpoint: EndpointOptions | None = None,
        writing: Writing | None = None,
    ):
        """`writing`: how final results are written; partial results are as spoken."""
        if recognizer.cfg.features.kind == "stored":
            raise InputError("this model takes stored features, which are files; a stream takes sound")
        if isinstance(recognizer.searcher, NoSearcher):
            recognizer.searcher.refuse()
        if not isinstance(endpoint, EndpointOptions | None):
            raise InputError(f"endpoint must be asr.EndpointOptions(...), not {type(endpoint).__name__}")
        self._recognizer, self._phrases, self._writing = recognizer, phrases, writing
        self._endpoint = endpoint or EndpointOptions()
        self._wanted_hz = recognizer.cfg.features.sample_rate_hz
        self._heard_s, self._start_s = 0.0, 0.0  # all sound; sound before this utterance
        self._speech_s = 0.0  # of the detector before this utterance
        self._number = 0  # of the utterance
        self._is_finished = False
        self.spoken: Hypothesis | None = None  # what `finalize` found last, before it was written otherwise
        self._vad = VADS[self._endpoint.vad](self._wanted_hz)
        self._rate_hz = 0.0  # of the samples accepted last in this utterance
        self._resampler: soxr.ResampleStream | None = None
        self._begin()

    @property
    def heard_s(self) -> float:
        """Seconds of sound accepted."""
        return self._heard_s

    def accept(self, samples: Any, sample_rate_hz: float) -> None:
        """The next samples (T,), float in [-1, 1] or int16, of any length. The rate may change from call to call.

        Raises InputError for other arrays, NaN and samples far outside [-1, 1]; the stream then is as before. Raises it
        after `finish`, too.
        """
        self._check_open()
        if sample_rate_hz is None:
            raise InputError("give the sample_rate_hz of the samples")
        check_rate(sample_rate_hz)
        x = chunk_of(samples)
        if sample_rate_hz != self._rate_hz:
            self._flush()
            self._rate_hz = sample_rate_hz
            if sample_rate_hz != self._wanted_hz:
                self._resampler = soxr.ResampleStream(sample_rate_hz, self._wanted_hz, 1, dtype="float32")
        self._hear(self._resampler.resample_chunk(x) if self._resampler else x)
        self._heard_s += len(x) / sample_rate_hz

    def partial(self) -> StreamPartial:
        """The words so far, which later sound may change but for the first `num_stable`."""
        found = self._so_far()
        words = tuple(moved(word, self._start_s) for word in found.words)
        return StreamPartial(" ".join(word.word for word in words), words, found.num_stable)

    def endpoint(self) -> StreamEnd | None:
        """The rule by which the utterance has ended, if there is one."""
        if not self._may_have_ended():
            return None
        end = self._ended(self._so_far())
        # The last sound may hold a word that this state does not have yet.
        return self._ended(self._so_far(now=True)) if end else None

    def _so_far(self, now: bool = False) -> SoFar:
        found = self._utterance.partial(now)
        return SoFar([], 0, found.heard_s, found.heard_s, found.final_cost) if self._is_silent else found

    @property
    def _is_silent(self) -> bool:
        """Whether nothing in the utterance so far is long enough for a word. Once false, it stays so."""
        return self._vad.speech_s - self._speech_s < LEAST_SPEECH_S

    def _may_have_ended(self) -> bool:
        """Whether a rule could hold. It costs nothing, so that nobody has to know the words before there is silence."""
        utterance_s, vad_s = self._heard_s - self._start_s, self._vad.silence_s
        longest_s = vad_s if vad_s < utterance_s else utterance_s + self._recognizer.frame_s
        return holding(self._endpoint.rules, True, longest_s, -math.inf, utterance_s) is not None

    def _ended(self, found: SoFar) -> StreamEnd | None:
        utterance_s = self._heard_s - self._start_s
        silence_s, at_s = found.silence_s, found.heard_s - found.silence_s
        vad_s = self._vad.silence_s
        if vad_s < utterance_s:  # it has heard speech, so it can tell silence, also in what the net has yet to hear
            waiting_s = max(0.0, utterance_s - found.heard_s)
            silence_s = min(vad_s, found.silence_s + (waiting_s if vad_s >= waiting_s else 0.0))
            at_s = utterance_s - vad_s
        rule = holding(self._endpoint.rules, bool(found.words), silence_s, found.final_cost, utterance_s)
        return None if rule is None else StreamEnd(rule.name, round(self._start_s + at_s, 3))

    def finalize(self) -> Hypothesis:
        """The words of the utterance, as if the sound ended here. What follows is the next utterance."""
        self._check_open()
        self.spoken = None
        try:
            self._flush()
            found = self._utterance.finish()
            if self._is_silent:
                return replace(found, text="", words=[], alternatives=[], confusion=[])
            start_s = self._start_s
            found = found.moved(lambda time_s: round(start_s + time_s, 3))
            if self._writing is None:
                return found
            self.spoken = found
            return self._writing(found)
        finally:
            self._start_s, self._speech_s, self._number = self._heard_s, self._vad.speech_s, self._number + 1
            self._begin()

    def finish(self) -> Hypothesis:
        """As `finalize`, and the stream takes no more sound."""
        hypothesis = self.finalize()
        self._is_finished = True
        return hypothesis

    def _begin(self) -> None:
        self._rate_hz, self._resampler = 0.0, None
        kind = StreamedUtterance if can_stream(self._recognizer.model) else RescoredUtterance
        self._utterance: Utterance = kind(self._recognizer, self._phrases, str(self._number))

    def _check_open(self) -> None:
        if self._is_finished:
            raise InputError("the stream is finished; begin another one with recognizer.stream()")

    def _hear(self, samples: np.ndarray) -> None:
        if len(samples):
            samples = np.clip(samples, -1.0, 1.0)
            self._utterance.accept(samples)
            self._vad.accept(samples)

    def _flush(self) -> None:
        """Hear what the resampler still holds."""
        if self._resampler:
            self._hear(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
            self._resampler = None
