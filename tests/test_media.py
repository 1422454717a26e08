"""What phones and browsers record: written by FFmpeg, read whole, cut, and without PyAV."""

import io

import numpy as np
import pytest
import soundfile

from asr.errors import InputError
from asr.features import audio, media
from asr.features.containers import media_ends

SECONDS = 3.0
# name, FFmpeg's format and codec, options, rate, and the error of a tone
FILES = [
    ("a.m4a", "ipod", "aac", {}, 44100, 0.03),
    ("fast.mp4", "mp4", "aac", {"movflags": "faststart"}, 48000, 0.03),
    ("frag.mp4", "mp4", "aac", {"movflags": "frag_keyframe+empty_moov", "frag_duration": "500000"}, 48000, 0.03),
    ("alac.m4a", "ipod", "alac", {}, 16000, 1e-3),
    ("a.webm", "webm", "libopus", {}, 48000, 0.03),
    ("live.webm", "webm", "libopus", {"live": "1"}, 48000, 0.03),
    ("a.mkv", "matroska", "pcm_s16le", {}, 16000, 1e-3),
    ("a.mka", "matroska", "flac", {}, 16000, 1e-3),
    ("a.aac", "adts", "aac", {}, 16000, 0.03),
    ("a.amr", "amr", "libopencore_amrnb", {}, 8000, 0.2),
    ("a.3gp", "3gp", "libopencore_amrnb", {}, 8000, 0.2),
    ("a.ts", "mpegts", "aac", {}, 48000, 0.03),
    ("a.avi", "avi", "pcm_s16le", {}, 16000, 1e-3),
    ("a.wv", "wv", "wavpack", {}, 16000, 5e-3),
    ("a.tta", "tta", "tta", {}, 16000, 0.02),
]
files = pytest.mark.parametrize(("name", "format", "codec", "options", "rate_hz", "error"), FILES)


def tone(rate_hz, seconds=SECONDS):
    return 0.4 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate_hz)) / rate_hz).astype(np.float32)


def write(path, format, codec, options, rate_hz, streams=1, seconds=SECONDS):
    av = pytest.importorskip("av", reason="PyAV is not installed (the extra `media`)")
    with av.open(str(path), "w", format=format, options=options) as container:
        try:
            found = [container.add_stream(codec, rate=rate_hz, layout="mono") for _ in range(streams)]
            for stream in found:
                stream.codec_context.open()
        except (av.FFmpegError, ValueError) as e:
            pytest.skip(f"this FFmpeg does not write {codec}: {e}")
        for stream in found:
            size = stream.codec_context.frame_size or 1024
            resampler = av.AudioResampler(stream.codec_context.format, "mono", rate_hz, frame_size=size)
            frame = av.AudioFrame.from_ndarray(tone(rate_hz, seconds)[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = rate_hz, 0
            for part in [*resampler.resample(frame), *resampler.resample(None), None]:
                container.mux(stream.encode(part))


@files
def test_formats(tmp_path, name, format, codec, options, rate_hz, error):
    path = tmp_path / "a.wav"  # the content tells the kind, not the name
    write(path, format, codec, options, rate_hz)
    info, x = audio.info(path), np.concatenate(list(audio.blocks(path)))[:, 0]
    assert (info.sample_rate_hz, info.channels) == (rate_hz, 1)
    assert abs(info.duration_s - SECONDS) < 0.15 and abs(len(x) / rate_hz - info.duration_s) < 0.1
    inner = x[rate_hz // 2 : rate_hz * 2]
    phase = np.exp(-2j * np.pi * 440 * np.arange(len(inner)) / rate_hz)
    fit = 2 * np.real(np.mean(inner * phase) / phase)  # the tone of any delay
    assert np.std(inner - fit) < max(error, 2e-3) and abs(np.abs(fit).max() - 0.4) < max(error, 5e-3)
    for source in (path.read_bytes(), io.BytesIO(path.read_bytes())):
        assert np.array_equal(np.concatenate(list(audio.blocks(source)))[:, 0], x)
    segment = audio.load(path, 1.0, 0.5, rate_hz)
    assert np.array_equal(segment, x[rate_hz : rate_hz + rate_hz // 2])
    with pytest.raises(InputError, match="longer than 1 s"):
        audio.load(path, max_s=1)


@pytest.mark.parametrize(
    ("format", "codec", "rate_hz", "options"),
    [
        ("matroska", "aac", 48000, {}), ("matroska", "aac", 44100, {}), ("matroska", "libmp3lame", 44100, {}),
        ("webm", "libopus", 48000, {}), ("webm", "libopus", 48000, {"live": "1"}), ("mpegts", "aac", 48000, {}),
        ("ipod", "aac", 44100, {}), ("mp4", "aac", 48000, {"movflags": "frag_keyframe+empty_moov"}),
    ],
)  # fmt: skip
def test_rounded_times_take_nothing_off_the_end(tmp_path, format, codec, rate_hz, options):
    """Matroska rounds the 21.33 ms of a packet of AAC to 21: 20 seconds would lose 0.3."""
    path = tmp_path / "a.x"
    write(path, format, codec, options, rate_hz, seconds=20.0)
    x = np.concatenate(list(audio.blocks(path)))[:, 0]
    assert 0 <= len(x) - 20 * rate_hz < 3 * 1152
    assert abs(audio.info(path).duration_s - len(x) / rate_hz) < 0.05
    assert np.abs(x[-rate_hz // 10 - 3 * 1152 :][: rate_hz // 10]).max() > 0.3


@files
@pytest.mark.parametrize("share", [0.3, 0.6, 0.97])
def test_cut_files_are_refused(tmp_path, name, format, codec, options, rate_hz, error, share):
    path = tmp_path / name
    write(path, format, codec, options, rate_hz)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError, match=rf"{name}.*(damaged|truncated)"):
        audio.load(path)


def test_several_streams_are_refused(tmp_path):
    write(tmp_path / "two.mp4", "mp4", "aac", {}, 48000, streams=2)
    with pytest.raises(InputError, match="two.mp4 holds 2 audio streams; extract one: ffmpeg"):
        audio.load(tmp_path / "two.mp4")


def test_a_video_without_sound_is_refused(tmp_path):
    av = pytest.importorskip("av", reason="PyAV is not installed (the extra `media`)")
    with av.open(str(tmp_path / "film.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match="film.mp4 has no sound: it holds no audio stream"):
        audio.load(tmp_path / "film.mp4")


def test_titles_that_are_not_utf_8(tmp_path):
    path = tmp_path / "a.mka"
    write(path, "matroska", "pcm_s16le", {}, 16000)
    data = path.read_bytes()
    assert b"Lavf" in data
    assert len(audio.load(data.replace(b"Lavf", b"L\xe4\xf6f"))) == len(audio.load(data))


def test_wavs_of_other_codecs(tmp_path):
    write(tmp_path / "a.wav", "wav", "adpcm_yamaha", {}, 16000)
    assert abs(len(audio.load(tmp_path / "a.wav")) / 16000 - SECONDS) < 0.1


MP4 = b"\0\0\0\x18ftypM4A \0\0\0\0M4A isom" + b"\0\0\0\x08free"


def test_without_pyav(monkeypatch):
    monkeypatch.setattr(media, "has_pyav", lambda: False)
    with pytest.raises(InputError, match=r"reading .* \(mp4 or m4a\) needs PyAV: pip install 'av>=12'; or convert it"):
        audio.load(MP4)
    for head in (b"#!AMR\n\x3c" + bytes(31), b"\x1aE\xdf\xa3\x80", bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")):
        with pytest.raises(InputError, match="needs PyAV"):
            audio.info(head)


@pytest.mark.parametrize("data", [MP4, b"\x1aE\xdf\xa3\x80", b"\x1aE\xdf\xa3" + bytes(99), b"#!AMR\n", b"\xff\xf1ab"])
def test_files_without_content_are_refused(data):
    pytest.importorskip("av", reason="PyAV is not installed (the extra `media`)")
    with pytest.raises(InputError):
        audio.load(data)


def test_playlists_are_not_opened(tmp_path):
    """FFmpeg would open the files that a playlist names."""
    soundfile.write(tmp_path / "secret.wav", np.zeros(1000), 16000)
    for text in ("#EXTM3U\n#EXTINF:1,\nsecret.wav\n", "ffconcat version 1.0\nfile secret.wav\n"):
        (tmp_path / "a.m4a").write_text(text)
        with pytest.raises(InputError, match="is not audio in a known format"):
            audio.load(tmp_path / "a.m4a")


@pytest.mark.parametrize(
    ("format", "data"),
    [
        ("mov", MP4),
        ("matroska", b"\x1aE\xdf\xa3\x80" + b"\x18\x53\x80\x67\x01" + b"\xff" * 7 + b"\x1f\x43\xb6\x75\xff\xa3\x82ab"),
        ("matroska", b"\x1aE\xdf\xa3\x80" + b"\x18\x53\x80\x67\x87" + b"\x1f\x43\xb6\x75\x82ab"),
        ("amr", b"#!AMR\n" + b"\x3c" + bytes(31) + b"\x04" + bytes(12)),
        ("amr", b"#!AMR-WB\n" + b"\x04" + bytes(17)),
        ("aac", (b"\xff\xf1\x60\x40\x01\x3f\xfc" + bytes(2)) * 2),
        ("avi", b"RIFF\x06\0\0\0AVI ab"),
    ],
)
def test_the_ends_of_media(format, data):
    assert not media_ends.is_cut(io.BytesIO(data), len(data), format)
    for cut in range(1, 2 if format != "avi" else 3):
        assert media_ends.is_cut(io.BytesIO(data[:-cut]), len(data) - cut, format)
