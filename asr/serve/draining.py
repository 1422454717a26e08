"""The end of the service: what was accepted is answered, and what comes later is refused."""

from starlette.types import ASGIApp, Receive, Scope, Send

from asr.serve.errors import Refused, answer
from asr.serve.service import Service

ALWAYS = ("/healthz", "/readyz", "/metrics")  # answered during the drain, too
STOPPING = Refused(503, "the service is stopping; repeat the request", 1.0, code="not_ready")


class Draining:
    """Middleware that counts the requests that were accepted, and refuses those that come during the drain."""

    def __init__(self, app: ASGIApp, service: Service):
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in ALWAYS:
            await self.app(scope, receive, send)
            return
        if self.service.is_draining:
            await answer(STOPPING)(scope, receive, send)
            return
        self.service.accepted += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.service.accepted -= 1
