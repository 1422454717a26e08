"""Lexicons as other toolkits write them. The content tells the form, not the name.

    word unit unit ...                          Kaldi lexicon.txt, Sphinx .dic, CMU, MFA, Phonetisaurus, WeNet, ESPnet
    word probability unit unit ...              Kaldi lexiconp.txt, MFA
    word probability number number number unit ...   Kaldi lexiconp_silprob.txt, MFA: the last three are not used
    word cost unit unit ...                     Phonetisaurus: negative natural logs, the best pronunciation first
    word number unit unit ...                   NLTK: the number counts the pronunciations of the word
    word number probability unit unit ...       Sequitur: as NLTK, from 0
    word [output] probability unit unit ...     HTK, Julius: the output is not used
    word unit unit ... |                        flashlight: the end of the word is not used
    word /unit unit .../                        TIMIT
    word @log10-probability [output] unit ...   Julius; lines `% NAME` of its grammars are not used
    word word unit unit ...                     Kaldi align_lexicon.txt

A column of numbers is one only if every line has it, since X-SAMPA has units such as `2` and `9`. Comments are lines
that begin with `;;;`, `;` or `#`, and what follows `;` or `#` behind a pronunciation. A word may begin with `#` or `;`,
as `#sharp-sign` and `;semi-colon` of the CMU dictionary do: such a line is an entry if its units occur in other lines.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from asr.errors import InputError
from asr.text.lexicon_columns import NUMBER, Entry, File, take_columns
from asr.textfiles import Lines

FORM = "'word unit unit ...' lines"
_MARKS = "#;"  # of comments


def read(path: str | Path) -> list[Entry]:
    """The entries of a lexicon, in order. Raises InputError naming the file, and the line if there is one."""
    return parse(list(_decoded(path)), path)


def parse(numbered: Sequence[tuple[int, str]], path: str | Path) -> list[Entry]:
    """The entries in the numbered lines of a file. A warning tells once of each kind of column that is not used."""
    file = File(str(path))
    file.entries = _without_comments(file, numbered)
    if not file.entries:
        raise InputError(f"the lexicon {path} is empty; it needs at least one line 'word unit unit ...'")
    take_columns(file)
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


def _without_comments(file: File, numbered: Sequence[tuple[int, str]]) -> list[Entry]:
    units = _plain_units(numbered)
    entries, joined, categories = [], [], []
    for number, line in numbered:
        if not (fields := line.split()) or fields[0].startswith(";;;"):
            continue
        if fields[0] == "%" and len(fields) == 2:
            categories.append(fields[1])
            continue
        entry = Entry(number, fields[0], fields[1:])
        _check_tabs(file, entry, line, units)
        if entry.word[0] in _MARKS and _is_comment(file, entry, units):
            joined += [line.strip()] if entry.word.strip(_MARKS) else []
            continue
        _cut_comment(file, entry, units)
        entries.append(entry)
    if categories:
        file.tell(f"{len(categories)} lines such as '% {categories[0]}', categories of a Julius grammar, are not used")
    if joined:
        file.tell(f"{len(joined)} lines such as '{joined[0]}' are read as comments, not as words with a mark")
    return entries


def _plain_units(numbered: Sequence[tuple[int, str]]) -> set[str]:
    """The fields behind the word, or behind the first tab, in lines without `#` and `;`."""
    plain = (line.strip() for _, line in numbered if "#" not in line and ";" not in line)
    return {name for line in plain for name in (line.partition("\t")[2].split() if "\t" in line else line.split()[1:])}


def _is_comment(file: File, entry: Entry, units: set[str]) -> bool:
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


def _cut_comment(file: File, entry: Entry, units: set[str]) -> None:
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


def _check_tabs(file: File, entry: Entry, line: str, units: set[str]) -> None:
    """A word ends at the first tab: a phrase before it would become a word and units. Two columns behind it, of which
    one has several units, are pronunciations, or one is a part of speech."""
    columns = [column.strip() for column in line.strip().split("\t")[1:]]
    columns = [c for c in columns if c and not NUMBER.fullmatch(c) and c[0] not in "[{@" + _MARKS]
    if len(columns) > 1 and any(" " in column for column in columns):
        raise file.refuse(entry, f"'{entry.word}' has several columns ({', '.join(columns[:2])}); write each "
                          "pronunciation on a line of its own, and nothing else behind the word")  # fmt: skip
    before, tab, behind = line.strip().partition("\t")
    if not tab or not behind or entry.word[0] in _MARKS:
        return
    words = before.split()[1:]
    if not all(name in units or NUMBER.fullmatch(name) or name[0] in "[{@" for name in words):
        raise file.refuse(entry, f"'{before}' before the tab has several words, and an entry is one word; join them "
                          "with '_', or list each one")  # fmt: skip
