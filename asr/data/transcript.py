"""Transcripts for training: their token table, and the check for enough output frames. Loads no torch."""

from collections.abc import Hashable, Iterable, Sequence

from asr.text.units import Pronouncer, to_units
from asr.tokens import BLANK, Tokens, min_frames


def token_table(texts: Iterable[str], unit: str, lexicon: Pronouncer | None = None) -> Tokens:
    """The table of all units in the texts, sorted. Raises InputError as `to_units` does."""
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
