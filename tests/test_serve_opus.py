"""Opus as a live stream: containers, broken streams, missing packets, and the processes that decode it."""

import io
import json
import os
import statistics
import time
from contextlib import suppress

import numpy as np
import pytest
from bursts import say, serving
from test_serve_live import START, client, error_of, event, events, say_all
from websockets.exceptions import ConnectionClosed

from asr.config import Config
from asr.errors import InputError
from asr.serve import sound
from asr.serve.opus import OpusDecoder
from asr.serve.opus_process import Clock


@pytest.fixture(scope="module")
def service():
    with serving(Config()) as running:
        yield running


def opus(samples, format="webm", options=None, layout="mono", lost=(), shift_s=0.0):
    """A stream of Opus at 48 kHz, written by PyAV; a second channel is silent.

    Packets that begin within `lost` (seconds from, to) are left out; those after it are stamped `shift_s` later.
    """
    av = pytest.importorskip("av", reason="PyAV is not installed (the extra `media`)")
    file = io.BytesIO()
    with av.open(file, "w", format=format, options=options or {}) as container:
        stream = container.add_stream("libopus", rate=48000, layout=layout)
        stream.codec_context.open()
        size = stream.codec_context.frame_size
        for first in range(0, len(samples) - size + 1, size):
            block = np.zeros((len(stream.codec_context.layout.channels), size), np.float32)
            block[0] = samples[first : first + size]
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = 48000, first
            mux(container, stream.encode(frame), lost, shift_s)
        mux(container, stream.encode(None), lost, shift_s)
    return file.getvalue()


def mux(container, packets, lost, shift_s):
    for packet in packets:
        at_s = float(packet.pts * packet.time_base)
        if not lost or not lost[0] <= at_s < lost[1]:
            if lost and at_s >= lost[1]:
                packet.pts += round(shift_s / packet.time_base)
                packet.dts = packet.pts
            container.mux(packet)


@pytest.mark.parametrize(("format", "options"), [("ogg", {"page_duration": "60000"}), ("webm", {"live": "1"})])
def test_opus_as_a_stream(service, format, options):
    sound = opus(say("one two _ three", 48000), format, options)
    for size in (len(sound), 97):
        with client(service, {**START, "encoding": "opus", "partials": False}) as ws:
            say_all(ws, sound, size)
            assert [e["text"] for e in events(ws, "final")] == ["one two", "three"]
            assert ws.close_code == 1000
    with client(service, {**START, "encoding": "opus"}) as ws:
        ws.send(sound[: len(sound) // 2])  # words come before the stream ends
        assert event(ws, 30)["text"].startswith("one")


def test_channels_of_opus_are_averaged(service):
    sound = opus(2 * say("one two", 48000), "ogg", {}, "stereo")
    with client(service, {**START, "encoding": "opus", "partials": False}) as ws:
        say_all(ws, sound)
        assert [e["text"] for e in events(ws, "final")] == ["one two"]


def test_broken_opus_is_refused(service):
    sound = opus(say("one two", 48000), "ogg", {})
    for broken in (b"RIFF" + bytes(4000), sound[:100] + bytes(20000), b"\x1a\x45\xdf\xa3" + b"\xff" * 4000):
        with client(service, {**START, "encoding": "opus"}) as ws:
            say_all(ws, broken)
            message = error_of(ws, 4400)["message"]
            assert "Opus" in message or "Ogg" in message


def test_opus_needs_pyav(service, monkeypatch):
    monkeypatch.setattr("asr.serve.opus.has_pyav", lambda: False)
    with client(service, None) as ws:
        ws.send(json.dumps({**START, "encoding": "opus"}))
        assert "PyAV" in error_of(ws, 4400)["message"]


def heard(data, size=997):
    """All samples that the decoder gives."""
    decoder = OpusDecoder()
    try:
        pieces = [data[first : first + size] for first in range(0, len(data), size)]
        blocks = [block for piece in pieces for block in decoder.decode(piece)]
        return np.concatenate([*blocks, *decoder.finish()])
    finally:
        decoder.close()


def loud_s(samples):
    """When the bursts begin and end, in seconds."""
    size = 480
    loud = np.abs(samples[: len(samples) // size * size]).reshape(-1, size).max(1) > 0.05
    return np.flatnonzero(np.diff(np.concatenate([[0], loud, [0]]))) * size / 48000


@pytest.mark.parametrize("format", ["webm", "ogg"])
@pytest.mark.parametrize(("lost", "shift_s"), [((0.6, 0.8), 0.0), ((0.6, 1.5), 0.0), ((0.65, 0.66), 30.0)])
def test_missing_packets_are_silence(format, lost, shift_s):
    """Between the words, so that what is there comes at its time."""
    samples, options = say("one _ two", 48000), {"page_duration": "20000"} if format == "ogg" else {}
    whole = loud_s(heard(opus(samples, format)))
    found = loud_s(heard(opus(samples, format, options, lost=lost, shift_s=shift_s)))
    assert len(whole) == len(found) == 4
    assert np.abs(found - whole - [0, 0, shift_s, shift_s]).max() <= 0.03


def test_stamps_of_a_stream_that_is_whole_add_nothing():
    for samples in (say("one _ two", 48000), 0.1 * np.random.default_rng(0).standard_normal(10 * 48000)):
        for format in ("webm", "ogg"):
            assert 0 <= len(samples) - len(heard(opus(samples.astype(np.float32), format))) <= 2 * 960


def missing_s(stamps, duration_s=0.02):
    clock = Clock()
    return sum(clock.missing_s(float(at_s), duration_s) for at_s in stamps)


def test_stamps_may_jitter_and_drift_and_packets_be_lost():
    """Times stay right to a tenth of a second."""
    rng = np.random.default_rng(0)
    stamps = np.arange(50_000) * 0.02
    assert missing_s(stamps + rng.uniform(0, 0.09, len(stamps))) == 0
    assert missing_s(stamps * 0.999) == 0  # the samples come faster
    assert missing_s(stamps * 1.001) == pytest.approx(1.0, abs=0.11)  # and slower
    kept = stamps[rng.random(len(stamps)) < 0.7]
    assert missing_s(kept) == pytest.approx(0.02 * (len(stamps) - len(kept)), abs=0.13)


def test_stamps_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match="jump from 0.6"):
        heard(opus(say("one _ _ two", 48000), lost=(0.6, 0.64), shift_s=90.0))
    with pytest.raises(InputError, match="jump from 2.52 s to 0.50 s"):  # which PyAV does not write
        missing_s([2.5, 0.5])


def test_samples_that_overshoot_are_clipped():
    loud = np.sign(np.sin(2 * np.pi * 300 * np.arange(48000) / 48000)).astype(np.float32)
    assert np.abs(heard(opus(loud))).max() == 1.0


def children():
    """The processes of streams, and the one that is forked ahead."""
    pid = sound._decoder()._process.pid
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return file.read().split()


def until_alone():
    until_s = time.monotonic() + 20
    while len(children()) > 1:
        assert time.monotonic() < until_s
        time.sleep(0.02)


def test_a_stream_begins_at_once(service):
    """No process is started for it: it is forked from a warm one, ahead."""
    data, times = opus(say("one", 48000)), []
    for _ in range(5):
        start_s = time.monotonic()
        decoder = OpusDecoder()
        next(decoder.decode(data))
        times.append(time.monotonic() - start_s)
        decoder.close()
    assert statistics.median(times) < 0.5  # 40 ms on a busy machine, and 0.9 to 2.6 s for a process that starts


def test_streams_at_a_time_hear_their_own_sound_and_end_alone(service):
    until_alone()
    sounds = [opus(say(words, 48000)) for words in ("one", "two", "three")]
    decoders = [OpusDecoder() for _ in sounds]
    found = [[] for _ in sounds]
    for first in range(0, max(map(len, sounds)), 300):
        for decoder, data, blocks in zip(decoders, sounds, found, strict=True):
            blocks += decoder.decode(data[first : first + 300])
    assert len(children()) == 4
    peaks = [np.abs(np.concatenate([*blocks, *decoder.finish()])).max()
             for blocks, decoder in zip(found, decoders, strict=True)]  # fmt: skip
    assert np.abs(np.array(peaks) - [0.1, 0.25, 0.6]).max() < 0.05
    for decoder in decoders:
        decoder.close()
    until_alone()


def test_a_killed_process_costs_one_stream(service):
    until_alone()
    (spare,) = children()
    data = opus(say("one two", 48000))
    with client(service, {**START, "encoding": "opus", "partials": False}) as ws:
        ws.send(data[:2000])
        time.sleep(0.5)
        os.kill(int(spare), 9)
        with suppress(ConnectionClosed):  # the service may be faster than the rest of the sound
            say_all(ws, data[2000:])
        assert "decoder stopped; start a new stream" in error_of(ws, 4400)["message"]
    with client(service, {**START, "encoding": "opus", "partials": False}) as ws:
        say_all(ws, data)
        assert [e["text"] for e in events(ws, "final")] == ["one two"]


def test_a_process_in_an_endless_loop_ends_with_its_stream(monkeypatch):
    program = (
        "from asr.serve import opus_process, sound_process\n"
        "def decode(channel, answer):\n    while True: pass\n"
        "opus_process.decode = decode\nsound_process.main()"
    )
    monkeypatch.setattr(sound, "PROGRAM", ["-c", program])
    processes = sound.Decoder(1)
    monkeypatch.setattr(sound, "_decoder", lambda: processes)
    monkeypatch.setattr("asr.serve.opus.PATIENCE_S", 1.0)
    sound.start()
    with pytest.raises(InputError, match="decoder stopped"):
        heard(b"OggS")
    until_alone()
    processes.close()
