"""From log-probs to words with times: the two searches, where words lie, and decoding whole manifests.

Times. A net trained with CTC marks each token by a short peak, so a word starts at the first frame of its first
token; after the last frame of its last token it lasts `EXTENSION_S` longer, but at most half the way to the next
word. Confidence is the geometric mean, over a word's tokens, of the highest posterior of each.
"""

import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from tqdm import tqdm

from asr import hypothesis
from asr.config import DecoderConfig
from asr.errors import InputError
from asr.hypothesis import Hypothesis, Word
from asr.manifest import Utterance
from asr.search import Decoder, Graph
from asr.text.lexicon import Lexicon
from asr.text.units import to_text
from asr.tokens import BLANK_ID, SPACE, Tokens

if TYPE_CHECKING:
    from asr.api import Recognizer

EXTENSION_S = 0.1
_State = tuple[int, int, int]  # word, its pronunciation, tokens of it seen


@dataclass(frozen=True)
class Segment:
    """The frames [start, end) on which an alignment holds one token, and the token's highest log-prob there."""

    token: int
    start: int
    end: int
    log_prob: float


@dataclass(frozen=True)
class Reading:
    """What a search found: words, each with the segments of its tokens."""

    words: list[tuple[str, list[Segment]]]
    cost: float
    complete: bool


class Searcher(Protocol):
    """Thread-safe. `log_probs` (F, V) float32."""

    def search(self, log_probs: np.ndarray) -> Reading: ...


@dataclass(frozen=True)
class GraphTables:
    """A compiled graph with the words of its output labels, their pronunciations, and the token that the graph
    allows between words, if any."""

    graph: Graph
    words: list[str]
    lexicon: Lexicon
    silence: str | None = None

    def __post_init__(self) -> None:
        if self.graph.max_olabel >= len(self.words):
            raise InputError(
                f"the graph has output labels up to {self.graph.max_olabel}, words.txt names {len(self.words)}; "
                "run `asr graph` again"
            )

    @classmethod
    def read(cls, folder: str | Path, tokens: Tokens) -> "GraphTables":
        """Open what `asr graph` wrote. Raises InputError when it was compiled for other tokens."""
        folder = Path(folder)
        check_same_tokens(tokens, Tokens.read(folder / "tokens.txt"), folder)
        try:
            words = (folder / "words.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
        except (OSError, UnicodeDecodeError) as e:
            raise InputError(f"cannot read {folder / 'words.txt'}: {e}; run `asr graph` again") from e
        return cls(Graph.open(folder / "graph.bin"), words, Lexicon.read(folder / "lexicon.txt"), read_silence(folder))


def read_silence(folder: str | Path) -> str | None:
    """The token that the graph in `folder` allows between words; None for none."""
    path = Path(folder) / "stats.json"
    try:
        silence: str | None = json.loads(path.read_text(encoding="utf-8")).get("silence")
    except (OSError, ValueError, AttributeError) as e:
        raise InputError(f"cannot read the silence token in {path} ({e!r}); run `asr graph` again") from e
    return silence


def check_same_tokens(tokens: Tokens, others: Tokens, where: str | Path) -> None:
    if tokens != others:
        raise InputError(
            f"the graph in {where} was compiled for another token set ({len(others)} tokens, the model has "
            f"{len(tokens)}); run `asr graph` with this model's tokens.txt"
        )


class GreedySearcher:
    """The likeliest token of each frame, collapsed. Words fall apart at spaces; each phone is a word of its own."""

    def __init__(self, tokens: Tokens, unit: str):
        self.tokens, self.unit = tokens, unit

    def search(self, log_probs: np.ndarray) -> Reading:
        found = segments(log_probs.argmax(1), log_probs)
        if self.unit == "phone":
            groups = [[segment] for segment in found]
        else:
            is_space = [self.tokens[s.token] == SPACE for s in found]
            groups = [
                [s for s, _ in group]
                for space, group in groupby(zip(found, is_space, strict=True), lambda pair: pair[1])
                if not space
            ]
        words = [(to_text([self.tokens[s.token] for s in group], self.unit), group) for group in groups]
        return Reading(words, cost=-float(log_probs.max(1).sum()), complete=True)


class GraphSearcher:
    """Beam search over a compiled graph."""

    def __init__(self, decoder: Decoder, tables: GraphTables, tokens: Tokens):
        self.decoder, self.tables = decoder, tables
        between = [s for s in (tables.silence, SPACE) if s is not None and s in tokens]
        self.between = set(tokens.encode(between))
        self.spellings = {
            word: [tuple(tokens.encode(units)) for units in variants]
            for word, variants in tables.lexicon.pronunciations.items()
        }

    def search(self, log_probs: np.ndarray) -> Reading:
        path = self.decoder.decode(log_probs)
        words = [self.tables.words[label] for label in path.labels]
        found = segments(path.alignment, log_probs)
        try:
            spellings = [self.spellings[word] for word in words]
        except KeyError as e:
            raise InputError(f"word {e} of the graph is not in its lexicon.txt; run `asr graph` again") from None
        spans = match_words([s.token for s in found], spellings, self.between, path.complete)
        placed = [(word, [found[i] for i in span]) for word, span in zip(words, spans, strict=False)]
        return Reading(placed, path.cost, path.complete)


def make_decoder(graph: Graph, cfg: DecoderConfig) -> Decoder:
    return Decoder(
        graph,
        beam=cfg.beam,
        max_active=cfg.max_active,
        min_active=cfg.min_active,
        blank_skip=cfg.blank_skip,
        acoustic_scale=cfg.acoustic_scale,
        word_penalty=cfg.word_penalty,
        blank_penalty=cfg.blank_penalty,
    )


def decode_log_probs(
    log_probs: np.ndarray, searcher: Searcher, frame_s: float, id: str = "", duration_s: float | None = None
) -> Hypothesis:
    """Search log-probs (F, V), natural log, for words with times in seconds; `frame_s` is the length of a frame.

    Raises InputError when the log-probs are no matrix or hold NaN.
    """
    if log_probs.ndim != 2 or np.isnan(log_probs).any():
        raise InputError(
            f"the log-probs of utterance '{id}' have shape {log_probs.shape} and {np.isnan(log_probs).sum()} NaN; "
            "expected (frames, tokens) without NaN: the model may have diverged"
        )
    frames = len(log_probs)
    duration_s = frames * frame_s if duration_s is None else duration_s
    if frames == 0:
        return Hypothesis(id, "", [], 0.0, duration_s, complete=True)
    reading = searcher.search(np.ascontiguousarray(log_probs, dtype=np.float32))
    words = list(_timed(reading.words, frames, frame_s))
    return Hypothesis(id, " ".join(w.word for w in words), words, reading.cost, duration_s, reading.complete)


def segments(alignment: np.ndarray, log_probs: np.ndarray) -> list[Segment]:
    """Collapse an alignment (F,), a token a frame, by the CTC rule; blanks leave no segment."""
    edges = np.flatnonzero(np.diff(alignment)) + 1
    starts, ends = [0, *edges.tolist()], [*edges.tolist(), len(alignment)]
    return [
        Segment(token, start, end, float(log_probs[start:end, token].max()))
        for start, end in zip(starts, ends, strict=True)
        if (token := int(alignment[start])) != BLANK_ID
    ]


def match_words(
    tokens: Sequence[int], spellings: Sequence[Sequence[tuple[int, ...]]], between: set[int], complete: bool = True
) -> list[list[int]]:
    """Which tokens spell which word: the token positions of each word.

    `spellings[i]` are the pronunciations of word i; tokens of `between` may stand between words. A complete match
    uses every word and token; where several do, the first in the order of the pronunciations is taken. For an
    incomplete path the graph may name words before or after their tokens: the last word may be a part only, and
    words without any token are left off. Raises InputError when a complete match is wanted and there is none.
    """
    frontier: list[_State] = [(-1, 0, 0)]
    trail: list[dict[_State, _State]] = []  # for each token: state after it -> state before it
    for token in tokens:
        reached: dict[_State, _State] = {}
        for state in frontier:
            for following in _moves(state, token, spellings, between):
                reached.setdefault(following, state)
        if not reached:
            break
        trail.append(reached)
        frontier = list(reached)
    last = len(spellings) - 1
    ended = [(i, v, p) for i, v, p in frontier if i == last and (i < 0 or p == len(spellings[i][v]))]
    if complete and (not ended or len(trail) < len(tokens)):
        raise InputError("the graph's path is not spelled by its lexicon.txt; run `asr graph` again")
    state = ended[0] if ended else max(frontier, key=lambda s: (s[0], s[2]))
    spans: list[list[int]] = [[] for _ in range(state[0] + 1)]
    for position in reversed(range(len(trail))):
        before = trail[position][state]
        if before != state:  # the token was not skipped
            spans[state[0]].insert(0, position)
        state = before
    return spans


def _moves(
    state: _State, token: int, spellings: Sequence[Sequence[tuple[int, ...]]], between: set[int]
) -> Iterator[_State]:
    word, variant, seen = state
    if word >= 0 and seen < len(spellings[word][variant]):
        if spellings[word][variant][seen] == token:
            yield word, variant, seen + 1
        return
    if word + 1 < len(spellings):
        for number, spelling in enumerate(spellings[word + 1]):
            if spelling[0] == token:
                yield word + 1, number, 1
    if token in between:
        yield state


def _timed(words: list[tuple[str, list[Segment]]], frames: int, frame_s: float) -> Iterator[Word]:
    starts = [found[0].start for _, found in words]
    for number, (word, found) in enumerate(words):
        end = found[-1].end
        room = (starts[number + 1] - end) / 2 if number + 1 < len(words) else frames - end
        end_s = end * frame_s + min(EXTENSION_S, room * frame_s)
        confidence = math.exp(sum(s.log_prob for s in found) / len(found))
        yield Word(word, round(found[0].start * frame_s, 3), round(end_s, 3), round(min(confidence, 1.0), 4))


def decode_manifest(
    recognizer: "Recognizer", utterances: Sequence[Utterance], path: str | Path, threads: int = 0
) -> list[Hypothesis]:
    """Recognise every utterance and write `path` (hyp.jsonl), in the order given.

    An utterance that cannot be read is named and left out; InputError when that befalls all. `threads` search at a
    time (0: one a core). Prints where the result lies and the real-time factor, reading and scoring included.
    """
    started = time.monotonic()
    heard_s = 0.0
    found: dict[str, Hypothesis] = {}
    with (
        tqdm(total=len(utterances), unit="utt", desc="decode") as bar,
        ThreadPoolExecutor(threads or os.cpu_count()) as pool,
    ):
        for batch in recognizer.score_utterances(utterances, bar):
            for hypo in pool.map(lambda item: recognizer.search(*item), batch):
                found[hypo.id] = hypo
                heard_s += hypo.duration_s
                bar.update()
    if not found:
        raise InputError(f"none of the {len(utterances)} utterances could be decoded; see the reasons above")
    ordered = [found[u.id] for u in utterances if u.id in found]
    hypothesis.write(path, ordered)
    took_s = time.monotonic() - started
    print(
        f"decoded {len(ordered)} of {len(utterances)} utterances, {heard_s:.1f} s of audio in {took_s:.1f} s "
        f"(real-time factor {took_s / max(heard_s, 1e-9):.3f}) -> {path}"
    )
    return ordered
