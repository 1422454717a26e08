"""Beam search for the best path of log-probs through a graph: the Python face of csrc/decoder.

    graph = Graph.open("exp/graph/graph.bin")
    decoder = Decoder(graph, beam=16.0)
    path = decoder.decode(log_probs)  # (F, V) -> BestPath

    lattice = Decoder(graph, lattice_beam=8.0).decode_lattice(log_probs).lattice  # asr.search.lattice

    stream = decoder.stream()
    while not endpoint.reached(stream.partial(), frame_s):
        stream.accept(next_log_probs)
    path = stream.finish()  # the same as that of all frames at once

A graph is immutable and one decoder serves any number of threads; the interpreter is free while it searches.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import inf, log

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asr import _decoder
from asr.errors import InputError, refusals
from asr.graph.opened import Graph
from asr.search.lattice import Lattice
from asr.search.phrases import Phrases

LEAST_ARCS, ARCS_A_FRAME = 1000, 10  # a word lattice may have so many arcs, unless told otherwise
MOST_COST = 1e6  # of scales and penalties; beyond, floats no longer tell paths apart


@dataclass(frozen=True)
class BestPath:
    """The best path. Labels are the graph's output labels; costs are negative natural logs."""

    labels: list[int]
    label_frames: list[int]  # frame at which the path passed each label
    alignment: NDArray[np.int32]  # (F,) token of the net at each frame, 0 blank
    cost: float  # scaled acoustic costs + graph costs + penalties + final cost
    complete: bool  # False: no final state was reached, and this is the best partial path


@dataclass(frozen=True)
class Partial:
    """What a stream knows before its end."""

    path: BestPath  # the cheapest so far, final or not; it may still become another
    num_stable: int  # so many of its labels stand on all living paths: they will not change
    final_cost: float  # what the cheapest path on a final state costs more; inf: none is there


@dataclass(frozen=True)
class Decoded:
    """The best path, and the other readings near it."""

    path: BestPath
    lattice: Lattice


class Decoder:
    """Searches a graph. Tokens whose cost is `beam` above the frame's best are dropped, and all but `max_active`;
    where fewer than `min_active` are left, the beam widens until there are so many. Of a
    run of frames whose blank has at least the probability `blank_skip` only the first is searched.

    `lattice_beam`: what a path may cost above the best to stay in the lattice; None keeps no lattice.
    `token_costs`: (V,) added to each frame of a token, such as label priors; see `prior_costs`.

    Raises InputError for options out of range.
    """

    def __init__(
        self,
        graph: Graph,
        beam: float = 16.0,
        max_active: int = 7000,
        acoustic_scale: float = 1.0,
        word_penalty: float = 0.0,
        blank_penalty: float = 0.0,
        min_active: int = 20,
        blank_skip: float | None = None,
        lattice_beam: float | None = None,
        token_costs: ArrayLike = (),
    ):
        if not beam > 0:
            raise InputError(f"decoder.beam is {beam}; it must be greater than 0")
        if not 1 <= max_active < 2**31:
            raise InputError(f"decoder.max_active is {max_active}; it must be at least 1")
        if not 0 <= min_active < 2**31:
            raise InputError(f"decoder.min_active is {min_active}; it must be at least 0")
        if not 0 < acoustic_scale <= MOST_COST:
            raise InputError(f"decoder.acoustic_scale is {acoustic_scale}; it must be greater than 0 and finite")
        for name, penalty in (("word_penalty", word_penalty), ("blank_penalty", blank_penalty)):
            if not abs(penalty) <= MOST_COST:
                raise InputError(f"decoder.{name} is {penalty}; it must be finite, at most {MOST_COST:g}")
        if blank_skip is not None and not 0 < blank_skip <= 1:
            raise InputError(f"decoder.blank_skip is {blank_skip}; it must be a probability above 0, or null for none")
        if lattice_beam is not None and not 0 <= lattice_beam <= beam:
            raise InputError(f"decoder.lattice_beam is {lattice_beam}; it must be from 0 to beam={beam}, or null")
        costs = np.array(token_costs, np.float32)
        if costs.ndim != 1 or not np.isfinite(costs).all():
            raise InputError(f"the token costs have shape {costs.shape}; expected finite numbers, (tokens,)")
        if blank_penalty:
            costs = np.append(costs, np.zeros(max(0, 1 - len(costs)), np.float32))
            costs[0] += blank_penalty
        self.graph = graph
        self.lattice_beam = lattice_beam
        self._decoder = _decoder.Decoder(
            graph.core,
            beam,
            max_active,
            min_active,
            acoustic_scale,
            word_penalty,
            inf if blank_skip is None else log(blank_skip),
            -1.0 if lattice_beam is None else lattice_beam,
            costs.tolist(),
        )

    def decode(self, log_probs: ArrayLike, phrases: Phrases | None = None) -> BestPath:
        """(F, V) natural log-probs -> the best path. -inf is allowed; 0 frames give the best path of no input.

        Raises InputError on NaN or +inf (naming the frame), on fewer tokens V than the graph's largest input label,
        on a graph whose epsilon arcs form a cycle of negative cost, and where a dynamic graph would outgrow its limit.
        """
        with refusals():
            return BestPath(*self._decoder.decode(_as_scores(log_probs), _core(phrases)))

    def decode_lattice(
        self, log_probs: ArrayLike, phrases: Phrases | None = None, max_arcs: int | None = None
    ) -> Decoded:
        """As `decode`, with the word lattice: every word sequence within `lattice_beam` of the best, once.

        Where more than `max_arcs` arcs would be needed (None: in proportion to the frames), `lattice.beam` is smaller
        than asked for.
        """
        with refusals():
            path, kept = self._decoder.decode_lattice(_as_scores(log_probs), _core(phrases))
        return Decoded(BestPath(*path), _word_lattice(kept, max_arcs))

    def decode_batch(
        self, utterances: Sequence[ArrayLike], threads: int | None = None, phrases: Phrases | None = None
    ) -> list[BestPath]:
        """`decode` of each, on so many threads (None: all cores), the longest first so that none is left to the end.

        Raises InputError naming the utterance's place in the batch.
        """
        scores = [_as_scores(x) for x in utterances]
        order = sorted(range(len(scores)), key=lambda k: -len(scores[k]))
        with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
            running = {k: pool.submit(self.decode, scores[k], phrases) for k in order}
        paths = []
        for k in range(len(scores)):
            try:
                paths.append(running[k].result())
            except InputError as e:
                raise InputError(f"utterance {k} of the batch: {e}") from None
        return paths

    def stream(self, phrases: Phrases | None = None) -> "Stream":
        return Stream(self, phrases)


class Stream:
    """One utterance whose log-probs come in pieces; how they are cut changes nothing. For one thread at a time.

    A dynamic graph grows with it, up to its limit: end the stream at endpoints and begin another.
    """

    def __init__(self, decoder: Decoder, phrases: Phrases | None = None):
        with refusals():
            self._search = decoder._decoder.start(_core(phrases))
        self._finished = False

    def accept(self, log_probs: ArrayLike) -> None:
        """(F, V) natural log-probs, the next frames. Raises InputError as `Decoder.decode` does, and after `finish`."""
        if self._finished:
            raise InputError("the stream is finished; begin another with decoder.stream()")
        with refusals():
            self._search.accept(_as_scores(log_probs))

    def partial(self) -> Partial:
        with refusals():
            path, num_stable, final_cost = self._search.partial()
        return Partial(BestPath(*path), num_stable, final_cost)

    def finish(self) -> BestPath:
        """The best path of all frames. Nothing can be accepted afterwards."""
        self._finished = True
        with refusals():
            return BestPath(*self._search.finish())

    def lattice(self, max_arcs: int | None = None) -> Lattice:
        """The lattice of all frames accepted."""
        with refusals():
            kept = self._search.lattice()
        return _word_lattice(kept, max_arcs)


def prior_costs(log_priors: ArrayLike, scale: float, acoustic_scale: float) -> NDArray[np.float32]:
    """Token costs that divide each token's posterior by its prior to the power `scale`: (V,) -> (V,)."""
    return (acoustic_scale * scale * np.asarray(log_priors)).astype(np.float32)


def _word_lattice(kept: "_decoder.StateLattice", max_arcs: int | None) -> Lattice:
    return Lattice.determinize(kept, max_arcs or LEAST_ARCS + ARCS_A_FRAME * kept.num_frames)


def _core(phrases: Phrases | None) -> "_decoder.Phrases | None":
    return None if phrases is None else phrases.automaton


def _as_scores(log_probs: ArrayLike) -> NDArray[np.float32]:
    scores = np.ascontiguousarray(log_probs, np.float32)
    if scores.ndim != 2:
        raise InputError(f"log-probs have shape {scores.shape}; expected (frames, tokens)")
    return scores
