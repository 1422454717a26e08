"""Tuning the decoder's acoustic scale and penalties on a dev set: a climb over a grid to the fewest errors.

The climb begins at the point nearest to the defaults, decodes its neighbours on the grid (one value changed by one
step), goes on from the best point so far, and ends where no neighbour is better. The grid is therefore wide: its ends,
among them the low acoustic scales, which are slow, cost nothing unless the errors fall towards them.

`rate` says which errors are counted: of words (wer), of characters (cer), of jamo, or without spaces
(cer_without_spaces, wer_without_spaces), as is usual where people disagree on spaces. `auto` is cer_without_spaces if
the dev texts are Korean, otherwise wer.

A language model and a lexicon can make a recogniser worse than greedy decoding, mostly by deletions. The best point is
therefore compared with greedy decoding, and a warning is given if it is worse.
"""

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from asr.config import AdaptConfig, DecoderConfig
from asr.errors import InputError
from asr.evaluation.score import Counts, comparable, error_counts, lang_of, usual_rate
from asr.evaluation.transcribed import transcribed
from asr.evaluation.tune_second_pass import Rescoring, tune_second_pass
from asr.files import atomic_write
from asr.manifest import Utterance
from asr.recognizer.speakers import adapts, score_by_speaker
from asr.search.searchers import GreedySearcher, make_decoder
from asr.states import States

if TYPE_CHECKING:
    from asr.recognizer.recognizer import Recognizer

ACOUSTIC_SCALES = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
WORD_PENALTIES = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0)
PIECE_PENALTIES = (-8.0, -6.0, -5.0, -4.0, -3.0, -1.0, 1.0)  # of a graph of pieces: a word has several
BLANK_PENALTIES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)

NAMES = {  # of rates, and heads of their columns
    "wer": ("WER", "WER"),
    "wer_without_spaces": ("WER without spaces", "WER -sp"),
    "cer": ("CER", "CER"),
    "cer_without_spaces": ("CER without spaces", "CER -sp"),
    "jamo": ("jamo error rate", "jamo"),
}
Dev = list[tuple[str, np.ndarray]]  # texts, log-probs (F', V)


@dataclass(frozen=True)
class Point:
    acoustic_scale: float
    word_penalty: float
    blank_penalty: float
    counts: Counts

    @property
    def distance(self) -> float:
        return _distance(self.acoustic_scale, self.word_penalty, self.blank_penalty)


@dataclass(frozen=True)
class Tuning:
    points: list[Point]  # best first
    greedy: Counts | None  # None if greedy decoding gives phones, not words
    utterances: int
    rate: str = "wer"
    rescoring: Rescoring | None = None  # at the best point, if decoder.rescore names a language model
    adapt: AdaptConfig | None = None  # how the HMMs adapted to the speakers; None for a recogniser that does not

    @property
    def best(self) -> Point:
        return self.points[0]

    def apply(self, cfg: DecoderConfig) -> DecoderConfig:
        """The decoder options with the values of the best point."""
        b = self.best
        cfg = replace(cfg, acoustic_scale=b.acoustic_scale, word_penalty=b.word_penalty, blank_penalty=b.blank_penalty)
        return self.rescoring.apply(cfg) if self.rescoring else cfg

    def warning(self) -> str | None:
        """What to know before the best point is used: the graph makes dev worse, or dev does not tell which is best."""
        errors, found = self.best.counts.errors, []
        if self.greedy is not None and errors > self.greedy.errors:
            found.append(
                f"the graph makes dev worse: {NAMES[self.rate][0]} {100 * self.best.counts.rate:.2f} % at its best "
                f"point, {100 * self.greedy.rate:.2f} % greedy; use decoder.kind=greedy, or correct the lexicon or LM"
            )
        beside = self._beside_best()  # three or more, unless one option alone was tuned
        if errors and len(beside) > 2 and all(point.counts.errors == errors for point in beside):
            found.append(
                "dev does not tell which values are best: all points beside the best one have as many errors, and the "
                "search ends there; try values farther off by hand, such as decoder.word_penalty=10 or "
                "decoder.acoustic_scale=0.3, with asr decode on dev, or tune on a larger dev set"
            )
        return "; ".join(found) or None

    def _beside_best(self) -> list[Point]:
        """The points of the grid next to the best one, all of which were decoded."""
        names, best, beside = ("acoustic_scale", "word_penalty", "blank_penalty"), self.best, []
        for name in names:
            others = [n for n in names if n != name]
            line = [p for p in self.points if all(getattr(p, n) == getattr(best, n) for n in others)]
            line.sort(key=lambda p, name=name: getattr(p, name))  # type: ignore[misc]
            at = line.index(best)
            beside += [*line[max(0, at - 1) : at], *line[at + 1 : at + 2]]
        return beside

    def table(self, most: int = 10) -> str:
        lines = [f"acoustic_scale  word_penalty  blank_penalty {NAMES[self.rate][1]:>8}    S    D    I"]
        for p in self.points[:most]:
            lines.append(f"{p.acoustic_scale:14g} {p.word_penalty:13g} {p.blank_penalty:14g} {_row(p.counts)}")
        if self.greedy is not None:
            lines.append(f"{'greedy':>43} {_row(self.greedy)}")
        if self.rescoring:
            lines += ["", *self.rescoring.rows(NAMES[self.rate][1], most, _row)]
        if warning := self.warning():
            lines.append(f"warning: {warning}")
        return "\n".join(lines) + "\n"

    def write(self, path: str | Path, made_with: Mapping[str, str | None] | None = None) -> None:
        """Write the decoded points as JSON, best first. `made_with`: digests of the net and the graph."""
        points = [asdict(p) | {self.rate: p.counts.rate} for p in self.points]
        greedy = None if self.greedy is None else asdict(self.greedy) | {self.rate: self.greedy.rate}
        data = {"utterances": self.utterances, "points": points, "greedy": greedy, "warning": self.warning()}
        if self.rescoring:
            data["rescoring"] = asdict(self.rescoring)
        if self.adapt:
            data["adapt"] = asdict(self.adapt)
        data |= {"made_with": made_with}
        with atomic_write(path) as file:
            json.dump(data, file, indent=1)


def tune(
    recognizer: "Recognizer",
    utterances: Sequence[Utterance],
    acoustic_scales: Sequence[float] = ACOUSTIC_SCALES,
    word_penalties: Sequence[float] | None = None,
    blank_penalties: Sequence[float] = BLANK_PENALTIES,
    threads: int = 0,
    rate: str = "auto",
) -> Tuning:
    """Decode the dev set with points of the grid, up to the best. If the recogniser ranks readings anew, the best share
    and penalty of that are then found for the best point. Log-probs are computed once: F' x V x 4 bytes each.

    All other options are the recogniser's. Points with equally many errors are sorted by their distance from the
    defaults. Utterances without a text are named and left out. Raises InputError if the recogniser has no graph, and if
    no utterance can be read or has a text.
    """
    space = recognizer.space
    if space is None:
        raise InputError("tuning is not possible without a graph; run `asr graph` first")
    utterances = transcribed(utterances)
    lang = lang_of(u.transcript for u in utterances)
    if rate == "auto":
        rate = usual_rate(lang)
    texts = {u.id: comparable(u.transcript, lang) for u in utterances}
    by_id, heard = {u.id: u for u in utterances}, []
    dev: Dev = []
    with tqdm(total=len(utterances), unit="utt", desc="dev log-probs") as bar:
        for batch in score_by_speaker(recognizer, utterances, bar):
            dev += [(texts[id], log_probs) for id, log_probs, _ in batch if len(log_probs)]
            heard += [by_id[id] for id, log_probs, _ in batch if len(log_probs)]
            bar.update(len(batch))
    if not dev:
        raise InputError("no dev utterance could be read; see the reasons above")

    if word_penalties is None:
        word_penalties = PIECE_PENALTIES if space.of_pieces else WORD_PENALTIES
    if States.of(recognizer.tokens):
        blank_penalties = (0.0,)  # no path of HMMs passes the blank
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:

        def decode(scale: float, word: float, blank: float) -> Point:
            cfg = replace(recognizer.cfg.decoder, acoustic_scale=scale, word_penalty=word, blank_penalty=blank)
            decoder = make_decoder(space.graph, replace(cfg, lattice_beam=None))
            paths = pool.map(lambda item: decoder.decode(item[1]).labels, dev)
            return Point(scale, word, blank, _count(dev, map(space.text, paths), rate))

        points = climb([sorted(values) for values in (acoustic_scales, word_penalties, blank_penalties)], decode)
        best = Tuning(points, None, len(dev)).apply(recognizer.cfg.decoder)
        rescoring = tune_second_pass(recognizer, best, dev, rate, pool, heard) if best.rescore is not None else None
    unit = recognizer.cfg.tokens.unit
    greedy = None
    if unit != "phone":
        searcher = GreedySearcher(recognizer.tokens, unit)
        found = (" ".join(found.word for found in searcher.search(log_probs).words) for _, log_probs in dev)
        greedy = _count(dev, found, rate)
    return Tuning(points, greedy, len(dev), rate, rescoring, recognizer.cfg.adapt if adapts(recognizer) else None)


def climb(axes: Sequence[Sequence[float]], decode: Callable[[float, float, float], Point]) -> list[Point]:
    """The points that were decoded on the way to the best one, best first. `axes`: the sorted values of each option."""
    start = min(product(*axes), key=lambda values: _distance(*values))
    best = tuple(axis.index(value) for axis, value in zip(axes, start, strict=True))
    found: dict[tuple[int, ...], Point] = {}
    with tqdm(unit="point", desc="tune") as bar:
        while True:
            for at in [best, *_neighbours(best, [len(axis) for axis in axes])]:
                if at not in found:
                    found[at] = decode(*(axis[i] for axis, i in zip(axes, at, strict=True)))
                    bar.update()
            ranked = sorted(found, key=lambda at: (found[at].counts.errors, found[at].distance))
            if ranked[0] == best:
                return [found[at] for at in ranked]
            best = ranked[0]


def _neighbours(at: tuple[int, ...], sizes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """The points of a grid that differ from `at` by one step in one dimension."""
    for axis, size in enumerate(sizes):
        for i in (at[axis] - 1, at[axis] + 1):
            if 0 <= i < size:
                yield (*at[:axis], i, *at[axis + 1 :])


def _distance(acoustic_scale: float, word_penalty: float, blank_penalty: float) -> float:
    """Distance from the defaults 1, 0, 0. Doubling the scale counts as much as a penalty of 1."""
    return abs(math.log2(acoustic_scale)) + abs(word_penalty) + abs(blank_penalty)


def _count(dev: Dev, found: Iterable[str], rate: str) -> Counts:
    return sum((error_counts(ref, hyp, rate) for (ref, _), hyp in zip(dev, found, strict=True)), Counts())


def _row(c: Counts) -> str:
    return f"{100 * c.rate:6.2f} % {c.substitutions:4} {c.deletions:4} {c.insertions:4}"
