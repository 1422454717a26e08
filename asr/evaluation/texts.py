"""References and hypotheses as the world writes them. The content of a file tells its form, not the name.

id<TAB>words                                   a tab is in the file
id words                                       Kaldi's text; an id alone has an empty text
words (id)                                     NIST trn
file channel start duration word [confidence [type speaker]]  NIST ctm; the words of a recording are one text
file channel speaker start end [<label>] words NIST stm; the segments of a recording are one text
{"id": ..., "text": ...} per line              manifests and hypotheses; also NeMo's audio_filepath and pred_text,
                                               WeNet's key and txt
[{...}, ...], {"id": "words", ...}             the same as one JSON value; {"text": ..., "segments": ...} is Whisper's

"""

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr.errors import InputError
from asr.literals import parse_json
from asr.text import nist
from asr.textfiles import lines

_FORMS = "JSON lines, id<TAB>text, 'id words', or NIST trn, ctm or stm lines"
_TIME = r"\d+(?:\.\d*)?|\.\d+"
_TYPE = "lex|frag|fp|un-lex|for-lex|non-lex|misc|noscore"  # NIST's Rich Transcription: of a token, before the speaker
_CTM = re.compile(
    rf"(\S+)\s+(\S+)\s+({_TIME}|\*)\s+({_TIME}|\*)\s+(\S+)(?:\s+(?:-?{_TIME}|NA|-|\*)(?:\s+({_TYPE})\s+\S+)?)?\s*"
)
_STM = re.compile(rf"(\S+)\s+(\S+)\s+(\S+)\s+({_TIME})\s+({_TIME})(?:\s+<[^<>]*>)?(?:\s+(.*))?")
_TRN = re.compile(r"(.*?)\s*\(([^()\s]+)\)\s*")
_IGNORED = "ignore_time_segment_in_scoring"
_GAP = "inter_segment_gap"
_HEADER = re.compile(
    r"(id|utt_?id|utterance(_id)?|path|file|key)\t(text|txt|sentence|transcript(ion)?|hyp(othesis)?|ref)", re.I
)
_IDS, _TEXTS = ("id", "key", "utt_id", "utt"), ("text", "txt")
_LINE = {"ctm": "'file channel start duration word [confidence]'", "stm": "'file channel speaker start end words'"}
_NOT_SCORED = ("non-lex", "misc", "noscore")  # types of tokens
_log = logging.getLogger(__name__)
_Lines = Sequence[tuple[int, str]]


@dataclass
class Texts:
    """The texts of a file by id."""

    path: str
    texts: dict[str, str] = field(default_factory=dict)
    speakers: dict[str, str | None] = field(default_factory=dict)
    words: dict[str, list[tuple[float, str]]] = field(default_factory=dict)  # ctm: (middle in s, word)
    ignored: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # stm: (start, end) in s, not scored
    textless: list[str] = field(default_factory=list)  # ids whose text is missing or null

    def add(self, where: str, id: str, text: str | None, speaker: str | None = None) -> None:
        """Raises InputError, beginning with `where`, for an empty id and for one that was added before."""
        if not id:
            raise InputError(f"{where}: the id is empty")
        if id in self.texts or id in self.textless:
            raise InputError(f"{where}: id '{id}' occurs twice; keep one of the lines")
        if text is None:
            self.textless.append(id)
        else:
            self.texts[id], self.speakers[id] = text, speaker

    def tell(self, sentence: str) -> None:
        _log.warning("%s: %s", self.path, sentence)


def read_texts(path: str | Path, hypotheses: bool = False) -> Texts:
    """The texts of a file in one of the forms above. A warning tells what of it is not used.

    hypotheses: whether `pred_text` counts, in files that have it and `text`. Raises InputError naming file and line of
    malformed content or of a repeated id, and for a file without any text.
    """
    found = Texts(str(path))
    filled = [(n, line) for n, line in lines(path, "texts", _FORMS) if line.strip()]
    read_form = _form_of(filled, found.path)
    if read_form is not _read_trn and filled and filled[0][1].lstrip()[0] in "{[":
        _read_json(found, filled, hypotheses)
    else:
        read_form(found, filled)
    if found.textless and not found.texts:
        raise InputError(f"{path}:1: 'text' is missing or null, as in all {len(found.textless)} utterances; there is "
                         "nothing to score")  # fmt: skip
    if found.textless:
        then = "count as utterances without a hypothesis" if hypotheses else "are not scored"
        found.tell(f"{len(found.textless)} utterances have no text and {then}, such as {found.textless[0]}")
    return found


def read_pair(reference: str | Path, hypotheses: str | Path) -> tuple[Texts, Texts]:
    """References and hypotheses. Words of a ctm in segments that an stm excludes from scoring are left out."""
    refs, hyps = read_texts(reference), read_texts(hypotheses, hypotheses=True)
    for id in refs.textless:  # neither reference nor error
        hyps.texts.pop(id, None)
    for id, spans in refs.ignored.items():
        if id in hyps.words:
            kept = [word for time, word in hyps.words[id] if not any(a <= time < b for a, b in spans)]
            hyps.texts[id] = " ".join(kept)
        elif id in hyps.texts:
            refs.tell(f"'{_IGNORED}' in {id} needs hypotheses with times (ctm); all words of {hypotheses} are scored")
    return refs, hyps


def _form_of(filled: _Lines, path: str) -> Callable[[Texts, _Lines], None]:
    plain = [line.strip() for _, line in filled if not line.startswith(";;")]
    has_points = any("." in line for line in plain)  # times: texts of digits are not
    for name, pattern, reader in (("ctm", _CTM, _read_ctm), ("stm", _STM, _read_stm)) if has_points else ():
        others = [(number, line) for number, line in filled if not line.startswith(";;")]
        others = [(number, line) for number, line in others if not pattern.fullmatch(line.strip())]
        if not others:
            return reader
        if 2 * len(others) < len(plain):  # else a text that resembles one
            raise InputError(f"{path}:{others[0][0]}: '{others[0][1][:80]}' is no line of a {name}, as most others "
                             f"are; expected {_LINE[name]}")  # fmt: skip
    if plain and all(_TRN.fullmatch(line) for line in plain):
        return _read_trn
    return _read_tabs if any("\t" in line for _, line in filled) else _read_kaldi


# Lines


def _read_tabs(found: Texts, filled: _Lines) -> None:
    alone = []
    for place, (number, line) in enumerate(filled):
        where = f"{found.path}:{number}"
        id, tab, text = line.strip(" ").partition("\t")
        if place == 0 and len(filled) > 1 and _HEADER.fullmatch(line.strip()):
            continue
        if not tab and len(id.split()) > 1:
            raise InputError(f"{where}: no tab in the line, as in the others; expected id<TAB>text")
        if "\t" in text.strip():
            raise InputError(f"{where}: {text.strip().count(chr(9)) + 2} columns; expected two, id<TAB>text")
        alone += [] if tab else [id]
        found.add(where, id, text)
    if alone:
        found.tell(f"{len(alone)} lines have no tab, such as '{alone[0]}'; their texts are empty")


def _read_kaldi(found: Texts, filled: _Lines) -> None:
    if filled and all("," in line.split()[0] for _, line in filled):
        raise InputError(f"{found.path}:{filled[0][0]}: the columns seem to be separated by commas; expected "
                         "id<TAB>text or 'id words'")  # fmt: skip
    for number, line in filled:
        id, *words = line.split()
        found.add(f"{found.path}:{number}", id, " ".join(words))
    if filled and not any(found.texts.values()):
        found.tell("every line is an id alone; all texts are empty")


def _read_trn(found: Texts, filled: _Lines) -> None:
    rows = [(number, match) for number, line in filled if (match := _TRN.fullmatch(line.strip()))]
    texts = _plain(found, [match[1] for _, match in rows])
    for (number, match), text in zip(rows, texts, strict=True):
        found.add(f"{found.path}:{number}", match[2], text)


def _plain(found: Texts, texts: Sequence[str]) -> list[str]:
    """The texts without NIST's marks, of which a warning tells."""
    said = [nist.plain(text) for text in texts]
    if alternations := sum(x.alternations for x in said):
        found.tell(
            f"{alternations} alternations such as {{ a / b }}: the first alternative is scored, unlike in sclite"
        )
    if optional := sum(x.optional for x in said):
        found.tell(f"{optional} words in parentheses, which sclite lets be left out, are scored as words")
    if numbered := sum(x.numbered for x in said):
        found.tell(f"{numbered} numbers of pronunciations, as in that(2), are left out")
    if noises := [mark for x in said for mark in x.noises]:
        found.tell(f"{len(noises)} marks of noises, such as {noises[0]}, are scored as words")
    return [x.text for x in said]


def _read_ctm(found: Texts, filled: _Lines) -> None:
    rows = []
    alternations, is_left_out, not_words = 0, False, 0
    for number, line in filled:
        if line.startswith(";;") or not (match := _CTM.fullmatch(line.strip())):
            continue
        file, channel, start, duration, word, kind = match.groups()
        mark = word.upper()
        if kind in _NOT_SCORED or word == "<eps>":  # Kaldi's silence
            not_words += 1
        elif mark in ("<ALT_BEGIN>", "<ALT>", "<ALT_END>"):
            alternations += mark == "<ALT_BEGIN>"
            is_left_out = mark == "<ALT>"
        elif "*" in (start, duration):
            raise InputError(
                f"{found.path}:{number}: '{word}' has no times; expected 'file channel start duration word'"
            )
        elif not is_left_out and word != "@":
            rows.append((file, channel, float(start) + float(duration) / 2, word))
    if alternations:
        found.tell(f"{alternations} alternations (<ALT_BEGIN>): the first alternative is scored, unlike in sclite")
    if not_words:
        found.tell(f"{not_words} tokens that are no words ({', '.join(_NOT_SCORED)}, <eps>) are left out")
    name = _recordings((file, channel) for file, channel, _, _ in rows)
    for file, channel, time, word in rows:
        found.words.setdefault(name[file, channel], []).append((time, word))
    for id, words in found.words.items():
        words.sort(key=lambda timed: timed[0])
        found.add(found.path, id, " ".join(word for _, word in words))


def _read_stm(found: Texts, filled: _Lines) -> None:
    rows = [
        match.groups() for _, line in filled if not line.startswith(";;") and (match := _STM.fullmatch(line.strip()))
    ]
    name = _recordings((row[0], row[1]) for row in rows)
    segments: dict[str, list[tuple[float, str, str]]] = defaultdict(list)
    for file, channel, speaker, start, end, text in rows:
        id = name[file, channel]
        if (text or "").strip().lower() == _IGNORED:
            found.ignored.setdefault(id, []).append((float(start), float(end)))
        elif speaker != _GAP:
            segments[id].append((float(start), speaker, text or ""))
    for row in segments.values():
        row.sort(key=lambda segment: segment[0])
    texts = _plain(found, [" ".join(text for _, _, text in row) for row in segments.values()])
    for (id, row), text in zip(segments.items(), texts, strict=True):
        speakers = {speaker for _, speaker, _ in row}
        found.add(found.path, id, text, min(speakers) if len(speakers) == 1 else None)
    ignored = sum(map(len, found.ignored.values()))
    if ignored:
        found.tell(f"{ignored} segments are excluded from scoring ({_IGNORED})")


def _recordings(keys: Any) -> dict[tuple[str, str], str]:
    """(file, channel) -> id: the file's name, with the channel if the file has several; A and 1 are the same."""
    number = {"A": "1", "B": "2", "a": "1", "b": "2"}
    channels: dict[str, set[str]] = defaultdict(set)
    pairs = set(keys)
    for file, channel in pairs:
        channels[file].add(number.get(channel, channel))
    return {(f, c): f if len(channels[f]) == 1 else f"{f}-{number.get(c, c)}" for f, c in pairs}


# JSON


def _read_json(found: Texts, filled: _Lines, hypotheses: bool) -> None:
    try:
        objects = [(f"{found.path}:{number}", parse_json(line)) for number, line in filled]
    except ValueError as e:
        try:
            objects = [(found.path, parse_json("\n".join(line for _, line in filled)))]
        except ValueError:
            bad = next(number for number, line in filled if not _is_json(line))
            raise InputError(f"{found.path}:{bad}: not a JSON object ({e}); expected one with id and text, or "
                             "id<TAB>text") from e  # fmt: skip
    if len(objects) == 1:
        objects = _unfolded(*objects[0], found.path)
    for where, data in objects:
        found.add(where, *_fields(data, where, hypotheses))


def _is_json(line: str) -> bool:
    try:
        parse_json(line)
    except ValueError:
        return False
    return True


def _unfolded(where: str, data: Any, path: str) -> list[tuple[str, Any]]:
    """The utterances in one JSON value: a list, an object by id, Whisper's result, or one utterance."""
    if isinstance(data, list):
        return [(f"{where}, item {place}", item) for place, item in enumerate(data, 1)]
    if "segments" in data and "text" in data and not any(name in data for name in _IDS):
        return [(where, {"id": Path(path).stem, "text": data["text"]})]
    by_id = data and all(isinstance(x, str) or isinstance(x, dict) and _TEXTS[0] in x for x in data.values())
    if by_id and not any(name in data for name in (*_IDS, *_TEXTS)):
        return [(where, (x if isinstance(x, dict) else {"text": x}) | {"id": id}) for id, x in data.items()]
    return [(where, data)]


def _fields(data: Any, where: str, hypotheses: bool) -> tuple[str, str | None, str | None]:
    """Id, text and speaker of an utterance."""
    if not isinstance(data, dict):
        raise InputError(f"{where}: not a JSON object; expected one with id and text")
    id = next((data[name] for name in _IDS if name in data), None)
    if id is None and isinstance(data.get("audio_filepath"), str):  # NeMo
        id = Path(data["audio_filepath"]).stem + (f"-{data['offset']:g}" if data.get("offset") else "")
    if not isinstance(id, str | int):
        raise InputError(f"{where}: 'id' is missing; a line is a JSON object with id and text")
    names = ("pred_text", *_TEXTS) if hypotheses else _TEXTS
    text = next((data[name] for name in names if name in data), None)
    if not isinstance(text, str | None):
        raise InputError(f"{where}: 'text' is {text!r}; expected a string")
    speaker = data.get("speaker")
    return str(id), text, speaker if isinstance(speaker, str) else None
