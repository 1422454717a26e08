"""Tuning of a second pass on a dev set: the share of the other language model, and the penalty per word.

The readings of each utterance and their costs are found once, so the whole grid costs no more than a point.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from asr.config import DecoderConfig
from asr.data.dataset import load_input
from asr.errors import InputError
from asr.evaluation.score import Counts, error_counts
from asr.manifest import Utterance
from asr.search.searchers import make_decoder
from asr.search.second_pass import BUNDLED, HearingScorer, Listed, second_pass

if TYPE_CHECKING:
    from asr.recognizer.recognizer import Recognizer

SHARES = tuple(round(0.1 * k, 1) for k in range(1, 11))
PENALTIES = (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)
PIECE_PENALTIES = (-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0)  # of a graph of pieces


@dataclass(frozen=True)
class SecondPoint:
    share: float
    penalty: float
    counts: Counts


@dataclass(frozen=True)
class Rescoring:
    model: str  # decoder.rescore; absolute, if it is a file or folder
    nbest: int
    points: list[SecondPoint]  # best first; share 0 is the first pass alone
    lattice_beam: float  # of the lattices whose readings were ranked

    def apply(self, cfg: DecoderConfig) -> DecoderConfig:
        """The decoder options with the values of the best point; without a second pass if that is no better."""
        best = self.points[0]
        if not best.share:
            return replace(cfg, rescore=None)
        return replace(cfg, rescore=self.model, rescore_nbest=self.nbest, lattice_beam=self.lattice_beam,
                       rescore_share=best.share, rescore_penalty=best.penalty)  # fmt: skip

    def rows(self, rate: str, most: int, row: Callable[[Counts], str]) -> list[str]:
        """Lines of a table: the best points, and the first pass alone."""
        first = next(point for point in self.points if not point.share)
        shown = [*self.points[:most], *([first] if first not in self.points[:most] else [])]
        lines = [f"rescore_share  rescore_penalty  {rate:>19}    S    D    I"]
        lines += [f"{p.share:13g} {p.penalty:16g} {row(p.counts):>33}" for p in shown]
        return lines if self.points[0].share else [*lines, f"{self.model} makes no dev text better and is not used"]


def tune_second_pass(
    recognizer: "Recognizer",
    cfg: DecoderConfig,
    dev: Sequence[tuple[str, np.ndarray]],
    rate: str,
    pool: Executor,
    utterances: Sequence[Utterance] = (),
) -> Rescoring:
    """The points of the grid, the fewest errors first, for `dev`: texts and log-probs (F, V). Of equally good ones, the
    smallest share counts. `cfg`: the options of the first pass, and what ranks its readings anew. `utterances`: those
    of `dev`, whose sound is read if the second pass needs it."""
    space = recognizer.space
    assert space is not None and recognizer.rescorer is not None
    if (source := recognizer.rescorer.source) == BUNDLED:
        raise InputError("decoder.rescore=bundled: tune with the file of the language model")
    second = second_pass(cfg, recognizer.rescorer.scorer, space)
    assert second is not None
    decoder = make_decoder(space.graph, cfg)
    needs_sound = isinstance(second.scorer, HearingScorer)

    def read(number: int) -> list[Listed]:
        decoded = decoder.decode_lattice(dev[number][1])
        if not decoded.path.complete:  # it has no second pass
            return [Listed(decoded.path.labels, decoded.path.cost, 0.0, 0.0)]
        own = second.heard(load_input(recognizer.cfg, utterances[number])) if needs_sound else second
        return own.listed(decoded.lattice, space)

    lists = list(tqdm(pool.map(read, range(len(dev))), total=len(dev), desc="second pass"))
    known: dict[tuple[int, tuple[int, ...]], Counts] = {}

    def counts(number: int, labels: list[int]) -> Counts:
        key = (number, tuple(labels))
        if key not in known:
            known[key] = error_counts(dev[number][0], space.text(labels), rate)
        return known[key]

    def point(share: float, penalty: float) -> SecondPoint:
        best = [min(readings, key=lambda reading: reading.cost(share, penalty)).labels for readings in lists]
        return SecondPoint(share, penalty, sum((counts(k, labels) for k, labels in enumerate(best)), Counts()))

    penalties = PIECE_PENALTIES if space.of_pieces else PENALTIES
    points = [point(0.0, 0.0), *(point(share, penalty) for share in SHARES for penalty in penalties)]
    points.sort(key=lambda p: (p.counts.errors, p.share, abs(p.penalty)))
    model = os.path.abspath(source) if os.path.exists(source) else source
    assert cfg.lattice_beam is not None  # second_pass has refused it
    return Rescoring(model, cfg.rescore_nbest, points, cfg.lattice_beam)
