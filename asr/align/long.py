"""Long recordings and their imperfect texts -> utterances.

1. The recording is scored piece by piece (asr.align.heard).
2. What the net hears is matched with the text by anchors (asr.align.anchors). At word boundaries inside anchors, the
   recording and its text are cut into sections of about `SECTION_S`.
3. Each section is aligned by itself (`Aligner.passage`). Words may be skipped, at a cost for each token, and so may
   sound, at a cost for each frame.
4. The words that were found are cut into utterances at pauses, and wherever words or sound were skipped
   (asr.align.cutting).

Memory holds a section, the words, and the tokens that are heard; log-probs are in a temporary file.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from asr.align.aligner import Aligner
from asr.align.alignment import AlignedWord
from asr.align.anchors import anchors
from asr.align.heard import Heard
from asr.align.network import Slot
from asr.align.times import Span

SECTION_S = 30.0
TELLING = 200  # tokens, of which some must be in anchors if text and recording belong together


@dataclass(frozen=True)
class Places:
    """What of a text was found in a recording: words with their numbers in the text, in order, and the times of speech
    that the text lacks.

    `agreed` is the part of the text, or of what is heard if that is less, that is in anchors; None if one is too short
    for the absence of anchors to mean anything. `heard` is the part that is in words of `Aligner.heard_score` or more.
    """

    words: list[tuple[int, AlignedWord]]
    extra: list[Span]
    agreed: float | None
    heard: float


@dataclass(frozen=True)
class Section:
    """Frames [start, end) of the recording, which are said to hold the words [first, last) of the text."""

    start: int
    end: int
    first: int
    last: int


def place(aligner: Aligner, heard: Heard, words: Sequence[str]) -> Places:
    """The words of the text that are heard in the recording.

    A section that is too large for the memory, as one without an anchor in many minutes, holds no words.
    """
    aligner.pronouncing.learn(words)
    found, agreed, shorter = sections(aligner, heard, words)
    placed: list[tuple[int, AlignedWord]] = []
    extra: list[Span] = []
    for section in found:
        slots = [Slot(word, aligner.pronouncing.spellings(word)) for word in words[section.first : section.last]]
        clock, log_probs = heard.clock.from_frame(section.start), heard.log_probs[section.start : section.end]
        passage = aligner.passage(slots, log_probs, clock, heard.duration_s, heard.changes)
        if passage is None:
            extra.append((clock.time_s(0, heard.duration_s), clock.time_s(len(log_probs), heard.duration_s)))
            continue
        placed.extend((section.first + word.slot, aligner.word(slots, word)) for word in passage[0])
        extra.extend(passage[1])
    good = [word.word for _, word in placed if word.score >= aligner.heard_score]
    tokens = sum(len(aligner.pronouncing.spellings(word)[0].tokens) for word in good)
    return Places(placed, extra, agreed, tokens / shorter if shorter else 0.0)


def sections(aligner: Aligner, heard: Heard, words: Sequence[str]) -> tuple[list[Section], float | None, int]:
    """Sections that cover the recording and the text, cut at anchors; `Places.agreed`; and the number of tokens of the
    text, or of what is heard if that is less."""
    tokens: list[int] = []
    firsts = []  # place of the first token of each word
    for word in words:
        firsts.append(len(tokens))
        tokens += aligner.pronouncing.spellings(word)[0].tokens
    word_at = {place: number for number, place in enumerate(firsts)}
    cuts = [(0, 0)]  # frame, word
    found, shorter = anchors(heard.tokens.ids.tolist(), tokens), min(len(heard.tokens.ids), len(tokens))
    for heard_at, text_at, length in found:
        for step in range(1, length):
            if (number := word_at.get(text_at + step)) is not None:
                frame = int(heard.tokens.ends[heard_at + step - 1] + heard.tokens.starts[heard_at + step]) // 2
                if frame > cuts[-1][0] and number > cuts[-1][1]:
                    cuts.append((frame, number))
    joined = list(_joined(cuts, (len(heard.log_probs), len(words)), round(SECTION_S / heard.clock.frame_s)))
    inside = {place for anchor in found for place in range(anchor.text, anchor.text + anchor.length)}
    return joined, len(inside) / shorter if shorter >= TELLING else None, shorter


def _joined(cuts: Sequence[tuple[int, int]], end: tuple[int, int], longest: int) -> Iterator[Section]:
    """The cuts that make sections of at most `longest` frames where they can."""
    start = cuts[0]
    for cut, following in pairwise([*cuts, end]):
        if cut != start and following[0] - start[0] > longest:
            yield Section(start[0], cut[0], start[1], cut[1])
            start = cut
    yield Section(start[0], end[0], start[1], end[1])
