"""The transcription page: HTML, style and scripts put together in one file, under a strict content security policy."""

import base64
import hashlib
from pathlib import Path

SCRIPTS = ("texts.js", "saving.js", "wave.js", "page.js")  # in this order, one module


def _read(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


_STYLE, _SCRIPT = _read("page.css"), "".join(map(_read, SCRIPTS))
HTML = _read("page.html").replace("/* style */", _STYLE).replace("/* script */", _SCRIPT)

# Nothing from other servers, no code but this script, no frames around the page; sounds are played from memory.
POLICY = (
    f"default-src 'none'; script-src {_hash(_SCRIPT)}; style-src {_hash(_STYLE)}; connect-src 'self'; media-src blob:; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
PRIVATE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
HEADERS = PRIVATE | {
    "Content-Security-Policy": POLICY,
    "Permissions-Policy": "microphone=(), camera=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}
