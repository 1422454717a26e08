"""Weighted grammars that rewrite sentences, in pynini: what the written forms of all languages share.

A grammar maps one or more words to a written form. `sentence` lets it compete with the unchanged words: each of these
costs `WORD`, each rewrite `REWRITE` or more, and the cheapest sentence wins. So long rewrites are preferred to short
ones, and a doubtful one can be given a cost at which it loses.

A space that a path reads and writes in the same arc separates words on both sides (`SPACE`). A space that is only read
(`JOINED`) joins the words around it in one written word.
"""

from collections.abc import Iterable

import pynini

WORD, REWRITE = 1.0, 0.1
_SPACE, _BETWEEN = ord(" "), ord("\n")

SPACE = pynini.accep(" ")
JOINED = pynini.cross(" ", "")
ANY = pynini.union(*(pynini.accep(f"[{byte}]") for byte in range(1, 256) if byte != _SPACE)).optimize()


def words(entries: Iterable[str]) -> pynini.Fst:
    """Accepts any of `entries`."""
    return pynini.string_map([pynini.escape(entry) for entry in entries]).optimize()


def mapped(entries: Iterable[tuple[str, str]]) -> pynini.Fst:
    """Rewrites the first of each pair as the second."""
    return pynini.string_map([tuple(map(pynini.escape, pair)) for pair in entries]).optimize()


def maybe(fst: pynini.Fst) -> pynini.Fst:
    return pynini.closure(fst, 0, 1)


def written_as(text: str) -> pynini.Fst:
    """Writes `text` and reads nothing."""
    return pynini.cross("", pynini.escape(text))


def left_out(text: str) -> pynini.Fst:
    """Reads `text` and writes nothing."""
    return pynini.cross(pynini.escape(text), "")


def costing(fst: pynini.Fst, cost: float) -> pynini.Fst:
    return pynini.accep("", weight=cost) + fst


def without(fst: pynini.Fst, refused: pynini.Fst) -> pynini.Fst:
    """`fst` on all that it reads but `refused`."""
    return ((pynini.project(fst, "input").optimize() - refused) @ fst).optimize()


def sentence(rewrites: pynini.Fst, opening: str, closing: str, parts: str = "") -> pynini.Fst:
    """The grammar of whole sentences. `opening` and `closing` are the punctuation marks around a rewrite.

    A number that leaves out one of `parts`, words such as hundred, costs more than one with it.
    """
    before = pynini.closure(words(opening))
    after = pynini.closure(words(closing))
    rewrite = costing(before + rewrites + after, REWRITE)
    part = words(parts.split())
    word = pynini.union(costing(pynini.closure(ANY, 1) - part, WORD), costing(part, 2 * WORD))
    item = pynini.union(rewrite, word).optimize()
    return (item + pynini.closure(pynini.cross(" ", "\n") + item)).optimize().arcsort("ilabel")


def rewritten(text: str, grammar: pynini.Fst) -> list[list[tuple[int, str]]]:
    """The cheapest rewriting of words between single spaces, in order: for each rewrite or unchanged word its written
    words, each with the number of words that were read for it."""
    best = pynini.shortestpath(pynini.accep(pynini.escape(text)) @ grammar)
    rewrites, parts, count, out = [], [], 1, bytearray()
    state = best.start()
    while arcs := list(best.arcs(state)):
        (arc,) = arcs
        if arc.ilabel == _SPACE and arc.olabel in (_SPACE, _BETWEEN):
            parts.append((count, out.decode()))
            count, out = 1, bytearray()
            if arc.olabel == _BETWEEN:
                rewrites.append(parts)
                parts = []
        else:
            count += arc.ilabel == _SPACE
            if arc.olabel:
                out.append(arc.olabel)
        state = arc.nextstate
    return [*rewrites, [*parts, (count, out.decode())]]
