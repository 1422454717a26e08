"""The page to speak into, served at /: plain files without a build step, under a strict content security policy."""

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response

from asr.serve.service import Service

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Nothing from other servers, no code or style inside the markup, no frames around the page.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # asked for anew each time, sent anew only after a change
}


def _endpoint(path: Path) -> Callable[[Request], Awaitable[Response]]:
    content = path.read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = HEADERS | {"ETag": tag}

    async def send(request: Request) -> Response:
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=TYPES[path.suffix], headers=headers)

    return send


router = APIRouter(include_in_schema=False)
for file in sorted(Path(__file__).parent.iterdir()):
    if file.suffix in TYPES:
        router.add_api_route(
            "/" if file.name == "index.html" else f"/{file.name}", _endpoint(file), methods=["GET", "HEAD"]
        )


@router.get("/page.json")
async def about(request: Request) -> dict[str, Any]:
    """What the page must know before it asks for a key."""
    service: Service = request.app.state.service
    return {
        "modes": service.modes.names,
        "language": service.cfg.serve.language,
        "needs_key": service.keys is not None,
        "takes_corrections": getattr(request.app.state, "answers", None) is not None,
    }
