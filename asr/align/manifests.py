"""Aligning all utterances of a manifest."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from asr.align.aligner import Aligner
from asr.align.alignment import MOST_SHOWN, Alignment
from asr.align.changes import Changes
from asr.align.pronouncing import remark_on
from asr.data.dataset import load_input
from asr.errors import InputError
from asr.evaluation.transcribed import transcribed
from asr.manifest import Utterance
from asr.recognizer.recognizer import Recognizer


@dataclass(frozen=True)
class Aligned:
    """The alignments of a manifest, in its order."""

    found: list[tuple[Utterance, Alignment]]
    set_aside: int  # utterances that were named
    unknown: list[str]  # words without a pronunciation that stand for any sound
    took_s: float

    @property
    def suspicious(self) -> list[Alignment]:
        """The alignments with remarks, the lowest score first."""
        return sorted((a for _, a in self.found if a.remarks), key=lambda a: a.score)

    def table(self) -> str:
        """The worst suspicious utterances and a summary, for people."""
        worst = self.suspicious
        lines = [f"{a.id}: score {a.score:.3f}; {a.remarks[0]}" for a in worst[:MOST_SHOWN]]
        if len(worst) > MOST_SHOWN:
            lines.append(f"and {len(worst) - MOST_SHOWN} more")
        if self.unknown:
            lines.append(remark_on(self.unknown))
        seconds = sum(a.duration_s for _, a in self.found)
        lines.append(
            f"aligned {len(self.found)} utterances, {seconds:.1f} s of audio in {self.took_s:.1f} s "
            f"({seconds / max(self.took_s, 1e-9):.0f} times real time); {self.set_aside} set aside, "
            f"{len(worst)} suspicious"
        )
        return "\n".join(lines) + "\n"


def align_utterances(
    recognizer: Recognizer, aligner: Aligner, utterances: Sequence[Utterance], min_score: float = 0.0
) -> Aligned:
    """Align utterances with their texts. Those that cannot be read or aligned, and those with a score below
    `min_score`, are named and set aside.

    Raises InputError if none is left.
    """
    started = time.monotonic()
    utterances = transcribed(utterances)
    texts = {u.id: u.transcript for u in utterances}
    unknown = aligner.pronouncing.learn(word for text in texts.values() for word in text.split())
    found: dict[str, Alignment] = {}
    with tqdm(total=len(utterances), unit="utt", desc="align") as bar:
        for batch in scored(recognizer, utterances, bar):
            for id, log_probs, duration_s, changes in batch:
                try:
                    alignment = aligner.align(id, texts[id], log_probs, duration_s, changes)
                    if alignment.score < min_score:
                        raise InputError(f"its score {alignment.score:.3f} is below {min_score:g}")
                    found[id] = alignment
                except InputError as e:
                    bar.write(f"set aside utterance '{id}': {e}")
            bar.update(len(batch))
    if not found:
        raise InputError(f"none of the {len(utterances)} utterances could be aligned; see the reasons above")
    ordered = [(u, found[u.id]) for u in utterances if u.id in found]
    any_sound = {word.word for alignment in found.values() for word in alignment.words if word.is_unknown}
    unknown = [word for word in unknown if word in any_sound]  # not those of utterances that were set aside
    return Aligned(ordered, len(utterances) - len(found), unknown, time.monotonic() - started)


def scored(
    recognizer: Recognizer, utterances: Sequence[Utterance], bar: tqdm
) -> Iterator[list[tuple[str, np.ndarray, float, Changes | None]]]:
    """Batches of (id, log-probs (F, V), seconds, changes of the sound), the shortest first; unreadable utterances are
    named on `bar`. Stored features have no sound."""
    found: dict[str, Changes] = {}
    has_sound, rate_hz = recognizer.cfg.features.kind != "stored", recognizer.cfg.features.sample_rate_hz

    def read(utterance: Utterance) -> np.ndarray | None:
        try:
            x = load_input(recognizer.cfg, utterance)
        except InputError as e:
            bar.write(f"set aside utterance '{utterance.id}': {e}")
            return None
        if has_sound:
            found[utterance.id] = Changes.of(x, rate_hz)
        return x

    ordered = sorted(utterances, key=lambda u: u.duration_s or float("inf"))
    for batch in recognizer.score_batches(ordered, read):
        yield [(u.id, log_probs, seconds, found.pop(u.id, None)) for u, log_probs, seconds in batch]
