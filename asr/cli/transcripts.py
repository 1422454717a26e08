"""Where `asr transcribe` writes: the terminal, one file, or a folder with one file per recording, also in a store."""

import hashlib
import json
import math
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path, PurePosixPath

from asr import remote
from asr.cli.partial import Partial, PartialObjects, partial_of, write
from asr.cli.recordings import Recording
from asr.config import Config
from asr.errors import InputError
from asr.files import keep_inputs, paths_in
from asr.fingerprints import digest, digest_of_input
from asr.hypothesis import Hypothesis
from asr.literals import parse_json
from asr.locks import locked
from asr.recognizer.formats import OF_MANY, SUFFIXES, render
from asr.remote import is_remote

_GRAPH = ("graph.bin", "words.txt", "tree.bin", "lm.ngram", "stats.json")


class Folder:
    """`ID.SUFFIX` per recording, written as soon as it is recognised. Existing files are not written again."""

    def __init__(self, path: Path, format: str, recordings: Sequence[Recording]):
        self.format = format
        if path.exists() and not path.is_dir():
            raise InputError(f"output={path} is a file, not a folder; name another folder")
        ids = [recording.id for recording in recordings]
        self.paths: Mapping[str, Path | str] = paths_in(
            path, ids, SUFFIXES[format], "transcribe them separately, or set output=FILE.jsonl"
        )

    @property
    def targets(self) -> list[Path | str]:
        return list(self.paths.values())

    def has(self, recording: Recording) -> bool:
        return os.path.exists(self.paths[recording.id])

    def is_outdated(self, recording: Recording, model: str) -> bool:
        """Whether an existing file is older than its recording or the model."""
        written_s = self.written_s(recording)
        sources = [file for file in (_path(recording), *_contents(model)) if os.path.exists(file)]
        return any(os.path.getmtime(file) > written_s for file in sources)

    def written_s(self, recording: Recording) -> float:
        """When its existing file was written, in seconds since 1970."""
        return os.path.getmtime(self.paths[recording.id])

    def add(self, recording: Recording, hypothesis: Hypothesis) -> None:
        write(self.paths[recording.id], render([hypothesis], self.format))

    def finish(self) -> None:
        pass


class ObjectFolder(Folder):
    """The same in a store: an object per recording."""

    def __init__(self, url: str, format: str, recordings: Sequence[Recording]):
        self.format, url = format, url.rstrip("/") + "/"
        place = Path(url.partition("://")[2])
        named = paths_in(place, [r.id for r in recordings], SUFFIXES[format], "transcribe them separately")
        self.paths = {id: url + path.relative_to(place).as_posix() for id, path in named.items()}
        self.written = remote.listed(url)

    def has(self, recording: Recording) -> bool:
        return self.paths[recording.id] in self.written

    def written_s(self, recording: Recording) -> float:
        return self.written[str(self.paths[recording.id])] or math.inf  # nothing is newer than an unknown time


class File:
    """All recordings in one file, in their order, written whole at the end.

    Until then results are kept in `PATH.partial`, from which the same command continues after an interruption. Its
    first line is a fingerprint of the model and the options, and each result has the stamp of its recording; results
    of other models, options or recordings are not taken. Without a path the result is printed. `path` may be a URL.
    """

    def __init__(self, path: Path | str | None, format: str, recordings: Sequence[Recording], fingerprint: str):
        if len(recordings) > 1 and format not in OF_MANY:
            raise InputError(
                f"format={format} holds one recording, not {len(recordings)}; set output=FOLDER/ for one file each"
            )
        self.path, self.format, self.recordings, self.fingerprint = path, format, recordings, fingerprint
        self.found: dict[str, Hypothesis] = {}
        self.stamps = {recording.id: _stamp(recording) for recording in recordings}
        self.partial = partial_of(path) if path else None
        if self.partial:
            self._resume(self.partial)

    def _resume(self, partial: "Partial | PartialObjects") -> None:
        lines = partial.lines()
        if next(lines, None) == self.fingerprint:
            for line in lines:
                try:
                    kept = parse_json(line)
                    hypothesis = Hypothesis.from_dict(kept)
                except (ValueError, KeyError, TypeError):  # the line at which it was interrupted
                    break
                if kept.get("stamp") == self.stamps.get(hypothesis.id):
                    self.found[hypothesis.id] = hypothesis
        partial.begin([self.fingerprint, *map(self._line, self.found.values())])

    def _line(self, hypothesis: Hypothesis) -> str:
        return json.dumps(hypothesis.as_dict() | {"stamp": self.stamps[hypothesis.id]}, ensure_ascii=False)

    @property
    def targets(self) -> list[Path | str]:
        return [self.path] if self.path else []

    def has(self, recording: Recording) -> bool:
        return recording.id in self.found

    def add(self, recording: Recording, hypothesis: Hypothesis) -> None:
        self.found[recording.id] = hypothesis
        if self.partial:
            self.partial.append(self._line(hypothesis))

    def finish(self) -> None:
        ordered = [self.found[recording.id] for recording in self.recordings if recording.id in self.found]
        text = render(ordered, self.format) if ordered else ""
        if self.path is None:
            print(text, end="")
        elif ordered:
            write(self.path, text)
        if self.partial:
            self.partial.remove()


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

    `output` is a folder if it is one, ends in a slash or has no ending; it may be a URL. Raises InputError for a format
    that does not fit, and if an input would be overwritten.
    """
    if cfg.output is None and cfg.format == "auto":
        return None
    path: Path | str | None = file_of(cfg)
    opened: File | Folder
    if cfg.output is not None and is_remote(cfg.output) and PurePosixPath(cfg.output).suffix and cfg.output[-1] != "/":
        path = cfg.output
    if cfg.output is not None and path is None:
        format = "json" if cfg.format == "auto" else cfg.format
        if is_remote(cfg.output):
            opened = ObjectFolder(cfg.output, format, recordings)
        else:
            opened = Folder(Path(cfg.output), format, recordings)
    else:
        opened = File(path, _format(cfg, path), recordings, fingerprint(cfg))
    read = [*cfg.input, *_files(cfg), *(_path(recording) for recording in recordings)]
    keep_inputs(opened.targets, read)
    return opened


def file_of(cfg: Config) -> Path | None:
    """The one file that `output` names; None if it names a folder, an object, or nothing."""
    if cfg.output and is_remote(cfg.output):
        return None
    path = Path(cfg.output or "/")
    is_folder = str(cfg.output).endswith("/") or path.is_dir() or not path.suffix
    return None if is_folder else path


def lock(cfg: Config) -> AbstractContextManager[None]:
    """Keeps other processes from the file that `output` names. They may share a folder, whose files are whole."""
    path = file_of(cfg)
    return locked(path.parent, path.name) if path else nullcontext()


def _path(recording: Recording) -> str:
    source = recording.source
    return str(source if isinstance(source, Path) else source.audio or source.features)


def _files(cfg: Config) -> list[str]:
    """The files besides recordings that the result depends on."""
    files = [cfg.bundle, cfg.phrases, cfg.new_words, cfg.fill_slots, cfg.graph.words, cfg.graph.grammar, cfg.g2p.model,
             cfg.decoder.rescore]  # fmt: skip
    return [file for file in files if file and os.path.exists(file)]


def _contents(name: str) -> list[str]:
    """A file, or the files of a run folder that is used as a bundle, or of a language model of transformers."""
    if not os.path.isdir(name):
        return [name]
    if not os.path.isdir(os.path.join(name, "train")):
        return sorted(entry.path for entry in os.scandir(name) if entry.is_file())
    net = (
        "train/imported.asr" if os.path.exists(os.path.join(name, "train/imported.asr")) else "train/final.safetensors"
    )
    parts = (net, "train/tokens.txt", "train/config.json", *(f"graph/{file}" for file in _GRAPH))
    return [os.path.join(name, part) for part in parts]


def _stamp(recording: Recording) -> str:
    """Differs if the content of the file or the segment differs."""
    source = recording.source
    segment = None if isinstance(source, Path) else {k: v for k, v in vars(source).items() if k != "text"}
    return f"{digest_of_input(_path(recording))} {segment}"


def _format(cfg: Config, path: Path | str | None) -> str:
    if cfg.format != "auto" or path is None:
        return cfg.format
    ending = PurePosixPath(path).suffix
    format = next((name for name, suffix in SUFFIXES.items() if ending.lower() == suffix.lower()), None)
    if format is None:
        raise InputError(f"output={path}: no format ends in {ending}; set format=, or end a folder with /")
    return format


def fingerprint(cfg: Config) -> str:
    """A line that changes with the model, the options and the files that they name."""
    options = [asdict(cfg.decoder), cfg.graph.kind, cfg.g2p.model, cfg.boost, cfg.boost_per_word, cfg.data.max_audio_s,
               cfg.data.channel, cfg.written, cfg.punctuate, cfg.spoken_language]  # fmt: skip
    files = [file for name in _files(cfg) for file in _contents(name)]
    text = json.dumps([options, [digest(file) for file in files]], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
