"""Beam search of log-probs through a graph. This is the Python interface of csrc/decoder.

    graph = Graph.open("exp/graph/graph.bin")
    decoder = Decoder(graph, beam=16.0)
    path = decoder.decode(log_probs)  # (F, V) -> BestPath

    lattice = Decoder(graph, lattice_beam=8.0).decode_lattice(log_probs).lattice  # asr.search.lattice

    stream = decoder.stream()
    while not endpoint.reached(stream.partial(), frame_s):
        stream.accept(next_log_probs)
    path = stream.finish()  # equal to the path of all frames at once

Graphs and decoders are immutable and may be shared by any number of threads. The search releases the interpreter lock.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from math import inf, log
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asr import _decoder
from asr.errors import InputError, refusals
from asr.graph.opened import Graph
from asr.search.lattice import Lattice
from asr.search.phrases import Phrases

LATTICE_ARCS, LATTICE_ARCS_PER_FRAME = 1000, 10  # default limit of a word lattice: 1000 arcs + 10 per frame
MOST_COST = 1e6  # limit of scales and penalties: with larger values float32 costs no longer distinguish paths


@dataclass(frozen=True)
class BestPath:
    """A path through the graph. Labels are output labels of the graph; costs are negative natural logs."""

    labels: list[int]
    label_frames: list[int]  # frame at which the path passes each label
    alignment: NDArray[np.int32]  # (F,) token of the net at each frame, 0 blank
    cost: float  # scaled acoustic costs + graph costs + penalties + final cost
    complete: bool  # False: no final state was reached, this is the best partial path


@dataclass(frozen=True)
class Partial:
    """The state of a stream before its end. Costs hold the boosts of complete phrases only."""

    path: BestPath  # the cheapest path so far, final or not; later frames may change it
    num_stable: int  # the first labels of the path that all active paths share; they will not change
    final_cost: float  # cost of the cheapest path in a final state, above `path`; inf if there is none


@dataclass(frozen=True)
class Decoded:
    """The best path and the lattice of the paths near it."""

    path: BestPath
    lattice: Lattice


class Decoder:
    """Beam search through one graph.

    beam: partial paths that cost this much more than the best one of their frame are dropped.
    max_active, min_active: at most and at least this many partial paths are kept per frame; the beam is adapted.
    acoustic_scale: factor of the log-probs.
    word_penalty, blank_penalty: cost added per word, and per frame of blank.
    blank_skip: of consecutive frames whose blank has at least this probability, all but the first are blank.
    lattice_beam: paths that cost up to this much more than the best stay in the lattice; None keeps no lattice.
    token_costs: (V,) costs added to each frame of a token, such as label priors; see `prior_costs`.

    Raises InputError for an option out of range.
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
            raise InputError(f"decoder.blank_skip is {blank_skip}; it must be a probability above 0, or null")
        if lattice_beam is not None and not 0 <= lattice_beam <= beam:
            raise InputError(f"decoder.lattice_beam is {lattice_beam}; it must be from 0 to beam={beam}, or null")
        costs = np.array(token_costs, np.float32)
        if costs.ndim != 1 or not np.isfinite(costs).all():
            raise InputError(f"the token costs have shape {costs.shape}; expected finite numbers, (tokens,)")
        if blank_penalty:
            costs = np.append(costs, np.zeros(max(0, 1 - len(costs)), np.float32))
            costs[0] += blank_penalty
        self.graph = graph
        self.beam, self.lattice_beam = beam, lattice_beam
        self._options = (
            beam,
            max_active,
            min_active,
            acoustic_scale,
            word_penalty,
            inf if blank_skip is None else log(blank_skip),
            -1.0 if lattice_beam is None else lattice_beam,
            costs.tolist(),
        )
        self._decoder = _decoder.Decoder(graph.core, *self._options)

    def over(self, graph: Graph) -> "Decoder":
        """The same search through another graph."""
        other = copy(self)
        other.graph, other._decoder = graph, _decoder.Decoder(graph.core, *self._options)
        return other

    def decode(self, log_probs: ArrayLike, phrases: Phrases | None = None) -> BestPath:
        """The best path for natural log-probs (F, V). -inf is allowed; F = 0 gives the best path without input.

        Raises InputError for NaN or +inf (naming the frame), for V below the graph's largest input label, for epsilon
        arcs that form a cycle of negative cost, and if a dynamic graph would exceed its size limit.
        """
        with refusals():
            return BestPath(*self._decoder.decode(_as_array(log_probs), _core(phrases)))

    def decode_lattice(
        self, log_probs: ArrayLike, phrases: Phrases | None = None, max_arcs: int | None = None
    ) -> Decoded:
        """As `decode`, with the word lattice: each word sequence within `lattice_beam` of the best, once.

        If the lattice would need more than `max_arcs` arcs (None: LATTICE_ARCS + LATTICE_ARCS_PER_FRAME per frame), its
        beam is reduced; see `lattice.beam`. The best path is always in it. With phrases, the lattice holds what the
        boosts prefer: take confidences from a lattice without them (asr.search.confidence).
        """
        with refusals():
            path, kept = self._decoder.decode_lattice(_as_array(log_probs), _core(phrases))
        return Decoded(BestPath(*path), _word_lattice(kept, max_arcs))

    def decode_batch(
        self, utterances: Sequence[ArrayLike], threads: int | None = None, phrases: Phrases | None = None
    ) -> list[BestPath]:
        """Decode each utterance, on `threads` threads (None: one per core), the longest utterances first.

        Raises InputError naming the index of the utterance in the batch.
        """
        arrays = [_as_array(x) for x in utterances]
        order = sorted(range(len(arrays)), key=lambda k: -len(arrays[k]))
        with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
            running = {k: pool.submit(self.decode, arrays[k], phrases) for k in order}
        paths = []
        for k in range(len(arrays)):
            try:
                paths.append(running[k].result())
            except InputError as e:
                raise InputError(f"utterance {k} of the batch: {e}") from None
        return paths

    def stream(self, phrases: Phrases | None = None) -> "Stream":
        return Stream(self, phrases)


class Stream:
    """One utterance whose log-probs arrive in chunks. The result does not depend on the size of the chunks.

    A stream may be used by one thread at a time. A dynamic graph grows during the stream up to its limit: finish the
    stream at endpoints and start another one.
    """

    def __init__(self, decoder: Decoder, phrases: Phrases | None = None):
        with refusals():
            self._search = decoder._decoder.start(_core(phrases))
        self._finished = False

    def accept(self, log_probs: ArrayLike) -> None:
        """Search the next frames: log-probs (F, V). Raises InputError as `Decoder.decode` does, and after `finish`."""
        if self._finished:
            raise InputError("the stream is finished; start another with decoder.stream()")
        with refusals():
            self._search.accept(_as_array(log_probs))

    def partial(self) -> Partial:
        with refusals():
            path, num_stable, final_cost = self._search.partial()
        return Partial(BestPath(*path), num_stable, final_cost)

    def finish(self) -> BestPath:
        """The best path of all frames. The stream accepts no frames afterwards."""
        self._finished = True
        with refusals():
            return BestPath(*self._search.finish())

    def lattice(self, max_arcs: int | None = None) -> Lattice:
        """The word lattice of all frames so far."""
        with refusals():
            kept = self._search.lattice()
        return _word_lattice(kept, max_arcs)


def prior_costs(log_priors: ArrayLike, scale: float, acoustic_scale: float) -> NDArray[np.float32]:
    """Token costs (V,) that divide each posterior by the token's prior (V,) raised to the power `scale`."""
    return (acoustic_scale * scale * np.asarray(log_priors)).astype(np.float32)


def _word_lattice(kept: "_decoder.StateLattice", max_arcs: int | None) -> Lattice:
    if max_arcs is None:
        max_arcs = LATTICE_ARCS + LATTICE_ARCS_PER_FRAME * kept.num_frames
    if not isinstance(max_arcs, Integral) or not 1 <= max_arcs < 2**63:
        raise InputError(f"max_arcs is {max_arcs}; it must be a whole number of at least 1, or None")
    return Lattice.determinize(kept, int(max_arcs))


def _core(phrases: Phrases | None) -> "_decoder.Phrases | None":
    return None if phrases is None else phrases.automaton


def _as_array(log_probs: ArrayLike) -> NDArray[np.float32]:
    if hasattr(log_probs, "detach"):  # a tensor of any type
        log_probs = log_probs.detach().cpu().float().numpy()
    try:
        array = np.asarray(log_probs)
    except ValueError as e:
        raise InputError(f"log-probs are no array ({e}); expected (frames, tokens)") from e
    if array.ndim != 2:
        raise InputError(f"log-probs have shape {array.shape}; expected (frames, tokens)")
    if array.dtype.kind not in "fiu":
        raise InputError(f"log-probs have type {array.dtype}; expected real numbers")
    return np.require(array, np.float32, ["C", "A"])  # contiguous and aligned
