"""A request as it is logged, and the tables that hold it.

Numbers and texts have tables of their own, so that a report over a million requests reads the numbers only.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np
from sqlalchemy import Boolean, Column, Float, ForeignKey, Integer, MetaData, Table, Text, select

from asr.flywheel.levels import snr_db
from asr.hypothesis import Hypothesis

WORD = "word"  # the mode whose requests bring a list or grammar: what is said there is not free speech
TABLES = MetaData()
REQUESTS = Table(
    "asr_log",
    TABLES,
    Column("id", Text, primary_key=True),
    Column("time_s", Float(53), nullable=False, index=True),  # seconds since 1970
    Column("day", Text, nullable=False, index=True),  # of UTC, as 2026-03-01
    Column("key_id", Text, nullable=False),  # "" where no keys are required
    Column("key_name", Text, nullable=False, index=True),
    Column("mode", Text, nullable=False),
    Column("language", Text),  # None: unknown
    Column("model", Text, nullable=False),  # name@digest of the recogniser's files
    Column("toolkit", Text, nullable=False),  # version
    Column("num_words", Integer, nullable=False),
    Column("confidence", Float(53)),  # mean of the words; None: there are none
    Column("doubt", Float(53), nullable=False),  # expected errors by the confidences: the sum of 1 - confidence
    Column("rejected", Boolean, nullable=False),  # no word was found, or none accepted
    Column("oov", Integer, nullable=False),  # words and phrases that the request brought and the recogniser lacks
    Column("duration_s", Float(53), nullable=False),
    Column("level_db", Float(53), nullable=False),  # mean, in dB relative to full scale
    Column("snr_db", Float(53)),  # None: without sound
    Column("latency_s", Float(53), nullable=False),  # waiting included; of a stream, the work alone
    Column("in_slice", Boolean, nullable=False),  # the uniformly random slice, kept apart for measurement
    Column("slice_rate", Float(53), nullable=False),  # the share that the slice had then
    Column("draw", Float(53), nullable=False),  # uniform, of the id alone: the order in which requests are drawn
    Column("sound", Text),  # path in the folder of the log; None: not kept, or deleted
    Column("sound_bytes", Integer, nullable=False),
)
TEXTS = Table(
    "asr_log_texts",
    TABLES,
    Column("id", ForeignKey(REQUESTS.c.id, ondelete="CASCADE"), primary_key=True),
    Column("text", Text, nullable=False),
    Column("words", Text, nullable=False),  # JSON, as in hyp.jsonl
)
TRANSCRIPTS = Table(
    "asr_log_transcripts",
    TABLES,
    Column("id", ForeignKey(REQUESTS.c.id, ondelete="CASCADE"), primary_key=True),
    Column("text", Text, nullable=False),  # "": nothing is said
    Column("time_s", Float(53), nullable=False),
)
UNUSABLE = Table(  # requests that nobody can transcribe: they have no transcript, and need none
    "asr_log_unusable",
    TABLES,
    Column("id", ForeignKey(REQUESTS.c.id, ondelete="CASCADE"), primary_key=True),
    Column("time_s", Float(53), nullable=False),
)
SCHEMA = 1  # changes when an earlier toolkit could no longer read or write these tables
SCHEMAS = Table(  # one row; a database of before there were versions has none
    "asr_log_schema",
    TABLES,
    Column("number", Integer, primary_key=True),
    Column("version", Integer, nullable=False),
)
SHADOWS = Table(  # what a candidate heard, which answered nothing
    "asr_log_shadows",
    TABLES,
    Column("id", ForeignKey(REQUESTS.c.id, ondelete="CASCADE"), primary_key=True),
    Column("model", Text, nullable=False),  # as that of the request
    Column("text", Text, nullable=False),
    Column("confidence", Float(53)),  # mean of the words; None: there are none
    Column("latency_s", Float(53), nullable=False),
)
MARKS = Table(  # one row, which names the log in the database and in its folder
    "asr_log_mark",
    TABLES,
    Column("number", Integer, primary_key=True),
    Column("mark", Text, nullable=False),
)
FOUND_UNUSABLE = REQUESTS.c.id.in_(select(UNUSABLE.c.id))  # by somebody who found them unusable
TRANSCRIBED = REQUESTS.c.id.in_(select(TRANSCRIPTS.c.id))  # the requests that have a transcript


@dataclass(frozen=True)
class Heard:
    """One answered request. `ignored`: words and phrases that it brought and the recogniser lacks."""

    id: str
    time_s: float
    key_id: str
    key_name: str
    mode: str
    language: str | None
    model: str
    toolkit: str
    hypothesis: Hypothesis
    ignored: tuple[str, ...]
    level_db: float
    latency_s: float
    samples: np.ndarray | None  # (T,) float32; None: not kept
    sample_rate_hz: int


@dataclass(frozen=True)
class Shadowed:
    """What a candidate heard in a request that another recogniser answered."""

    id: str
    model: str
    hypothesis: Hypothesis
    latency_s: float
    samples: None = None  # they are the request's


def is_in_slice(id: str, rate: float) -> bool:
    """Whether a request belongs to the random slice: its id's hash decides, so that every process agrees, and a larger
    rate keeps all that a smaller one drew."""
    return share_of(id) < rate


def share_of(id: str, salt: str = "") -> float:
    """A uniform number in [0, 1) that the id alone decides."""
    return int.from_bytes(hashlib.sha256(f"{salt}{id}".encode()).digest()[:8], "big") / 2**64


def day_of(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, timezone.utc).strftime("%Y-%m-%d")


def rows_of(heard: Heard, slice_rate: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """The rows of REQUESTS, whose sound is not kept yet, and of TEXTS."""
    words = heard.hypothesis.words
    row = {
        "id": heard.id,
        "time_s": heard.time_s,
        "day": day_of(heard.time_s),
        "key_id": heard.key_id,
        "key_name": heard.key_name,
        "mode": heard.mode,
        "language": heard.language,
        "model": heard.model,
        "toolkit": heard.toolkit,
        "num_words": len(words),
        "confidence": heard.hypothesis.confidence,
        "doubt": sum(1 - word.confidence for word in words),
        "rejected": not any(word.accepted for word in words),
        "oov": len(heard.ignored),
        "duration_s": heard.hypothesis.duration_s,
        "level_db": heard.level_db,
        "snr_db": snr_db(heard.samples, heard.sample_rate_hz) if heard.samples is not None else None,
        "latency_s": heard.latency_s,
        "in_slice": is_in_slice(heard.id, slice_rate),
        "slice_rate": slice_rate,
        "draw": share_of(heard.id, "draw"),
        "sound": None,
        "sound_bytes": 0,
    }
    kept = json.dumps([asdict(word) for word in words], ensure_ascii=False)
    return row, {"id": heard.id, "text": heard.hypothesis.text, "words": kept}
