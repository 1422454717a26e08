"""Ids for utterances whose corpus gives them none."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from asr.data.importers.notes import Notes
from asr.errors import InputError
from asr.manifest import Utterance


def identify(utterances: list[Utterance], corpus: Path, notes: Notes) -> list[Utterance]:
    """Give ids to utterances without one, by the first rule that makes all ids distinct: the file name; the path below
    the corpus; the path and the start time; the path, start, duration and channel.

    Raises InputError if an id occurs twice even then.
    """

    def start(u: Utterance, p: Path) -> str:
        return f"{_joined(p)}-{round(u.start_s * 1000):08d}"

    def part(u: Utterance, p: Path) -> str:
        channel = "" if u.channel is None else f"-c{u.channel}"
        return f"{start(u, p)}-{round((u.duration_s or 0) * 1000):08d}{channel}"

    rules: list[tuple[str, Callable[[Utterance, Path], str]]] = [
        ("", lambda u, p: p.stem),
        ("file names repeat, ids are made of paths", lambda u, p: _joined(p)),
        ("paths look alike, ids are made of paths", lambda u, p: _joined(p, "--")),
        ("recordings repeat, ids are made of paths and start times", start),
        ("segments repeat, ids are made of paths, times and channels", part),
    ]
    folder = corpus if corpus.is_dir() else corpus.parent
    twice, both = "", []
    for rule, id_of in rules:
        ids = [u.id or id_of(u, _below(Path(u.audio or u.features or ""), folder)) for u in utterances]
        if len(set(ids)) == len(ids):
            for utterance, id in zip(utterances, ids, strict=True):
                if rule and not utterance.id:
                    notes.add(rule, id)
                utterance.id = id
            return utterances
        if id_of is not part:
            twice = Counter(ids).most_common(1)[0][0]
            both = [u.audio or u.features or "" for u, id in zip(utterances, ids, strict=True) if id == twice]
    raise InputError(f"{corpus}: utterance '{twice}' occurs twice ({', '.join(dict.fromkeys(both[:2]))}); keep one")


def _joined(path: Path, glue: str = "-") -> str:
    return glue.join(path.with_suffix("").parts[1:])


def _below(path: Path, folder: Path) -> Path:
    """`/` and the part of the path below the folder; the whole path if it is not below the folder."""
    folder = folder.absolute()
    return Path("/") / path.relative_to(folder) if path.is_relative_to(folder) else path
