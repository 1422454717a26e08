"""What the benchmarks of changed sound share: their arguments, the recogniser, and where their figures go."""

import argparse
import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import asr
from asr import manifest
from asr.files import atomic_write
from asr.manifest import Utterance
from asr.recognizer.recognizer import Recognizer


def arguments(description: str | None) -> tuple[Path, list[Utterance], str]:
    """The bundle, the utterances with a text, and the rate: `BUNDLE MANIFEST [LIMIT] [RATE]`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("limit", type=int, nargs="?")
    parser.add_argument("rate", choices=("wer", "cer", "cer_without_spaces"), default="wer", nargs="?")
    given = parser.parse_args()
    return given.bundle, [u for u in manifest.read(given.manifest) if u.text][: given.limit], given.rate


def open_recognizer(bundle: Path, utterances: Sequence[Utterance]) -> Recognizer:
    """A recogniser of sound; without a graph it hears the texts of the utterances as a word list."""
    recognizer = asr.load(bundle)
    if recognizer.cfg.features.kind == "stored":
        raise SystemExit(f"{bundle} takes stored features; name a recogniser of sound")
    if recognizer.space is None:
        recognizer = recognizer.with_list(sorted({u.transcript for u in utterances}))
    return recognizer


def write(name: str, bundle: Path, figures: dict[str, Any]) -> None:
    """Writes benchmarks/results/NAME-FOLDER.json, FOLDER being that of the bundle."""
    result = Path(__file__).parent / f"results/{name}-{bundle.resolve().parent.name}.json"
    with atomic_write(result) as file:
        json.dump({"date": str(date.today()), **figures}, file, indent=1)
    print(f"-> {result}")
