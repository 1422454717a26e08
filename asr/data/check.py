"""Checking a corpus: examines every utterance of a manifest and writes a cleaned manifest and a report.

An utterance with an error is set aside; one with only warnings is kept. A bad file never stops the check. Memory holds
a fingerprint of each utterance, not its audio.
"""

import hashlib
import json
import math
import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import tee
from pathlib import Path

import numpy as np
from tqdm import tqdm

from asr import manifest
from asr.data.pool import Pool, in_threads
from asr.data.report_names import report_names
from asr.data.transcript import Demands, require_lexicon, table_of_unlisted
from asr.errors import InputError
from asr.features import audio
from asr.features.mixing import Mixer
from asr.files import atomic_write, keep_inputs
from asr.manifest import Utterance
from asr.members import read_ahead
from asr.text.lexicon import Lexicon
from asr.tokens import Tokens

ERRORS = {
    "malformed": "manifest line that is not an utterance or repeats an id",
    "unreadable": "missing, not audio, damaged, truncated, or NaN",
    "empty": "no samples or frames",
    "ends early": "the recording ends before start_s + duration_s",
    "channels": "the channels cancel each other, or the channel that was chosen is not there",
    "silent": "level below -70 dB of full scale",
    "no text": "the transcript is absent or null",
    "not in the lexicon": "the text has words without a pronunciation",
    "tokens": "the text has units outside the token table",
    "too long for CTC": "fewer output frames than tokens plus blanks between equal tokens",
    "too long": "longer than data.max_audio_s",
    "duplicate": "same id or same audio as in a manifest that must be disjoint",
}
WARNINGS = {
    "clipped": "more than 0.1 % of the samples are flat at full scale",
    "silent channel": "a channel is silent; the mean of all lowers the others",
    "rate": "the sample rate is lower than the model's",
    "duration": "the manifest's duration_s disagrees with the file",
    "empty text": 'nothing is said, as the text "" states; training learns blanks from it',
    "said twice": "same speaker and text as in a manifest that should be disjoint",
    "heard twice": "same audio as an earlier utterance",
}
SILENT_DB = -70.0
CLIPPED_SHARE = 1e-3
FULL_SCALE, FLAT = 0.99, 1e-4  # neighbouring samples above this level that differ by less than this are clipped


@dataclass(frozen=True)
class Finding:
    id: str
    check: str  # key of ERRORS or WARNINGS
    why: str
    duration_s: float = 0.0


@dataclass(frozen=True)
class Requirements:
    """What the model requires of an utterance; see `check`."""

    demands: Demands
    sample_rate_hz: int
    feature_shift_s: float
    feature_dim: int | None
    channel: int | None


@dataclass
class Examined:
    """The result of examining one utterance."""

    utterance: Utterance
    findings: list[Finding] = field(default_factory=list)
    duration_s: float = 0.0
    level_db: float | None = None  # standard deviation against full scale; None for features
    digest: bytes = b""  # of the samples; empty if they are unreadable or silent
    unlisted: list[str] = field(default_factory=list)  # words that the lexicon lacks

    def add(self, check: str, why: str) -> None:
        self.findings.append(Finding(self.utterance.id, check, why, self.duration_s))

    @property
    def kept(self) -> bool:
        return not any(f.check in ERRORS for f in self.findings)


@dataclass
class Report:
    """The result of `check` for a whole manifest."""

    manifest: str
    clean: str  # the manifest of the kept utterances
    total: int = 0
    kept: int = 0
    total_s: float = 0.0
    kept_s: float = 0.0
    findings: list[Finding] = field(default_factory=list)
    durations_s: array = field(default_factory=lambda: array("f"))
    levels_db: array = field(default_factory=lambda: array("f"))
    unlisted: Counter[str] = field(default_factory=Counter)  # words that the lexicon lacks -> number of utterances

    def counts(self) -> dict[str, int]:
        """The number of findings per check, errors first."""
        found = Counter(f.check for f in self.findings)
        return {check: found[check] for check in (*ERRORS, *WARNINGS) if found[check]}

    def table(self) -> str:
        """The report as text, with the first five ids per check. The JSON report has all of them."""
        lines = [
            f"{self.manifest}",
            f"kept {self.kept} of {self.total} utterances, {self.kept_s / 3600:.2f} of {self.total_s / 3600:.2f} h"
            f" -> {self.clean}",
        ]
        for check, count in self.counts().items():
            found = [f for f in self.findings if f.check == check]
            severity, meaning = ("error", ERRORS[check]) if check in ERRORS else ("warning", WARNINGS[check])
            hours = sum(f.duration_s for f in found) / 3600
            lines += ["", f"{severity:8} {check:17} {count:7} utterances {hours:8.2f} h   {meaning}"]
            lines += [f"    {f.id}: {f.why}" for f in found[:5]]
            if count > 5:
                lines.append(f"    ... and {count - 5} more")
        lines += table_of_unlisted(self.unlisted)
        return "\n".join(lines) + "\n"


def check(
    manifest_path: str | Path,
    out_dir: str | Path,
    tokens: Tokens | None = None,
    unit: str = "char",
    lexicon: Lexicon | None = None,
    frame_s: float | None = None,
    against: Sequence[str | Path] = (),
    sample_rate_hz: int = 16000,
    feature_shift_s: float = 0.01,
    feature_dim: int | None = None,
    workers: int | None = None,
    max_audio_s: float = math.inf,
    channel: int | None = None,
    name: str | None = None,
    pool: Pool | None = None,
) -> Report:
    """Check a manifest. Writes `out_dir/NAME.{clean.jsonl, report.json, report.txt, report.png}`, see `written`.

    name: of the files that are written; None: `report_names` chooses it.
    tokens, unit, lexicon: the token table of the texts, and the lexicon for phones. Without tokens, any unit is
      accepted.
    frame_s: seconds per output frame of the model; None skips the check of CTC's least length.
    against: manifests that must not share recordings with this one, such as the test set when this is the training set.
    feature_shift_s, feature_dim: of stored features; None: any dimension.
    channel: of recordings with several, for utterances that name none; None: the mean of all.
    pool: does the work on each utterance; None: `workers` threads of this process. The files have the same bytes.

    Raises InputError only for a manifest that cannot be opened or would be overwritten, and for phones without a
    lexicon.
    """
    require_lexicon(unit, lexicon)
    demands = Demands(unit, tokens, lexicon, frame_s, max_audio_s)
    required = Requirements(demands, sample_rate_hz, feature_shift_s, feature_dim, channel)
    name, out_dir = name or report_names([manifest_path], out_dir)[0], Path(out_dir)
    keep_inputs(written(out_dir, name), [manifest_path, *against])
    pool = pool or partial(in_threads, workers or min(8, os.cpu_count() or 1))
    report = Report(str(manifest_path), str(out_dir / f"{name}.clean.jsonl"))
    others = _others(against, required, pool)
    bad_lines: dict[int, InputError] = {}
    uses = Counter(hash(u.audio) for u in manifest.stream(manifest_path, bad_lines))  # hashes: the paths are long
    report.findings = [Finding(f"line {number}", "malformed", str(e)) for number, e in bad_lines.items()]
    report.total = len(bad_lines)
    utterances = ((u, uses[hash(u.audio)] == 1) for u in manifest.stream(manifest_path, {}))
    examined = tqdm(_examined(utterances, required, pool), f"check {name}", uses.total(), unit="utt")
    with read_ahead():
        manifest.write(report.clean, _keep(examined, others, report))
    _write_report(report, out_dir / f"{name}.report")
    return report


def written(out_dir: str | Path, name: str) -> list[Path]:
    """The files that `check` writes."""
    endings = ("clean.jsonl", "report.json", "report.txt", "report.png")
    return [Path(out_dir) / f"{name}.{ending}" for ending in endings]


# One utterance


def _examine(required: Requirements, item: tuple[Utterance, bool]) -> Examined:
    """Examine audio or features, and the text. (utterance, whether no other one is cut from the same recording)"""
    utterance, alone = item
    found = Examined(utterance, duration_s=utterance.duration_s or 0.0)
    try:
        if utterance.audio:
            _examine_audio(found, required, alone)
        else:
            _examine_features(found, required)
    except audio.EmptyAudio as e:
        found.add("empty", str(e))
    except InputError as e:
        found.add("unreadable", str(e))
    except Exception as e:  # a decoder may raise anything; the other files are still examined
        found.add("unreadable", f"{utterance.audio or utterance.features}: {e!r}")
    _check_text(found, required)
    return found


def _examine_audio(found: Examined, required: Requirements, alone: bool) -> None:
    u = found.utterance
    assert u.audio
    header = audio.info(u.audio)
    if u.duration_s and u.start_s + u.duration_s > header.duration_s + audio.SLACK_S:
        found.add("ends early", f"{u.audio} lasts {header.duration_s:.2f} s, not {u.start_s + u.duration_s:.2f} s")
        return
    channel = required.channel if u.channel is None else u.channel
    try:
        mixer = Mixer(u.audio, header.channels, channel)
    except InputError as e:
        found.add("channels", str(e))
        return
    frames, clipped, total, squares = 0, 0, 0.0, 0.0
    digest = hashlib.blake2b(str(header.sample_rate_hz).encode(), digest_size=16)
    for block in audio.blocks(u.audio, u.start_s, u.duration_s):  # (n, C)
        block = block if channel is None else block[:, [channel]]
        mono = mixer.mix(block)
        frames += len(block)
        total += mono.sum(dtype=np.float64)
        squares += np.square(mono, dtype=np.float64).sum()
        loud = np.abs(block) >= FULL_SCALE
        flat = loud[1:] & (np.abs(np.diff(block, axis=0)) < FLAT)
        clipped += int((flat.any(axis=1) | (np.abs(block[1:]) > 1).any(axis=1)).sum())
        digest.update(np.rint(mono * 32768).astype("<i4").tobytes())
    variance = max(0.0, squares / frames - (total / frames) ** 2)
    found.duration_s = frames / header.sample_rate_hz
    try:
        mixer.check()
    except InputError as e:
        found.add("channels", str(e))
        return
    if silent := mixer.silent_channels():
        found.add("silent channel", f"channel {silent[0]} of {u.audio} is silent; choose another one with channel=")
    found.level_db = 10 * np.log10(max(variance, 1e-12))
    if found.level_db < SILENT_DB:
        if u.text != "":
            found.add("silent", f"{u.audio} has a level of {found.level_db:.0f} dB; record it again")
    else:
        found.digest = digest.digest()
    if clipped > CLIPPED_SHARE * frames:
        found.add("clipped", f"{clipped / frames:.1%} of {u.audio} is at full scale; record it at a lower level")
    if header.sample_rate_hz < required.sample_rate_hz:
        found.add("rate", f"{u.audio} has {header.sample_rate_hz} Hz, the model {required.sample_rate_hz} Hz")
    if alone and u.duration_s and u.start_s == 0 and header.duration_s > u.duration_s + audio.SLACK_S:
        found.add("duration", f"duration_s is {u.duration_s:.2f}, {u.audio} lasts {header.duration_s:.2f} s")


def _examine_features(found: Examined, required: Requirements) -> None:
    from asr.features.files import load_features

    u = found.utterance
    assert u.features
    features = load_features(u.features, required.feature_dim)  # (F, D)
    if not len(features):
        raise audio.EmptyAudio(f"{u.features} holds no frames; make the features again")
    found.duration_s = len(features) * required.feature_shift_s
    found.digest = hashlib.blake2b(features.tobytes(), digest_size=16).digest()
    if u.duration_s and abs(found.duration_s - u.duration_s) > audio.SLACK_S:
        found.add("duration", f"duration_s is {u.duration_s:.2f}, {u.features} lasts {found.duration_s:.2f} s")


def _check_text(found: Examined, required: Requirements) -> None:
    try:
        text = found.utterance.transcript
    except InputError as e:
        found.add("no text", str(e))
        return
    if not text.strip():
        found.add("empty text", 'the text is ""; set it to null if it is unknown')
    else:
        duration_s = found.duration_s if found.kept else None  # an unreadable utterance has none
        found.unlisted = required.demands.unlisted(text)
        for name, why in required.demands.examine(text, duration_s)[1].items():
            found.add(name, why)


# All utterances


def _examined(items: Iterable[tuple[Utterance, bool]], required: Requirements, pool: Pool) -> Iterator[Examined]:
    """In order. An utterance that kills the processes that read it is unreadable."""
    given, items = tee(items)
    for (u, _), found in zip(given, pool(partial(_examine, required), items), strict=True):
        if isinstance(found, InputError):
            error, found = found, Examined(u, duration_s=u.duration_s or 0.0)
            found.add("unreadable", f"{u.audio or u.features}: {error}")
            _check_text(found, required)
        yield found


@dataclass
class _Others:
    """Fingerprints of the manifests that must be disjoint, each with the name of its utterance."""

    ids: dict[str, str] = field(default_factory=dict)
    digests: dict[bytes, str] = field(default_factory=dict)
    said: dict[int, str] = field(default_factory=dict)  # by the hash of speaker and text


def _others(against: Sequence[str | Path], required: Requirements, pool: Pool) -> _Others:
    others = _Others()
    for path in against:
        utterances = ((u, False) for u in manifest.stream(path, {}))
        examined = _examined(utterances, required, pool)
        for found in tqdm(examined, f"fingerprints of {Path(path).stem}", unit="utt"):
            u = found.utterance
            name = f"'{u.id}' in {path}"
            others.ids.setdefault(u.id, name)
            if found.digest:
                others.digests.setdefault(found.digest, name)
            if u.speaker and u.text:
                others.said.setdefault(hash((u.speaker, u.text)), name)
    return others


def _keep(examined: Iterable[Examined], others: _Others, report: Report) -> Iterator[Utterance]:
    """Compare each utterance with the others, add it to the report, and yield it, with its duration, if it is kept."""
    heard: dict[bytes, str] = {}
    for found in examined:
        u = found.utterance
        if u.id in others.ids:
            found.add("duplicate", f"same id as {others.ids[u.id]}")
        elif found.digest in others.digests:
            found.add("duplicate", f"same audio as {others.digests[found.digest]}")
        elif said := others.said.get(hash((u.speaker, u.text))):
            found.add("said twice", f"same speaker and text as {said}")
        if found.digest and (first := heard.setdefault(found.digest, u.id)) != u.id:
            found.add("heard twice", f"same audio as '{first}'")
        report.findings += found.findings
        report.unlisted.update(found.unlisted)
        report.total += 1
        report.total_s += found.duration_s
        report.durations_s.append(found.duration_s)
        if found.level_db is not None:
            report.levels_db.append(found.level_db)
        if found.kept:
            report.kept += 1
            report.kept_s += found.duration_s
            yield replace(u, duration_s=u.duration_s or round(found.duration_s, 4))


# The report


def _write_report(report: Report, stem: Path) -> None:
    summary = {
        "manifest": report.manifest,
        "clean": report.clean,
        "utterances": {"total": report.total, "kept": report.kept},
        "hours": {"total": report.total_s / 3600, "kept": report.kept_s / 3600},
        "counts": report.counts(),
        "not_in_lexicon": dict(report.unlisted.most_common()),
        "findings": [{"severity": "error" if f.check in ERRORS else "warning", **asdict(f)} for f in report.findings],
    }
    with atomic_write(f"{stem}.json") as file:
        json.dump(summary, file, ensure_ascii=False, indent=1)
    with atomic_write(f"{stem}.txt") as file:
        file.write(report.table())
    _plot(report, Path(f"{stem}.png"))


def _plot(report: Report, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    axes = figure.subplots(1, 2)
    for ax, values, label in (
        (axes[0], report.durations_s, "duration (s)"),
        (axes[1], report.levels_db, "level (dB of full scale)"),
    ):
        ax.hist(values, bins=50)
        ax.set(xlabel=label, ylabel="utterances")
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png", dpi=100)
