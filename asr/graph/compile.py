"""Compiling a static graph from a token table, a lexicon and a language model.

- G (grammar.py): an acceptor of words with costs, from an ARPA file or a word list
- LG (spelling_trees.py, minimize.py): token sequences to words, determinized and minimized
- HLG (topology.py): net outputs, one per frame, to words; HMMs take the place of CTC's topology (asr.hmm.graph)

A stage whose inputs have not changed comes from the cache (cache.py). A graph file that is up to date is not rebuilt.
LG grows block by block and HLG is written block by block; HLG is never in memory as a whole.
"""

import dataclasses
import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asr.errors import InputError
from asr.files import atomic_write, moved_into
from asr.graph.automaton import Automaton
from asr.graph.cache import Cache, digest, file_digest
from asr.graph.draw import draw
from asr.graph.forecast import Forecast, forecast
from asr.graph.grammar_sources import ArpaSource, Source, WordList
from asr.graph.lexicon_fst import lexicon_fst, spell
from asr.graph.memory import Ceiling, give_back, peak_mb
from asr.graph.minimize import minimize
from asr.graph.pack import Writer
from asr.graph.preflight import PICTURES, check, check_folder, homophones
from asr.graph.spelling_trees import Forest
from asr.graph.state_order import breadth_first
from asr.graph.topology import Expansion, Topology, ctc_topology
from asr.literals import parse_json
from asr.pieces import are_pieces
from asr.text.lexicon import Lexicon
from asr.tokens import SPACE, Tokens

_STALE_FILES = ("tree.bin", "lm.ngram", *PICTURES)  # of a dynamic graph in the same folder, and old drawings
_DRAWN_ARCS_PER_STATE = 4  # denser graphs are not drawn
_log = logging.getLogger(__name__)
Speller = Callable[[Sequence[str]], Lexicon]


@dataclass(frozen=True)
class GraphOptions:
    """Options of a build.

    silence: token that may stand between words and at both ends.
    draw_states: graphs of at most this many states are drawn as SVG.
    topology: "explicit" builds HLG; "implicit" builds LG, a much smaller graph, and the search adds the CTC topology.
    cache_dir: folder that keeps stages for later builds.
    memory_mb: the build stops before it needs more resident memory than this.
    """

    silence: str | None = None
    draw_states: int = 60
    topology: str = "explicit"
    cache_dir: str | Path | None = None
    memory_mb: int | None = None


@dataclass(frozen=True)
class Stage:
    """One step of a build. `seconds`: wall clock. `peak_mb`: peak resident memory of the process so far."""

    name: str
    states: int
    arcs: int
    seconds: float
    peak_mb: int
    reused: bool = False  # taken from an earlier build


@dataclass
class GraphStats:
    """Statistics of a build, written to stats.json in the folder of the graph."""

    words: int
    pronunciations: int
    homophones: int  # words that share a pronunciation with another word
    left_out: list[str]  # words of the language model that the graph cannot hold, most frequent first
    silence: str | None  # token allowed between words; the decoder reads it from here
    key: str  # hash of all inputs of the build
    graph_digest: str = ""  # hash of graph.bin
    expansion: str | None = None  # hash of the HMMs; None for CTC
    forecast: Forecast | None = None  # None if LG came from the cache
    stages: list[Stage] = field(default_factory=list)

    def add(self, name: str, states: int, arcs: int, start_s: float, reused: bool = False) -> None:
        stage = Stage(name, states, arcs, round(time.monotonic() - start_s, 2), peak_mb(), reused)
        self.stages.append(stage)
        _log.info("%-4s %10d states %10d arcs %7.1f s %5d MB", name, states, arcs, stage.seconds, stage.peak_mb)


def compile_graph(tokens: Tokens, lexicon: Lexicon | Speller, arpa_path: str | Path, out_dir: str | Path,
                  silence: str | None = None, draw_states: int = 60, topology: str = "explicit",
                  cache_dir: str | Path | None = None, memory_mb: int | None = None) -> GraphStats:  # fmt: skip
    """Compile the search graph of an ARPA model into the folder `out_dir`. On an error the folder stays as it was.

    Writes graph.bin (asr.graph.pack), words.txt (line number = output label), tokens.txt, lexicon.txt (the words in
    use), stats.json, and an SVG for each of H, L, G, LG and HLG that is small enough. `lexicon` may be a function that
    maps the model's words to a lexicon. If the token table has `<space>`, exactly one separates two words; not so if
    the model's words are pieces, which begin with a space themselves. The options are those of `GraphOptions`. Raises
    InputError as `asr.lm.arpa.read`, `preflight.check` and `Ceiling.check` do.
    """
    options = GraphOptions(silence, draw_states, topology, cache_dir, memory_mb)
    return Build(ArpaSource(arpa_path), lexicon, tokens, options).write(out_dir)


def word_graph(words: Iterable[str], lexicon: Lexicon, tokens: Tokens, out_dir: str | Path,
               silence: str | None = None, draw_states: int = 60,
               topology: str = "explicit") -> GraphStats:  # fmt: skip
    """As `compile_graph`, for utterances that are exactly one of `words`, all equally likely."""
    return Build(WordList(words), lexicon, tokens, GraphOptions(silence, draw_states, topology)).write(out_dir)


class Build:
    """A graph to be built. The constructor fixes its words and spellings; stages are built or loaded on demand."""

    def __init__(self, source: Source, lexicon: Lexicon | Speller, tokens: Tokens, options: GraphOptions,
                 expansion: Expansion | None = None):  # fmt: skip
        """`expansion` takes the place of CTC's topology; `tokens` are then what LG reads, not the net's outputs."""
        if expansion and options.topology != "explicit":
            raise InputError(f"graph.topology={options.topology} is for CTC; a graph of HMMs is explicit")
        if options.topology not in ("explicit", "implicit"):
            raise InputError(f"graph.topology={options.topology} is unknown; expected explicit or implicit")
        self.begin_s = time.monotonic()
        self.source, self.tokens, self.options, self.expansion = source, tokens, options, expansion
        self.cache = Cache(options.cache_dir)
        words, log10_prob = source.vocabulary(self.cache)
        lexicon = lexicon if isinstance(lexicon, Lexicon) else lexicon(words)
        of_pieces = are_pieces(words)  # which sound alike in pairs: with and without a space before them
        separator = SPACE if SPACE in tokens and not of_pieces else None
        self.words, self.lexicon, left_out = check(words, lexicon, tokens, options.silence, separator, log10_prob)
        if of_pieces and not are_pieces(self.words):
            raise InputError("the language model is of characters (▁), the lexicon of words; leave out graph.lexicon")
        source.keep_vocabulary(self.cache)
        self.spellings = spell(self.words, self.lexicon, tokens, options.silence, separator)
        s = self.spellings
        self.g_key = digest("G", source.digest, self.words)
        self.lg_key = digest("LG", self.g_key, s.word, s.length, s.labels, s.silence, s.separator,
                             *([] if s.cost is None else [s.cost]))  # fmt: skip
        own = [expansion.digest] if expansion else []
        key = digest("HLG", self.lg_key, tokens.symbols, options.topology, *own)
        alike = 0 if of_pieces else homophones(self.lexicon)
        self.stats = GraphStats(len(self.words), len(s.word) - bool(s.silence), alike, left_out, options.silence, key,
                                expansion=expansion.digest if expansion else None)  # fmt: skip
        self.ceiling = Ceiling(options.memory_mb, 0)
        self.pictures: dict[str, Automaton] = {}

    @property
    def is_implicit(self) -> bool:
        return self.options.topology == "implicit"

    def forecast(self) -> Forecast:
        """The size and cost of the build. Builds or loads G."""
        return self._forecast(self._grammar())

    def write(self, out_dir: str | Path) -> GraphStats:
        """Build what is missing or out of date and write all files to the folder.

        Raises InputError as `preflight.check_folder` does, and if another process is writing the folder.
        """
        check_folder(Path(out_dir))
        stats, current = self.stats, self._current_stages(Path(out_dir))
        with moved_into(Path(out_dir), stale=_STALE_FILES) as folder:
            if current:
                stats.stages, stats.graph_digest = current, file_digest(Path(out_dir) / "graph.bin")
                _log.info("graph.bin is up to date")
            else:
                self._write_graph(folder / "graph.bin")
                stats.graph_digest = file_digest(folder / "graph.bin")
            with atomic_write(folder / "words.txt") as file:
                file.writelines(word + "\n" for word in ["<eps>", *self.words])
            (self.expansion.outputs if self.expansion else self.tokens).write(folder / "tokens.txt")
            self.lexicon.write(folder / "lexicon.txt")
            with atomic_write(folder / "stats.json") as file:
                json.dump(dataclasses.asdict(stats), file, indent=1, ensure_ascii=False)
            self._draw(folder)
        return stats

    def _current_stages(self, out_dir: Path) -> list[Stage]:
        """The stages of the graph in the folder if it is up to date and too large to draw; otherwise an empty list."""
        try:
            earlier = parse_json((out_dir / "stats.json").read_text(encoding="utf-8"))
            stages = [Stage(**{**stage, "seconds": 0.0, "reused": True}) for stage in earlier["stages"]]
            if earlier["key"] != self.stats.key or earlier["graph_digest"] != file_digest(out_dir / "graph.bin"):
                return []
        except (OSError, ValueError, KeyError, TypeError, InputError):
            return []  # no graph, or a damaged or foreign stats.json
        return [] if any(self._is_small(stage.states, stage.arcs) for stage in stages) else stages

    def _grammar(self) -> Automaton:
        found = self.cache.load("G", self.g_key)
        if found:
            grammar = Automaton.from_arrays(found)
        else:
            grammar = self.source.grammar({word: i for i, word in enumerate(self.words, 1)})
            self.cache.store("G", self.g_key, grammar.to_arrays())
        give_back()
        self.ceiling = Ceiling(self.options.memory_mb, grammar.num_arcs)
        self.stats.add("G", grammar.num_states, grammar.num_arcs, self.begin_s, bool(found))
        self._keep_for_picture("G", grammar)
        return grammar

    def _forecast(self, grammar: Automaton) -> Forecast:
        return forecast(grammar, self.spellings, len(self.tokens), self.is_implicit)

    def _minimal(self) -> Automaton:
        """LG, determinized and minimized."""
        start_s = time.monotonic()
        if found := self.cache.load("LG", self.lg_key):
            graph = Automaton.from_arrays(found)
            self.ceiling = Ceiling(self.options.memory_mb, graph.num_arcs // 2)  # about two arcs per n-gram
            if self._is_small(graph.num_states, graph.num_arcs):
                self._grammar()  # to draw it
        else:
            grammar = self._grammar()
            start_s = time.monotonic()
            self.stats.forecast = expected = self._forecast(grammar)
            _log.info("%s", expected)
            self.ceiling.check(expected.memory_mb, "is expected to need")
            forest = Forest(grammar, self.spellings)
            del grammar
            trees = self.ceiling.watch(forest.trees(), "LG", forest.num_joints, lambda trees: trees.levels[0])
            graph = minimize(forest, trees)
            del forest, trees
            give_back()
            graph = breadth_first(graph)
            self.cache.store("LG", self.lg_key, graph.to_arrays())
        give_back()
        self.stats.add("LG", graph.num_states, graph.num_arcs, start_s, bool(found))
        self._keep_for_picture("LG", graph)
        return graph

    def _write_graph(self, path: Path) -> None:
        graph = self._minimal()
        start_s = time.monotonic()
        searched: Automaton | Topology
        if self.expansion:
            searched = self.expansion.over(graph)
        else:
            searched = graph if self.is_implicit else Topology(graph, len(self.tokens))
        with atomic_write(path, "wb") as file:
            writer = Writer(file, searched.start, searched.num_states, self.is_implicit)
            for block in self.ceiling.watch(searched.blocks(), path.name, searched.num_states, lambda b: len(b[0])):
                writer.add(block)
            writer.finish()
        self.stats.add("LG file" if self.is_implicit else "HLG", writer.num_states, writer.num_arcs, start_s)
        if not self.is_implicit and not self.expansion and self._is_small(writer.num_states, writer.num_arcs):
            self.pictures["HLG"] = Automaton.from_blocks(searched.start, searched.blocks())

    def _is_small(self, states: int, arcs: int) -> bool:
        return states <= self.options.draw_states and arcs <= _DRAWN_ARCS_PER_STATE * self.options.draw_states

    def _keep_for_picture(self, name: str, part: Automaton) -> None:
        if self._is_small(part.num_states, part.num_arcs):
            self.pictures[name] = part

    def _draw(self, folder: Path) -> None:
        """Draw the small graphs. H and L are built only for this."""
        spellings, num_tokens, limit = self.spellings, len(self.tokens), self.options.draw_states
        if not self.expansion and self._is_small(num_tokens, num_tokens**2):
            self.pictures["H"] = ctc_topology(num_tokens)
        if len(spellings.labels) <= limit:
            self.pictures["L"] = Automaton.from_openfst(lexicon_fst(spellings, num_tokens, len(self.words)))
        isymbols = ["<eps>", *self.tokens.symbols, *(f"#{k}" for k in range(len(spellings.word) + 1))]
        words = ["<eps>", *self.words, "#0"]
        for name, part in self.pictures.items():
            draw(part, folder / f"{name}.svg", words if name == "G" else isymbols, isymbols if name == "H" else words)
