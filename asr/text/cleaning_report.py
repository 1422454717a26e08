"""What the cleaning of a text changed and dropped: counts, and random examples from the whole text."""

import json
import random
import unicodedata
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from asr.files import atomic_write

EXAMPLES = 5  # per kind
MOST_OUTSIDE = 20  # characters named in the table; the JSON report has all
_CONTEXT = 2  # words shown on each side of a change
_WIDTH = 60  # characters of an example in the table

CHANGES = {
    "unicode": "composed characters (NFC), normal width",
    "transcription": "marks of Korean transcripts: (written)/(spoken), b/ n/ l/ o/ u/",
    "numbers": "numbers, units, symbols and abbreviations in words",
    "case": "lower case",
    "punctuation": "punctuation, symbols and extra spaces removed",
}
NOTICES = {
    "wrong encoding": "kept: decoded in a wrong encoding; decode the source again",
    "marks": "kept as words: what stands in <>, [] or {}; text.repairs=marks removes it",
    "outside the alphabet": "kept: characters that are counted below; replace them (text.repairs), or keep them",
}
DROPS = {
    "no words": "nothing but punctuation",
    "foreign": "too many letters of other scripts",
    "repeated": "occurs more often than text.max_repeats",
    "not UTF-8": "convert the file, for instance with iconv",
    "malformed": "lines of a manifest that are not utterances",
}


@dataclass
class Finding:
    """One kind of change, with examples (before, after), or one reason to drop, with examples (where, text)."""

    count: int = 0
    examples: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class CleaningReport:
    inputs: list[str]
    output: str
    texts: int = 0  # sentences or utterances read
    words: int = 0
    kept_texts: int = 0
    kept_words: int = 0
    changed: dict[str, Finding] = field(default_factory=dict)  # kind -> sentences changed
    dropped: dict[str, Finding] = field(default_factory=dict)  # reason -> sentences dropped
    noticed: dict[str, Finding] = field(default_factory=dict)  # what stays, for people to look at
    outside: dict[str, int] = field(default_factory=dict)  # characters of kept text outside the alphabet

    def __post_init__(self) -> None:
        self._draws = random.Random(1)

    def take(self, raw: str, kept: str) -> None:
        """Counts a text that was read, and its part that was kept; `kept` is empty for a dropped text."""
        self.texts += 1
        self.words += len(raw.split())
        self.kept_texts += kept != ""
        self.kept_words += len(kept.split())

    def change(self, kind: str, before: str, after: str) -> None:
        finding = self.changed.setdefault(kind, Finding())
        if (place := self._place(finding)) is not None:
            finding.examples[place : place + 1] = [difference(before, after)]

    def drop(self, reason: str, where: str, text: str) -> None:
        self._add(self.dropped, reason, where, text)

    def notice(self, kind: str, where: str, text: str) -> None:
        self._add(self.noticed, kind, where, text)

    def count_outside(self, characters: list[str], where: str, text: str) -> None:
        """Counts characters of a kept text that are outside the alphabet of its language."""
        for character in characters:
            self.outside[character] = self.outside.get(character, 0) + 1
        self.notice("outside the alphabet", where, text)

    def _add(self, findings: dict[str, Finding], kind: str, where: str, text: str) -> None:
        finding = findings.setdefault(kind, Finding())
        if (place := self._place(finding)) is not None:
            finding.examples[place : place + 1] = [(where, text)]

    def _place(self, finding: Finding) -> int | None:
        """Counts one more occurrence. Returns the index at which its example is kept, or None: each example is kept
        with the same probability (Vitter's algorithm R)."""
        finding.count += 1
        if len(finding.examples) < EXAMPLES:
            return len(finding.examples)
        place = int(self._draws.random() * finding.count)
        return place if place < EXAMPLES else None

    @property
    def path(self) -> Path:
        return Path(f"{self.output}.report.json")

    def write(self) -> None:
        with atomic_write(self.path) as file:
            json.dump(asdict(self), file, ensure_ascii=False, indent=1)

    def table(self) -> str:
        """The report as text."""
        lines = [
            f"kept {self.kept_texts:,} of {self.texts:,} sentences, {self.kept_words:,} words of {self.words:,}"
            f" -> {self.output}, {self.path}"
        ]
        for title, findings, meanings, separator in (
            ("changed", self.changed, CHANGES, "->"),
            ("dropped", self.dropped, DROPS, "|"),
            ("noticed", self.noticed, NOTICES, "|"),
        ):
            for kind, finding in findings.items():
                lines += ["", f"{title} {kind:20} {finding.count:9,} sentences   {meanings.get(kind, '')}".rstrip()]
                lines += [f"    {_short(left)} {separator} {_short(right)}" for left, right in finding.examples]
        if self.outside:
            named = [f"{_visible(c)} {count:,}" for c, count in Counter(self.outside).most_common(MOST_OUTSIDE)]
            more = len(self.outside) - len(named)
            lines += ["", "characters outside the alphabet: " + ", ".join(named) + (f" and {more} more" * (more > 0))]
        return "\n".join(lines) + "\n"


def _visible(character: str) -> str:
    """The character with its code point; marks and invisible characters as the code point alone."""
    code = f"U+{ord(character):04X}"
    return f"{character} ({code})" if character.isprintable() and not unicodedata.combining(character) else code


def difference(before: str, after: str) -> tuple[str, str]:
    """Both texts from the first to the last word that differs, with a few words of context."""
    old, new = before.split(), after.split()
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    first, last = max(0, start - _CONTEXT), max(0, end - _CONTEXT)
    return " ".join(old[first : len(old) - last]), " ".join(new[first : len(new) - last])


def _short(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."
