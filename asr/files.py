"""Writing files: a reader sees the old file or the new one, never a part of either, and no input is overwritten."""

import bz2
import errno
import gzip
import hashlib
import lzma
import os
import shutil
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from asr.errors import InputError
from asr.fingerprints import part_of
from asr.locks import locked
from asr.streams import is_stream, stream_write

LONGEST_NAME = 230  # bytes; file systems allow 255, and a lock or a partial result has a longer name
_REMEDIES = {  # for errors that only the user can correct
    errno.ENOSPC: "make room there, or choose another place",
    errno.EDQUOT: "make room there, or choose another place",
    errno.EFBIG: "choose a place that allows larger files",
    errno.EACCES: "change the permissions, or choose another place",
    errno.EPERM: "change the permissions, or choose another place",
    errno.EROFS: "choose a place that can be written",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EISDIR: "it is a folder; name a file",
    errno.ENOTDIR: "a part of this path is a file; name a folder",
    errno.EEXIST: "it is not a folder; choose another place",
    errno.ELOOP: "its links form a circle; correct them",
}


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Makes a folder with those above it, unless it exists. Raises InputError where none can be made, as in /proc."""
    try:
        folder.mkdir(mode, parents=True, exist_ok=True)
    except FileNotFoundError as e:
        raise InputError(f"{folder}: no folder can be made there; choose another place") from e


@contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO]:
    """Opens a temporary file next to `path`. On success it is synced and renamed to `path`, on error it is removed.

    An OSError, such as that of a full disk, names `path`. A link is replaced, not followed. A pipe or a device gets
    the content at the end.
    """
    path = Path(path)
    try:
        if is_stream(path):
            with stream_write(path, mode) as file:
                yield file
            return
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        make_folder(path.parent)
        handle, name = _temporary(path)
        with os.fdopen(handle, mode, encoding=None if "b" in mode else "utf-8") as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                os.chmod(name, 0o666 & ~_umask())
                os.replace(name, path)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(name)
                raise
    except OSError as e:
        if e.filename is None or Path(os.fsdecode(e.filename)).name.endswith(".tmp"):
            e.filename, e.filename2 = str(path), None
        raise


def _temporary(path: Path) -> tuple[int, str]:
    """(descriptor, name) of the temporary file for `path`, always of one name, so that a process that was killed leaves
    at most one, which the next uses again. It is locked; while another process holds the lock, the name is random."""
    start = f".{path.name[:40]}."
    name = str(path.parent / f"{start}{hashlib.sha256(path.name.encode(errors='surrogateescape')).hexdigest()[:8]}.tmp")
    try:
        import fcntl

        handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except (ImportError, OSError):  # another system, or the file of another user
        return tempfile.mkstemp(dir=path.parent, prefix=start, suffix=".tmp")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.stat(name), os.fstat(handle)):  # not renamed by its holder in between
            os.ftruncate(handle, 0)
            return handle, name
    except OSError:
        pass
    os.close(handle)
    return tempfile.mkstemp(dir=path.parent, prefix=start, suffix=".tmp")


@contextmanager
def moved_into(folder: Path, stale: Iterable[str]) -> Iterator[Path]:
    """A temporary folder. On success its files move to `folder`, after files there that match the patterns `stale` have
    been deleted. On error `folder` stays as it was.

    Files that end in .bin are deleted first and moved last, so that an interrupted move leaves a folder that readers
    refuse; stats.json, which marks a folder as one of a graph, is moved first. Raises InputError if another process is
    writing the folder.
    """
    make_folder(folder)
    with locked(folder), ExitStack() as stack:
        for left in folder.glob(".building-*"):  # of a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        temporary = stack.enter_context(tempfile.TemporaryDirectory(dir=folder, prefix=".building-"))
        yield Path(temporary)
        files = sorted(Path(temporary).iterdir(), key=lambda file: (file.suffix == ".bin", file.name != "stats.json"))
        replaced = [folder / file.name for file in files if file.suffix == ".bin"]
        for old in [*replaced, *(path for pattern in stale for path in folder.glob(pattern))]:
            old.unlink(missing_ok=True)
        for file in files:
            file.replace(folder / file.name)


@contextmanager
def packed(file: IO[bytes], path: str | Path) -> Iterator[IO[bytes]]:
    """`file` itself, or a compressor that writes to it if `path` ends in .gz, .bz2, .xz or .zst. It stores no time
    stamp, so equal content gives equal files.
    """
    if str(path).endswith(".gz"):
        with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0) as out:
            yield out  # type: ignore[misc]
    elif str(path).endswith(".bz2"):
        with bz2.BZ2File(file, "wb") as out:
            yield out
    elif str(path).endswith(".xz"):
        with lzma.LZMAFile(file, "wb", preset=1) as out:
            yield out
    elif str(path).endswith(".zst"):
        try:
            import zstandard  # only needed here
        except ImportError:
            raise InputError(f"{path}: zstd needs `pip install zstandard`; or let the name end in .xz") from None
        with zstandard.ZstdCompressor(level=6).stream_writer(file, closefd=False) as out:
            yield out
    else:
        yield file


def keep_inputs(outputs: Iterable[str | Path], inputs: Iterable[str | Path | None]) -> None:
    """Raises InputError if an output is also an input, or two outputs are one file.

    Files are compared, not names: links, hard links and other spellings of a path are recognised. Call it before work.
    """
    read = {key: path for path in inputs if path is not None for key in _identities(path)}
    written: dict[object, str | Path] = {}
    for output in outputs:
        for key in _identities(output):
            if key in read:
                same = "" if str(output) == str(read[key]) else f" ({read[key]})"
                raise InputError(f"{output} is also an input{same}; write to another file")
            if written.setdefault(key, output) is not output:
                raise InputError(f"{output} and {written[key]} are one file, but two results; name two files")


def refuse_foreign(folder: Path, own: Sequence[str], writer: str) -> None:
    """Raises InputError if a folder that `writer` is about to use holds files that it does not write.

    `own`: patterns of the files that `writer` writes. Hidden files are passed over.
    """
    if not folder.is_dir():
        return
    foreign = sorted(p.name for p in folder.iterdir() if not p.name.startswith(".") and not any(map(p.match, own)))
    if foreign:
        names = f"{', '.join(foreign[:3])}{', ...' if len(foreign) > 3 else ''}"
        raise InputError(f"{folder} holds files that `{writer}` does not write ({names}); choose another folder")


def paths_in(folder: Path, ids: Sequence[str], suffix: str, way_out: str) -> dict[str, Path]:
    """id -> its file in `folder`. Ids that are paths keep their folders, but none leads out of `folder`.

    Raises InputError, with `way_out`, if a name is too long, if two are one file, also where case or Unicode's normal
    form is ignored, and if one would be a folder of the other.
    """
    paths = {id: _path_in(folder, id, suffix) for id in ids}
    taken: dict[str, str] = {}
    for id, path in paths.items():
        if long := next((part for part in path.parts if len(os.fsencode(part)) > LONGEST_NAME), None):
            size = len(os.fsencode(long))
            raise InputError(f"id '{id[:40]}...' gives a name of {size} bytes; shorten it, or else {way_out}")
        if (other := taken.setdefault(fold(str(path)), id)) != id:
            raise InputError(f"'{other}' and '{id}' would be written to one file in {folder}, if not here then where "
                             f"case is ignored; {way_out}")  # fmt: skip
    for id, path in paths.items():
        for name in (fold(str(parent)) for parent in path.parents):
            if name in taken:
                raise InputError(f"'{taken[name]}' would be written to a file, and '{id}' to a folder of that name in "
                                 f"{folder}; {way_out}")  # fmt: skip
    return paths


def _path_in(folder: Path, id: str, suffix: str) -> Path:
    parts = [part for part in id.split("/") if part not in ("", ".", "..")] or ["_"]
    parts[-1] += suffix
    return folder.joinpath(*parts)


def check_name(name: str) -> None:
    """Raises InputError for a file name that is not UTF-8, as manifests and results are."""
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        raise InputError(f"the file name {shown} is not UTF-8; rename the file, or whole folders with `convmv`")


def fold(name: str) -> str:
    """A name as a file system sees it that ignores case and Unicode's normal form: equal ones may be one file."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def explained(error: OSError, place: str | Path | None = None) -> InputError | None:
    """The sentence for an error of the file system that only the user can correct; None for any other error.

    `place` is named if the error names no file.
    """
    if error.errno not in _REMEDIES:
        return None
    named = error.filename if isinstance(error.filename, (str, bytes, Path)) else place
    where = os.fsdecode(named) if named is not None else "the standard output or a temporary file"
    return InputError(f"{os.strerror(error.errno)}: {where}; {_REMEDIES[error.errno]}")


def _identities(path: str | Path) -> Iterator[object]:
    """What makes two paths the same file: the resolved path, and the inode of a file that exists. A part of an archive,
    `x.ark:OFFSET`, is the archive."""
    real = os.path.realpath(part_of(str(path))[0])
    yield real
    with suppress(OSError, ValueError):
        stat = os.stat(real)
        if stat.st_ino:
            yield stat.st_dev, stat.st_ino


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
