"""Manifests out of the log, and transcripts back into it."""

import json
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, select

from asr import manifest, remote
from asr.errors import InputError
from asr.files import atomic_write
from asr.flywheel.log import RequestLog, blocks
from asr.flywheel.request import REQUESTS, TEXTS, TRANSCRIPTS
from asr.flywheel.sounds import folder_of
from asr.manifest import Utterance
from asr.remote import is_remote


def export(log: RequestLog, which: ColumnElement[bool], path: Path, sounds: str | None = None) -> tuple[int, int]:
    """Writes requests with sound as a manifest, oldest first, with their transcripts as texts; `sounds` as in `write`.

    Returns the numbers of requests written, and of those without sound. Raises InputError if none has sound.
    """
    query = select(REQUESTS.c.id, REQUESTS.c.sound).where(which).order_by(REQUESTS.c.time_s, REQUESTS.c.id)
    rows = log.rows(query)
    if not rows:
        raise InputError(
            f"{log.folder} holds no such request; since, until, key, mode, part and transcribed choose among them, and "
            "the random slice (part=slice) has the share serve.log_slice of all"
        )
    heard = [row.id for row in rows if row.sound and log.sounds.path(row.sound).is_file()]
    if not heard:
        raise InputError(
            f"{log.folder} holds {len(rows)} such requests, none of them with sound; serve.log_sound=true logs it"
        )
    write(log, heard, path, sounds=sounds)
    return len(heard), len(rows) - len(heard)


def write(
    log: RequestLog,
    ids: Sequence[str],
    path: Path,
    extra: Mapping[str, Mapping[str, Any]] | None = None,
    sounds: str | None = None,
) -> None:
    """Writes requests as a manifest in the given order, with copies of their sounds in `sounds`, a folder or a URL, by
    default the folder of its name.

    `extra`: further fields by id. A request that was deleted meanwhile is left out. Raises InputError if that folder is
    in the log's, or has the name of the manifest.
    """
    folder = sounds or str(folder_of(path))
    if not is_remote(folder) and Path(folder).resolve().is_relative_to(log.folder.resolve()):
        raise InputError(f"{path}: its sounds would lie in {log.folder}, which the service tidies; write elsewhere")

    def utterances() -> Iterator[Utterance]:
        for block in blocks(ids):  # whose texts are in memory together
            joined = REQUESTS.outerjoin(TEXTS).outerjoin(TRANSCRIPTS, TRANSCRIPTS.c.id == REQUESTS.c.id)
            columns = (REQUESTS, TEXTS.c.text.label("answered"), TEXTS.c.words, TRANSCRIPTS.c.text.label("transcript"))
            rows = {
                row.id: row for row in log.rows(select(*columns).select_from(joined).where(REQUESTS.c.id.in_(block)))
            }
            for id in block:
                if id in rows and (sound := _copy(log, rows[id], folder)):
                    yield _utterance(rows[id], sound, (extra or {}).get(id, {}))

    manifest.write(path, utterances())


def _copy(log: RequestLog, row: Any, folder: str) -> str | None:
    copy = f"{folder.rstrip('/')}/{row.id}.flac"
    try:
        with open(log.sounds.path(row.sound or ""), "rb") as source:
            if is_remote(copy):
                remote.write(copy, source.read())
                return copy
            with atomic_write(copy, "wb") as file:
                shutil.copyfileobj(source, file)
    except (FileNotFoundError, IsADirectoryError):
        return None
    return copy


def _utterance(row: Any, sound: str, extra: Mapping[str, Any]) -> Utterance:
    fields = {
        "answered": row.answered,
        "mode": row.mode,
        "confidence": row.confidence and round(row.confidence, 4),
        "model": row.model,
        "in_slice": row.in_slice,
        "answered_at_s": round(row.time_s, 3),
        "words": [
            {"word": word["word"], **{name: round(word[name], 4) for name in ("start_s", "end_s", "confidence")}}
            for word in json.loads(row.words or "[]")
        ],
        **extra,
    }
    return Utterance(
        row.id, sound, duration_s=row.duration_s or None, text=row.transcript, lang=row.language,
        extra={name: value for name, value in fields.items() if value is not None},
    )  # fmt: skip


def take_back(
    log: RequestLog, utterances: Iterable[Utterance], now_s: float | None = None
) -> tuple[int, int, list[str], int]:
    """Keeps the texts of a manifest as transcripts of the requests with the same ids; later ones replace earlier ones.

    Returns the numbers of transcripts and of requests that somebody marked as unusable, the ids that the log does not
    have, and the number of other utterances without a text. "" is a transcript: nothing is said.
    """
    texts: dict[str, str] = {}
    unusable: list[str] = []
    untranscribed = 0
    for utterance in utterances:
        if utterance.text is not None:
            texts[utterance.id] = " ".join(utterance.text.split())
        elif utterance.extra.get("mark") == "unusable":
            unusable.append(utterance.id)
        else:
            untranscribed += 1
    at_s = time.time() if now_s is None else now_s
    unknown = log.transcribe(texts, at_s)
    strangers = log.mark_unusable(unusable, at_s)
    return len(texts) - len(unknown), len(unusable) - len(strangers), unknown + strangers, untranscribed
