"""Cleaning of whole text files and manifests: repairs, numbers in words, normalisation; foreign and repeated sentences
are dropped.

Memory does not grow with the text, except for the fingerprints of sentences if `text.max_repeats` is set.
"""

import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import TypeVar

from tqdm import tqdm

from asr import manifest
from asr.config import TextConfig
from asr.errors import InputError
from asr.files import atomic_write, keep_inputs, packed
from asr.manifest import Utterance
from asr.text.characters import composed, is_mojibake
from asr.text.clean import LANGUAGES, clean
from asr.text.cleaning_report import CleaningReport
from asr.text.ko import transcription
from asr.text.repair import MARK, repairs
from asr.text.sentences import split
from asr.text.spoken import spoken
from asr.textfiles import Lines
from asr.words import is_slot

_LETTER = re.compile(r"[^\W\d_]")
_SLOT = re.compile("<[^ ]*>")  # nothing else in clean text has angle brackets
_FOREIGN = {  # letters of other scripts
    "en": re.compile("[^\\W\\d_a-zA-Zª-ɏḀ-ỿ]"),
    "ko": re.compile("[^\\W\\d_가-힣ㄱ-ㆎᄀ-ᇿ]"),
}


Item = TypeVar("Item")
ALPHABETS = {"en": "a-z'", "ko": "가-힣"}  # of clean text; the report names other characters


class Cleaner:
    """Cleans texts one by one and adds to the report. Raises InputError for invalid settings."""

    def __init__(self, settings: TextConfig, report: CleaningReport):
        self.settings, self.report = settings, report
        if settings.lang not in LANGUAGES:
            raise InputError(f"text.lang={settings.lang}: expected one of {', '.join(LANGUAGES)}")
        if not 0 <= settings.max_repeats <= Seen.MOST:
            raise InputError(f"text.max_repeats={settings.max_repeats}: expected 0 (any number) to {Seen.MOST}")
        lang = settings.lang
        self.steps: list[tuple[str, Callable[[str], str]]] = [("unicode", composed)]
        self.steps += [(f"repair {name}", repair) for name, repair in repairs(settings.repairs).items()]
        if lang == "ko":
            self.steps.append(("transcription", lambda text: transcription.plain(text, settings.numbers == "words")))
        if settings.numbers == "words":
            self.steps.append(("numbers", lambda text: spoken(text, lang, settings.latin == "letters")))
        self.steps += [("case", str.lower), ("punctuation", lambda text: clean(text, lang))]
        if settings.slots:
            self.steps = [(kind, _around(settings.slots, step)) for kind, step in self.steps]
        self.seen = Seen()
        self.outside = re.compile(f"[^ {ALPHABETS[lang]}{'' if settings.numbers == 'words' else '0-9.'}]")

    def __call__(self, raw: str, where: str) -> str | None:
        """The cleaned text, or None if it is dropped. `where` names the text in the report."""
        text, marks = raw, []
        for kind, step in self.steps:
            if kind == "case":
                marks = [mark for mark in MARK.findall(text) if mark not in self.settings.slots]
            before, text = text, step(text)
            if text != before:
                self.report.change(kind, before, text)
        if is_mojibake(raw):
            self.report.notice("wrong encoding", where, raw)
        if marks:
            self.report.notice("marks", where, f"{' '.join(marks)} in: {raw}")
        reason = self._reason_to_drop(text)
        self.report.take(raw, "" if reason else text)
        if reason:
            self.report.drop(reason, where, raw)
        elif outside := self.outside.findall(_SLOT.sub("", text)):
            self.report.count_outside(outside, where, text)
        return None if reason else text

    def _reason_to_drop(self, text: str) -> str | None:
        if not _LETTER.search(text) and not (self.settings.numbers == "digits" and text):
            return "no words"
        without_slots = _SLOT.sub("", text)
        foreign = len(_FOREIGN[self.settings.lang].findall(without_slots))
        if foreign and foreign > self.settings.max_foreign * len(_LETTER.findall(without_slots)):
            return "foreign"
        most = self.settings.max_repeats
        return "repeated" if most and self.seen.add(text) > most else None


def _around(slots: Sequence[str], step: Callable[[str], str]) -> Callable[[str], str]:
    """Applies `step` to the text between slots only. Raises InputError for a slot without angle brackets."""
    if odd := next((slot for slot in slots if not is_slot(slot) or " " in slot), None):
        raise InputError(f"text.slots: '{odd}' is not a slot; expected a word in angle brackets, such as <name>")
    mark = re.compile(f"({'|'.join(map(re.escape, slots))})")

    def applied(text: str) -> str:
        parts = mark.split(text)  # slots at odd indices
        if len(parts) == 1:
            return step(text)
        return " ".join(" ".join(part if i % 2 else step(part) for i, part in enumerate(parts)).split())

    return applied


class Seen:
    """Counts occurrences of texts by 64-bit fingerprints in an open hash table: 14 to 27 bytes per distinct text."""

    MOST = 254

    def __init__(self) -> None:
        self._keys, self._counts, self._used = array("Q", bytes(8 << 10)), bytearray(1 << 10), 0

    def add(self, text: str) -> int:
        """Adds a text and returns how often it has occurred; the count stops at `MOST` + 1."""
        key = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")
        slot = self._slot(key)
        if not self._counts[slot]:
            self._keys[slot] = key
            self._used += 1
        self._counts[slot] = count = min(self._counts[slot] + 1, self.MOST + 1)
        if 3 * self._used > 2 * len(self._keys):
            self._grow()
        return count

    def _slot(self, key: int) -> int:
        mask = len(self._keys) - 1
        slot = key & mask
        while self._counts[slot] and self._keys[slot] != key:
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        keys, counts = self._keys, self._counts
        self._keys, self._counts = array("Q", bytes(16 * len(keys))), bytearray(2 * len(keys))
        for key, count in zip(keys, counts, strict=True):
            if count:
                slot = self._slot(key)
                self._keys[slot], self._counts[slot] = key, count


def clean_files(inputs: Sequence[str], output: str, settings: TextConfig) -> CleaningReport:
    """Cleans texts (plain, compressed, manifests) into one file, a sentence per line, or manifests into one manifest.

    An output that ends in .jsonl is a manifest, and so is an input whose content is one. The report is written to
    OUTPUT.report.json. It names lines that are not UTF-8 and malformed utterances; the output leaves them out. Raises
    InputError for an unreadable file, for invalid settings, if the output is also an input, and if the output is a
    manifest but an input is not; and without changing the output, if the inputs are empty.
    """
    report = CleaningReport(list(inputs), output)
    keep_inputs([output, report.path], [*inputs, *settings.repairs])
    cleaner = Cleaner(settings, report)
    if output.endswith(".jsonl"):
        if texts := [path for path in inputs if not manifest.is_manifest(path)]:
            raise InputError(f"{texts[0]} is not a manifest (*.jsonl), so {output} cannot be one; name it *.txt")
        manifest.write(output, _some(_utterances(inputs, cleaner), report))
    else:
        with atomic_write(output, "wb") as file, packed(file, output) as out:
            for text in _some(_texts(inputs, cleaner), report):
                out.write(text.encode() + b"\n")
    report.write()
    return report


def _some(items: Iterator[Item], report: CleaningReport) -> Iterator[Item]:
    """The items. Raises InputError at their end if the inputs were empty."""
    is_empty = True
    for item in items:
        is_empty = False
        yield item
    if is_empty and not report.texts and not report.dropped:
        raise InputError(f"{', '.join(report.inputs)}: there is no text to clean")


def _utterances(paths: Sequence[str], cleaner: Cleaner) -> Iterator[Utterance]:
    for path in paths:
        bad_lines: dict[int, InputError] = {}
        stream = manifest.stream(path, bad_lines)
        for utterance in tqdm(stream, desc=f"clean {path}", unit=" utterances", delay=2.0, leave=False):
            if utterance.text is None:
                cleaner.report.drop("no text", f"{path}: {utterance.id}", "")
                continue
            if not utterance.text:  # nothing is said
                yield utterance
                continue
            text = cleaner(utterance.text, f"{path}: {utterance.id}")
            if text is not None:
                yield replace(utterance, text=text)
        for number, error in bad_lines.items():
            cleaner.report.drop("malformed", f"{path}:{number}", str(error))


def _texts(paths: Sequence[str], cleaner: Cleaner) -> Iterator[str]:
    for path in paths:
        if manifest.is_manifest(path):
            yield from (utterance.text for utterance in _utterances([path], cleaner) if utterance.text)
            continue
        for where, line in _lines(path, cleaner.report):
            for sentence in split(line, cleaner.settings.lang) if cleaner.settings.paragraphs else (line,):
                if (text := cleaner(sentence, where)) is not None:
                    yield text


def _lines(path: str, report: CleaningReport) -> Iterator[tuple[str, str]]:
    """(file:line, line) of a text, without empty lines."""
    with Lines(path) as file:
        for number, raw in file.numbered():
            try:
                line = raw.decode().strip()
            except UnicodeDecodeError:
                report.drop("not UTF-8", f"{file.name}:{number}", repr(raw))
                continue
            if line:
                yield f"{file.name}:{number}", line
