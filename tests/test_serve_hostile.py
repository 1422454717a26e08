"""Requests that are made to hurt: each gets one sentence in little time, and the service stays up."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from served import app_of, client_of, noise

from asr.serve.errors import LONGEST_MESSAGE, Refused
from asr.serve.keys import Keys
from asr.serve.openai import LONGEST_HEADER
from asr.serve.store import Store

pytestmark = pytest.mark.anyio


async def recognise(client: httpx.AsyncClient, request: str) -> httpx.Response:
    return await client.post("/v1/recognize", files={"file": noise()}, data={"request": request})


@pytest.mark.parametrize(
    "request_,says",
    [
        ("{" + ",".join(f'"k{i}":1' for i in range(100_000)) + ',"k99999":1}', "'k99999' occurs twice"),
        ('{"words":[' + "1," * 500_000 + "1]}", "words.0: must be text"),
        ('{"new_words":[' + "1," * 500_000 + "1]}", "new_words.0"),
        (json.dumps({"phrases": {f"k{i}": "x" for i in range(100_000)}}), "phrases.k0: must be a number"),
        (json.dumps({"slots": {f"<{i}>": 3 for i in range(250_000)}}), "slots.<0>: must be a list, an object or text"),
        ('{"x":[' + "[]," * 1_000_000 + "1]}", "more than 1000000 values"),
        ("[" * 1_000_000, "nested too deeply"),
        ('{"nbest":' + "9" * 100_000 + "}", "not JSON"),
        (json.dumps({"mode": "x" * 1_000_000}), "there is no mode 'xxx"),
    ],
)
async def test_json_costs_little(model: Path, request_: str, says: str) -> None:
    async with client_of(app_of(model)) as client:
        start_s = time.process_time()
        answer = await recognise(client, request_)
        assert time.process_time() - start_s < 2
    error = answer.json()["error"]
    assert answer.status_code == 400 and says in error["message"] and len(error["message"]) < LONGEST_MESSAGE + 10


@pytest.mark.parametrize(
    "body,status",
    [
        (b"[" * 100_000, 400),
        (b"[" + b"1," * 1_000_000 + b"1]", 413),
        (b'{"id":"\xff","text":"x"}', 400),
        (rb'{"id":"\ud800","text":["\ud800"]}', 400),
        (b'{"id":NaN,"text":Infinity}', 400),
        (b'{"id":' + b"9" * 5000 + b"}", 400),
        (b"", 400),
    ],
)
async def test_corrections_are_read_with_care(model: Path, body: bytes, status: int) -> None:
    async with client_of(app_of(model)) as client:
        answer = await client.post("/v1/feedback", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status and set(answer.json()) == {"error"}


async def test_weights_may_differ_by_any_factor(model: Path) -> None:
    grammar = "#JSGF V1.0;\ngrammar g;\npublic <g> = /1e-320/ a | /1e308/ b;"
    async with client_of(app_of(model)) as client:
        for asked in ({"grammar": grammar}, {"words": {"a": 5e-324, "b": 1e308}}, {"words": {"a": 1e308, "b": 1e308}}):
            answer = await recognise(client, json.dumps(asked))
            assert answer.status_code in (200, 400), answer.text


async def test_only_answered_calls_count_to_the_quota(model: Path, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "serve.db"))
    app = app_of(model, max_upload_bytes=100_000)
    app.state.service.keys = keys = Keys(store, daily_quota=2, rate_per_minute=1000)
    headers = {"authorization": f"Bearer {keys.add('ann')}"}
    sound = {"file": noise(0.2)}

    async def post(client: httpx.AsyncClient, path: str, status: int, **content: object) -> None:
        assert (await client.post(path, headers=headers, **content)).status_code == status

    async with client_of(app) as client:
        for path in ("/v1/recognize", "/v1/audio/transcriptions"):
            await post(client, path, 415, content=b"x")
            await post(client, path, 400, files={"file": b"no sound"}, data={"model": "x"})
            await post(client, path, 413, files={"file": bytes(200_000)}, data={"model": "x"})
        await post(client, "/v1/audio/transcriptions", 400, files={"file": b""}, data={"model": "x", "stream": "true"})
        await post(client, "/v1/recognize", 400, files=sound, data={"request": "{"})
        for broken, status in ((Refused(503, "busy"), 503), (RuntimeError("a fault of ours"), 500)):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(app.state.service.modes, "prepared", _raises(broken))
                await post(client, "/v1/recognize", status, files=sound)
        assert keys.list()[0].calls_today == 0
        await post(client, "/v1/recognize", 200, files=sound)
        await post(client, "/v1/audio/transcriptions", 200, files=sound, data={"model": "x", "stream": "true"})
        assert keys.list()[0].calls_today == 2
        await post(client, "/v1/recognize", 429, files=sound)
        assert keys.list()[0].calls_today == 2


def _raises(error: Exception) -> object:
    def fail(*_: object) -> None:
        raise error

    return fail


async def test_forms_that_cannot_be_read_say_why(model: Path) -> None:
    async with client_of(app_of(model)) as client:
        for kind in ("multipart/form-data", "multipart/form-data; boundary=x"):
            answer = await client.post("/v1/recognize", content=b"y", headers={"content-type": kind})
            assert answer.status_code == 400 and "form cannot be read: " in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "path,headers,says",
    [
        ("/v1/audio/transcriptions", 'name="prompt"', "the field 'prompt' is not text in UTF-8, byte 3 is 0xe9"),
        ("/v1/recognize", 'name="request"', "the field 'request' is not text in UTF-8, byte 3 is 0xe9"),
        ("/v1/recognize", 'name="request"; filename="a.json"', "the request is not JSON in UTF-8: byte 3 is 0xe9"),
    ],
)
async def test_fields_in_latin_1_are_refused_and_not_misread(model: Path, path: str, headers: str, says: str) -> None:
    parts = [b'name="file"; filename="a.wav"' + b"\r\n\r\n" + noise(0.2),
             headers.encode() + b"\r\n\r\n" + '"caf\u00e9"'.encode("latin-1")[1:]]  # fmt: skip
    body = b"".join(b"--x\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts) + b"--x--"
    async with client_of(app_of(model)) as client:
        kind = {"content-type": "multipart/form-data; boundary=x"}
        answer = await client.post(path, content=body, headers=kind)
        assert answer.status_code == 400 and says in answer.json()["error"]["message"]
        told = {"content-type": "multipart/form-data; boundary=x; charset=latin-1"}
        assert "not text" not in (await client.post(path, content=body, headers=told)).text
        good = body.replace(b"\xe9", "\u00e9".encode())
        assert "UTF-8" not in (await client.post(path, content=good, headers=kind)).text


@pytest.mark.parametrize(
    "charset,text",
    [*((name, b"-.x\xe9") for name in ("hex", "base64", "zlib", "rot-13", "punycode", "idna")),
     ("utf-7", b"+2AA-"), ("unicode-escape", rb"\ud800")],
)  # fmt: skip
async def test_other_charsets_are_refused_by_name(model: Path, charset: str, text: bytes) -> None:
    kind = {"content-type": f"multipart/form-data; boundary=x; charset={charset}"}
    async with client_of(app_of(model)) as client:
        for name, value in ((b"request", text), (text, b"-")):
            part = b'--x\r\nContent-Disposition: form-data; name="' + name + b'"\r\n\r\n' + value + b"\r\n--x--"
            answer = await client.post("/v1/recognize", content=part, headers=kind)
            message = answer.json()["error"]["message"]
            assert answer.status_code == 400 and (charset.upper() in message or name == text), message


@pytest.mark.parametrize("asked", ['{"mode":"HALF"}', '{"words":["HALF"]}', '{"phrases":{"HALF":1}}'])
async def test_half_surrogates_in_utf_8_are_refused(model: Path, asked: str) -> None:
    body = asked.encode().replace(b"HALF", b"\xed\xa0\x80")
    form = {"files": {"file": noise(0.2), "request": ("a.json", body)}}
    async with client_of(app_of(model)) as client:
        for content in (form, {"content": body, "headers": {"content-type": "application/json"}}):
            answer = await client.post("/v1/recognize", **content)
            assert answer.status_code == 400 and "not JSON in UTF-8: byte" in answer.json()["error"]["message"]


async def test_ignored_keywords_fit_into_a_header(model: Path) -> None:
    fields = {"model": "x", "keywords[]": [f"\u00e9{number}" for number in range(999)]}
    async with client_of(app_of(model)) as client:
        answer = await client.post("/v1/audio/transcriptions", files={"file": noise(0.2)}, data=fields)
    header = answer.headers["x-ignored-keywords"]
    assert len(header) <= LONGEST_HEADER and json.loads(header)[:2] == ["\u00e90", "\u00e91"]


@pytest.mark.parametrize(
    "rules",
    [
        "".join(f"<r{n}> = <r{n - 1}> <r{n - 1}>;" for n in range(1, 20)) + "<r0> = a; public <g> = <r19>;",
        "<x> = a | b; public <g> = " + "<x> " * 90_000 + ";",
        "public <g> = a " + "[a|b] " * 2_000 + ";",
    ],
)
async def test_grammars_that_explode_are_refused_in_time(model: Path, rules: str) -> None:
    async with client_of(app_of(model)) as client:
        start_s = time.process_time()
        answer = await recognise(client, json.dumps({"grammar": f"#JSGF V1.0;\ngrammar g;\n{rules}"}))
        assert time.process_time() - start_s < 5
    assert answer.status_code == 400 and any(hint in answer.text for hint in ("make it smaller", "shorten its runs"))


async def test_places_of_rules_are_found_in_time(model: Path) -> None:
    grammar = "#JSGF V1.0;\ngrammar g;\n<x> = <NULL>;\npublic <g> = a\n" + "<x>\n" * 90_000 + ";"
    async with client_of(app_of(model)) as client:
        start_s = time.process_time()
        await recognise(client, json.dumps({"grammar": grammar}))
        assert time.process_time() - start_s < 5


async def test_the_bodies_of_all_requests_have_a_limit(model: Path) -> None:
    form = {"headers": {"content-type": "multipart/form-data; boundary=x"}}
    is_held, is_over = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n' + bytes(60_000)
        is_held.set()
        await is_over.wait()
        yield b"\r\n--x--"

    async with client_of(app_of(model, max_held_bytes=100_000)) as client:
        alone = await client.post("/v1/recognize", content=bytes(150_000), **form)
        assert alone.status_code == 400
        first = asyncio.create_task(client.post("/v1/recognize", content=slow(), **form))
        await is_held.wait()
        second = await client.post("/v1/recognize", content=bytes(60_000), **form)
        is_over.set()
        assert (second.status_code, second.json()["error"]["code"]) == (503, "overloaded")
        assert int(second.headers["retry-after"]) >= 1
        assert (await first).status_code == 400  # no audio
        assert (await client.post("/v1/recognize", content=bytes(60_000), **form)).status_code == 400
