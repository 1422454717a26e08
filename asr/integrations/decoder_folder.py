"""The folder of a saved pyctcdecode decoder, as Hugging Face repositories with a language model hold it.

alphabet.json                   {"labels": [...], "is_bpe": false}
language_model/attrs.json       alpha, beta, unk_score_offset, score_boundary
language_model/unigrams.txt     the known words, one per line; empty: all words of the model
language_model/NAME.arpa        any name; a KenLM binary is refused
"""

import json
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.errors import InputError
from asr.files import atomic_write, moved_into
from asr.integrations.open_language import Weights
from asr.literals import parse_json
from asr.textfiles import lines

ALPHABET, ATTRIBUTES, UNIGRAMS = "alphabet.json", "language_model/attrs.json", "language_model/unigrams.txt"


@dataclass(frozen=True)
class LanguageModel:
    arpa: Path
    unigrams: Collection[str] | None  # the known words; None: all words of the model
    weights: Weights


def read(folder: str | Path) -> tuple[list[str], LanguageModel | None]:
    """The labels, and the language model if there is one. Raises InputError naming the file that is not as above."""
    folder = Path(folder)
    labels = _json(folder / ALPHABET).get("labels")
    if not isinstance(labels, list):
        raise InputError(f"{folder / ALPHABET}: expected an object with a list 'labels', as pyctcdecode saves it")
    if not (folder / ATTRIBUTES).parent.is_dir():
        return labels, None
    found = _json(folder / ATTRIBUTES)
    expected = ("alpha", "beta", "unk_score_offset", "score_boundary")
    if set(found) != set(expected):
        raise InputError(f"{folder / ATTRIBUTES}: expected the fields {', '.join(expected)}; it has {', '.join(found)}")
    weights = Weights(*(found[name] for name in expected))
    unigrams = [word for _, line in lines(folder / UNIGRAMS, "unigrams", "one word per line") if (word := line.strip())]
    others = [
        path
        for path in sorted((folder / ATTRIBUTES).parent.iterdir())
        if path.name[0] not in "._" and path not in (folder / ATTRIBUTES, folder / UNIGRAMS)
    ]
    if len(others) != 1:
        names = ", ".join(path.name for path in others) or "none"
        raise InputError(f"{folder / ATTRIBUTES}: expected one language model beside it; there is {names}")
    return labels, LanguageModel(others[0], unigrams or None, weights)


def write(folder: str | Path, labels: list[str], is_pieces: bool, model: LanguageModel | None) -> None:
    """Writes the files; others in the folder stay. Raises InputError if the folder has a language model."""
    own = Path(folder) / ATTRIBUTES
    if own.parent.exists():
        raise InputError(f"{own.parent} exists; save the decoder to another folder")
    Path(folder).mkdir(parents=True, exist_ok=True)
    with atomic_write(Path(folder) / ALPHABET) as file:
        json.dump({"labels": labels, "is_bpe": is_pieces}, file, ensure_ascii=False)
    if model is None:
        return
    with moved_into(own.parent, stale=()) as made:
        weights = {name.replace("lm_score", "score"): value for name, value in vars(model.weights).items()}
        (made / own.name).write_text(json.dumps(weights), encoding="utf-8")
        (made / Path(UNIGRAMS).name).write_text("".join(w + "\n" for w in model.unigrams or ()), encoding="utf-8")
        shutil.copyfile(model.arpa, made / model.arpa.name)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise InputError(f"cannot read {path}: {e}; expected a file that pyctcdecode saves") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected a JSON object, as pyctcdecode saves it")
    return found
