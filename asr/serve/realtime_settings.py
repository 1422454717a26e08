"""The configuration of a realtime session: what `session.update` sets, checked, and the events that repeat it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from asr.serve.asked import FIRST_ONLY
from asr.serve.encodings import Decoder, open_decoder

LOGPROBS = "item.input_audio_transcription.logprobs"


class Part(BaseModel):
    """Unknown fields are ignored, as OpenAI does."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class Pcm(Part):
    type: Literal["audio/pcm"]
    rate: Literal[24000] = 24000


class Telephone(Part):
    type: Literal["audio/pcmu", "audio/pcma"]


class Transcription(Part):
    """`delay` has no effect: text is sent once it is stable."""

    model: str | None = None
    language: str | None = None
    languages: Annotated[list[str], FIRST_ONLY] | None = None
    prompt: str | None = None
    keywords: Annotated[list[str], FIRST_ONLY] | None = None
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None


class ServerVad(Part):
    type: Literal["server_vad"] = "server_vad"
    threshold: float = Field(default=0.5, ge=0, le=1)
    prefix_padding_ms: int = Field(default=300, ge=0, le=10_000)
    silence_duration_ms: int = Field(default=500, ge=20, le=60_000)
    idle_timeout_ms: int | None = Field(default=None, ge=1000, le=600_000)


class SemanticVad(Part):
    type: Literal["semantic_vad"]
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"


Format = Annotated[Pcm | Telephone, Field(discriminator="type")]
TurnDetection = Annotated[ServerVad | SemanticVad, Field(discriminator="type")]


class Input(Part):
    format: Format = Pcm(type="audio/pcm")
    noise_reduction: dict[str, Any] | None = None
    transcription: Transcription | None = Transcription()
    turn_detection: TurnDetection | None = ServerVad()


class Audio(Part):
    input: Input = Input()


class Settings(Part):
    """The `session` of a client's event. Fields that it does not set keep their values."""

    type: Literal["transcription"] = "transcription"
    audio: Audio = Audio()
    include: Annotated[list[Literal["item.input_audio_transcription.logprobs"]], FIRST_ONLY] | None = None

    def updated(self, update: "Settings") -> "Settings":
        given = {name: getattr(update.audio.input, name) for name in update.audio.input.model_fields_set}
        heard = self.audio.input.model_copy(update=given)
        include = update.include if "include" in update.model_fields_set else self.include
        return Settings(audio=Audio(input=heard), include=include)

    def without_keywords(self, unused: list[str]) -> "Settings":
        """The settings without keywords that the recogniser cannot use."""
        heard = self.audio.input
        if not unused or heard.transcription is None or heard.transcription.keywords is None:
            return self
        left = [keyword for keyword in heard.transcription.keywords if keyword not in unused]
        transcription = heard.transcription.model_copy(update={"keywords": left})
        return Settings(
            audio=Audio(input=heard.model_copy(update={"transcription": transcription})), include=self.include
        )

    def told(self, id: str) -> dict[str, Any]:
        """The effective session, as its events show it. Noise is never reduced, whatever the client asked for."""
        own = self.model_dump()
        own["audio"]["input"]["noise_reduction"] = None
        return {"id": id, "object": "realtime.transcription_session", **own}


class SessionUpdate(Part):
    session: Settings


def decoder_of(format: Pcm | Telephone) -> Decoder:
    encoding = {"audio/pcm": "pcm_s16le", "audio/pcmu": "mulaw", "audio/pcma": "alaw"}[format.type]
    return open_decoder(encoding, format.rate if isinstance(format, Pcm) else None)
