"""The columns of a lexicon between word and units: what each form of `asr.text.lexicon_file` has there.

Each step takes its columns out of `Entry.fields`, tells of those that are not used, and refuses what fits no form.
"""

import logging
import math
import re
from collections import Counter
from dataclasses import dataclass, field
from unicodedata import normalize

from asr.errors import InputError

NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_INTEGER = re.compile(r"\d{1,3}")  # may be a unit: a vowel of X-SAMPA, a tone
_VARIANT = re.compile(r"(.+)\(\d+\)")  # WORD(2)
_OUTPUT = re.compile(r"(\[(\S[^\]]*)?\]|\{\S[^}]*\})(?= |$)")  # the second column of HTK and Julius
_CLASS = re.compile(r"@[-+]?\d*\.?\d+")
_QUOTED = re.compile(r"""\\(['"\\])""")  # at the start of a word of HTK
_OCTAL = re.compile(r"(?:\\[0-7]{3})+")  # bytes, in words of HTK
_POSITION = re.compile(r"(.+)_([BIES])")
_ENDS = ("sp", "sil", "|")  # behind the units of every word: HTK's pauses, flashlight's end of a word
_WORD_COLUMNS = {"word", "words", "entry", "spelling", "orthography", "grapheme", "graphemes", "단어"}
_UNIT_COLUMNS = {"pronunciation", "pronunciations", "pron", "phones", "phonemes", "phoneme", "units", "transcription",
                 "ipa", "sampa", "x-sampa", "arpabet", "probability", "prob", "발음", "확률"}  # fmt: skip
_log = logging.getLogger(__name__)


@dataclass
class Entry:
    """One pronunciation. `fields` are the columns behind the word; `take_columns` leaves the units there."""

    line: int
    word: str
    fields: list[str]
    probability: float = 1.0
    output: str | None = None  # of HTK and Julius, with its brackets


@dataclass
class File:
    path: str
    entries: list[Entry] = field(default_factory=list)

    def refuse(self, entry: Entry, fault: str) -> InputError:
        return InputError(f"{self.path}:{entry.line}: {fault}")

    def tell(self, sentence: str) -> None:
        _log.warning("%s: %s", self.path, sentence)


def take_columns(file: File) -> None:
    """Leaves the units of each entry in its `fields`. Raises InputError naming the line that fits no form."""
    for step in (_drop_header, _check_words, _take_repeated_words, _take_slashes, _take_outputs, _take_class_costs,
                 _take_numbers, _take_ends, _take_positions, _check_units, _unite_forms):  # fmt: skip
        step(file)


def _drop_header(file: File) -> None:
    first = file.entries[0]
    if len(file.entries) > 1 and first.word.lower() in _WORD_COLUMNS and first.fields:
        if all(name.lower() in _UNIT_COLUMNS for name in first.fields):
            file.tell(f"the header line '{first.word} {' '.join(first.fields)}' is left out")
            del file.entries[0]


def _take_repeated_words(file: File) -> None:
    """Kaldi's align_lexicon.txt: `word word unit unit` in every line."""
    if all(len(entry.fields) > 1 and entry.fields[0] == entry.word for entry in file.entries):
        for entry in file.entries:
            del entry.fields[0]
        file.tell("every line has its word twice, as in Kaldi's align_lexicon.txt; the second is left out")


def _check_words(file: File) -> None:
    for entry in file.entries:
        if variant := _VARIANT.fullmatch(entry.word):
            entry.word = variant[1]
        if "\\" in entry.word:
            entry.word = _without_escapes(file, entry)
        if not entry.fields:
            raise file.refuse(entry, f"word '{entry.word}' has no units; expected 'word unit unit ...'")
    for pattern, sign in ((r".+,.+", ","), (r".+\|.+", "|"), (r".+:", ":"), (r".+=", "=")):
        if all(re.fullmatch(pattern, entry.word) for entry in file.entries):
            raise file.refuse(file.entries[0], f"'{sign}' seems to separate word and units; expected spaces or a tab")
    if all(entry.fields[0] in ("=", ":", "->", "|") and len(entry.fields) > 1 for entry in file.entries):
        raise file.refuse(file.entries[0], f"'{file.entries[0].fields[0]}' seems to separate word and units; expected "
                          "spaces or a tab")  # fmt: skip


def _without_escapes(file: File, entry: Entry) -> str:
    """The word of an HTK dictionary, which writes a quotation mark at the start as \\' and other bytes as \\303."""
    word = _QUOTED.sub(r"\1", entry.word, count=1) if entry.word[0] == "\\" else entry.word
    try:
        return _OCTAL.sub(lambda found: bytes(int(code, 8) for code in found[0].split("\\")[1:]).decode(), word)
    except ValueError:  # above 377, or not UTF-8
        raise file.refuse(entry, f"'{word}' is not UTF-8 in octal codes; write the word in UTF-8") from None


def _take_slashes(file: File) -> None:
    """TIMIT: `word /unit unit/` in every line."""
    texts = [" ".join(entry.fields) for entry in file.entries]
    if all(re.fullmatch(r"/[^/]*[^/ ][^/]*/", text) for text in texts):
        for entry, text in zip(file.entries, texts, strict=True):
            entry.fields = text[1:-1].split()


def _take_outputs(file: File) -> None:
    """HTK and Julius: what is written for the word, in brackets."""
    for entry in file.entries:
        at = 1 if _CLASS.fullmatch(entry.fields[0]) else 0
        text = " ".join(entry.fields[at:])
        found = _OUTPUT.match(text)
        if found and (units := text[found.end() :].split()):  # else it is a unit, as in `[noise] [NSN]`
            entry.output, entry.fields[at:] = found[0], units
    outputs: dict[str, str] = {}
    for entry in file.entries:
        if entry.output not in (None, "[]") and (first := outputs.setdefault(entry.word, entry.output)) != entry.output:
            raise file.refuse(entry, f"'{entry.word}' is a class of several words ({first}, {entry.output}); write "
                              "each word as an entry of its own, and see 'new words' for classes")  # fmt: skip
    other = [e for e in file.entries if e.output and e.output[1:-1] not in ("", e.word)]
    if other:
        file.tell(f"{len(other)} output symbols, such as {other[0].output} of {other[0].word}, are not used; results "
                  "hold the words themselves")  # fmt: skip


def _take_class_costs(file: File) -> None:
    """Julius: `@log10-probability` of a word within its class."""
    marked = [entry for entry in file.entries if _CLASS.fullmatch(entry.fields[0]) and len(entry.fields) > 1]
    if not any(entry.output or re.search(r"[-.]", entry.fields[0]) for entry in marked):
        return  # units such as X-SAMPA's `@1`
    for entry in marked:
        value = float(entry.fields.pop(0)[1:])
        entry.probability = 10**value if value <= 0 else value
        if not 0 < entry.probability <= 1:
            raise file.refuse(entry, f"'@{value:g}' is not a log10 probability of '{entry.word}'; expected 0 or less")


def _take_numbers(file: File) -> None:
    """The columns of numbers between word and units, if every line has them."""
    for entry in file.entries:
        if len(entry.fields) == 1 and _is_decimal(entry.fields[0]):
            raise file.refuse(entry, f"word '{entry.word}' has a number, {entry.fields[0]}, but no units")
    count = min(_leading_numbers(entry) for entry in file.entries)
    if all(NUMBER.fullmatch(name) for entry in file.entries for name in entry.fields):
        _check_spelled(file)
        return
    if count == 0:
        _check_no_column(file)
        return
    if count == 2 and _are_counts(file, first=0):  # Sequitur
        for entry in file.entries:
            del entry.fields[0]
        count = 1
    if count not in (1, 4):
        entry = file.entries[0]
        raise file.refuse(entry, f"{count} columns of numbers follow each word ({' '.join(entry.fields[:count])} of "
                          f"'{entry.word}'); expected one (probabilities), or four (Kaldi's lexiconp_silprob.txt, "
                          "MFA)")  # fmt: skip
    is_counted, are_integers = _are_counts(file, 1), all(_INTEGER.fullmatch(entry.fields[0]) for entry in file.entries)
    for entry in file.entries:
        entry.probability = float(entry.fields[0])
        del entry.fields[:count]
    if count == 4:
        file.tell("the columns of silence probabilities are not used; those of pronunciations are")
    if is_counted and any(entry.probability > 1 for entry in file.entries):  # NLTK
        for entry in file.entries:
            entry.probability = 1.0
        file.tell("the numbers behind the words count their pronunciations; they are not used")
    _check_probabilities(file, are_integers)


def _are_counts(file: File, first: int) -> bool:
    """Whether the first column counts the pronunciations of each word from `first`."""
    seen: Counter[str] = Counter()
    for entry in file.entries:
        if entry.fields[0] != str(first + seen[entry.word]):
            return False
        seen[entry.word] += 1
    return True


def _leading_numbers(entry: Entry) -> int:
    """The numbers behind the word, of which the last field is none."""
    count = 0
    while count < len(entry.fields) - 1 and NUMBER.fullmatch(entry.fields[count]):
        count += 1
    return count


def _is_decimal(name: str) -> bool:
    return bool(NUMBER.fullmatch(name)) and not _INTEGER.fullmatch(name)


def _check_spelled(file: File) -> None:
    """All units are numbers: a table of symbols, unless the words are spelled in digits."""
    odd = next((entry for entry in file.entries if "".join(entry.fields) != entry.word), None)
    if odd:
        raise file.refuse(odd, "all units are numbers: this is a table of symbols and their numbers, not a lexicon of "
                          "'word unit unit ...' lines")  # fmt: skip


def _check_no_column(file: File) -> None:
    """Some lines begin with a number, others do not: units of X-SAMPA, or a column with gaps.

    It is a column if it has decimals, or if most lines have 1 or 0 there and no line has it elsewhere.
    """
    first = [entry.fields[0] for entry in file.entries]
    inside = {name for entry in file.entries for name in entry.fields[1:]}
    ones = [name in ("0", "1") and name not in inside for name in first]
    decimals = [_is_decimal(name) for name in first]
    if not any(decimals) and 2 * sum(ones) <= len(ones):
        return
    numbered = file.entries[(decimals if any(decimals) else ones).index(True)]
    bare = next(entry for entry in file.entries if _leading_numbers(entry) == 0)
    raise file.refuse(bare, f"'{bare.word}' has no number, '{numbered.word}' in line {numbered.line} has "
                      f"{numbered.fields[0]}; a column of probabilities must be in every line")  # fmt: skip


def _check_probabilities(file: File, are_integers: bool) -> None:
    """Accepts probabilities and the costs of Phonetisaurus, and refuses others."""
    entries = file.entries
    best: dict[str, float] = {}
    for entry in entries:
        best.setdefault(entry.word, entry.probability)
    above = [entry for entry in entries if entry.probability > 1]
    odd = [entry for entry in entries if entry.probability < 0 or (entry.probability == 0 and not above)]
    odd += [entry for entry in entries if above and entry.probability < best[entry.word]]
    if above and (are_integers or 2 * len(above) < len(entries)):  # units, or a few wrong probabilities
        odd += above
    if odd:
        raise file.refuse(odd[0], f"the number of '{odd[0].word}' is {odd[0].probability:g}; expected probabilities "
                          "above 0, up to 1, or the costs of Phonetisaurus, the best pronunciation first")  # fmt: skip
    if above:
        for entry in entries:  # relative to the best, as costs may be hundreds
            entry.probability = math.exp(best[entry.word] - entry.probability)
        file.tell("the numbers behind the words are above 1: they are read as costs, negative natural logs")


def _take_ends(file: File) -> None:
    """`sp` or `sil` or `|` behind the units of every word. The graph itself allows silence or `<space>` there."""
    spoken = [entry for entry in file.entries if not all(unit in _ENDS for unit in entry.fields)]
    if not spoken or not all(entry.fields[-1] in _ENDS for entry in spoken):
        return
    for entry in spoken:
        while entry.fields[-1] in _ENDS:
            entry.fields.pop()
    file.tell("every pronunciation ends with sp, sil or |; these are left out, as the graph adds what stands between "
              "words (graph.silence)")  # fmt: skip


def _take_positions(file: File) -> None:
    """Kaldi: AH_B, AH_I, AH_E, AH_S at the beginning, inside, at the end of a word, and alone."""
    found = 0
    for entry in file.entries:
        marks = [_POSITION.fullmatch(unit) for unit in entry.fields]
        if len(marks) == 1 and not marks[0]:
            continue  # silence and noise
        place = "S" if len(marks) == 1 else "B" + "I" * (len(marks) - 2) + "E"
        if "".join(mark[2] if mark else "-" for mark in marks) != place:
            return
        found += 1
    if found:
        for entry in file.entries:
            entry.fields = [mark[1] if (mark := _POSITION.fullmatch(unit)) else unit for unit in entry.fields]
        file.tell("units mark their position in the word (_B, _I, _E, _S); they are read without the marks")


# Units


def _check_units(file: File) -> None:
    faults = {unit: _fault(unit) for unit in {unit for entry in file.entries for unit in entry.fields}}
    for entry in file.entries:
        if entry.fields[0][0] == "{" and re.fullmatch(r"\{\S.*\S\}", text := " ".join(entry.fields)):
            raise file.refuse(entry, f"'{text}' stands in braces; write the units alone")
        for unit in entry.fields:
            if fault := faults[unit]:
                raise file.refuse(entry, f"'{unit}' among the units of '{entry.word}' {fault}")
    is_long = any(len(e.fields[0]) > 3 and e.fields[0].lower() != e.word.lower() for e in file.entries)
    if is_long and all(len(e.fields) == 1 for e in file.entries):
        file.tell("every pronunciation is a single unit; separate units by spaces")


def _fault(unit: str) -> str | None:
    """Why a field cannot be a unit."""
    if _is_decimal(unit):
        return "is a number; probabilities stand behind the word, in every line"
    if re.fullmatch(r"[-+]?\d*,\d+|\d+([.,]\d+)?%", unit):
        return "looks like a number; write probabilities as 0.7"
    if unit in ("<eps>", "<blk>", "<blank>"):
        return "stands for no unit; remove it"
    if unit == "/" or unit.endswith(","):
        return "seems to separate pronunciations; write each on a line of its own"
    if unit.startswith("//"):
        return "looks like a comment; remove it, comments begin with '#'"
    if re.fullmatch(r"\(\d+\)", unit):
        return "numbers a pronunciation; write it at the word, as in WORD(2)"
    if re.fullmatch(r"/.+|.+/|\[.*[^]]|[^[].*\]|\(.*[^)]|[^(].*\)", unit):
        return "is the edge of a transcription in slashes or brackets; write the units alone"
    if re.fullmatch(r"#.*", unit):
        return "is a disambiguation symbol or a comment; remove it"
    return None


def _unite_forms(file: File) -> None:
    """Units that are equal in Unicode NFC become one. Words keep their form, which that of the texts must equal."""
    units = {unit for entry in file.entries for unit in entry.fields}
    composed = {unit: form for unit in units if (form := normalize("NFC", unit)) != unit and form in units}
    if composed:
        for entry in file.entries:
            entry.fields = [composed.get(unit, unit) for unit in entry.fields]
        file.tell(
            f"{len(composed)} units are written in two Unicode forms, such as {min(composed)}; they are read in NFC"
        )
    if decomposed := [entry.word for entry in file.entries if normalize("NFC", entry.word) != entry.word]:
        file.tell(f"{len(decomposed)} words, such as {decomposed[0]}, are not in Unicode NFC, as texts mostly are")
