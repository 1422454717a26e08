"""Formats of language model files. The ending of a name selects the format."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NoReturn

from asr.errors import InputError
from asr.files import atomic_write
from asr.lm import arpa
from asr.lm.model import NgramModel
from asr.words import BEGIN, END, EPSILON


class Format(NamedTuple):
    """How a format is read and written; None if it cannot be."""

    read: Callable[[str | Path], NgramModel] | None
    write: Callable[[NgramModel, str | Path], None] | None


def write_fst(model: NgramModel, path: str | Path) -> None:
    """Writes `asr.graph.grammar.ngram_grammar` as an OpenFst vector FST, and its words as NAME.words.txt.

    Costs are negative natural logs. Back-off arcs have the input label `#0`, the last one, and the output label
    epsilon. `<unk>` is an ordinary word; `<s>` and `</s>` become the start state and final states.
    """
    from asr.graph.grammar import ngram_grammar

    words = [word for word in model.words if word not in (BEGIN, END)]
    grammar = ngram_grammar(model, {word: label for label, word in enumerate(words, 1)})
    with atomic_write(Path(path).with_suffix(".words.txt")) as file:
        file.writelines(f"{word} {label}\n" for label, word in enumerate([EPSILON, *words, "#0"]))
    with atomic_write(path, "wb") as file:
        file.write(grammar.to_openfst().write_to_string())


def write_packed(model: NgramModel, path: str | Path) -> None:
    """Writes the packed n-gram of a dynamic graph (asr.graph.ngram_file)."""
    from asr.graph.ngram_file import write_ngram

    write_ngram(model, path)


FORMATS = {
    ".arpa": Format(arpa.read, arpa.write),
    ".arpa.gz": Format(arpa.read, arpa.write),
    ".arpa.xz": Format(arpa.read, arpa.write),
    ".fst": Format(None, write_fst),
    ".ngram": Format(None, write_packed),
}


def is_model(path: str | Path) -> bool:
    """Whether the ending of the name is that of a readable format."""
    found = _format(path)
    return found is not None and found.read is not None


def read(path: str | Path) -> NgramModel:
    """Reads a model. Raises InputError for an unknown ending, and as the reader of the format does."""
    found = _format(path)
    if found is None or found.read is None:
        _refuse(path, "read", [ending for ending, known in FORMATS.items() if known.read])
    return found.read(path)


def writer(path: str | Path) -> Callable[[NgramModel, str | Path], None]:
    """The function that writes `path`. Raises InputError for an unknown ending; call it before long work."""
    found = _format(path)
    if found is None or found.write is None:
        _refuse(path, "written", [ending for ending, known in FORMATS.items() if known.write])
    return found.write


def _format(path: str | Path) -> Format | None:
    endings = sorted((ending for ending in FORMATS if str(path).endswith(ending)), key=len)
    return FORMATS[endings[-1]] if endings else None


def _refuse(path: str | Path, done: str, endings: list[str]) -> NoReturn:
    raise InputError(f"{path}: language models are {done} as files that end in {', '.join(endings)}")
