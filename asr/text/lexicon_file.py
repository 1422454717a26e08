"""Lexicons as other toolkits write them. The content tells the form, not the name.

    word unit unit ...                          Kaldi lexicon.txt, Sphinx .dic, CMU, MFA, Phonetisaurus, WeNet, ESPnet
    word probability unit unit ...              Kaldi lexiconp.txt, MFA
    word probability number number number unit ...   Kaldi lexiconp_silprob.txt, MFA: the last three are not used
    word cost unit unit ...                     Phonetisaurus: negative natural logs, the best pronunciation first
    word number unit unit ...                   NLTK: the number counts the pronunciations of the word
    word [output] probability unit unit ...     HTK, Julius: the output is not used
    word unit unit ... |                        flashlight: the end of the word is not used
    word /unit unit .../                        TIMIT
    word @log10-probability [output] unit ...   Julius

A column of numbers is one only if every line has it, since X-SAMPA has units such as `2` and `9`. Comments are lines
that begin with `;;;`, `;` or `#`, and what follows `;` or `#` behind a pronunciation. A word may begin with `#` or `;`,
as `#sharp-sign` and `;semi-colon` of the CMU dictionary do: such a line is an entry if its units occur in other lines.
"""

import logging
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asr.errors import InputError
from asr.textfiles import Lines

FORM = "'word unit unit ...' lines"
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_INTEGER = re.compile(r"\d{1,3}")  # may be a unit: a vowel of X-SAMPA, a tone
_VARIANT = re.compile(r"(.+)\(\d+\)")  # WORD(2)
_OUTPUT = re.compile(r"(\[(\S[^\]]*)?\]|\{\S[^}]*\})(?= |$)")  # the second column of HTK and Julius
_CLASS = re.compile(r"@[-+]?\d*\.?\d+")
_QUOTED = re.compile(r"""\\(['"\\])""")  # at the start of a word of HTK
_POSITION = re.compile(r"(.+)_([BIES])")
_OCTAL = re.compile(r"(?:\\[0-7]{3})+")  # bytes, in words of HTK
_MARKS = "#;"  # of comments
_ENDS = ("sp", "sil", "|")  # behind the units of every word: HTK's pauses, flashlight's end of a word
_log = logging.getLogger(__name__)


@dataclass
class Entry:
    """One pronunciation. `fields` are the columns behind the word; `parse` leaves the units there."""

    line: int
    word: str
    fields: list[str]
    probability: float = 1.0
    output: str | None = None  # of HTK and Julius, with its brackets


@dataclass
class _File:
    path: str
    entries: list[Entry] = field(default_factory=list)

    def refuse(self, entry: Entry, fault: str) -> InputError:
        return InputError(f"{self.path}:{entry.line}: {fault}")

    def tell(self, sentence: str) -> None:
        _log.warning("%s: %s", self.path, sentence)


def read(path: str | Path) -> list[Entry]:
    """The entries of a lexicon, in order. Raises InputError naming the file, and the line if there is one."""
    return parse(list(_decoded(path)), path)


def parse(numbered: Sequence[tuple[int, str]], path: str | Path) -> list[Entry]:
    """The entries in the numbered lines of a file. A warning tells once of each kind of column that is not used."""
    file = _File(str(path))
    file.entries = _without_comments(file, numbered)
    if not file.entries:
        raise InputError(f"the lexicon {path} is empty; it needs at least one line 'word unit unit ...'")
    for step in (_check_words, _take_slashes, _take_outputs, _take_class_costs, _take_numbers, _take_pauses,
                 _take_positions, _check_units):  # fmt: skip
        step(file)
    return file.entries


def _decoded(path: str | Path) -> Iterator[tuple[int, str]]:
    """The numbered lines. A file that begins with `;;;` is the CMU dictionary, which may be in Latin-1."""
    with Lines(path, "lexicon", FORM, limit=None, shows_progress=False) as file:
        is_cmu = False
        for number, raw in file.numbered():
            is_cmu = is_cmu or (number == 1 and raw.startswith(b";;;"))
            try:
                line = raw.decode()
            except UnicodeDecodeError:
                line = raw.decode("latin-1") if is_cmu else file.decode(raw, number)
            yield number, line.removesuffix("\r")


# Comments


def _without_comments(file: _File, numbered: Sequence[tuple[int, str]]) -> list[Entry]:
    units = _plain_units(numbered)
    entries, joined = [], []
    for number, line in numbered:
        if not (fields := line.split()) or fields[0].startswith(";;;"):
            continue
        entry = Entry(number, fields[0], fields[1:])
        _check_tabs(file, entry, line, units)
        if entry.word[0] in _MARKS and _is_comment(file, entry, units):
            joined += [line.strip()] if entry.word.strip(_MARKS) else []
            continue
        _cut_comment(file, entry, units)
        entries.append(entry)
    if joined:
        file.tell(f"{len(joined)} lines such as '{joined[0]}' are read as comments, not as words with a mark")
    return entries


def _plain_units(numbered: Sequence[tuple[int, str]]) -> set[str]:
    """The fields behind the word, or behind the first tab, in lines without `#` and `;`."""
    plain = (line.strip() for _, line in numbered if "#" not in line and ";" not in line)
    return {name for line in plain for name in (line.partition("\t")[2].split() if "\t" in line else line.split()[1:])}


def _is_comment(file: _File, entry: Entry, units: set[str]) -> bool:
    """Whether a line that begins with `#` or `;` is a comment: its fields are not units of other lines. If the mark is
    part of a word, most fields must be units."""
    known = sum(name in units for name in entry.fields)
    is_alone = entry.word.strip(_MARKS) == ""
    if entry.fields and (known == len(entry.fields) or (not is_alone and 2 * known > len(entry.fields))):
        return False
    if not known or is_alone:
        return True
    raise file.refuse(entry, f"'{entry.word} ...' may be a comment or a word, as only some of its fields are units of "
                      "other lines; begin comments with ';;; '")  # fmt: skip


def _cut_comment(file: _File, entry: Entry, units: set[str]) -> None:
    """Removes a comment behind the pronunciation: `AO1 L B AO0 R G # place, danish`."""
    at = next((i for i, name in enumerate(entry.fields) if name[0] in _MARKS), None)
    if at is None:
        return
    mark, rest = entry.fields[at], entry.fields[at + 1 :]
    if re.fullmatch(r"#\d+", mark):
        raise file.refuse(entry, f"'{mark}' is a disambiguation symbol; remove them, the graph adds its own")
    said = [*filter(None, [mark.lstrip(_MARKS)]), *rest]
    if not said or all(name in units for name in said):
        raise file.refuse(entry, f"'{mark}' stands among the units of '{entry.word}'; remove it, or write a comment "
                          "behind it")  # fmt: skip
    del entry.fields[at:]


def _check_tabs(file: _File, entry: Entry, line: str, units: set[str]) -> None:
    """A word ends at the first tab: a phrase before it would become a word and units."""
    before, tab, behind = line.strip().partition("\t")
    if not tab or not behind or entry.word[0] in _MARKS:
        return
    words = before.split()[1:]
    if not all(name in units or _NUMBER.fullmatch(name) or name[0] in "[{@" for name in words):
        raise file.refuse(entry, f"'{before}' before the tab has several words, and an entry is one word; join them "
                          "with '_', or list each one")  # fmt: skip


# Columns


def _check_words(file: _File) -> None:
    for entry in file.entries:
        if variant := _VARIANT.fullmatch(entry.word):
            entry.word = variant[1]
        if "\\" in entry.word:
            entry.word = _without_escapes(file, entry)
        if not entry.fields:
            raise file.refuse(entry, f"word '{entry.word}' has no units; expected 'word unit unit ...'")


def _without_escapes(file: _File, entry: Entry) -> str:
    """The word of an HTK dictionary, which writes a quotation mark at the start as \\' and other bytes as \\303."""
    word = _QUOTED.sub(r"\1", entry.word, count=1) if entry.word[0] == "\\" else entry.word
    try:
        return _OCTAL.sub(lambda found: bytes(int(code, 8) for code in found[0].split("\\")[1:]).decode(), word)
    except ValueError:  # above 377, or not UTF-8
        raise file.refuse(entry, f"'{word}' is not UTF-8 in octal codes; write the word in UTF-8") from None


def _take_slashes(file: _File) -> None:
    """TIMIT: `word /unit unit/` in every line."""
    texts = [" ".join(entry.fields) for entry in file.entries]
    if all(re.fullmatch(r"/[^/]*[^/ ][^/]*/", text) for text in texts):
        for entry, text in zip(file.entries, texts, strict=True):
            entry.fields = text[1:-1].split()


def _take_outputs(file: _File) -> None:
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


def _take_class_costs(file: _File) -> None:
    """Julius: `@log10-probability` of a word within its class."""
    marked = [entry for entry in file.entries if _CLASS.fullmatch(entry.fields[0]) and len(entry.fields) > 1]
    if not any(entry.output or re.search(r"[-.]", entry.fields[0]) for entry in marked):
        return  # units such as X-SAMPA's `@1`
    for entry in marked:
        value = float(entry.fields.pop(0)[1:])
        entry.probability = 10**value if value <= 0 else value
        if not 0 < entry.probability <= 1:
            raise file.refuse(entry, f"'@{value:g}' is not a log10 probability of '{entry.word}'; expected 0 or less")


def _take_numbers(file: _File) -> None:
    """The columns of numbers between word and units, if every line has them."""
    for entry in file.entries:
        if len(entry.fields) == 1 and _is_decimal(entry.fields[0]):
            raise file.refuse(entry, f"word '{entry.word}' has a number, {entry.fields[0]}, but no units")
    count = min(_leading_numbers(entry) for entry in file.entries)
    if all(_NUMBER.fullmatch(name) for entry in file.entries for name in entry.fields):
        _check_spelled(file)
        return
    if count == 0:
        _check_no_column(file)
        return
    if count not in (1, 4):
        entry = file.entries[0]
        raise file.refuse(entry, f"{count} columns of numbers follow each word ({' '.join(entry.fields[:count])} of "
                          f"'{entry.word}'); expected one (probabilities), or four (Kaldi's lexiconp_silprob.txt, "
                          "MFA)")  # fmt: skip
    for entry in file.entries:
        entry.probability = float(entry.fields[0])
        del entry.fields[:count]
    if count == 4:
        file.tell("the columns of silence probabilities are not used; those of pronunciations are")
    _check_probabilities(file)


def _leading_numbers(entry: Entry) -> int:
    """The numbers behind the word, of which the last field is none."""
    count = 0
    while count < len(entry.fields) - 1 and _NUMBER.fullmatch(entry.fields[count]):
        count += 1
    return count


def _is_decimal(name: str) -> bool:
    return bool(_NUMBER.fullmatch(name)) and not _INTEGER.fullmatch(name)


def _check_spelled(file: _File) -> None:
    """All units are numbers: a table of symbols, unless the words are spelled in digits."""
    odd = next((entry for entry in file.entries if "".join(entry.fields) != entry.word), None)
    if odd:
        raise file.refuse(odd, "all units are numbers: this is a table of symbols and their numbers, not a lexicon of "
                          "'word unit unit ...' lines")  # fmt: skip


def _check_no_column(file: _File) -> None:
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


def _check_probabilities(file: _File) -> None:
    """Accepts probabilities, costs (Phonetisaurus) and the numbers of pronunciations (NLTK), and refuses others."""
    entries = file.entries
    values: dict[str, list[float]] = {}
    for entry in entries:
        values.setdefault(entry.word, []).append(entry.probability)
    above = [entry for entry in entries if entry.probability > 1]
    odd = [entry for entry in entries if entry.probability < 0]
    if not above:
        odd += [entry for entry in entries if entry.probability == 0]
    elif all(found == [*range(1, len(found) + 1)] for found in values.values()):
        for entry in entries:
            entry.probability = 1.0
        file.tell("the numbers behind the words count their pronunciations; they are not used")
    else:
        odd += [entry for entry in entries if entry.probability < values[entry.word][0]]
        odd += above if 2 * len(above) < len(entries) else []  # most are probabilities
    if odd:
        raise file.refuse(odd[0], f"the number of '{odd[0].word}' is {odd[0].probability:g}; expected probabilities "
                          "above 0, up to 1, or the costs of Phonetisaurus, the best pronunciation first")  # fmt: skip
    if any(entry.probability > 1 for entry in entries):
        for entry in entries:  # relative to the best, as costs may be hundreds
            entry.probability = math.exp(values[entry.word][0] - entry.probability)
        file.tell("the numbers behind the words are above 1: they are read as costs, negative natural logs")


def _take_pauses(file: _File) -> None:
    """`sp` or `sil` or `|` behind the units of every word. The graph itself allows silence or `<space>` there."""
    spoken = [entry for entry in file.entries if not all(unit in _ENDS for unit in entry.fields)]
    if not spoken or not all(entry.fields[-1] in _ENDS for entry in spoken):
        return
    for entry in spoken:
        while entry.fields[-1] in _ENDS:
            entry.fields.pop()
    file.tell("every pronunciation ends with sp, sil or |; these are left out, as the graph adds what stands between "
              "words (graph.silence)")  # fmt: skip


def _take_positions(file: _File) -> None:
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


def _check_units(file: _File) -> None:
    for entry in file.entries:
        for unit in entry.fields:
            if fault := _fault(unit):
                raise file.refuse(entry, f"'{unit}' among the units of '{entry.word}' {fault}")
    if all(len(e.fields) == 1 for e in file.entries) and any(len(e.fields[0]) > 3 for e in file.entries):
        file.tell("every pronunciation is a single unit; separate units by spaces")


def _fault(unit: str) -> str | None:
    """Why a field cannot be a unit."""
    if _is_decimal(unit):
        return "is a number; probabilities stand behind the word, in every line"
    if re.fullmatch(r"[-+]?\d*,\d+|\d+([.,]\d+)?%", unit):
        return "looks like a number; write probabilities as 0.7"
    if unit in ("<eps>", "<blk>", "<blank>"):
        return "stands for no unit; remove it"
    if unit.startswith("//"):
        return "looks like a comment; remove it, comments begin with '#'"
    if re.fullmatch(r"\(\d+\)", unit):
        return "numbers a pronunciation; write it at the word, as in WORD(2)"
    if re.fullmatch(r"/.+|.+/|\[.*[^]]|[^[].*\]|\(.*[^)]|[^(].*\)", unit):
        return "is the edge of a transcription in slashes or brackets; write the units alone"
    if re.fullmatch(r"#.*", unit):
        return "is a disambiguation symbol or a comment; remove it"
    return None
