"""Recordings in object stores: `s3://bucket/a.flac`, and what else fsspec opens (https://filesystem-spec.readthedocs.io).

Only the protocols in `PROTOCOLS` are taken, so that a manifest from outside cannot name others of fsspec's.
"""

import re
from typing import IO, Any

from asr.errors import InputError, needed

PROTOCOLS = ("s3", "gs", "az", "abfs", "memory")

_URL = re.compile(rf"(?:{'|'.join(PROTOCOLS)})://(?!/*$).*", re.DOTALL)


def is_remote(path: str) -> bool:
    """Whether `path` is a URL of an object store."""
    return _URL.fullmatch(path) is not None


def open_remote(url: str) -> IO[bytes]:
    """The object as a seekable file, which reads the parts that are asked for.

    Raises InputError if it does not exist or cannot be reached, and if a package for its protocol is missing.
    """
    file_system, path = _found(url)
    try:
        return file_system.open(path, "rb")
    except Exception as e:  # of any library of any store
        raise _explained(url, e) from e


def version(url: str) -> str | None:
    """Differs if the object was written again, by its store's tag or time; None if it cannot be reached."""
    file_system, path = _found(url)
    try:
        return str(file_system.ukey(path))
    except Exception:  # the reader of the object reports it
        return None


def _found(url: str) -> tuple[Any, str]:
    with needed("remote", url):
        import fsspec
    try:
        return fsspec.core.url_to_fs(url)
    except ImportError as e:  # "Install s3fs to access S3"
        raise InputError(f"{url} needs another package: {e}") from None
    except Exception as e:
        raise _explained(url, e) from e


def _explained(url: str, error: Exception) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError(f"audio file {url} does not exist; check the path")
    cause = (str(error) or type(error).__name__).splitlines()[0]
    return InputError(f"cannot read {url}: {cause}; check the path, the network and the credentials")
