"""Aligning a long recording with its text, and the utterances that come out."""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from asr.align.aligner import Aligner
from asr.align.alignment import MOST_SHOWN, Alignment
from asr.align.cutting import Piece, cut
from asr.align.heard import hear
from asr.align.long import Places, place
from asr.align.pronouncing import remark_on
from asr.errors import InputError
from asr.manifest import Utterance
from asr.recognizer.recognizer import Recognizer
from asr.text.lexicon import name_some

LEAST_AGREED = 0.01  # with less of `Places.agreed` the text is of something else, unless it repeats itself and
LEAST_PLACED = 0.8  # more of its words are found


@dataclass(frozen=True)
class AlignedRecording:
    """The utterances of a recording in order, those whose score is too low, and what found no place."""

    found: list[tuple[Utterance, Alignment]]
    set_aside: list[tuple[Utterance, Alignment]]
    missing: list[Alignment]  # words of the text and speech in the recording, as remarks
    words: int  # in the text
    placed: int
    unknown: list[str]  # words without a pronunciation
    duration_s: float
    took_s: float

    @property
    def suspicious(self) -> list[Alignment]:
        """What needs a look: utterances with remarks and those set aside, the worst first, then what found no place."""
        doubtful = [a for _, a in self.found if a.remarks] + [_named(u, a) for u, a in self.set_aside]
        return sorted(doubtful, key=lambda a: a.score) + self.missing

    def table(self) -> str:
        """What found no place and a summary, for people."""
        lines = [f"set aside {u.id}, score {a.score:.3f}: '{u.text}'" for u, a in self.set_aside[:MOST_SHOWN]]
        lines += [remark for alignment in self.missing[:MOST_SHOWN] for remark in alignment.remarks]
        more = len(self.set_aside[MOST_SHOWN:]) + len(self.missing[MOST_SHOWN:])
        lines += [f"and {more} more"] if more else []
        if self.unknown:
            lines.append(remark_on(self.unknown))
        seconds = sum(u.duration_s or 0.0 for u, _ in self.found)
        lines.append(
            f"{self.placed} of {self.words} words found; {len(self.found)} utterances, {seconds:.1f} of "
            f"{self.duration_s:.1f} s, {len(self.set_aside)} set aside; {self.took_s:.1f} s "
            f"({self.duration_s / max(self.took_s, 1e-9):.0f} times real time)"
        )
        return "\n".join(lines) + "\n"


def align_recording(
    recognizer: Recognizer,
    aligner: Aligner,
    path: str,
    words: Sequence[str],
    longest_s: float,
    min_score: float,
    channel: int | None = None,
) -> AlignedRecording:
    """Cut a recording into utterances of at most `longest_s` with the words of its text that are heard there.

    Utterances with a score below `min_score` are set aside. Raises InputError if the recording cannot be read, or if
    the text is of something else.
    """
    started = time.monotonic()
    unknown = aligner.pronouncing.learn(words)
    heard = hear(recognizer, Path(path), aligner.listener(words), aligner.clock, channel)
    places = place(aligner, heard, words)
    if not places.words:
        raise InputError(f"no word of the text is heard in {path}; check that they belong together")
    if places.agreed is None and places.heard < aligner.least_heard:
        raise InputError(f"{path} and its text have few words in common ({100 * places.heard:.0f} % of the shorter); "
                         "check that they belong together, and that the words have pronunciations")  # fmt: skip
    if places.agreed is not None and places.agreed < LEAST_AGREED and len(places.words) < LEAST_PLACED * len(words):
        raise InputError(f"{path} and its text have no passage in common, but words here and there; check that they "
                         "belong together, and that the model is of their language")  # fmt: skip
    pieces = list(cut(places.words, places.extra, heard.duration_s, longest_s))
    if all(piece.alignment.score < min_score for piece in pieces):
        raise InputError(f"all {len(pieces)} utterances of {path} have a score below align.min_score={min_score:g}; "
                         "lower it, or check that recording and text belong together")  # fmt: skip
    pairs = [_utterance(piece, number, path, channel) for number, piece in enumerate(pieces)]
    return AlignedRecording(
        [pair for pair in pairs if pair[1].score >= min_score],
        [pair for pair in pairs if pair[1].score < min_score],
        [*_missing_words(places, words), *_missing_speech(places)],
        len(words),
        len(places.words),
        unknown,
        heard.duration_s,
        time.monotonic() - started,
    )


def _utterance(piece: Piece, number: int, path: str, channel: int | None) -> tuple[Utterance, Alignment]:
    id = f"{Path(path).stem}-{number:05}"
    alignment = replace(piece.alignment, id=id)
    audio = os.path.abspath(path)
    utterance = Utterance(id, audio, None, piece.start_s, alignment.duration_s, piece.text, channel=channel)
    utterance.extra["first_word"] = piece.first + 1
    return utterance, alignment


def _missing_words(places: Places, words: Sequence[str]) -> Iterator[Alignment]:
    """Runs of words that were not found, and when the word before them ends."""
    found = dict(places.words)
    at_s = 0.0
    for is_found, run in groupby(range(len(words)), key=found.__contains__):
        numbers = list(run)
        if is_found:
            at_s = found[numbers[-1]].end_s
            continue
        shown = name_some([words[number] for number in numbers], 8).replace(", ", " ")
        which = f"word {numbers[0] + 1}" if len(numbers) == 1 else f"words {numbers[0] + 1} to {numbers[-1] + 1}"
        yield Alignment("-", 0.0, [], 0.0, [f"{which} of the text ('{shown}') not heard after {at_s:.2f} s"])


def _missing_speech(places: Places) -> Iterator[Alignment]:
    for start_s, end_s in places.extra:
        yield Alignment("-", 0.0, [], 0.0, [f"{end_s - start_s:.2f} s of speech at {start_s:.2f} s not in the text"])


def _named(utterance: Utterance, alignment: Alignment) -> Alignment:
    return replace(alignment, remarks=[f"set aside: '{utterance.text}' at {utterance.start_s:.2f} s"])
