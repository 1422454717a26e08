"""Headers that contradict themselves, tags around the frames of an mp3, files of macOS, and seeks."""

import os
import struct

import numpy as np
import pytest
from test_containers import LONG, encoded, heard, without_count

from asr.errors import InputError
from asr.features import audio

SAMPLES = np.round(LONG * 32767).astype("<i2")
GUID = bytes.fromhex("000000001000800000aa00389b71")


def wav(data, code=1, channels=1, bits=16, block=2, extra=b""):
    format = struct.pack("<HHIIHH", code, channels, 16000, 16000 * block, block, bits) + extra
    chunks = b"fmt " + struct.pack("<I", len(format)) + format + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def caf(data, bits=16, packet=2):
    description = struct.pack(">d4s5I", 16000, b"lpcm", 2, packet, 1, 1, bits)
    head = b"caff\0\1\0\0desc" + struct.pack(">q", 32) + description
    return head + b"data" + struct.pack(">q", len(data) + 4) + bytes(4) + data


@pytest.mark.parametrize("block", [1, 3, 4, 6])
def test_frames_of_other_bytes_than_their_samples_are_refused(block):
    for data in (wav(SAMPLES.tobytes(), block=block), caf(SAMPLES.tobytes(), packet=block)):
        with pytest.raises(InputError, match=f"contradicts itself: 1 channels of 16 bits in frames of {block} bytes"):
            audio.load(data)


def test_24_bits_in_4_bytes_are_refused():
    padded = (SAMPLES.astype("<i4") << 16).tobytes()
    for data in (wav(padded, bits=24, block=4), wav(padded, code=3, bits=16, block=4), caf(padded, 24, 4)):
        with pytest.raises(InputError, match="contradicts itself"):
            audio.load(data)


def test_frames_that_are_not_whole_bits_or_not_declared_are_read():
    whole = heard(wav(SAMPLES.tobytes()))
    of_20_bits = struct.pack("<HHI", 22, 20, 4) + b"\1\0" + GUID
    in_3_bytes = b"".join(b"\0" + SAMPLES[n].tobytes() for n in range(len(SAMPLES)))
    for data in (
        wav(SAMPLES.tobytes(), block=0),
        wav(SAMPLES.tobytes(), bits=12),
        wav(in_3_bytes, bits=20, block=3),
        wav(in_3_bytes, 0xFFFE, bits=24, block=3, extra=of_20_bits),
        caf(in_3_bytes, 20, 3),
    ):
        assert np.array_equal(heard(data), whole)
    a_law = encoded(LONG, "WAV", "ALAW")[-16000:]
    for bits in (0, 8, 16):
        assert np.array_equal(heard(wav(a_law, 6, bits=bits, block=1)), heard(encoded(LONG, "WAV", "ALAW")))


def test_sphere_without_byte_order_is_refused():
    data = encoded(LONG, "NIST")
    start = data.find(b"sample_byte_format")
    end = data.find(b"\n", start) + 1
    with pytest.raises(InputError, match="SPHERE file without sample_byte_format"):
        audio.load(data[:start] + data[end:1024].ljust(1024 - start) + data[1024:])


def test_a_file_replaced_by_one_of_equal_size_and_time_is_read_anew(tmp_path, monkeypatch):
    """One file announces all its samples, the other half of them, to be read to its end; so it is, from both places."""
    one = wav(SAMPLES.tobytes())
    two = one[:40] + struct.pack("<I", SAMPLES.nbytes // 2) + one[44:]
    (tmp_path / "b").mkdir()
    for name, data in (("a.wav", one), ("new.wav", two), ("b/a.wav", two)):
        (tmp_path / name).write_bytes(data)
        os.utime(tmp_path / name, ns=(0, 0))
    monkeypatch.chdir(tmp_path)
    assert len(audio.load("a.wav")) == 16000
    os.replace("new.wav", "a.wav")
    assert len(audio.load("a.wav")) == 16000
    (tmp_path / "a.wav").write_bytes(one)
    os.utime("a.wav", ns=(0, 0))
    assert len(audio.load("a.wav")) == 16000
    monkeypatch.chdir(tmp_path / "b")
    assert len(audio.load("a.wav")) == 16000


# mp3


def ape(text, version=2000, has_header=False):
    def side(flags):
        return b"APETAGEX" + struct.pack("<IIII", version, len(text) + 32, 1, flags) + bytes(8)

    return (side(0xA0000000) if has_header else b"") + text + side(0x80000000 if has_header else 0)


ID3, ID3_OLD = b"ID3\3\0\0\0\0\2\0" + bytes(256), b"TAG" + b"x" * 125
BEFORE = [ape(b"x" * 100, has_header=True), ape(b"x" * 100, has_header=True) + ID3, ID3 + ID3, bytes(100), b"junk" * 99]
BEHIND = [ape(b"x" * 5), ape(b"x" * 100, 1000), ape(b"x" * 100) + ID3_OLD, ape(b"x" * 100, has_header=True) + ID3_OLD]


@pytest.mark.parametrize("counted", [True, False])
def test_tags_around_an_mp3_are_not_heard(counted):
    data = encoded(LONG, "MP3", "MPEG_LAYER_III")
    data = data if counted else without_count(data)
    whole = heard(data)
    for tagged in (*(tag + data for tag in BEFORE), *(data + tag for tag in BEHIND)):
        found = heard(tagged)
        assert found.shape == whole.shape and np.abs(found - whole).max() < 1e-3
    for tag in BEFORE:
        with pytest.raises(InputError, match="truncated"):
            audio.load(tag + data[: len(data) // 2 + 3])


@pytest.mark.parametrize("subtype", ["MPEG_LAYER_III", "VORBIS", "PCM_16"])
@pytest.mark.parametrize("fork", ["._a.x", ".AppleDouble/a.x"])
def test_a_resource_fork_beside_a_file_is_not_taken_for_it(tmp_path, subtype, fork):
    """macOS writes such files to every disk that is not its own."""
    data = encoded(LONG, {"MPEG_LAYER_III": "MP3", "VORBIS": "OGG", "PCM_16": "FLAC"}[subtype], subtype)
    path, fork = tmp_path / "a.x", tmp_path / fork
    path.write_bytes(data)
    fork.parent.mkdir(exist_ok=True)
    fork.write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        \0\2".ljust(4096, b"\0"))
    assert np.array_equal(audio.load(path), audio.load(data))
    assert np.array_equal(audio.load(path, 0.5, 0.25), audio.load(data, 0.5, 0.25))


# Seeks


@pytest.mark.parametrize("rate_hz", [8000, 16000, 44100])
@pytest.mark.parametrize("seconds", [0.4, 2.7, 5.1])
def test_seeks_into_the_last_page_of_a_vorbis_stream(rate_hz, seconds):
    """libsndfile misplaces them by as much as the last block was cut."""
    x = np.resize(LONG, round(seconds * rate_hz))
    data = encoded(x, "OGG", "VORBIS", rate_hz)
    whole = heard(data)
    for start in np.linspace(1, len(x) - 100, 20).astype(int):
        segment = np.concatenate(list(audio.blocks(data, start / rate_hz)))[:, 0]
        assert len(segment) == len(x) - start and np.abs(segment - whole[start:]).max() < 1e-4
