"""The verbs `asr punctuation ...`: see asr/cli/verbs.py."""

from typing import TYPE_CHECKING

from asr.cli.inputs import needed_output, only_input
from asr.config import Config
from asr.errors import InputError

if TYPE_CHECKING:
    from asr.punctuation.tagger import Tagger


def punctuation_train(cfg: Config) -> None:
    """Trains a net that puts punctuation and capitals into recognised words, on well-written text.

    asr punctuation train a.txt.xz b.txt output=net.npz [epochs=N]

    Reads texts (plain or compressed) with one sentence per line, with punctuation and capitals. Consecutive lines count
    as consecutive sentences: shuffle a sorted text. Keep some text out, for `asr punctuation score`.
    """
    import torch

    from asr.punctuation import file
    from asr.punctuation.training import corpus, train

    path = needed_output(cfg, "the punctuation net")
    if not cfg.input:
        raise InputError("asr punctuation train needs texts: asr punctuation train books.txt output=net.npz")
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    texts = corpus(cfg.input)
    print(f"{len(texts.ends):,} sentences, {len(texts.words):,} words")
    file.write(path, train(texts, cfg.punctuation.epochs, cfg.seed))
    print(f"-> {path}")


def punctuation_apply(cfg: Config) -> None:
    """Puts punctuation and capitals into texts, one sentence or utterance per line.

    asr punctuation apply words.txt output=text.txt lang=en|ko [punctuation.model=FILE]

    Words that have a capital or a mark keep it, but for capitals of lines that have no small letter. `asr text write`,
    which writes numbers, comes first.
    """
    from asr.files import atomic_write, keep_inputs
    from asr.manifest import is_manifest
    from asr.punctuation.tagger import without_capitals
    from asr.textfiles import lines

    path = needed_output(cfg, "the text with punctuation")
    source = only_input(cfg, "a text")
    keep_inputs([path], [source])
    if is_manifest(source):
        raise InputError(f"{source} is a manifest; asr punctuation apply takes a text, one sentence per line")
    tagger = _tagger(cfg)
    total = 0
    with atomic_write(path) as file:
        for _, line in lines(source, "text", "one sentence per line"):
            words = line.split()
            file.write(" ".join(tagger.punctuated(without_capitals(words) if tagger.has_cases else words)) + "\n")
            total += 1
    print(f"{total:,} lines -> {path}")


def punctuation_score(cfg: Config) -> None:
    """Scores punctuation and capitals on well-written text: precision, recall and F1, beside a baseline.

    asr punctuation score book.txt lang=en|ko [punctuation.model=FILE] [lines=N]

    The text must be none that the net was trained on. `lines` of it are one text. The baseline puts a full stop at the
    end of each text and a capital at its start.
    """
    from asr.punctuation.scores import baseline, score, table
    from asr.punctuation.training import texts_of

    if not cfg.input:
        raise InputError("asr punctuation score needs texts: asr punctuation score book.txt lang=en")
    tagger = _tagger(cfg)
    texts = list(texts_of(cfg.input, cfg.punctuation.lines))
    print(f"{len(texts):,} texts, {sum(map(len, texts)):,} words")
    for name, tags in (("net", tagger.tags), ("baseline", baseline)):
        print(f"\n{name}\n{table(score(texts, tags, tagger.has_cases))}")


def _tagger(cfg: Config) -> "Tagger":
    from asr.punctuation.file import read, trained
    from asr.punctuation.tagger import Tagger

    model = cfg.punctuation.model
    return trained(cfg.text.lang) if model == "default" else Tagger(read(model))
