"""The verbs of transcription by people: see asr/cli/verbs.py."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from asr import manifest
from asr.cli.inputs import only_input
from asr.config import Config
from asr.errors import InputError, needed
from asr.files import keep_inputs
from asr.locks import locked
from asr.manifest import Utterance
from asr.serve.address import bound

if TYPE_CHECKING:
    from asr.flywheel.transcription.items import Item
    from asr.flywheel.transcription.journal import Journal

WHAT = "the manifest of recordings, as `asr flywheel select` writes it"


def transcribe(cfg: Config) -> None:
    """Serves a page on which people hear recordings and correct what was recognised, by the keyboard.

    asr flywheel transcribe exp/next.jsonl [transcribers=[anna,ben]] [double=0.1] [settle=true] [host=...] [port=8080]

    Each transcriber gets an address of their own, with a secret token. What they type goes to
    exp/next.transcripts.jsonl at once; the same command goes on after an end of any kind. Two transcribers hear a share
    `double` of the recordings; `asr flywheel agreement` compares them and writes the transcripts as a manifest.
    `settle=true` shows the recordings in which they disagree. `clean=false` keeps capitals and punctuation.
    """
    path = Path(only_input(cfg, WHAT))
    with bound(cfg.serve.host, cfg.serve.port) as listener:
        with needed("serve", "asr flywheel transcribe"):
            from asr.flywheel.transcription.app import Desk, make_app, tokens
            from asr.flywheel.transcription.items import check_names
            from asr.flywheel.transcription.journal import journal_of
            from asr.flywheel.transcription.server import run
        names = cfg.flywheel.transcribers
        check_names(names)
        items, place = _items(path), journal_of(path)
        with locked(place.parent, place.name):
            journal = _journal(place)  # to which nobody else appends now
            desk = Desk(items, journal, names, cfg.flywheel.double, cfg.flywheel.clean, cfg.flywheel.settle)
            known = tokens(names, _secret_of(journal))
            _warn_of_form(items, cfg.flywheel.clean)
            done = sum(bool(journal.done(item.id)) for item in items)
            print(f"{done} of {len(items)} recordings are transcribed -> {journal.path}")
            run(make_app(desk, known), listener, known)


def agreement(cfg: Config) -> None:
    """Compares transcribers, lists where they disagree, and writes the transcripts as a manifest.

    asr flywheel agreement exp/next.jsonl [output=exp/transcribed.jsonl]

    Word and character error rates between two transcribers by language, and Cohen's kappa of the mark "unusable". The
    manifest has the recordings on whose text all who heard them agree, or whose text was settled; `asr flywheel import`
    brings it into the log. Unusable recordings are in it without a text.
    """
    path = Path(only_input(cfg, WHAT))
    with needed("serve", "asr flywheel agreement"):
        from asr.flywheel.transcription.agreement import agreement
        from asr.flywheel.transcription.journal import journal_of
    items, journal = _items(path), _journal(journal_of(path))
    if cfg.output:
        keep_inputs([cfg.output], [journal.path, _secret_of(journal)])
    found = agreement(items, journal, cfg.score.resamples, cfg.seed)
    if not any(person.recordings for person in found.people):
        raise InputError(
            f"{journal.path}: no recording has a transcript yet; `asr flywheel transcribe {path}` shows them"
        )
    print(found.summary())
    if cfg.output:
        done = list(_transcribed(path, journal))
        manifest.write(cfg.output, done)
        print(f"{len(done)} recordings -> {cfg.output}")


def _secret_of(journal: "Journal") -> Path:
    """The file of the secret from which the tokens follow."""
    return journal.path.with_suffix(".token")


def _items(path: Path) -> "list[Item]":
    """The recordings that can be used; the others are named."""
    from asr.flywheel.transcription.items import read

    items, refused = read(path)
    for sentence in refused:
        print(f"asr: warning: {sentence}", file=sys.stderr)
    return items


def _journal(path: Path) -> "Journal":
    """The journal; damaged lines are named."""
    from asr.flywheel.transcription.journal import Journal

    journal = Journal(path)
    if journal.damaged:
        numbers = ", ".join(map(str, journal.damaged[:5]))
        print(f"asr: warning: {journal.path}: a process was stopped within line {numbers}; what was acknowledged is "
              "complete", file=sys.stderr)  # fmt: skip
    return journal


def _warn_of_form(items: "list[Item]", cleans: bool) -> None:
    """Says that transcripts will be written otherwise than most of what was recognised."""
    from asr.flywheel.transcription.form import normal

    answered = [item for item in items if item.answered]
    changed = [item for item in answered if normal(item.answered, item.lang, cleans) != item.answered]
    if 2 * len(changed) > len(answered):
        text = changed[0].answered
        print(f"asr: warning: what was recognised has capitals or punctuation, such as '{text[:60]}', and transcripts "
              "are kept without; compare them by lang=en or ko, or set clean=false", file=sys.stderr)  # fmt: skip


def _transcribed(path: Path, journal: "Journal") -> Iterator[Utterance]:
    for utterance in manifest.stream(path):
        save = journal.outcome(utterance.id)
        if save is None:
            continue
        extra = {name: value for name, value in utterance.extra.items() if name not in ("words", "text")}
        extra["transcribed_by"] = save.by
        if save.mark:
            extra["mark"] = save.mark
        yield replace(utterance, text=None if save.mark == "unusable" else save.text, extra=extra)
