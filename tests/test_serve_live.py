"""WS /v1/stream: every encoding, partial results, endpoints, finals, broken connections, and clients that misbehave."""

import io
import json
import re
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
import tiny
from bursts import Recognizer, pcm, say, serving
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from asr.config import Config
from asr.recognizer import bundle
from asr.recognizer.opening import load
from asr.serve import listener, live, sockets
from asr.serve.access import Caller
from asr.serve.encodings import open_decoder
from asr.serve.errors import Refused

START = {"type": "start", "mode": "dictation"}


@pytest.fixture(scope="module")
def service():
    with serving(Config()) as running:
        yield running


@contextmanager
def client(service, start=START, query=""):
    """A connection whose session has begun; None: it has said nothing yet."""
    with connect(f"ws://{service.at}/v1/stream{query}", close_timeout=1) as ws:
        if start is not None:
            ws.send(json.dumps(start))
            ws.started = event(ws)
            assert ws.started["type"] == "started", ws.started
        yield ws


def event(ws, timeout=10):
    return json.loads(ws.recv(timeout))


def events(ws, *kinds):
    """All events up to the end of the connection; of these types, if any are given."""
    found = []
    with pytest.raises(ConnectionClosed):
        while True:
            found.append(event(ws))
    return [e for e in found if not kinds or e["type"] in kinds]


def say_all(ws, sound: bytes, size=3200):
    for first in range(0, len(sound), size):
        ws.send(sound[first : first + size])
    ws.send('{"type": "close"}')


def error_of(ws, code):
    *_, last = events(ws)
    assert last["type"] == "error"
    assert ws.close_code == code
    return last["error"]


def test_words_arrive_while_they_are_spoken(service):
    with client(service) as ws:
        say_all(ws, pcm(say("one two _ three")))
        found = events(ws)
    finals = [e for e in found if e["type"] == "final"]
    assert [(f["utterance"], f["text"], f["from_finalize"]) for f in finals] == [
        (0, "one two", False),
        (1, "three", False),
    ]
    first, second = finals[0]["words"]
    assert (first["word"], first["start_s"], first["end_s"], first["confidence"]) == ("one", 0.2, 0.4, 0.9)
    assert second["start_s"] == 0.6 and finals[1]["words"][0]["start_s"] == pytest.approx(2.2, abs=0.05)
    assert finals[0]["end_s"] == finals[1]["start_s"] and len(finals[0]["id"]) > 16
    [end] = [e for e in found if e["type"] == "endpoint"]
    assert end == {"type": "endpoint", "at_s": pytest.approx(0.8, abs=0.1), "rule": "possible end", "utterance": 0}
    assert found.index(end) + 1 == found.index(finals[0])
    assert found[-1] == {"type": "closed", "audio_s": pytest.approx(len(say("one two _ three")) / 16000, abs=1e-3)}
    assert ws.close_code == 1000


def test_phrases_that_cannot_be_used_are_named(service):
    with client(service, {**START, "phrases": {"one": 2.0, "eleven": 2.0}}) as ws:
        assert ws.started["ignored"] == ["eleven"]


def test_utterances_are_measured_and_kept_if_asked_for(service, monkeypatch):
    kept = []
    monkeypatch.setattr(service.app.state.service, "keepers", [kept.append])
    with client(service, {**START, "sample_rate_hz": 8000, "partials": False}) as ws:
        say_all(ws, pcm(say("one _ two", 8000)))
        finals = events(ws, "final")
    assert [(a.id, a.hypothesis.text, a.mode, a.sample_rate_hz) for a in kept] == [
        (e["id"], e["text"], "dictation", 8000) for e in finals
    ]
    assert [len(a.samples) / 8000 for a in kept] == [pytest.approx(e["end_s"] - e["start_s"], abs=1e-3) for e in finals]
    assert np.abs(kept[0].samples).max() == pytest.approx(0.1, abs=0.01)
    measured = httpx.get(f"http://{service.at}/metrics").text
    assert 'asr_stage_seconds_count{stage="stream"}' in measured and 'asr_words_total{accepted="true"' in measured


def test_partial_results_come_in_time_but_not_too_often(service):
    with client(service) as ws:
        times, last = [], None
        sound = pcm(say("one two three one"))
        for first in range(0, len(sound), 640):  # 20 ms
            ws.send(sound[first : first + 640])
            time.sleep(0.02)
        while last != "one two three one":
            last = (e := event(ws))["text"]
            times.append(time.monotonic())
            assert e["type"] == "partial" and e["stable"] == len(e["words"]) - 1 and e["utterance"] == 0
        assert len(times) >= 4


def test_partials_are_a_tenth_of_a_second_apart(service, monkeypatch):
    sent, send = [], sockets.Connection.send

    async def noted(self, event):
        sent.append((event["type"], time.monotonic()))
        await send(self, event)

    monkeypatch.setattr(sockets.Connection, "send", noted)
    with client(service) as ws:
        for word in ("one", "two", "three") * 3:
            say_some = pcm(say(word, end_s=0))
            for first in range(0, len(say_some), 320):
                ws.send(say_some[first : first + 320])
                time.sleep(0.002)
        ws.send('{"type": "close"}')
        events(ws)
    times = [at for kind, at in sent if kind == "partial"]
    assert len(times) > 2 and min(np.diff(times)) > 0.09
    with client(service, {**START, "partials": False}) as ws:
        say_all(ws, pcm(say("one two")))
        assert events(ws, "partial") == []


@pytest.mark.parametrize(
    ("wanted", "lags", "most", "least"), [(True, False, 40, 40), (True, True, 4, 3), (False, False, 0, 0)]
)
def test_partials_are_rare_while_a_session_lags(monkeypatch, wanted, lags, most, least):
    monkeypatch.setattr(listener, "PARTIAL_S", 0.0)
    heard = listener.Listener(Recognizer(), None, None, open_decoder("pcm_s16le", 16000), 100.0, partials=wanted)
    asked, partial = [], heard.stream.partial
    monkeypatch.setattr(heard.stream, "partial", lambda: asked.append(heard.heard_s) or partial())
    sound = pcm(np.concatenate([say("one"), np.zeros(64000, np.float32)])[:64000])
    for first in range(0, len(sound), 3200):
        list(heard.hear(sound[first : first + 3200], lags))
    assert least <= len(asked) <= most


def test_a_partial_result_is_not_held_back_until_more_sound_comes(service):
    with client(service) as ws:
        ws.send(pcm(say("one", end_s=0)))
        assert event(ws)["text"] == "one"
        ws.send(pcm(say("two", end_s=0)))  # within a tenth of a second
        assert event(ws, 1)["text"] == "one two"


def test_finalize_flushes_and_the_stream_goes_on(service):
    with client(service, {**START, "partials": False, "endpoint": None}) as ws:
        ws.send(pcm(say("one _ _ one", end_s=0.0)))
        ws.send('{"type": "finalize"}')
        first = event(ws)
        assert (first["type"], first["text"], first["from_finalize"], first["utterance"]) == (
            "final",
            "one one",
            True,
            0,
        )
        ws.send('{"type": "keep_alive"}')
        ws.send('{"type": "finalize"}')
        assert event(ws)["text"] == ""  # every finalize is answered
        say_all(ws, pcm(say("two")))
        last, closed = events(ws)
        assert (last["text"], last["utterance"], closed["type"]) == ("two", 2, "closed")


@pytest.mark.parametrize(
    ("encoding", "rate_hz", "encode"),
    [
        ("pcm_s16le", 48000, pcm),
        ("pcm_s16le", 8000, pcm),
        ("pcm_f32le", 16000, lambda x: x.astype("<f4").tobytes()),
        ("mulaw", 8000, lambda x: g711(x, "ULAW")),
        ("alaw", 8000, lambda x: g711(x, "ALAW")),
        ("mulaw", None, lambda x: g711(x, "ULAW")),
    ],
)
@pytest.mark.parametrize("size", [333, 1601])
def test_encodings_cut_anywhere(service, encoding, rate_hz, encode, size):
    with client(service, {**START, "encoding": encoding, "sample_rate_hz": rate_hz, "partials": False}) as ws:
        say_all(ws, encode(say("one two three", rate_hz or 8000)), size)
        assert [e["text"] for e in events(ws, "final")] == ["one two three"]


def g711(samples, subtype):
    file = io.BytesIO()
    soundfile.write(file, samples, 8000, subtype, format="RAW")
    return file.getvalue()


def test_a_broken_connection_is_resumed(service):
    sound = pcm(say("one two _ three _ two one three"))
    with client(service) as ws:
        say_all(ws, sound)
        whole = events(ws, "final")
    assert len(whole) == 3
    for cut in (1, 40001, 60000, len(sound) - 7):
        ws = connect(f"ws://{service.at}/v1/stream")
        ws.send(json.dumps({**START, "partials": False}))
        started = event(ws)
        ws.send(sound[:cut])
        ws.socket.shutdown(2)  # no closing handshake
        time.sleep(0.05)
        with client(service, {"type": "resume", "session": started["session"]}) as ws:
            assert ws.started["session"] == started["session"]
            received = ws.started["received_bytes"]
            assert received in (0, cut)
            say_all(ws, sound[received:], 1111)
            again = events(ws, "final")
        assert [strip(e) for e in again] == [strip(e) for e in whole]


def test_a_real_model_hears_the_same_however_the_sound_comes(tmp_path):
    cfg = tiny.config()
    bundle.write(tmp_path / "m.asr", tiny.model(cfg), cfg, tiny.TOKENS, tiny.graph_dir(tmp_path / "graph"), "card")
    sound = pcm(np.concatenate([part for n in range(3) for part in (tiny.noise(0.8, n), np.zeros(20000))]))
    pause = {"speech": True, "silence_s": 0.2, "name": "pause"}
    long = {"speech": False, "silence_s": 0.0, "utterance_s": 2.0, "name": "long"}
    start, found = {**START, "mbr": True, "confusion": True, "endpoint": {"rules": [pause, long]}}, []
    with serving(Config(), load(tmp_path / "m.asr")) as service:
        for size in (333, 3200, len(sound)):
            with client(service, start) as ws:
                say_all(ws, sound, size)
                found.append([strip(e) for e in events(ws, "final")])
        ws = connect(f"ws://{service.at}/v1/stream")
        ws.send(json.dumps(start))
        session = event(ws)["session"]
        ws.send(sound[:30001])
        ws.socket.shutdown(2)
        with client(service, {"type": "resume", "session": session}) as ws:
            say_all(ws, sound[ws.started["received_bytes"] :], 1001)
            found.append([strip(e) for e in events(ws, "final")])
    assert len(found[0]) > 1 and all(finals == found[0] for finals in found)
    for final in found[0]:
        times = [time_s for place in final["confusion"] for time_s in (place["start_s"], place["end_s"])]
        assert len(times) >= 2 * len(final["words"]) and final["start_s"] <= min(times) <= max(times) <= final["end_s"]


def strip(final):
    return {key: value for key, value in final.items() if key != "id"}


def test_finals_are_repeated_to_a_client_that_resumes(service):
    with client(service, {**START, "partials": False}) as ws:
        ws.send(pcm(say("one _ two _")))
        found = [e for e in (event(ws) for _ in range(4)) if e["type"] == "final"]
        ws.socket.shutdown(2)
    session = {"type": "resume", "session": ws.started["session"]}
    with client(service, session) as ws:
        assert [event(ws), event(ws)] == found
        with client(service, {**session, "utterance": 1}) as other:  # takes over from a connection that still stands
            assert event(other) == found[1]
            assert error_of(ws, 4409)["code"] == "resumed"
            other.send('{"type": "close"}')
            assert [e["type"] for e in events(other)] == ["closed"]


@pytest.mark.parametrize(("how", "wait_s"), [("broken", 0.3), ("closed", 30.0), ("closed without a code", 30.0)])
def test_a_session_waits_for_a_client_whose_connection_broke(service, monkeypatch, how, wait_s):
    monkeypatch.setattr(live, "RESUME_S", wait_s)
    sessions = service.app.state.service.sessions.open
    with client(service) as ws:
        assert ws.started["session"] in sessions
        ws.send(pcm(say("one")))
        if how == "broken":
            ws.socket.shutdown(2)
        elif how == "closed without a code":
            ws.socket.sendall(b"\x88\x80\0\0\0\0")
    time.sleep(0.1)
    assert (ws.started["session"] in sessions) == (how == "broken")
    time.sleep(0.4)
    assert ws.started["session"] not in sessions
    with client(service, None) as other:
        other.send(json.dumps({"type": "resume", "session": ws.started["session"]}))
        assert error_of(other, 4404)["param"] == "session"


def test_another_key_finds_no_session(service, monkeypatch):
    class Keys:
        charged: list[str] = []

        def authorise(self, key, now):
            if key not in ("a", "b"):
                raise Refused(401, "the key is unknown", code="invalid_api_key")
            return Caller(key, key)

        def charge(self, caller, calls, now):
            self.charged.append(caller.id)
            if len(self.charged) > 3:
                raise Refused(429, "the quota of the day is used up", 60.0)

    monkeypatch.setattr(service.app.state.service, "keys", Keys())
    with client(service, None) as ws:
        error = error_of(ws, 4401)
        assert error["code"] == "invalid_api_key" and "retry_after_s" not in error
    with client(service, query="?key=a") as ws, client(service, None, query="?key=b") as other:
        other.send(json.dumps({"type": "resume", "session": ws.started["session"]}))
        error_of(other, 4404)
        ws.send(pcm(say("one _ one _ one _ one _")))  # the first utterance is paid with the session
        assert error_of(ws, 4429)["retry_after_s"] == 60
    assert Keys.charged == ["a"] * 4


def programs(address: str) -> list[str]:
    """The programs of docs/guide/live.md, with another address of the service."""
    page = Path(__file__).parent.parent / "docs" / "guide" / "live.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.S)
    return [block.replace("127.0.0.1:8080", address) for block in blocks]


def test_the_client_of_the_page_runs_as_written(service, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    soundfile.write("speech.wav", say("one one two"), 16000)
    program, _ = programs(service.at)
    exec(program, {})
    assert capsys.readouterr().out.splitlines()[-2:] == ["final one one two", "closed "]
    assert len(program.strip().splitlines()) <= 20
