"""The sentences in text files and manifests."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from asr import manifest
from asr.textfiles import Lines
from asr.words import check_words


def sentences(paths: Iterable[str | Path]) -> Iterator[str]:
    """The sentences of text files (a line each; empty lines are none) and of manifests (*.jsonl; the field `text`).

    Raises InputError naming the line (or the utterance) that is not UTF-8 or holds `<s>`, `</s>` or `<unk>`.
    """
    for path in paths:
        if str(path).endswith(".jsonl"):
            for utterance in manifest.stream(path):
                yield check_words(utterance.text, f"{path}: utterance '{utterance.id}'")
        else:
            with Lines(path) as file:
                checked = (check_words(line, f"{file.name}:{number}") for number, line in file.decoded())
                yield from (sentence for sentence in checked if sentence and not sentence.isspace())
