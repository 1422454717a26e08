"""The recordings to transcribe, and who transcribes which."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr import manifest
from asr.errors import InputError
from asr.features import audio
from asr.flywheel.request import share_of
from asr.manifest import MOST_S, Utterance

LONGEST_NAME = 40  # of a transcriber


@dataclass(frozen=True)
class Item:
    """A recording with what the recogniser heard. `words`: {"word", "start_s", "end_s", "confidence"}; may be empty."""

    id: str
    audio: str
    start_s: float
    duration_s: float
    channel: int | None
    lang: str | None
    answered: str
    words: tuple[dict[str, Any], ...] = field(default=())


def read(path: Path) -> tuple[list[Item], list[str]]:
    """The recordings of a manifest, and a sentence for each that cannot be used.

    Raises InputError for a malformed manifest, and if none can be used.
    """
    items, refused = [], []
    for utterance in manifest.read(path):
        try:
            items.append(_item(utterance))
        except InputError as e:
            refused.append(f"{path}: '{utterance.id}' is left out: {e}")
    if not items:
        raise InputError(f"{path}: none of its recordings can be used; the first: {refused[0]}")
    return items, refused


def _item(utterance: Utterance) -> Item:
    if utterance.audio is None:
        raise InputError("it has stored features, and no sound to hear")
    duration_s = utterance.duration_s
    if duration_s is None or not Path(utterance.audio).is_file():
        duration_s = audio.info(utterance.audio).duration_s - utterance.start_s
    answered = utterance.extra.get("answered")
    return Item(
        utterance.id, utterance.audio, utterance.start_s, duration_s, utterance.channel, utterance.lang,
        answered if isinstance(answered, str) else utterance.text or "", _words(utterance.extra.get("words")),
    )  # fmt: skip


def _words(given: Any) -> tuple[dict[str, Any], ...]:
    """The words of a hypothesis; none unless each has its times and confidence."""
    if not isinstance(given, list):
        return ()
    numbers = ("start_s", "end_s", "confidence")
    for word in given:
        if not isinstance(word, dict) or not isinstance(word.get("word"), str):
            return ()
        if not all(isinstance(word.get(name), (int, float)) and abs(word[name]) < MOST_S for name in numbers):  # no NaN
            return ()
    return tuple({name: word[name] for name in ("word", *numbers)} for word in given)


def check_names(names: Sequence[str]) -> None:
    """Raises InputError unless the transcribers have different, short names."""
    if not names:
        raise InputError("flywheel.transcribers=[] names nobody; name who transcribes: transcribers=[anna,ben]")
    for name in names:
        if not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
            raise InputError(f"flywheel.transcribers: {name[:60]!r} is no name; expected 1 to {LONGEST_NAME} printable "
                             "characters")  # fmt: skip
        if names.count(name) > 1:
            raise InputError(f"flywheel.transcribers names {name} twice; give different names")


def assigned(id: str, names: Sequence[str], double: float) -> list[str]:
    """Who transcribes a recording: one of the names, or two for a share `double` of the recordings.

    Hashes decide (rendezvous hashing, Thaler & Ravishankar 1998), so that everyone gets about the same number, the
    order of the manifest plays no part, and a further name takes over some recordings and moves no others.
    """
    ranked = sorted(names, key=lambda name: share_of(id, f"{name}/"), reverse=True)
    return ranked[: 2 if share_of(id, "double/") < double else 1]
