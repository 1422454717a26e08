"""A recogniser of bursts: the loudness of a burst of sound is its word. For tests of what is around a recogniser."""

import socket
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np

from asr.config import Config
from asr.errors import InputError
from asr.hypothesis import Hypothesis, Word
from asr.recognizer.searching import NoSearcher
from asr.recognizer.stream import StreamEnd, StreamPartial
from asr.search.endpoint import EndpointOptions, holding
from asr.serve.app import make_app
from asr.serve.modes import Modes
from asr.serve.process import make_server
from asr.tokens import BLANK, Tokens

LEVELS = {"one": 0.1, "two": 0.25, "three": 0.6}  # peak of the tone
FRAME_S = 0.02


def say(text: str, rate_hz: int = 16000, end_s: float = 0.2) -> np.ndarray:
    """Samples (T,) float32: words of 0.2 s with pauses of 0.2 s; `_` is a second of silence."""
    tone = np.sin(2 * np.pi * 440 * np.arange(round(0.2 * rate_hz)) / rate_hz)
    parts = [np.zeros(round(0.2 * rate_hz))]
    for word in text.split():
        sound = np.zeros(rate_hz) if word == "_" else LEVELS[word] * tone
        parts += [sound, np.zeros(round(0.2 * rate_hz))]
    return np.concatenate([*parts, np.zeros(round(end_s * rate_hz))]).astype(np.float32)


def pcm(samples: np.ndarray) -> bytes:
    return (samples * 32767).astype("<i2").tobytes()


class Recognizer:
    """`delay_s`: the time that a piece of sound takes."""

    needs_list = False

    def __init__(self, delay_s: float = 0.0):
        self.cfg, self.space, self.delay_s = Config(), None, delay_s
        self.tokens, self.rescorer, self.searcher = Tokens([BLANK]), None, NoSearcher()
        self.streams: list[Stream] = []

    def transcribe(self, samples, rate_hz) -> None:
        """The service warms up with it."""

    def compile_phrases(self, phrases) -> SimpleNamespace:
        if "" in (phrases or {}):
            raise InputError("an empty phrase cannot be boosted")
        return SimpleNamespace(left_out=[phrase for phrase in phrases or () if phrase not in LEVELS])

    def stream(self, options=None, endpoint=None) -> "Stream":
        self.streams.append(Stream(endpoint or EndpointOptions(), self.delay_s, options))
        return self.streams[-1]


class Stream:
    def __init__(self, endpoint: EndpointOptions, delay_s: float, options) -> None:
        self.rules, self.delay_s, self.options = endpoint.rules, delay_s, options
        self.heard_s = self.start_s = 0.0
        self.spoken = None  # nothing is written otherwise
        self.sound: list[np.ndarray] = []
        self.rate_hz = 16000
        self.lock = threading.Lock()

    def accept(self, samples, sample_rate_hz) -> None:
        assert self.lock.acquire(blocking=False), "a stream is used by two threads"
        time.sleep(self.delay_s)
        x = samples / 32768 if samples.dtype == np.int16 else samples
        self.sound.append(np.asarray(x, np.float32))
        self.rate_hz = sample_rate_hz
        self.heard_s += len(samples) / sample_rate_hz
        self.lock.release()

    def _words(self) -> tuple[list[Word], float]:
        """The bursts, and the seconds of silence at the end."""
        sound = np.concatenate([np.zeros(0, np.float32), *self.sound])
        size = round(FRAME_S * self.rate_hz)
        peaks = np.abs(sound[: len(sound) // size * size]).reshape(-1, size).max(1)
        loud = np.flatnonzero(np.diff(np.concatenate([[0], peaks > 0.05, [0]]).astype(int)))
        words = []
        for first, end in loud.reshape(-1, 2):
            near = min(LEVELS, key=lambda word: abs(np.log(LEVELS[word] / peaks[first:end].max())))
            at_s = self.start_s + np.array([first, end]) * FRAME_S
            words.append(Word(near, round(at_s[0], 3), round(at_s[1], 3), 0.9))
        return words, (len(peaks) - (loud[-1] if len(loud) else 0)) * FRAME_S

    def partial(self) -> StreamPartial:
        words, _ = self._words()
        return StreamPartial(" ".join(word.word for word in words), tuple(words), max(0, len(words) - 1))

    def endpoint(self) -> StreamEnd | None:
        words, silence_s = self._words()
        rule = holding(self.rules, bool(words), silence_s, 2.0, self.heard_s - self.start_s)
        return rule and StreamEnd(rule.name, round(self.heard_s - silence_s, 3))

    def finalize(self) -> Hypothesis:
        words, _ = self._words()
        seconds, self.start_s, self.sound = self.heard_s - self.start_s, self.heard_s, []
        return Hypothesis("0", " ".join(word.word for word in words), words, 1.0, seconds, True)


@contextmanager
def serving(cfg: Config, recognizer=None):
    """The service in a thread of its own: its address without the scheme, and the app."""
    modes = Modes({name: recognizer or Recognizer() for name in ("dictation", "web")})
    app = make_app(cfg, modes)
    server = make_server(cfg, app)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the service did not start"
        time.sleep(0.01)
    try:
        yield SimpleNamespace(at=f"127.0.0.1:{listener.getsockname()[1]}", app=app, server=server)
    finally:
        server.should_exit = True
        thread.join()
