"""WS /v1/realtime, as the official openai client uses it: its types are the reference for every event."""

import asyncio
import base64
import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import asynccontextmanager

import numpy as np
import pytest
import soundfile
import tiny
from bursts import pcm, say, serving
from hypothesis import given, settings
from hypothesis import strategies as st
from test_serve_live import g711, programs
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from asr.config import Config
from asr.recognizer import bundle
from asr.serve.access import Caller
from asr.serve.errors import Refused

openai = pytest.importorskip("openai", reason="the openai client is not installed")
TRANSCRIPTION = "conversation.item.input_audio_transcription"


@pytest.fixture(scope="module")
def service():
    with serving(Config()) as running:
        yield running


def client_of(at, key="none"):
    return openai.AsyncOpenAI(api_key=key, base_url=f"http://{at}/v1", max_retries=0)


@asynccontextmanager
async def talking(at, key="none", **audio_input):
    """A connection of the openai client whose session has these settings."""
    query = {"intent": "transcription"}
    async with client_of(at, key) as client, client.realtime.connect(extra_query=query) as connection:
        connection.created = await event_of(connection)
        assert connection.created.type == "session.created"
        if audio_input:
            await connection.session.update(session={"type": "transcription", "audio": {"input": audio_input}})
            assert (await event_of(connection)).type == "session.updated"
        yield connection


async def event_of(connection, seconds=10):
    """The next event, which has every field of its type and an id."""
    event = await asyncio.wait_for(connection.recv(), seconds)
    type(event).model_validate(event.to_dict())
    assert event.event_id.startswith("event_")
    return event


async def events_until(connection, kind):
    found = [await event_of(connection)]
    while found[-1].type != kind:
        found.append(await event_of(connection))
    return found


async def append(connection, sound: bytes, size=4800):
    for first in range(0, len(sound), size):
        await connection.input_audio_buffer.append(audio=base64.b64encode(sound[first : first + size]).decode())


def short(events):
    return [e.type.removeprefix(TRANSCRIPTION).rpartition("input_audio_buffer")[2] for e in events]


def test_turns_are_detected(service):
    async def run():
        async with talking(service.at) as connection:
            await append(connection, pcm(say("one two _ three _", 24000)))
            first = await events_until(connection, f"{TRANSCRIPTION}.completed")
            second = await events_until(connection, f"{TRANSCRIPTION}.completed")
        assert [kind for kind in short(first) if kind != ".delta"] == [
            ".speech_started", ".speech_stopped", ".committed", "conversation.item.added", "conversation.item.done",
            ".completed",
        ]  # fmt: skip
        by_type = {e.type.rpartition(".")[2]: e for e in first}
        assert by_type["speech_started"].audio_start_ms == 0  # the first word begins at 200 ms
        assert by_type["speech_stopped"].audio_end_ms == pytest.approx(1300, abs=100)
        assert by_type["completed"].transcript == "one two"
        assert by_type["completed"].usage.to_dict() == {"type": "duration", "seconds": pytest.approx(1.3, abs=0.1)}
        assert by_type["completed"].logprobs is None
        item = by_type["added"].item
        assert (item.role, item.content[0].type, by_type["added"].previous_item_id) == ("user", "input_audio", None)
        assert len({e.item.id if hasattr(e, "item") else e.item_id for e in first}) == 1
        assert "".join(e.delta for e in first if e.type.endswith("delta")) == "one two"
        assert "".join(e.delta for e in second if e.type.endswith("delta")) == "three"
        assert [e.previous_item_id for e in second if e.type.endswith("committed")] == [item.id]
        assert [e.audio_start_ms for e in second if e.type.endswith("started")] == [pytest.approx(1900, abs=100)]

    asyncio.run(run())


def test_deltas_come_while_a_turn_is_spoken(service):
    async def run():
        async with talking(service.at, turn_detection=None) as connection:
            await append(connection, pcm(say("one two", 24000)))
            event = await event_of(connection)
            assert (event.type, event.delta) == (f"{TRANSCRIPTION}.delta", "one")  # the last word may change
            await append(connection, pcm(say("_ _ three", 24000)))
            assert (await event_of(connection)).delta == " two"
            await connection.input_audio_buffer.commit()
            committed, *rest = await events_until(connection, f"{TRANSCRIPTION}.completed")
            assert committed.item_id == event.item_id and rest[-1].transcript == "one two three"
            assert rest[-2].delta == " three"

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["audio/pcmu", "audio/pcma"])
def test_telephone_sound(service, kind):
    async def run():
        async with talking(service.at, turn_detection=None, format={"type": kind}) as connection:
            await append(connection, g711(say("one two three", 8000), "ULAW" if kind[-1] == "u" else "ALAW"))
            await connection.input_audio_buffer.commit()
            assert (await events_until(connection, f"{TRANSCRIPTION}.completed"))[-1].transcript == "one two three"

    asyncio.run(run())


def test_semantic_turns_and_log_probs(service):
    async def run():
        async with talking(service.at, turn_detection={"type": "semantic_vad", "eagerness": "high"}) as connection:
            include = ["item.input_audio_transcription.logprobs"]
            await connection.session.update(session={"type": "transcription", "include": include})
            updated = await event_of(connection)
            assert updated.session.include == include
            assert updated.session.audio.input.turn_detection.eagerness == "high"  # what is not given stays
            await append(connection, pcm(say("one two _", 24000)))
            completed = (await events_until(connection, f"{TRANSCRIPTION}.completed"))[-1]
            assert "".join(entry.token for entry in completed.logprobs) == completed.transcript == "one two"
            assert completed.logprobs[0].logprob == pytest.approx(np.log(0.9), abs=1e-3)

    asyncio.run(run())


def test_settings_change_between_turns(service):
    async def run():
        async with talking(service.at, turn_detection=None) as connection:
            await append(connection, pcm(say("one", 24000)))
            audio = {"input": {"format": {"type": "audio/pcmu"}, "transcription": {"keywords": ["eleven"]}}}
            await connection.session.update(session={"type": "transcription", "audio": audio})
            updated = (await events_until(connection, "session.updated"))[-1]
            assert updated.session.audio.input.turn_detection is None
            assert updated.session.audio.input.transcription.keywords == []  # this recogniser has no graph
            await append(connection, g711(say("two", 8000), "ULAW"))
            await connection.input_audio_buffer.commit()
            assert (await events_until(connection, f"{TRANSCRIPTION}.completed"))[-1].transcript == "one two"
            await append(connection, g711(say("three", 8000), "ULAW"))
            await connection.input_audio_buffer.commit()
            assert (await events_until(connection, f"{TRANSCRIPTION}.completed"))[-1].transcript == "three"
            audio = {"input": {"transcription": None}}
            await connection.session.update(session={"type": "transcription", "audio": audio})
            await append(connection, g711(say("three", 8000), "ULAW"))
            await connection.input_audio_buffer.commit()
            found = await events_until(connection, "conversation.item.done")
            assert not any(e.type.startswith(TRANSCRIPTION) for e in found)

    asyncio.run(run())


def test_clear_forgets_and_a_commit_needs_sound(service):
    async def run():
        async with talking(service.at, turn_detection=None) as connection:
            await append(connection, pcm(say("one", 24000, end_s=0)))
            await connection.input_audio_buffer.clear()
            await events_until(connection, "input_audio_buffer.cleared")
            await connection.send({"type": "input_audio_buffer.commit", "event_id": "mine"})
            error = (await event_of(connection)).error
            assert (error.code, error.event_id) == ("input_audio_buffer_commit_empty", "mine")
            await append(connection, pcm(say("two", 24000))[:-1], 4801)
            await connection.input_audio_buffer.commit()
            found = await events_until(connection, "error")
            assert "ends within a sample" in found[-1].error.message
            await append(connection, b"\0")
            await connection.input_audio_buffer.commit()
            assert (await events_until(connection, f"{TRANSCRIPTION}.completed"))[-1].transcript == "two"

    asyncio.run(run())


def test_a_long_silence_is_told(service):
    async def run():
        detection = {"type": "server_vad", "idle_timeout_ms": 2000}
        async with talking(service.at, turn_detection=detection) as connection:
            await append(connection, bytes(2 * 24000 * 3))
            found = await events_until(connection, f"{TRANSCRIPTION}.completed")
            assert found[0].type == "input_audio_buffer.timeout_triggered"
            assert (found[0].audio_start_ms, found[0].audio_end_ms) == (0, pytest.approx(2000, abs=100))
            assert (found[1].type, found[-1].transcript) == ("input_audio_buffer.committed", "")

    asyncio.run(run())


@pytest.mark.parametrize(
    ("event", "param", "named"),
    [
        ({"type": "response.create"}, "type", "unknown"),
        ({"type": "session.update"}, "session.type", "transcription"),
        ({"type": "session.update", "session": {"type": "realtime"}}, "session.type", "'transcription'"),
        ({"format": {"type": "audio/pcm", "rate": 16000}}, "session.audio.input.format.rate", "24000"),
        (
            {"turn_detection": {"type": "vad"}},
            "session.audio.input.turn_detection",
            "turn_detection: its type must be 'server_vad' or 'semantic_vad', not {\"type\": \"vad\"}",
        ),
        ({"format": {"rate": 24000}}, "session.audio.input.format.type", "is missing"),
        (
            {"turn_detection": {"type": "server_vad", "threshold": 2}},
            "session.audio.input.turn_detection.threshold",
            "1",
        ),
        ({"transcription": {"delay": "never"}}, "session.audio.input.transcription.delay", "minimal"),
        ({"type": "input_audio_buffer.append"}, "audio", "base64"),
        ({"type": "input_audio_buffer.append", "audio": "AAA"}, "audio", "base64"),
        ({"type": "input_audio_buffer.append", "audio": "A A A A "}, "audio", "base64"),
        ({"type": "input_audio_buffer.append", "audio": [0]}, "audio", "base64"),
    ],
)
def test_errors_name_the_clients_event(service, event, param, named):
    if "type" not in event:
        event = {"type": "session.update", "session": {"type": "transcription", "audio": {"input": event}}}

    async def run():
        async with talking(service.at) as connection:
            await connection.send({**event, "event_id": "mine"})
            error = (await event_of(connection)).error
            assert (error.type, error.event_id, error.param) == ("invalid_request_error", "mine", param)
            assert named in error.message
            await append(connection, pcm(say("one _", 24000)))  # the session goes on
            assert (await events_until(connection, f"{TRANSCRIPTION}.completed"))[-1].transcript == "one"

    asyncio.run(run())


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=30),
            st.binary(max_size=30),
            st.recursive(
                st.none() | st.booleans() | st.floats() | st.text(max_size=8),
                lambda inner: st.dictionaries(
                    st.sampled_from(["type", "session", "audio", "input", "event_id", "include", "turn_detection"]),
                    inner,
                ),
            ).flatmap(
                lambda body: st.sampled_from(["session.update", "input_audio_buffer.append", "x"]).map(
                    lambda kind: json.dumps({**body, "type": kind} if isinstance(body, dict) else body)
                )
            ),
        ),
        max_size=8,
    )
)
def test_any_messages_are_answered_by_errors(service, messages):
    with connect(f"ws://{service.at}/v1/realtime?intent=transcription", close_timeout=1) as ws:
        for message in messages:
            ws.send(message)
        ws.send('{"type": "input_audio_buffer.clear"}')
        kinds = []
        while kinds[-1:] != ["input_audio_buffer.cleared"]:
            kinds.append(json.loads(ws.recv(5))["type"])
        assert kinds[0] == "session.created" and set(kinds[1:-1]) <= {"error", "session.updated"}


def test_a_failure_costs_one_item(service, monkeypatch):
    async def run():
        async with talking(service.at, turn_detection=None) as connection:
            with monkeypatch.context() as broken:
                broken.setattr("bursts.Stream.finalize", lambda self: 1 / 0)
                await append(connection, pcm(say("one", 24000)))
                await connection.input_audio_buffer.commit()
                failed = (await events_until(connection, f"{TRANSCRIPTION}.failed"))[-1]
                assert (failed.error.code, failed.content_index) == ("internal_error", 0)
            await append(connection, pcm(say("two", 24000)))
            await connection.input_audio_buffer.commit()
            found = await events_until(connection, f"{TRANSCRIPTION}.completed")
            assert found[-1].transcript == "two" and found[-1].item_id != failed.item_id

    asyncio.run(run())


class Keys:
    def authorise(self, key, now):
        if key != "good":
            raise Refused(401, "the key is unknown", code="invalid_api_key")
        return Caller("1", "one")

    def charge(self, caller, calls, now):
        pass


def test_client_secrets_open_sessions_of_browsers(service, monkeypatch):
    keys = Keys()
    monkeypatch.setattr(service.app.state.service, "keys", keys)

    async def run():
        session = {"type": "transcription", "audio": {"input": {"format": {"type": "audio/pcmu"}}}}
        async with client_of(service.at, "bad") as client:
            with pytest.raises(openai.AuthenticationError):
                await client.realtime.client_secrets.create(session=session)
        async with client_of(service.at, "good") as client:
            secret = await client.realtime.client_secrets.create(
                session=session, expires_after={"anchor": "created_at", "seconds": 60}
            )
        type(secret).model_validate(secret.to_dict())
        assert secret.value.startswith("ek_") and secret.expires_at == pytest.approx(time.time() + 60, abs=2)
        assert secret.session.audio.input.format.type == "audio/pcmu"
        async with talking(service.at, secret.value) as connection:
            assert connection.created.session.audio.input.format.type == "audio/pcmu"
        return secret.value

    value = asyncio.run(run())
    at = f"ws://{service.at}/v1/realtime"
    with connect(at, subprotocols=["realtime", f"openai-insecure-api-key.{value}"]) as ws:
        assert ws.subprotocol == "realtime"
    for refused in ("ek_wrong", "bad"):
        with pytest.raises(InvalidStatus) as e:
            connect(at, additional_headers={"Authorization": f"Bearer {refused}"})
        assert e.value.response.status_code == 401 and b"invalid_api_key" in e.value.response.body
    monkeypatch.setattr(keys, "authorise", lambda key, now: Keys().authorise("revoked", now))
    with pytest.raises(InvalidStatus):
        connect(at, additional_headers={"Authorization": f"Bearer {value}"})


def test_a_real_process_and_a_real_model(tmp_path):
    cfg = tiny.config()
    path = tmp_path / "m.asr"
    bundle.write(path, tiny.model(cfg), cfg, tiny.TOKENS, tiny.graph_dir(tmp_path / "graph"), "card")
    command = [sys.executable, "-m", "asr", "serve", str(path), "serve.port=0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        at = next(re.findall(r"http://([^;\s]+)", line)[0] for line in process.stdout if "listening on" in line)
        assert urllib.request.urlopen(f"http://{at}/readyz").status == 200

        async def run():
            async with talking(at, turn_detection=None) as connection:
                await append(connection, pcm(tiny.noise(2.0, rate_hz=24000)))
                await connection.input_audio_buffer.commit()
                found = await events_until(connection, f"{TRANSCRIPTION}.completed")
                assert set(found[-1].transcript.split()) <= {"a", "b"} and found[-1].transcript
                assert "".join(e.delta for e in found if e.type.endswith("delta")) == found[-1].transcript
                await append(connection, pcm(tiny.noise(1.0, rate_hz=24000)))
                await asyncio.sleep(0.3)
                process.send_signal(signal.SIGTERM)  # the last words come
                assert (await events_until(connection, f"{TRANSCRIPTION}.completed"))[-1].transcript

        asyncio.run(run())
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def test_the_client_of_the_page_runs_as_written(service, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    soundfile.write("speech24k.wav", say("three two", 24000), 24000)
    exec(programs(service.at)[1], {})
    assert capsys.readouterr().out == "three two\n"
