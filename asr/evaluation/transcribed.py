"""The utterances of a set that have a transcript to compare with."""

from collections.abc import Sequence

from tqdm import tqdm

from asr.errors import InputError
from asr.manifest import Utterance


def transcribed(utterances: Sequence[Utterance]) -> list[Utterance]:
    """The utterances with a text, "" included; the number of the others and the first id are written to stdout.

    Raises InputError if no utterance has a text.
    """
    kept = [u for u in utterances if u.text is not None]
    if not kept:
        raise InputError(f"none of the {len(utterances)} utterances has a text; this step needs transcribed ones")
    if left_out := [u.id for u in utterances if u.text is None]:
        tqdm.write(f"{len(left_out)} utterances without a text are left out; the first is {left_out[0]}")
    return kept
