"""Whether a candidate becomes the next version: better than the current one on today's speech, and worse nowhere.

It has to make fewer errors on the recent random slice, beyond chance: 0 is outside the 95 % interval of a paired
bootstrap over utterances (asr.evaluation.comparison), in which recent ones weigh more. And it may not lose more than a
margin on any regression set.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from asr.errors import InputError
from asr.evaluation.comparison import Comparison, compare
from asr.evaluation.score import comparable, error_counts, lang_of, usual_rate
from asr.flywheel.fresh import is_in_slice, is_word, time_s, weights
from asr.flywheel.said import said
from asr.manifest import Utterance
from asr.recognizer.manifests import decode_utterances

if TYPE_CHECKING:
    from asr.recognizer.recognizer import Recognizer

RATES = {"wer": "word errors", "jamo": "errors of jamo"}  # others are of characters


@dataclass(frozen=True)
class Terms:
    """What a candidate has to fulfil, and how errors are counted: the options `flywheel.*` and `score.*`."""

    least: int  # utterances of the random slice
    margin: float  # largest loss on a regression set, in error rate
    half_life_days: float
    rate: str = "auto"
    lang: str = "auto"
    resamples: int = 1000
    seed: int = 1
    threads: int = 0


@dataclass(frozen=True)
class Compared:
    """The candidate's errors on a set less those of the current version. `name`: the manifest, or a part of it."""

    name: str
    utterances: int
    candidate: float
    current: float
    interval: tuple[float, float]  # of the difference
    better: float  # share of the resamples in which the candidate makes fewer errors

    @classmethod
    def of(cls, name: str, utterances: int, found: Comparison) -> "Compared":
        return cls(name, utterances, found.first, found.second, found.interval, found.better)

    @property
    def loss(self) -> float:
        return self.candidate - self.current

    def __str__(self) -> str:
        low, high = self.interval
        return (f"{self.candidate:.2%} instead of {self.current:.2%} on {self.utterances} utterances of {self.name} "
                f"({100 * self.loss:+.2f}, 95 % interval {100 * low:+.2f} to {100 * high:+.2f})")  # fmt: skip


@dataclass(frozen=True)
class Decision:
    """`why`: one sentence. `unseen`: the part of the slice whose texts the training lacks; None if there is none, or
    if the training texts are not known (`seen_texts` is None then, too)."""

    is_promoted: bool
    why: str
    rate: str = ""
    slice: Compared | None = None
    seen_texts: float | None = None  # share of the slice's texts that the training has
    unseen: Compared | None = None
    regressions: list[Compared] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def table(self) -> str:
        """The figures, one set per line."""
        sets = [each for each in (self.slice, self.unseen, *self.regressions) if each]
        lines = [f"{_errors(self.rate)}: {each}" for each in sets]
        if self.seen_texts is not None:
            lines.append(f"{self.seen_texts:.1%} of the texts of the random slice are also texts of the training")
        return "".join(f"{line}\n" for line in lines)


def judge(
    candidate: "Recognizer",
    current: "Recognizer",
    test: Sequence[Utterance],
    regressions: dict[str, list[Utterance]],
    terms: Terms,
    trained_on: Sequence[Utterance] | None = None,
) -> Decision:
    """Compares two recognisers on the random slice `test` and on regression sets by name.

    `trained_on`: what the candidate was trained on, as far as it is known. Raises InputError for a test that is too
    small, not of the random slice, or trained on.
    """
    test = checked_test(test, terms.least, trained_on)
    lang = lang_of((u.transcript for u in test), terms.lang)
    rate = usual_rate(lang) if terms.rate == "auto" else terms.rate
    pair = _Pair(candidate, current, rate, terms)
    heard, errors, references = pair.counted(test, lang)
    if len(heard) < terms.least:
        raise InputError(f"{len(heard)} of the {len(test)} requests of the test can be read, and a decision needs "
                         f"{terms.least} (flywheel.least_requests); see the reasons above")  # fmt: skip
    weight = weights(heard, terms.half_life_days)
    found = pair.compared("the random slice", errors * weight, references * weight)
    seen_texts = unseen = None
    if trained_on is not None:
        texts = {_spoken(u, u.text, lang) for u in trained_on if u.text is not None}
        is_new = np.array([_spoken(u, u.transcript, lang) not in texts for u in heard])
        seen_texts = float(1 - is_new.mean())
        if is_new.any() and not is_new.all():
            parts = (errors * weight)[:, is_new], (references * weight)[is_new]
            unseen = pair.compared("the random slice whose texts the training lacks", *parts)
    others = []
    for name, utterances in regressions.items():
        kept = [u for u in utterances if u.text is not None]
        if not kept:
            raise InputError(f"{name} has no transcribed utterances; a regression set needs them")
        _, own, units = pair.counted(kept, lang_of((u.transcript for u in kept), terms.lang))
        others.append(pair.compared(name, own, units))
    is_promoted, why = _verdict(found, others, terms.margin, rate)
    return Decision(is_promoted, why, rate, found, seen_texts, unseen, others)


def checked_test(test: Sequence[Utterance], least: int, trained_on: Sequence[Utterance] | None) -> list[Utterance]:
    """The transcribed utterances of a test, without those of mode `word` if there are others. Raises InputError as
    `judge` does."""
    told = [u for u in test if u.text is not None]
    told = [u for u in told if not is_word(u)] or told  # a test of mode word alone is meant so
    for u in told:
        time_s(u)  # refuses speech of other sources
    if other := next((u for u in told if not is_in_slice(u)), None):
        raise InputError(f"utterance '{other.id}' of the test is not of the random slice, which alone tells about the "
                         "service; `asr flywheel export part=slice transcribed=yes` writes it")  # fmt: skip
    if len(told) < least:
        raise InputError(f"the test has {len(told)} transcribed requests, and a decision needs {least} "
                         "(flywheel.least_requests); transcribe more of the random slice")  # fmt: skip
    known: Collection[str] = {str(u.extra.get("copy_of", u.id)) for u in trained_on or ()}
    if both := [u.id for u in told if u.id in known]:
        raise InputError(f"{len(both)} requests of the test were trained on, '{both[0]}' among them; name a later test")
    return told


def _verdict(found: Compared, others: Sequence[Compared], margin: float, rate: str) -> tuple[bool, str]:
    if found.interval[1] >= 0:
        beats = "makes more errors than" if round(found.loss, 4) > 0 else "does not clearly beat"
        return False, f"it {beats} the current version; {_errors(rate)}: {found}"
    worst = max(others, key=lambda each: each.loss, default=None)
    if worst and worst.loss > margin:
        return False, f"it loses more than {100 * margin:g} points (flywheel.margin); {_errors(rate)}: {worst}"
    nowhere = f", and no regression set loses more than {100 * margin:g} points" if others else ""
    return True, f"{_errors(rate)}: {found}{nowhere}"


def _spoken(utterance: Utterance, text: str, lang: str) -> str:
    """A transcript or hypothesis of an utterance, as it is compared: transcribers may write numbers in digits."""
    return comparable(said(text, utterance.lang), lang)


def _errors(rate: str) -> str:
    return RATES.get(rate.partition("_")[0], "errors of characters")


class _Pair:
    def __init__(self, candidate: "Recognizer", current: "Recognizer", rate: str, terms: Terms):
        self.recognizers, self.rate, self.terms = (candidate, current), rate, terms

    def counted(self, utterances: Sequence[Utterance], lang: str) -> tuple[list[Utterance], np.ndarray, np.ndarray]:
        """The U utterances that can be read, the errors (2, U) of both recognisers, and the units (U,) of the
        references. What only one can read is wrong as a whole for the other."""
        texts = [
            {hypo.id: hypo.text for hypo in decode_utterances(recognizer, utterances, self.terms.threads)}
            for recognizer in self.recognizers
        ]
        heard = [u for u in utterances if u.id in texts[0] or u.id in texts[1]]
        refs = [_spoken(u, u.transcript, lang) for u in heard]
        hyps = [[_spoken(u, own.get(u.id, ""), lang) for u in heard] for own in texts]
        counts = [[error_counts(*each, self.rate) for each in zip(refs, own, strict=True)] for own in hyps]
        errors = np.array([[each.errors for each in own] for own in counts])
        return heard, errors, np.array([each.reference for each in counts[0]])

    def compared(self, name: str, errors: np.ndarray, references: np.ndarray) -> Compared:
        found = compare(errors, references, self.terms.resamples, self.terms.seed)
        return Compared.of(name, errors.shape[1], found)
