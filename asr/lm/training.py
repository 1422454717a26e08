"""From text to an ARPA file, with a report."""

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.config import LmConfig
from asr.errors import InputError
from asr.lm import score
from asr.lm.corpus import encode
from asr.lm.model import MARKS, NgramModel
from asr.lm.ngram import Discounts, count, estimate, log10_likelihood
from asr.lm.texts import Lines, sentences

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Report:
    arpa: str
    sentences: int
    words: int  # running words of the training text
    unknown: int  # of these outside the vocabulary
    vocabulary: int  # words, without the marks
    ngrams: list[int]  # of each order
    discounts: list[Discounts]  # of each order
    perplexity: float  # of the training text, `<unk>` counted as a word
    dev: score.Score | None
    duration_s: float

    def __str__(self) -> str:
        lines = [
            f"text        {self.sentences:,} sentences, {self.words:,} words, {self.unknown:,} of these <unk>",
            f"vocabulary  {self.vocabulary:,} words",
        ]
        for n, (ngrams, discounts) in enumerate(zip(self.ngrams, self.discounts, strict=True), 1):
            lines.append(f"{n}-grams     {ngrams:,}; {discounts}")
        lines.append(f"perplexity  {self.perplexity:.2f} of the training text")
        if self.dev:
            lines.append(f"dev         {self.dev}")
        return "\n".join([*lines, f"-> {self.arpa} ({self.duration_s:.1f} s)"])


def train(texts: Iterable[str], order: int, vocabulary: Iterable[str] | None = None, min_count: int = 1) -> NgramModel:
    """The n-gram model of `texts`, a sentence each, words between white space.

    Words outside `vocabulary`, or else those seen less than `min_count` times, become `<unk>`. Raises InputError for
    text without words or with `<s>`, `</s>`, `<unk>` in it, and for an order outside 1 to 8.
    """
    corpus = encode(texts, vocabulary, min_count)
    model, all_discounts = estimate(count(corpus, order), corpus.words)
    for n, discounts in enumerate(all_discounts, 1):
        if discounts.fallback:
            _log.warning("%d-grams: %s", n, discounts)
    return model


def train_file(cfg: LmConfig, dev: Sequence[str | Path] = ()) -> Report:
    """Estimate the model of the files `cfg.text` (text, .gz, .xz, "-", or manifests *.jsonl) and write `cfg.arpa`.

    Perplexity is reported of the training text, and of the files `dev` where given. Raises InputError as `train`
    does, naming the file and the line.
    """
    if not cfg.text:
        raise InputError("lm.text is empty; name at least one file with a sentence a line")
    begin_s = time.monotonic()
    vocabulary = read_vocabulary(cfg.vocabulary) if cfg.vocabulary else None
    corpus = encode(sentences(cfg.text), vocabulary, cfg.min_count)
    levels = count(corpus, cfg.order)
    model, discounts = estimate(levels, corpus.words)
    model.write_arpa(cfg.arpa)
    return Report(
        arpa=str(cfg.arpa),
        sentences=corpus.num_sentences,
        words=corpus.num_words,
        unknown=corpus.num_unknown,
        vocabulary=len(corpus.words) - len(MARKS),
        ngrams=[len(ngrams.ids) for ngrams in model.orders],
        discounts=discounts,
        perplexity=score.perplexity_of(log10_likelihood(levels, model), corpus.num_words + corpus.num_sentences),
        dev=score.perplexity(cfg.arpa, sentences(dev)) if dev else None,
        duration_s=time.monotonic() - begin_s,
    )


def read_vocabulary(path: str | Path) -> list[str]:
    """The words of a list, one a line. Raises InputError naming the line that holds more than one."""
    words = []
    with Lines(path) as lines:
        for block in lines.blocks():
            for number, line in enumerate(block, lines.number - len(block) + 1):
                fields = line.decode("utf-8-sig", errors="replace").split()
                if len(fields) > 1:
                    raise InputError(f"{path}:{number}: expected one word a line, found {len(fields)}")
                words += fields
    return words
