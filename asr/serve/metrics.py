"""How the service is doing: /healthz (it runs), /readyz (it takes requests)."""

from fastapi import APIRouter, Request

from asr.serve.errors import Refused

router = APIRouter(tags=["service"])


@router.get("/healthz", summary="The process runs")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", summary="The models are loaded and warm")
async def readyz(request: Request) -> dict[str, str]:
    """503 before the warm-up and while the service drains."""
    if not request.app.state.service.is_ready:
        raise Refused(503, "the service is starting or stopping", retry_after_s=1, code="not_ready")
    return {"status": "ready"}
