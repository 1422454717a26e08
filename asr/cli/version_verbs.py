"""The verbs that retrain a recogniser, judge the candidate, and keep its versions: see asr/cli/verbs.py."""

import json
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.config import Config
from asr.errors import InputError, needed

if TYPE_CHECKING:
    from asr.flywheel.gate import Decision
    from asr.flywheel.versions import Version
    from asr.manifest import Utterance

NOT_PROMOTED = 3  # exit code
IS_PROMOTED = "is_promoted"
OF_VERSIONS = ("promoted_at", "replaces")  # what a version tells besides the decision


def retrain(cfg: Config) -> None:
    """Trains the current recogniser further on transcribed requests: a candidate for the next version.

    asr flywheel retrain log=exp/log versions=exp/versions out=exp/candidate [parts=acoustic,lm,lexicon]
        [replay=MANIFEST]
    asr flywheel retrain MANIFEST ... init=exp/my/model.asr out=exp/candidate

    The test is the random slice of the newest `test_days` days; training takes older requests outside the slice, and
    recent ones count more: half per `half_life_days`. `replay` and `general_dev` keep what the recogniser could before,
    as in `asr train`, whose options it takes. The language model is `base`, or else lm.arpa beside the current bundle.
    The same command goes on after an interruption. `asr flywheel promote out=exp/candidate` judges the candidate.
    """
    with needed("serve", "asr flywheel"):
        from asr.database import closing
        from asr.flywheel.log import RequestLog
        from asr.flywheel.retrain import prepare
        from asr.flywheel.retrain import retrain as retrained
    with ExitStack() as stack:
        log = RequestLog.existing(cfg.serve.log, cfg.serve.log_database) if cfg.serve.log else None
        print(prepare(cfg, stack.enter_context(closing(log)) if log else None))
    path = retrained(cfg)
    print(f"-> {path}; to judge it: asr flywheel promote out={cfg.out} versions={cfg.flywheel.versions or 'FOLDER'}")


def promote(cfg: Config) -> None:
    """Judges a candidate on the recent random slice, and makes it the current version if it is better.

    asr flywheel promote out=exp/candidate versions=exp/versions [regressions=a.jsonl,b.jsonl] [margin=0.005]
    asr flywheel promote MODEL.asr test=slice.jsonl versions=exp/versions

    It has to make fewer errors than the current version on the slice, beyond chance (a paired bootstrap), and may lose
    at most `margin` on each regression set. The decision is written as JSON to `output`, or beside the bundle. The
    first version is not judged. The exit code is 3 if the candidate is not promoted.
    """
    from asr import fingerprints
    from asr.flywheel.retrain import lm_of
    from asr.flywheel.versions import Versions

    versions = Versions.named(cfg.flywheel.versions)
    current, digest = versions.current(), fingerprints.digest(cfg.bundle)
    if digest is None:
        raise InputError(f"there is no bundle {cfg.bundle}; name one: asr flywheel promote MODEL.asr, or out=FOLDER")
    path = decision_path(cfg)
    if current and fingerprints.digest(current.model) == digest:
        if current.decision.get("candidate") == cfg.bundle and _take_up(current, path):
            print(f"promoted to version {current.number} before; its decision was missing\n-> {current.model}, {path}")
            return
        raise InputError(f"{cfg.bundle} is the current version already, number {current.number}")
    decision = _judged(cfg, current.model if current else None)
    facts: dict[str, Any] = {
        "candidate": cfg.bundle,
        "sha256": digest,
        "compared_with": current.number if current else None,
        "test": cfg.data.test if current else None,
        **decision.as_dict(),
    }
    print(decision.table(), end="")
    if not decision.is_promoted:
        _write(path, facts)
        print(f"not promoted: {decision.why}\n-> {path}")
        sys.exit(NOT_PROMOTED)
    of_version = {name: value for name, value in facts.items() if name != IS_PROMOTED}  # the link alone tells
    version = versions.promote(Path(cfg.bundle), digest, of_version, lm_of(cfg.bundle))
    _write(path, facts)  # not before: killed at any moment, it never tells of a promotion that has not been
    print(f"promoted to version {version.number}: {decision.why}\n-> {version.model}, {path}")


def _write(path: Path, facts: dict[str, Any]) -> None:
    from asr.files import atomic_write

    with atomic_write(path) as file:
        json.dump(facts, file, indent=1, ensure_ascii=False)


def _take_up(current: "Version", path: Path) -> bool:
    """Writes the decision of a command that was killed after the switch; False if it is written already."""
    from asr.literals import read_object

    facts = {name: value for name, value in current.decision.items() if name not in OF_VERSIONS} | {IS_PROMOTED: True}
    with suppress(OSError, ValueError):  # not there, or damaged
        if read_object(path) == facts:
            return False
    _write(path, facts)
    return True


def decision_path(cfg: Config) -> Path:
    """Where the decision is written."""
    return Path(cfg.output or Path(cfg.bundle).with_suffix(".decision.json"))


def trained_on(cfg: Config) -> "list[Utterance] | None":
    """What the candidate was trained on: the manifest that is named, or that of its run folder; None: not known."""
    from asr import manifest

    path, of_run = Path(cfg.data.train), Path(cfg.out) / "data" / "train.jsonl"
    is_own = Path(cfg.bundle).resolve() == (Path(cfg.out) / "model.asr").resolve()
    if path.resolve() == of_run.resolve() and not (is_own and path.exists()):
        return None
    return manifest.read(path)


def rollback(cfg: Config) -> None:
    """Makes an earlier version current again: the one that the current version replaced, or the one named.

    asr flywheel rollback versions=exp/versions [NUMBER]

    Services that run exp/versions/current/model.asr follow within seconds.
    """
    from asr.flywheel.versions import Versions
    from asr.recognizer import bundle

    if len(cfg.input) > 1 or not all(word.isdecimal() for word in cfg.input):
        raise InputError(f"expected at most one number of a version, not '{' '.join(cfg.input)}'")
    found = Versions.named(cfg.flywheel.versions)
    version = found.existing(int(cfg.input[0])) if cfg.input else found.replaced()
    bundle.read(version.model)  # refuses a damaged one
    print(f"version {found.rollback(version.number).number} is current")


def versions(cfg: Config) -> None:
    """Lists the versions with the figures by which they were promoted.

    asr flywheel versions versions=exp/versions
    """
    from asr.flywheel.versions import Versions

    found = Versions.named(cfg.flywheel.versions)
    if not found.all():
        raise InputError(f"{found.folder} has no version; `asr flywheel promote MODEL.asr` makes the first")
    current = found.current()
    for version in found.all():
        told = version.decision
        mark = "*" if current and version.number == current.number else " "
        print(f"{mark} {version.number}  {told.get('promoted_at')}  {told.get('why')}")


def _judged(cfg: Config, current: Path | None) -> "Decision":
    from asr import manifest
    from asr.flywheel.gate import Decision, Terms, judge
    from asr.recognizer.opening import load
    from asr.threads import limit_threads

    limit_threads(cfg)
    candidate, *others = (
        load(path, cfg.device, cfg.data.max_audio_s, channel=cfg.data.channel)
        for path in (cfg.bundle, current)
        if path is not None
    )
    if not others:
        return Decision(True, "there is no version to compare with")
    regressions = {path: manifest.read(path) for path in cfg.flywheel.regressions}
    terms = Terms(
        cfg.flywheel.least_requests, cfg.flywheel.margin, cfg.flywheel.half_life_days, cfg.score.rate, cfg.score.lang,
        cfg.score.resamples, cfg.seed, cfg.threads,
    )  # fmt: skip
    return judge(candidate, others[0], manifest.read(cfg.data.test), regressions, terms, trained_on(cfg))
