"""POST /v1/recognize: everything that the recogniser can do, in one call."""

import asyncio
import base64
import binascii
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.datastructures import FormData

from asr.errors import nearest
from asr.hypothesis import Hypothesis
from asr.serve.access import Admitted, Caller
from asr.serve.asked import Asked
from asr.serve.errors import Refused
from asr.serve.fields import body_of, form_of, parsed, schema_of, unknown_field, upload_of
from asr.serve.recognition import Begun, not_busy, recognise
from asr.serve.service import Service

router = APIRouter(tags=["recognition"])
FORM_FIELDS = ("file", "request")
MOST_JSON_BYTES = 32 << 20  # of a request in JSON, which is held in memory


class AskedInJson(Asked):
    audio: str = Field(description="an audio file in base64")


class AnswerWord(BaseModel):
    word: str
    start_s: float
    end_s: float
    confidence: float
    accepted: bool = Field(description="false: text leaves it out, by reject_below or remove")


class AnswerAlternative(BaseModel):
    text: str
    cost: float = Field(description="nats above the cost of the best reading")


class AnswerChoice(BaseModel):
    word: str = Field(description="empty: no word")
    posterior: float


class AnswerBin(BaseModel):
    """A place of the confusion network, with the words that compete there, the most probable first."""

    start_s: float
    end_s: float
    choices: list[AnswerChoice]


class Answer(BaseModel):
    id: str = Field(description="names the answer for POST /v1/feedback")
    mode: str
    text: str
    words: list[AnswerWord]
    confidence: float = Field(description="mean confidence of the words; 0 without words")
    rejected: bool = Field(description="no word was found, or none accepted")
    alternatives: list[AnswerAlternative]
    confusion: list[AnswerBin] = Field(description="empty unless the request or the recogniser asks for it")
    duration_s: float
    ignored: list[str] = Field(description="phrases and new words that the recogniser cannot use")


EXAMPLE = {
    "id": "asr-0f2d6c3c1b5e4a0f9d8c7b6a59483726", "mode": "word", "text": "turn on",
    "words": [
        {"word": "turn", "start_s": 0.31, "end_s": 0.52, "confidence": 0.98, "accepted": True},
        {"word": "on", "start_s": 0.55, "end_s": 0.8, "confidence": 0.97, "accepted": True},
    ],
    "confidence": 0.975, "rejected": False, "alternatives": [], "confusion": [], "duration_s": 1.2, "ignored": [],
}  # fmt: skip
ASKED = {"mode": "word", "words": ["turn on", "turn off", "stop"], "reject_below": 0.3}
_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {"type": "string", "format": "binary", "description": "an audio file"},
                    "request": {"type": "string", "description": "the other fields, as a JSON object"},
                },
            },
            "encoding": {"request": {"contentType": "application/json"}},
        },
        "application/json": {
            "schema": schema_of(AskedInJson),
            "example": ASKED | {"audio": "UklGRiQAAABXQVZF..."},
        },
    },
}
OR_JSON = ", or JSON with 'audio' in base64 and the header Content-Type: application/json"


@router.post(
    "/v1/recognize",
    summary="Recognise a recording",
    response_model=Answer,
    dependencies=[Depends(not_busy)],
    openapi_extra={"requestBody": _BODY},
    responses={200: {"content": {"application/json": {"example": EXAMPLE}}}},
)
async def recognize(request: Request, caller: Admitted) -> JSONResponse:
    """Takes multipart/form-data with `file` and `request`, or JSON with `audio` in base64."""
    service: Service = request.app.state.service
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        asked, read = await _in_json(request)
        return await _answer(request, caller, asked, read)
    async with form_of(request, service.cfg.serve, OR_JSON) as form:
        _check_names(form)
        file, fields = upload_of(form), form.get("request", "{}")
        text = fields if isinstance(fields, str) else await fields.read(MOST_JSON_BYTES)
        asked = await asyncio.to_thread(parsed, Asked, text)
        return await _answer(request, caller, asked, file.file.read)


def _check_names(form: FormData) -> None:
    """Raises Refused(400) for a field that the form does not have, or that it has twice."""
    for name in set(form) - set(FORM_FIELDS):
        of_form = "; the form has 'file' and 'request', a JSON object of the others"
        raise unknown_field(name, of_form if name in Asked.model_fields else nearest(name, FORM_FIELDS) or of_form)
    for name in FORM_FIELDS:
        if (count := len(form.getlist(name))) > 1:
            raise Refused(400, f"the form has the field '{name}' {count} times; send it once", param=name,
                          code="repeated_field")  # fmt: skip


async def _in_json(request: Request) -> tuple[Asked, Callable[[], bytes]]:
    asked = await asyncio.to_thread(parsed, AskedInJson, await body_of(request, MOST_JSON_BYTES))

    def read() -> bytes:
        try:
            return base64.b64decode(asked.audio, validate=True)
        except (binascii.Error, ValueError):
            raise Refused(400, "audio must be a file in base64", param="audio") from None

    return asked, read


async def _answer(request: Request, caller: Caller, asked: Asked, read: Callable[[], bytes]) -> JSONResponse:
    service: Service = request.app.state.service
    mode = service.modes.mode_for(asked)
    begun, hypothesis = await recognise(request, caller, mode, asked.options(service.cfg.serve), read)
    return JSONResponse(answer_of(begun, hypothesis), headers={"x-request-id": begun.id})


def answer_of(begun: Begun, hypothesis: Hypothesis) -> dict[str, Any]:
    words = [
        {"word": w.word, "start_s": w.start_s, "end_s": w.end_s, "confidence": w.confidence, "accepted": w.accepted}
        for w in hypothesis.words
    ]
    return {
        "id": begun.id,
        "mode": begun.mode,
        "text": hypothesis.text,
        "words": words,
        "confidence": round(hypothesis.confidence or 0.0, 4),
        "rejected": not any(w.accepted for w in hypothesis.words),
        "alternatives": [
            {"text": other.text, "cost": round(other.cost - hypothesis.cost, 4)} for other in hypothesis.alternatives
        ],
        "confusion": [asdict(bin) for bin in hypothesis.confusion],
        "duration_s": round(hypothesis.duration_s, 3),
        "ignored": list(begun.ignored),
    }
