"""The pipes of Kaldi's wav.scp that only unpack, convert or pick a channel of one file.

Commands are never run. The file behind a standard pipe is read directly; the toolkit itself resamples and averages
channels. A pipe that changes the sound otherwise (speed, gain, trim, ...) is refused by name.
"""

import re
import shlex
from pathlib import PurePosixPath

from asr.errors import InputError
from asr.literals import parse_digits

_VALUES = {  # options that take a value and change nothing that the toolkit does not do itself
    "sox": {"-r", "--rate", "-b", "--bits", "-e", "--encoding", "-t", "--type", "--buffer"},
    "ffmpeg": {"-f", "-ar", "-acodec", "-c:a", "-codec:a", "-sample_fmt", "-loglevel", "-v", "-ab", "-b:a", "-threads"},
}  # fmt: skip
_FLAGS = {
    "flac": {"-c", "-d", "-s", "-f", "-F", "--stdout", "--decode", "--silent", "--totally-silent", "--force",
             "--decode-through-errors"},
    "sph2pipe": {"-p"},
    "sox": {"-q", "-S", "-G", "-D", "--no-dither", "-V0", "-V1", "-V2", "-V3", "-s", "-1", "-2", "-3", "-4", "--guard",
            "--no-show-progress", "-B", "-L"},
    "ffmpeg": {"-y", "-nostdin", "-hide_banner", "-vn", "-sn", "-nostats"},
    "cat": set(),
}  # fmt: skip
_RAW = {"raw", "s16", "s8", "u8", "s24", "s32", "f32", "ul", "al", "sw", "sb", "ub"}


def file_of_pipe(command: str) -> tuple[str, int | None]:
    """(file, channel) that `command |` reads; channel None means all of them, averaged.

    Raises InputError, a reason without place, for a pipe that is not one of the standard forms.
    """
    if odd := re.search(r"[;&<>$`(){}]", command):
        raise InputError(f"'{odd.group()}' needs a shell")
    file, channel, converted = "-", None, False
    for number, stage in enumerate(command.removesuffix("|").split("|")):
        try:
            words = shlex.split(stage)
        except ValueError as e:
            raise InputError(str(e)) from e
        tool = PurePosixPath(words[0]).name if words else ""
        readers = {"flac": _flac, "cat": _flac, "sph2pipe": _sph2pipe, "sox": _sox, "ffmpeg": _ffmpeg}
        if tool not in readers:
            raise InputError(f"the command '{tool}' is unknown")
        source, picked = readers[tool](tool, words[1:])
        if (source in ("-", "pipe:", "pipe:0", "/dev/stdin")) != (number > 0):
            raise InputError(f"'{tool}' reads {'the standard input' if number == 0 else source}")
        if picked is not None and number and (converted or (channel is not None and picked != 0)):
            raise InputError("a channel is picked after other steps")
        converted = converted or tool in ("sox", "ffmpeg")
        file = file if number else source
        channel = picked if channel is None else channel
    return file, channel


def _flac(tool: str, words: list[str]) -> tuple[str, None]:
    files = []
    for word in words:
        letters = {f"-{letter}" for letter in word[1:]} if re.fullmatch(r"-[a-zA-Z]+", word) else {word}
        if not word.startswith("-") or word == "-":
            files.append(word)
        elif not letters <= _FLAGS[tool]:
            raise InputError(f"the option {word} of {tool}")
    return _only(files, tool), None


def _sph2pipe(tool: str, words: list[str]) -> tuple[str, int | None]:
    files, channel, rest = [], None, iter(words)
    for word in rest:
        if word == "-f":
            if next(rest, "") not in ("wav", "rif", "riff", "sph"):
                raise InputError("sph2pipe writes samples without a header")
        elif word in ("-c", "-c1", "-c2"):
            value = word[2:] or next(rest, "")
            if value not in ("1", "2"):
                raise InputError(f"the channel {value} of sph2pipe")
            channel = int(value) - 1
        elif not word.startswith("-"):
            files.append(word)
        elif word not in _FLAGS[tool]:
            raise InputError(f"the option {word} of sph2pipe")
    return _only(files[:1], tool), channel


def _sox(tool: str, words: list[str]) -> tuple[str, int | None]:
    """`sox [options] IN [options] OUT [rate R] [remix N] [channels 1] [dither]`"""
    files: list[str] = []
    rest = iter(words)
    for word in rest:
        value = next(rest, "") if word in _VALUES[tool] | {"-c", "--channels"} else ""
        if word in ("-t", "--type") and value in _RAW and not files:
            raise InputError("samples without a header")
        if word in ("-r", "--rate") and not files:
            raise InputError("another rate than that of the file")
        if word in ("-c", "--channels") and value != "1" and files:
            raise InputError(f"an output with {value} channels")
        if word.startswith("-") and word != "-":
            if not value and word not in _FLAGS[tool]:
                raise InputError(f"the option {word} of sox")
            continue
        files.append(word)
        if len(files) == 2:
            break
    if len(files) < 2:
        raise InputError("sox without output")
    return files[0], _effects(list(rest))


def _effects(words: list[str]) -> int | None:
    channel = None
    while words:
        effect, words = words[0], words[1:]
        arguments = 0
        while arguments < len(words) and not words[arguments].isalpha():
            arguments += 1
        values, words = words[:arguments], words[arguments:]
        if effect == "remix" and len(values) == 1 and (from_one := parse_digits(values[0])):
            channel = from_one - 1
        elif effect not in ("rate", "dither") and [effect, *values] not in (["channels", "1"], ["remix", "-"]):
            raise InputError(f"sox changes the sound by '{' '.join([effect, *values])}'")
    return channel


def _ffmpeg(tool: str, words: list[str]) -> tuple[str, None]:
    inputs, outputs, rest = [], [], iter(words)
    for word in rest:
        if word == "-i":
            inputs.append(next(rest, ""))
        elif word in _VALUES[tool] or word == "-ac":
            value = next(rest, "")
            if word == "-ac" and value != "1":
                raise InputError(f"an output with {value} channels")
            if word == "-f" and not inputs and value in ("s16le", "f32le", "mulaw", "alaw"):
                raise InputError("samples without a header")
        elif not word.startswith("-") or word == "-":
            outputs.append(word)
        elif word not in _FLAGS[tool]:
            raise InputError(f"the option {word} of ffmpeg")
    _only(outputs, tool)
    return _only(inputs, tool), None


def _only(files: list[str], tool: str) -> str:
    if len(files) != 1:
        raise InputError(f"'{tool}' names {len(files)} files")
    return files[0]
