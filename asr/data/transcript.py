"""Transcripts for training: their token table, and what training asks of each. Loads no torch."""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from asr.errors import InputError
from asr.pieces import BEGIN, Segmenter
from asr.text.lexicon import Lexicon
from asr.text.piece_table import learn
from asr.text.units import Pronouncer, to_units
from asr.tokens import BLANK, Tokens, min_frames

UNLISTED, OUTSIDE, CROWDED, LONG = "not in the lexicon", "tokens", "too long for CTC", "too long"


@dataclass(frozen=True)
class Demands:
    """What training asks of an utterance. `asr train` and `asr data check` both ask here, so that they agree.

    tokens: None accepts any unit. frame_s: seconds per output frame of the model; None accepts any length.
    """

    unit: str
    tokens: Tokens | None
    lexicon: Lexicon | None = None  # for phones
    frame_s: float | None = None
    max_audio_s: float = math.inf

    def unlisted(self, text: str) -> list[str]:
        """The words without a pronunciation, each once."""
        if self.unit != "phone" or self.lexicon is None:
            return []
        return [word for word in dict.fromkeys(text.split()) if word not in self.lexicon]

    def examine(self, text: str, duration_s: float | None) -> tuple[list[str], dict[str, str]]:
        """The units of the text, and {check: reason} of the demands that the utterance fails.

        `duration_s`: None skips the checks of length. Raises InputError for phones without a lexicon.
        """
        faults = {}
        if duration_s is not None and duration_s > self.max_audio_s:
            faults[LONG] = f"{duration_s:.1f} s is longer than data.max_audio_s={self.max_audio_s:g}; split it"
        if words := self.unlisted(text):
            named = f"the word '{words[0]}' is" if len(words) == 1 else f"the words {', '.join(words)} are"
            return [], faults | {UNLISTED: f"{named} not in the lexicon{self._other_case(words[0])}"}
        units = to_units(text, self.unit, self.lexicon or self._segmenter)
        if self.tokens and (unknown := sorted({unit for unit in units if unit not in self.tokens})):
            faults[OUTSIDE] = f"not in the token table: {' '.join(unknown)}; clean the text or extend the table"
        if duration_s is not None and self.frame_s and (why := check_length(units, duration_s, self.frame_s)):
            faults[CROWDED] = why
        return units, faults

    @cached_property
    def _segmenter(self) -> Segmenter | None:
        return Segmenter(self.tokens) if self.unit == "piece" and self.tokens else None

    def _other_case(self, word: str) -> str:
        assert self.lexicon is not None
        listed = next((form for form in (word.upper(), word.lower(), word.capitalize()) if form in self.lexicon), None)
        if listed:
            return f", which lists '{listed}'; write texts and lexicon in the same case"
        return "; add pronunciations, for instance with `asr g2p apply`"


def table_of_unlisted(words: Counter[str], most: int = 20) -> list[str]:
    """One line per word that the lexicon lacks, with the number of utterances that are set aside for it."""
    if not words:
        return []
    lines = ["", f"not in the lexicon: {len(words)} different words"]
    lines += [f"    {count:7} utterances  {word}" for word, count in words.most_common(most)]
    return [*lines, f"    ... and {len(words) - most} more"] if len(words) > most else lines


def require_lexicon(unit: str, lexicon: Lexicon | None) -> None:
    """Raises InputError for phones without a lexicon."""
    if unit == "phone" and lexicon is None:
        raise InputError("unit 'phone' needs a lexicon; set tokens.lexicon to a file of 'word unit unit ...' lines")


def token_table(texts: Iterable[str], unit: str, lexicon: Pronouncer | None = None, size: int = 0) -> Tokens:
    """The table of all units in the texts, sorted; of `size` pieces learned from them for `piece` without a lexicon, or
    of their characters if that is 0. Raises InputError as `to_units` and `learn` do."""
    if unit == "piece" and lexicon is None:
        texts = list(texts)
        characters = sorted({c for text in texts for c in "".join(text.split())} - {BEGIN})
        return Tokens([BLANK, *(learn(texts, size) if size else [BEGIN, *characters])])
    return Tokens([BLANK, *sorted({x for text in texts for x in to_units(text, unit, lexicon)})])


def check_length(labels: Sequence[Hashable], duration_s: float, frame_s: float) -> str | None:
    """None if CTC can align `labels` (units or tokens) with the utterance; otherwise the reason why it cannot.

    `frame_s`: seconds per output frame of the model.
    """
    needed, frames = min_frames(labels), int(duration_s / frame_s + 1e-6)
    if frames >= needed:
        return None
    return (
        f"{len(labels)} tokens need {needed} output frames, the audio has {frames}; "
        "check the text and the segment, or lower model.subsampling"
    )
