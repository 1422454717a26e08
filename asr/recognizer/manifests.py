"""Recognising all utterances of a manifest."""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from asr import hypothesis
from asr.errors import InputError
from asr.hypothesis import Hypothesis
from asr.manifest import Utterance
from asr.recognizer.searching import sound_for
from asr.recognizer.speakers import score_by_speaker
from asr.search.phrases import Phrases

if TYPE_CHECKING:
    from asr.recognizer.recognizer import Recognizer


def decode_manifest(
    recognizer: "Recognizer",
    utterances: Sequence[Utterance],
    path: str | Path,
    threads: int = 0,
    phrases: Phrases | None = None,
) -> list[Hypothesis]:
    """Recognise every utterance and write the hypotheses to `path` (hyp.jsonl), in the order of `utterances`.

    Prints the path and the real-time factor, which includes reading and scoring. Otherwise as `decode_utterances`.
    """
    started = time.monotonic()
    ordered = decode_utterances(recognizer, utterances, threads, phrases)
    hypothesis.write(path, ordered)
    took_s, heard_s = time.monotonic() - started, sum(hypo.duration_s for hypo in ordered)
    print(
        f"decoded {len(ordered)} of {len(utterances)} utterances, {heard_s:.1f} s of audio in {took_s:.1f} s "
        f"(real-time factor {took_s / max(heard_s, 1e-9):.3f}) -> {path}"
    )
    return ordered


def decode_utterances(
    recognizer: "Recognizer",
    utterances: Sequence[Utterance],
    threads: int = 0,
    phrases: Phrases | None = None,
) -> list[Hypothesis]:
    """The hypotheses, in the order of `utterances`. Those that cannot be read are named and left out.

    `threads` is the number of search threads (0: one per core). Raises InputError if no utterance can be read.
    """
    found: dict[str, Hypothesis] = {}
    by_id = {utterance.id: utterance for utterance in utterances}

    def search(item: tuple[str, np.ndarray, float]) -> Hypothesis:
        return recognizer.search(*item, phrases, sound_for(recognizer.searcher, recognizer.cfg, by_id[item[0]]))

    with (
        tqdm(total=len(utterances), unit="utt", desc="decode") as bar,
        ThreadPoolExecutor(threads or os.cpu_count()) as pool,
    ):
        for batch in score_by_speaker(recognizer, utterances, bar):
            for hypo in pool.map(search, batch):
                found[hypo.id] = hypo
                bar.update()
    if not found:
        raise InputError(f"none of the {len(utterances)} utterances could be decoded; see the reasons above")
    return [found[u.id] for u in utterances if u.id in found]
