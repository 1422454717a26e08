"""The official openai client against a real process; its response types check what comes back."""

import io
import json
import math
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from served import Process, noise, running

import asr
from asr.recognizer.formats import render

openai = pytest.importorskip("openai")
from openai.types import Model  # noqa: E402
from openai.types.audio import (  # noqa: E402
    Transcription,
    TranscriptionTextDeltaEvent,
    TranscriptionTextDoneEvent,
    TranscriptionTextSegmentEvent,
    TranscriptionVerbose,
)

SOUND = noise(2.0)


@pytest.fixture(scope="module")
def service(model: Path) -> Iterator[Process]:
    with running(model, "threads=1", "serve.language=en") as process:
        yield process


@pytest.fixture
def client(service: Process) -> "openai.OpenAI":
    return openai.OpenAI(api_key="none", base_url=f"{service.url}/v1", max_retries=0, timeout=60)


@pytest.fixture(scope="module")
def expected(model: Path) -> asr.Hypothesis:
    hypothesis = asr.load(model).transcribe(SOUND)
    assert hypothesis.words
    return hypothesis


def create(client, sound: bytes = SOUND, **options):
    return client.audio.transcriptions.create(file=("speech.wav", sound), model="whisper-1", **options)


def raw(client, **options) -> bytes:
    response = client.audio.transcriptions.with_raw_response.create(
        file=("speech.wav", SOUND), model="gpt-transcribe", **options
    )
    assert response.headers["x-request-id"].startswith("asr-")
    return response.http_response.content


def test_json(client, expected) -> None:
    found = Transcription.model_validate_json(raw(client, temperature=0.2, prompt="Hello", chunking_strategy="auto"))
    assert found.text == expected.text and found.logprobs is None
    assert found.usage.type == "duration" and found.usage.seconds == 2.0
    assert [language.code for language in found.languages] == ["en"]
    vad = {"type": "server_vad", "threshold": 0.4, "silence_duration_ms": 300}
    assert create(client, chunking_strategy=vad, extra_body={"unheard_of": ["x"]}).text == expected.text


@pytest.mark.parametrize("format", ["text", "srt", "vtt"])
def test_plain_formats(client, expected, format: str) -> None:
    assert create(client, response_format=format) == render([expected], {"text": "txt"}.get(format, format))


@pytest.mark.parametrize("granularities", [None, ["word"], ["segment"], ["word", "segment"]])
def test_verbose_json(client, expected, granularities: list[str] | None) -> None:
    given = {"timestamp_granularities": granularities} if granularities else {}
    found = TranscriptionVerbose.model_validate_json(raw(client, response_format="verbose_json", **given))
    assert (found.text, found.duration, found.language) == (expected.text, 2.0, "en")
    assert (found.words is not None) is ("word" in (granularities or []))
    assert (found.segments is not None) is ("segment" in (granularities or ["segment"]))
    if found.words:
        assert [(w.word, w.start, w.end) for w in found.words] == [(w.word, w.start_s, w.end_s) for w in expected.words]
    if found.segments:
        assert " ".join(segment.text for segment in found.segments) == expected.text
        assert all(segment.avg_logprob <= 0 <= segment.no_speech_prob <= 1 for segment in found.segments)
    assert found.usage.seconds == 2.0


def test_logprobs_are_of_tokens_that_make_up_the_text(client, expected) -> None:
    found = Transcription.model_validate_json(raw(client, include=["logprobs"]))
    assert "".join(token.token for token in found.logprobs) == expected.text
    assert [bytes(map(int, token.bytes)).decode() for token in found.logprobs] == [t.token for t in found.logprobs]
    for token, word in zip(found.logprobs, expected.words, strict=True):
        assert token.logprob == pytest.approx(math.log(word.confidence), abs=1e-3)


def test_stream(client, service, expected) -> None:
    events = list(create(client, stream=True, include=["logprobs"]))
    *deltas, done = events
    assert [type(event) for event in deltas] == [TranscriptionTextDeltaEvent] * len(deltas) and deltas
    assert "".join(delta.delta for delta in deltas) == done.text == expected.text
    assert "".join(token.token for token in done.logprobs) == expected.text
    answer = httpx.post(
        f"{service.url}/v1/audio/transcriptions",
        files={"file": SOUND},
        data={"model": "x", "stream": "true", "response_format": "verbose_json"},
    )
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    kinds = {
        "transcript.text.delta": TranscriptionTextDeltaEvent,
        "transcript.text.segment": TranscriptionTextSegmentEvent,
        "transcript.text.done": TranscriptionTextDoneEvent,
    }
    parsed = [kinds[json.loads(line)["type"]].model_validate_json(line) for line in lines[:-1]]
    assert {type(event) for event in parsed} == set(kinds.values()) and type(parsed[-1]) is TranscriptionTextDoneEvent


def test_a_long_file_streams_by_the_stretch_and_equals_the_whole(client, model: Path, shared_data: Path) -> None:
    """Real speech of more than a minute: several deltas, and the words and times of the file in one piece."""
    files = sorted((shared_data / "libri_en" / "audio").rglob("*.ogg"))
    speech = np.concatenate([soundfile.read(file, dtype="float32")[0] for file in files[:12]])[: 16000 * 80]
    assert len(speech) > 16000 * 70
    buffer = io.BytesIO()
    soundfile.write(buffer, speech, 16000, format="FLAC")
    sound = buffer.getvalue()
    whole = asr.load(model).transcribe(sound)
    *deltas, done = create(client, sound, stream=True)
    assert len(deltas) > 1 and "".join(delta.delta for delta in deltas) == done.text == whole.text
    found = create(client, sound, response_format="verbose_json", timestamp_granularities=["word"])
    assert [(w.word, w.start, w.end) for w in found.words] == [(w.word, w.start_s, w.end_s) for w in whole.words]
    assert found.words[-1].end > 65


def test_keywords_are_hints(client) -> None:
    response = client.audio.transcriptions.with_raw_response.create(
        file=("speech.wav", SOUND), model="x", keywords=["B b", "Zebra", "한국"]
    )
    assert json.loads(response.headers["x-ignored-keywords"]) == ["Zebra", "한국"]
    assert response.parse().text


@pytest.mark.parametrize(
    "options,param",
    [
        ({"response_format": "diarized_json"}, "response_format"),
        ({"timestamp_granularities": ["word"]}, "timestamp_granularities"),
        ({"include": ["logprobs"], "response_format": "text"}, "include"),
        ({"language": "ko"}, "language"),
        ({"languages": ["ko", "fr"]}, "language"),
        ({"response_format": "xml"}, "response_format"),
        ({"temperature": 7}, "temperature"),
        ({"keywords": ["a" * 200_000]}, "keywords"),
    ],
)
def test_errors_raise_in_the_client(client, options: dict, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        create(client, **options)
    assert caught.value.param == param and caught.value.type == "invalid_request_error"


def test_languages_that_include_ours_are_accepted(client, expected) -> None:
    assert create(client, languages=["ko", "en"]).text == create(client, language="en-US").text == expected.text


def test_bad_sound_raises_also_in_a_stream(client) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match="not audio|cannot"):
            create(client, b"no sound", stream=stream)


def test_models(client) -> None:
    listed = client.models.list().data
    assert [model.id for model in listed] == ["dictation", "word"]
    raw_model = client.models.with_raw_response.retrieve("word").http_response.content
    assert Model.model_validate_json(raw_model) == listed[1]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt")


def test_the_program_of_the_guide_runs_as_written(service: Process, tmp_path: Path, monkeypatch, capsys) -> None:
    page = (Path(__file__).parent.parent / "docs" / "guide" / "serve.md").read_text(encoding="utf-8")
    (tmp_path / "speech.wav").write_bytes(SOUND)
    monkeypatch.chdir(tmp_path)
    program = page.partition("```python\n")[2].partition("```")[0]
    exec(compile(program.replace("http://127.0.0.1:8080", service.url), "serve.md", "exec"), {})
    assert capsys.readouterr().out.strip()
