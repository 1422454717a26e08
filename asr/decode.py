"""From log-probs to words with times, and decoding whole manifests.

Times. A net trained with CTC marks each token by a short peak, so a word starts at the first frame of its first
token; after the last frame of its last token it lasts `EXTENSION_S` longer, but at most half the way to the next
word.
"""

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from asr import hypothesis
from asr.bias import Bias
from asr.errors import InputError
from asr.hypothesis import Alternative, Hypothesis, Word
from asr.manifest import Utterance
from asr.searchers import FoundWord, Searcher

if TYPE_CHECKING:
    from asr.api import Recognizer

EXTENSION_S = 0.1


def decode_log_probs(
    log_probs: np.ndarray,
    searcher: Searcher,
    frame_s: float,
    id: str = "",
    duration_s: float | None = None,
    bias: Bias | None = None,
    reject_below: float = 0.0,
) -> Hypothesis:
    """Search log-probs (F, V), natural log, for words with times in seconds; `frame_s` is the length of a frame.

    Words of less confidence than `reject_below` are not accepted: they stay in `words`, but not in the text.

    Raises InputError when the log-probs are no matrix or hold NaN.
    """
    if log_probs.ndim != 2 or np.isnan(log_probs).any():
        raise InputError(
            f"the log-probs of utterance '{id}' have shape {log_probs.shape} and {np.isnan(log_probs).sum()} NaN; "
            "expected (frames, tokens) without NaN: the model may have diverged"
        )
    frames = len(log_probs)
    duration_s = frames * frame_s if duration_s is None else duration_s
    if frames == 0:
        return Hypothesis(id, "", [], 0.0, duration_s, complete=True)
    found = searcher.search(np.ascontiguousarray(log_probs, dtype=np.float32), bias)
    words = list(_timed(found.words, frames, frame_s, reject_below))
    text = " ".join(w.word for w in words if w.accepted)
    others = [Alternative(*other) for other in found.alternatives]
    return Hypothesis(id, text, words, found.cost, duration_s, found.complete, others)


def _timed(words: Sequence[FoundWord], frames: int, frame_s: float, reject_below: float) -> Iterator[Word]:
    starts = [found.segments[0].start for found in words]
    for number, found in enumerate(words):
        end = found.segments[-1].end
        room = (starts[number + 1] - end) / 2 if number + 1 < len(words) else frames - end
        end_s = end * frame_s + min(EXTENSION_S, room * frame_s)
        confidence = round(found.confidence, 4)
        yield Word(
            found.word, round(starts[number] * frame_s, 3), round(end_s, 3), confidence, confidence >= reject_below
        )


def decode_manifest(
    recognizer: "Recognizer",
    utterances: Sequence[Utterance],
    path: str | Path,
    threads: int = 0,
    bias: Bias | None = None,
) -> list[Hypothesis]:
    """Recognise every utterance and write `path` (hyp.jsonl), in the order given.

    An utterance that cannot be read is named and left out; InputError when that befalls all. `threads` search at a
    time (0: one a core). Prints where the result lies and the real-time factor, reading and scoring included.
    """
    started = time.monotonic()
    heard_s = 0.0
    found: dict[str, Hypothesis] = {}

    def search(item: tuple[str, np.ndarray, float]) -> Hypothesis:
        return recognizer.search(*item, bias)

    with (
        tqdm(total=len(utterances), unit="utt", desc="decode") as bar,
        ThreadPoolExecutor(threads or os.cpu_count()) as pool,
    ):
        for batch in recognizer.score_utterances(utterances, bar):
            for hypo in pool.map(search, batch):
                found[hypo.id] = hypo
                heard_s += hypo.duration_s
                bar.update()
    if not found:
        raise InputError(f"none of the {len(utterances)} utterances could be decoded; see the reasons above")
    ordered = [found[u.id] for u in utterances if u.id in found]
    hypothesis.write(path, ordered)
    took_s = time.monotonic() - started
    print(
        f"decoded {len(ordered)} of {len(utterances)} utterances, {heard_s:.1f} s of audio in {took_s:.1f} s "
        f"(real-time factor {took_s / max(heard_s, 1e-9):.3f}) -> {path}"
    )
    return ordered
