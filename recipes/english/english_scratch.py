"""Chapters of three readers, by models that have heard nothing else but another chapter of each.

The language model is a trigram of 20,000 words over public-domain books, none of which is read here, and of the
training chapters. Pronunciations are those of the CMU dictionary; the words that it lacks are guessed.
"""

from collections import Counter
from dataclasses import replace
from itertools import chain
from pathlib import Path

from asr import manifest
from asr.config import Config, G2pConfig, TextConfig
from asr.data import corpora
from asr.errors import InputError
from asr.files import atomic_write
from asr.g2p.pronunciation import guesser
from asr.text.cleaning import clean_files
from asr.text.lexicon import Lexicon
from recipes.english.prepare import read

TEST = ("198", "496", "124992")  # chapters of libri_en: the shorter one of each reader
DEV_EVERY = 8  # utterances of the other chapters
VOCABULARY = 20_000


def prepare(cfg: Config) -> str:
    """Write `{train,dev,test}.jsonl`, `lm.txt` and `lexicon.txt` in `cfg.data.dir`."""
    out, root = Path(cfg.data.dir), cfg.data.root
    books = corpora.find("text_en", root)
    if books is None:
        raise InputError("no folder text_en: set data.root to a folder that holds text_en/books.txt.xz")
    chapters = read("libri_en", root)
    others = [u for u in chapters if u.extra["chapter"] not in TEST]
    sets = {
        "train": [u for number, u in enumerate(others) if number % DEV_EVERY],
        "dev": others[::DEV_EVERY],
        "test": [u for u in chapters if u.extra["chapter"] in TEST],
    }
    for name, utterances in sets.items():
        manifest.write(out / f"{name}.jsonl", [replace(u, extra={}) for u in utterances])
    counts = write_text(books / "books.txt.xz", [u.transcript for u in sets["train"]], out / "lm.txt")
    words = {word for word, _ in counts.most_common(VOCABULARY)}
    words.update(word for name in ("train", "dev") for u in sets[name] for word in u.transcript.split())
    Lexicon.cmudict(sorted(words), guesser(G2pConfig())).write(out / "lexicon.txt")
    return f"real speech: {corpora.find('libri_en', root)}; language model of {books}/books.txt.xz"


def write_text(books: Path, transcripts: list[str], path: Path) -> Counter[str]:
    """Write the clean text of the books, then the transcripts; returns how often each word occurs."""
    cleaned = path.with_name("clean.txt")
    clean_files([str(books)], str(cleaned), TextConfig(lang="en"))
    counts: Counter[str] = Counter()
    with cleaned.open(encoding="utf-8") as lines, atomic_write(path) as file:
        for line in chain(lines, (f"{text}\n" for text in transcripts)):
            counts.update(line.split())
            file.write(line)
    cleaned.unlink()
    return counts
