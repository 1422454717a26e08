"""The public face: open a model, give it sound, get words.

import asr
recognizer = asr.load("model.asr")
print(recognizer.transcribe("speech.wav").text)
"""

import dataclasses
import difflib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import torch
from tqdm import tqdm

from asr.config import Config, DecoderConfig
from asr.data.dataset import load_input
from asr.errors import InputError
from asr.features import audio
from asr.g2p.pronunciation import pronunciations
from asr.graph.automaton import Automaton
from asr.graph.lists import closed_graph, list_grammar, words_of
from asr.graph.phrase_grammar import read_grammar
from asr.hypothesis import Hypothesis
from asr.manifest import Utterance
from asr.models.acoustic import AcousticModel
from asr.recognizer import bundle, run_folder
from asr.recognizer.hypotheses import decode_log_probs
from asr.recognizer.inputs import Input, check_length, features_of, name_of, samples_of
from asr.search.confidence import Calibration
from asr.search.new_words import NewWord
from asr.search.phrases import Phrases
from asr.search.searchers import GraphSearcher, GreedySearcher, Searcher, make_decoder
from asr.search.space import DynamicSpace, SearchSpace
from asr.text.lexicon import Lexicon
from asr.tokens import Tokens

BATCH_S = 60.0  # audio scored at a time, padding included
T = TypeVar("T")


def load(
    path: str | Path, device: str = "cpu", max_audio_s: float = 600.0, g2p: str = "default", **decoder: Any
) -> "Recognizer":
    """Open a bundle (`*.asr`), or a run folder as the bundle that `asr bundle` would make of it.

    Options of the decoder (`beam`, `max_active`, `kind="greedy"`, ...: see `asr.config.DecoderConfig`) replace the
    bundle's. Recordings longer than `max_audio_s` are refused, which bounds the memory an utterance takes. `g2p`, a
    file of `asr g2p train` where it is not English, pronounces words that requests bring to a model of phones.
    Raises InputError when the bundle is damaged or an option is unknown.
    """
    opened = run_folder.read(path) if Path(path).is_dir() else bundle.read(path)
    cfg = opened.cfg
    cfg.decoder = _with_options(cfg.decoder, decoder)
    cfg.data.max_audio_s, cfg.g2p.model = max_audio_s, g2p
    return Recognizer(opened.model, cfg, opened.tokens, opened.space, device)


class Recognizer:
    """A model with its search. Immutable after construction: any number of threads may share one."""

    def __init__(
        self,
        model: AcousticModel,
        cfg: Config,
        tokens: Tokens,
        space: SearchSpace | None = None,
        device: str = "cpu",
        lexicon: Lexicon | None = None,
    ):
        """`space` is the graph; without it, or with `cfg.decoder.kind="greedy"`, the search is greedy. `lexicon`
        spells words of lists and grammars; without it the graph's does."""
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise InputError(f"device={device}, but this machine or this torch has no CUDA; set device=cpu")
        self.device = device
        self.model = model.to(device).eval()
        self.cfg, self.tokens, self.space, self.lexicon = cfg, tokens, space, lexicon
        self.frame_s = model.frame_s
        self.searcher = self._searcher(cfg.decoder)

    def with_decoder(self, decoder: DecoderConfig) -> "Recognizer":
        """The same model with another search."""
        cfg = dataclasses.replace(self.cfg, decoder=decoder)
        return Recognizer(self.model, cfg, self.tokens, self.space, self.device, self.lexicon)

    def with_new_words(self, new_words: Iterable[NewWord | str]) -> "Recognizer":
        """A recogniser that also knows `new_words` (asr.search.new_words); the model and the graph are shared.

        Words without pronunciation are spelled as the model's units ask for. Raises InputError for words that cannot
        be, for slots that the language model does not have, and unless the graph is dynamic.
        """
        if not isinstance(self.space, DynamicSpace):
            raise InputError("new words need a dynamic graph; make it with `asr graph graph.kind=dynamic`")
        _check_many(new_words, "new words")
        words = [NewWord(new) if isinstance(new, str) else new for new in new_words]
        spell = partial(pronunciations, unit=self.cfg.tokens.unit, known={}, g2p=self.cfg.g2p)
        space = self.space.with_words(words, self.tokens, spell)
        return Recognizer(self.model, self.cfg, self.tokens, space, self.device, self.lexicon)

    def with_list(self, entries: Iterable[str] | Mapping[str, float]) -> "Recognizer":
        """The same model for utterances of exactly one of `entries`, words or phrases, with their weights if given.

        What sounds like none of them gets a low confidence: see `decoder.reject_below`. Raises InputError naming words
        that cannot be spelled in the model's units.
        """
        _check_many(entries, "entries of the list")
        given = dict(entries) if isinstance(entries, Mapping) else dict.fromkeys(entries, 1.0)
        weights = {" ".join(entry.split()): weight for entry, weight in given.items()}
        if not weights or "" in weights:
            raise InputError("the list is empty or has an empty entry; give words or phrases")
        words = words_of(weights)
        return self._closed(list_grammar(weights, {word: i for i, word in enumerate(words, 1)}), words)

    def with_grammar(self, grammar: str | Path) -> "Recognizer":
        """The same model for utterances of a phrase grammar: a JSGF file, or its text, which begins with `#JSGF`.

        Raises InputError naming file, line and column, and as `with_list` does.
        """
        read = read_grammar(grammar)
        return self._closed(read.automaton({word: i for i, word in enumerate(read.words, 1)}), read.words)

    def _closed(self, grammar: Automaton, words: list[str]) -> "Recognizer":
        if self.cfg.decoder.kind == "greedy":
            raise InputError("greedy search hears no list and no grammar; use decoder.kind=graph")
        known = self.space.known(words, self.tokens) if self.space else {}
        known |= self.lexicon.listed(words) if self.lexicon else {}
        spelled = Lexicon(pronunciations(words, self.cfg.tokens.unit, known, self.cfg.g2p))
        silence = self.space.silence if self.space else self.cfg.graph.silence
        graph = closed_graph(grammar, words, spelled, self.tokens, silence)
        base = self.space.base if self.space and self.space.is_closed else self.space
        space = SearchSpace(graph, ["<eps>", *words], spelled, silence, is_closed=True, base=base)
        return Recognizer(self.model, self.cfg, self.tokens, space, self.device, self.lexicon)

    def _searcher(self, decoder: DecoderConfig) -> Searcher:
        if decoder.kind not in ("graph", "greedy"):
            raise InputError(f"decoder.kind={decoder.kind} is unknown; choose graph or greedy")
        if decoder.nbest < 1 or not 0 <= decoder.reject_below <= 1:
            raise InputError(
                f"decoder.nbest={decoder.nbest} must be at least 1, reject_below={decoder.reject_below} from 0 to 1"
            )
        calibration = Calibration(decoder.confidence_scale, decoder.confidence_offset)
        if decoder.kind == "greedy" or self.space is None:
            return GreedySearcher(self.tokens, self.cfg.tokens.unit, calibration)
        core = make_decoder(self.space.graph, decoder)
        return GraphSearcher(core, self.space, self.tokens, decoder.nbest, calibration)

    def compile_phrases(self, phrases: Mapping[str, float] | None) -> Phrases | None:
        """Phrases with their boosts as the search takes them; None for none.

        Raises InputError naming words that the graph does not have, and without a graph.
        """
        if not phrases:
            return None
        if self.space is None:
            raise InputError("phrases can be favoured by a graph search alone; this recogniser has no graph")
        return Phrases.of_words(phrases, self.space.words)

    @overload
    def transcribe(  # type: ignore[overload-overlap]
        self,
        x: Input,
        sample_rate_hz: int | None = None,
        phrases: Mapping[str, float] | None = None,
        new_words: Iterable[NewWord | str] = (),
    ) -> Hypothesis: ...
    @overload
    def transcribe(
        self,
        x: Sequence[Input],
        sample_rate_hz: int | None = None,
        phrases: Mapping[str, float] | None = None,
        new_words: Iterable[NewWord | str] = (),
    ) -> list[Hypothesis]: ...

    def transcribe(
        self,
        x: Input | Sequence[Input],
        sample_rate_hz: int | None = None,
        phrases: Mapping[str, float] | None = None,
        new_words: Iterable[NewWord | str] = (),
    ) -> Hypothesis | list[Hypothesis]:
        """Recognise one recording, or a list of them in batches of like length.

        A recording is a path, the bytes of an audio file, or an array: samples (T,), float in [-1, 1] or int16, with
        their `sample_rate_hz`; for a model of stored features, a feature file or features (F, D). `phrases` maps what
        is expected to its boost in nats, such as {"new york": 3.0} (asr.search.phrases). `new_words` are known for this
        call alone: see `with_new_words`.
        Raises InputError naming the recording that cannot be read or is too long.
        """
        _check_many(new_words, "new words")
        if new_words := list(new_words):
            return self.with_new_words(new_words).transcribe(x, sample_rate_hz, phrases)
        compiled = self.compile_phrases(phrases)
        if isinstance(x, (str, Path, bytes, np.ndarray)):
            return self._transcribe_many([x], sample_rate_hz, compiled)[0]
        return self._transcribe_many(x, sample_rate_hz, compiled)

    def _transcribe_many(
        self, inputs: Sequence[Input], sample_rate_hz: int | None, phrases: Phrases | None
    ) -> list[Hypothesis]:
        order = sorted(range(len(inputs)), key=lambda i: self._length(inputs[i]))
        found: dict[int, Hypothesis] = {}

        def search(item: tuple[int, np.ndarray, float]) -> Hypothesis:
            number, log_probs, duration_s = item
            return self.search(name_of(inputs[number], number), log_probs, duration_s, phrases)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for batch in self._score_batches(order, lambda i: self._read(inputs[i], sample_rate_hz)):
                hypotheses = pool.map(search, batch)
                found.update(zip((number for number, _, _ in batch), hypotheses, strict=True))
        return [found[i] for i in range(len(inputs))]

    def search(self, id: str, log_probs: np.ndarray, duration_s: float, phrases: Phrases | None = None) -> Hypothesis:
        """Words of one utterance's log-probs (F', V)."""
        reject_below = self.cfg.decoder.reject_below
        return decode_log_probs(log_probs, self.searcher, self.frame_s, id, duration_s, phrases, reject_below)

    def score_utterances(
        self, utterances: Sequence[Utterance], bar: tqdm
    ) -> Iterator[list[tuple[str, np.ndarray, float]]]:
        """Batches of (id, log-probs (F', V), seconds), shortest first; what cannot be read is named on the bar."""

        def read(utterance: Utterance) -> np.ndarray | None:
            try:
                return load_input(self.cfg, utterance)
            except InputError as e:
                bar.write(f"set aside utterance '{utterance.id}': {e}")
                return None

        ordered = sorted(utterances, key=lambda u: u.duration_s or float("inf"))
        for batch in self._score_batches(ordered, read):
            yield [(utterance.id, log_probs, duration_s) for utterance, log_probs, duration_s in batch]

    def _score_batches(
        self, items: Iterable[T], read: Callable[[T], np.ndarray | None]
    ) -> Iterator[list[tuple[T, np.ndarray, float]]]:
        """Read item after item and score them in batches of `BATCH_S` seconds; an item read as None is left out."""
        batch: list[tuple[T, np.ndarray]] = []
        longest_s = 0.0
        for item in items:
            x = read(item)
            if x is None:
                continue
            longest_s = max(longest_s, self.duration_s(x))
            if batch and longest_s * (len(batch) + 1) > BATCH_S:
                yield self._score(batch)
                batch, longest_s = [], self.duration_s(x)
            batch.append((item, x))
        if batch:
            yield self._score(batch)

    def _score(self, batch: list[tuple[T, np.ndarray]]) -> list[tuple[T, np.ndarray, float]]:
        arrays = self.log_probs([x for _, x in batch])
        return [(item, lp, self.duration_s(x)) for (item, x), lp in zip(batch, arrays, strict=True)]

    def log_probs(self, batch: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Samples (T,) at the model's rate, or features (F, D), float32 -> natural log-probs (F', V) of each.

        A recording shorter than one window gives none: (0, V).
        """
        lengths = torch.tensor([len(x) for x in batch])
        enough = self.model.frontend.num_frames(lengths) > 0  # (N,)
        heard = [torch.from_numpy(np.ascontiguousarray(x)) for x, e in zip(batch, enough, strict=True) if e]
        scored = iter(self.model.score(heard) if heard else [])
        none = np.zeros((0, len(self.tokens)), dtype=np.float32)
        return [next(scored).numpy() if e else none for e in enough]

    def duration_s(self, x: np.ndarray) -> float:
        """Seconds of samples (T,) or stored features (F, D)."""
        features = self.cfg.features
        return len(x) * (features.shift_ms / 1000 if features.kind == "stored" else 1 / features.sample_rate_hz)

    def _length(self, x: Input) -> float:
        """A number to sort by: seconds where the header tells, else the array's length, 0 for feature files."""
        if isinstance(x, np.ndarray):
            return len(x)
        return 0.0 if self.cfg.features.kind == "stored" else audio.info(x).duration_s

    def _read(self, x: Input, sample_rate_hz: int | None) -> np.ndarray:
        """Samples (T,) at the model's rate, or features (F, D)."""
        limit_s, rate_hz = self.cfg.data.max_audio_s, self.cfg.features.sample_rate_hz
        if self.cfg.features.kind == "stored":
            features = features_of(x, self.cfg.features.num_bins)
            check_length(self.duration_s(features), limit_s)
            return features
        if not isinstance(x, np.ndarray):
            return audio.load(x, sample_rate_hz=rate_hz, max_s=limit_s)
        if sample_rate_hz is None:
            raise InputError(f"give sample_rate_hz= with an array of samples; the model itself hears {rate_hz} Hz")
        check_length(len(x) / sample_rate_hz, limit_s)
        return samples_of(x, sample_rate_hz, rate_hz)


def _check_many(items: Iterable[object], what: str) -> None:
    if isinstance(items, str):
        raise InputError(f"{what} come as a list of strings, not as the text '{items}'")


def _with_options(cfg: DecoderConfig, options: dict[str, Any]) -> DecoderConfig:
    known = [f.name for f in dataclasses.fields(cfg)]
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1) or [", ".join(known)]
            raise InputError(f"the decoder has no option '{name}'; did you mean {near[0]}?")
    return dataclasses.replace(cfg, **options)
