"""The readers of sound and of features as fuzz targets."""

import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import soundfile

from asr.features import audio
from asr.features.containers.contents import find_recordings, media_format
from asr.features.files import load_features
from fuzz.registry import target

FORMATS = [
    ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "IMA_ADPCM"), ("WAVEX", "PCM_24"), ("RF64", "PCM_16"),
    ("W64", "PCM_16"), ("AIFF", "PCM_16"), ("AIFF", "ULAW"), ("AU", "PCM_16"), ("CAF", "PCM_16"), ("CAF", "ALAC_16"),
    ("VOC", "PCM_16"), ("NIST", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]  # fmt: skip
TAR_BYTES = 644  # of the WAV of `_sounds`


def _sounds(folder: Path) -> list[bytes]:
    samples = np.random.default_rng(0).normal(0, 0.1, 300)
    sounds = []
    for format, subtype in FORMATS:
        file = BytesIO()
        soundfile.write(file, samples, 16000, format=format, subtype=subtype)
        sounds.append(file.getvalue())
    media = [b"\0\0\0\x18ftypM4A " + bytes(7) + b"\x08mdat", b"\x1aE\xdf\xa3\x80", b"#!AMR\n<abc", b"\xff\xf1\x50\x80"]
    return [*sounds, sounds[0] + sounds[0], b"ID3\x04\0\0\0\0\0\x05abcde" + sounds[-1], *media]


@target("containers", lambda folder: _sounds(folder))
def _read_containers(path: Path) -> None:
    """The recordings of a file, without decoding them."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        find_recordings(file, size)
        media_format(file, size)


@target("audio", lambda folder: _sounds(folder), suffix=".wav")
def _read_audio(path: Path) -> None:
    audio.info(path)
    audio.load(path, 16000)


def _tars(folder: Path) -> list[bytes]:
    """Each with a sound of `TAR_BYTES` bytes."""
    tars = []
    for sound in (_sounds(folder)[0], b"x" * TAR_BYTES):
        file, member = BytesIO(), tarfile.TarInfo("000000000.wav")
        member.size = len(sound)
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            tar.addfile(member, BytesIO(sound))
        tars.append(file.getvalue())
    return tars


@target("tar", lambda folder: _tars(folder), suffix=".tar")
def _read_tar(path: Path) -> None:
    audio.load(f"{path}:512:{TAR_BYTES}")


def _arrays(folder: Path) -> list[bytes]:
    arrays = []
    for array in (np.ones((3, 13), np.float32), np.zeros((2, 2), ">f8"), np.zeros((2, 3), np.int16, order="F")):
        file = BytesIO()
        np.save(file, array)
        arrays.append(file.getvalue())
    return arrays


target("npy", _arrays, suffix=".npy")(load_features)
target("mfc", b"\0\0\0\x1a" + bytes(104), b"\x0d\0\0\0" + bytes(52), suffix=".mfc")(load_features)


@target("ark", b"\0BFM \4\2\0\0\0\4\3\0\0\0" + bytes(24), b" [\n1 2\n3 4 ]\n", suffix=".ark")
def _read_ark(path: Path) -> None:
    load_features(f"{path}:0")
