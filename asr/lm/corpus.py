"""Text as word ids, and the choice of a model's words. csrc/lm reads the text; this says what is wrong with it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from asr._lm import Corpus
from asr.errors import InputError
from asr.lm.texts import sentences
from asr.textfiles import Lines
from asr.words import check_text, check_word

_BLOCK = 10000  # sentences handed over together


@dataclass(frozen=True)
class Selection:
    """Which words a model has: those listed, seen or not, or else the seen ones that meet all conditions.

    Of words equally common the first in code point order count as the commoner.
    """

    words: Sequence[str] | None = None
    min_count: int = 1  # seen at least so often
    size: int = 0  # so many of the commonest; 0: no limit
    coverage: float = 1.0  # the fewest of the commonest that make up this share of the running words

    def check(self) -> None:
        """Raises InputError for an option out of range, or beside a list of words, and as `check_word` does."""
        for number, word in enumerate(self.words or (), 1):
            check_word(word, f"word {number} of the vocabulary")
        if self.min_count < 1 or (self.min_count > 1 and self.words is not None):
            raise InputError(
                f"lm.min_count is {self.min_count}; it is 1 or more, and 1 where lm.vocabulary lists the words"
            )
        if self.size < 0 or (self.size and self.words is not None):
            raise InputError(
                f"lm.vocabulary_size is {self.size}; it is 0 (no limit) or more, and 0 where lm.vocabulary lists them"
            )
        if not 0 < self.coverage <= 1 or (self.coverage < 1 and self.words is not None):
            raise InputError(
                f"lm.coverage is {self.coverage}; it is above 0 and up to 1, and 1 where lm.vocabulary lists the words"
            )


def encode_texts(texts: Iterable[str], selection: Selection, memory_mb: int, folder: str | Path) -> Corpus:
    """Words are what stands between white space; texts without words are passed over.

    Others than the selected words become `<unk>`. Of more than `memory_mb`, half waits in files without a name in
    `folder`. Raises InputError for a text that holds a mark, `<eps>` or NUL, for bad options and words, and when no
    word is left.
    """
    corpus = _corpus(selection, memory_mb, folder)
    numbered = ((text, f"sentence {number}") for number, text in enumerate(texts, 1))
    _add_texts(corpus, numbered)
    return _select(corpus, selection)


def encode_files(paths: Iterable[str | Path], selection: Selection, memory_mb: int, folder: str | Path) -> Corpus:
    """The same of files: text, packed or not, "-", or manifests (*.jsonl); errors name file and line."""
    corpus = _corpus(selection, memory_mb, folder)
    for path in paths:
        if str(path).endswith(".jsonl"):
            _add_texts(corpus, ((text, str(path)) for text in sentences([path])))
        else:
            _add_file(corpus, path)
    return _select(corpus, selection)


def _corpus(selection: Selection, memory_mb: int, folder: str | Path) -> Corpus:
    selection.check()
    if memory_mb < 1:
        raise InputError(f"lm.memory_mb is {memory_mb}; it is 1 or more")
    return Corpus(memory_mb << 20, str(folder))


def _add_texts(corpus: Corpus, texts: Iterator[tuple[str, str]]) -> None:
    """Texts with what an error calls them."""
    while block := list(islice(texts, _BLOCK)):
        lines = "".join(text.replace("\n", " ") + "\n" for text, _ in block).encode(errors="surrogatepass")
        if (taken := corpus.add(lines)) < len(block):
            check_text(*block[taken])
            raise AssertionError("csrc/lm refused a text that asr.lm accepts")


def _add_file(corpus: Corpus, path: str | Path) -> None:
    with Lines(path) as file:
        while chunk := file.chunk():
            number = file.first + corpus.add(chunk)  # of the first line that it rejects
            if number <= file.number:
                check_text(file.decode(chunk.split(b"\n")[number - file.first], number), f"{file.name}:{number}")
                raise AssertionError("csrc/lm rejects a line that asr.lm accepts")


def _select(corpus: Corpus, selection: Selection) -> Corpus:
    corpus.select(selection.words, selection.min_count, selection.size, selection.coverage)
    if not corpus.num_kept or not corpus.num_seen:
        raise InputError(
            f"no word to estimate a language model of: the text holds {corpus.num_seen} different words, "
            f"{corpus.num_kept} are kept; check the text, the vocabulary and min_count"
        )
    return corpus
