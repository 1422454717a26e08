"""The talk of a realtime session: OpenAI's client events in, server events out. See asr.serve.sockets.Talk.

Sound is recognised while it arrives. An item begins with its first word, or with the commit; its `delta`s are words
that no later sound changes, so that they add up to the transcript.
"""

import base64
import logging
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from asr.errors import InputError, places
from asr.recognizer.stream import StreamPartial
from asr.serve.account import Account
from asr.serve.errors import Refused
from asr.serve.fields import validated
from asr.serve.listener import Ended, Listener
from asr.serve.messages import known, parse
from asr.serve.openai import logprobs
from asr.serve.realtime_settings import LOGPROBS, ServerVad, SessionUpdate, Settings, decoder_of
from asr.serve.sockets import Event, Message

MOST_AUDIO_BYTES = 15 << 20  # of one append
LEAST_COMMIT_S = 0.1
TRANSCRIPTION = "conversation.item.input_audio_transcription"
FAILED = Refused(500, "the service failed; its log has the details", code="internal_error")
_log = logging.getLogger(__name__)
TYPES = ("session.update", "input_audio_buffer.append", "input_audio_buffer.commit", "input_audio_buffer.clear")


@dataclass
class Item:
    """The utterance that is spoken now."""

    id: str
    has_started: bool = False  # its speech was announced
    told: str = ""  # the deltas so far


class Conversation:
    """`listen` opens the recogniser for settings, and leaves in them what it can use."""

    def __init__(self, settings: Settings, listen: Callable[[Settings], tuple[Listener, Settings]], account: Account):
        self.is_over = False
        self.listen, self.account = listen, account
        self.listener, self.settings = listen(settings)
        self.before_s = 0.0  # seconds heard by earlier listeners
        self.is_stale = False  # the settings have changed since the listener was opened
        self.item = Item(new_id("item"))
        self.last_item: str | None = None
        self.idle_since_s = 0.0  # the end of the latest item

    def created(self, id: str) -> Event:
        self.id = id
        return event_of("session.created", session=self.settings.told(id))

    def hear(self, message: Message, lags: bool) -> Iterator[list[Event]]:
        event: dict[str, Any] = {}
        try:
            if isinstance(message, bytes):
                raise Refused(400, "a binary message came; sound is sent as input_audio_buffer.append, in base64")
            event = parse(message)
            yield from self._answer(known(event, TYPES).rpartition(".")[2], event, lags)
        except InputError as e:
            yield [error_event(Refused(400, str(e), code="invalid_value"), event)]
        except Refused as e:
            if e.status == 429:  # the quota is used up
                raise
            yield [error_event(e, event)]
        except Exception as e:
            _log.error("a realtime session failed to answer:\n%s", places(e))
            yield [self._failed() if event.get("type") in TYPES[1:3] else error_event(FAILED, event)]

    def held_back_s(self) -> float | None:
        return self.listener.held_back_s()

    def wait(self) -> Iterator[list[Event]]:
        yield self._heard(self.listener.partial())

    def close(self) -> None:
        self.listener.close()

    def finish(self) -> Iterator[list[Event]]:
        self.is_over = True
        ended = self.listener.finalize()
        if ended.hypothesis.words or self.item.has_started:
            yield self._committed(ended)

    def _answer(self, kind: str, event: dict[str, Any], lags: bool) -> Iterator[list[Event]]:
        if kind == "update":
            yield [self._update(event)]
        elif kind == "append":
            for heard in self.listener.hear(_sound(event), lags):
                yield self._heard(heard)
        elif kind == "clear":
            self.listener.drop(decoder_of(self.settings.audio.input.format))
            self._next_item()
            yield [event_of("input_audio_buffer.cleared")]
        else:
            if self.listener.buffered_s < LEAST_COMMIT_S:
                raise Refused(
                    400,
                    f"the buffer holds {1000 * self.listener.buffered_s:.0f} ms of sound; "
                    f"a commit needs at least {1000 * LEAST_COMMIT_S:.0f} ms",
                    code="input_audio_buffer_commit_empty",
                )
            for heard in self.listener.end_sound():
                yield self._heard(heard)
            yield self._committed(self.listener.finalize())

    def _update(self, event: dict[str, Any]) -> Event:
        if not isinstance(event.get("session"), dict) or "type" not in event["session"]:
            raise Refused(400, 'session.update has a session with "type": "transcription"', param="session.type")
        update = validated(SessionUpdate, event).session
        # Refuses what the recogniser does not take, before anything changes.
        opened, settings = self.listen(self.settings.updated(update))
        if self.listener.buffered_s:  # the sound in the buffer belongs to the earlier settings
            opened.close()
            self.is_stale = True
            self.listener.ends = settings.audio.input.turn_detection is not None
            self.listener.switch(decoder_of(settings.audio.input.format))
        else:
            self._replace(opened)
        self.settings = settings
        return event_of("session.updated", session=settings.told(self.id))

    def _replace(self, listener: Listener) -> None:
        self.before_s += self.listener.heard_s
        self.listener.close()
        self.listener, self.is_stale = listener, False

    def _heard(self, heard: StreamPartial | Ended | None) -> list[Event]:
        if isinstance(heard, Ended):
            if not (heard.hypothesis.words or self.item.has_started):
                return self._timed_out()  # silence without speech
            words = heard.hypothesis.words
            started = self._started(words[0].start_s if words else heard.start_s, heard.start_s)
            end_ms = self._ms(heard.end_s)
            stopped = event_of("input_audio_buffer.speech_stopped", audio_end_ms=end_ms, item_id=self.item.id)
            return [*started, stopped, *self._committed(heard)]
        if heard is None or not heard.words:
            return self._timed_out()
        stable = " ".join(word.word for word in heard.words[: heard.num_stable])
        return [*self._started(heard.words[0].start_s, self.listener.start_s), *self._delta(stable)]

    def _started(self, start_s: float, turn_s: float) -> list[Event]:
        """Speech at `start_s`, in the turn that began at `turn_s`."""
        detection = self.settings.audio.input.turn_detection
        if self.item.has_started:
            return []
        self.item.has_started = True
        if detection is None:
            return []
        padding_s = detection.prefix_padding_ms / 1000 if isinstance(detection, ServerVad) else 0.0
        start_ms = self._ms(max(turn_s, start_s - padding_s))
        return [event_of("input_audio_buffer.speech_started", audio_start_ms=start_ms, item_id=self.item.id)]

    def _delta(self, text: str) -> list[Event]:
        """What `text` adds to the deltas told so far."""
        told = self.item.told
        if self.settings.audio.input.transcription is None or len(text) <= len(told) or not text.startswith(told):
            return []
        self.item.told = text
        return [event_of(f"{TRANSCRIPTION}.delta", item_id=self.item.id, content_index=0, delta=text[len(told) :])]

    def _committed(self, ended: Ended) -> list[Event]:
        """The events of an item that is complete; the next one begins."""
        self.account.add(ended, self.listener.decoder.rate_hz)
        found, item_id, after = ended.hypothesis, self.item.id, {"previous_item_id": self.last_item}
        content = [{"type": "input_audio", "transcript": None}]
        item = {"id": item_id, "object": "realtime.item", "type": "message", "role": "user", "status": "completed"}
        events = [
            event_of("input_audio_buffer.committed", item_id=item_id, **after),
            event_of("conversation.item.added", item={**item, "content": content}, **after),
            event_of("conversation.item.done", item={**item, "content": content}, **after),
        ]
        if self.settings.audio.input.transcription is not None:
            usage = {"type": "duration", "seconds": round(ended.end_s - ended.start_s, 3)}
            completed = {"item_id": item_id, "content_index": 0, "transcript": found.text, "usage": usage}
            if LOGPROBS in (self.settings.include or ()):
                completed["logprobs"] = logprobs(found.words)
            events += [*self._delta(found.text), event_of(f"{TRANSCRIPTION}.completed", **completed)]
        self._next_item()
        self.last_item = item_id
        return events

    def _failed(self) -> Event:
        """The item is lost, and the session goes on with the next one."""
        error = FAILED.body()["error"]
        failed = event_of(f"{TRANSCRIPTION}.failed", item_id=self.item.id, content_index=0, error=error)
        self.is_stale = True
        self._next_item()
        return failed

    def _timed_out(self) -> list[Event]:
        """The events after a long silence, if the client asked for them."""
        detection = self.settings.audio.input.turn_detection
        wanted_ms = detection.idle_timeout_ms if isinstance(detection, ServerVad) else None
        now_s = self.before_s + self.listener.heard_s
        if wanted_ms is None or self.item.has_started or 1000 * (now_s - self.idle_since_s) < wanted_ms:
            return []
        span = {"audio_start_ms": round(1000 * self.idle_since_s), "audio_end_ms": round(1000 * now_s)}
        triggered = event_of("input_audio_buffer.timeout_triggered", item_id=self.item.id, **span)
        return [triggered, *self._committed(self.listener.finalize())]

    def _next_item(self) -> None:
        self.item = Item(new_id("item"))
        if self.is_stale:
            self._replace(self.listen(self.settings)[0])
        self.idle_since_s = self.before_s + self.listener.heard_s

    def _ms(self, time_s: float) -> int:
        """Milliseconds from the beginning of the session, of a time of the current listener."""
        return round(1000 * (self.before_s + time_s))


def event_of(type: str, **fields: Any) -> Event:
    return {"type": type, "event_id": new_id("event"), **fields}


def error_event(refused: Refused, event: dict[str, Any] | None = None) -> Event:
    """`event`: the client's, whose `event_id` the error repeats."""
    own = (event or {}).get("event_id")
    return event_of("error", error={**refused.event()["error"], "event_id": own if isinstance(own, str) else None})


def _sound(event: dict[str, Any]) -> bytes:
    audio = event.get("audio")
    try:
        sound = base64.b64decode(audio, validate=True) if isinstance(audio, str) else None
    except ValueError:
        sound = None
    if sound is None:
        raise Refused(400, "audio must be a string of base64", param="audio", code="invalid_value")
    if len(sound) > MOST_AUDIO_BYTES:
        raise Refused(413, f"audio has {len(sound)} bytes; one append takes {MOST_AUDIO_BYTES}", param="audio")
    return sound


def new_id(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(10)}"
