"""The sentences of text files and manifests."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from asr import manifest
from asr.textfiles import Lines
from asr.words import check_words


def sentences(paths: Iterable[str | Path]) -> Iterator[str]:
    """The sentences of text files (one per line, without empty lines) and of manifests (the field `text`).

    Raises InputError naming a line that is not UTF-8, or a line or utterance with `<s>`, `</s>`, `<unk>` or NUL in it.
    """
    for path in paths:
        if manifest.is_manifest(path):
            for utterance in manifest.stream(path):
                yield check_words(utterance.text, f"{path}: utterance '{utterance.id}'")
        else:
            with Lines(path) as file:
                checked = (check_words(line, f"{file.name}:{number}") for number, line in file.decoded())
                yield from (sentence for sentence in checked if sentence and not sentence.isspace())
