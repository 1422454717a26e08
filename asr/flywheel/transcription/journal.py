"""The journal of a transcription: one line of JSON per save, appended and synced before it is acknowledged.

    {"id": "asr-1f", "by": "anna", "state": "done", "text": "turn on", "mark": null, "spent_s": 12.5, "time_s": 1.77e9}

Lines are never changed. A process or machine that stops within a line loses that line alone: nobody was told that it
was saved. Later lines of the same recording and transcriber take the place of earlier ones.
"""

import json
import os
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from asr.errors import InputError
from asr.literals import parse_json

OF_SETTLING = ("settling", "settled")  # what two transcribers disagreed in: a draft of a decision, and the decision
STATES = ("draft", "done", *OF_SETTLING)
UNUSABLE = "unusable"
MARKS = (UNUSABLE, "noise", "not speech")  # of the last two, the text is "": nothing is said
SUFFIX = ".transcripts.jsonl"
START = b'{"id": "'  # of each line


@dataclass(frozen=True)
class Save:
    """`text`: as it was typed in a draft, in normal form otherwise. `spent_s`: seconds of work on the recording so far,
    without breaks."""

    id: str
    by: str
    state: str
    text: str
    mark: str | None
    spent_s: float
    time_s: float = field(default_factory=time.time)

    @property
    def is_draft(self) -> bool:
        return self.state in ("draft", "settling")

    @property
    def said(self) -> tuple[str, str | None]:
        """What two transcribers must share to agree."""
        return ("" if self.mark else self.text, self.mark)


@dataclass
class Entry:
    """What one transcriber made of a recording. `draft`: typed after `done`."""

    done: Save | None = None
    draft: Save | None = None

    def take(self, save: Save) -> None:
        self.done, self.draft = (self.done, save) if save.is_draft else (save, None)


def journal_of(manifest: Path) -> Path:
    return manifest.with_name(manifest.name.removesuffix(".jsonl") + SUFFIX)


class Journal:
    """`entries`: by recording and transcriber. `settled`: by recording; `settling`: drafts of that, by recording and
    transcriber. `damaged`: numbers of lines that are no save.

    Raises InputError if the file has another content. `add` may be called by several threads.
    """

    def __init__(self, path: Path):
        self.path, self._lock = path, threading.Lock()
        self.entries: defaultdict[str, dict[str, Entry]] = defaultdict(dict)
        self.settled: dict[str, Save] = {}
        self.settling: defaultdict[str, dict[str, Save]] = defaultdict(dict)
        self.damaged: list[int] = []
        self._ends_within_line = False
        if path.exists():
            self._read()

    def _read(self) -> None:
        content = self.path.read_bytes()
        self._ends_within_line = content != b"" and not content.endswith(b"\n")
        for number, line in enumerate(content.split(b"\n"), 1):
            if line:
                try:
                    self._take(_parsed(line))
                except ValueError:
                    self.damaged.append(number)
        if content and not content.startswith(START[: len(content)]):
            raise InputError(f"{self.path} is no journal of `asr flywheel transcribe`; move the file away")

    def add(self, save: Save) -> None:
        """Raises OSError if the line could not be written; nothing is taken then, and `add` may be repeated."""
        line = json.dumps(asdict(save), ensure_ascii=False).encode() + b"\n"
        with self._lock:
            start = b"\n" if self._ends_within_line else b""
            handle = os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
            try:
                with open(handle, "wb", buffering=0) as file:
                    self._ends_within_line = True
                    _write(file, start + line)
                    os.fsync(handle)
            except OSError as e:
                e.filename = str(self.path)
                raise
            self._ends_within_line = False
            self._take(save)

    def _take(self, save: Save) -> None:
        if save.state == "settled":
            self.settled[save.id] = save
            self.settling.pop(save.id, None)
        elif save.state == "settling":
            self.settling[save.id][save.by] = save
        else:
            self.entries[save.id].setdefault(save.by, Entry()).take(save)

    def done(self, id: str) -> dict[str, Save]:
        """The transcripts of a recording by transcriber, in the order of their names."""
        entries: Mapping[str, Entry] = self.entries.get(id, {})
        return {by: entry.done for by, entry in sorted(entries.items()) if entry.done}

    def differ(self, id: str) -> bool:
        """Whether transcribers differ in a recording."""
        return len({save.said for save in self.done(id).values()}) > 1

    def disagreed(self, id: str) -> bool:
        """Whether they differ in one that nobody has settled."""
        return id not in self.settled and self.differ(id)

    def outcome(self, id: str) -> Save | None:
        """The transcript that stands: the settled one, or the one that all transcribers share."""
        if self.disagreed(id):
            return None
        return self.settled.get(id) or next(iter(self.done(id).values()), None)


def _write(file: Any, data: bytes) -> None:
    """All of the data: a write to a disk that is nearly full may take a part of it."""
    while data:
        data = data[file.write(data) :]


def _parsed(line: bytes) -> Save:
    """Raises ValueError for anything else than a save."""
    found = parse_json(line.decode())
    try:
        save = Save(**found)
    except TypeError as e:
        raise ValueError(str(e)) from None
    texts = (save.id, save.by, save.text)
    numbers = (save.spent_s, save.time_s)
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(x, (int, float)) for x in numbers):
        raise ValueError("a field has another type")
    if save.state not in STATES or save.mark not in (None, *MARKS):
        raise ValueError("the state or the mark is unknown")
    return save
