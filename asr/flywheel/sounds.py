"""The sounds of a log: one FLAC file per request, in a folder per day."""

import io
import os
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

import numpy as np
import soundfile

from asr.errors import InputError

SUFFIX = ".flac"
PARTIAL = ".part"  # of a file that is being written
YOUNG_S = 3600.0  # an orphan younger than this may be a sound whose row another process is about to write


def flac(samples: np.ndarray, rate_hz: int) -> bytes:
    """Samples (T,) in [-1, 1] as a FLAC file of 16 bits; beyond that range they are clipped."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def folder_of(manifest: Path) -> Path:
    """The folder for the sounds of a manifest: its name without suffix. Raises InputError if the name has none."""
    folder = manifest.with_suffix("")
    if folder == manifest:
        raise InputError(f"output={manifest}: expected a name with a suffix, as {manifest}.jsonl; the sounds go to the "
                         "folder of that name without it")  # fmt: skip
    return folder


class Sounds:
    """The files below a folder, named by the day and id of their requests. Nobody else may read them."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def add(self, day: str, id: str, samples: np.ndarray, rate_hz: int) -> tuple[str, int]:
        """Writes a sound -> (its path in the folder, its size in bytes). Raises OSError, and leaves no part of it."""
        data, name = flac(samples, rate_hz), f"{day}/{id}{SUFFIX}"
        path = self.folder / name
        path.parent.mkdir(exist_ok=True, mode=0o700)
        partial = path.with_name(path.name + PARTIAL)
        try:
            with open(os.open(partial, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as file:
                file.write(data)
            os.replace(partial, path)
        except OSError:
            with suppress(OSError):
                partial.unlink()
            raise
        return name, len(data)

    def path(self, name: str) -> Path:
        return self.folder / name

    def delete(self, name: str) -> None:
        """Deletes a sound, and its folder if that is empty then. One that is gone already is no error."""
        path = self.folder / name
        path.unlink(missing_ok=True)
        with suppress(OSError):
            path.parent.rmdir()

    def sweep(self, known: Callable[[str], Collection[str]], young_s: float = YOUNG_S) -> int:
        """Deletes sounds that have no row, and parts of sounds, as a killed process leaves them -> their number.

        `known`: the ids of a day that have a sound.
        """
        swept, before_s = 0, time.time() - young_s
        for folder in sorted(path for path in self.folder.iterdir() if path.is_dir()):
            ids = known(folder.name)
            for path in folder.iterdir():
                is_orphan = path.name.endswith(SUFFIX + PARTIAL) or (path.suffix == SUFFIX and path.stem not in ids)
                with suppress(FileNotFoundError):
                    if is_orphan and path.stat().st_mtime <= before_s:
                        self.delete(f"{folder.name}/{path.name}")
                        swept += 1
        return swept
