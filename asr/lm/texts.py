"""The sentences in text files and manifests."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from asr import manifest
from asr.errors import InputError
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
            with Lines(path) as lines:
                for block in lines.blocks():
                    first = lines.number - len(block) + 1
                    checked = (check_line(line, lines.name, number) for number, line in enumerate(block, first))
                    yield from (sentence for sentence in checked if sentence and not sentence.isspace())


def check_line(line: bytes, name: str, number: int) -> str:
    """The sentence of a line. Raises InputError if it is not UTF-8, and as `check_words` does."""
    try:
        sentence = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as e:
        raise InputError(f"{name}:{number}: not UTF-8 ({e}); convert the file, for instance with iconv") from e
    return check_words(sentence, f"{name}:{number}")
