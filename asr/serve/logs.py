"""What the logs do not tell: keys, and what people said.

A browser's WebSocket brings its key as `?key=KEY`, and uvicorn logs the addresses of requests. `protect` cuts queries
off the addresses, and replaces all that looks like a key of `asr serve keys add`.

Exceptions are logged without their messages, which may quote a text of a request (asr.errors.places).
"""

import logging
import re
from typing import Any

from asr.errors import places
from asr.serve.keys import PREFIX

LOGGERS = ("uvicorn.access", "uvicorn.error", "uvicorn.asgi")
_QUERY = re.compile(r"(/[^\s?]*)\?\S*")
_KEY = re.compile(PREFIX + r"[A-Za-z0-9_-]{20,}")


def protect() -> None:
    """Installs the filter in the loggers of the server, once."""
    for logger in map(logging.getLogger, LOGGERS):
        if not any(isinstance(present, _Scrub) for present in logger.filters):
            logger.addFilter(_Scrub())


class _Scrub(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = _scrubbed(record.msg)
        if isinstance(record.args, tuple):  # uvicorn's formatter reads them one by one
            record.args = tuple(map(_scrubbed, record.args))
        if record.exc_info and record.exc_info[1]:
            record.exc_text = places(record.exc_info[1])  # which formatters take for the exception
        return True


def _scrubbed(value: Any) -> Any:
    return _KEY.sub(f"{PREFIX}...", _QUERY.sub(r"\1?...", value)) if isinstance(value, str) else value
