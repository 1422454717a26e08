"""A second pass: a lattice, or its best readings, ranked anew with another language model.

    second = SecondPass(open_scorer("lm.safetensors"), share=0.5)
    second.apply(lattice, space).nbest(1)  # the lattice of the cheapest 100 readings with their new costs
    SecondPass(scorer, share=0.5, paths=scorer.along(space.words, order=4)).apply(lattice, space)  # the whole lattice
    SecondPass(hearing).heard(samples).apply(lattice, space)  # by a model of texts given their sound

The language model's part of a reading's cost, which includes the lexicon, becomes a log-linear mixture: `1 - share`
times what it was, and `share` times the new model's cost of the text. Penalties and acoustic costs stay. A model of
texts given their sound is no other language model: `share` times its cost is added, and all else stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from asr.config import DecoderConfig
from asr.errors import InputError
from asr.lm import arpa, trie_file
from asr.lm.model import LN10, MAX_ORDER
from asr.lm.score import Scorer, load
from asr.search.lattice import ARC, FINAL, Lattice
from asr.search.rescoring import NgramScorer, WordScorer, compose
from asr.search.space import SearchSpace

BUNDLED = "bundled"  # the value of decoder.rescore for the language model in a bundle
ENDINGS = (".safetensors", ".arpa", ".arpa.gz", ".trie")  # of files: none of that name is looked for in the hub


class TextScorer(Protocol):
    def costs(self, texts: Sequence[str]) -> list[float]:
        """The cost of each text with its end, in nats."""


@runtime_checkable
class PathScorer(TextScorer, Protocol):
    """A scorer that can also follow the paths of a lattice."""

    def along(self, words: Sequence[str], order: int) -> WordScorer:
        """For lattices of a graph with these words. `order`: as many words less one tell histories apart, unless the
        model itself knows which are equal."""


@runtime_checkable
class HearingScorer(TextScorer, Protocol):
    """A scorer of texts that also needs their sound."""

    rate_hz: int

    def to(self, device: str) -> None: ...

    def heard(self, samples: np.ndarray) -> TextScorer:
        """The costs of texts given a recording (T,) at `rate_hz`."""


class NgramTexts:
    """Costs of texts by an n-gram model."""

    def __init__(self, scorer: Scorer):
        self._scorer, self.of_pieces = scorer, scorer.of_pieces

    def costs(self, texts: Sequence[str]) -> list[float]:
        return [-LN10 * sum(log10_prob for log10_prob, _, _ in self._scorer.full_scores(text)) for text in texts]

    def along(self, words: Sequence[str], order: int) -> NgramScorer:
        return NgramScorer(self._scorer, words)


def open_scorer(source: str | Path) -> TextScorer:
    """The language model in a file of `asr lm train` (ARPA, neural, or of texts given their sound) or `asr lm convert`
    (packed, which is mapped), in a folder of transformers, or of that name in Hugging Face's hub. Raises InputError if
    there is none."""
    path = Path(source)
    if path.is_file() or path.name.endswith(ENDINGS):
        if not path.exists():
            raise InputError(f"there is no language model {path}; check the path, or make it with `asr lm train` (ARPA "
                             "or kind=neural) or `asr lm convert` (.trie)")  # fmt: skip
        if arpa.is_model(path):
            return NgramTexts(load(path))
        if path.name.endswith(".trie"):
            trie_file.read(path)  # raises InputError
        from asr.lm.neural.file import read_bytes

        return parsed(read_bytes(path), path)
    if (path / "model.bin").is_file():
        raise InputError(f"{source} is a model of CTranslate2; if it is a Whisper, make it a file with `asr lm convert "
                         f"{source} NAME.safetensors lang=... text=...` and name that")  # fmt: skip
    from asr.lm.neural.causal import CausalScorer

    return CausalScorer(source)


def parsed(content: bytes, path: str | Path) -> TextScorer:
    """The model in the content of a file in safetensors, which is named in errors. Raises InputError if it is none."""
    from asr.lm.attention import file as attention
    from asr.lm.neural import file as neural

    if neural.format_in(content) == attention.FORMAT:
        from asr.lm.attention.scorer import AttentionScorer

        return AttentionScorer(attention.parse(content, path))
    from asr.lm.neural.scorer import NeuralScorer

    return NeuralScorer(neural.parse(content, path))


@dataclass(frozen=True)
class Listed:
    """A reading of a lattice and the parts of its cost that a second pass weighs."""

    labels: list[int]
    fixed: float  # acoustic cost, boosts and word penalties
    language: float  # the rest of the graph costs, of which a part may be replaced
    new: float  # of the other language model

    def cost(self, share: float, penalty: float) -> float:
        return self.fixed + (1 - share) * self.language + share * self.new + penalty * len(self.labels)


@dataclass(frozen=True)
class SecondPass:
    scorer: TextScorer
    share: float = 0.5  # of the new model in the costs of language, or the weight of costs that are added
    penalty: float = 0.0  # added per word, or piece of a word
    nbest: int = 100  # readings
    word_penalty: float = 0.0  # of the search, in the lattice's graph costs
    paths: WordScorer | None = None  # the scorer along the whole lattice; None: the readings alone are ranked
    adds: bool = False  # the new model's costs are added, and the costs of language stay

    @property
    def kept(self) -> float:
        """The share of the old costs of language that stays."""
        return 1.0 if self.adds else 1 - self.share

    def heard(self, samples: np.ndarray) -> "SecondPass":
        """The second pass over the readings of a recording (T,)."""
        return replace(self, scorer=self.scorer.heard(samples)) if isinstance(self.scorer, HearingScorer) else self

    def listed(self, lattice: Lattice, space: SearchSpace) -> list[Listed]:
        """The cheapest readings of a lattice, cheapest first."""
        readings = lattice.nbest(self.nbest)
        new = self.scorer.costs([space.text(reading.labels) for reading in readings])
        if wrong := next((cost for cost in new if not np.isfinite(cost)), None):
            raise InputError(f"the language model of the second pass gives a text the cost {wrong}; train it again")
        fixed = [self.word_penalty * len(r.labels) for r in readings]
        listed = [
            Listed(r.labels, r.acoustic_cost + r.boost_cost + own, r.graph_cost - own, cost)
            for r, own, cost in zip(readings, fixed, new, strict=True)
        ]
        return [replace(r, fixed=r.fixed + r.language, language=0.0) for r in listed] if self.adds else listed

    def apply(self, lattice: Lattice, space: SearchSpace) -> Lattice:
        """The lattice with its new costs, or the tree of the cheapest readings with theirs."""
        if not lattice.num_states:
            return lattice
        if self.paths:
            per_word = self.share * self.word_penalty + self.penalty
            return compose(lattice, self.paths, self.share, 1 - self.share, per_word, lattice.beam)
        listed = self.listed(lattice, space)
        return tree([r.labels for r in listed], [r.cost(self.share, self.penalty) for r in listed], lattice)


def tree(readings: Sequence[Sequence[int]], costs: Sequence[float], lattice: Lattice) -> Lattice:
    """The lattice that holds these readings of `lattice` alone, one or more, as a tree.

    The new costs replace the sums of the old ones: the difference is added to the graph costs of the final states."""
    children: dict[tuple[int, int], int] = {}  # (state, arc of `lattice`) -> state
    ends: list[tuple[int, int, float]] = []  # (state, state of `lattice`, cost added) of each reading
    for labels, cost in zip(readings, costs, strict=True):
        path = lattice.path(labels)
        assert path is not None
        state = 0
        for arc in path:
            state = children.setdefault((state, arc), len(children) + 1)
        end = int(lattice.arcs["to"][path[-1]]) if path else 0
        ends.append((state, end, cost - float(lattice.costs[path].sum() + lattice.final_costs[end])))
    edges = sorted((source, target, arc) for (source, arc), target in children.items())
    arcs = np.array(lattice.arcs[[arc for _, _, arc in edges]], ARC)
    arcs["from"], arcs["to"] = [edge[0] for edge in edges], [edge[1] for edge in edges]
    number = {int(state): at for at, state in enumerate(lattice.finals["state"])}
    finals = np.array(lattice.finals[[number[end] for _, end, _ in ends]], FINAL)
    finals["state"] = [state for state, _, _ in ends]
    finals["graph"] += np.array([added for _, _, added in ends], np.float64)
    tokens = [lattice.tokens_of(arc) for _, _, arc in edges]
    tokens += [lattice.tokens_of(lattice.num_arcs + number[end]) for _, end, _ in ends]
    token_ends = np.cumsum([len(each) for each in tokens], dtype=np.int64)
    arcs["tokens_end"], finals["tokens_end"] = token_ends[: len(arcs)], token_ends[len(arcs) :]
    return replace(
        lattice,
        num_states=len(children) + 1,
        arcs=arcs,
        finals=finals,
        tokens=np.concatenate([*tokens, np.zeros(0, np.int32)]).astype(np.int32),
        best=None,
    )


@dataclass(frozen=True)
class Rescorer:
    """A language model that has been opened, and the value of decoder.rescore that names it."""

    source: str
    scorer: TextScorer


def rescorer_of(cfg: DecoderConfig, opened: Rescorer | None, device: str = "cpu") -> Rescorer | None:
    """The language model that the options name: `opened`, if it is that one. Without a name it stays open, as a request
    may ask for it. One that needs the sound is moved to `device`. Raises InputError as `open_scorer`."""
    found = opened if cfg.rescore is None else _named(cfg.rescore, opened)
    if found is not None and isinstance(found.scorer, HearingScorer):
        found.scorer.to(device)
    return found


def _named(name: str, opened: Rescorer | None) -> Rescorer:
    if opened is not None and opened.source == name:
        return opened
    if name.lower() in ("true", "false"):
        raise InputError(f"decoder.rescore={name.lower()} must name a language model; decoder.rescore=null "
                         "leaves the second pass out")  # fmt: skip
    if name == BUNDLED:
        raise InputError(f"decoder.rescore={BUNDLED}, but no language model is bundled; name its file or folder")
    return Rescorer(name, open_scorer(name))


def resolved(cfg: DecoderConfig, scorer: TextScorer | None, space: SearchSpace | None) -> DecoderConfig:
    """The options with the rescore_order that the second pass has; for an n-gram model all but 0 are the same."""
    if scorer is None or space is None or cfg.rescore is None:
        return cfg
    order = cfg.rescore_order
    if isinstance(scorer, NgramTexts):
        order = MAX_ORDER if order or (order is None and scorer.of_pieces == space.of_pieces) else 0
    return replace(cfg, rescore_order=order or 0)


def second_pass(cfg: DecoderConfig, scorer: TextScorer | None, space: SearchSpace) -> SecondPass | None:
    """The second pass that the options ask for."""
    if scorer is None or cfg.rescore is None:
        return None
    if cfg.lattice_beam is None:
        raise InputError(f"decoder.rescore={cfg.rescore} needs a lattice; set decoder.lattice_beam")
    paths, order = None, resolved(cfg, scorer, space).rescore_order
    if order and not space.is_closed:
        if not isinstance(scorer, PathScorer):
            raise InputError(f"decoder.rescore={cfg.rescore} scores whole texts, so it cannot rescore a lattice; set "
                             "decoder.rescore_order=0")  # fmt: skip
        paths = scorer.along(space.words, order)
    adds = isinstance(scorer, HearingScorer)
    return SecondPass(scorer, cfg.rescore_share, cfg.rescore_penalty, cfg.rescore_nbest, cfg.word_penalty, paths, adds)
