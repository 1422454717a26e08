"""Fillers such as um, which may stand between any two words of an n-gram's grammar, at a cost.

The history after a filler is that before it, so the model predicts the words as if nothing had been said between them.
A model of pieces (asr.pieces) has histories within words. There a filler is a word of its own, `▁um▁`, and a piece that
begins a word, or the end, follows it.
"""

from collections.abc import Container, Mapping, Sequence

import numpy as np

from asr.errors import InputError
from asr.graph.automaton import Automaton
from asr.pieces import BEGIN, are_pieces, whole
from asr.words import check_word, is_slot, mark_of

_SAME = 1e-4  # nats; costs are float32


def filler_words(fillers: Sequence[str], words: Sequence[str]) -> list[str]:
    """The fillers as words beside those of a language model.

    Raises InputError for a filler that cannot be a word.
    """
    for filler in fillers:
        if mark_of(check_word(filler, "graph.fillers")) or is_slot(filler) or BEGIN in filler:
            raise InputError(f"graph.fillers: '{filler}' is a mark, not a word that is spoken")
    distinct = dict.fromkeys(fillers)
    return [whole(filler) for filler in distinct] if are_pieces(words) else list(distinct)


def check_spelled(fillers: Sequence[str], spelled: Container[str]) -> None:
    """Raises InputError for a filler that has no pronunciation in the net's units."""
    if missing := [filler for filler in fillers if filler not in spelled]:
        raise InputError(f"the filler '{missing[0].strip(BEGIN)}' has no pronunciation in the net's units; add it to "
                         "the lexicon, or leave it out of graph.fillers")  # fmt: skip


def with_fillers(grammar: Automaton, labels: Mapping[str, int], fillers: Sequence[str], cost: float) -> Automaton:
    """An n-gram's grammar with fillers, which `filler_words` named. `labels` numbers them and the model's words."""
    numbers = [labels[filler] for filler in fillers]
    if not are_pieces(labels):
        return _anywhere(grammar, numbers, cost)
    begins = np.zeros(int(grammar.ilabel.max(initial=0)) + 1, bool)
    begins[[label for word, label in labels.items() if word.startswith(BEGIN) and label < len(begins)]] = True
    return _between_words(grammar, numbers, cost, begins)


def _anywhere(grammar: Automaton, fillers: Sequence[int], cost: float) -> Automaton:
    """The grammar of a model of words in which each label of `fillers` may follow any history, and leaves it unchanged.

    A history after which the model lists the filler itself keeps that arc instead. Fillers at the beginning of a
    sentence lead to a copy of the start state, which no arc may enter.
    """
    copy, last = grammar.num_states, grammar.start
    begins = np.flatnonzero(grammar.source == last)
    columns = [grammar.source, *grammar.arc_columns]
    source, ilabel, olabel, costs, target = (np.concatenate([column, column[begins]]) for column in columns)
    source[len(grammar.source) :] = copy
    states = np.repeat(np.arange(copy + 1), len(fillers))
    labels = np.tile(np.array(fillers), copy + 1)
    base = int(ilabel.max(initial=0)) + 1 + max(fillers)
    is_new = ~np.isin(states * base + labels, source.astype(np.int64) * base + ilabel)
    states, labels = states[is_new], labels[is_new]
    targets = np.where(states == last, copy, states)
    added = [states, labels, labels, np.full(len(states), cost, np.float32), targets]
    source, ilabel, olabel, costs, target = (
        np.concatenate(pair) for pair in zip((source, ilabel, olabel, costs, target), added, strict=True)
    )
    order = np.argsort(ilabel, kind="stable")  # the back-off arcs, whose label is the largest, stay last
    final = np.append(grammar.final, grammar.final[last])
    return Automaton.from_arcs(last, final, source[order], ilabel[order], olabel[order], costs[order], target[order])


def _between_words(grammar: Automaton, fillers: Sequence[int], cost: float, begins: np.ndarray) -> Automaton:
    """The grammar of a model of pieces in which each label of `fillers` may follow any history, and a piece of `begins`
    (labels,) or the end follows it.

    A filler leads to a copy of its state, from which only such pieces leave. A state without any, which ends no text
    other than by backing off, needs neither filler nor copy: a path may back off before the filler as well as after it.
    """
    is_word = grammar.olabel > 0
    back = np.flatnonzero(~is_word)
    begin = np.flatnonzero(is_word & begins[grammar.ilabel])
    states = np.arange(grammar.num_states)
    shorter, backoff = states.copy(), np.zeros(grammar.num_states)
    shorter[grammar.source[back]], backoff[grammar.source[back]] = grammar.target[back], grammar.cost[back]

    is_copied = shorter == states
    is_copied[grammar.start] = is_copied[grammar.source[begin]] = True
    is_copied |= grammar.final < backoff + grammar.final[shorter] - _SAME
    while not is_copied[shorter].all():  # on to the next shorter history that has a copy
        inner = ~is_copied[shorter]
        backoff[inner] += backoff[shorter[inner]]
        shorter[inner] = shorter[shorter[inner]]

    copied = np.flatnonzero(is_copied)
    copy = grammar.num_states - 1 + np.cumsum(is_copied)  # of each state that has one
    before = np.concatenate([copied, copy[copied]])
    size, backs = len(fillers), copied[shorter[copied] != copied]
    label = np.tile(np.array(fillers), len(before))
    columns = [
        (grammar.source, *grammar.arc_columns),
        (copy[grammar.source[begin]], *(column[begin] for column in grammar.arc_columns)),
        (np.repeat(before, size), label, label, np.full(len(label), cost, np.float32),
         np.repeat(np.tile(copy[copied], 2), size)),
        (copy[backs], np.full(len(backs), len(begins) - 1), np.zeros(len(backs), int), backoff[backs],
         copy[shorter[backs]]),
    ]  # fmt: skip
    source, ilabel, olabel, costs, target = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    order = np.argsort(ilabel, kind="stable")  # the back-off arcs, whose label is the largest, stay last
    final = np.append(grammar.final, grammar.final[copied])
    arcs = (column[order] for column in (source, ilabel, olabel, costs, target))
    return Automaton.from_arcs(grammar.start, final, *arcs)
