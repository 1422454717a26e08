"""Scoring hypotheses against references: word and character error rates, by speaker, with confidence intervals.

The alignment is rapidfuzz's Levenshtein alignment: each substitution, deletion and insertion costs one, and ties are
always broken in the same way. Texts are compared in Unicode normal form C, so Hangul written in jamo equals Hangul
written in syllables.

Korean texts are compared as the benchmarks of KsponSpeech, ClovaCall and Zeroth do: without punctuation, in lower case
(`asr.text.clean.clean`), and also without spaces, since writers disagree on them. Clean texts are compared as they are.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
from rapidfuzz.distance import Levenshtein

from asr.errors import InputError
from asr.evaluation.spacing import Spaces, spaces, with_spaces
from asr.text.characters import composed
from asr.text.clean import clean
from asr.text.units import to_units

UNKNOWN_SPEAKER = "(unknown)"
_BLOCK = 1 << 22  # bootstrap draws in memory at a time
_HANGUL = re.compile("[가-힣ㄱ-ㆎᄀ-ᇿ]")
_LETTER = re.compile(r"[^\W\d_]")
_OF_NUMBER = re.compile(r"((?<=\d)\s?[%‰°]|(?<=\d)[-~/:](?=\d)|(?<![^\s(])-(?=\d)|[$€£¥₩](?=\d))")  # 10%, -5, 1/2
_FIGURES = "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞↉⁰¹²³⁴⁵⁶⁷⁸⁹₀₁₂₃₄₅₆₇₈₉"
_BEFORE_FIGURE = re.compile(rf"(?<=[\d{_FIGURES}])(?=[{_FIGURES}])")  # 2½ is 2 1/2, and H₂O is H2O
_SYMBOLS = str.maketrans(
    dict.fromkeys("–−", "-") | dict.fromkeys("∼〜", "~") | {"℃": "°C", "℉": "°F", "⁄": "/"}
    | {figure: unicodedata.normalize("NFKC", figure).replace("⁄", "/") for figure in _FIGURES}
)  # fmt: skip


@dataclass(frozen=True)
class Counts:
    """Numbers of correct, substituted, deleted and inserted units. Counts can be added."""

    correct: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def reference(self) -> int:
        return self.correct + self.substitutions + self.deletions

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors per reference unit. Without reference units: 0 if there are no errors, otherwise infinite."""
        if self.reference:
            return self.errors / self.reference
        return math.inf if self.errors else 0.0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.correct + other.correct,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


class Edit(NamedTuple):
    """One column of an alignment: `op` is C(orrect), S(ubstitution), D(eletion) or I(nsertion)."""

    op: str
    ref: str  # "" for an insertion
    hyp: str  # "" for a deletion


@dataclass(frozen=True)
class UtteranceScore:
    id: str
    speaker: str
    edits: list[Edit]
    words: Counts
    respaced: Counts  # words, with the spaces of the reference
    characters: Counts  # including spaces between words
    letters: Counts  # without spaces
    jamo: Counts  # of Hangul, and other letters; without spaces
    spaces: Spaces


@dataclass
class Score:
    """The result of `score`. Rates are fractions; intervals contain 95 % of the bootstrap resamples."""

    utterances: list[UtteranceScore]
    missing: list[str]  # ids without a hypothesis, counted as deletions
    extra: list[str]  # ids of hypotheses without a reference, not counted
    untranscribed: list[str]  # ids of references without a text (absent or null), not counted
    speakers: dict[str, tuple[Counts, Counts]]  # words, characters; empty when no speakers are known
    lang: str = "none"  # whose punctuation and case were left out: ko, en or none
    words: Counts = field(init=False)
    respaced: Counts = field(init=False)
    characters: Counts = field(init=False)
    letters: Counts = field(init=False)
    jamo: Counts = field(init=False)
    spaces: Spaces = field(init=False)
    wer_interval: tuple[float, float] = (0.0, 0.0)
    cer_interval: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        for name in ("words", "respaced", "characters", "letters", "jamo"):
            setattr(self, name, sum((getattr(u, name) for u in self.utterances), Counts()))
        self.spaces = sum((u.spaces for u in self.utterances), Spaces())

    @property
    def wer(self) -> float:
        return self.words.rate

    @property
    def cer(self) -> float:
        return self.characters.rate

    def warnings(self) -> list[str]:
        """Sentences about utterances that have only a reference or only a hypothesis."""
        sentences = []
        if self.missing:
            sentences.append(f"{_name(self.missing)} no hypothesis and counted as deletions")
        if self.extra:
            sentences.append(f"{_name(self.extra)} no reference and not counted; do the files belong to the same set?")
        if self.untranscribed:
            sentences.append(f"{_name(self.untranscribed)} no text in the reference and not counted")
        return sentences

    def confusions(self, op: str, most: int = 20) -> list[tuple[str, str, int]]:
        """The most frequent (reference, hypothesis, count) of one kind of error. Ties are sorted by the words."""
        counts = Counter((e.ref, e.hyp) for u in self.utterances for e in u.edits if e.op == op)
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return [(ref, hyp, times) for (ref, hyp), times in ordered[:most]]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; an infinite rate becomes null."""
        return {
            "wer": _finite(self.wer),
            "wer_interval": [_finite(x) for x in self.wer_interval],
            "cer": _finite(self.cer),
            "cer_interval": [_finite(x) for x in self.cer_interval],
            "cer_without_spaces": _finite(self.letters.rate),
            "wer_without_spaces": _finite(self.respaced.rate),
            "jamo_error_rate": _finite(self.jamo.rate),
            "spacing_f1": self.spaces.f1,
            "compared_as": self.lang,
            "utterances": len(self.utterances),
            "utterances_wrong": sum(u.words.errors > 0 for u in self.utterances),
            "words": asdict(self.words),
            "characters": asdict(self.characters),
            "characters_without_spaces": asdict(self.letters),
            "words_without_spaces": asdict(self.respaced),
            "jamo": asdict(self.jamo),
            "spaces": asdict(self.spaces),
            "speakers": {
                speaker: {"wer": _finite(w.rate), "cer": _finite(c.rate), "words": asdict(w), "characters": asdict(c)}
                for speaker, (w, c) in self.speakers.items()
            },
            "missing": self.missing,
            "extra": self.extra,
            "untranscribed": self.untranscribed,
            "confusions": {op: self.confusions(op) for op in "SDI"},
        }


def score(
    refs: Mapping[str, str | None],
    hyps: Mapping[str, str | None],
    speakers: Mapping[str, str | None] | None = None,
    resamples: int = 1000,
    seed: int = 1,
    lang: str = "auto",
) -> Score:
    """Score hypotheses against references, both given as id -> text; None is an unknown text, "" says nothing.

    lang: whose punctuation and case are not compared, `en`, `ko` or `none`; `auto` is `ko` if most letters of the
    references are Hangul, otherwise `none`.

    A reference without a hypothesis counts as deletions and is listed in `missing`; a hypothesis without a reference is
    not counted and is listed in `extra`; a reference of None is not counted and is listed in `untranscribed`. Raises
    InputError if there is no reference, if all references or all hypotheses are None, or if no id is on both sides.
    """
    if not refs:
        raise InputError("there are no references to score against; check the reference file")
    if not refs.keys() & hyps.keys():
        raise InputError(
            f"references (such as '{next(iter(refs))}') and hypotheses (such as '{next(iter(hyps), 'none')}') "
            "share no id; check that both files belong to the same set"
        )
    texts = {id: ref for id, ref in refs.items() if ref is not None}
    if not texts:
        raise InputError(f"none of the {len(refs)} references has a text; score needs transcribed utterances")
    if hyps and all(hyp is None for hyp in hyps.values()):
        raise InputError(f"none of the {len(hyps)} hypotheses has a text; score the file that `asr decode` wrote")
    known, lang = speakers or {}, lang_of(texts.values(), lang)
    utterances = [
        _score_utterance(
            id, known.get(id) or UNKNOWN_SPEAKER, comparable(ref, lang), comparable(hyps.get(id) or "", lang)
        )
        for id, ref in texts.items()
    ]
    result = Score(
        utterances,
        missing=[id for id in texts if hyps.get(id) is None],
        extra=[id for id in hyps if id not in refs],
        untranscribed=[id for id in refs if id not in texts],
        speakers=_by_speaker(utterances) if any(known.values()) else {},
        lang=lang,
    )
    result.wer_interval = bootstrap([u.words for u in utterances], resamples, seed)
    result.cer_interval = bootstrap([u.characters for u in utterances], resamples, seed)
    return result


def normalise(text: str) -> str:
    """The text in Unicode normal form C, with one space between words."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def lang_of(texts: Iterable[str], lang: str = "auto") -> str:
    """`lang`, or for `auto` that of the texts: `ko` if at least half of their letters are Hangul, else `none`."""
    if lang != "auto":
        return lang
    text = "".join(texts)
    return "ko" if 2 * len(_HANGUL.findall(text)) >= len(_LETTER.findall(text)) > 0 else "none"


def comparable(text: str, lang: str) -> str:
    """The normalised text, for `en` and `ko` also in lower case and without punctuation.

    Symbols that belong to a number stay: 10% is not 10, -5 is not 5, 1/2 is not 12, and ½ is 1/2.
    """
    if lang == "none":
        return normalise(text)
    parts = _OF_NUMBER.split(_BEFORE_FIGURE.sub(" ", composed(text)).translate(_SYMBOLS))
    found = clean(parts[0], lang)
    for symbol, before, after in zip(parts[1::2], parts[::2], parts[2::2], strict=False):
        left = "" if before[-1:].isalnum() else " "
        right = "" if after[:1].isalnum() else " "
        found += f"{left}{symbol.strip()}{right}{clean(after, lang)}"
    return " ".join(found.split())


def align(ref: Sequence[str], hyp: Sequence[str]) -> list[Edit]:
    """An alignment of two word sequences with the fewest errors."""
    ids = {word: i for i, word in enumerate(dict.fromkeys([*ref, *hyp]))}
    edits: list[Edit] = []
    for op in Levenshtein.opcodes([ids[w] for w in ref], [ids[w] for w in hyp]):
        r, h = ref[op.src_start : op.src_end], hyp[op.dest_start : op.dest_end]
        match op.tag:
            case "equal":
                edits += [Edit("C", w, w) for w in r]
            case "replace":
                edits += [Edit("S", a, b) for a, b in zip(r, h, strict=True)]
            case "delete":
                edits += [Edit("D", w, "") for w in r]
            case "insert":
                edits += [Edit("I", "", w) for w in h]
    return edits


def bootstrap(counts: Sequence[Counts], resamples: int = 1000, seed: int = 1) -> tuple[float, float]:
    """95 % confidence interval of the pooled error rate, by bootstrap over utterances (Bisani & Ney, ICASSP 2004)."""
    if resamples < 1:
        raise InputError(f"score.resamples must be at least 1, not {resamples}")
    errors = np.array([c.errors for c in counts])  # (U,)
    references = np.array([c.reference for c in counts])  # (U,)
    rng = np.random.default_rng(seed)
    rates = np.empty(resamples)
    block = max(1, _BLOCK // len(counts))
    for start in range(0, resamples, block):
        drawn = rng.integers(len(counts), size=(min(block, resamples - start), len(counts)))  # (B, U)
        rates[start : start + len(drawn)] = errors[drawn].sum(1) / np.maximum(references[drawn].sum(1), 1)
    low, high = np.quantile(rates, [0.025, 0.975])
    return float(low), float(high)


def usual_rate(lang: str) -> str:
    """The rate that is usual for texts of a language: of characters where people disagree on spaces."""
    return "cer_without_spaces" if lang == "ko" else "wer"


def error_counts(ref: str, hyp: str, rate: str) -> Counts:
    """The errors of a text that `rate` counts: `wer`, `cer` or `jamo`, or one of the first two `_without_spaces`."""
    ref, hyp = normalise(ref), normalise(hyp)
    if rate == "wer_without_spaces":
        hyp = with_spaces(ref, hyp)
    if rate.startswith("wer"):
        return _sum(align(ref.split(), hyp.split()))
    if rate != "cer":
        ref, hyp = ref.replace(" ", ""), hyp.replace(" ", "")
    if rate == "jamo":
        ref, hyp = ("".join(to_units(text, "jamo")) for text in (ref, hyp))
    return _count(ref, hyp)


def _score_utterance(id: str, speaker: str, ref: str, hyp: str) -> UtteranceScore:
    edits = align(ref.split(), hyp.split())
    rates = ("wer_without_spaces", "cer", "cer_without_spaces", "jamo")
    respaced, characters, letters, jamo = (error_counts(ref, hyp, rate) for rate in rates)
    return UtteranceScore(id, speaker, edits, _sum(edits), respaced, characters, letters, jamo, spaces(ref, hyp))


def _sum(edits: list[Edit]) -> Counts:
    ops = Counter(e.op for e in edits)
    return Counts(ops["C"], ops["S"], ops["D"], ops["I"])


def _count(ref: str, hyp: str) -> Counts:
    tags = Counter(op.tag for op in Levenshtein.editops(ref, hyp))
    wrong = tags["replace"] + tags["delete"]
    return Counts(len(ref) - wrong, tags["replace"], tags["delete"], tags["insert"])


def _by_speaker(utterances: list[UtteranceScore]) -> dict[str, tuple[Counts, Counts]]:
    table: dict[str, tuple[Counts, Counts]] = {}
    for u in sorted(utterances, key=lambda u: u.speaker):
        words, characters = table.get(u.speaker, (Counts(), Counts()))
        table[u.speaker] = (words + u.words, characters + u.characters)
    return table


def _name(ids: list[str], most: int = 5) -> str:
    named = ", ".join(ids[:most]) + (f" and {len(ids) - most} more" if len(ids) > most else "")
    return f"{len(ids)} utterance{'s' if len(ids) > 1 else ''} ({named}) ha{'ve' if len(ids) > 1 else 's'}"


def _finite(x: float) -> float | None:
    return x if math.isfinite(x) else None
