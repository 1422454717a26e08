"""Errors over HTTP, in the shape of OpenAI's: {"error": {"message", "type", "param", "code"}}."""

import logging
import math
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from asr.errors import InputError, places


class _Error(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    error: _Error


# What any call may answer, for the OpenAPI document.
DECLARED: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": HTTPStatus(status).phrase}
    for status in (400, 401, 404, 405, 408, 413, 415, 422, 429, 500, 503)
}
_log = logging.getLogger(__name__)
CLIENT_GONE = 499  # nginx's status for a request whose client closed the connection
LONGEST_MESSAGE = 1000  # characters; sentences may quote what the caller sent
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class Refused(Exception):
    """A request that is not answered: an HTTP status and one sentence for the caller.

    `param` names the field of the request that is wrong; `code` is a short name for programs.
    """

    def __init__(
        self,
        status: int,
        message: str,
        retry_after_s: float | None = None,
        param: str | None = None,
        code: str | None = None,
    ):
        super().__init__(message)
        self.status, self.retry_after_s = status, retry_after_s
        self.message = message if len(message) <= LONGEST_MESSAGE else f"{message[:LONGEST_MESSAGE]}..."
        self.param, self.code = param, code

    def body(self) -> dict[str, Any]:
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def event(self) -> dict[str, Any]:
        """The body as a message of a WebSocket, which has no headers: with `retry_after_s` in place of Retry-After."""
        body = self.body()
        if self.retry_after_s is not None:
            body["error"]["retry_after_s"] = self._whole_seconds(self.retry_after_s)
        return body

    def headers(self) -> dict[str, str]:
        headers = {}
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self._whole_seconds(self.retry_after_s))
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return headers

    @staticmethod
    def _whole_seconds(seconds: float) -> int:
        return max(1, math.ceil(seconds))


def answer(refused: Refused) -> JSONResponse:
    return JSONResponse(refused.body(), refused.status, refused.headers())


def handle(app: FastAPI) -> None:
    """Answers all errors of an app in this shape."""

    @app.exception_handler(Refused)
    async def of_refused(request: Request, e: Refused) -> JSONResponse:
        return answer(e)

    @app.exception_handler(ClientDisconnect)
    async def of_gone(request: Request, e: ClientDisconnect) -> JSONResponse:
        return answer(Refused(CLIENT_GONE, "the client closed the connection"))

    @app.exception_handler(InputError)
    async def of_input(request: Request, e: InputError) -> JSONResponse:
        return answer(Refused(400, str(e)))

    @app.exception_handler(RequestValidationError)
    async def of_fields(request: Request, e: RequestValidationError) -> JSONResponse:
        first = e.errors()[0]
        name = ".".join(str(part) for part in first["loc"][1:])
        return answer(Refused(422, f"{name or 'the request'}: {first['msg']}", param=name or None))

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, e: HTTPException) -> JSONResponse:
        phrase = HTTPStatus(e.status_code).phrase.lower()
        message = f"{request.method} {request.url.path}: {phrase}; /docs lists the calls of this service"
        response = answer(Refused(e.status_code, message))
        response.headers.update(e.headers or {})
        return response

    @app.exception_handler(Exception)
    async def of_bug(request: Request, e: Exception) -> JSONResponse:
        _log.error("%s %s failed:\n%s", request.method, request.url.path, places(e))
        return answer(Refused(500, "the service failed; its log has the details", code="internal_error"))
