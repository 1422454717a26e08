"""Where `asr transcribe` writes: the terminal, one file, or a folder with one file per recording."""

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from asr.cli.recordings import Recording
from asr.config import Config
from asr.errors import InputError
from asr.files import atomic_write
from asr.hypothesis import Hypothesis
from asr.recognizer.formats import OF_MANY, SUFFIXES, render


class Folder:
    """`ID.SUFFIX` per recording, written as soon as it is recognised. Existing files are not written again."""

    def __init__(self, path: Path, format: str, recordings: Sequence[Recording]):
        self.path, self.format = path, format
        if path.exists() and not path.is_dir():
            raise InputError(f"output={path} is a file, not a folder; name another folder")
        self.paths = {recording.id: self._path(recording.id) for recording in recordings}
        if len(set(self.paths.values())) < len(recordings):
            raise InputError(f"two recordings would be written to one file in {path}; transcribe them separately")

    def _path(self, id: str) -> Path:
        parts = [part for part in id.split("/") if part not in ("", ".", "..")] or ["_"]
        parts[-1] += SUFFIXES[self.format]
        return self.path.joinpath(*parts)

    @property
    def targets(self) -> list[Path]:
        return list(self.paths.values())

    def has(self, recording: Recording) -> bool:
        return self.paths[recording.id].exists()

    def add(self, recording: Recording, hypothesis: Hypothesis) -> None:
        with atomic_write(self.paths[recording.id]) as file:
            file.write(render([hypothesis], self.format))

    def finish(self) -> None:
        pass


class File:
    """All recordings in one file, in their order, written whole at the end.

    Until then results are kept in `PATH.partial`, from which the same command continues after an interruption. Its
    first line is a fingerprint of the model and the options, and each result has the stamp of its recording; results
    of other models, options or recordings are not taken. Without a path the result is printed.
    """

    def __init__(self, path: Path | None, format: str, recordings: Sequence[Recording], fingerprint: str):
        if len(recordings) > 1 and format not in OF_MANY:
            raise InputError(
                f"format={format} holds one recording, not {len(recordings)}; set output=FOLDER/ for one file each"
            )
        self.path, self.format, self.recordings, self.fingerprint = path, format, recordings, fingerprint
        self.found: dict[str, Hypothesis] = {}
        self.stamps = {recording.id: _stamp(recording) for recording in recordings}
        self.partial = path and path.with_name(path.name + ".partial")
        if self.partial and self.partial.exists():
            self._resume(self.partial)

    def _resume(self, partial: Path) -> None:
        with open(partial, encoding="utf-8", errors="replace") as file:
            if file.readline().rstrip("\n") != self.fingerprint:
                partial.unlink()
                return
            for line in file:
                try:
                    kept = json.loads(line)
                    hypothesis = Hypothesis.from_dict(kept)
                except (ValueError, KeyError, TypeError):  # the line at which it was interrupted
                    break
                if kept.get("stamp") == self.stamps.get(hypothesis.id):
                    self.found[hypothesis.id] = hypothesis
        with atomic_write(partial) as file:
            file.write(self.fingerprint + "\n")
            file.writelines(map(self._line, self.found.values()))

    def _line(self, hypothesis: Hypothesis) -> str:
        return json.dumps(hypothesis.as_dict() | {"stamp": self.stamps[hypothesis.id]}, ensure_ascii=False) + "\n"

    @property
    def targets(self) -> list[Path]:
        return [self.path] if self.path else []

    def has(self, recording: Recording) -> bool:
        return recording.id in self.found

    def add(self, recording: Recording, hypothesis: Hypothesis) -> None:
        self.found[recording.id] = hypothesis
        if self.partial:
            is_new = not self.partial.exists()
            self.partial.parent.mkdir(parents=True, exist_ok=True)
            with open(self.partial, "a", encoding="utf-8") as file:
                if is_new:
                    file.write(self.fingerprint + "\n")
                file.write(self._line(hypothesis))

    def finish(self) -> None:
        ordered = [self.found[recording.id] for recording in self.recordings if recording.id in self.found]
        if not ordered:
            return
        text = render(ordered, self.format)
        if self.path is None:
            print(text, end="")
            return
        with atomic_write(self.path) as file:
            file.write(text)
        if self.partial:
            self.partial.unlink(missing_ok=True)


class Terminal:
    """Shows each recording as soon as it and those before it are done."""

    def __init__(self, recordings: Sequence[Recording], show: Callable[[str], object]):
        self.waiting, self.show = deque(recordings), show
        self.done: dict[str, Hypothesis | None] = {}

    def add(self, recording: Recording, hypothesis: Hypothesis | None) -> None:
        self.done[recording.id] = hypothesis
        while self.waiting and self.waiting[0].id in self.done:
            first = self.waiting.popleft()
            if found := self.done.pop(first.id):
                self.show(described(first.name, found))


def described(name: str, hypothesis: Hypothesis) -> str:
    """The text, the words with their times (s) and confidences, and the alternatives."""
    lines = [f"{name}: {hypothesis.text}"]
    for word in hypothesis.words:
        rejected = "" if word.accepted else "  (rejected)"
        lines.append(f"  {word.start_s:8.2f} {word.end_s:8.2f} s  {word.confidence:4.2f}  {word.word}{rejected}")
    lines += [f"  or, at {other.cost - hypothesis.cost:.2f} more: {other.text}" for other in hypothesis.alternatives]
    return "\n".join(lines)


def open_output(cfg: Config, recordings: Sequence[Recording]) -> File | Folder | None:
    """The destination that `output` and `format` select; None for the terminal alone.

    `output` is a folder if it is one, ends in a slash or has no ending. Raises InputError for a format that does not
    fit, and if an input would be overwritten.
    """
    if cfg.output is None and cfg.format == "auto":
        return None
    path = None if cfg.output is None else Path(cfg.output)
    opened: File | Folder
    if path is not None and (str(cfg.output).endswith("/") or path.is_dir() or not path.suffix):
        opened = Folder(path, "json" if cfg.format == "auto" else cfg.format, recordings)
    else:
        opened = File(path, _format(cfg, path), recordings, _fingerprint(cfg))
    read = [*cfg.input, *_files(cfg), *(_path(recording) for recording in recordings)]
    inputs = {os.path.realpath(path) for path in read}
    if overwritten := next((target for target in opened.targets if os.path.realpath(target) in inputs), None):
        raise InputError(f"output={cfg.output} would overwrite the input {overwritten}; choose another place")
    return opened


def _path(recording: Recording) -> str:
    source = recording.source
    return str(source if isinstance(source, Path) else source.audio or source.features)


def _files(cfg: Config) -> list[str]:
    """The files besides recordings that the result depends on."""
    files = [cfg.bundle, cfg.phrases, cfg.new_words, cfg.graph.words, cfg.graph.grammar, cfg.g2p.model]
    return [file for file in files if file and os.path.exists(file)]


def _stamp(recording: Recording) -> str:
    """Differs if the file, its content or the segment differs."""
    path, source = _path(recording), recording.source
    segment = None if isinstance(source, Path) else (source.start_s, source.duration_s, source.channel)
    try:
        stat = os.stat(path)
    except OSError:  # an offset into an archive, or a missing file, which opening it reports
        return f"{path} {segment}"
    return f"{os.path.realpath(path)} {stat.st_size} {stat.st_mtime_ns} {segment}"


def _format(cfg: Config, path: Path | None) -> str:
    if cfg.format != "auto" or path is None:
        return cfg.format
    format = next((name for name, suffix in SUFFIXES.items() if path.suffix.lower() == suffix.lower()), None)
    if format is None:
        raise InputError(f"output={path}: no format ends in {path.suffix}; set format=, or end a folder with /")
    return format


def _fingerprint(cfg: Config) -> str:
    """A line that changes with the model, the options and the files that they name."""
    options = [asdict(cfg.decoder), cfg.graph.kind, cfg.g2p.model, cfg.boost, cfg.data.max_audio_s, cfg.data.channel]
    stats = [os.stat(file) for file in _files(cfg)]
    text = json.dumps([options, [(stat.st_size, stat.st_mtime_ns) for stat in stats]], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
