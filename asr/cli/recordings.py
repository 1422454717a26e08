"""The recordings that a command line names: files, folders, lists and manifests."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from asr import manifest
from asr.errors import InputError
from asr.filekinds import SOUND
from asr.files import fold
from asr.manifest import Utterance
from asr.remote import is_remote
from asr.textfiles import lines

FEATURES = (".npy", ".mfc")


@dataclass(frozen=True)
class Recording:
    id: str  # unique
    source: Path | Utterance
    name: str  # the name in messages: its path, or its id in a manifest


@dataclass(frozen=True)
class _Found:
    source: Path | Utterance
    name: str
    ids: tuple[str, ...]  # the shortest first


def find_recordings(words: Sequence[str], has_stored_features: bool = False) -> list[Recording]:
    """The recordings of files, URLs, folders (searched with their sub-folders), lists (*.txt) and manifests (*.jsonl).

    A file that is named twice counts once. Ids: those of a manifest; for a file, its name without folder and suffix;
    for a file in a folder, its path from there without suffix. If two are equal, more of the path is kept; ids
    differ in more than case or Unicode's normal form if the paths do. Missing files are detected when they are opened.
    Raises InputError for a folder, list or manifest without recordings, for lines that cannot be read, and for equal
    ids of two manifests.
    """
    found: dict[object, _Found] = {}
    for word in words:
        for item in _expand(word, FEATURES if has_stored_features else SOUND):
            key = os.path.realpath(item.source) if isinstance(item.source, Path) else (word, item.name)
            found.setdefault(key, item)
    times = Counter(id for item in found.values() for id in set(item.ids))
    folded = Counter(id for item in found.values() for id in set(map(fold, item.ids)))
    recordings = []
    for item in found.values():
        differing = (id for id in item.ids if folded[fold(id)] == 1)
        id = next(differing, next((id for id in item.ids if times[id] == 1), None))
        if id is None:
            raise InputError(f"two recordings have the id '{item.ids[0]}' ({item.name}); transcribe them separately")
        recordings.append(Recording(id, item.source, item.name))
    return recordings


def _expand(word: str, suffixes: Sequence[str]) -> Iterator[_Found]:
    path = Path(word)
    if is_remote(word):
        if word.endswith(("/", ".jsonl", ".txt")):
            raise InputError(f"{word} is not a recording; copy manifests and lists here, and name the files in them")
        yield _object(word)
    elif path.is_dir():
        yield from _in_folder(path, suffixes)
    elif path.suffix == ".jsonl":
        yield from (_Found(u, u.id, (u.id,)) for u in manifest.read(path))
    elif path.suffix == ".txt":
        names = [*_listed(path)]
        if not any(is_remote(name) or os.path.exists(path.parent / name) for name in names):
            raise InputError(f"{path} is read as a list of sound files, and none of them exists, such as "
                             f"'{names[0]:.100}'; write one path per line, relative to the list")  # fmt: skip
        yield from (_object(name) if is_remote(name) else _file(path.parent / name) for name in names)
    else:
        yield _file(path)


def _file(path: Path) -> _Found:
    return _Found(path, str(path), (path.stem, path.with_suffix("").as_posix(), path.as_posix()))


def _object(url: str) -> _Found:
    """The object of a URL. `Path` would change the URL."""
    place = PurePosixPath(url.partition("://")[2])
    return _Found(Utterance(place.stem, url), url, (place.stem, place.with_suffix("").as_posix(), url))


def _in_folder(folder: Path, suffixes: Sequence[str]) -> Iterator[_Found]:
    """In alphabetical order; hidden files and folders are left out, links to folders are not followed."""

    def refuse(error: OSError) -> None:
        raise InputError(f"cannot read the folder {error.filename}: {error.strerror}; change its permissions")

    found = 0
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(parent, name)
            if path.suffix.lower() in suffixes and not name.startswith("."):
                found += 1
                inside = path.relative_to(folder).with_suffix("")
                ids = (inside.as_posix(), (folder.name / inside).as_posix(), path.as_posix())
                yield _Found(path, str(path), ids)
    if not found:
        raise InputError(f"the folder {folder} holds no files that end in {', '.join(suffixes)}; check the path")


def _listed(path: Path) -> Iterator[str]:
    """One path or URL per line, paths relative to the folder of the list."""
    found = 0
    for _, line in lines(path, "list", "one sound file per line"):
        if name := line.strip():
            found += 1
            yield name
    if not found:
        raise InputError(f"the list {path} is empty; list one sound file per line")
