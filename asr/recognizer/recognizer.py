"""The public interface: open a model, give it audio, get words.

import asr
recognizer = asr.load("model.asr")
print(recognizer.transcribe("speech.wav").text)
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, cast, overload

import numpy as np
import torch
from tqdm import tqdm

from asr.config import Config, DecoderConfig, check_group
from asr.data.batching import fill
from asr.data.dataset import load_input
from asr.errors import InputError
from asr.features import audio
from asr.frozen import frozen
from asr.graph.phrase_grammar import MOST_STATES
from asr.graph.slots import Filler
from asr.hmm.model import Hmm
from asr.hypothesis import Hypothesis
from asr.manifest import Utterance
from asr.models.acoustic import AcousticModel
from asr.models.imported import OnnxModel
from asr.recognizer import edges
from asr.recognizer.hypotheses import decode_log_probs
from asr.recognizer.inputs import Input, Source, check_channel, check_length, check_rate, features_of, samples_of
from asr.recognizer.long import transcribe_each
from asr.recognizer.options import DecodingOptions
from asr.recognizer.searching import NoSearcher, phrases_for, searcher_of
from asr.recognizer.spaces import RequestSpaces
from asr.recognizer.stream import Stream
from asr.recognizer.written import Writing, writing_of
from asr.search.endpoint import EndpointOptions
from asr.search.new_words import NewWord
from asr.search.phrases import Phrases
from asr.search.searchers import GraphSearcher, Searcher
from asr.search.second_pass import Rescorer, rescorer_of
from asr.search.space import SearchSpace
from asr.text.lexicon import Lexicon
from asr.tokens import Tokens

BATCH_S = 60.0  # seconds of audio scored as one batch, padding included
T = TypeVar("T")


class Recognizer:
    """A model with its search. Immutable: any number of threads may share one.

    `cfg` is a read-only copy of the configuration given. The `with_...` methods prepare another recogniser that shares
    the model and the graph.
    """

    model: AcousticModel | OnnxModel
    cfg: Config
    tokens: Tokens
    space: SearchSpace | None
    lexicon: Lexicon | None
    device: str
    frame_s: float  # seconds per output frame of the model
    searcher: Searcher
    rescorer: Rescorer | None
    hmm: Hmm | None

    def __init__(
        self,
        model: AcousticModel | OnnxModel,
        cfg: Config,
        tokens: Tokens,
        space: SearchSpace | None = None,
        device: str = "cpu",
        lexicon: Lexicon | None = None,
        searcher: Searcher | None = None,
        rescorer: Rescorer | None = None,
        hmm: Hmm | None = None,
    ):
        """Move `model` to `device` and set it to evaluation.

        `space` holds the graph; without it, or with `cfg.decoder.kind="greedy"`, the search is greedy. `lexicon` spells
        the words of word lists and grammars; without it the lexicon of `space` does. `searcher` replaces the one that
        `cfg.decoder` describes. `rescorer`: a language model that is open: `cfg.decoder.rescore`, or for requests.
        `hmm`: of a net that scores states, for word lists, grammars and the times of words.
        Raises InputError for an invalid option of the decoder, and for a CUDA device that does not exist.
        """
        device = str(device)
        if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
            raise InputError(f"device={device} is unknown; choose cpu or cuda")
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise InputError(f"device={device}, but this machine or this torch has no CUDA; set device=cpu")
        check_group("decoder", cfg.decoder)
        if cfg.decoder.pad_s and cfg.features.kind == "stored":
            raise InputError("decoder.pad_s adds sound, and this model takes stored features; leave it 0")
        cfg = frozen(cfg)
        space = RequestSpaces(cfg, tokens, space, lexicon, hmm).with_spoken()
        rescorer = rescorer_of(cfg.decoder, rescorer, device)
        vars(self).update(
            model=model.to(device).eval(),
            cfg=cfg,
            tokens=tokens,
            space=space,
            lexicon=lexicon,
            device=device,
            frame_s=model.frame_s,
            searcher=searcher or searcher_of(cfg, tokens, space, rescorer, hmm),
            rescorer=rescorer,
            hmm=hmm,
        )

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise dataclasses.FrozenInstanceError(
            f"Recognizer cannot be changed: '{name}' is read-only; prepare another one, or pass options to transcribe"
        )

    def __delattr__(self, name: str) -> NoReturn:
        raise dataclasses.FrozenInstanceError(f"Recognizer cannot be changed: '{name}' is read-only")

    def with_decoder(self, decoder: DecoderConfig) -> "Recognizer":
        """The same model and graph with other options of the decoder."""
        if not isinstance(decoder, DecoderConfig):
            raise InputError(f"with_decoder takes an asr.config.DecoderConfig, not {type(decoder).__name__}")
        return self._with(self.space, decoder)

    def with_new_words(self, new_words: Iterable[NewWord | str]) -> "Recognizer":
        """A recogniser that also knows `new_words` (asr.search.new_words); the model and graph are shared.

        They replace new words and slots given before. Words without a pronunciation get one in the model's units.
        Raises InputError for invalid words, for slots that the model lacks, and if the graph is not dynamic.
        """
        return self._with(self._spaces().with_words(new_words), self.cfg.decoder)

    def with_slots(
        self,
        slots: Mapping[str, Filler] | str | Path,
        most_states: int = MOST_STATES,
        new_words: Iterable[NewWord | str] = (),
    ) -> "Recognizer":
        """A recogniser whose language model has its slots filled (asr.graph.slots): {"<name>": ["john", "mary ann"]},
        or a JSGF grammar whose public rules are the slots. The model and the graph are shared. Slots and new words that
        this recogniser was given before are replaced, so give all of a request together.

        `most_states`: as in `with_grammar`, of all slots together. `new_words`: as in `with_new_words`. Raises
        InputError for a slot that the language model does not have, naming words that cannot be spelled in the model's
        units, as `with_grammar` does, and if the graph is not dynamic.
        """
        return self._with(self._spaces().with_words(new_words, slots, most_states), self.cfg.decoder)

    def with_list(
        self, entries: Iterable[str] | Mapping[str, float], new_words: Iterable[NewWord | str] = ()
    ) -> "Recognizer":
        """A recogniser of utterances that are exactly one of `entries`, words or phrases; a mapping gives weights.
        `new_words` give pronunciations of their words, in the place of known ones. An utterance that sounds like no
        entry gets a low confidence; see `decoder.reject_below`. Raises InputError naming words that cannot be spelled.
        """
        return self._with(self._spaces().of_list(entries, new_words), self.cfg.decoder)

    def with_grammar(
        self, grammar: str | Path, most_states: int = MOST_STATES, new_words: Iterable[NewWord | str] = ()
    ) -> "Recognizer":
        """A recogniser of the sentences of a phrase grammar: a JSGF file, or its text, which begins with `#JSGF`.
        `most_states`: of the grammar once its rules are expanded. It bounds the time and memory that this takes.
        `new_words`: as in `with_list`. Raises InputError naming file, line and column, and as `with_list` does.
        """
        return self._with(self._spaces().of_grammar(grammar, most_states, new_words), self.cfg.decoder)

    def _with(self, space: SearchSpace | None, decoder: DecoderConfig) -> "Recognizer":
        cfg = dataclasses.replace(self.cfg, decoder=decoder)
        return Recognizer(
            self.model, cfg, self.tokens, space, self.device, self.lexicon, rescorer=self.rescorer, hmm=self.hmm
        )

    def _spaces(self) -> RequestSpaces:
        return RequestSpaces(self.cfg, self.tokens, self.space, self.lexicon, self.hmm)

    def _with_options(self, options: DecodingOptions) -> "Recognizer":
        """The recogniser that `options` ask for, without their phrases."""
        space = self._spaces().of(options)
        decoder = self.cfg.decoder
        if space is None or decoder.kind == "greedy":
            options.check_greedy()
        return self._with(space, options.decoder(decoder, self.rescorer))

    def compile_phrases(self, phrases: Mapping[str, float] | None) -> Phrases | None:
        """Phrases and their boosts in the form that the search takes; None if there are none.

        Raises InputError if no phrase consists of words of the graph, or of tokens if the search is greedy, naming
        words; and for negative boosts where a word may go on.
        """
        return phrases_for(self.searcher, phrases) if phrases else None

    @overload
    def transcribe(  # type: ignore[overload-overlap]
        self,
        x: Input,
        sample_rate_hz: float | None = None,
        options: DecodingOptions | None = None,
        *,
        errors: Literal["raise"] = "raise",
        channel: int | None = None,
    ) -> Hypothesis: ...
    @overload
    def transcribe(
        self,
        x: Sequence[Input],
        sample_rate_hz: float | None = None,
        options: DecodingOptions | None = None,
        *,
        errors: Literal["raise"] = "raise",
        channel: int | None = None,
    ) -> list[Hypothesis]: ...
    @overload
    def transcribe(  # type: ignore[overload-overlap]
        self,
        x: Input,
        sample_rate_hz: float | None = None,
        options: DecodingOptions | None = None,
        *,
        errors: Literal["return"],
        channel: int | None = None,
    ) -> Hypothesis | InputError: ...
    @overload
    def transcribe(
        self,
        x: Sequence[Input],
        sample_rate_hz: float | None = None,
        options: DecodingOptions | None = None,
        *,
        errors: Literal["return"],
        channel: int | None = None,
    ) -> list[Hypothesis | InputError]: ...

    def transcribe(
        self,
        x: Input | Sequence[Input],
        sample_rate_hz: float | None = None,
        options: DecodingOptions | None = None,
        *,
        errors: Literal["raise", "return"] = "raise",
        channel: int | None = None,
    ) -> Any:
        """Recognise one recording -> Hypothesis, or a list of recordings in batches -> list of Hypothesis.

        A recording is one of

        - a path, the bytes of an audio file, or an open binary file, which is read from its current position;
        - samples at `sample_rate_hz`: an array or tensor (T,) or (C, T), as torchaudio.load returns it, float in
          [-1, 1], int16, int32 or uint8;
        - for a model of stored features, a feature file or features (F, D).

        `channel` replaces that of `load` for this call. `options` apply to this call alone.
        `errors` says how a bad recording is treated: "raise" stops at the first one found and raises its InputError,
        "return" puts the InputError in its place and recognises the others. In a list the message names the recording's
        number, from 0. Long recordings are cut at pauses (asr.recognizer.long).
        Raises InputError for a wrong argument in either case.
        """
        if errors not in ("raise", "return"):
            raise InputError(f"errors={errors!r} must be 'raise' or 'return'")
        if not isinstance(options, DecodingOptions | None):
            raise InputError(f"options must be asr.DecodingOptions(...), not {type(options).__name__}")
        check_rate(sample_rate_hz)
        check_channel(channel)
        recognizer = self._with_options(options) if options else self
        phrases = recognizer.compile_phrases(options.phrases) if options else None
        writing = recognizer.writing(options)
        is_one = isinstance(x, str | bytes | bytearray | memoryview) or not isinstance(x, Sequence)
        many: Sequence[Any] | None = None if is_one else cast(Sequence[Any], x)
        recordings: Sequence[Any] = [x] if many is None else many
        found: dict[int, Hypothesis | InputError] = {}
        for number, result in transcribe_each(recognizer, recordings, sample_rate_hz, phrases, channel=channel):
            if isinstance(result, InputError):
                result = InputError(f"recording {number} of the list: {result}") if many is not None else result
                if errors == "raise":
                    raise result
            elif writing:
                result = writing(result)
            found[number] = result
        results = [found[number] for number in range(len(found))]
        return results[0] if many is None else results

    def stream(self, options: DecodingOptions | None = None, endpoint: EndpointOptions | None = None) -> Stream:
        """Recognise sound while it arrives (asr.recognizer.stream). `options`: as in `transcribe`.

        `endpoint` says when an utterance has ended. Raises InputError for a model of stored features.
        """
        if not isinstance(options, DecodingOptions | None):
            raise InputError(f"options must be asr.DecodingOptions(...), not {type(options).__name__}")
        recognizer = self._with_options(options) if options else self
        phrases = recognizer.compile_phrases(options.phrases) if options else None
        return Stream(recognizer, phrases, endpoint, recognizer.writing(options))

    def writing(self, options: DecodingOptions | None) -> Writing | None:
        """How `options` want results written; None: as they are spoken."""
        if options is None:
            return None
        return writing_of(self, options.written, options.punctuate, options.language)

    def search(
        self,
        id: str,
        log_probs: np.ndarray,
        duration_s: float,
        phrases: Phrases | None = None,
        samples: np.ndarray | None = None,
    ) -> Hypothesis:
        """Words of the log-probs (F', V) of one utterance. `samples` (T,) at the model's rate: its sound, which some
        second passes need."""
        options, searcher = self.cfg.decoder, self.searcher
        if samples is not None and isinstance(searcher, GraphSearcher):
            searcher = searcher.heard(samples)
        found = decode_log_probs(
            log_probs, searcher, self.frame_s, id, duration_s, phrases, options.reject_below, options.remove,
            options.remove_restarts,
        )  # fmt: skip
        return edges.unpad(found, options.pad_s)

    def score_utterances(
        self, utterances: Sequence[Utterance], bar: tqdm
    ) -> Iterator[list[tuple[str, np.ndarray, float]]]:
        """Batches of (id, log-probs (F', V), seconds), the shortest first; unreadable utterances are named on `bar`."""

        def read(utterance: Utterance) -> np.ndarray | None:
            try:
                return load_input(self.cfg, utterance)
            except InputError as e:
                bar.write(f"set aside utterance '{utterance.id}': {e}")
                return None

        ordered = sorted(utterances, key=lambda u: u.duration_s or float("inf"))
        for batch in self.score_batches(ordered, read):
            yield [(utterance.id, log_probs, duration_s) for utterance, log_probs, duration_s in batch]

    def score_batches(
        self, items: Iterable[T], read: Callable[[T], np.ndarray | None]
    ) -> Iterator[list[tuple[T, np.ndarray, float]]]:
        """Read each item and score batches of `BATCH_S` seconds -> (item, log-probs (F', V), seconds).

        Items for which `read` returns None are left out.
        """
        readable = ((item, x) for item in items if (x := read(item)) is not None)
        for batch in fill(readable, lambda pair: self.duration_s(pair[1]), BATCH_S):
            arrays = self.log_probs([x for _, x in batch])
            yield [(item, lp, self.duration_s(x)) for (item, x), lp in zip(batch, arrays, strict=True)]

    def log_probs(self, batch: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Samples (T,) at the model's rate, or features (F, D), float32 -> natural log-probs (F', V) of each.

        F' counts the frames of `decoder.pad_s` on both sides. A recording shorter than one window gives (0, V).
        """
        if isinstance(batch, np.ndarray | torch.Tensor) and batch.ndim == 1:
            raise InputError("log_probs takes a list of recordings; put the array into one: log_probs([samples])")
        pad_s, rate_hz = self.cfg.decoder.pad_s, self.cfg.features.sample_rate_hz
        batch = [edges.pad(np.ascontiguousarray(x, dtype=np.float32), pad_s, rate_hz) for x in batch]
        lengths = torch.tensor([len(x) for x in batch])
        enough = self.model.can_score(lengths)  # (N,)
        heard = [torch.from_numpy(x) for x, e in zip(batch, enough, strict=True) if e]
        scored = iter(self.model.score(heard) if heard else [])
        none = np.zeros((0, len(self.tokens)), dtype=np.float32)
        return [next(scored).numpy() if e else none for e in enough]

    @property
    def needs_list(self) -> bool:
        """Whether there is nothing to search: HMMs without a graph, before a word list or grammar."""
        return isinstance(self.searcher, NoSearcher)

    @property
    def can_cut(self) -> bool:
        """Whether long recordings can be recognised piece by piece: not stored features, no word list or grammar."""
        is_closed = isinstance(self.searcher, GraphSearcher) and self.searcher.space.is_closed
        return self.cfg.features.kind != "stored" and not is_closed

    def duration_s(self, x: np.ndarray) -> float:
        """Seconds of samples (T,) or stored features (F, D)."""
        features = self.cfg.features
        return len(x) * (features.shift_ms / 1000 if features.kind == "stored" else 1 / features.sample_rate_hz)

    def read(self, x: Source, sample_rate_hz: float | None, channel: int | None = None) -> np.ndarray:
        """Samples (T,) at the model's rate, or features (F, D). `channel`: as in `transcribe`."""
        limit_s, rate_hz = self.cfg.data.max_audio_s, self.cfg.features.sample_rate_hz
        if self.cfg.features.kind == "stored":
            features = features_of(x, self.cfg.features.num_bins)
            check_length(self.duration_s(features), limit_s)
            return features
        if not isinstance(x, np.ndarray):
            return audio.load(x, sample_rate_hz=rate_hz, max_s=limit_s, channel=channel)
        if sample_rate_hz is None:
            raise InputError(f"give sample_rate_hz= with an array of samples; the model itself takes {rate_hz} Hz")
        check_length((x.shape[-1] if x.ndim else 0) / sample_rate_hz, limit_s)
        return samples_of(x, sample_rate_hz, rate_hz, channel)
