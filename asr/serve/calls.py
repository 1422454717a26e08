"""GET /docs: the calls of the service as one page, made of its OpenAPI document. It loads nothing from elsewhere."""

import json
from collections.abc import Iterator
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

router = APIRouter()

_PAGE = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>asr: calls</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222;
  background: #fff }}
code, pre {{ font-family: ui-monospace, monospace; font-size: .9em }}
pre {{ background: #f2f2f2; padding: .8rem; overflow-x: auto }}
table {{ border-collapse: collapse }}
td {{ border-top: 1px solid #ccc; padding: .3rem 1rem .3rem 0; vertical-align: top }}
h2 {{ margin-top: 2.5rem; font-size: 1.2rem }}
</style>
<h1>Calls of this service</h1>
<p>For programs: <a href="openapi.json">openapi.json</a>. Live speech comes over the WebSockets
<code>/v1/stream</code> and <code>/v1/realtime?intent=transcription</code>.</p>
{calls}
</html>
"""


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> HTMLResponse:
    document = request.app.openapi()
    calls = [
        part
        for path, methods in document["paths"].items()
        for method, call in methods.items()
        for part in _call(document, f"{method.upper()} {path}", call)
    ]
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return HTMLResponse(_PAGE.format(calls="\n".join(calls)), headers={"Content-Security-Policy": policy})


def _call(document: dict[str, Any], name: str, call: dict[str, Any]) -> Iterator[str]:
    yield f"<h2><code>{escape(name)}</code> {escape(call.get('summary', ''))}</h2>"
    yield f"<p>{escape(call.get('description', ''))}</p>"
    for kind, body in call.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Body: <code>{escape(kind)}</code></p>{_fields(_resolved(document, body['schema']))}"
        yield from _example(body)
    for status, answer in call["responses"].items():
        for kind, body in answer.get("content", {}).items():
            if status.startswith("2"):
                yield f"<p>Answer {status}: <code>{escape(kind)}</code></p>"
                yield f"{_fields(_resolved(document, body.get('schema', {})))}"
                yield from _example(body)
    errors = [f"{status} {escape(call['responses'][status]['description'])}" for status in call["responses"]
              if not status.startswith("2")]  # fmt: skip
    yield f"<p>Errors: {', '.join(errors)}</p>"


def _fields(schema: dict[str, Any]) -> str:
    needed = schema.get("required", ())
    rows = [
        f"<tr><td><code>{escape(name)}</code>{' (required)' if name in needed else ''}"
        f"<td>{escape(_kind(field))}<td>{escape(field.get('description', ''))}"
        for name, field in schema.get("properties", {}).items()
    ]
    return f"<table>{''.join(rows)}</table>" if rows else ""


def _kind(field: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_kind(each) for each in field["anyOf"])
    if "enum" in field:
        return ", ".join(map(str, field["enum"]))
    if "$ref" in field:
        return "object"
    kind = str(field.get("const", field.get("type", "")))
    return f"{kind} of {_kind(field['items'])}" if "items" in field else kind


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return document["components"]["schemas"][name] if name else schema


def _example(body: dict[str, Any]) -> Iterator[str]:
    if "example" in body:
        yield f"<pre>{escape(json.dumps(body['example'], indent=1, ensure_ascii=False))}</pre>"
