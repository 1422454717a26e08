"""A service whose bundle is named by a link follows the link: a version that is promoted, or taken back, is opened
while requests are answered, and takes over at once."""

import asyncio
import logging
import os
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool

from asr.recognizer.recognizer import Recognizer
from asr.serve.modes import Modes
from asr.serve.service import Service

FOLLOW_S = 2.0  # between two looks
_log = logging.getLogger(__name__)


async def follow(service: Service, warm_up: Callable[[Recognizer], None]) -> None:
    """Runs until it is cancelled. What cannot be opened is tried again only when the link has changed once more."""
    if not service.modes.bundle:  # nothing was opened by name
        return
    seen = service.modes.bundle
    while True:
        await asyncio.sleep(FOLLOW_S)
        if (now := os.path.realpath(service.cfg.bundle)) == seen:
            continue
        seen = now
        try:
            service.modes = await run_in_threadpool(_opened, service, warm_up)
            _log.info("%s is now %s, which answers from here on", service.cfg.bundle, service.modes.bundle)
        except Exception as e:
            _log.error("%s is now %s, which cannot be served: %s; %s answers further",
                       service.cfg.bundle, now, e, service.modes.bundle)  # fmt: skip


def _opened(service: Service, warm_up: Callable[[Recognizer], None]) -> Modes:
    modes = Modes.load(service.cfg)
    for recognizer in set(modes.recognizers.values()):
        warm_up(recognizer)
    return modes
