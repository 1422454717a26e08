"""English text for a language model: cleaned, with its vocabulary and the pronunciations of it."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from asr.config import TextConfig
from asr.files import atomic_write
from asr.text.cleaning import clean_files
from asr.text.lexicon import Lexicon
from recipes import wheels
from recipes.english_import.pronounce import Pronouncer

CHAT = ("chitchat-dataset==0.9.0", "7bf89f36645e2d5ec87d53370c8e851b5a688479c7beb7079cb4c87fc5acea3e")
WORD = re.compile("[a-z']+")


def fetch_chat() -> Path:
    """A file of conversations (BYU chit-chat, MIT licence, 2.3 million words), one message per line; fetched by pip."""
    folder = wheels.fetch(*CHAT, {"dataset.json": "chitchat_dataset/dataset.json"}, "chitchat")
    path = folder / "chat.txt"
    if not path.exists():
        conversations = json.loads((folder / "dataset.json").read_text(encoding="utf-8")).values()
        turns = (turn for conversation in conversations for message in conversation["messages"] for turn in message)
        with atomic_write(path) as file:
            file.writelines(" ".join(turn["text"].split()) + "\n" for turn in turns)
    return path


def write_language(paths: Sequence[Path], out: Path, size: int, hama: Path) -> None:
    """Cleans the texts to `out/lm.txt`, and writes the `size` most frequent words of letters to `out/vocabulary.txt`
    and hama's pronunciations of them to `out/lexicon.txt`. Letters lose their accents."""
    cleaned = out / "clean.txt"
    clean_files([str(path) for path in paths], str(cleaned), TextConfig(lang="en"))
    counts: Counter[str] = Counter()
    with cleaned.open(encoding="utf-8") as lines, atomic_write(out / "lm.txt") as file:
        for line in lines:
            plain = "".join(c for c in unicodedata.normalize("NFKD", line) if not unicodedata.combining(c))
            counts.update(plain.split())
            file.write(plain)
    cleaned.unlink()
    ranked = [word for word, count in counts.most_common() if count > 1 and WORD.fullmatch(word)]
    spoken = Pronouncer(hama)(ranked[:size])
    with atomic_write(out / "vocabulary.txt") as file:
        file.writelines(word + "\n" for word in spoken)
    Lexicon({word: [units] for word, units in spoken.items()}).write(out / "lexicon.txt")
