"""A decoder with the interface of pyctcdecode's, for Hugging Face's Wav2Vec2ProcessorWithLM and for direct use.

    decoder = build_ctcdecoder(labels, "lm.arpa", alpha=0.5, beta=1.5)
    text = decoder.decode(logits)  # (F, labels): logits, log-probs or probabilities

    replace_pyctcdecode()  # `import pyctcdecode` now gives this module
    processor = Wav2Vec2ProcessorWithLM(feature_extractor, tokenizer, decoder)

The score of a text t for an utterance x, in nats, is that of pyctcdecode:

    score(t) = logit_score(t) + sum over the words w of t ( word_score(w) ) + alpha ln(10) log10 p(</s> | history)
    word_score(w) = alpha ln(10) (log10 p(w | history) + unk_score_offset [w is unknown])
                    + beta + hotword_weight [w is a hot word]
    logit_score(t) = log of the sum, over all alignments of t, of their probabilities

p is the n-gram in the ARPA file. The last term is absent, and the history begins without <s>, if `lm_score_boundary` is
False. Without a language model only logit_score and hot words count. The search (asr.search) finds the texts whose best
alignments score highest; these are then ranked by score(t).
"""

import codecs
import importlib.machinery
import logging
import os
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import inf
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asr.errors import InputError
from asr.integrations import alphabet as alphabets
from asr.integrations import decoder_folder
from asr.integrations.alphabet import Alphabet
from asr.integrations.ctc_sums import log_sums
from asr.integrations.decoder_folder import LanguageModel
from asr.integrations.open_language import HotWords, OpenLanguage, Vocabulary, Weights, known_words
from asr.integrations.text_scores import TextScorer
from asr.integrations.text_search import Candidate, Limits, find_texts
from asr.lm import arpa
from asr.lm.model import NgramModel, Ngrams
from asr.search.phrases import MOST_BOOST
from asr.words import BEGIN, END, UNKNOWN

DECODE_TEXTS = 20
MOST_BEAM = 1e4  # nats
_log = logging.getLogger(__name__)
_Frames = list[tuple[str, tuple[int, int]]]  # the words, with their first frames and the ones after their last
Beam = tuple[str, None, _Frames, float, float]
BatchBeam = tuple[str, _Frames, float, float]
_CONSTANTS = {
    "DEFAULT_ALPHA": 0.5,
    "DEFAULT_BETA": 1.5,
    "DEFAULT_UNK_LOGP_OFFSET": -10.0,
    "DEFAULT_BEAM_WIDTH": 100,
    "DEFAULT_HOTWORD_WEIGHT": 10.0,
    "DEFAULT_PRUNE_LOGP": -10.0,
    "DEFAULT_PRUNE_BEAMS": False,
    "DEFAULT_MIN_TOKEN_LOGP": -5.0,
    "DEFAULT_SCORE_LM_BOUNDARY": True,
}
# Without a language model, every word is an unknown word that costs nothing.
_EMPTY = np.zeros(3, np.float32)
_NO_MODEL = NgramModel([UNKNOWN, BEGIN, END], [Ngrams(np.arange(3, dtype=np.int32)[:, None], _EMPTY, _EMPTY)])
_NO_WEIGHTS = Weights(0.0, 0.0, 0.0, False)


class BeamSearchDecoderCTC:
    """Decodes the logits of a CTC model. Threads may share one while none of them calls `reset_params`."""

    def __init__(self, labels: Sequence[str], language_model: LanguageModel | None = None):
        """Use `build_ctcdecoder` or `load_from_dir`."""
        self._alphabet = Alphabet(labels)
        self._source = language_model
        self._model = arpa.read(language_model.arpa) if language_model else _NO_MODEL
        self._vocabulary = Vocabulary.of(self._alphabet, self._model)
        self._known: frozenset[str] = frozenset()
        if language_model:
            self._known = known_words(self._vocabulary, self._model, language_model.unigrams)
        self._set(language_model.weights if language_model else _NO_WEIGHTS)

    def _set(self, weights: Weights) -> None:
        self._scorer = TextScorer(self._model, self._known, weights)
        self._language = OpenLanguage(self._vocabulary, self._model, self._known, weights)

    def __reduce__(self) -> tuple[Any, ...]:
        return BeamSearchDecoderCTC, (self._alphabet.labels, self._saved())

    def __deepcopy__(self, memo: object) -> "BeamSearchDecoderCTC":
        other = object.__new__(BeamSearchDecoderCTC)
        vars(other).update(vars(self))  # all immutable
        return other

    def _saved(self) -> LanguageModel | None:
        return replace(self._source, weights=self._scorer.weights) if self._source else None

    @classmethod
    def load_from_dir(cls, filepath: str | Path, unigram_encoding: str = "utf-8") -> "BeamSearchDecoderCTC":
        """The decoder that pyctcdecode or `save_to_dir` saved; its texts are UTF-8. A KenLM binary in it is refused."""
        if codecs.lookup(unigram_encoding or "utf-8").name != "utf-8":
            raise InputError(f"unigram_encoding is {unigram_encoding!r}; only utf-8 is read")
        return cls(*decoder_folder.read(filepath))

    def save_to_dir(self, filepath: str | Path) -> None:
        """Saves labels, weights, unigrams and the ARPA file as pyctcdecode does."""
        decoder_folder.write(filepath, self._alphabet.labels, self._alphabet.is_pieces, self._saved())

    def reset_params(
        self,
        alpha: float | None = None,
        beta: float | None = None,
        unk_score_offset: float | None = None,
        lm_score_boundary: bool | None = None,
    ) -> None:
        """Changes the weights that are not None. Without a language model they have no effect."""
        given = dict(alpha=alpha, beta=beta, unk_score_offset=unk_score_offset, lm_score_boundary=lm_score_boundary)
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        weights = replace(self._scorer.weights, **changes)
        if self._source and weights != self._scorer.weights:
            self._set(weights)

    def decode_beams(
        self,
        logits: ArrayLike,
        beam_width: int = 100,
        beam_prune_logp: float = -10.0,
        token_min_logp: float = -5.0,
        prune_history: bool = False,
        hotwords: Iterable[str] | None = None,
        hotword_weight: float = 10.0,
        lm_start_state: None = None,
    ) -> list[Beam]:
        """The best texts, best first: (text, None, [(word, (first frame, end frame))], logit_score, score).

        logits: (F, labels) logits, log-probs or probabilities.
        beam_width: at most this many texts; the search keeps ten times as many partial paths.
        beam_prune_logp: texts and partial paths this far below the best one are dropped.
        token_min_logp: labels with a lower log-prob are left out at a frame, the most probable one excepted.
        prune_history: no effect; the search always merges equal histories, and keeps the texts of all.
        hotwords: words that score `hotword_weight` more; the words of a phrase count one by one.

        Raises InputError for logits or options out of range.
        """
        limits = _limits(beam_width, beam_width, beam_prune_logp, lm_start_state)
        return self._rank(logits, limits, token_min_logp, _hot_words(hotwords, hotword_weight))

    def decode(
        self,
        logits: ArrayLike,
        beam_width: int = 100,
        beam_prune_logp: float = -10.0,
        token_min_logp: float = -5.0,
        hotwords: Iterable[str] | None = None,
        hotword_weight: float = 10.0,
        lm_start_state: None = None,
    ) -> str:
        """The best of the DECODE_TEXTS texts whose best alignments score highest; options as for `decode_beams`."""
        limits = _limits(min(beam_width, DECODE_TEXTS), beam_width, beam_prune_logp, lm_start_state)
        return self._rank(logits, limits, token_min_logp, _hot_words(hotwords, hotword_weight))[0][0]

    def _rank(self, logits: ArrayLike, limits: Limits, token_min_logp: float, hot: HotWords) -> list[Beam]:
        candidates, log_probs = self._search(logits, limits, token_min_logp, hot)
        sums = log_sums(log_probs, [c.tokens for c in candidates.values()], self._alphabet.space)
        beams: list[Beam] = []
        for (text, candidate), total in zip(candidates.items(), sums.tolist(), strict=True):
            logit_score = max(total, candidate.log_prob)  # a sum may lose to underflow
            score = logit_score + self._scorer.score([word for word, _ in candidate.words], hot)
            beams.append((text, None, candidate.words, logit_score, score))
        beams.sort(key=lambda beam: -beam[-1])
        return [beam for beam in beams if beam[-1] >= beams[0][-1] - limits.beam]

    def _search(
        self, logits: ArrayLike, limits: Limits, token_min_logp: float, hot: HotWords
    ) -> tuple[dict[str, Candidate], NDArray[np.float32]]:
        """The candidates, and the log-probs (F, tokens) in which they were found."""
        lenient = replace(limits, beam=4 * limits.beam, width=10 * limits.width)
        for now, floor in ((limits, token_min_logp), (lenient, -inf), (replace(lenient, beam=MOST_BEAM), -inf)):
            log_probs = self._alphabet.log_probs(logits, floor)
            if found := find_texts(self._alphabet, self._language, log_probs, now, hot):
                return found, log_probs[self._alphabet.lead :]
        raise InputError("the logits allow no text of these labels; do the labels belong to the model?")

    def decode_beams_batch(
        self, pool: object, logits_list: Iterable[ArrayLike], *args: Any, **options: Any
    ) -> list[list[BatchBeam]]:
        """`decode_beams` of each utterance, without the None, on one thread per core. `pool` is not used.

        Raises InputError naming the index of the utterance.
        """
        found = _each(self.decode_beams, logits_list, args, options)
        return [[(beam[0], *beam[2:]) for beam in beams] for beams in found]

    def decode_batch(self, pool: object, logits_list: Iterable[ArrayLike], *args: Any, **options: Any) -> list[str]:
        """`decode` of each utterance, as `decode_beams_batch`."""
        return _each(self.decode, logits_list, args, options)


def build_ctcdecoder(
    labels: Sequence[str],
    kenlm_model_path: str | Path | None = None,
    unigrams: Collection[str] | None = None,
    alpha: float = 0.5,
    beta: float = 1.5,
    unk_score_offset: float = -10.0,
    lm_score_boundary: bool = True,
) -> BeamSearchDecoderCTC:
    """A decoder for the logits of a model whose columns are `labels`.

    `kenlm_model_path` is an ARPA file, packed or not. `unigrams`: the known words; None: all words of the model. The
    other options are weights of the formula at the top of this module. Raises InputError for labels, a model or weights
    that cannot be used.
    """
    weights = Weights(alpha, beta, unk_score_offset, lm_score_boundary)
    if kenlm_model_path is None:
        if unigrams is not None:
            _log.warning("unigrams have no effect without a language model; give kenlm_model_path too")
        return BeamSearchDecoderCTC(labels)
    return BeamSearchDecoderCTC(labels, LanguageModel(Path(kenlm_model_path), unigrams, weights))


def replace_pyctcdecode() -> None:
    """Makes `import pyctcdecode` import this module's decoder, for libraries that ask for pyctcdecode by name.

    Raises InputError if pyctcdecode itself has been imported.
    """
    if "pyctcdecode" in sys.modules:
        if sys.modules["pyctcdecode"].__dict__.get("BeamSearchDecoderCTC") is BeamSearchDecoderCTC:
            return
        raise InputError("pyctcdecode is imported already; call replace_pyctcdecode() before whatever imports it")
    api = {"BeamSearchDecoderCTC": BeamSearchDecoderCTC, "build_ctcdecoder": build_ctcdecoder, "Alphabet": Alphabet}
    forms = {
        "BLANK_TOKEN_PTN": alphabets.IS_BLANK,
        "UNK_TOKEN_PTN": alphabets.IS_UNKNOWN,
        "UNK_TOKEN": alphabets.UNKNOWN_CHARACTER,
    }
    contents: dict[str, dict[str, Any]] = {"": api, ".decoder": api, ".alphabet": forms, ".constants": _CONSTANTS}
    for name, content in contents.items():
        module = ModuleType("pyctcdecode" + name, "Stands in for pyctcdecode; see asr.integrations.transformers.")
        module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None, is_package=not name)
        module.__dict__.update(content)
        sys.modules[module.__name__] = module


def _limits(texts: int, width: int, prune_logp: float, lm_start_state: object) -> Limits:
    if lm_start_state is not None:
        raise InputError("lm_start_state must be None; each call decodes a whole utterance")
    if not (width >= 1 and prune_logp < 0):
        raise InputError(f"beam_width is {width}, beam_prune_logp {prune_logp}; expected at least 1, and below 0")
    return Limits(int(texts), int(width), min(-float(prune_logp), MOST_BEAM))


def _each(
    decode: Callable[..., Any], logits_list: Iterable[ArrayLike], args: Sequence[Any], options: dict[str, Any]
) -> list[Any]:
    def one(number: int, logits: ArrayLike) -> Any:
        try:
            return decode(logits, *args, **options)
        except InputError as e:
            raise InputError(f"utterance {number} of the batch: {e}") from None

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return list(threads.map(lambda numbered: one(*numbered), enumerate(logits_list)))


def _hot_words(hotwords: Iterable[str] | None, weight: float) -> HotWords:
    if isinstance(hotwords, str):
        raise InputError(f"hotwords is the text {hotwords!r}; expected a list of words")
    if not abs(weight) <= MOST_BOOST:
        raise InputError(f"hotword_weight is {weight}; it must be a finite number, at most {MOST_BOOST:g}")
    return HotWords(frozenset(word for phrase in hotwords or () for word in phrase.split()), float(weight))
