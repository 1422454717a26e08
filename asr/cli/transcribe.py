"""The verb `asr transcribe`: see asr/cli/verbs.py."""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from asr.cli.launchers import check_bulk, recognise
from asr.cli.workers import open_recognizer
from asr.config import Config
from asr.errors import InputError
from asr.remote import is_remote

if TYPE_CHECKING:
    from asr.cli.recordings import Recording
    from asr.cli.transcripts import File, Folder
    from asr.recognizer.recognizer import Recognizer

BAR_AFTER_S, BAR_EVERY_S = 5.0, 0.5  # on a terminal
LINE_EVERY_S = 30.0  # elsewhere, as in a log file


def transcribe(cfg: Config) -> None:
    """Transcribes recordings: words with start, end and confidence.

    asr transcribe [MODEL.asr] FILE|FOLDER|LIST.txt|MANIFEST.jsonl ... [format=FORMAT] [output=FILE|FOLDER/]
                   [phrases=FILE] [new_words=FILE] [fill_slots=FILE] [written=true] [punctuate=true]
    asr transcribe [MODEL.asr] --microphone
    asr transcribe [MODEL.asr] - [rate=HZ] [encoding=s16le|f32le]

    Recordings may be of any length; long ones are cut at pauses. A folder is searched with its sub-folders, a list
    names one file per line, relative to its own folder. Files that cannot be read are named and set aside; the exit
    code is then 2. Without `format` and `output` the words are printed with times and confidences, and with `nbest=5`
    alternatives.

    `format` is txt, json, jsonl, srt, vtt, ctm or textgrid; by default the suffix of `output`. txt, jsonl and ctm
    hold many recordings in one file. `output=FOLDER/` writes one file per recording (json unless `format` says
    otherwise) and keeps sub-folders; existing files are not written again, and a
    warning names those that are older than their recording or the model. `output=FILE` is written at the end;
    after an interruption the same command continues from FILE.partial.

    `written=true` writes numbers, dates, amounts and letters as readers expect, in English and Korean: "$5" for "five
    dollars". `punctuate=true` adds commas, full stops, question marks and, in English, capital letters. If the words of
    the recogniser do not tell its language, name it: `spoken_language=en` or `ko`.

    `phrases` names a file of phrases to boost, one per line. `new_words` names a file of words to add to a dynamic
    graph, or of pronunciations of the words of a list or grammar, `fill_slots` a JSGF file whose public rules fill
    slots of its language model.

    `launcher=ray` divides the recordings among workers of Ray, here or on the cluster at `address`; the output is the
    same.

    `--microphone` and `-`, the standard input, are heard while they sound. The words appear at once and each utterance
    becomes a line when it ends, by the rules of asr.search.endpoint. `-` takes samples without a header, mono.
    """
    from asr.cli.live import is_live
    from asr.cli.transcripts import lock

    if cfg.format == "onnx":
        raise InputError("format=onnx is a format of `asr export`; choose a format of transcripts, such as srt")
    live = is_live(cfg)
    check_bulk(cfg.bulk, live)
    if not cfg.input and not live:
        raise InputError("asr transcribe needs sound files: asr transcribe model.asr speech.wav")
    if not Path(cfg.bundle).exists():
        missing, first = cfg.bundle, cfg.input[0] if cfg.input else "-"
        if missing == f"{cfg.out}/model.asr" and first != "-" and not (Path(first).suffix or Path(first).exists()):
            missing = first  # a run folder that is misspelled
        raise InputError(f"there is no recogniser {missing}; name a bundle (*.asr) or a run folder with a trained "
                         "model, then the recordings: asr transcribe exp/model.asr speech.wav")  # fmt: skip
    if live:
        from asr.cli.live import transcribe_live

        transcribe_live(cfg, _opened(cfg))
        return
    with lock(cfg):
        _transcribe_all(cfg)


def _opened(cfg: Config) -> "Recognizer":
    """The recogniser; a line on stderr if it could adapt to speakers elsewhere."""
    from asr.recognizer.speakers import tell_unadapted

    recognizer = open_recognizer(cfg)
    tell_unadapted(recognizer.model, "asr transcribe")
    return recognizer


def _transcribe_all(cfg: Config) -> None:
    from asr.cli.recordings import find_recordings
    from asr.cli.transcripts import Folder, open_output

    is_here = cfg.bulk.launcher == "local"
    recognizer = _opened(cfg if is_here else replace(cfg, device="cpu"))  # others have the GPUs
    recordings = find_recordings(cfg.input, recognizer.cfg.features.kind == "stored")
    output = open_output(cfg, recordings)
    pending = [recording for recording in recordings if output is None or not output.has(recording)]
    existing = [r for r in recordings if isinstance(output, Folder) and output.has(r)]
    old = [output.paths[r.id] for r in existing if isinstance(output, Folder) and output.is_outdated(r, cfg.bundle)]
    problems = _transcribe(cfg, recognizer, pending, output)
    if output is not None:
        output.finish()
    skipped, written = len(recordings) - len(pending), len(pending) - len(problems)
    if cfg.output is not None and skipped + written:
        print(f"{written} recordings -> {cfg.output}" + (f" ({skipped} existed already)" if skipped else ""))
    if old:
        print(f"asr: warning: {len(old)} of them are older than their recording or the model, such as {old[0]}; delete "
              "them to transcribe these again", file=sys.stderr)  # fmt: skip
    if problems:
        several = f"{len(problems)} of {len(recordings)} recordings were set aside; the first: "
        raise InputError((several if len(recordings) > 1 else "") + problems[0])


def _transcribe(
    cfg: Config,
    recognizer: "Recognizer",
    recordings: Sequence["Recording"],
    output: "File | Folder | None",
) -> list[str]:
    """Recognises `recordings`, writes and shows the results; returns the errors of those that failed."""
    from asr.cli.transcripts import Folder, Terminal

    progress = Progress()
    is_shown = output is None or (cfg.output is not None and not isinstance(output, Folder))
    terminal = Terminal(recordings, progress.print) if is_shown else None
    sources = [recording.source for recording in recordings]
    problems = []
    for number, result in recognise(cfg, recognizer, sources, progress):
        recording = recordings[number]
        if isinstance(result, InputError):
            has_path = isinstance(recording.source, Path) or is_remote(recording.name)
            names_it = has_path and recording.name in str(result)
            problems.append(str(result) if names_it else f"{recording.name}: {result}")
            if len(recordings) > 1:
                progress.print(f"set aside {problems[-1]}", sys.stderr)
            hypothesis = None
        else:
            hypothesis = replace(result, id=recording.id)
            if output is not None:
                output.add(recording, hypothesis)
        if terminal:
            terminal.add(recording, hypothesis)
    progress.clear()
    return problems


class Progress:
    """A progress line on standard error, shown once the work takes a while: the part done, speed and time left."""

    def __init__(self) -> None:
        self.is_terminal = sys.stderr.isatty()
        self.started = self.shown = time.monotonic()
        self.is_shown = False

    def __call__(self, done_s: float, total_s: float) -> None:
        """Seconds of audio recognised, and in total."""
        now = time.monotonic()
        is_early = self.is_terminal and now - self.started < BAR_AFTER_S
        if is_early or now - self.shown < (BAR_EVERY_S if self.is_terminal else LINE_EVERY_S):
            return
        rate = done_s / (now - self.started)
        line = f"{done_s / total_s:4.0%} of {_clock(total_s)} of audio, {rate:.1f} times real time"
        line += f", {_clock((total_s - done_s) / rate)} left"
        self.clear()
        print(line, end="" if self.is_terminal else "\n", file=sys.stderr, flush=True)
        self.shown, self.is_shown = now, self.is_terminal

    def clear(self) -> None:
        if self.is_shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        self.is_shown = False

    def print(self, text: str, file: TextIO | None = None) -> None:
        """Print a line, to the standard output unless another is given, in place of the bar."""
        self.clear()
        print(text, file=file, flush=True)


def _clock(time_s: float) -> str:
    minutes, seconds = divmod(round(time_s), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
