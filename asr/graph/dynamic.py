"""Dynamic graphs: a lexicon tree and an n-gram that the search composes on the fly.

Nothing is compiled. A folder holds tree.bin (asr.graph.tree_file), lm.ngram (asr.graph.ngram_file), tokens.txt and
stats.json. A new language model replaces only lm.ngram, a new lexicon only tree.bin. The search visits the states of
the LG that asr.graph.spelling_trees would compile, with the same costs (csrc/decoder/lazy_graph.h).
"""

import json
import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asr import _decoder
from asr.errors import InputError, refusals
from asr.files import atomic_write, moved_into
from asr.graph.fillers import check_spelled, filler_words
from asr.graph.lexicon_fst import spell
from asr.graph.memory import peak_mb
from asr.graph.ngram_file import NgramFile, write_ngram
from asr.graph.opened import Graph
from asr.graph.preflight import PICTURES, check, check_folder
from asr.graph.tree_file import Tree, write_tree
from asr.lm.model import NgramModel
from asr.pieces import are_pieces
from asr.text.lexicon import Lexicon, name_some
from asr.tokens import SPACE, Tokens
from asr.words import MARKS, is_slot

TREE, NGRAM = "tree.bin", "lm.ngram"
CACHE_BYTES = 512 << 20  # size of the composed states above which the next utterance starts with an empty graph
GROWTH = 4  # running utterances may grow the graph to at most this multiple of the cache size
STATIC_FILES = ("graph.bin", "words.txt", "lexicon.txt")  # of a static graph
# See Slot in csrc/decoder/vocabulary.h. Tuples of numbers alone are not tracked by Python's garbage collector, whose
# search of all objects would take longer than the members of a long list.
Member = tuple[Sequence[int], int, float, int, int]
Slot = tuple[int, list[Member], list[float]]
WORD_ENDS = [math.inf, 0.0]  # the final costs of a slot of single words, which lead from state 0 to 1
_log = logging.getLogger(__name__)


def compile_dynamic(tokens: Tokens, lexicon: Lexicon, arpa_path: str | Path, out_dir: str | Path,
                    silence: str | None = None, fillers: Sequence[str] = (),
                    filler_cost: float = 0.0) -> dict[str, object]:  # fmt: skip
    """Write the folder of a dynamic graph; returns the contents of stats.json.

    The tree holds the whole lexicon, independent of the language model. `<space>` and `silence` work as in
    `asr.graph.compile_graph`, and words without a usable pronunciation are logged and left out. `fillers` may stand
    between any two words, at a cost. Raises InputError as `preflight.check`, `preflight.check_folder` and
    `asr.lm.arpa.read` do, and for fillers that cannot be spelled.
    """
    from asr.lm import arpa

    start_s = time.monotonic()
    check_folder(Path(out_dir))
    separator = SPACE if SPACE in tokens and not are_pieces(lexicon.pronunciations) else None
    words, lexicon, unusable = check(lexicon.pronunciations, lexicon, tokens, silence, separator)
    with moved_into(Path(out_dir), stale=(*STATIC_FILES, *PICTURES)) as folder:
        write_tree(words, spell(words, lexicon, tokens, silence, separator), folder / TREE)
        del lexicon
        _log.info("tree     %9d words %7.1f s", len(words), time.monotonic() - start_s)
        model = arpa.read(arpa_path)
        if model.of_pieces != are_pieces(words):
            raise InputError("the language model is of characters (▁), the lexicon of words, or the other way round; "
                             "leave out graph.lexicon")  # fmt: skip
        left_out = _without_spelling(model, set(words))
        fillers = filler_words(fillers, model.words)
        check_spelled(fillers, set(words))
        write_ngram(model, folder / NGRAM, fillers, filler_cost)
        _log.info("n-gram   %9d n-grams %5.1f s", sum(len(o.ids) for o in model.orders), time.monotonic() - start_s)
        tokens.write(folder / "tokens.txt")
        stats: dict[str, object] = {
            "kind": "dynamic",
            "words": len(words),
            "left_out": unusable + left_out,
            "silence": silence,
            "seconds": round(time.monotonic() - start_s, 2),
            "peak_mb": peak_mb(),
        }
        with atomic_write(folder / "stats.json") as file:
            json.dump(stats, file, indent=1, ensure_ascii=False)
    return stats


def _without_spelling(model: NgramModel, spelled: set[str]) -> list[str]:
    """The model's words that the lexicon lacks, slots excepted, most probable first. Logs a warning."""
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
    """A memory-mapped lexicon tree and n-gram, linked by their words. Immutable; shared by threads and requests."""

    def __init__(self, tree: Tree, ngram: NgramFile):
        """Raises InputError if one of the files is damaged."""
        self.tree, self.ngram = tree, ngram
        numbers = tree.numbers
        word_of = np.array([numbers.get(word, 0) for word in ngram.words], np.uint32)
        with refusals():
            self._core = _decoder.Language(tree.data, ngram.data, word_of)

    @classmethod
    def open(cls, folder: str | Path, ngram: str | Path | None = None) -> "Language":
        """The folder's tree with its n-gram, or with another `ngram` file. Raises InputError naming the file that is
        missing or damaged."""
        tree, ngram = Path(folder) / TREE, Path(ngram or Path(folder) / NGRAM)
        return cls(Tree(_map(tree), str(tree)), NgramFile(_map(ngram), str(ngram)))

    def with_ngram(self, path: str | Path) -> "Language":
        """The same tree with another packed n-gram. Raises InputError naming the file."""
        return Language(self.tree, NgramFile(_map(Path(path)), str(path)))

    def graph(self, slots: Sequence[Slot] = (), cache_bytes: int = CACHE_BYTES, most_bytes: int | None = None) -> Graph:
        """A graph for a decoder, with the new words in `slots`.

        Composed states are kept for later utterances up to `cache_bytes`. An utterance or stream keeps the graph that
        it started with. If it would grow the graph beyond `most_bytes` (None: `GROWTH` times the larger of
        `cache_bytes` and CACHE_BYTES), it fails with an InputError, and the next utterance starts with an empty graph.
        Raises InputError for invalid slots.
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
