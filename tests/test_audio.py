"""Decoding against signals known in closed form, and all kinds of broken files."""

import io
import os
import threading

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr.errors import InputError
from asr.features import audio


def sine(rate_hz, seconds=1.0, hz=440.0, amplitude=0.5):
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)  # (T,)


def set_flac_frames(path, frames):
    """Overwrite the 36-bit count of samples in a FLAC file's STREAMINFO; 0 means unknown."""
    data = bytearray(path.read_bytes())
    word = int.from_bytes(data[18:26], "big")
    data[18:26] = ((word >> 36 << 36) | frames).to_bytes(8, "big")
    path.write_bytes(data)


@pytest.fixture
def decoded(monkeypatch):
    """A list that receives the number of frames of each read from libsndfile."""
    reads = []
    read = soundfile.SoundFile.read

    def counting(self, *args, **kwargs):
        block = read(self, *args, **kwargs)
        reads.append(len(block))
        return block

    monkeypatch.setattr(soundfile.SoundFile, "read", counting)
    return reads


@pytest.mark.parametrize(
    "name, options, error",
    [
        ("a.wav", {"subtype": "FLOAT"}, 1e-6),
        ("a.wav", {"subtype": "PCM_16"}, 1 / 32000),
        ("a.wav", {"subtype": "PCM_24"}, 1e-6),
        ("a.flac", {}, 1 / 32000),
        ("a.ogg", {}, 0.02),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}, 0.03),
        ("a.mp3", {}, 0.02),
    ],
)
def test_formats(make_wav, name, options, error):
    samples = audio.load(make_wav(name, sine(16000), **options))
    assert samples.dtype == np.float32 and samples.shape == (16000,)
    inner = slice(1600, -1600)  # lossy codecs smear the ends
    assert np.abs(samples - sine(16000))[inner].max() < error


@pytest.mark.parametrize("rate_hz", [8000, 11025, 22050, 44100, 48000])
@pytest.mark.parametrize("wanted_hz", [8000, 16000])
def test_rates(make_wav, rate_hz, wanted_hz):
    samples = audio.load(make_wav("a.wav", sine(rate_hz), rate_hz, subtype="FLOAT"), sample_rate_hz=wanted_hz)
    assert samples.shape == (wanted_hz,) and samples.dtype == np.float32
    inner = slice(wanted_hz // 20, -wanted_hz // 20)
    assert np.abs(samples - sine(wanted_hz))[inner].max() < 1e-3


@pytest.mark.parametrize("channels", [2, 3, 8])
def test_channels_are_averaged(make_wav, channels):
    x = np.random.default_rng(0).uniform(-0.5, 0.5, (4000, channels))
    samples = audio.load(make_wav("a.wav", x, subtype="FLOAT"))
    assert np.allclose(samples, x.mean(axis=1), atol=1e-6)


def test_info(make_wav):
    path = make_wav("a.flac", np.zeros((44100, 2)), 44100)
    assert audio.info(path) == audio.AudioInfo(duration_s=1.0, sample_rate_hz=44100, channels=2)
    set_flac_frames(path, 0)
    assert audio.info(path) == audio.AudioInfo(duration_s=1.0, sample_rate_hz=44100, channels=2)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.integers(0, 15999), length=st.integers(1, 16000), suffix=st.sampled_from(["wav", "flac"]))
def test_segment_is_slice_of_whole(make_wav, start, length, suffix):
    path = make_wav(f"a.{suffix}", 1.0)
    whole = audio.load(path)
    length = min(length, 16000 - start)
    assert np.array_equal(audio.load(path, start / 16000, length / 16000), whole[start : start + length])


@pytest.mark.parametrize("start", [100, 16000, 24000, 30001])
@pytest.mark.parametrize("kind", [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)])
def test_segment_of_lossy_file(make_wav, kind, start):
    """In a pure tone, mp3 frames need bits of earlier frames, which a plain seek would miss."""
    path = make_wav("a.bin", sine(16000, 3.0), format=kind[0], subtype=kind[1])
    segment = audio.load(path, start / 16000, 0.5)
    error = 0.02 if kind[1] == "OPUS" else 1e-3  # opus converges during its pre-roll
    assert segment.shape == (8000,) and np.abs(segment - audio.load(path)[start : start + 8000]).max() < error


def test_segment_decodes_only_itself(make_wav, decoded):
    path = make_wav("long.flac", 60.0)
    assert audio.load(path, 30.0, 0.25).shape == (4000,)
    assert sum(decoded) == 4000


def test_a_segment_before_the_damage_is_read(make_wav):
    path = make_wav("a.flac", 4.0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert audio.load(path, 0.5, 0.5).shape == (8000,)


def test_mp3_in_many_blocks(make_wav, monkeypatch):
    path = make_wav("a.mp3", sine(16000, 3.0))
    whole = audio.load(path)
    monkeypatch.setattr(audio, "BLOCK_SAMPLES", 1000)
    assert np.array_equal(audio.load(path), whole)


def test_segment_to_the_end_and_slack(make_wav):
    path = make_wav("a.wav", 1.0)
    assert audio.load(path, 0.75).shape == (4000,)
    assert audio.load(path, 0.5, 0.55).shape == (8000,)  # corpora round the ends of segments


@pytest.mark.parametrize("start_s, duration_s", [(1.0, None), (0.5, 1.0), (5.0, 1.0)])
def test_segment_outside(make_wav, start_s, duration_s):
    with pytest.raises(InputError, match=r"a\.wav lasts 1\.00 s, the segment asked for"):
        audio.load(make_wav("a.wav", 1.0), start_s, duration_s)


EMPTY = [(-1.0, None), (0.0, 0.0), (0.0, -1.0), (0.5, 1e-9), (np.nan, None), (np.inf, None), (0.0, np.inf), ("0", 1.0)]


@pytest.mark.parametrize("start_s, duration_s", EMPTY)
def test_empty_segment(make_wav, start_s, duration_s):
    with pytest.raises(InputError, match="is empty; correct its times"):
        audio.load(make_wav("a.wav", 1.0), start_s, duration_s)


def test_sources(make_wav):
    path = make_wav("소리 a.flac", 0.5)
    truth, data = audio.load(path), path.read_bytes()
    assert np.array_equal(audio.load(str(path)), truth)
    assert np.array_equal(audio.load(data), truth)
    assert np.array_equal(audio.load(io.BytesIO(data)), truth)
    with open(path, "rb") as file:
        assert np.array_equal(audio.load(file), truth)
        assert not file.closed
    assert audio.info(data).duration_s == 0.5


def test_what_is_no_source(make_wav):
    path = make_wav("a.wav", 0.5)
    assert np.array_equal(audio.load(bytearray(path.read_bytes())), audio.load(path))
    for wrong in (None, 5, np.zeros(100), io.StringIO("text"), ["a.wav"]):
        with pytest.raises(InputError, match="audio is a path, bytes or an open binary file, not"):
            audio.load(wrong)
    for rate in (0, -1, None, "16000", float("nan")):
        with pytest.raises(InputError, match="sample_rate_hz=.* must be a number from 1000 to 768000"):
            audio.load(path, sample_rate_hz=rate)
    with pytest.raises(InputError, match="is empty; correct its times"):
        audio.load(path, start_s="0.1")


def test_pipe(make_wav):
    path = make_wav("a.wav", 0.1)
    end, start = os.pipe()
    with os.fdopen(end, "rb") as reader, os.fdopen(start, "wb") as writer:
        thread = threading.Thread(target=lambda: (writer.write(path.read_bytes()), writer.close()))
        thread.start()
        assert np.array_equal(audio.load(reader), audio.load(path))
        thread.join()


def test_max_s(make_wav, decoded):
    path = make_wav("a.wav", 2.0)
    assert len(audio.load(path, max_s=2.0)) == 32000
    decoded.clear()
    with pytest.raises(InputError, match=r"a\.wav is longer than 1\.5 s; cut it, or raise max_audio_s"):
        audio.load(path, max_s=1.5)
    assert sum(decoded) == 0  # the header was enough
    assert len(audio.load(path, 0.5, 1.0, max_s=1.5)) == 16000  # the limit applies to the segment


def test_max_s_of_a_stream_without_length(make_wav, decoded):
    path = make_wav("a.flac", 60.0, 8000)
    set_flac_frames(path, 0)
    assert len(audio.load(path, sample_rate_hz=8000)) == 60 * 8000
    decoded.clear()
    with pytest.raises(InputError, match="longer than 10 s"):
        audio.load(path, max_s=10)
    assert sum(decoded) == 0  # the last frame tells the length


def test_blocks_keep_rate_and_channels(make_wav):
    x = np.random.default_rng(0).uniform(-0.5, 0.5, (400000, 2))
    path = make_wav("a.wav", x, 48000, subtype="FLOAT")
    blocks = list(audio.blocks(path))
    assert len(blocks) > 1 and max(b.size for b in blocks) <= audio.BLOCK_SAMPLES
    assert np.allclose(np.concatenate(blocks), x, atol=1e-6)


def test_streamed_wav(make_wav):
    """ffmpeg and sox announce 4 or 2 GiB when they write to a pipe; such files are not truncated."""
    path = make_wav("a.wav", 0.5)
    for announced in (0xFFFFFFFF, 0x7FFFFFFF - 36):
        data = bytearray(path.read_bytes())
        data[4:8] = data[40:44] = announced.to_bytes(4, "little")
        assert len(audio.load(bytes(data))) == 8000


# Broken files


def test_missing(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.wav does not exist"):
        audio.load(tmp_path / "nothing.wav")
    with pytest.raises(InputError, match="is not a file"):
        audio.info(tmp_path)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.raw", "a"])
def test_empty(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(audio.EmptyAudio, match="is empty"):
        audio.load(tmp_path / name)
    with pytest.raises(audio.EmptyAudio, match="given in memory is empty"):
        audio.load(b"")


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg"])
def test_no_samples(make_wav, name):
    with pytest.raises(InputError):
        audio.load(make_wav(name, np.zeros(0)))


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.raw", "a.txt"])
def test_text_as_audio(tmp_path, name):
    path = tmp_path / name
    path.write_text("one two three, 하나 둘 셋\n" * 200)
    with pytest.raises(InputError, match=rf"{name} is not audio"):
        audio.load(path)
    with pytest.raises(InputError, match="is not audio"):
        audio.info(path.read_bytes())


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1])
@pytest.mark.parametrize("name", ["a.flac", "a.wav", "a.mp3"])
def test_truncated(make_wav, name, share):
    path = make_wav(name, 4.0)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError, match=rf"{name} is (damaged or )?truncated"):
        audio.load(path)


def test_flac_with_fewer_frames_than_announced(make_wav):
    """A file cut at the end of a FLAC frame decodes without error; only the count shows it."""
    path = make_wav("a.flac", 1.0)
    set_flac_frames(path, 16001)
    with pytest.raises(InputError, match=r"truncated|damaged"):
        audio.load(path)


def test_flipped_byte(make_wav):
    path = make_wav("a.flac", 2.0)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(InputError, match="damaged"):
        audio.load(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 7777, -1])
def test_samples_that_are_not_finite(make_wav, bad, at):
    x = sine(16000)
    x[at] = bad
    with pytest.raises(InputError, match=r"a\.wav holds NaN or infinite samples"):
        audio.load(make_wav("a.wav", x, subtype="FLOAT"))


def test_samples_that_are_not_scaled(make_wav):
    assert np.abs(audio.load(make_wav("a.wav", sine(16000, amplitude=1.5), subtype="FLOAT"))).max() == 1.0
    with pytest.raises(InputError, match=r"holds samples up to 8000; scale"):
        audio.load(make_wav("b.wav", sine(16000, hz=4000, amplitude=8000), subtype="FLOAT"))


def test_absurd_rate(make_wav):
    with pytest.raises(InputError, match="broken header: a sample rate of 1 Hz"):
        audio.load(make_wav("a.wav", np.zeros(100), 1))


@settings(max_examples=80, deadline=None)
@given(
    data=st.binary(min_size=1, max_size=300),
    head=st.sampled_from([b"", b"RIFF", b"fLaC", b"OggS", b"ID3", b"\xff\xfb"]),
)
def test_any_bytes_are_refused_with_one_sentence(data, head):
    try:
        audio.load(head + data, max_s=1.0)
    except InputError as e:
        assert "audio given in memory" in str(e)
