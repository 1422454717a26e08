"""Formats of language model files. The content selects how a file is read, the ending of a name how one is written."""

from collections.abc import Callable
from pathlib import Path

from asr.errors import InputError
from asr.files import atomic_write
from asr.lm import arpa, trie_file
from asr.lm.model import NgramModel
from asr.words import BEGIN, END, EPSILON


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


WRITERS = {
    **{f".arpa{packing}": arpa.write for packing in ("", ".gz", ".bz2", ".xz", ".zst")},
    ".fst": write_fst,
    ".ngram": write_packed,
    ".trie": trie_file.write,
}
OTHERS = (".fst", ".ngram", ".trie")  # not ARPA


def is_model(path: str | Path) -> bool:
    """Whether a file is a language model by its name or its content."""
    return str(path).endswith(tuple(WRITERS)) or arpa.is_model(path) or _is_neural(path)


def _is_neural(path: str | Path) -> bool:
    if not Path(path).is_file():  # a pipe can be read only once
        return False
    try:
        with open(path, "rb") as file:
            is_tensors = file.read(9)[8:] == b"{"  # after its length, the header of safetensors
    except OSError:
        return False
    if not is_tensors:
        return False
    from asr.lm.neural.file import is_neural

    return is_neural(path)


def writer(path: str | Path) -> Callable[[NgramModel, str | Path], None]:
    """The function that writes `path`. Raises InputError for an unknown ending; call it before long work."""
    for ending, write in WRITERS.items():
        if str(path).endswith(ending):
            return write
    raise InputError(f"{path}: language models are written as files that end in {', '.join(WRITERS)}")
