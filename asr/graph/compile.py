"""From tokens, lexicon and language model to the graph that the decoder searches.

- G, grammar.py: words with costs, out of an ARPA file or a list of words
- LG, expand.py and minimize.py: token sequences to words, determinized and minimized
- HLG, topology.py: net outputs, frame by frame, to words
"""

import dataclasses
import json
import logging
import resource
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from asr.errors import InputError
from asr.files import atomic_write
from asr.graph import pack
from asr.graph.automaton import Automaton
from asr.graph.draw import draw
from asr.graph.expand import expand
from asr.graph.grammar import ngram_grammar, word_grammar
from asr.graph.lexicon_fst import Spellings, lexicon_fst, spell
from asr.graph.minimize import minimize
from asr.graph.preflight import check
from asr.graph.topology import apply_topology, ctc_topology
from asr.text.lexicon import Lexicon
from asr.tokens import SPACE, Tokens

_ARCS_TO_STATE = 4  # denser graphs make no picture
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """One step of the build. `seconds` are wall clock, `peak_mb` is the process's largest resident memory so far."""

    name: str
    states: int
    arcs: int
    seconds: float
    peak_mb: int


@dataclass
class GraphStats:
    """What was built: written as stats.json beside the graph."""

    words: int
    pronunciations: int
    left_out: list[str]  # words of the language model that the graph cannot hold
    silence: str | None  # token allowed between words; the decoder reads it here
    stages: list[Stage] = field(default_factory=list)

    def add(self, name: str, graph: Automaton, start_s: float) -> None:
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        stage = Stage(name, graph.num_states, graph.num_arcs, round(time.monotonic() - start_s, 2), peak_mb)
        self.stages.append(stage)
        _log.info("%-8s %9d states %9d arcs %7.1f s %5d MB", name, stage.states, stage.arcs, stage.seconds, peak_mb)


def compile_graph(tokens: Tokens, lexicon: Lexicon, arpa_path: str | Path, out_dir: str | Path,
                  silence: str | None = None, draw_states: int = 60,
                  topology: str = "explicit") -> GraphStats:  # fmt: skip
    """Compile the search graph of an ARPA model and write it to the folder `out_dir`, all of it or nothing.

    Written: graph.bin (asr.graph.pack), words.txt (line number = output label), tokens.txt, lexicon.txt (the part in
    use), stats.json, and an SVG of each of H, L, G, LG, HLG that is small: at most `draw_states` states. With
    `<space>` in the token table one must stand between words; `silence` names a token that may. `topology` is explicit
    for HLG, or implicit for LG, a graph of a fraction of the size whose CTC topology the search adds. Raises
    InputError as `asr.lm.arpa.read` and `preflight.check` do.
    """
    from asr.lm import arpa

    start_s = time.monotonic()
    model = arpa.read(arpa_path)
    words, lexicon, left_out = check(model.words, lexicon, tokens, silence, _separator(tokens))
    grammar = ngram_grammar(model, {word: i for i, word in enumerate(words, 1)})
    del model
    return _build(grammar, start_s, words, lexicon, left_out, tokens, out_dir, silence, draw_states, topology)


def word_graph(words: Iterable[str], lexicon: Lexicon, tokens: Tokens, out_dir: str | Path,
               silence: str | None = None, draw_states: int = 60,
                  topology: str = "explicit") -> GraphStats:  # fmt: skip
    """As `compile_graph`, for utterances of exactly one of `words`, all equally likely."""
    start_s = time.monotonic()
    words, lexicon, left_out = check(words, lexicon, tokens, silence, _separator(tokens))
    grammar = word_grammar(len(words))
    return _build(grammar, start_s, words, lexicon, left_out, tokens, out_dir, silence, draw_states, topology)


def _separator(tokens: Tokens) -> str | None:
    return SPACE if SPACE in tokens else None


def _build(grammar: Automaton, start_s: float, words: list[str], lexicon: Lexicon, left_out: list[str],
           tokens: Tokens, out_dir: str | Path, silence: str | None, draw_states: int,
           topology: str) -> GraphStats:  # fmt: skip
    if topology not in ("explicit", "implicit"):
        raise InputError(f"graph.topology={topology} is unknown; choose explicit or implicit")
    stats = GraphStats(len(words), len(list(lexicon.items())), left_out, silence)
    stats.add("G", grammar, start_s)
    spellings = spell(words, lexicon, tokens, silence, _separator(tokens))

    start_s = time.monotonic()
    trees = expand(grammar, spellings)
    stats.add("LG", trees.graph, start_s)
    start_s = time.monotonic()
    graph = minimize(trees)
    del trees
    stats.add("LG min", graph, start_s)
    start_s = time.monotonic()
    searched = graph if topology == "implicit" else apply_topology(graph, len(tokens))
    stats.add("HLG" if topology == "explicit" else "LG", searched, start_s)

    with _moved_into(Path(out_dir)) as folder:
        with atomic_write(folder / "graph.bin", "wb") as file:
            pack.write(searched.arrays(), file, topology == "implicit")
        with atomic_write(folder / "words.txt") as file:
            file.writelines(word + "\n" for word in ["<eps>", *words])
        tokens.write(folder / "tokens.txt")
        lexicon.write(folder / "lexicon.txt")
        with atomic_write(folder / "stats.json") as file:
            json.dump(dataclasses.asdict(stats), file, indent=1, ensure_ascii=False)
        parts = _parts(spellings, len(tokens), len(words), draw_states) | {"G": grammar, "LG": graph}
        if topology == "explicit":
            parts["HLG"] = searched
        isymbols = ["<eps>", *tokens.symbols, *(f"#{k}" for k in range(len(spellings.word) + 1))]
        word_symbols = ["<eps>", *words, "#0"]
        for name, part in parts.items():
            if part.num_states <= draw_states and part.num_arcs <= _ARCS_TO_STATE * draw_states:
                draw(part, folder / f"{name}.svg", word_symbols if name == "G" else isymbols,
                     isymbols if name == "H" else word_symbols)  # fmt: skip
    return stats


def _parts(spellings: Spellings, num_tokens: int, num_words: int, draw_states: int) -> dict[str, Automaton]:
    """H and L where they are small enough to be drawn; the build itself needs neither."""
    parts = {}
    if num_tokens <= draw_states:
        parts["H"] = ctc_topology(num_tokens)
    if len(spellings.labels) <= draw_states:
        parts["L"] = Automaton.from_openfst(lexicon_fst(spellings, num_tokens, num_words))
    return parts


@contextmanager
def _moved_into(out_dir: Path) -> Iterator[Path]:
    """A temporary folder whose files move to `out_dir` when all of them are written; old drawings go."""
    out_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir, prefix=".building-") as temporary:
        yield Path(temporary)
        for stale in out_dir.glob("*.svg"):
            stale.unlink()
        for file in Path(temporary).iterdir():
            file.replace(out_dir / file.name)
