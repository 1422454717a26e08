"""Pronunciations and their probabilities re-estimated from what an acoustic model says on transcribed speech.

1. Each transcript is aligned with its log-probs (Viterbi; all pronunciations of the lexicon compete). The frames of a
   word reach to the middle of the gaps around it.
2. The candidates of a word are its pronunciations in the lexicon, and what greedy decoding of its frames gives at
   least `LEAST_COUNT` times. None contains the token of silence, which counts as blank.
3. Each candidate gets the CTC forward probability of each occurrence. Expectation maximisation then estimates the
   probabilities of the candidates, with the lexicon's as a Dirichlet prior of `PRIOR` observations: rare words keep
   what the lexicon says.
4. Candidates below `LEAST_RATIO` of the most probable one are removed, new ones also if they explain fewer than
   `LEAST_COUNT` occurrences; `MOST` stay.

This is the pronunciation mixture model of McGraw, Badr & Glass, "Learning lexicons from speech using a pronunciation
mixture model", IEEE TASLP 21(2), 2013, with candidates from phone decoding as in Zhang, Manohar, Povey & Khudanpur,
Interspeech 2017. A CTC model gives the probabilities of step 3 at once, so no lattices are needed.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm import tqdm

from asr.config import DecoderConfig
from asr.criteria import ctc_loss
from asr.errors import InputError
from asr.evaluation.transcribed import transcribed
from asr.files import atomic_write
from asr.graph.lists import closed_graph, list_grammar, words_of
from asr.manifest import Utterance
from asr.search.searchers import likeness, make_decoder
from asr.search.word_times import Segment, match_words, segments
from asr.text.lexicon import Lexicon, Pair, name_some
from asr.tokens import BLANK_ID, SPACE, Tokens

if TYPE_CHECKING:
    from asr.recognizer.recognizer import Recognizer

LEAST_COUNT = 2  # occurrences that a new pronunciation needs
PRIOR = 2.0  # occurrences that the lexicon's probabilities count as
LEAST_RATIO = 0.05  # to the word's most probable pronunciation
MOST = 4  # pronunciations per word
LEAST_LIKENESS = 0.02  # of an utterance to its transcript; below, the transcript is taken for wrong
STEPS = 50  # of expectation maximisation
IMPOSSIBLE = -1e6  # log-probability
HEADER = ("word", "count", "before", "after")
_SEARCH = DecoderConfig(beam=float("inf"), lattice_beam=None)

Units = tuple[str, ...]
Shares = dict[Units, float]  # pronunciation -> probability


@dataclass(frozen=True)
class Change:
    """A word whose pronunciations or probabilities changed."""

    word: str
    count: int
    before: Shares
    after: Shares


@dataclass(frozen=True)
class LexiconFit:
    lexicon: Lexicon
    changes: list[Change]  # the most frequent words first
    words: int  # different words heard
    utterances: int
    set_aside: list[str]  # "utterance 'a1': why"

    def table(self, most: int = 20) -> str:
        """The most frequent changed words and a summary, for people."""
        new = sum(len(change.after.keys() - change.before.keys()) for change in self.changes)
        rows = [HEADER, *map(_row, self.changes[:most])]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = ["  ".join([*(f"{c:{w}}" for c, w in zip(row, widths, strict=False)), row[3]]) for row in rows]
        if len(self.changes) > most:
            lines.append(f"and {len(self.changes) - most} more")
        lines.append(f"{self.utterances} utterances, {len(self.set_aside)} set aside; {self.words} words heard, "
                     f"{len(self.changes)} changed, {new} new pronunciations")  # fmt: skip
        return "\n".join(lines) + "\n"

    def write_changes(self, path: str | Path) -> None:
        """All changes as tab-separated lines: word, count, pronunciations before and after."""
        with atomic_write(path) as file:
            file.writelines("\t".join(row) + "\n" for row in [HEADER, *map(_row, self.changes)])


@dataclass(frozen=True)
class _Occurrence:
    log_probs: np.ndarray  # (F, V); the gaps between words count as blank
    greedy: tuple[int, ...]


def fit(recognizer: "Recognizer", lexicon: Lexicon, utterances: Sequence[Utterance]) -> LexiconFit:
    """The lexicon fitted to `utterances`. Words that are not heard keep their pronunciations and probabilities.

    The log-probs of all utterances are kept: F' x V x 4 bytes each. Utterances that cannot be read, with words that the
    lexicon lacks, or that do not match their transcript are named and set aside. Raises InputError if none is left.
    """
    utterances = transcribed(utterances)
    aligner = _Aligner(recognizer, lexicon)
    heard: dict[str, list[_Occurrence]] = defaultdict(list)
    set_aside: list[str] = []
    texts = {u.id: u.transcript.split() for u in utterances}
    with tqdm(total=len(utterances), unit="utt", desc="align") as bar:
        scored = 0
        for batch in recognizer.score_utterances(utterances, bar):
            for id, log_probs, _ in batch:
                scored += 1
                try:
                    for word, occurrence in aligner.align(texts[id], log_probs):
                        heard[word].append(occurrence)
                except InputError as e:
                    set_aside.append(f"utterance '{id}': {e}")
                    bar.write(f"set aside {set_aside[-1]}")
            bar.update(len(batch))
    if not heard:
        raise InputError(f"none of the {len(utterances)} utterances could be aligned; see the reasons above")
    fitted = {word: _fit_word(word, found, lexicon, recognizer.tokens) for word, found in heard.items()}
    changes = _changes(lexicon, fitted, {word: len(found) for word, found in heard.items()})
    return LexiconFit(_merge(lexicon, fitted), changes, len(heard), scored - len(set_aside), set_aside)


class _Aligner:
    """Cuts utterances into the words of their transcripts."""

    def __init__(self, recognizer: "Recognizer", lexicon: Lexicon):
        """Raises InputError if no pronunciation of the lexicon is in the model's units."""
        tokens = recognizer.tokens
        if not any(unit in tokens for unit in lexicon.units()):
            raise InputError(f"the lexicon's units ({name_some(lexicon.units())}) are not those of the model "
                             f"({name_some(tokens.symbols[1:])}); map them first")  # fmt: skip
        usable = {w: [v for v in variants if all(unit in tokens for unit in v)]
                  for w, variants in lexicon.pronunciations.items()}  # fmt: skip
        self.lexicon = Lexicon({w: variants for w, variants in usable.items() if variants}, lexicon.probabilities)
        self.tokens, self.silence = tokens, recognizer.cfg.graph.silence
        if self.silence and self.silence not in tokens:
            raise InputError(f"graph.silence={self.silence} is not a token of the model; it has "
                             f"{name_some(tokens.symbols[1:])}")  # fmt: skip
        self.gaps = tokens.encode(name for name in (SPACE, self.silence) if name and name in tokens)

    def align(self, words: Sequence[str], log_probs: np.ndarray) -> list[tuple[str, _Occurrence]]:
        """Raises InputError if a word has no pronunciation, or if the words do not match the log-probs (F, V)."""
        if not words:
            return []
        if unknown := [word for word in words if word not in self.lexicon]:
            raise InputError(f"words without a pronunciation in the model's units: {name_some(unknown)}")
        text, known = " ".join(words), words_of([" ".join(words)])
        numbered = {word: label for label, word in enumerate(known, 1)}
        graph = closed_graph(list_grammar({text: 1.0}, numbered), known, self.lexicon, self.tokens, self.silence)
        path = make_decoder(graph, _SEARCH).decode(log_probs)
        if not path.complete:
            raise InputError("it is too short for its transcript")
        if (found := likeness(log_probs, path.alignment)) < LEAST_LIKENESS:
            raise InputError(f"it does not match its transcript (likeness {found:.3f}, at least {LEAST_LIKENESS})")
        parts = segments(path.alignment, log_probs)
        spellings = [[tuple(self.tokens.encode(v)) for v in self.lexicon.pronunciations[word]] for word in words]
        groups = match_words([s.token for s in parts], spellings, set(self.gaps))
        between = [parts[a[-1] : b[0] + 1] for a, b in zip(groups, groups[1:], strict=False)]
        cuts = [0, *map(_middle, between), len(log_probs)]
        merged = self._without_gaps(log_probs)
        pieces = [merged[start:end] for start, end in zip(cuts, cuts[1:], strict=False)]
        return [(word, _Occurrence(piece, _greedy(piece))) for word, piece in zip(words, pieces, strict=True)]

    def _without_gaps(self, log_probs: np.ndarray) -> np.ndarray:
        """The gaps between words as blank, so that it does not matter how much of them a word gets."""
        merged = log_probs.copy()
        merged[:, BLANK_ID] = np.logaddexp.reduce(log_probs[:, [BLANK_ID, *self.gaps]], axis=1)
        merged[:, self.gaps] = -np.inf
        return merged


def _middle(parts: Sequence[Segment]) -> int:
    """The frame between two words, given the last segment of the first, those of the gap, and the first of the second:
    the middle of the gap's segments, or of the blanks if there are none."""
    if len(parts) > 2:
        return (parts[1].start + parts[-2].end) // 2
    return (parts[0].end + parts[1].start) // 2


def _greedy(log_probs: np.ndarray) -> tuple[int, ...]:
    best = log_probs.argmax(1)
    changed = np.flatnonzero(np.diff(best, prepend=-1))
    return tuple(int(token) for token in best[changed] if token != BLANK_ID)


def _fit_word(word: str, heard: Sequence[_Occurrence], lexicon: Lexicon, tokens: Tokens) -> Shares:
    prior = _shares(lexicon, word)
    counts = Counter(tuple(tokens.decode(occurrence.greedy)) for occurrence in heard)
    new = [units for units, count in counts.most_common() if units and count >= LEAST_COUNT and units not in prior]
    usable = [units for units in (*prior, *new) if all(unit in tokens for unit in units)]
    log_likelihoods = _log_likelihoods([tokens.encode(units) for units in usable], heard)  # (N, C)
    weights = np.array([prior.get(units, 0.0) for units in usable])
    kept = np.ones(len(usable), bool)
    while True:
        shares, explained = _maximise(log_likelihoods[:, kept], weights[kept])
        wrong = (shares < LEAST_RATIO * shares.max()) | ((weights[kept] == 0) & (explained.round() < LEAST_COUNT))
        wrong[np.argsort(-shares, kind="stable")[MOST:]] = True
        if not wrong.any():
            return dict(zip((u for u, k in zip(usable, kept, strict=True) if k), shares.tolist(), strict=True))
        kept[np.flatnonzero(kept)[wrong]] = False


def _maximise(log_likelihoods: np.ndarray, prior: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most probable shares of the candidates (C,) and the occurrences that each explains, by expectation
    maximisation of a mixture with a Dirichlet prior."""
    prior = prior / prior.sum() if prior.sum() else np.full(len(prior), 1 / len(prior))
    shares = (prior + 1 / len(prior)) / 2
    for _ in range(STEPS):
        with np.errstate(divide="ignore"):
            joint = log_likelihoods + np.log(shares)
        posteriors = np.exp(joint - np.logaddexp.reduce(joint, axis=1, keepdims=True))  # (N, C)
        explained = posteriors.sum(0)
        shares = (explained + PRIOR * prior) / (len(posteriors) + PRIOR)
    return shares, explained


def _log_likelihoods(candidates: Sequence[Sequence[int]], heard: Sequence[_Occurrence]) -> np.ndarray:
    """The CTC forward log-probability of each candidate in the frames of each occurrence, (N, C)."""
    lengths = torch.tensor([len(o.log_probs) for o in heard])
    x = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(o.log_probs) for o in heard])  # (F, N, V)
    columns = []
    for units in candidates:
        targets = torch.tensor(units).expand(len(heard), -1)
        losses = ctc_loss(x, targets, lengths, torch.full((len(heard),), len(units)), reduction="none")
        columns.append(-losses.double().numpy())
    return np.maximum(np.stack(columns, axis=1), IMPOSSIBLE)  # a candidate may need more frames than there are


def _shares(lexicon: Lexicon, word: str) -> Shares:
    """The probabilities of a word's pronunciations, which sum to 1."""
    given = {units: lexicon.probabilities.get((word, units), 1.0) for units in lexicon.pronunciations[word]}
    total = sum(given.values())
    return {units: probability / total for units, probability in given.items()}


def _merge(lexicon: Lexicon, fitted: Mapping[str, Shares]) -> Lexicon:
    pronunciations = {word: list(fitted[word]) if word in fitted else variants
                      for word, variants in lexicon.pronunciations.items()}  # fmt: skip
    probabilities: dict[Pair, float] = {p: q for p, q in lexicon.probabilities.items() if p[0] not in fitted}
    probabilities |= {(word, units): share for word, shares in fitted.items() for units, share in shares.items()}
    return Lexicon(pronunciations, probabilities)


def _changes(lexicon: Lexicon, fitted: Mapping[str, Shares], counts: Mapping[str, int]) -> list[Change]:
    changes = [Change(word, counts[word], _shares(lexicon, word), shares) for word, shares in fitted.items()]
    changed = [c for c in changes if c.before.keys() != c.after.keys() or
               any(abs(c.before[units] - c.after[units]) > 0.005 for units in c.before)]  # fmt: skip
    return sorted(changed, key=lambda c: (-c.count, c.word))


def _row(change: Change) -> tuple[str, str, str, str]:
    return change.word, str(change.count), _shown(change.before), _shown(change.after)


def _shown(shares: Shares) -> str:
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    return ", ".join(f"{' '.join(units)} {share:.2f}" for units, share in ordered)
