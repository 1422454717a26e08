"""A long recording as a model hears it: log-probs in a temporary file, and the tokens that are heard."""

import math
import tempfile
from dataclasses import dataclass

import numpy as np

from asr.align.aligner import HeardTokens, Listener
from asr.align.changes import Changes
from asr.align.times import Clock, PieceClock
from asr.recognizer.inputs import Source
from asr.recognizer.long import pieces_of
from asr.recognizer.recognizer import Recognizer


@dataclass(frozen=True)
class Heard:
    """`log_probs` (F, V) of the whole recording, in a file, and the tokens that are heard."""

    log_probs: np.ndarray
    tokens: HeardTokens
    clock: PieceClock
    duration_s: float
    changes: Changes


def hear(
    recognizer: Recognizer, recording: Source, listener: Listener, clock: Clock, channel: int | None = None
) -> Heard:
    """Scores a recording piece by piece, cut at pauses. Memory holds a batch of pieces and the tokens. `clock`: of the
    frames of a piece.

    Raises InputError if it cannot be read.
    """
    frame_s = recognizer.frame_s
    first = round(recognizer.cfg.decoder.pad_s / frame_s)
    late_s = first * frame_s - clock.pad_s  # of the first frame
    found = [HeardTokens(*(np.zeros(0, np.int64) for _ in range(3)))]
    frames, at_s = [0], [0.0]
    duration_s, rate_hz = 0.0, recognizer.cfg.features.sample_rate_hz
    changes: list[tuple[float, Changes]] = []
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the map keeps it
    for batch in recognizer.score_batches(pieces_of(recognizer, recording, channel), lambda piece: piece.x):
        for piece, padded, seconds in batch:
            log_probs = padded[first : first + math.ceil(seconds / frame_s)]  # (F, V) without the padding
            if len(log_probs):
                log_probs.astype(np.float32).tofile(file)
                heard = listener(log_probs)
                found.append(HeardTokens(heard.ids, heard.starts + frames[-1], heard.ends + frames[-1]))
            frames.append(frames[-1] + len(log_probs))
            changes.append((piece.start_s, Changes.of(piece.x, rate_hz)))
            duration_s = piece.start_s + seconds
            at_s.append(duration_s)
    file.flush()
    shape = (frames[-1], len(recognizer.tokens))
    stored = np.memmap(file, np.float32, "r", shape=shape) if frames[-1] else np.zeros(shape, np.float32)
    tokens = HeardTokens(*(np.concatenate([getattr(part, f) for part in found]) for f in ("ids", "starts", "ends")))
    places = PieceClock(frame_s, tuple(frames[:-1]), tuple(start_s + late_s for start_s in at_s[:-1]))
    return Heard(stored, tokens, places, duration_s, Changes.joined(changes))
