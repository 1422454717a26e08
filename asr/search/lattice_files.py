"""Lattices in other formats: OpenFst, Kaldi text archives, SVG."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pywrapfst

from asr.errors import InputError
from asr.files import atomic_write
from asr.graph.automaton import Automaton
from asr.graph.draw import draw
from asr.search.lattice import ARC, FINAL, Lattice
from asr.textfiles import lines
from asr.tokens import Tokens

_MOST_COST = float(np.finfo(np.float32).max)  # of an arc: costs are stored as float32


def to_automaton(lattice: Lattice) -> Automaton:
    """An acceptor of word labels; each arc has the sum of its costs."""
    arcs = lattice.arcs
    return Automaton.from_arcs(
        0, lattice.final_costs, arcs["from"], arcs["word"], arcs["word"], lattice.costs, arcs["to"]
    )


def to_openfst(lattice: Lattice) -> pywrapfst.MutableFst:
    """As `to_automaton`, in OpenFst: `.write(path)` writes its binary format, `.print()` returns its text format."""
    return to_automaton(lattice).to_openfst() if lattice.num_states else pywrapfst.VectorFst()


def draw_lattice(lattice: Lattice, path: str | Path, words: Sequence[str]) -> bool:
    """Write an SVG with words and costs. Returns False, and logs a warning, if no dot program is found."""
    return draw(to_automaton(lattice), path, words, words)


def write_kaldi(path: str | Path, lattices: Mapping[str, Lattice], words: Sequence[str] | None = None) -> None:
    """Write a text archive of Kaldi CompactLattices, for use as `ark,t:PATH`.

    An arc is `from to word graph,acoustic,label_label_...`. In place of Kaldi's transition ids there is token + 1 of
    each frame, as in Kaldi's CTC graphs. Words are written as labels, or by name if `words` is given. Acoustic costs
    are scaled as in the search; `lattice.scaled(acoustic=1 / scale)` gives unscaled ones as Kaldi has. Graph costs
    hold the boosts of phrases, so that the best path stays the same; `lattice.unboosted` has none.

    Raises InputError for an id that contains spaces.
    """
    with atomic_write(path) as file:
        for name, lattice in lattices.items():
            if not name or name.split() != [name]:
                raise InputError(f"the lattice's id '{name}' is empty or holds spaces, which Kaldi does not allow")
            file.write("\n".join([name, *_kaldi_lines(lattice, words), "", ""]))


def _kaldi_lines(lattice: Lattice, words: Sequence[str] | None) -> Iterator[str]:
    ends = dict(zip(lattice.finals["state"].tolist(), range(len(lattice.finals)), strict=True))
    for state in range(lattice.num_states):
        for k in range(lattice.first[state], lattice.first[state + 1]):
            arc = lattice.arcs[k]
            word = int(arc["word"]) if words is None else words[arc["word"]]
            yield f"{state} {arc['to']} {word} {_weight(lattice, state, arc, k)}"
        if state in ends:
            end = ends[state]
            yield f"{state} {_weight(lattice, state, lattice.finals[end], lattice.num_arcs + end)}"


def _weight(lattice: Lattice, state: int, record: Any, k: int) -> str:
    """Graph cost, acoustic cost and labels. Skipped frames become blanks before the next searched frame."""
    begin = int(np.searchsorted(lattice.frames, lattice.state_frames[state]))
    tokens = lattice.tokens_of(k)
    labels: list[int] = []
    for frame, token in zip(range(begin, begin + len(tokens)), tokens.tolist(), strict=True):
        gap = lattice.frames[frame] - (lattice.frames[frame - 1] + 1 if frame else 0)
        labels += [Tokens.label(0)] * int(gap) + [Tokens.label(token)]
    if k >= lattice.num_arcs:
        covered = lattice.frames[begin + len(tokens) - 1] + 1 if begin + len(tokens) else 0
        labels += [Tokens.label(0)] * int(lattice.num_frames - covered) * (begin + len(tokens) == len(lattice.frames))
    return f"{record['graph'] + record['boost']:.7g},{record['acoustic']:.7g},{'_'.join(map(str, labels))}"


def read_kaldi(path: str | Path, words: Sequence[str] | None = None) -> dict[str, Lattice]:
    """The lattices of a text archive from `write_kaldi` or Kaldi's `lattice-copy ark:- ark,t:-`, by id.

    Raises InputError naming file and line for malformed lattices and for arcs that are not sorted topologically.
    """
    labels = None if words is None else {word: label for label, word in enumerate(words)}
    lattices: dict[str, Lattice] = {}
    name: str | None = None
    rows: list[tuple[int, list[str]]] = []
    for number, line in chain(lines(path, "lattices", "a Kaldi text archive"), [(0, "")]):
        fields = line.split()
        if not fields:
            if name is not None:
                lattices[name] = _parse(path, rows, labels)
            name, rows = None, []
        elif name is None:
            if len(fields) != 1:
                raise InputError(f"{path}:{number}: expected a line with the id of a lattice, found '{line}'")
            name = fields[0]
            if name in lattices:
                raise InputError(f"{path}:{number}: the lattice '{name}' occurs twice; keep one of them")
        else:
            rows.append((number, fields))
    return lattices


def _parse(path: str | Path, rows: list[tuple[int, list[str]]], labels: dict[str, int] | None) -> Lattice:
    arcs, finals, arc_tokens, final_tokens, last = [], [], [], [], 0
    for number, fields in rows:
        try:
            if len(fields) > 4:
                raise ValueError("too many fields")
            weight = fields[-1] if len(fields) in (2, 4) else "0,0,"
            graph, acoustic, string = weight.split(",")
            tokens = [_int32(label, least=1) - Tokens.label(0) for label in string.split("_") if label]
            costs = float(graph), float(acoustic)
            if not all(abs(cost) <= _MOST_COST for cost in costs):  # nor NaN
                raise ValueError("a cost is not finite")
            state = _int32(fields[0])
            if len(fields) >= 3:
                word = _int32(fields[2]) if labels is None else labels[fields[2]]
                arcs.append((state, _int32(fields[1]), word, *costs, 0.0, 0))
                arc_tokens.append(tokens)
            else:
                finals.append((state, *costs, 0.0, 0))
                final_tokens.append(tokens)
        except (ValueError, KeyError) as e:
            raise InputError(f"{path}:{number}: not an arc or a final state ({e}): '{' '.join(fields)}'") from None
        if state < last or (len(fields) >= 3 and int(fields[1]) <= state):
            raise InputError(f"{path}:{number}: states are out of order; sort the lattice topologically")
        last = state
    try:
        return _assemble(np.array(arcs, ARC), np.array(finals, FINAL), arc_tokens, final_tokens)
    except ValueError as e:
        raise InputError(f"{path}:{rows[0][0] if rows else 1}: the lattice that begins here: {e}") from None


def _int32(text: str, least: int = 0) -> int:
    """A state or label. Values of 2^31 and above are rejected: they would force huge allocations."""
    value = int(text)
    if not least <= value < 2**31:
        raise ValueError(f"{text} is out of range")
    return value


def _assemble(
    arcs: np.ndarray, finals: np.ndarray, arc_tokens: list[list[int]], final_tokens: list[list[int]]
) -> Lattice:
    ends = np.cumsum([len(tokens) for tokens in [*arc_tokens, *final_tokens]], dtype=np.int64)
    arcs["tokens_end"], finals["tokens_end"] = ends[: len(arcs)], ends[len(arcs) :]
    states = [*arcs["from"].tolist(), *arcs["to"].tolist(), *finals["state"].tolist()]
    if max(states, default=0) > 2 * len(states):
        raise ValueError(f"state {max(states)} with only {len(arcs)} arcs; number the states without gaps")
    lengths = np.full(1 + max(states, default=-1), -1, np.int64)  # frames before each state
    lengths[:1] = 0
    for arc, tokens in zip(arcs, arc_tokens, strict=True):
        length = lengths[arc["from"]] + len(tokens)
        if lengths[arc["from"]] < 0 or lengths[arc["to"]] not in (-1, length):
            raise ValueError(f"paths to state {arc['to']} have different numbers of frames or do not start in state 0")
        lengths[arc["to"]] = length
    ends_at, counts = np.unique(finals["state"], return_counts=True)
    for state in ends_at[lengths[ends_at] < 0]:
        raise ValueError(f"no path from state 0 reaches the final state {state}")
    for state in ends_at[counts > 1]:
        raise ValueError(f"state {state} has {counts.max()} final weights; expected one")
    if len(arcs) and not len(finals):
        raise ValueError("it has arcs and no final state")
    totals = {int(lengths[f["state"]]) + len(t) for f, t in zip(finals, final_tokens, strict=True)}
    if len(totals) > 1:
        raise ValueError(f"its paths have {' and '.join(map(str, sorted(totals)))} frames; expected one number")
    num_frames = max(totals, default=0)
    flat = [token for tokens in [*arc_tokens, *final_tokens] for token in tokens]
    frames = np.arange(num_frames, dtype=np.int32)
    return Lattice(
        len(lengths), arcs, finals, np.array(flat, np.int32), frames, num_frames, np.inf, complete=bool(len(finals))
    )
