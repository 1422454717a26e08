"""POST /v1/audio/transcriptions and GET /v1/models, as OpenAI's clients call them.

| field | here |
|---|---|
| `model` | a mode of free speech, by its name; any other name means the first one |
| `keywords[]` | phrases to boost; words that the graph lacks are added if it is dynamic |
| `language`, `languages[]` | compared with `serve.language` |
| `prompt`, `temperature`, `chunking_strategy` | no effect: the search draws nothing, and long audio is cut at pauses |
| `include[]=logprobs` | a token is a word, and its log-prob that of its confidence |
"""

import json
import math
import time
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from statistics import fmean
from typing import Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.types import Receive, Scope, Send

from asr.errors import InputError
from asr.hypothesis import Hypothesis, Word
from asr.recognizer.formats import cues, render
from asr.recognizer.options import DecodingOptions
from asr.recognizer.recognizer import Recognizer
from asr.recognizer.searching import NoSearcher, can_boost
from asr.recognizer.written import language_of
from asr.search.searchers import GraphSearcher
from asr.search.space import DynamicSpace
from asr.serve.access import Admitted, Caller, identified
from asr.serve.asked import limit
from asr.serve.errors import Refused
from asr.serve.fields import form_of, schema_of, upload_of, validated
from asr.serve.modes import Modes
from asr.serve.recognition import Begun, begin, finish, kept, marked, not_busy, parts, recognise
from asr.serve.service import Service
from asr.serve.trial import Arm
from asr.text.clean import LANGUAGES

router = APIRouter(tags=["OpenAI"])
STARTED_S = int(time.time())
LONGEST_HEADER = 2000  # bytes; nginx takes 4 kB for all headers
LISTS = ("languages", "keywords", "timestamp_granularities", "include")


class Transcribe(BaseModel):
    """The fields of the form besides `file`. Unknown ones are ignored, as OpenAI does."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    model: str = Field(description="a mode of the service, or any other name for its first one", examples=["dictation"])
    language: str | None = Field(None, description="ISO 639-1; refused if the service recognises another")
    languages: list[str] = []
    prompt: str | None = Field(None, description="no effect; send names and terms as keywords[]")
    keywords: list[str] = Field([], description="words and phrases to boost")
    response_format: Literal["json", "text", "srt", "vtt", "verbose_json", "diarized_json"] = "json"
    temperature: float | None = Field(None, ge=0, le=1, description="no effect; the search draws nothing")
    timestamp_granularities: list[Literal["word", "segment"]] = Field([], description="with verbose_json only")
    include: list[Literal["logprobs"]] = Field([], description="with json only; a token is a word")
    written: bool = Field(False, description="numbers, dates, amounts and letters as they are written; not of OpenAI")
    punctuate: bool = Field(False, description="punctuation and capital letters; not of OpenAI")
    stream: bool = Field(False, description="server-sent events, one for each stretch of up to a minute")

    def check(self, cfg_language: str | None) -> None:
        """Raises Refused(400) for fields that do not fit together, or that this service cannot fulfil."""
        if self.response_format == "diarized_json":
            raise Refused(400, "response_format=diarized_json needs a recogniser of speakers, which this service lacks",
                          param="response_format")  # fmt: skip
        if self.timestamp_granularities and self.response_format != "verbose_json":
            raise Refused(400, "timestamp_granularities[] needs response_format=verbose_json",
                          param="timestamp_granularities")  # fmt: skip
        if self.include and self.response_format != "json":
            raise Refused(400, "include[]=logprobs needs response_format=json", param="include")
        check_language(self.language, self.languages, cfg_language)


def _in_form(field: dict[str, Any]) -> dict[str, Any]:
    """A field's schema without null, which a form cannot say."""
    if "anyOf" not in field:
        return field
    kept = {key: value for key, value in field.items() if key not in ("anyOf", "default")}
    return kept | next(each for each in field["anyOf"] if each.get("type") != "null")


_FORM = schema_of(Transcribe)
_FORM["properties"] = {
    "file": {"type": "string", "format": "binary", "description": "an audio file"},
    **{f"{name}[]" if name in LISTS else name: _in_form(field) for name, field in _FORM["properties"].items()},
}
_FORM["required"] = ["file", "model"]
_TEXTS = {kind: {"schema": {"type": "string"}} for kind in ("text/plain", "text/event-stream")}


@router.post(
    "/v1/audio/transcriptions",
    summary="Transcribe a recording, as OpenAI's API does",
    dependencies=[Depends(not_busy)],
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}},
    responses={
        200: {
            "description": "the transcript, in the format asked for",
            "content": {"application/json": {"schema": {"type": "object"}, "example": {
                "text": "one two three", "usage": {"type": "duration", "seconds": 1.2}}}, **_TEXTS},
        }
    },
)  # fmt: skip
async def transcriptions(request: Request, caller: Admitted) -> Response:
    """Takes multipart/form-data. The official `openai` client works with `base_url="http://HOST:PORT/v1"`."""
    service: Service = request.app.state.service
    async with form_of(request, service.cfg.serve) as form:
        asked, file = validated(Transcribe, _fields(form)), upload_of(form)
        asked.check(service.cfg.serve.language)
        limit("keywords", asked.keywords, service.cfg.serve.max_phrases)
        mode = mode_of(asked.model, service.modes)
        recognizer = service.modes.of(mode)
        options, unused = await run_in_threadpool(keyword_options, recognizer, asked.keywords, service.cfg.boost)
        options = replace(
            options, written=asked.written, punctuate=asked.punctuate, language=_of_writing(asked, service, recognizer)
        )
        if asked.stream:
            answer: Response = await _stream(service, caller, asked, mode, options, file.file.read)
        else:
            begun, hypothesis = await recognise(request, caller, mode, options, file.file.read)
            answer = _answer(asked, hypothesis, _language(asked, service), begun)
    if unused:
        answer.headers["x-ignored-keywords"] = _header(unused)
    return answer


def _header(entries: list[str]) -> str:
    """The first entries as a JSON list, as many as proxies and clients take in a header."""
    shown: list[str] = []
    for entry in entries:
        if len(json.dumps([*shown, entry])) > LONGEST_HEADER:
            break
        shown.append(entry)
    return json.dumps(shown)


def _fields(form: FormData) -> dict[str, Any]:
    """The text fields by name; lists are spelled with or without the brackets. The last of equal names counts."""
    found: dict[str, Any] = {}
    for key, value in form.multi_items():
        name = key.removesuffix("[]")
        if isinstance(value, UploadFile):
            continue
        if name in LISTS:
            found.setdefault(name, []).append(value)
        else:
            found[name] = value
    return found


def check_language(language: str | None, languages: list[str], own: str | None) -> None:
    """Raises Refused(400) if languages are asked for, but not that of the service."""
    asked = [*languages, *([language] if language else [])]
    if own and asked and own not in [each.lower()[:2] for each in asked]:
        raise Refused(400, f"this service recognises '{own}', not '{asked[0]}'", param="language")


def mode_of(model: str | None, modes: Modes) -> str:
    """The mode of free speech that has this name, or the first one."""
    return model if model in modes.names and model is not None and model != "word" else modes.free()


def keyword_options(recognizer: Recognizer, keywords: list[str], boost: float) -> tuple[DecodingOptions, list[str]]:
    """Keywords as phrases of the graph's words, and those that it cannot use.

    A keyword is a hint: unlike a phrase of /v1/recognize it is also found in lower case, its words are added to a
    dynamic graph, and one that cannot be used does not fail the request.
    """
    if isinstance(recognizer.searcher, NoSearcher):
        return DecodingOptions(), keywords
    forms = {word: (word, word.lower()) for keyword in keywords for word in keyword.split()}
    known = {word: next((f for f in forms[word] if can_boost(recognizer.searcher, f)), None) for word in forms}
    added = _spelled(recognizer, [form for word in forms if not known[word] for form in dict.fromkeys(forms[word])])
    usable = {word: known[word] or next((form for form in forms[word] if form in added), None) for word in forms}
    phrases: dict[str, float] = {}
    new_words: dict[str, None] = {}
    unused = []
    for keyword in keywords:
        words = [usable[word] or "" for word in keyword.split()]
        if words and all(words):
            phrases[" ".join(words)] = boost
            new_words |= {word: None for word in words if word in added}
        else:
            unused.append(keyword)
    return DecodingOptions(phrases=phrases or None, new_words=list(new_words) or None), unused


def _spelled(recognizer: Recognizer, words: list[str]) -> list[str]:
    """Those of `words` that can be added to the graph."""
    if not words or not isinstance(recognizer.searcher, GraphSearcher):
        return []
    if not isinstance(recognizer.space, DynamicSpace) or recognizer.space.of_pieces:
        return []
    try:
        space = recognizer.with_new_words(words).space
    except InputError:  # none can be spelled
        return []
    return [word for word in words if space is not None and word in space.labels]


def _answer(asked: Transcribe, hypothesis: Hypothesis, language: str | None, begun: Begun) -> Response:
    headers = {"x-request-id": begun.id}
    if asked.response_format in ("text", "srt", "vtt"):
        format = "txt" if asked.response_format == "text" else asked.response_format
        return PlainTextResponse(render([hypothesis], format), headers=headers)
    usage = _usage(hypothesis.duration_s)
    if asked.response_format == "verbose_json":
        return JSONResponse(_verbose(asked, hypothesis, language) | {"usage": usage}, headers=headers)
    answer: dict[str, Any] = {"text": hypothesis.text, "usage": usage}
    if language:
        answer["languages"] = [{"code": language}]
    if asked.include:
        answer["logprobs"] = logprobs(hypothesis.words)
    return JSONResponse(answer, headers=headers)


def _verbose(asked: Transcribe, hypothesis: Hypothesis, language: str | None) -> dict[str, Any]:
    words = [word for word in hypothesis.words if word.accepted]
    answer: dict[str, Any] = {
        "task": "transcribe",
        "language": language or "unknown",
        "duration": round(hypothesis.duration_s, 3),
        "text": hypothesis.text,
    }
    granularities = asked.timestamp_granularities or ["segment"]
    if "segment" in granularities:
        answer["segments"] = [_segment(number, cue) for number, cue in enumerate(cues(words))]
    if "word" in granularities:
        answer["words"] = [{"word": word.word, "start": word.start_s, "end": word.end_s} for word in words]
    return answer


def _segment(number: int, words: list[Word]) -> dict[str, Any]:
    text = " ".join(word.word for word in words)
    return {
        "id": number,
        "seek": round(words[0].start_s * 100),
        "start": words[0].start_s,
        "end": words[-1].end_s,
        "text": text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": round(fmean(_logprob(word) for word in words), 4),
        "compression_ratio": round(len(text.encode()) / len(zlib.compress(text.encode())), 4),
        "no_speech_prob": round(1 - max(word.confidence for word in words), 4),
    }


def logprobs(words: list[Word], is_first: bool = True) -> list[dict[str, Any]]:
    """The accepted words as tokens, which joined are the text."""
    accepted = [word for word in words if word.accepted]
    tokens = [word.word if is_first and not number else f" {word.word}" for number, word in enumerate(accepted)]
    return [
        {"token": token, "bytes": list(token.encode()), "logprob": _logprob(word)}
        for token, word in zip(tokens, accepted, strict=True)
    ]


def _logprob(word: Word) -> float:
    return round(math.log(max(word.confidence, 1e-4)), 4)


def _usage(duration_s: float) -> dict[str, Any]:
    return {"type": "duration", "seconds": round(duration_s, 3)}


def _language(asked: Transcribe, service: Service) -> str | None:
    """The language that the service declares, or else the one that the caller says it is."""
    return service.cfg.serve.language or asked.language or (asked.languages[0] if len(asked.languages) == 1 else None)


def _of_writing(asked: Transcribe, service: Service, recognizer: Recognizer) -> str | None:
    """The language of written forms and punctuation; None: told by the words.

    Clients send a language of their own accord, so it counts only if the words tell none.
    """
    language = (_language(asked, service) or "").lower()[:2]
    if language not in LANGUAGES or not (service.cfg.serve.language or _is_untold(recognizer)):
        return None
    return language


def _is_untold(recognizer: Recognizer) -> bool:
    try:
        language_of(recognizer.space, recognizer.tokens)
        return False
    except InputError:
        return True


async def _stream(
    service: Service,
    caller: Caller,
    asked: Transcribe,
    mode: str,
    options: DecodingOptions,
    read: Callable[[], bytes],
) -> Response:
    """Server-sent events. What is wrong with the request is told by the status, since the sound is decoded first."""
    read = kept(service, read)

    async def work(arm: Arm) -> tuple[Begun, AsyncExitStack]:
        async with AsyncExitStack() as stack:
            since_s = await stack.enter_async_context(arm.engine.place())
            return await begin(service, arm, caller, mode, options, read, since_s), stack.pop_all()

    begun, held = await service.by_turn(caller, work)
    headers = {"x-request-id": begun.id, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return _EventStream(_lines(service, asked, begun), held, headers)


class _EventStream(StreamingResponse):
    """Server-sent events; `held` is given back at their end, however it comes."""

    def __init__(self, events: AsyncIterator[str], held: AsyncExitStack, headers: dict[str, str]):
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self.held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self.held:
            await super().__call__(scope, receive, send)


async def _lines(service: Service, asked: Transcribe, begun: Begun) -> AsyncIterator[str]:
    try:
        async for event in _events(service, asked, begun):
            yield f"data: {json.dumps(event, ensure_ascii=False)}\n\n"
        yield "data: [DONE]\n\n"
    except InputError as e:
        yield f"data: {json.dumps(Refused(400, str(e)).body())}\n\n"


async def _events(service: Service, asked: Transcribe, begun: Begun) -> AsyncIterator[dict[str, Any]]:
    found: list[Hypothesis] = []
    said, segments = "", 0  # the last part with words
    async for part in parts(begun):
        part = await marked(begun, part, said, is_end=begun.is_short)
        found.append(part)
        if not part.text:
            continue
        event: dict[str, Any] = {"type": "transcript.text.delta", "delta": f" {part.text}" if said else part.text}
        if asked.include:
            event["logprobs"] = logprobs(part.words, is_first=not said)
        yield event
        said = part.text
        if asked.response_format == "verbose_json":
            for cue in cues([word for word in part.words if word.accepted]):
                segments += 1
                yield {"type": "transcript.text.segment", "id": f"seg_{segments}", "speaker": "",
                       "start": cue[0].start_s, "end": cue[-1].end_s,
                       "text": " ".join(word.word for word in cue)}  # fmt: skip
    hypothesis = await finish(service, begun, found)
    # OpenAI's type of this event has no usage in seconds, so they come as a field of our own.
    done: dict[str, Any] = {"type": "transcript.text.done", "text": hypothesis.text}
    done["duration"] = round(hypothesis.duration_s, 3)
    if language := _language(asked, service):
        done["languages"] = [{"code": language}]
    if asked.include:
        done["logprobs"] = logprobs(hypothesis.words)
    yield done


@router.get("/v1/models", summary="The modes, as OpenAI lists its models", dependencies=[Depends(identified)])
async def models(request: Request) -> dict[str, Any]:
    return {"object": "list", "data": [_model(name) for name in request.app.state.service.modes.names]}


@router.get("/v1/models/{name}", summary="One mode", dependencies=[Depends(identified)])
async def model(request: Request, name: str) -> dict[str, Any]:
    if name not in request.app.state.service.modes.names:
        raise Refused(404, f"there is no model '{name}'; GET /v1/models lists them", param="model")
    return _model(name)


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": STARTED_S, "owned_by": "asr"}
