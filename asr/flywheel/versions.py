"""The versions of a recogniser: a folder per version, and a link to the one that is current.

    exp/versions/0001/model.asr      decision.json says why it became a version
    exp/versions/0002/model.asr      lm.arpa: its language model, if that is known
    exp/versions/current -> 0002     a service opens exp/versions/current/model.asr

A version appears whole and never changes; the link is replaced in one step. So a process may be killed at any moment:
the old version is current, or the new one. The link alone tells which, since a decision is written before.
"""

import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr import fingerprints
from asr.errors import InputError
from asr.files import atomic_write
from asr.literals import read_object
from asr.locks import locked

CURRENT, ADDING = "current", ".adding"
MODEL, LM, DECISION = "model.asr", "lm.arpa", "decision.json"


@dataclass(frozen=True)
class Version:
    number: int
    folder: Path

    @property
    def model(self) -> Path:
        return self.folder / MODEL

    @property
    def decision(self) -> dict[str, Any]:
        """What `Versions.promote` was given, with `promoted_at` and `replaces`. Raises InputError if it is damaged."""
        path = self.folder / DECISION
        try:
            return read_object(path)
        except (OSError, ValueError) as e:
            raise InputError(f"cannot read {path} ({e}); it belongs to version {self.number}, restore it") from e


class Versions:
    """The folder may be missing; the first promotion makes it."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    @classmethod
    def named(cls, folder: str | None) -> "Versions":
        """Raises InputError if no folder is named."""
        if folder is None:
            raise InputError("no folder of versions is named; name one: versions=exp/versions")
        return cls(folder)

    def all(self) -> list[Version]:
        """Oldest first."""
        if not self.folder.is_dir():
            return []
        numbers = sorted(int(path.name) for path in self.folder.iterdir() if path.name.isdigit() and path.is_dir())
        return [self._of(number) for number in numbers]

    def current(self) -> Version | None:
        """None if there is no version yet. Raises InputError if the link leads nowhere."""
        link = self.folder / CURRENT
        if not link.is_symlink():
            if link.exists() or self.all():
                raise InputError(f"{link} is not a link to a version; `asr flywheel rollback NUMBER` makes it one")
            return None
        name = os.readlink(link)
        if not name.isdigit() or not (self.folder / name / MODEL).exists():
            raise InputError(f"{link} leads to {name}, which is no version; `asr flywheel rollback NUMBER` mends it")
        return self._of(int(name))

    def existing(self, number: int) -> Version:
        """Raises InputError if there is no such version."""
        version = self._of(number)
        if not version.model.exists():
            known = ", ".join(str(each.number) for each in self.all()) or "none"
            raise InputError(f"{self.folder} has no version {number}; there are: {known}")
        return version

    def promote(self, model: Path, digest: str, decision: Mapping[str, Any], lm: Path | None = None) -> Version:
        """Makes a bundle the current version, as a copy; one with the same content as a version is that version.

        `digest`: of the content that was judged. Raises InputError if the bundle has other content now, if another
        process promotes, and if a version other than `compared_with` of the decision, where it says so, is current now.
        """
        with locked(self.folder):
            before = self.current()
            replaces = before.number if before else None
            if (judged := decision.get("compared_with", replaces)) != replaces:
                raise InputError(
                    f"version {replaces} became current while {model} was compared with {judged}; repeat the command"
                )
            told = {
                **decision,
                "promoted_at": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
                "replaces": replaces,
            }
            same = [version for version in self.all() if fingerprints.digest(version.model) == digest]
            version = same[-1] if same else self._add(model, digest, told, lm)
            if same:
                _write_decision(version.folder, told)
            self._switch(version)
        return version

    def rollback(self, number: int | None = None) -> Version:
        """Makes an earlier version current again: that with this number, or the one that the current one replaced.

        Raises InputError if there is none.
        """
        with locked(self.folder):
            version = self.replaced() if number is None else self.existing(number)
            self._switch(version)
        return version

    def replaced(self) -> Version:
        """The version that the current one replaced. Raises InputError if there is none."""
        current = self.current()
        if current is None:
            raise InputError(f"{self.folder} has no version; `asr flywheel promote MODEL.asr` makes the first")
        number = current.decision.get("replaces")
        if not isinstance(number, int):
            others = [version.number for version in self.all() if version.number != current.number]
            if not others:
                raise InputError(f"version {current.number} replaced none, and {self.folder} has no other")
            raise InputError(
                f"version {current.number} replaced none; name a version: `asr flywheel rollback {others[-1]}`"
            )
        return self.existing(number)

    def _of(self, number: int) -> Version:
        return Version(number, self.folder / f"{number:04d}")

    def _add(self, model: Path, digest: str, decision: Mapping[str, Any], lm: Path | None) -> Version:
        numbers = [version.number for version in self.all()]
        version, adding = self._of(max(numbers, default=0) + 1), self.folder / ADDING
        shutil.rmtree(adding, ignore_errors=True)  # of a process that was killed
        adding.mkdir()
        for source, name in ((model, MODEL), (lm, LM)):
            if source is not None:
                with open(source, "rb") as file, atomic_write(adding / name, "wb") as copy:
                    shutil.copyfileobj(file, copy, 1 << 20)
        if fingerprints.digest(adding / MODEL) != digest:
            shutil.rmtree(adding)
            raise InputError(f"{model} has changed while it was judged; repeat the command when it is complete")
        _write_decision(adding, decision)
        _sync(adding)
        adding.rename(version.folder)
        _sync(self.folder)
        return version

    def _switch(self, version: Version) -> None:
        link, fresh = self.folder / CURRENT, self.folder / f".{CURRENT}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(version.folder.name)
        if link.is_dir() and not link.is_symlink():
            raise InputError(f"{link} is a folder, not a link to a version; move it away")
        os.replace(fresh, link)
        _sync(self.folder)


def _write_decision(folder: Path, decision: Mapping[str, Any]) -> None:
    with atomic_write(folder / DECISION) as file:
        json.dump(decision, file, indent=1, ensure_ascii=False)


def _sync(folder: Path) -> None:
    """What was renamed in a folder survives a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
