"""One recording of a request, from its bytes to its words, in worker threads.

async with arm.engine.place() as since_s:
    begun = await begin(service, arm, caller, mode, options, read, since_s)
    async for part in parts(begun): ...
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, TypeVar

import numpy as np
from starlette.requests import Request

from asr.hypothesis import Hypothesis
from asr.recognizer.long import Piece, join, transcribe_parts
from asr.recognizer.options import DecodingOptions
from asr.recognizer.recognizer import Recognizer
from asr.recognizer.written import Writing
from asr.search.phrases import Phrases
from asr.serve.access import Caller
from asr.serve.errors import CLIENT_GONE, Refused
from asr.serve.metrics import Stages, level_db
from asr.serve.service import Answered, Service
from asr.serve.sound import decode_untrusted
from asr.serve.trial import Arm

T = TypeVar("T")


@dataclass(frozen=True)
class Begun:
    """A decoded recording, the recogniser that hears it, and what it has heard so far."""

    caller: Caller
    mode: str
    options: DecodingOptions
    arm: Arm
    recognizer: Recognizer
    samples: np.ndarray  # (T,) float32 at the model's rate
    level_db: float
    ignored: tuple[str, ...]  # phrases and new words that the recogniser cannot use
    stages: Stages
    first: list[Hypothesis]  # of the first minute
    rest: Iterator[list[Hypothesis]]
    writing: Writing | None  # None: as spoken
    is_short: bool  # one piece
    spoken: list[Hypothesis] = field(default_factory=list)  # of the pieces so far, if they are written otherwise
    id: str = field(default_factory=lambda: f"asr-{uuid.uuid4().hex}")


async def not_busy(request: Request) -> None:
    """Refuses a request before it is charged and before its body is read, if it would find no place."""
    request.app.state.service.engine.check()


async def begin(
    service: Service,
    arm: Arm,
    caller: Caller,
    mode: str,
    options: DecodingOptions,
    read: Callable[[], bytes],
    since_s: float,
) -> Begun:
    """Compile what the caller brings, decode what `read` returns, and recognise the first minute.

    `since_s`: when the request took its place.

    Raises InputError for options and sound that cannot be used.
    """
    stages = Stages()

    def work() -> Begun:
        stages.seconds["queue"] = time.perf_counter() - since_s
        with stages.of("prepare"):  # first, since its errors cost no decoding
            recognizer, left = arm.modes.prepared(caller, mode, options)
            phrases = recognizer.compile_phrases(left.phrases)
            writing = recognizer.writing(options)
        with stages.of("decode"):
            rate_hz = recognizer.cfg.features.sample_rate_hz
            samples = decode_untrusted(read(), service.cfg.serve.max_audio_s, rate_hz)
        batches = transcribe_parts(_Timed(recognizer, stages), samples, phrases)
        unused = ignored(recognizer, options, phrases)
        level, first = level_db(samples), next(batches)
        return Begun(
            caller, mode, options, arm, recognizer, samples, level, unused, stages, first, batches, writing,
            len(first) == 1,
        )  # fmt: skip

    return await arm.engine.do(work)


async def parts(begun: Begun) -> AsyncIterator[Hypothesis]:
    """The hypotheses of the pieces of a recording, in their order. Requests take turns at each minute.

    They have their written forms, but no punctuation: see `marked`.
    """
    batch: list[Hypothesis] | None = begun.first
    while batch is not None:
        for part in batch:
            if begun.writing:  # its grammar takes a second to compile
                begun.spoken.append(part)
                part = await begun.arm.engine.do(partial(begun.writing.formed, part))
            yield part
        batch = await begun.arm.engine.do(lambda: next(begun.rest, None))


async def marked(begun: Begun, found: Hypothesis, before: str = "", is_end: bool = True) -> Hypothesis:
    """Punctuation and capitals, if they are asked for; see `asr.recognizer.written.punctuated`."""
    if not begun.writing:
        return found
    return await begun.arm.engine.do(partial(begun.writing.marked, found, before, is_end))


async def recognise(
    request: Request, caller: Caller, mode: str, options: DecodingOptions, read: Callable[[], bytes]
) -> tuple[Begun, Hypothesis]:
    """The whole hypothesis. The work stops when the client is gone."""
    service: Service = request.app.state.service

    read = kept(service, read)

    async def work(arm: Arm) -> tuple[Begun, Hypothesis]:
        async with arm.engine.place() as since_s:
            begun = await begin(service, arm, caller, mode, options, read, since_s)
            found = join([part async for part in parts(begun)])
            return begun, await marked(begun, found)

    begun, found = await _unless_gone(request, service.by_turn(caller, work))
    return begun, await finish(service, begun, [found])


def kept(service: Service, read: Callable[[], bytes]) -> Callable[[], bytes]:
    """`read` that may be called again, if the current recogniser may have to answer after a candidate."""
    return read if service.trial is None else cache(read)


async def finish(service: Service, begun: Begun, found: list[Hypothesis]) -> Hypothesis:
    """Joins the parts; measures the answer, and keeps it if the service is asked to."""
    hypothesis = join(found)
    rate_hz, seconds = begun.recognizer.cfg.features.sample_rate_hz, sum(begun.stages.seconds.values())
    service.record(
        Answered(
            begun.id, begun.caller, begun.mode, hypothesis, begun.samples, rate_hz, begun.level_db, seconds,
            begun.ignored, begun.arm.modes.models.get(begun.mode, ""), begun.options,
            join(begun.spoken) if begun.spoken else None,
        ),
        begun.stages,
    )  # fmt: skip
    return hypothesis


def ignored(recognizer: Recognizer, options: DecodingOptions, phrases: Phrases | None) -> tuple[str, ...]:
    """The phrases and new words of the caller that the recogniser cannot use."""
    words = [new if isinstance(new, str) else new.word for new in options.new_words or ()]
    labels = recognizer.space.labels if words and recognizer.space else {}
    return (*(phrases.left_out if phrases else ()), *(word for word in words if word not in labels))


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled if the client closes the connection first."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Refused(CLIENT_GONE, "the client closed the connection")
        return task.result()
    finally:
        for each in (task, gone):
            each.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class _Timed:
    """A recogniser that measures the acoustic model and the search."""

    def __init__(self, recognizer: Recognizer, stages: Stages):
        self.recognizer, self.stages = recognizer, stages
        self.cfg, self.can_cut = recognizer.cfg, recognizer.can_cut
        self.read, self.duration_s = recognizer.read, recognizer.duration_s

    def score_batches(
        self, items: Iterable[Piece], read: Callable[[Piece], np.ndarray | None]
    ) -> Iterator[list[tuple[Piece, np.ndarray, float]]]:
        batches = self.recognizer.score_batches(items, read)
        while True:
            with self.stages.of("model"):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch

    def search(
        self,
        id: str,
        log_probs: np.ndarray,
        duration_s: float,
        phrases: Phrases | None = None,
        samples: np.ndarray | None = None,
    ) -> Hypothesis:
        with self.stages.of("search"):
            return self.recognizer.search(id, log_probs, duration_s, phrases, samples)
