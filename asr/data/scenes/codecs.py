"""Lossy codecs, through libsndfile and in memory. Opus and MP3 are used at libsndfile's default quality."""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

from asr.errors import InputError, nearest


class Codec(NamedTuple):
    """Its names in libsndfile, and the sample rates that it knows. Telephone codecs run at their network's rate."""

    format: str
    subtype: str
    rates_hz: tuple[int, ...]


CODECS = {
    "mulaw": Codec("WAV", "ULAW", (8000,)),
    "alaw": Codec("WAV", "ALAW", (8000,)),
    "gsm": Codec("WAV", "GSM610", (8000,)),
    "opus": Codec("OGG", "OPUS", (8000, 12000, 16000, 24000, 48000)),
    "mp3": Codec("MP3", "MPEG_LAYER_III", (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)),
}


def check_codecs(names: Sequence[str]) -> None:
    """Raises InputError for a codec that is unknown, or that this libsndfile lacks, and for none."""
    if not names:
        raise InputError(f"augment.codecs is empty; name some of {', '.join(CODECS)}, or set augment.codec_share=0")
    for name in names:
        if name not in CODECS:
            hint = nearest(name, CODECS)
            raise InputError(f"augment.codecs={name}: expected some of {', '.join(CODECS)}{hint}")
        codec = CODECS[name]
        if not soundfile.check_format(codec.format, codec.subtype):
            raise InputError(f"augment.codecs={name}: libsndfile {soundfile.__libsndfile_version__} has no "
                             f"{codec.subtype}; leave it out, or `pip install --upgrade soundfile`")  # fmt: skip


def encode(x: np.ndarray, rate_hz: int, name: str) -> tuple[bytes, int]:
    """Samples (T,) as a file of a codec, and its sample rate: the next one that the codec knows."""
    codec = CODECS[name]
    coded_hz = next((rate for rate in codec.rates_hz if rate >= rate_hz), codec.rates_hz[-1])
    if coded_hz != rate_hz:
        x = soxr.resample(x, rate_hz, coded_hz)
    file = io.BytesIO()
    soundfile.write(file, x.clip(-1, 1), coded_hz, format=codec.format, subtype=codec.subtype)
    return file.getvalue(), coded_hz


def through(x: np.ndarray, rate_hz: int, name: str) -> np.ndarray:
    """Samples (T,) in [-1, 1] encoded and decoded again: (T,) float32."""
    data, coded_hz = encode(x, rate_hz, name)
    found, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    if coded_hz != rate_hz:
        found = soxr.resample(found, coded_hz, rate_hz)
    return np.pad(found, (0, max(0, len(x) - len(found))))[: len(x)]
