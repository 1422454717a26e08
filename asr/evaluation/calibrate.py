"""Calibrating word confidences on a dev set: fits a curve from posteriors to the share of correct words."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from asr.evaluation.calibration_plot import plot_calibration
from asr.evaluation.score import align, normalise
from asr.evaluation.transcribed import transcribed
from asr.files import atomic_write
from asr.manifest import Utterance
from asr.recognizer.searching import sound_for
from asr.recognizer.speakers import score_by_speaker
from asr.search.confidence import Calibration, calibration_error, coverage, information, ranking, search_of
from asr.search.second_pass import resolved

if TYPE_CHECKING:
    from asr.recognizer.recognizer import Recognizer

TOLERATED = 0.01  # rise of the expected calibration error that is no reason for a warning
_COVERAGES = (0.99, 0.95, 0.9, 0.8, 0.5)


@dataclass(frozen=True)
class Calibrated:
    """The calibration and its effect on the W words of the dev set.

    For the held-out confidences, each half of the utterances is calibrated on the other half.
    """

    calibration: Calibration
    posteriors: NDArray[np.float64]  # (W,) confidences before calibration
    held_out: NDArray[np.float64]  # (W,) confidences after calibration on the other half
    correct: NDArray[np.bool_]  # (W,)
    search: list[str] = field(default_factory=list)  # the options of the search that gave the posteriors

    def table(self) -> str:
        if not len(self.correct):
            return "no word was recognised; confidences are not calibrated\n"
        before = calibration_error(self.posteriors, self.correct)
        after = calibration_error(self.held_out, self.correct)
        lines = [
            f"{len(self.correct)} words, {100 * self.correct.mean():.2f} % correct",
            f"expected calibration error: {before:.3f} before, {after:.3f} after (on held-out utterances)",
            *self._separation(),
            *([f"warning: {warning}"] if (warning := self.warning()) else []),
            self.calibration.formula(),
            "reject_below  words kept  correct of these",
        ]
        thresholds, kept, right = coverage(self.held_out, self.correct)
        rows = dict.fromkeys(max(0, int(np.searchsorted(kept, share, "right")) - 1) for share in _COVERAGES)
        for at in rows:
            lines.append(f"{thresholds[at]:12.3f} {100 * kept[at]:9.1f} % {100 * right[at]:14.2f} %")
        return "\n".join(lines) + "\n"

    def warning(self) -> str | None:
        """That the calibration makes confidences worse, if it does so on held-out utterances."""
        before, after = (calibration_error(p, self.correct) for p in (self.posteriors, self.held_out))
        if after <= before + TOLERATED:
            return None
        return (
            f"the calibration makes confidences worse: expected error {before:.3f} before, {after:.3f} after; the dev "
            "set may be too small or too easy; delete calibration.json to keep the confidences as they were, or "
            "calibrate on more utterances"
        )

    def _separation(self) -> list[str]:
        """How well confidences tell correct words from wrong ones."""
        if self.correct.all() or not self.correct.any():
            which = "correct" if self.correct.all() else "wrong"
            return [f"normalised cross-entropy and ROC curve: undefined, because all words are {which}"]
        return [
            f"normalised cross-entropy: {information(self.posteriors, self.correct):.3f} before, "
            f"{information(self.held_out, self.correct):.3f} after",
            f"area under the ROC curve: {ranking(self.held_out, self.correct):.3f}",
        ]

    def write(self, path: Path, made_with: Mapping[str, str | None] | None = None) -> None:
        """Write scale, offset and errors as JSON, and a plot next to it as PNG. `made_with`: digests of the net and the
        graph."""
        plot_calibration(self.posteriors, self.held_out, self.correct, path.with_suffix(".png"))
        data = {
            "scale": self.calibration.scale,
            "offset": self.calibration.offset,
            "clarity": self.calibration.clarity,
            "words": len(self.correct),
            "error_before": calibration_error(self.posteriors, self.correct),
            "error_held_out": calibration_error(self.held_out, self.correct),
            "search": self.search,
            "made_with": made_with,
        }
        with atomic_write(path) as file:
            json.dump(data, file, indent=1)


def calibrate(recognizer: "Recognizer", utterances: Sequence[Utterance]) -> Calibrated:
    """Recognise the utterances and fit the calibration to their words. Without any recognised word the calibration is
    the identity. Utterances without a text are named and left out; raises InputError if none has one."""
    plain = replace(
        recognizer.cfg.decoder, confidence_scale=1.0, confidence_offset=0.0, confidence_clarity=0.0, calibrated_for=[],
        reject_below=0.0,
    )  # fmt: skip
    recognizer = recognizer.with_decoder(plain)
    utterances = transcribed(utterances)
    texts = {u.id: normalise(u.transcript).split() for u in utterances}
    by_id = {u.id: u for u in utterances}
    posteriors: list[float] = []
    correct: list[bool] = []
    numbers: list[int] = []
    with tqdm(total=len(utterances), unit="utt", desc="calibrate") as bar:
        for batch in score_by_speaker(recognizer, utterances, bar):
            for number, (id, log_probs, duration_s) in enumerate(batch, bar.n):
                sound = sound_for(recognizer.searcher, recognizer.cfg, by_id[id])
                words = recognizer.search(id, log_probs, duration_s, samples=sound).words
                posteriors += [w.confidence for w in words]
                correct += are_correct([w.word for w in words], texts[id])
                numbers += [number] * len(words)
            bar.update(len(batch))
    scorer = recognizer.rescorer.scorer if recognizer.rescorer else None
    search = search_of(resolved(plain, scorer, recognizer.space))
    return replace(fit(np.array(posteriors), np.array(correct), np.array(numbers)), search=search)


def fit(posteriors: NDArray, correct: NDArray, utterances: NDArray) -> Calibrated:
    """Fit the calibration to W words. `utterances` (W,): the number of each word's utterance, from 0."""
    if not len(posteriors):
        return Calibrated(Calibration(), posteriors, posteriors, correct.astype(bool))
    held_out = np.array(posteriors)
    for half in (0, 1):
        own = utterances % 2 == half
        if own.any() and not own.all():
            fitted = Calibration.fit(posteriors[~own], correct[~own], utterances[~own])
            held_out[own] = fitted.of_utterances(posteriors[own], utterances[own])
    return Calibrated(Calibration.fit(posteriors, correct, utterances), posteriors, held_out, correct)


def are_correct(words: Sequence[str], ref: Sequence[str]) -> list[bool]:
    """For each word, whether the best alignment with the reference pairs it with an equal word."""
    edits = align(ref, [normalise(word) for word in words])
    return [edit.op == "C" for edit in edits if edit.op != "D"]
