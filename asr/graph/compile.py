"""From tokens, lexicon and language model to the graph that the decoder searches.

- G, grammar.py: words with costs, out of an ARPA file or a list of words
- LG, expand.py and minimize.py: token sequences to words, determinized and minimized
- HLG, topology.py: net outputs, frame by frame, to words

A stage whose ingredients are those of an earlier build is taken from the cache (cache.py), and a graph that is what
would be built is left alone. LG grows and HLG is written in blocks: of HLG memory never holds more than one.
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
from asr.graph.expand import Forest
from asr.graph.forecast import Forecast, forecast
from asr.graph.lexicon_fst import lexicon_fst, spell
from asr.graph.memory import Ceiling, give_back, peak_mb
from asr.graph.minimize import minimize
from asr.graph.order import breadth_first
from asr.graph.pack import Writer
from asr.graph.preflight import check, homophones
from asr.graph.sources import ArpaSource, Source, WordList
from asr.graph.topology import Topology, ctc_topology
from asr.text.lexicon import Lexicon
from asr.tokens import SPACE, Tokens

_OF_DYNAMIC = ("tree.bin", "lm.ngram", "*.svg")  # a dynamic graph in the same folder goes, and old drawings
_ARCS_TO_STATE = 4  # denser graphs make no picture
_log = logging.getLogger(__name__)
Speller = Callable[[Sequence[str]], Lexicon]


@dataclass(frozen=True)
class GraphOptions:
    """How to build. `silence` names a token allowed between words. `topology` is explicit for HLG, or implicit for LG,
    a graph of a fraction of the size whose CTC topology the search adds. Graphs of at most `draw_states` states are
    drawn. `cache_dir` keeps stages for the next build. A build that needs more than `memory_mb` stops."""

    silence: str | None = None
    draw_states: int = 60
    topology: str = "explicit"
    cache_dir: str | Path | None = None
    memory_mb: int | None = None


@dataclass(frozen=True)
class Stage:
    """One step of the build. `seconds` are wall clock, `peak_mb` is the process's largest resident memory so far."""

    name: str
    states: int
    arcs: int
    seconds: float
    peak_mb: int
    reused: bool = False  # from an earlier build


@dataclass
class GraphStats:
    """What was built: written as stats.json beside the graph."""

    words: int
    pronunciations: int
    homophones: int  # words that are spelled like another
    left_out: list[str]  # words of the language model that the graph cannot hold, the commonest first
    silence: str | None  # token allowed between words; the decoder reads it here
    key: str  # hash of all that the graph was made from
    graph_digest: str = ""  # hash of graph.bin
    forecast: Forecast | None = None  # where LG had to be made
    stages: list[Stage] = field(default_factory=list)

    def add(self, name: str, states: int, arcs: int, start_s: float, reused: bool = False) -> None:
        stage = Stage(name, states, arcs, round(time.monotonic() - start_s, 2), peak_mb(), reused)
        self.stages.append(stage)
        _log.info("%-4s %10d states %10d arcs %7.1f s %5d MB", name, states, arcs, stage.seconds, stage.peak_mb)


def compile_graph(tokens: Tokens, lexicon: Lexicon | Speller, arpa_path: str | Path, out_dir: str | Path,
                  silence: str | None = None, draw_states: int = 60, topology: str = "explicit",
                  cache_dir: str | Path | None = None, memory_mb: int | None = None) -> GraphStats:  # fmt: skip
    """Compile the search graph of an ARPA model and write it to the folder `out_dir`, all of it or nothing.

    Written: graph.bin (asr.graph.pack), words.txt (line number = output label), tokens.txt, lexicon.txt (the part in
    use), stats.json, and an SVG of each of H, L, G, LG, HLG that is small. `lexicon` may be a function from the model's
    words to their lexicon. With `<space>` in the token table one must stand between words. For the options see
    `GraphOptions`. Raises InputError as `asr.lm.arpa.read`, `preflight.check` and `Ceiling.check` do.
    """
    options = GraphOptions(silence, draw_states, topology, cache_dir, memory_mb)
    return Build(ArpaSource(arpa_path), lexicon, tokens, options).write(out_dir)


def word_graph(words: Iterable[str], lexicon: Lexicon, tokens: Tokens, out_dir: str | Path,
               silence: str | None = None, draw_states: int = 60,
               topology: str = "explicit") -> GraphStats:  # fmt: skip
    """As `compile_graph`, for utterances of exactly one of `words`, all equally likely."""
    return Build(WordList(words), lexicon, tokens, GraphOptions(silence, draw_states, topology)).write(out_dir)


class Build:
    """One graph to be built: its words and spellings are settled, its stages are made or fetched when asked for."""

    def __init__(self, source: Source, lexicon: Lexicon | Speller, tokens: Tokens, options: GraphOptions):
        if options.topology not in ("explicit", "implicit"):
            raise InputError(f"graph.topology={options.topology} is unknown; choose explicit or implicit")
        self.begin_s = time.monotonic()
        self.source, self.tokens, self.options = source, tokens, options
        self.cache = Cache(options.cache_dir)
        words, log10_prob = source.vocabulary(self.cache)
        lexicon = lexicon if isinstance(lexicon, Lexicon) else lexicon(words)
        separator = SPACE if SPACE in tokens else None
        self.words, self.lexicon, left_out = check(words, lexicon, tokens, options.silence, separator, log10_prob)
        source.keep_vocabulary(self.cache)
        self.spellings = spell(self.words, self.lexicon, tokens, options.silence, separator)
        s = self.spellings
        self.g_key = digest("G", source.digest, self.words)
        self.lg_key = digest("LG", self.g_key, s.word, s.length, s.labels, s.silence, s.separator)
        key = digest("HLG", self.lg_key, tokens.symbols, options.topology)
        self.stats = GraphStats(len(self.words), len(s.word) - bool(s.silence), homophones(self.lexicon), left_out,
                                options.silence, key)  # fmt: skip
        self.ceiling = Ceiling(options.memory_mb, 0)
        self.pictures: dict[str, Automaton] = {}

    @property
    def is_implicit(self) -> bool:
        return self.options.topology == "implicit"

    def forecast(self) -> Forecast:
        """What the build will come to; G is made for it, or fetched."""
        return self._forecast(self._grammar())

    def write(self, out_dir: str | Path) -> GraphStats:
        """Build what is not there yet and write all files to the folder."""
        stats, standing = self.stats, self._standing(Path(out_dir))
        with moved_into(Path(out_dir), stale=_OF_DYNAMIC) as folder:
            if standing:
                stats.stages, stats.graph_digest = standing, file_digest(Path(out_dir) / "graph.bin")
                _log.info("graph.bin: all that it is made from is as before; it stays")
            else:
                self._write_graph(folder / "graph.bin")
                stats.graph_digest = file_digest(folder / "graph.bin")
            with atomic_write(folder / "words.txt") as file:
                file.writelines(word + "\n" for word in ["<eps>", *self.words])
            self.tokens.write(folder / "tokens.txt")
            self.lexicon.write(folder / "lexicon.txt")
            with atomic_write(folder / "stats.json") as file:
                json.dump(dataclasses.asdict(stats), file, indent=1, ensure_ascii=False)
            self._draw(folder)
        return stats

    def _standing(self, out_dir: Path) -> list[Stage]:
        """The stages of the graph in the folder, if it is the one to be built and too large for pictures."""
        try:
            earlier = json.loads((out_dir / "stats.json").read_text(encoding="utf-8"))
            stages = [Stage(**{**stage, "seconds": 0.0, "reused": True}) for stage in earlier["stages"]]
            if earlier["key"] != self.stats.key or earlier["graph_digest"] != file_digest(out_dir / "graph.bin"):
                return []
        except (OSError, ValueError, KeyError, TypeError, InputError):
            return []  # no graph yet, or not one of ours
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
        """LG."""
        start_s = time.monotonic()
        if found := self.cache.load("LG", self.lg_key):
            graph = Automaton.from_arrays(found)
            self.ceiling = Ceiling(self.options.memory_mb, graph.num_arcs // 2)  # two arcs to an n-gram, or so
            if self._is_small(graph.num_states, graph.num_arcs):
                self._grammar()  # for its picture
        else:
            grammar = self._grammar()
            start_s = time.monotonic()
            self.stats.forecast = expected = self._forecast(grammar)
            _log.info("%s", expected)
            self.ceiling.check(expected.memory_mb, "is to need some")
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
        searched = graph if self.is_implicit else Topology(graph, len(self.tokens))
        with atomic_write(path, "wb") as file:
            writer = Writer(file, searched.start, searched.num_states, self.is_implicit)
            for block in self.ceiling.watch(searched.blocks(), path.name, searched.num_states, lambda b: len(b[0])):
                writer.add(block)
            writer.finish()
        self.stats.add("LG file" if self.is_implicit else "HLG", writer.num_states, writer.num_arcs, start_s)
        if not self.is_implicit and self._is_small(writer.num_states, writer.num_arcs):
            self.pictures["HLG"] = Automaton.from_blocks(searched.start, searched.blocks())

    def _is_small(self, states: int, arcs: int) -> bool:
        return states <= self.options.draw_states and arcs <= _ARCS_TO_STATE * self.options.draw_states

    def _keep_for_picture(self, name: str, part: Automaton) -> None:
        if self._is_small(part.num_states, part.num_arcs):
            self.pictures[name] = part

    def _draw(self, folder: Path) -> None:
        """What is small; H and L are made for this alone."""
        spellings, num_tokens, limit = self.spellings, len(self.tokens), self.options.draw_states
        if self._is_small(num_tokens, num_tokens**2):
            self.pictures["H"] = ctc_topology(num_tokens)
        if len(spellings.labels) <= limit:
            self.pictures["L"] = Automaton.from_openfst(lexicon_fst(spellings, num_tokens, len(self.words)))
        isymbols = ["<eps>", *self.tokens.symbols, *(f"#{k}" for k in range(len(spellings.word) + 1))]
        words = ["<eps>", *self.words, "#0"]
        for name, part in self.pictures.items():
            draw(part, folder / f"{name}.svg", words if name == "G" else isymbols, isymbols if name == "H" else words)
