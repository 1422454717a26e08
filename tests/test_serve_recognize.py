"""POST /v1/recognize: modes, lists, phrases, new words, and what one caller never sees of another."""

import base64
import json
import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from served import app_of, client_of, noise

import asr
from asr.errors import InputError
from asr.lm import trie_file
from asr.lm.training import train
from asr.recognizer import bundle
from asr.recognizer.options import DecodingOptions
from asr.serve.access import Caller
from asr.serve.errors import Refused
from asr.serve.modes import KEPT, KEPT_IN_ALL, Modes
from asr.serve.recognize import Answer

pytestmark = pytest.mark.anyio


async def recognise(client: httpx.AsyncClient, sound: bytes, key: str = "", **asked: object) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return await client.post(
        "/v1/recognize", files={"file": sound}, data={"request": json.dumps(asked)}, headers=headers
    )


async def test_the_answer_is_the_recognisers(model: Path) -> None:
    sound = noise(2.0)
    expected = asr.load(model).transcribe(sound, options=DecodingOptions(nbest=3))
    async with client_of(app_of(model)) as client:
        answer = await recognise(client, sound, nbest=3)
        in_json = await client.post("/v1/recognize", json={"audio": base64.b64encode(sound).decode(), "nbest": 3})
    found = Answer.model_validate_json(answer.text, strict=True)
    assert found.id == answer.headers["x-request-id"] and found.mode == "dictation"
    assert found.text == expected.text and found.text
    assert [(w.word, w.start_s, w.end_s, w.confidence) for w in found.words] == [
        (w.word, w.start_s, w.end_s, w.confidence) for w in expected.words
    ]
    assert [other.text for other in found.alternatives] == [other.text for other in expected.alternatives]
    assert found.duration_s == 2.0 and not found.rejected and 0 < found.confidence <= 1
    assert {**in_json.json(), "id": found.id} == answer.json()


async def test_least_expected_errors_and_the_network(model: Path) -> None:
    sound = noise(2.0)
    options = DecodingOptions(nbest=3, mbr=True, confusion=True)
    expected = asr.load(model).transcribe(sound, options=options).as_dict()
    async with client_of(app_of(model)) as client:
        answer = await recognise(client, sound, nbest=3, mbr=True, confusion=True)
        plain = await recognise(client, sound, mbr=False)
    found = Answer.model_validate_json(answer.text, strict=True).model_dump()
    assert found["confusion"] == expected["confusion"] and len(found["confusion"]) >= len(found["words"]) > 0
    assert (found["text"], plain.json()["confusion"]) == (expected["text"], [])


async def test_a_request_chooses_the_second_pass(model: Path, tmp_path: Path) -> None:
    plain, sound = asr.load(model), noise(2.0)
    trie_file.write(train(["a b b a b", "b b"], 2), tmp_path / "lm.trie")
    cfg = replace(plain.cfg, decoder=replace(plain.cfg.decoder, rescore=str(tmp_path / "lm.trie"), rescore_share=1.0))
    bundle.unpack_graph(model, tmp_path / "graph")
    bundle.write(tmp_path / "second.asr", plain.model, cfg, plain.tokens, tmp_path / "graph", "")
    asked = ({}, {"rescore": False}, {"rescore": True, "rescore_order": 3})
    async with client_of(app_of(tmp_path / "second.asr")) as client:
        found = [(await recognise(client, sound, nbest=3, **each)).json() for each in asked]
    async with client_of(app_of(tmp_path / "second.asr", rescore_on_request=True)) as client:
        on_request = [(await recognise(client, sound, nbest=3, **each)).json() for each in ({}, {"rescore": True})]
        refused = await recognise(client, sound, rescore_order=3)
    assert refused.status_code == 400 and "add rescore=true" in refused.text
    second = asr.load(tmp_path / "second.asr")
    expected = [second.transcribe(sound, options=DecodingOptions(nbest=3, **each)).as_dict() for each in asked]
    answers = (*found, *expected, *on_request)
    texts = [[answer["text"], *(other["text"] for other in answer["alternatives"])] for answer in answers]
    assert texts[:3] == texts[3:6] and texts[6:] == [texts[1], texts[0]]
    assert expected[1]["text"] == plain.transcribe(sound).text
    assert texts[0] != texts[1]


def test_a_second_pass_on_request_needs_a_language_model(model: Path) -> None:
    with pytest.raises(InputError, match="rescore_on_request=true needs a second pass, and .*m.asr has no language"):
        app_of(model, rescore_on_request=True)


async def test_a_list_makes_the_mode_word(model: Path) -> None:
    async with client_of(app_of(model)) as client:
        listed = (await recognise(client, noise(), words=["a b", "b b"])).json()
        grammar = (
            await recognise(client, noise(), mode="word", grammar="#JSGF V1.0;\ngrammar g;\npublic <g> = a a;")
        ).json()
        weighted = (await recognise(client, noise(), words={"a b": 1.0, "b": 1e-3})).json()
    assert listed["mode"] == grammar["mode"] == "word"
    assert listed["text"] in ("a b", "b b") and grammar["text"] == "a a" and weighted["text"] == "a b"


@pytest.mark.parametrize(
    "asked,says,param",
    [
        ({"mode": "telepathy"}, "there is no mode 'telepathy'; this service has dictation, word", "mode"),
        ({"mode": "word"}, "needs the words", "words"),
        ({"mode": "dictation", "words": ["a"]}, "takes no words", "words"),
        ({"words": ["a"] * 6}, "words has 6 entries, more than 5", "words"),
        ({"words": ["a" * 600]}, "600 letters", "words"),
        ({"words": []}, "list is empty", None),
        ({"words": ["zebra"]}, "zebra", None),
        (
            {"words": "a"},
            'words: must be a list or an object, such as ["turn on", "turn off"] or {"turn on": 2.0, "turn off": 1.0}',
            "words",
        ),
        ({"words": {"a": "x"}}, 'words.a: must be a number, not "x"', "words.a"),
        ({"phrases": ["a", "b"]}, 'phrases: must be an object, such as {"turn on": 2.0}, not ["a", "b"]', "phrases"),
        ({"new_words": {"a": "x"}}, 'new_words: must be a list, such as ["Zoe", {"word": "Zoe", ', "new_words"),
        ({"words": {"a": 10**400}}, f"words.a: must be a number below 1.8e+308, not 1{'0' * 59}...", "words.a"),
        ({"new_words": [3]}, 'new_words.0: must be an object or text, such as {"word": "Zoe", ', "new_words.0"),
        ({"slots": ["a"]}, 'slots: must be an object, such as {"<name>": ["Ann", "Bob"]}, not ["a"]', "slots"),
        (
            {"slots": {"<x>": 3}},
            'slots.<x>: must be a list, an object or text, such as ["Ann", "Bob"], not 3',
            "slots.<x>",
        ),
        ({"slots": {"str": {"str": "x"}}}, 'slots.str.str: must be a number, not "x"', "slots.str.str"),
        ({"nbest": 2.5}, "nbest: must be a whole number, not 2.5", "nbest"),
        ({"words": ["a"], "grammar": "#JSGF V1.0;"}, "words and grammar exclude each other", None),
        ({"words": ["a"], "slots": {"<x>": ["b"]}}, "words and slots exclude each other", None),
        ({"phrases": {str(k): 1.0 for k in range(4)}}, "phrases has 4 entries, more than 3", "phrases"),
        ({"phrases": {"zebra": 1.0}}, "zebra", None),
        ({"new_words": ["zebra"]}, "dynamic graph", None),
        ({"nbest": 0}, "nbest: must be greater", "nbest"),
        ({"nbest": 10**9}, "nbest: must be less", "nbest"),
        ({"mbr": "perhaps"}, 'mbr: must be true or false, not "perhaps"', "mbr"),
        ({"confusion": []}, "confusion: must be true or false, not []", "confusion"),
        ({"rescore": "lm.trie"}, "rescore: must be", "rescore"),
        ({"rescore": True}, "rescore=True needs a language model", None),
        ({"rescore_order": 9}, "rescore_order: must be less", "rescore_order"),
        ({"reject_below": 2}, "reject_below: must be less", "reject_below"),
        ({"remove": "a"}, 'remove: must be a list, such as ["uh", "um"], not "a"', "remove"),
        ({"remove": ["a"] * 6}, "remove has 6 entries, more than 5", "remove"),
        ({"written": True}, "exist for English and Korean", None),
        ({"word": ["a"]}, "the field 'word' is unknown; did you mean 'words'?", "word"),
        ({"nbset": 3}, "the field 'nbset' is unknown; did you mean 'nbest'?", "nbset"),
        ({"audio": "YQ=="}, "the field 'audio' is unknown", "audio"),
        ({"new_words": [{"word": "ab", "slots": "<x>"}]}, "'new_words.0.slots' is unknown", "new_words.0.slots"),
        ({"grammar": "/etc/passwd"}, "begins with #JSGF", "grammar"),
        ({"grammar": "#JSGF V1.0;\ngrammar g;\nimport </etc/passwd>;"}, "imports are not supported", None),
        ({"grammar": "#JSGF V1.0;" + " " * 600}, "more than 500 letters", "grammar"),
    ],
)
async def test_what_cannot_be_done_is_told_in_a_sentence(
    model: Path, asked: dict, says: str, param: str | None
) -> None:
    async with client_of(app_of(model, max_words=5, max_phrases=3)) as client:
        answer = await recognise(client, noise(0.2), **asked)
    assert answer.status_code == 400, answer.text
    assert says in answer.json()["error"]["message"] and answer.json()["error"]["param"] == param


async def test_unknown_fields_of_json_and_of_the_form_are_refused(model: Path) -> None:
    sound, audio = {"file": noise(0.2)}, base64.b64encode(noise(0.2)).decode()
    async with client_of(app_of(model)) as client:
        in_json = await client.post("/v1/recognize", json={"audio": audio, "phrase": {"a": 1.0}})
        in_form = await client.post("/v1/recognize", files=sound, data={"words": '["a"]'})
        misspelt = await client.post("/v1/recognize", files=sound, data={"requests": "{}"})
    for answer, name, says in (
        (in_json, "phrase", "the field 'phrase' is unknown; did you mean 'phrases'?"),
        (
            in_form,
            "words",
            "the field 'words' is unknown; the form has 'file' and 'request', a JSON object of the others",
        ),
        (misspelt, "requests", "the field 'requests' is unknown; did you mean 'request'?"),
    ):
        error = answer.json()["error"]
        assert (answer.status_code, error["param"], error["code"]) == (400, name, "unknown_field")
        assert says in error["message"]


@pytest.mark.parametrize("name", ["request", "file"])
async def test_a_field_that_a_form_has_twice_is_refused(model: Path, name: str) -> None:
    parts = {"file": ("a.wav", noise(0.2)), "request": (None, "{}")}
    async with client_of(app_of(model)) as client:
        assert (await client.post("/v1/recognize", files=list(parts.items()))).status_code == 200
        answer = await client.post("/v1/recognize", files=[*parts.items(), (name, parts[name])])
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, name, "repeated_field")
    assert error["message"] == f"the form has the field '{name}' 2 times; send it once"


@pytest.mark.parametrize("asked", [{"words": ["a"]}, {"mode": "dictation", "words": ["a"]}])
async def test_a_list_for_a_service_without_the_mode_word(model: Path, asked: dict) -> None:
    async with client_of(app_of(model, modes=["dictation"])) as client:
        error = (await recognise(client, noise(0.2), **asked)).json()["error"]
    assert error["param"] == "words" and "started without the mode 'word' (modes=word,dictation)" in error["message"]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"nbest": NaN}', '{"nbest": 1, "nbest": 2}', '{"mode": "\\ud800"}', "[" * 99999]
)
async def test_json_that_is_none_is_refused(model: Path, text: str) -> None:
    async with client_of(app_of(model)) as client:
        answer = await client.post("/v1/recognize", files={"file": noise(0.2)}, data={"request": text})
    assert answer.status_code == 400, answer.text


async def test_phrases_that_cannot_be_used_are_named_in_the_answer(model: Path) -> None:
    async with client_of(app_of(model)) as client:
        answer = (await recognise(client, noise(), phrases={"a b": 2.0, "zebra a": 2.0})).json()
    assert answer["ignored"] == ["zebra a"]


async def test_rejected_words_are_left_out_and_counted(model: Path) -> None:
    async with client_of(app_of(model)) as client:
        answer = (await recognise(client, noise(), words=["b b b a"], reject_below=1.0)).json()
        metrics = (await client.get("/metrics")).text
    assert answer["rejected"] and answer["text"] == "" and not any(w["accepted"] for w in answer["words"])
    assert 'asr_rejected_total{mode="word"} 1.0' in metrics


async def test_words_to_remove_stay_in_the_words_only(model: Path) -> None:
    async with client_of(app_of(model)) as client:
        plain = (await recognise(client, noise())).json()
        gone = plain["text"].split()[0]
        without = (await recognise(client, noise(), remove=[gone])).json()
    said = [word["word"] for word in plain["words"]]
    assert without["text"].split() == [word for word in said if word != gone]
    assert [(w["word"], w["accepted"]) for w in without["words"]] == [(word, word != gone) for word in said]


class Ring:
    """Keys by the names of their holders."""

    def __init__(self, *names: str):
        self.names, self.charged = names, list[str]()

    def authorise(self, key: str | None, now: float) -> Caller:
        if key not in self.names:
            raise Refused(401, "the key is unknown", code="invalid_api_key")
        return Caller(key, key)

    def charge(self, caller: Caller, calls: int, now: float) -> None:
        self.charged.append(caller.name)
        if self.charged.count(caller.name) > 20:
            raise Refused(429, "the quota is used up", 60.0)

    def refund(self, caller: Caller, calls: int, now: float) -> None:
        self.charged.remove(caller.name)


async def test_a_key_is_required_and_charged(model: Path) -> None:
    app = app_of(model)
    app.state.service.keys = ring = Ring("ann")
    async with client_of(app) as client:
        for headers in ({}, {"authorization": "Bearer bob"}, {"authorization": "Basic ann"}):
            answer = await client.post("/v1/recognize?key=ann", files={"file": noise(0.2)}, headers=headers)
            assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        assert (await client.get("/v1/models")).status_code == 401
        assert (await client.get("/healthz")).status_code == 200
        assert (await recognise(client, noise(0.2), key="ann")).status_code == 200
        assert ring.charged == ["ann"]
        ring.charged *= 20
        refused = await recognise(client, noise(0.2), key="ann")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
        assert refused.json()["error"]["type"] == "rate_limit_error"


async def test_what_one_key_brings_changes_nothing_for_another(model: Path) -> None:
    app = app_of(model)
    app.state.service.keys = Ring("ann", "bob")
    sound = noise(2.0, seed=3)
    async with client_of(app) as client:

        async def heard_by_bob() -> list[dict]:
            answers = [await recognise(client, sound, key="bob", **asked) for asked in ({}, {"words": ["a", "b a"]})]
            return [{**answer.json(), "id": ""} for answer in answers]

        before = await heard_by_bob()
        for asked in ({"phrases": {"b b": 50.0}}, {"words": ["a", "b a", "b b b b b b"]}, {"reject_below": 1.0}):
            assert (await recognise(client, sound, key="ann", **asked)).status_code == 200
        assert await heard_by_bob() == before
    kept = app.state.service.modes._kept
    assert {caller for caller, _ in kept} == {"ann", "bob"} and len(kept) == 2


async def test_a_list_is_compiled_once_for_each_key(model: Path) -> None:
    modes = Modes({"word": asr.load(model)})
    options = DecodingOptions(word_list=["a", "b"])
    ann, bob = Caller("1", "ann"), Caller("2", "bob")
    first, rest = modes.prepared(ann, "word", options)
    assert rest.word_list is None and first.space is not None and first.space.is_closed
    assert modes.prepared(ann, "word", DecodingOptions(word_list=["a", "b"]))[0] is first
    assert modes.prepared(bob, "word", options)[0] is not first
    assert modes.prepared(ann, "word", DecodingOptions(word_list=["b", "a"]))[0] is not first
    for number in range(KEPT):
        modes.prepared(ann, "word", DecodingOptions(word_list={"a": number + 1.0}))
    assert modes.prepared(ann, "word", options)[0] is not first
    for number in range(KEPT_IN_ALL + 5):
        modes.prepared(Caller(str(number), ""), "word", options)
    assert len(modes._kept) == KEPT_IN_ALL


async def test_a_thousand_words_are_compiled_in_time(model: Path) -> None:
    """50 ms on an idle machine: docs/guide/serve.md has the measurement. This bound catches another order."""
    modes = Modes({"word": asr.load(model)})
    words = [" ".join("ab"[number >> bit & 1] for bit in range(10)) for number in range(1000)]
    start_s = time.process_time()
    modes.prepared(Caller("", ""), "word", DecodingOptions(word_list=words))
    assert time.process_time() - start_s < 0.5
