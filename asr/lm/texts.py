"""The sentences of text files and manifests."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from asr import manifest
from asr.errors import InputError
from asr.textfiles import WHOLE, Lines, Span
from asr.words import check_words


def sentences(paths: Iterable[str | Path], span: Span = WHOLE, shows_progress: bool = True) -> Iterator[str]:
    """The sentences of text files (one per line, without empty lines) and of manifests (the field `text`).

    `span`: the lines that are read of a text file.
    Utterances without a text are left out, and their number is written to stderr. Raises InputError for a manifest
    without any text, and naming a line that is not UTF-8, or a line or utterance with `<s>`, `</s>`, `<unk>` or NUL.
    """
    for path in paths:
        if manifest.is_manifest(path):
            yield from _transcripts(path)
        else:
            with Lines(path, span=span, shows_progress=shows_progress) as file:
                checked = (check_words(line, f"{file.name}:{number}") for number, line in file.decoded())
                yield from (sentence for sentence in checked if sentence and not sentence.isspace())


def _transcripts(path: str | Path) -> Iterator[str]:
    transcribed, untranscribed = 0, []
    for utterance in manifest.stream(path):
        if utterance.text is None:
            untranscribed.append(utterance.id)
            continue
        transcribed += 1
        yield check_words(utterance.text, f"{path}: utterance '{utterance.id}'")
    if untranscribed and not transcribed:
        raise InputError(f"{path}: none of its {len(untranscribed)} utterances has a text; transcribe them")
    if untranscribed:
        print(f"{path}: {len(untranscribed)} utterances without a text are left out; the first is {untranscribed[0]}",
              file=sys.stderr)  # fmt: skip
