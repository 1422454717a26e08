"""One speaker's sound, heard: bytes in, the state of the utterance and its end out. Both sockets are built on it.

The recogniser gets the sound in steps of `STEP_S`, wherever the messages were cut, and looks for the end of the
utterance after each step. So the words depend on the sound alone, and not on the network.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from asr.errors import InputError
from asr.hypothesis import Hypothesis
from asr.recognizer.options import DecodingOptions
from asr.recognizer.recognizer import Recognizer
from asr.recognizer.stream import StreamEnd, StreamPartial
from asr.search.endpoint import EndpointOptions
from asr.serve.encodings import Decoder
from asr.serve.metrics import SILENCE_DB

STEP_S = 0.1
MOST_KEPT_S = 60.0  # longer utterances are not kept
PARTIAL_S = 0.1  # least time between two partial results
LAGGING_S = 1.0  # of sound between them while the listener lags behind, so that finals come in time


@dataclass(frozen=True)
class Ended:
    """An utterance: its words, its place in the stream, and what ended it (None: the client)."""

    hypothesis: Hypothesis
    start_s: float
    end_s: float
    end: StreamEnd | None
    level_db: float
    work_s: float  # that it took a thread
    samples: np.ndarray | None  # (T,) float32 at the decoder's rate, if they are kept
    spoken: Hypothesis | None = None  # before written forms and punctuation; None: `hypothesis` has none


class Listener:
    """A stream of sound in one encoding. Used by one thread at a time. Raises InputError beyond `most_s` seconds."""

    def __init__(
        self,
        recognizer: Recognizer,
        options: DecodingOptions | None,
        endpoint: EndpointOptions | None,
        decoder: Decoder,
        most_s: float,
        keeps_sound: bool = False,
        partials: bool = True,
    ):
        """`partials`: whether partial results are wanted. They cost more than all else."""
        self.stream = recognizer.stream(options, endpoint)
        self.decoder, self.most_s, self.keeps_sound, self.partials = decoder, most_s, keeps_sound, partials
        self.ends = endpoint is not None  # whether utterances end by themselves
        self.start_s = 0.0  # of this utterance
        self._rest = np.zeros(0, np.int16)  # less than a step
        self._told: StreamPartial | None = None
        self._told_at_s = self._told_heard_s = 0.0  # when, and how much sound had been heard
        self._is_new = False  # sound was heard since the last partial result
        self._begin()

    def _begin(self) -> None:
        """Of the utterance that begins now."""
        self._power = self._work_s = 0.0
        self._kept: list[np.ndarray] = []

    @property
    def heard_s(self) -> float:
        return self.stream.heard_s

    @property
    def buffered_s(self) -> float:
        """Seconds of this utterance."""
        return self.stream.heard_s - self.start_s + len(self._rest) / self.decoder.rate_hz

    def hear(self, data: bytes, lags: bool = False) -> Iterator[StreamPartial | Ended | None]:
        """What changed, after each piece of work; None if there is nothing to tell. `lags`: more sound waits."""
        for block in self.decoder.decode(data):
            yield from self._hear(block, lags)

    def end_sound(self) -> Iterator[StreamPartial | Ended | None]:
        """Hears what the decoder still holds. Raises InputError if the sound ends within a sample."""
        for block in self.decoder.finish():
            yield from self._hear(block)

    def finalize(self) -> Ended:
        """The utterance so far; the next one begins."""
        self._accept(self._rest)
        self._rest = self._rest[:0]
        return self._ended(None)

    def drop(self, decoder: Decoder) -> None:
        """Forgets the utterance so far; the next one comes through a fresh decoder."""
        self.finalize()
        self.decoder.close()
        self.decoder = decoder

    def switch(self, decoder: Decoder) -> None:
        """Goes on in another encoding. Raises InputError if the sound so far ends within a sample."""
        for _ in self.decoder.finish():
            raise AssertionError("only Opus holds samples back, and no Opus stream is switched")
        self._accept(self._rest)
        self._rest = self._rest[:0]
        self.decoder.close()
        self.decoder = decoder

    def held_back_s(self) -> float | None:
        """Seconds until a partial result may be told; None if none is wanted, or nothing new was heard."""
        if not (self.partials and self._is_new):
            return None
        return max(0.0, self._told_at_s + PARTIAL_S - time.monotonic())

    def partial(self) -> StreamPartial | None:
        """The words so far; None if they are those last told, or too young."""
        if self.held_back_s() != 0:
            return None
        partial, told = self.stream.partial(), self._told
        self._is_new, self._told = False, partial
        self._told_at_s, self._told_heard_s = time.monotonic(), self.heard_s
        is_told = told and (told.text, told.num_stable) == (partial.text, partial.num_stable)
        return None if is_told or not (partial.words or told) else partial

    def close(self) -> None:
        self.decoder.close()

    def _hear(self, block: np.ndarray, lags: bool = False) -> Iterator[StreamPartial | Ended | None]:
        samples = np.concatenate([self._rest, block]) if len(self._rest) else block
        size = max(1, round(STEP_S * self.decoder.rate_hz))
        for first in range(0, len(samples) - size + 1, size):
            self._accept(samples[first : first + size])
            if self.ends and (end := self.stream.endpoint()):
                yield self._ended(end)
        self._rest = samples[len(samples) // size * size :].copy()
        yield None if lags and self.heard_s - self._told_heard_s < LAGGING_S else self.partial()

    def _accept(self, samples: np.ndarray) -> None:
        if len(samples):
            if self.stream.heard_s + len(samples) / self.decoder.rate_hz > self.most_s:
                raise InputError(f"the stream is longer than {self.most_s:g} s; start a new one")
            samples = samples / np.float32(32768) if samples.dtype == np.int16 else samples
            self._power += float(np.dot(samples, samples)) / self.decoder.rate_hz
            if self.keeps_sound and self.buffered_s < MOST_KEPT_S:
                self._kept.append(samples)
            start_s = time.perf_counter()
            self.stream.accept(samples, self.decoder.rate_hz)
            self._work_s += time.perf_counter() - start_s
            self._is_new = True

    def _ended(self, end: StreamEnd | None) -> Ended:
        started_s = time.perf_counter()
        found = self.stream.finalize()
        work_s = self._work_s + time.perf_counter() - started_s
        start_s, self.start_s = self.start_s, self.stream.heard_s
        seconds = self.start_s - start_s
        level = max(SILENCE_DB, 10 * math.log10(self._power / seconds)) if self._power and seconds else SILENCE_DB
        is_whole = self.keeps_sound and seconds <= MOST_KEPT_S
        samples = np.concatenate([np.zeros(0, np.float32), *self._kept]) if is_whole else None
        self._told, self._is_new = None, False
        self._begin()
        return Ended(found, start_s, self.start_s, end, level, work_s, samples, self.stream.spoken)
