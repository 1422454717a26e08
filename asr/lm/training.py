"""Estimation of language models from texts or text files, with a report."""

import logging
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.config import LmConfig
from asr.errors import InputError
from asr.files import atomic_write, keep_inputs, packed
from asr.lm import score
from asr.lm.corpus import Selection, encode_files, encode_texts
from asr.lm.counting import Workers, counted
from asr.lm.estimation import Discounts, Estimation
from asr.lm.model import NgramModel
from asr.lm.texts import sentences
from asr.pieces import are_pieces, spread
from asr.textfiles import lines
from asr.words import check_word, plain_mark

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Report:
    """The report of `train_file`."""

    arpa: str
    sentences: int
    words: int  # running words of the training text
    unknown: int  # running words outside the vocabulary
    seen: int  # different words in the text
    vocabulary: int  # words of the model, without the marks
    ngrams: list[int]  # per order
    pruned: list[int]  # per order from 2 on
    discounts: list[Discounts]  # per order
    perplexity: float  # of the training text, with `<unk>` as a word
    dev: score.Score | None
    duration_s: float

    def __str__(self) -> str:
        lines = [
            f"text        {self.sentences:,} sentences, {self.words:,} words, {self.unknown:,} of these <unk>",
            f"vocabulary  {self.vocabulary:,} words; {self.seen:,} in the text, "
            f"{1 - self.unknown / self.words:.2%} of whose running words are covered",
        ]
        table = zip(self.ngrams, [0, *self.pruned], self.discounts, strict=True)
        for n, (ngrams, pruned, discounts) in enumerate(table, 1):
            lines.append(f"{n}-grams     {ngrams:,}; " + f"{pruned:,} pruned; " * (pruned > 0) + str(discounts))
        lines.append(f"perplexity  {self.perplexity:.2f} of the training text")
        if self.dev:
            lines.append(f"dev         {self.dev}")
        return "\n".join([*lines, f"-> {self.arpa} ({self.duration_s:.1f} s)"])


def train(
    texts: Iterable[str],
    order: int,
    vocabulary: Iterable[str] | None = None,
    min_count: int = 1,
    vocabulary_size: int = 0,
    coverage: float = 1.0,
    prune: Sequence[int] = (),
    memory_mb: int = LmConfig.memory_mb,
) -> NgramModel:
    """The n-gram model of `texts`, one sentence each, with words separated by white space.

    Words outside `vocabulary`, or else words that `min_count`, `vocabulary_size` and `coverage` exclude, become `<unk>`
    (see `Selection`). N-grams with a count of at most `prune[n - 1]` are dropped. Raises InputError for text without
    words or with `<s>`, `</s>`, `<unk>` or `<eps>` in it, for a vocabulary entry that cannot be a word, for an order
    that is not from 1 to 8, for other bad options, and if the disk is full.
    """
    words = None if vocabulary is None else list(vocabulary)
    selection = Selection(words, min_count, vocabulary_size, coverage)
    try:
        estimation = Estimation(encode_texts(texts, selection, memory_mb, tempfile.gettempdir()), order, prune)
        for n, discounts in enumerate(estimation.discounts, 1):
            if discounts.fallback:
                _log.warning("%d-grams: %s", n, discounts)
        return estimation.model()
    except OSError as e:
        raise InputError(f"cannot estimate the language model: {e}") from e


def train_file(cfg: LmConfig, dev: Sequence[str | Path] = (), workers: Workers | None = None) -> Report:
    """Estimates a model of the files `cfg.text` (plain or compressed, "-", manifests, or counts) and writes `cfg.arpa`,
    which must not be one of them. `workers` share the counting of large texts.

    The report has the perplexity of the training text, and of the files `dev` if given. Raises InputError as `train`
    does, naming the file and the line.
    """
    if not cfg.text:
        raise InputError("lm.text is empty; name at least one file with one sentence per line")
    begin_s = time.monotonic()
    keep_inputs([cfg.arpa], [*cfg.text, cfg.vocabulary, *dev])
    words = read_words(cfg)
    folder = Path(cfg.arpa).parent
    selection = Selection(words, cfg.min_count, cfg.vocabulary_size, cfg.coverage)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with counted(cfg, cfg.arpa, workers) as paths:
            corpus = encode_files(paths, selection, cfg.memory_mb, folder, cfg.unit, cfg.order)
            estimation = Estimation(corpus, cfg.order, cfg.prune)
            with atomic_write(cfg.arpa, "wb") as file, packed(file, cfg.arpa) as out:
                log10_prob = estimation.write(out)
    except OSError as e:
        raise InputError(f"cannot write the language model {cfg.arpa}: {e}") from e
    return Report(
        arpa=str(cfg.arpa),
        sentences=corpus.num_sentences,
        words=corpus.num_words,
        unknown=corpus.num_unknown,
        seen=corpus.num_seen,
        vocabulary=corpus.num_kept,
        ngrams=estimation.listed,
        pruned=[seen - listed for seen, listed in zip(estimation.seen[1:], estimation.listed[1:], strict=True)],
        discounts=estimation.discounts,
        perplexity=score.perplexity_of(log10_prob, corpus.num_words + corpus.num_sentences),
        dev=score.perplexity(cfg.arpa, sentences(dev)) if dev else None,
        duration_s=time.monotonic() - begin_s,
    )


def read_words(cfg: LmConfig) -> list[str] | None:
    """The words of the list `cfg.vocabulary`, in the unit of the model; None without one."""
    words = read_vocabulary(cfg.vocabulary) if cfg.vocabulary else None
    if words and cfg.unit == "char" and not are_pieces(words):
        return list(dict.fromkeys(piece for word in words for piece in spread(word).split()))
    return words


def read_vocabulary(path: str | Path) -> list[str]:
    """The words of a list, one per line. Raises InputError naming a line with several words, or with an invalid one."""
    words = []
    for number, line in lines(path, "vocabulary", "one word per line"):
        fields = line.split()
        if len(fields) > 1:
            raise InputError(f"{path}:{number}: expected one word per line, found {len(fields)}")
        words += [plain_mark(check_word(word, f"{path}:{number}")) for word in fields]
    return words
