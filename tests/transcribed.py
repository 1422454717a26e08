"""Recordings for the tests of the transcription page."""

import json
from pathlib import Path
from typing import Any

import soundfile
import tiny

from asr.flywheel.transcription.journal import Save

RATE_HZ = 16000
HOSTILE = "<img src=x onerror=document.title='owned'>"


def word(text: str, start_s: float, confidence: float) -> dict[str, Any]:
    return {"word": text, "start_s": start_s, "end_s": start_s + 0.3, "confidence": confidence}


def manifest_of(folder: Path, *answers: str, lang: str = "en", seconds: float = 1.0) -> Path:
    """A manifest of recordings r0, r1, ... with what was recognised; the last word of each is doubtful."""
    lines = []
    for number, text in enumerate(answers):
        path = folder / f"r{number}.flac"
        soundfile.write(path, tiny.noise(seconds, number), RATE_HZ)
        said = text.split()
        words = [word(each, 0.3 * n, 0.95 if n < len(said) - 1 else 0.3) for n, each in enumerate(said)]
        line = {"id": f"r{number}", "audio": path.name, "duration_s": seconds, "lang": lang}
        lines.append(line | {"answered": text, "words": words})
    path = folder / "next.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def save(id: str, by: str = "anna", text: str = "", mark: str | None = None, state: str = "done") -> Save:
    return Save(id, by, state, text, mark, spent_s=3.0, time_s=0.0)
