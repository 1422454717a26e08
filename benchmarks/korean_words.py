"""Vocabularies of Korean: how large they are, and how many words of other texts they lack; and repair of spaces.

    python -m benchmarks.korean_words FOLDER [EVERY]

FOLDER holds text_ko/*.txt.xz and the manifests of pansori, korean_read and korean_dialog. Every EVERY-th sentence of
text_ko (default 8) is training text, and of each 400 one more is held out, if no training text equals it. Texts are
cleaned, numbers in words. The vocabularies have the most frequent units of the training text:

    eojeol      words between spaces
    morphemes   asr text split
    subwords    SentencePiece (unigram), trained on the training text; a vocabulary of that size
    syllables   asr lm train unit=char; all of them

A word is unknown if one of its pieces is outside the vocabulary; `again` counts those that other pieces of the
vocabulary cannot spell either, as a graph can use any. The first table of spacing takes the spaces of the texts away;
the second takes a third of them. Writes benchmarks/results/korean_words.json.
"""

import json
import lzma
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from sentencepiece import SentencePieceTrainer

from asr import manifest
from asr.evaluation.spacing import Spaces, spaces
from asr.files import atomic_write
from asr.pieces import fewest, spread
from asr.text.clean import clean
from asr.text.ko.morphemes import kiwi
from asr.text.split import splitter
from asr.text.spoken import spoken

SIZES = (30_000, 60_000, 100_000)
SUBWORDS = (8_000, 30_000)
HELD_OUT = 400
CORPORA = ("pansori", "korean_read", "korean_dialog")


def plain(text: str) -> str:
    return clean(spoken(text, "ko"), "ko")


def lines(folder: Path) -> Iterator[str]:
    for path in sorted((folder / "text_ko").glob("*.txt.xz")):
        with lzma.open(path, "rt", encoding="utf-8") as file:
            yield from file


def read(folder: Path, every: int) -> tuple[list[str], dict[str, list[str]]]:
    """Training texts, and the texts to test on by name."""
    train, held_out = [], []
    for number, line in enumerate(lines(folder)):
        chosen = train if number % every == 0 else held_out if number % HELD_OUT == 1 else None
        if chosen is not None and (text := plain(line)):
            chosen.append(text)
    known = set(train)
    tests = {"held out": [text for text in held_out if text not in known]}
    for name in CORPORA:
        utterances = manifest.read(folder / name / "manifest.jsonl")
        tests[name] = [plain(u.transcript) for u in utterances if u.extra["split"] == "dev"]
    return train, tests


def missing(texts: Sequence[Sequence[Sequence[str]]], vocabulary: set[str]) -> dict[str, float]:
    """Shares of words: with an unknown piece, and that no pieces of the vocabulary spell. Texts are words in pieces."""

    @cache
    def spelled(word: str) -> bool:
        return bool(fewest(word, vocabulary, 1))

    words = [word for text in texts for word in text]
    unknown = [word for word in words if not vocabulary.issuperset(word)]
    again = [word for word in unknown if not spelled("".join(word).removeprefix("▁"))]
    return {"unknown": len(unknown) / len(words), "again": len(again) / len(words)}


def in_words(pieces: str) -> list[tuple[str, ...]]:
    return [tuple(f"▁{word}".split()) for word in pieces.replace("▁", "\n").split("\n") if word.strip()]


def vocabularies(train: Sequence[str], tests: dict[str, list[str]]) -> Iterator[dict]:
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "train.txt"
        text.write_text("\n".join(train) + "\n", encoding="utf-8")
        yield from table("eojeol", lambda text: " ".join(f"▁{word}" for word in text.split()), train, tests, SIZES)
        yield from table("morphemes", splitter("morphemes"), train, tests, SIZES)
        for size in SUBWORDS:
            SentencePieceTrainer.train(
                input=str(text), model_prefix=f"{folder}/m", vocab_size=size, hard_vocab_limit=False, num_threads=1,
                character_coverage=1.0, input_sentence_size=60_000, shuffle_input_sentence=True, minloglevel=2,
                normalization_rule_name="identity",
            )  # fmt: skip
            yield from table(f"subwords {size}", splitter(f"{folder}/m.model"), train, tests, ())
        yield from table("syllables", spread, train, tests, ())


def table(name: str, split, train: Sequence[str], tests: dict[str, list[str]], sizes: Sequence[int]) -> Iterator[dict]:
    begin = time.process_time()
    words = [in_words(split(text)) for text in train]
    seconds = time.process_time() - begin
    counts = Counter(piece for text in words for word in text for piece in word)
    num_words = sum(map(len, words))
    known = {title: [in_words(split(text)) for text in texts] for title, texts in tests.items()}
    for size in (*[size for size in sizes if size < len(counts)], len(counts)):
        vocabulary = {piece for piece, _ in counts.most_common(size)}
        yield {
            "units": name, "size": size, "all": size == len(counts), "words_per_s": num_words / max(seconds, 1e-9),
            "per_word": sum(counts.values()) / num_words,
            "missing": {title: missing(texts, vocabulary) for title, texts in known.items()},
        }  # fmt: skip


def spacing(tests: dict[str, list[str]]) -> Iterator[dict]:
    rng = random.Random(1)
    for name, texts in tests.items():
        row: dict = {"texts": name}
        for title, kept in (("none", 0.0), ("two thirds", 2 / 3), ("all", 1.0)):
            given = ["".join(c for c in text if c != " " or rng.random() < kept) for text in texts]
            repaired = [" ".join(str(kiwi().space(text)).split()) for text in given]
            row[title] = {
                "before": sum(map(spaces, texts, given), Spaces()).f1,
                "after": sum(map(spaces, texts, repaired), Spaces()).f1,
            }
        yield row


def main() -> None:
    folder, every = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 8
    train, tests = read(folder, every)
    sizes = {name: {"sentences": len(t), "words": sum(len(x.split()) for x in t)} for name, t in tests.items()}
    print(f"training text: {len(train):,} sentences, {sum(len(t.split()) for t in train):,} words")
    print("tests:", sizes)
    print("unknown, again unknown of words, %:", ", ".join(tests))
    rows = []
    for row in vocabularies(train, tests):
        rows.append(row)
        rates = "  ".join(f"{100 * m['unknown']:5.2f} {100 * m['again']:5.2f}" for m in row["missing"].values())
        print(
            f"{row['units']:16} {row['size']:8,} {row['per_word']:8.2f} {row['words_per_s']:8,.0f}  {rates}", flush=True
        )
    print("F1 of spaces, %, before and after the repair, of texts with none, two thirds, and all of their spaces")
    repaired = list(spacing(tests))
    for row in repaired:
        rates = "  ".join(
            f"{100 * row[k]['before']:6.2f} {100 * row[k]['after']:6.2f}" for k in ("none", "two thirds", "all")
        )
        print(f"{row['texts']:16} {rates}")
    found = {"every": every, "train": len(train), "tests": sizes, "vocabularies": rows, "spacing": repaired}
    with atomic_write(Path(__file__).parent / "results/korean_words.json") as file:
        json.dump(found, file, ensure_ascii=False, indent=1)


if __name__ == "__main__":
    main()
