"""ARPA files: the text form of back-off n-gram models.

    \\data\\
    ngram 1=4
    ngram 2=3

    \\1-grams:
    -0.7781513  <unk>       0
    0           <s>         -0.30103
    ...
    \\2-grams:
    -0.1760913  <s> yes
    ...
    \\end\\

A line has the log10 probability, the words, and the log10 back-off, separated by tabs. A missing back-off is 0; the
highest order has none. -99 is the logarithm of 0; `read` takes -inf for it. csrc/lm parses and formats the numbers.

Every verb reads a model with `read`, so all accept the same files. It accepts what SRILM, IRSTLM, KenLM, OpenGrm,
pocolm and the CMU toolkit write: spaces for tabs, text before \\data\\, empty lines, CRLF, missing back-offs, missing
suffixes of n-grams, the marks in any case, and files packed with gzip, bzip2, xz or zstd, whatever their names.
"""

import logging
from pathlib import Path

from tqdm import tqdm

from asr import filekinds
from asr._lm import ArpaReader, write_arpa
from asr.errors import InputError, refusals
from asr.files import atomic_write, packed
from asr.lm.model import NgramModel, Ngrams
from asr.textfiles import Lines

_log = logging.getLogger(__name__)


def read(path: str | Path) -> NgramModel:
    """The model of an ARPA file. Word ids follow the order of its unigrams; its `words` spell the marks as MARKS does.

    Raises InputError naming file and line for: a count that disagrees with \\data\\, a number that is malformed or
    infinite as float32, a positive log probability, a word that is not UTF-8, contains NUL or is `<eps>`, a mark in two
    spellings, an unknown word, a duplicate n-gram, an n-gram whose history is not listed, a missing `<s>`, `</s>` or
    \\end\\; and naming the file if it is something else, such as a KenLM binary or an HTML page.
    """
    reader = ArpaReader()
    with _lines(path) as file:
        fault, chunk = None, b""
        while not fault and not reader.is_done and (chunk := file.chunk()):
            fault = reader.add(chunk)
        if not fault and reader.is_done and (rest := (chunk.partition(b"\n\\end\\")[2] + file.chunk()).strip()):
            line = rest.split(b"\n")[0].decode(errors="replace").strip()
            _log.warning("%s: what follows \\end\\ is not used, such as '%s'; of a class-based model the classes are "
                         "missing", file.name, line[:80])  # fmt: skip
        if fault := fault or reader.finish():
            number, message = fault
            where = f"{file.name}:{number}" if number else file.name
            raise InputError(f"{where}: {message.decode(errors='replace')}")
    return NgramModel(reader.words, [Ngrams(*order) for order in reader.take_orders()])


def is_model(path: str | Path) -> bool:
    """Whether a file is a language model by its content: ARPA, or a model in a format that `read` refuses by name.

    False for a pipe, which can be read only once.
    """
    if not Path(path).is_file():
        return False
    try:
        with open(path, "rb") as raw:
            if filekinds.is_model(raw.read(64)):
                return True
        with _lines(path, shows_progress=False) as file:
            return b"\\data\\" in map(bytes.strip, file.chunk().split(b"\n"))
    except (OSError, InputError):
        return False


def _lines(path: str | Path, shows_progress: bool = True) -> Lines:
    return Lines(path, "ARPA file", "a back-off n-gram model", shows_progress=shows_progress)


def write(model: NgramModel, path: str | Path) -> None:
    """Writes `model` with 7 significant digits, n-grams in the order of their ids.

    Raises InputError if the shapes of its arrays do not match or an id is out of range.
    """
    bar = tqdm(total=sum(len(ngrams.ids) for ngrams in model.orders), unit=" n-grams", unit_scale=True,
               desc=f"write {path}", delay=2.0, leave=False)  # fmt: skip
    with refusals(), bar, atomic_write(path, "wb") as file, packed(file, path) as out:
        write_arpa(model.words, model.orders, out.write, bar.update)
