"""Text as word ids, and the selection of a model's vocabulary. csrc/lm reads the text; this module reports errors."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from asr import manifest
from asr._lm import Corpus
from asr.errors import InputError
from asr.lm import counts_file
from asr.lm.texts import sentences
from asr.pieces import spread
from asr.textfiles import WHOLE, Lines, Span
from asr.words import check_text, check_word, plain_mark

_BLOCK = 10000  # sentences passed to csrc/lm per call


@dataclass(frozen=True)
class Selection:
    """The vocabulary of a model: `words`, or else the words of the text that meet all conditions.

    Words of equal count rank in code point order.
    """

    words: Sequence[str] | None = None  # in the text or not
    min_count: int = 1  # least count of a word
    size: int = 0  # keep this many of the most frequent words; 0: no limit
    coverage: float = 1.0  # keep the fewest most frequent words that cover this share of the running words

    def check(self) -> None:
        """Raises InputError for an option out of range or combined with a list of words, and as `check_word` does."""
        for number, word in enumerate(self.words or (), 1):
            check_word(word, f"word {number} of the vocabulary")
        if self.min_count < 1 or (self.min_count > 1 and self.words is not None):
            raise InputError(f"lm.min_count is {self.min_count}; it must be 1 or more, and 1 if lm.vocabulary is set")
        if self.size < 0 or (self.size and self.words is not None):
            raise InputError(
                f"lm.vocabulary_size is {self.size}; it must be 0 (no limit) or more, and 0 if lm.vocabulary is set"
            )
        if not 0 < self.coverage <= 1 or (self.coverage < 1 and self.words is not None):
            raise InputError(
                f"lm.coverage is {self.coverage}; it must be above 0 and at most 1, and 1 if lm.vocabulary is set"
            )


def encode_texts(texts: Iterable[str], selection: Selection, memory_mb: int, folder: str | Path) -> Corpus:
    """The corpus of `texts`, one sentence each, with words separated by white space. Texts without words are skipped.

    Words that are not selected become `<unk>`. Data beyond half of `memory_mb` go to unnamed temporary files in
    `folder`. Raises InputError for a text that contains a mark, `<eps>` or NUL, for bad options and words,
    and if no word is left.
    """
    selection.check()
    corpus = new_corpus(memory_mb, folder)
    numbered = ((text, f"sentence {number}") for number, text in enumerate(texts, 1))
    _add_texts(corpus, numbered)
    return _select(corpus, selection)


def encode_files(
    paths: Iterable[str | Path],
    selection: Selection,
    memory_mb: int,
    folder: str | Path,
    unit: str = "word",
    order: int = 1,
) -> Corpus:
    """As `encode_texts`, from files: text (plain or compressed, "-"), manifests, or counts of n-grams.

    Errors name file and line. Counts must be of n-grams of `order` words or more.

    With the unit `char`, the words of the corpus are the characters of the text's words (asr.pieces.spread).
    """
    selection.check()
    corpus = new_corpus(memory_mb, folder)
    for path in paths:
        if counts_file.is_counts(path):
            counts_file.add(corpus, path, order, unit)
        else:
            add_text(corpus, path, unit)
    return _select(corpus, selection)


def new_corpus(memory_mb: int, folder: str | Path) -> Corpus:
    """A corpus without text. Data beyond half of `memory_mb` go to unnamed temporary files in `folder`."""
    if memory_mb < 1:
        raise InputError(f"lm.memory_mb is {memory_mb}; it must be 1 or more")
    return Corpus(memory_mb << 20, str(folder))


def add_text(
    corpus: Corpus, path: str | Path, unit: str = "word", span: Span = WHOLE, shows_progress: bool = True
) -> None:
    """Adds the lines of a text file, or a manifest. Raises InputError as `encode_files` does."""
    if unit == "char":
        texts = sentences([path], span, shows_progress)
        _add_texts(corpus, ((spread(text), str(path)) for text in texts))
    elif manifest.is_manifest(path):
        _add_texts(corpus, ((text, str(path)) for text in sentences([path])))
    else:
        _add_file(corpus, path, span, shows_progress)


def _add_texts(corpus: Corpus, texts: Iterator[tuple[str, str]]) -> None:
    """Adds (text, name of the text in errors) pairs."""
    while block := list(islice(texts, _BLOCK)):
        lines = "".join(text.replace("\n", " ") + "\n" for text, _ in block).encode(errors="surrogatepass")
        if (taken := corpus.add(lines)) < len(block):
            check_text(*block[taken])
            raise AssertionError("csrc/lm rejects a text that asr.lm accepts")


def _add_file(corpus: Corpus, path: str | Path, span: Span, shows_progress: bool) -> None:
    with Lines(path, span=span, shows_progress=shows_progress) as file:
        while chunk := file.chunk():
            number = file.first + corpus.add(chunk)  # of the first line that it rejects
            if number <= file.number:
                check_text(file.decode(chunk.split(b"\n")[number - file.first], number), f"{file.name}:{number}")
                raise AssertionError("csrc/lm rejects a line that asr.lm accepts")


def _select(corpus: Corpus, selection: Selection) -> Corpus:
    words = None if selection.words is None else [plain_mark(word) for word in selection.words]
    corpus.select(words, selection.min_count, selection.size, selection.coverage)
    if not corpus.num_kept or not corpus.num_seen:
        raise InputError(
            f"no word to estimate a language model from: the text has {corpus.num_seen} different words, "
            f"{corpus.num_kept} are kept; check the text, lm.vocabulary and lm.min_count"
        )
    return corpus
