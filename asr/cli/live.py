"""`asr transcribe --microphone` and `asr transcribe -`: words while the sound arrives.

On a terminal the words so far are shown in one line, which each finished utterance replaces. Elsewhere only finished
utterances are written, one per line.
"""

import json
import shutil
import sys
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from asr.config import Config
from asr.errors import InputError, missing
from asr.hypothesis import Hypothesis

if TYPE_CHECKING:
    from asr.recognizer.recognizer import Recognizer

STDIN = "-"
BLOCK_S = 0.1  # of sound heard at a time
HEADERS = {b"RIFF": "wav", b"fLaC": "flac", b"OggS": "ogg", b"ID3": "mp3", b"caff": "caf", b"\x1aE\xdf\xa3": "webm"}
TYPES = {"s16le": "<i2", "f32le": "<f4"}

Blocks = Iterator[np.ndarray]  # samples (T,)


def is_live(cfg: Config) -> bool:
    """Raises InputError if the microphone or the standard input is given together with something else."""
    given = [*(["--microphone"] if cfg.live.microphone else []), *cfg.input]
    if not cfg.live.microphone and STDIN not in cfg.input:
        return False
    if len(given) > 1:
        raise InputError(f"asr transcribe hears one of {', '.join(given)} at a time; name one of them")
    if cfg.output is not None:
        raise InputError(
            f"output={cfg.output} is for recordings; redirect the standard output instead: ... > words.txt"
        )
    if cfg.format not in ("auto", "txt", "jsonl"):
        raise InputError(f"format={cfg.format} needs whole recordings; choose txt or jsonl")
    return True


def transcribe_live(cfg: Config, recognizer: "Recognizer") -> None:
    """Recognise the microphone or the standard input until it ends, or Ctrl-C."""
    from asr.recognizer.options import DecodingOptions
    from asr.recognizer.requests import named_language, phrases_of
    from asr.search.endpoint import SEMANTIC, EndpointOptions, after_silence

    rules = SEMANTIC if cfg.live.silence is None else after_silence(cfg.live.silence)
    options = DecodingOptions(
        phrases=phrases_of(cfg), written=cfg.written, punctuate=cfg.punctuate, language=named_language(cfg)
    )
    stream = recognizer.stream(options, EndpointOptions(rules, cfg.live.vad))
    blocks, rate_hz = microphone() if cfg.live.microphone else (standard_input(cfg), float(cfg.live.rate))
    shown = Shown(cfg.format)
    try:
        for samples in blocks:
            stream.accept(samples, rate_hz)
            if stream.endpoint():
                shown.final(stream.finalize())
            elif shown.is_terminal:
                shown.partial(stream.partial().text)
    except KeyboardInterrupt:  # the usual end of a microphone
        pass
    shown.final(stream.finish())


def standard_input(cfg: Config) -> Blocks:
    """Blocks of samples without a header. Raises InputError for a terminal, for a file with a header, and for a part
    of a sample at the end."""
    file: BinaryIO = sys.stdin.buffer
    if sys.stdin.isatty():
        raise InputError("`-` hears the standard input, which is a terminal; pipe sound into it: arecord -q -t raw "
                         f"-f S16_LE -r {cfg.live.rate} | asr transcribe MODEL - rate={cfg.live.rate}")  # fmt: skip
    kind = np.dtype(TYPES[cfg.live.encoding])
    size = max(1, round(BLOCK_S * cfg.live.rate)) * kind.itemsize
    is_first = True
    while data := file.read(size):
        if is_first and (found := next((name for head, name in HEADERS.items() if data.startswith(head)), None)):
            raise InputError(f"the standard input is a {found} file; name the file, or pipe samples without a header")
        is_first = False
        whole = len(data) - len(data) % kind.itemsize
        yield np.frombuffer(data[:whole], kind)
        if whole < len(data):
            raise InputError(f"the standard input ends within a sample of live.encoding={cfg.live.encoding}; check the "
                             "encoding, or send it whole")  # fmt: skip


def microphone() -> tuple[Blocks, float]:
    """Blocks of the system's default microphone, and its sample rate."""
    try:
        import sounddevice
    except ImportError:
        raise InputError(missing("microphone", "--microphone", "sounddevice")) from None
    except OSError as e:
        raise InputError(f"--microphone needs the library PortAudio ({e}); apt-get install libportaudio2") from None
    try:
        rate_hz = float(sounddevice.query_devices(kind="input")["default_samplerate"])
        device = sounddevice.InputStream(samplerate=rate_hz, channels=1, dtype="float32")
        device.start()
    except (sounddevice.PortAudioError, ValueError) as e:
        raise InputError(
            f"no microphone can be opened ({e}); connect one, or pipe sound: asr transcribe MODEL -"
        ) from None
    return _heard(device, round(BLOCK_S * rate_hz)), rate_hz


def _heard(device: Any, size: int) -> Blocks:
    has_warned = False
    with device:
        while True:
            samples, is_overrun = device.read(size)  # (T, 1)
            if is_overrun and not has_warned:
                has_warned = True
                print("asr: warning: sound was lost: this machine is too slow for the model", file=sys.stderr)
            yield samples[:, 0]


class Shown:
    """The words on the standard output."""

    def __init__(self, format: str):
        self.format = format
        self.is_terminal = sys.stdout.isatty()

    def partial(self, text: str) -> None:
        print(f"\r\033[K{fitting(text, shutil.get_terminal_size().columns - 1)}", end="", flush=True)

    def final(self, hypothesis: Hypothesis) -> None:
        """One line; none for an utterance without words."""
        if self.is_terminal:
            print("\r\033[K", end="", flush=True)
        if hypothesis.words or hypothesis.text:
            as_json = self.format == "jsonl"
            print(json.dumps(hypothesis.as_dict(), ensure_ascii=False) if as_json else hypothesis.text, flush=True)


def fitting(text: str, columns: int) -> str:
    """The end of a text that fits so many columns of a terminal; East Asian characters take two."""
    width = 0
    for at in range(len(text) - 1, -1, -1):
        width += 2 if unicodedata.east_asian_width(text[at]) in "WF" else not unicodedata.combining(text[at])
        if width > columns:
            return text[at + 1 :]
    return text
