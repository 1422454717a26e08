"""Texts in pieces of words: particles and endings of Korean do not inflate a vocabulary of pieces.

    나는 학교에 갔다  ->  ▁나 는 ▁학교 에 ▁갔 다

`▁` begins a word (asr.pieces), so the pieces of a recognised text are joined to spaced words again.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from asr.errors import InputError, missing
from asr.files import atomic_write, keep_inputs, packed
from asr.lm.texts import sentences
from asr.pieces import BEGIN, Segmenter, joined
from asr.text.ko.morphemes import morphemes
from asr.tokens import BLANK, Tokens
from asr.words import is_slot

Splitter = Callable[[str], str]
MORPHEMES = "morphemes"


def splitter(pieces: str) -> Splitter:
    """The function from a text to its pieces: `morphemes` (Korean), or those of a net's tokens.txt or of a file with a
    model of SentencePiece.

    It raises InputError for a text that its pieces would not spell again.
    """
    split = morphemes if pieces == MORPHEMES else _of_table(pieces) or _sentencepiece(pieces)

    def checked(text: str) -> str:
        words = text.split()
        if odd := next((word for word in words if BEGIN in word or is_slot(word)), None):
            raise InputError(f"'{odd}' cannot be in a text that is split: {BEGIN} and <...> are marks; remove it")
        found = split(" ".join(words))
        if joined(found.split()) != " ".join(words):
            raise InputError(f"the model of {pieces} changes the text '{text}' to '{joined(found.split())}'; clean the "
                             "text, or train the model with --normalization_rule_name=identity")  # fmt: skip
        return found

    return checked


def split_files(inputs: Sequence[str], output: str, pieces: str) -> tuple[int, int, int]:
    """Writes the sentences of texts or manifests in pieces, one per line; returns how many sentences, words and pieces.

    Raises InputError as `splitter` and `asr.lm.texts.sentences` do, and if the output is also an input.
    """
    keep_inputs([output], [*inputs, pieces])
    split = splitter(pieces)
    num_sentences = num_words = num_pieces = 0
    with atomic_write(output, "wb") as file, packed(file, output) as out:
        for text in tqdm(_sentences(inputs), desc="split", unit=" sentences", delay=2.0, leave=False):
            found = split(text)
            out.write(found.encode() + b"\n")
            num_sentences, num_words = num_sentences + 1, num_words + len(text.split())
            num_pieces += len(found.split())
    if not num_sentences:
        raise InputError(f"{', '.join(inputs)}: no sentence to split")
    return num_sentences, num_words, num_pieces


def _sentences(inputs: Sequence[str]) -> Iterator[str]:
    return (text for text in sentences(inputs) if text.strip())


def _of_table(path: str) -> Splitter | None:
    """The pieces that a net outputs; None if the file is no table of tokens."""
    if not Path(path).is_file() or not Path(path).read_bytes().startswith(f"{BLANK}\n".encode()):
        return None
    pieces = Segmenter(Tokens.read(path))
    return lambda text: " ".join(piece for word in text.split() for piece in pieces.pronounce(word))


def _sentencepiece(path: str) -> Splitter:
    if not Path(path).is_file():
        raise InputError(
            f"text.pieces={path}: expected {MORPHEMES}, a net's tokens.txt, or a file with a model of SentencePiece"
        )
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError as e:
        raise InputError(missing("korean", f"{path}, a model of SentencePiece,", "sentencepiece")) from e
    try:
        model = SentencePieceProcessor(model_file=path)
    except (RuntimeError, OSError) as e:
        raise InputError(f"{path} is not a model of SentencePiece: {e}") from e
    return lambda text: _attached(model.encode(text, out_type=str))


def _attached(pieces: list[str]) -> str:
    """The pieces, each `▁` that stands alone joined with the piece behind it."""
    return " ".join(pieces).replace(f"{BEGIN} ", BEGIN)
