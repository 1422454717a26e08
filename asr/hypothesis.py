"""The result of recognising one utterance, and files of such results: one JSON object per line (`hyp.jsonl`)."""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from asr.errors import InputError
from asr.files import atomic_write
from asr.literals import parse_json
from asr.textfiles import lines


@dataclass(frozen=True)
class Word:
    """One word with its times (seconds from the start of the utterance) and its confidence (0 to 1).

    The confidence of a word that is not `accepted` is below `decoder.reject_below`, or the word is one of
    `decoder.remove`; it is left out of the text.
    """

    word: str
    start_s: float
    end_s: float
    confidence: float
    accepted: bool = True


@dataclass(frozen=True)
class Alternative:
    """Another transcript of an utterance, and its cost."""

    text: str
    cost: float


@dataclass(frozen=True)
class Choice:
    """A word of a confusion network and its posterior; "" for no word."""

    word: str
    posterior: float


@dataclass(frozen=True)
class Bin:
    """A place of a confusion network: that of a word of the result, or a gap where others have a word.

    The choices exclude each other, their posteriors sum to 1 but for rounding, and the highest comes first. Times are
    those of the word of the result, or of the gap.
    """

    start_s: float
    end_s: float
    choices: list[Choice]


@dataclass(frozen=True)
class Hypothesis:
    """The best transcript of one utterance.

    `cost` is the negative natural log of the path's weight (infinite if no path survived the search).
    `complete` is true if the path ended in a final state of the graph.
    """

    id: str
    text: str
    words: list[Word]
    cost: float
    duration_s: float
    complete: bool
    alternatives: list[Alternative] = field(default_factory=list)  # by rising cost; `decoder.nbest` sets their number
    confusion: list[Bin] = field(default_factory=list)  # with `decoder.confusion`: as spoken, before any writing

    @property
    def confidence(self) -> float | None:
        """The mean of the words' confidences; None without words."""
        return fmean(word.confidence for word in self.words) if self.words else None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON. An infinite cost becomes None, since JSON has no infinity."""
        return asdict(self) | {"cost": self.cost if math.isfinite(self.cost) else None}

    def moved(self, place: Callable[[float], float]) -> "Hypothesis":
        """The hypothesis with each time, in seconds, replaced by `place` of it."""
        words = [replace(w, start_s=place(w.start_s), end_s=place(w.end_s)) for w in self.words]
        confusion = [replace(b, start_s=place(b.start_s), end_s=place(b.end_s)) for b in self.confusion]
        return replace(self, words=words, confusion=confusion)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Hypothesis":
        """Inverse of `as_dict`. Raises KeyError, TypeError or ValueError if a field is missing or has another type."""
        return cls(
            id=str(data["id"]),
            text=str(data["text"]),
            words=[
                Word(
                    str(w["word"]),
                    float(w["start_s"]),
                    float(w["end_s"]),
                    float(w["confidence"]),
                    bool(w.get("accepted", True)),
                )
                for w in data["words"]
            ],
            cost=math.inf if data["cost"] is None else float(data["cost"]),
            duration_s=float(data["duration_s"]),
            complete=bool(data["complete"]),
            alternatives=[Alternative(str(a["text"]), float(a["cost"])) for a in data.get("alternatives", [])],
            confusion=[
                Bin(
                    float(b["start_s"]),
                    float(b["end_s"]),
                    [Choice(str(c["word"]), float(c["posterior"])) for c in b["choices"]],
                )
                for b in data.get("confusion", [])
            ],
        )


def write(path: str | Path, hypotheses: Iterable[Hypothesis]) -> None:
    """Writes one JSON object per line, atomically."""
    with atomic_write(path) as file:
        file.writelines(json.dumps(h.as_dict(), ensure_ascii=False) + "\n" for h in hypotheses)


def read(path: str | Path) -> list[Hypothesis]:
    """Raises InputError naming the file, the line and the wrong field."""
    hypotheses = []
    for number, line in lines(path, "hypotheses", "JSON lines as `asr decode` writes them"):
        if not line.strip():
            continue
        try:
            hypotheses.append(Hypothesis.from_dict(parse_json(line)))
        except KeyError as e:
            raise InputError(f"{path}:{number}: field {e} is missing; run `asr decode` again") from e
        except (TypeError, ValueError) as e:
            raise InputError(f"{path}:{number}: not a hypothesis ({e}); `asr decode` writes such files") from e
    return hypotheses
