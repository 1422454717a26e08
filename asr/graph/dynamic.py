"""The dynamic graph: a lexicon tree and an n-gram, composed by the search itself where it goes.

Nothing is compiled. A folder holds tree.bin (asr.graph.tree), lm.ngram (asr.graph.ngram_file), tokens.txt and
stats.json; a new language model replaces lm.ngram alone, a new lexicon tree.bin alone. What the search walks is the LG
that asr.graph.expand would compile, with the same costs: csrc/decoder/lazy_graph.h.
"""

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asr import _decoder
from asr.errors import InputError, refusals
from asr.files import atomic_write, moved_into
from asr.graph.lexicon_fst import spell
from asr.graph.memory import peak_mb
from asr.graph.ngram_file import NgramFile, write_ngram
from asr.graph.opened import Graph
from asr.graph.preflight import check
from asr.graph.tree import Tree, write_tree
from asr.lm.model import NgramModel
from asr.text.lexicon import Lexicon, name_some
from asr.tokens import SPACE, Tokens
from asr.words import MARKS, is_slot

TREE, NGRAM = "tree.bin", "lm.ngram"
CACHE_BYTES = 512 << 20  # of a graph; beyond, the next utterance begins a new one
GROWTH = 4  # so many times that is the most that utterances under way may grow it to
STATIC_FILES = ("graph.bin", "words.txt", "lexicon.txt")  # of a compiled graph
Slot = tuple[int, list[tuple[list[int], int, float]]]  # as Slot in csrc/decoder/vocabulary.h
_log = logging.getLogger(__name__)


def compile_dynamic(tokens: Tokens, lexicon: Lexicon, arpa_path: str | Path, out_dir: str | Path,
                    silence: str | None = None) -> dict[str, object]:  # fmt: skip
    """Write the folder of a dynamic graph; returns what stats.json says.

    The tree holds the whole lexicon, whatever the language model. As in `asr.graph.compile_graph`, a `<space>` in the
    token table must stand between words, `silence` may, and words that cannot be said are named and left out. Raises
    InputError as `preflight.check` and `asr.lm.arpa.read` do.
    """
    from asr.lm import arpa

    start_s = time.monotonic()
    separator = SPACE if SPACE in tokens else None
    words, lexicon, unsaid = check(lexicon.pronunciations, lexicon, tokens, silence, separator)
    with moved_into(Path(out_dir), stale=(*STATIC_FILES, "*.svg")) as folder:
        write_tree(words, spell(words, lexicon, tokens, silence, separator), folder / TREE)
        del lexicon
        _log.info("tree     %9d words %7.1f s", len(words), time.monotonic() - start_s)
        model = arpa.read(arpa_path)
        left_out = _without_spelling(model, set(words))
        write_ngram(model, folder / NGRAM)
        _log.info("n-gram   %9d n-grams %5.1f s", sum(len(o.ids) for o in model.orders), time.monotonic() - start_s)
        tokens.write(folder / "tokens.txt")
        stats: dict[str, object] = {
            "kind": "dynamic",
            "words": len(words),
            "left_out": unsaid + left_out,
            "silence": silence,
            "seconds": round(time.monotonic() - start_s, 2),
            "peak_mb": peak_mb(),
        }
        with atomic_write(folder / "stats.json") as file:
            json.dump(stats, file, indent=1, ensure_ascii=False)
    return stats


def _without_spelling(model: NgramModel, spelled: set[str]) -> list[str]:
    """The model's words, slots apart, that the lexicon lacks, likeliest first; named in a warning."""
    log10_prob = model.orders[0].log10_prob
    missing = [
        i for i, word in enumerate(model.words) if word not in spelled and not is_slot(word) and word not in MARKS
    ]
    missing.sort(key=lambda i: -log10_prob[i])
    words = [model.words[i] for i in missing]
    if words:
        _log.warning("%d of the language model's %d words are not in the lexicon and cannot be recognised: %s",
                     len(words), len(model.words), name_some(words))  # fmt: skip
    return words


class Language:
    """A lexicon tree and an n-gram, mapped and joined by their words. Immutable; shared by threads and requests."""

    def __init__(self, tree: Tree, ngram: NgramFile):
        """Raises InputError when one of them is damaged."""
        self.tree, self.ngram = tree, ngram
        numbers = tree.numbers
        word_of = np.array([numbers.get(word, 0) for word in ngram.words], np.uint32)
        with refusals():
            self._core = _decoder.Language(tree.data, ngram.data, word_of)

    @classmethod
    def open(cls, folder: str | Path, ngram: str | Path | None = None) -> "Language":
        """The folder's tree with its n-gram, or with another. Raises InputError naming the file that is missing or
        damaged."""
        tree, ngram = Path(folder) / TREE, Path(ngram or Path(folder) / NGRAM)
        return cls(Tree(_map(tree), str(tree)), NgramFile(_map(ngram), str(ngram)))

    def graph(self, slots: Sequence[Slot] = (), cache_bytes: int = CACHE_BYTES, most_bytes: int | None = None) -> Graph:
        """What a decoder searches, with the new words in `slots`.

        An utterance, and a stream from its start to its end, keeps the graph that it began with. One that would grow
        it beyond `most_bytes` (None: `GROWTH` times the larger of `cache_bytes` and CACHE_BYTES) is refused with an
        InputError, and the next begins a new graph. Raises InputError for slots that cannot be.
        """
        if most_bytes is None:
            most_bytes = GROWTH * max(cache_bytes, CACHE_BYTES)
        with refusals():
            return Graph(_decoder.DynamicGraph(self._core, list(slots), cache_bytes, most_bytes))


def _map(path: Path) -> np.ndarray:
    try:
        return np.memmap(path, np.uint8, "r")
    except (OSError, ValueError) as e:
        raise InputError(f"cannot read {path}: {e}; build it with `asr graph graph.kind=dynamic`") from e
