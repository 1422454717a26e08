"""Texts as tokens of GPT-2's byte-level vocabulary, of which Whisper's is one, by byte pair encoding.

Words are separated by single spaces, which are part of the words that they precede. A vocabulary may be a part of
Whisper's: words in other characters are spelled with shorter tokens, at last with bytes.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from asr.errors import InputError
from asr.features.encoders.json_files import read_json

BYTES = 256
END = "<|endoftext|>"
LANGUAGES = ("en", "ko")
USUAL = 1e-4  # the share of a text's bytes from which a byte is usual
Pair = tuple[str, str]


def beginning(language: str) -> list[str]:
    """The tokens before a transcript without times."""
    return ["<|startoftranscript|>", f"<|{language}|>", "<|transcribe|>", "<|notimestamps|>"]


def _characters() -> list[str]:
    """GPT-2's table: printable bytes of Latin-1 stand for themselves, the others are shifted past 255, in order."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(BYTES, 2 * BYTES))
    return [chr(byte if byte in printable else next(others)) for byte in range(BYTES)]


CHARACTERS = _characters()


class Pieces:
    """Thread-safe. `tokens` by id, and `merges`: pairs of tokens, those that are joined first at the front."""

    def __init__(self, tokens: Sequence[str], merges: Sequence[Pair]):
        """Raises ValueError for a token that occurs twice, if a byte is missing, or for pairs that give no token."""
        self.tokens, self.merges = list(tokens), [(first, second) for first, second in merges]
        self.ids = {token: id for id, token in enumerate(tokens)}
        if len(self.ids) < len(self.tokens) or not self.ids.keys() >= {*CHARACTERS, END}:
            raise ValueError("a token occurs twice, or one of the bytes or the end is missing")
        if not all(a in self.ids and b in self.ids and a + b in self.ids for a, b in self.merges):
            raise ValueError("two tokens are joined to none")
        self._rank = {pair: rank for rank, pair in enumerate(self.merges)}

    def encode(self, text: str) -> list[int]:
        return [self.ids[token] for word in text.split() for token in self._spelled(f" {word}")]

    def kept(self, texts: Iterable[str], marks: Iterable[str]) -> "Pieces":
        """The part of the vocabulary that these texts need or other words in their usual characters may need, the
        bytes, and the tokens `marks`; ids change."""
        made = {a + b: (a, b) for a, b in reversed(self.merges)}
        words: set[str] = set()
        counts: Counter[int] = Counter()
        for text in texts:
            words.update(text.split())
            counts.update(f" {text}".encode(errors="replace"))
        usual = {CHARACTERS[byte] for byte, count in counts.items() if count >= USUAL * counts.total()}
        waiting = [token for word in words for token in self._spelled(f" {word}")]
        waiting += [token for token in made if usual.issuperset(token)]
        kept = {*CHARACTERS, END, *marks}
        while waiting:
            if (token := waiting.pop()) not in kept:
                kept.add(token)
                waiting += made[token]
        merges = [(a, b) for a, b in self.merges if {a, b, a + b} <= kept]
        return Pieces([token for token in self.tokens if token in kept], merges)

    def _spelled(self, word: str) -> list[str]:
        parts = [CHARACTERS[byte] for byte in word.encode(errors="replace")]
        while len(parts) > 1:
            ranks = [self._rank.get(pair, len(self._rank)) for pair in zip(parts, parts[1:], strict=False)]
            if (best := min(ranks)) == len(self._rank):
                break
            at = ranks.index(best)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        return parts


def read_tokenizer(path: Path, num_tokens: int) -> Pieces:
    """The vocabulary in a `tokenizer.json` of Hugging Face. Raises InputError if it is missing or damaged, or does not
    have so many tokens."""
    data = read_json(path)
    try:
        model = data["model"]
        by_id = {id: token for token, id in model["vocab"].items()} | {
            t["id"]: t["content"] for t in data["added_tokens"]
        }
        tokens = [by_id[id] for id in range(num_tokens)]
        pairs = (pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"])
        return Pieces(tokens, [(first, second) for first, second in pairs])
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise InputError(f"{path} is not the tokeniser of a Whisper model of {num_tokens} tokens ({e!r:.200}); copy "
                         "or download it again") from e  # fmt: skip
