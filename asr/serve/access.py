"""Who calls: the key of a request, checked and charged before anything else of it is read.

    @router.post("/v1/recognize")
    async def recognize(request: Request, caller: Admitted) -> ...

A WebSocket handler calls `await identified(websocket)` itself, and closes on `Refused`.
"""

import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Protocol

from fastapi import Depends
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from asr.serve.errors import CLIENT_GONE, Refused


@dataclass(frozen=True)
class Caller:
    """The holder of a key. What is kept from one request for the next is kept under this id."""

    id: str
    name: str


HOLDER = "asr.caller"  # where the scope of a request has the id of its caller
ANYONE = Caller("", "anyone")  # where no keys are required


class KeyRing(Protocol):
    """asr.serve.keys.Keys"""

    def authorise(self, key: str | None, now: float) -> Caller: ...

    def charge(self, caller: Caller, calls: int, now: float) -> None: ...

    def refund(self, caller: Caller, calls: int, now: float) -> None: ...


async def identified(connection: HTTPConnection) -> Caller:
    """The caller, who is not charged. Raises Refused(401) for a missing or unknown key."""
    caller = await authorised(connection.app.state.service.keys, key_of(connection))
    connection.scope[HOLDER] = caller.id
    return caller


async def authorised(keys: KeyRing | None, key: str | None) -> Caller:
    """The holder of a key; anyone if no keys are required. Raises Refused(401) for a missing or unknown key."""
    if keys is None:
        return ANYONE
    return await run_in_threadpool(keys.authorise, key, time.time())


async def _admitted(connection: HTTPConnection) -> AsyncIterator[Caller]:
    """The caller, charged before the work, so that calls at the same time cannot exceed the quota, and paid back if
    the request is refused or fails. A client that goes away pays.

    Raises Refused(401) as `identified`, and Refused(429) beyond the quota or the share of the requests at a time.
    """
    at = time.time()  # also names the day from which the call is taken back
    service = connection.app.state.service
    caller, keys = await identified(connection), service.keys
    if keys is not None:
        await run_in_threadpool(keys.charge, caller, 1, at)
    try:
        service.requests.take(caller.id, retry_after_s=service.engine.wait_s)
        try:
            yield caller
        finally:
            service.requests.give_back(caller.id)
    except Exception as e:
        if keys is not None and not (isinstance(e, Refused) and e.status == CLIENT_GONE):
            with suppress(Refused):  # the database failed, and its log says so: the call stays counted
                await run_in_threadpool(keys.refund, caller, 1, at)
        raise


Admitted = Annotated[Caller, Depends(_admitted)]


def key_of(connection: HTTPConnection) -> str | None:
    """The key in `Authorization: Bearer KEY`, or in `?key=KEY`, which browsers need for WebSockets."""
    scheme, _, key = connection.headers.get("authorization", "").partition(" ")
    if scheme:
        if scheme.lower() != "bearer" or not key.strip():
            raise Refused(401, "the Authorization header must be 'Bearer KEY'", code="invalid_api_key")
        return key.strip()
    return connection.query_params.get("key") if connection.scope["type"] == "websocket" else None
