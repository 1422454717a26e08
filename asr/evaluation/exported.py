"""Exported models beside the recogniser that they come from, on the same recordings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from asr.data.dataset import load_input
from asr.errors import InputError
from asr.evaluation.score import score
from asr.manifest import Utterance
from asr.models.exported import Exported
from asr.recognizer.recognizer import Recognizer
from asr.search.searchers import GreedySearcher

MOST = 100  # utterances
NOISES_S = (0.3, 0.7, 1.0, 1.6, 2.3, 4.1)  # seconds of noise that are recognised without utterances


@dataclass(frozen=True)
class Recording:
    id: str
    x: np.ndarray  # samples (T,) or features (F, D)
    text: str | None


@dataclass(frozen=True)
class Row:
    """How a file compares with the recogniser; `wer` is None without texts."""

    name: str
    num_bytes: int
    num_same: int  # recordings with the same greedy text
    difference: float  # largest, of the log-probs
    wer: float | None


@dataclass(frozen=True)
class Comparison:
    rows: Sequence[Row]
    num_recordings: int
    wer: float | None  # of the recogniser
    on: str  # what was recognised

    def table(self) -> str:
        width = max(len(row.name) for row in self.rows)
        lines = [f"{self.num_recordings} {self.on}", f"{'':{width}}     MiB  same texts  log-probs differ by     WER"]
        lines.append(f"{'this recogniser':{width + 39}}{_percent(self.wer)}")
        for row in self.rows:
            lines.append(f"{row.name:{width}}{row.num_bytes / 2**20:8.2f}{row.num_same:6} of {self.num_recordings:3}"
                         f"{row.difference:18.5f}  {_percent(row.wer)}")  # fmt: skip
        return "\n".join(lines) + "\n"

    @property
    def changed(self) -> list[str]:
        """The float32 files that give another text than the recogniser."""
        return [row.name for row in self.rows if row.num_same < self.num_recordings and "int8" not in row.name]


def compare(
    recognizer: Recognizer, files: Sequence[Exported], utterances: Sequence[Utterance], name: str
) -> Comparison:
    """Compare on up to `MOST` utterances of the manifest `name`, evenly spread, or on noise if there are none.

    The word error rates are those of the recogniser's own search over the log-probs. Raises InputError if no utterance
    can be read.
    """
    recordings = list(_read(recognizer, utterances) if utterances else _noise(recognizer))
    if not recordings:
        raise InputError(f"none of the utterances of {name} can be read; `asr data check` names the reasons")
    ours = [recognizer.log_probs([recording.x])[0] for recording in recordings]
    rows = []
    for file in files:
        run = file.runner()
        theirs = [run(torch.from_numpy(recording.x)).numpy() for recording in recordings]
        rows.append(_row(recognizer, file, recordings, ours, theirs))
    on = f"utterances of {name}" if utterances else "pieces of noise; name a manifest to compare on speech"
    return Comparison(rows, len(recordings), _wer(recognizer, recordings, ours), on)


def _row(
    recognizer: Recognizer,
    file: Exported,
    recordings: Sequence[Recording],
    ours: Sequence[np.ndarray],
    theirs: Sequence[np.ndarray],
) -> Row:
    greedy = GreedySearcher(recognizer.tokens, recognizer.cfg.tokens.unit)

    def text(log_probs: np.ndarray) -> list[str]:
        return [found.word for found in greedy.search(log_probs).words] if len(log_probs) else []

    pairs = list(zip(ours, theirs, strict=True))
    num_same = sum(text(a) == text(b) for a, b in pairs)
    difference = max((float(np.abs(a[: len(b)] - b[: len(a)]).max(initial=0.0)) for a, b in pairs), default=0.0)
    cut = [b[: len(a)] for a, b in pairs]  # frames behind the end are blanks
    return Row(file.name, len(file.data), num_same, difference, _wer(recognizer, recordings, cut))


def _wer(recognizer: Recognizer, recordings: Sequence[Recording], log_probs: Sequence[np.ndarray]) -> float | None:
    if all(recording.text is None for recording in recordings):
        return None
    found = {
        r.id: recognizer.search(r.id, y, 0.0, samples=r.x).text for r, y in zip(recordings, log_probs, strict=True)
    }
    return score({r.id: r.text for r in recordings}, found).words.rate


def _read(recognizer: Recognizer, utterances: Sequence[Utterance]) -> Iterator[Recording]:
    chosen = np.linspace(0, len(utterances) - 1, min(MOST, len(utterances))).round().astype(int)
    for number in chosen:
        utterance = utterances[number]
        try:
            yield Recording(utterance.id, load_input(recognizer.cfg, utterance), utterance.text)
        except InputError as e:
            print(f"set aside utterance '{utterance.id}': {e}")


def _noise(recognizer: Recognizer) -> Iterator[Recording]:
    rng, features = np.random.default_rng(1), recognizer.cfg.features
    is_stored = features.kind == "stored"
    rate_hz = 1000 / features.shift_ms if is_stored else features.sample_rate_hz
    for number, seconds in enumerate(NOISES_S):
        shape = (round(seconds * rate_hz), *([features.num_bins] if is_stored else []))
        level = 1.0 if is_stored else 0.1
        yield Recording(str(number), (level * rng.standard_normal(shape)).astype(np.float32), None)


def _percent(rate: float | None) -> str:
    return f"{100 * rate:6.2f}%" if rate is not None else "      -"
