"""A long recording as a net hears it: log-probs in a temporary file, and the most probable tokens with their frames."""

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr.align.changes import Changes
from asr.align.times import PieceClock
from asr.recognizer.inputs import Source
from asr.recognizer.long import pieces_of
from asr.recognizer.recognizer import Recognizer


@dataclass(frozen=True)
class Heard:
    """`log_probs` (F, V) of the whole recording, in a file; `tokens` (N,) that greedy decoding hears, without blanks,
    separators and silence, and the frames [`starts`, `ends`) of each."""

    log_probs: np.ndarray
    tokens: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    clock: PieceClock
    duration_s: float
    changes: Changes


def hear(recognizer: Recognizer, recording: Source, gaps: Sequence[int], channel: int | None = None) -> Heard:
    """Scores a recording piece by piece, cut at pauses. Memory holds a batch of pieces and the tokens.

    Raises InputError if it cannot be read.
    """
    frame_s, pad_s = recognizer.frame_s, recognizer.cfg.decoder.pad_s
    first = round(pad_s / frame_s)
    late_s = first * frame_s - pad_s  # of the first frame
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    frames, at_s = [0], [0.0]
    duration_s, rate_hz = 0.0, recognizer.cfg.features.sample_rate_hz
    changes: list[tuple[float, Changes]] = []
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the map keeps it
    for batch in recognizer.score_batches(pieces_of(recognizer, recording, channel), lambda piece: piece.x):
        for piece, padded, seconds in batch:
            log_probs = padded[first : first + math.ceil(seconds / frame_s)]  # (F, V) without the padding
            if len(log_probs):
                log_probs.astype(np.float32).tofile(file)
                found.append(_collapsed(log_probs.argmax(1), gaps, frames[-1]))
            frames.append(frames[-1] + len(log_probs))
            changes.append((piece.start_s, Changes.of(piece.x, rate_hz)))
            duration_s = piece.start_s + seconds
            at_s.append(duration_s)
    file.flush()
    shape = (frames[-1], len(recognizer.tokens))
    stored = np.memmap(file, np.float32, "r", shape=shape) if frames[-1] else np.zeros(shape, np.float32)
    parts = list(zip(*found, strict=True)) if found else [(np.zeros(0, int),)] * 3
    tokens, starts, ends = (np.concatenate(part) for part in parts)
    clock = PieceClock(frame_s, tuple(frames[:-1]), tuple(start_s + late_s for start_s in at_s[:-1]))
    return Heard(stored, tokens, starts, ends, clock, duration_s, Changes.joined(changes))


def _collapsed(best: np.ndarray, gaps: Sequence[int], offset: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The tokens of the most probable outputs (F,), and the frames of each, counted from `offset`."""
    starts = np.flatnonzero(np.diff(best, prepend=-1))
    ends = np.append(starts[1:], len(best))
    kept = ~np.isin(best[starts], gaps)
    return best[starts][kept], starts[kept] + offset, ends[kept] + offset
