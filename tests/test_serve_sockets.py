"""What clients of /v1/stream do wrong, and what the service bears: one clear error, bounded memory, fair shares."""

import json
import socket
import struct
import threading
import time

import pytest
from bursts import Recognizer, pcm, say, serving
from hypothesis import given, settings
from hypothesis import strategies as st
from test_serve_live import START, client, error_of, event, events, say_all
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from asr.config import Config
from asr.serve import live, sockets


@pytest.fixture(scope="module")
def service():
    with serving(Config()) as running:
        yield running


def is_well(service):
    with client(service, {**START, "partials": False}) as ws:
        say_all(ws, pcm(say("one")))
        return [e["text"] for e in events(ws, "final")] == ["one"]


@pytest.mark.parametrize(
    ("message", "named"),
    [
        (b"\0\0", "before the start message"),
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('"start"', "not a JSON object"),
        ("[" * 100_000, "not JSON"),
        ('{"type": "start", "type": "start"}', "occurs twice"),
        ("{}", "expected start, resume"),
        ('{"type": "strat"}', "did you mean 'start'"),
        ('{"type": ["start"]}', "expected start, resume"),
        ('{"type": "finalize"}', "expected start, resume"),
        ({**START, "encoding": "pcm"}, "pcm_s16le"),
        ({**START, "encoding": "flac"}, "expected one of"),
        ({**START, "encoding": 3}, "encoding"),
        ({**START, "sample_rate_hz": 12}, "sample_rate_hz"),
        ({**START, "sample_rate_hz": 1e99}, "sample_rate_hz"),
        ({**START, "sample_rate_hz": "fast"}, "sample_rate_hz"),
        ({**START, "phrases": {"one": float("nan")}}, "NaN"),
        ({**START, "endpoint": {"rules": [{"speech": True, "silence_s": float("inf")}]}}, "Infinity"),
        ({**START, "endpoint": {"rules": [{"speech": True}]}}, "endpoint.rules.0.silence_s"),
        ({**START, "sample_rate": 8000}, "did you mean 'sample_rate_hz'"),
        ({**START, "endpoint": {"silence_s": 0.5}}, "the field 'silence_s' is unknown; expected rules, vad"),
        ({**START, "endpoint": {"rules": [{"speech": True, "silence": 1}]}}, "the field 'silence' is unknown"),
        ({**START, "endpoint": {"rules": []}}, "at least one"),
        ({**START, "endpoint": {"vad": "ears"}}, "vad='ears' must be one of"),
        ({**START, "phrases": {"": 1.0}}, "empty phrase"),
        ({**START, "phrases": {str(n): 1.0 for n in range(2000)}}, "phrases has 2000 entries"),
        ({**START, "mode": "opera"}, "there is no mode 'opera'"),
        ({"type": "resume"}, "session"),
        ({"type": "resume", "session": "x", "utterances": 1}, "did you mean 'utterance'"),
        ({"type": "resume", "session": "x", "utterance": -1}, "utterance"),
    ],
)
def test_a_wrong_first_message_gets_one_sentence(service, message, named):
    with client(service, None) as ws:
        ws.send(json.dumps(message) if isinstance(message, dict) else message)
        error = error_of(ws, 4400)
        assert named in error["message"] and len(error["message"]) < 400 and "\n" not in error["message"]
        assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("encoding", "messages", "code", "named"),
    [
        ("pcm_s16le", ['{"type": "pause"}'], 4400, "unknown"),
        ("pcm_s16le", ["{" * 10], 4400, "not JSON"),
        ("pcm_s16le", [b"\0" * ((1 << 20) + 1)], 4413, "send it in parts"),
        ("pcm_s16le", ['{"type": "' + "x" * (1 << 20) + '"}'], 4413, "send it in parts"),
        ("pcm_s16le", [bytes(3), '{"type": "close"}'], 4400, "ends within a sample: 1 of 2 bytes"),
        ("pcm_f32le", [bytes(4), struct.pack("<f", float("nan"))], 4400, "sample 1 of the sound is nan"),
        ("pcm_f32le", [struct.pack("<f", float("inf"))], 4400, "sample 0 of the sound is inf"),
        ("pcm_f32le", [pcm(say("one"))], 4400, "numbers in [-1, 1]"),
    ],
)
def test_a_wrong_message_ends_the_session(service, encoding, messages, code, named):
    with client(service, {**START, "encoding": encoding}) as ws:
        for message in messages:
            ws.send(message)
        assert named in error_of(ws, code)["message"]
    assert is_well(service)


def test_odd_messages_make_whole_samples(service):
    with client(service, {**START, "partials": False}) as ws:
        say_all(ws, pcm(say("one two")), 101)
        assert [e["text"] for e in events(ws, "final")] == ["one two"]


MESSAGES = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=50),
    st.sampled_from(['{"type": "finalize"}', '{"type": "keep_alive"}', '{"type": "close"}', '{"type": "start"}']),
    st.dictionaries(st.sampled_from(["type", "encoding", "mode", "x"]), st.none() | st.text() | st.floats()).map(
        json.dumps
    ),
)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    encoding=st.sampled_from(["pcm_s16le", "pcm_f32le", "mulaw"]),
    begins=st.booleans(),
    messages=st.lists(MESSAGES, max_size=6),
)
def test_any_messages_end_in_an_error_or_in_words(service, encoding, begins, messages):
    with connect(f"ws://{service.at}/v1/stream", close_timeout=1) as ws:
        try:
            for message in (
                [json.dumps({**START, "encoding": encoding})] * begins + messages + ['{"type": "close"}'] * 2
            ):
                ws.send(message)
        except ConnectionClosed:
            pass
        found = events(ws)
        assert found[-1]["type"] in ("closed", "error")
        assert sum(e["type"] == "error" for e in found) <= 1
        assert ws.close_code in (1000, 4400)


def test_a_silent_client_is_cut_off_unless_it_keeps_alive(service, monkeypatch):
    monkeypatch.setattr(live, "IDLE_S", 0.4)
    with client(service, None) as ws:
        assert "no message came for 0.4 s" in error_of(ws, 4408)["message"]
    with client(service) as ws:
        for _ in range(4):
            time.sleep(0.2)
            ws.send('{"type": "keep_alive"}')
        ws.send(pcm(say("one")))
        assert error_of(ws, 4408)["message"].startswith("no message came")


def test_a_client_that_waits_for_the_service_is_not_silent(monkeypatch):
    monkeypatch.setattr(live, "IDLE_S", 0.4)
    with serving(Config(threads=1), Recognizer(delay_s=0.01)) as service:  # per 0.1 s of sound
        with client(service, {**START, "partials": False, "endpoint": None}) as ws:
            ws.send(pcm(say("one " * 30)))  # 1.2 s of work
            ws.send('{"type": "finalize"}')
            assert event(ws)["text"] == " ".join(["one"] * 30)
            error_of(ws, 4408)


def test_too_many_sessions_are_refused():
    cfg = Config()
    cfg.serve.max_sessions = 2
    with serving(cfg) as service:
        with client(service), client(service):
            with client(service, None) as third:
                third.send(json.dumps(START))
                error = error_of(third, 4503)
                assert (error["code"], error["retry_after_s"]) == ("too_many_sessions", 5)
        time.sleep(0.1)  # a client that closes its connection gives its place back at once
        assert is_well(service)


def test_a_stream_has_a_longest_time():
    cfg = Config()
    cfg.serve.max_stream_s = 1.0
    with serving(cfg) as service, client(service) as ws:
        ws.send(pcm(say("one two three one two")))
        assert "longer than 1 s" in error_of(ws, 4400)["message"]


def test_a_client_that_does_not_read_is_cut_off(service, monkeypatch):
    monkeypatch.setattr(sockets, "SEND_S", 0.5)
    monkeypatch.setattr(live, "RESUME_S", 0.5)
    sessions = service.app.state.service.sessions.open
    others = set(sessions)
    raw = socket.create_connection(service.at.split(":"))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    raw.sendall(
        f"GET /v1/stream HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{key}\r\n".encode()
    )
    assert b"101 Switching" in raw.recv(1000)
    raw.sendall(frame(1, json.dumps(START).encode()))
    speech = pcm(say("one two three"))
    raw.settimeout(3)
    sent = 0
    try:
        for _ in range(20000):  # each finalize is answered with a final of 600 bytes
            raw.sendall(frame(2, speech) + frame(1, b'{"type": "finalize"}'))
            sent += 1
    except OSError:  # cut off, or the service does not read on
        pass
    assert 10 < sent < 20000
    until = time.monotonic() + 20
    while set(sessions) - others and time.monotonic() < until:
        time.sleep(0.1)
    assert not set(sessions) - others
    raw.close()
    assert is_well(service)


def frame(kind: int, content: bytes) -> bytes:
    """A masked frame of a client; the mask is zero."""
    size = len(content)
    length = (
        bytes([128 | size]) if size < 126 else struct.pack("!BH" if size < 65536 else "!BQ", 254 + (size > 65535), size)
    )
    return bytes([128 | kind]) + length + bytes(4) + content


def test_streams_share_the_threads_fairly():
    cfg = Config(threads=1)
    recognizer = Recognizer(delay_s=0.01)  # per 0.1 s of sound
    with serving(cfg, recognizer) as service:
        with (
            client(service, {**START, "partials": False}) as greedy,
            client(service, {**START, "partials": False}) as ws,
        ):
            greedy.send(pcm(say("one " * 60)))  # 2.5 s of work in one message
            start = time.monotonic()
            ws.send(pcm(say("two")) + b"")
            ws.send('{"type": "finalize"}')
            assert event(ws)["text"] == "two"
            assert time.monotonic() - start < 0.7
            greedy.send('{"type": "close"}')
            assert events(greedy, "final")


def test_many_streams_at_a_time_have_the_words_of_one(service):
    found = {}

    def run(number):
        with client(service, {**START, "partials": number % 2 == 0}) as ws:
            say_all(ws, pcm(say("one two _ three")), 800 + 77 * number)
            found[number] = [e["text"] for e in events(ws, "final")]

    threads = [threading.Thread(target=run, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: ["one two", "three"] for number in range(16)}


def test_a_service_that_stops_gives_the_last_words():
    with serving(Config()) as service, client(service, {**START, "partials": False}) as ws:
        ws.send(pcm(say("one two", end_s=0)))
        time.sleep(0.1)
        service.server.should_exit = True
        final, closed = events(ws)
        assert (final["text"], closed["type"], ws.close_code) == ("one two", "closed", 1012)
