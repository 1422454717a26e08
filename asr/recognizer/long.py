"""Recordings of any length and number, recognised in bounded memory.

A recording of more than `LONGEST_S` is read in blocks and cut into pieces of `SHORTEST_S` to `LONGEST_S` seconds, each
in the middle of the clearest pause there (asr.features.pauses). Pieces of all recordings are scored and searched in
batches as they are read; their words are joined to one `Hypothesis` with times from the start of the recording. Memory
holds a block, a batch with its lattices, and the words. The language model begins anew in each piece.

Batches stay within a share, some minutes of recordings of similar length. Several processes can therefore recognise
shares (asr.cli.launchers) and get the same bits as one.

Shorter recordings are recognised whole. So are stored features, which have no level to cut by, and recordings searched
with a word list or grammar, which describes a whole utterance; these may last `WHOLE_S` at most unless `max_audio_s`
allows more.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from asr.config import Config
from asr.data.dataset import load_input
from asr.errors import InputError
from asr.features import audio
from asr.features.pauses import best_pause
from asr.hypothesis import Alternative, Hypothesis
from asr.manifest import Utterance
from asr.recognizer.inputs import Input, Source, check_length, mono_blocks, name_of, source_of
from asr.search.phrases import Phrases

LONGEST_S, SHORTEST_S = 30.0, 15.0  # of a piece; the last one of a recording may be shorter
WHOLE_S = 600.0  # a recording that cannot be cut
SHARE_S, MOST_IN_SHARE = 600.0, 500  # seconds and recordings of a share; a longer recording is one of its own

Recording = Source | Utterance
Progress = Callable[[float, float], object]  # called with the seconds recognised and the seconds in all


class Recognizes(Protocol):
    """What `transcribe_each` needs of a `Recognizer`."""

    cfg: Config

    @property
    def can_cut(self) -> bool: ...

    def read(self, x: Source, sample_rate_hz: float | None, channel: int | None = None) -> np.ndarray: ...

    def duration_s(self, x: np.ndarray) -> float: ...

    def score_batches(
        self, items: Iterable["Piece"], read: Callable[["Piece"], np.ndarray | None]
    ) -> Iterator[list[tuple["Piece", np.ndarray, float]]]: ...

    def search(
        self,
        id: str,
        log_probs: np.ndarray,
        duration_s: float,
        phrases: Phrases | None = None,
        samples: np.ndarray | None = None,
    ) -> Hypothesis: ...


@dataclass(frozen=True)
class Share:
    """Recordings that are batched with each other alone, so that where and when they are recognised changes no bit.

    Sums over batches of other utterances differ in their last bits. Recordings are in the order of their lengths.
    """

    opened: dict[int, Recording]  # by number
    seconds: dict[int, float]  # by the header; 0 if only reading tells

    @property
    def total_s(self) -> float:
        return sum(self.seconds.values())

    def alone(self) -> "list[Share]":
        """Each recording as a share of its own."""
        return [Share({number: x}, {number: self.seconds[number]}) for number, x in self.opened.items()]


@dataclass(frozen=True)
class Piece:
    """Part of a recording that is recognised at once; most recordings are one piece."""

    number: int  # of the recording
    start_s: float
    x: np.ndarray  # samples (T,) at the model's rate, or features (F, D)
    last: bool


def transcribe_each(
    recognizer: Recognizes,
    recordings: Sequence[Input | Utterance],
    sample_rate_hz: float | None = None,
    phrases: Phrases | None = None,
    threads: int = 0,
    progress: Progress | None = None,
    channel: int | None = None,
) -> Iterator[tuple[int, Hypothesis | InputError]]:
    """Recognise recordings share by share, the shortest first; yields each one's number and result when it is done.

    An `Utterance` is its segment of its recording. `channel` is that of recordings with several, unless an utterance
    names its own; None: that of the recogniser. `threads` search at a time (0: one per core). The result of a
    recording that cannot be read or searched is the InputError; the others go on.
    """
    shares, failed = shares_of(recognizer, recordings, sample_rate_hz)
    yield from failed.items()
    total_s, done_s = sum(share.total_s for share in shares), 0.0

    def heard(seconds: float) -> None:
        nonlocal done_s
        done_s += seconds
        if progress:
            progress(done_s, max(total_s, done_s))

    for share in shares:
        yield from transcribe_share(recognizer, share, sample_rate_hz, phrases, threads, heard, channel)


def shares_of(
    recognizer: Recognizes, recordings: Sequence[Input | Utterance], sample_rate_hz: float | None = None
) -> tuple[list[Share], dict[int, InputError]]:
    """Divides recordings into shares, the shortest recordings first; also returns the errors of those that cannot be
    opened, by number."""
    opened, seconds, failed = _open(recognizer, recordings, sample_rate_hz)
    shares: list[Share] = []
    share_s = 0.0
    for number in sorted(seconds, key=seconds.__getitem__):
        share_s += seconds[number]
        if not shares or share_s > SHARE_S or len(shares[-1].seconds) == MOST_IN_SHARE:
            shares.append(Share({}, {}))
            share_s = seconds[number]
        shares[-1].opened[number], shares[-1].seconds[number] = opened[number], seconds[number]
    return shares, failed


def transcribe_share(
    recognizer: Recognizes,
    share: Share,
    sample_rate_hz: float | None = None,
    phrases: Phrases | None = None,
    threads: int = 0,
    heard: Callable[[float], object] | None = None,
    channel: int | None = None,
) -> Iterator[tuple[int, Hypothesis | InputError]]:
    """As `transcribe_each`, for a share. `heard` is called with the seconds of each batch that is recognised."""
    if channel is None:
        channel = recognizer.cfg.data.channel
    failed: dict[int, InputError] = {}
    told: set[int] = set()
    found: dict[int, list[Hypothesis]] = {number: [] for number in share.opened}

    def pieces() -> Iterator[Piece]:
        for number, x in share.opened.items():
            try:
                yield from _pieces(recognizer, number, x, share.seconds[number], sample_rate_hz, channel)
            except InputError as e:
                failed[number] = e

    def search(item: tuple[Piece, np.ndarray, float]) -> Hypothesis | InputError:
        piece, log_probs, duration_s = item
        try:
            id = _id(share.opened[piece.number], piece.number)
            return recognizer.search(id, log_probs, duration_s, phrases, piece.x)
        except InputError as e:
            return e

    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for batch in recognizer.score_batches(pieces(), lambda piece: piece.x):
            for (piece, _, _), result in zip(batch, pool.map(search, batch), strict=True):
                if isinstance(result, InputError):
                    failed.setdefault(piece.number, result)
                elif piece.number not in failed:
                    found[piece.number].append(_in_recording(result, piece))
                    if piece.last:
                        yield piece.number, join(found.pop(piece.number))
            if heard:
                heard(sum(duration_s for _, _, duration_s in batch))
            yield from [(number, failed[number]) for number in failed if number not in told]
            told.update(failed)
    yield from [(number, failed[number]) for number in failed if number not in told]


def transcribe_parts(
    recognizer: Recognizes, samples: np.ndarray, phrases: Phrases | None = None
) -> Iterator[list[Hypothesis]]:
    """Recognise one recording, samples (T,) at the model's rate, a batch of pieces at a time.

    Times count from the start of the recording. The parts of all batches, joined, are what `Recognizer.transcribe`
    returns.
    """
    rate_hz = recognizer.cfg.features.sample_rate_hz
    pieces = _pieces(recognizer, 0, samples, len(samples) / rate_hz, rate_hz, None)
    for batch in recognizer.score_batches(pieces, lambda piece: piece.x):
        yield [
            _in_recording(recognizer.search("0", log_probs, duration_s, phrases, piece.x), piece)
            for piece, log_probs, duration_s in batch
        ]


def pieces_of(recognizer: Recognizes, recording: Source, channel: int | None = None) -> Iterator[Piece]:
    """The pieces of one recording in order, read as they are asked for. Raises InputError if it cannot be read."""
    yield from _pieces(recognizer, 0, recording, _duration_s(recognizer, recording, None), None, channel)


def join(parts: Sequence[Hypothesis]) -> Hypothesis:
    """Joins the hypotheses of consecutive pieces, whose times count from the start of the recording.

    Costs are added, as for independent utterances; the result is complete if all parts are. Its alternatives are the
    cheapest combinations of the parts' readings, at most as many as one part had.
    """
    if len(parts) == 1:
        return parts[0]
    text = " ".join(part.text for part in parts if part.text)
    words = [word for part in parts for word in part.words]
    return Hypothesis(
        parts[0].id,
        text,
        words,
        sum(part.cost for part in parts),
        sum(part.duration_s for part in parts),
        all(part.complete for part in parts),
        _alternatives(parts),
        [bin for part in parts for bin in part.confusion],
    )


def _alternatives(parts: Sequence[Hypothesis]) -> list[Alternative]:
    most = max(len(part.alternatives) for part in parts)
    if not most:
        return []
    readings = [Alternative("", 0.0)]
    for part in parts:
        best = Alternative(" ".join(word.word for word in part.words), part.cost)
        combined = [
            Alternative(f"{before.text} {here.text}".strip(), before.cost + here.cost)
            for before in readings
            for here in (best, *part.alternatives)
        ]
        combined.sort(key=lambda reading: reading.cost)
        cheapest = {reading.text: reading for reading in reversed(combined)}
        readings = sorted(cheapest.values(), key=lambda reading: reading.cost)[: most + 1]
    best_text = " ".join(word.word for part in parts for word in part.words)
    return [reading for reading in readings if reading.text != best_text][:most]


def _in_recording(hypothesis: Hypothesis, piece: Piece) -> Hypothesis:
    return hypothesis if piece.last and not piece.start_s else placed(hypothesis, piece.start_s)


def placed(hypothesis: Hypothesis, start_s: float) -> Hypothesis:
    """Times from the start of the recording; no word reaches into the next piece, as its last frame may."""

    def shifted(time_s: float) -> float:
        return round(start_s + min(time_s, hypothesis.duration_s), 3)

    return hypothesis.moved(shifted)


def _open(
    recognizer: Recognizes, recordings: Sequence[Input | Utterance], sample_rate_hz: float | None
) -> tuple[dict[int, Recording], dict[int, float], dict[int, InputError]]:
    """Recordings, their seconds by the header (0 if only reading tells), and errors of those that cannot be opened."""
    opened: dict[int, Recording] = {}
    seconds: dict[int, float] = {}
    failed: dict[int, InputError] = {}
    for number, x in enumerate(recordings):
        try:
            opened[number] = x if isinstance(x, Utterance) else source_of(x)
            seconds[number] = _duration_s(recognizer, opened[number], sample_rate_hz)
        except InputError as e:
            failed[number] = e
    return opened, seconds, failed


def _duration_s(recognizer: Recognizes, x: Recording, sample_rate_hz: float | None) -> float:
    is_stored = recognizer.cfg.features.kind == "stored"
    if isinstance(x, np.ndarray):
        if not x.ndim or (sample_rate_hz is None and not is_stored):
            return 0.0
        return recognizer.duration_s(x) if is_stored else x.shape[-1] / (sample_rate_hz or 1)
    if isinstance(x, Utterance):
        if x.duration_s is not None or is_stored or x.audio is None:
            return x.duration_s or 0.0
        return max(0.0, audio.info(x.audio).duration_s - x.start_s)
    return 0.0 if is_stored else audio.info(x).duration_s


def _pieces(
    recognizer: Recognizes,
    number: int,
    x: Recording,
    seconds: float,
    sample_rate_hz: float | None,
    channel: int | None,
) -> Iterator[Piece]:
    if isinstance(x, Utterance) and x.channel is None:
        x = replace(x, channel=channel)
    if recognizer.can_cut and seconds > LONGEST_S:
        rate_hz = recognizer.cfg.features.sample_rate_hz
        for start_s, samples, last in cut(_blocks(recognizer.cfg, x, sample_rate_hz, channel), rate_hz):
            yield Piece(number, start_s, samples, last)
        return
    if isinstance(x, Utterance):
        whole = load_input(recognizer.cfg, x)
    else:
        whole = recognizer.read(x, sample_rate_hz, channel)
    if not recognizer.can_cut and math.isinf(recognizer.cfg.data.max_audio_s):
        _check_whole(recognizer, _id(x, number), recognizer.duration_s(whole))
    yield Piece(number, 0.0, whole, True)


def _check_whole(recognizer: Recognizes, name: str, duration_s: float) -> None:
    if duration_s > WHOLE_S:
        what = "stored features are" if recognizer.cfg.features.kind == "stored" else "a list or grammar entry is"
        raise InputError(
            f"{name} lasts {duration_s:.1f} s, but {what} recognised in one piece of at most {WHOLE_S:g} s; "
            "cut it, or set max_audio_s to allow more"
        )


def cut(blocks: Iterable[np.ndarray], sample_rate_hz: int) -> Iterator[tuple[float, np.ndarray, bool]]:
    """Blocks of samples (n,) -> (start in s, samples (T,), whether it is the last) of each piece."""
    longest = round(LONGEST_S * sample_rate_hz)
    start, rest = 0, np.zeros(0, np.float32)
    for block in blocks:
        rest = np.concatenate([rest, block])
        while len(rest) > longest:
            end = best_pause(rest[:longest], sample_rate_hz, SHORTEST_S)
            yield start / sample_rate_hz, rest[:end], False
            start, rest = start + end, rest[end:]
    yield start / sample_rate_hz, rest, True


def _blocks(cfg: Config, x: Recording, sample_rate_hz: float | None, channel: int | None) -> Iterator[np.ndarray]:
    """Mono samples (n,) at the model's rate."""
    wanted_hz, limit_s = cfg.features.sample_rate_hz, cfg.data.max_audio_s
    if isinstance(x, np.ndarray):
        assert sample_rate_hz is not None
        check_length(x.shape[-1] / sample_rate_hz, limit_s)
        yield from audio.resampled(mono_blocks(x, channel), sample_rate_hz, wanted_hz)
        return
    part = x if isinstance(x, Utterance) else None
    source = part.audio if part else x
    assert source is not None and not isinstance(source, Utterance)
    start_s, duration_s = (part.start_s, part.duration_s) if part else (0.0, None)
    if part and part.channel is not None:
        channel = part.channel
    mono = audio.mono_blocks(source, start_s, duration_s, limit_s, channel)
    yield from audio.resampled(mono, audio.info(source).sample_rate_hz, wanted_hz)


def _id(x: Input | Utterance, number: int) -> str:
    return x.id if isinstance(x, Utterance) else name_of(x, number)
