"""Objects of stores: recordings as `s3://bucket/a.flac`, results, and what else fsspec opens (https://filesystem-spec.readthedocs.io).

Only the protocols in `PROTOCOLS` are taken, so that a manifest from outside cannot name others of fsspec's.
"""

import errno
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import IO, Any, cast

from asr.errors import InputError, needed

_CHECK = "check the bucket, the network and the credentials"
PROTOCOLS = ("s3", "gs", "az", "abfs", "memory")

_URL = re.compile(rf"(?:{'|'.join(PROTOCOLS)})://(?!/*$)(?![^/]*::).*", re.DOTALL)


def is_remote(path: str) -> bool:
    """Whether `path` is a URL of an object store."""
    return _URL.fullmatch(path) is not None


class _Object:
    """An open object. It seems to end where its store fails, as libsndfile takes it anyway; `error` tells the cause."""

    def __init__(self, url: str, file: IO[bytes]):
        self.url, self.file = url, file
        self.error: InputError | None = None
        self.seekable, self.seek, self.tell = file.seekable, file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        try:
            return b"" if self.error else self.file.read(size)
        except Exception as e:  # of any library of any store
            self.error = _explained(self.url, e)
            return b""


@contextmanager
def open_remote(url: str) -> Iterator[IO[bytes]]:
    """The object as a seekable file, which reads the parts that are asked for.

    Raises InputError if it does not exist or cannot be reached, also at the end if it could not be read, and if a
    package for its protocol is missing.
    """
    file_system, path = _found(url)
    try:
        file = _Object(url, file_system.open(path, "rb"))
    except Exception as e:  # of any library of any store
        raise _explained(url, e) from e
    try:
        yield cast(IO[bytes], file)
    except Exception as e:
        if file.error:
            raise file.error from e
        raise
    finally:
        file.file.close()
    if file.error:
        raise file.error


def version(url: str) -> str | None:
    """Differs if the object was written again, by its store's tag or time; None if it cannot be reached."""
    file_system, path = _found(url)
    try:
        return str(file_system.ukey(path))
    except Exception:  # the reader of the object reports it
        return None


def read(url: str) -> bytes:
    """The content of an object. Raises InputError as `open_remote` does."""
    with open_remote(url) as file:
        return file.read()


def read_range(url: str, start: int, end: int) -> bytes:
    """The bytes of an object from `start` to `end`, or to its end. Raises InputError as `open_remote` does."""
    file_system, path = _found(url)
    try:
        return file_system.cat_file(path, start=start, end=end)
    except Exception as e:  # of any library of any store
        if isinstance(e, OSError) and e.errno == errno.EINVAL:  # S3's answer if the object ends before `start`
            return b""
        raise _explained(url, e) from e


def write(url: str, content: bytes) -> None:
    """Writes an object in one piece: before the end, the store shows what was there. Raises InputError if it cannot."""
    file_system, path = _found(url)
    try:
        file_system.pipe_file(path, content)
    except Exception as e:  # of any library of any store
        raise InputError(f"cannot write {url}: {_cause(e)}; {_CHECK}") from e


def upload(path: str, url: str) -> None:
    """Writes a file as an object, as `write` does."""
    file_system, place = _found(url)
    try:
        file_system.put_file(path, place)
    except Exception as e:
        raise InputError(f"cannot write {url}: {_cause(e)}; {_CHECK}") from e


def listed(url: str) -> dict[str, float]:
    """The objects below `url`, a name that ends in a slash: their URLs, with the times (s since 1970) at which they
    were written; 0 where the store does not tell."""
    file_system, path = _found(url)
    try:
        file_system.invalidate_cache()
        found = file_system.find(path, detail=True)
    except Exception as e:
        raise InputError(f"cannot list {url}: {_cause(e)}; {_CHECK}") from e
    start = path.rstrip("/") + "/"
    return {
        url + name.removeprefix(start): _written_s(about) for name, about in found.items() if name.startswith(start)
    }


def delete(urls: Sequence[str]) -> None:
    """Deletes objects; those that are gone already are passed over. Raises InputError if a store does not allow it."""
    for url in urls:
        file_system, path = _found(url)
        try:
            file_system.rm_file(path)
        except FileNotFoundError:
            pass
        except Exception as e:
            raise InputError(f"cannot delete {url}: {_cause(e)}; {_CHECK}") from e


def _written_s(about: dict[str, Any]) -> float:
    for name in ("LastModified", "last_modified", "updated", "created", "mtime"):
        if isinstance(when := about.get(name), (datetime, float)):
            return when if isinstance(when, float) else when.timestamp()
    return 0.0


def _found(url: str) -> tuple[Any, str]:
    with needed("remote", url):
        import fsspec
    protocol, start, rest = url.partition("://")
    bucket, slash, name = rest.partition("/")
    try:
        store, path = fsspec.core.url_to_fs(protocol + start + bucket)  # no more, as "::" in a name begins another URL
        return store, path + slash + name
    except ImportError as e:  # "Install s3fs to access S3"
        raise InputError(f"{url} needs another package: {e}") from None
    except Exception as e:
        raise _explained(url, e) from e


def _explained(url: str, error: Exception) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError(f"audio file {url} does not exist; check the path")
    return InputError(f"cannot read {url}: {_cause(error)}; check the path, the network and the credentials")


def _cause(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
