"""Transcripts: token tables, and the least number of output frames that CTC needs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.data.transcript import check_length, token_table
from asr.text.lexicon import Lexicon
from asr.tokens import SPACE, min_frames


def test_token_table_holds_the_units_of_all_texts() -> None:
    assert token_table(["b a", "c"], "char").symbols == ["<blk>", SPACE, "a", "b", "c"]
    assert token_table(["b a"], "phone", Lexicon({"a": [("AH",)], "b": [("B", "IY")]})).symbols == [
        "<blk>", "AH", "B", "IY"
    ]  # fmt: skip


@given(st.lists(st.integers(1, 3), max_size=12), st.integers(0, 20))
def test_length_is_checked_against_the_shortest_alignment(labels: list[int], frames: int) -> None:
    shortest = []
    for label in labels:
        shortest += [0, label] if shortest and shortest[-1] == label else [label]
    assert min_frames(labels) == len(shortest)
    why = check_length(labels, frames * 0.04, 0.04)
    assert (why is None) == (frames >= len(shortest))
    if why:
        assert f"{len(labels)} tokens need {len(shortest)} output frames, the audio has {frames}" in why


@pytest.mark.parametrize(("duration_s", "fits"), [(0.3, True), (0.29, False), (0.1 + 0.2, True)])
def test_frames_are_counted_in_spite_of_rounding(duration_s: float, fits: bool) -> None:
    assert (check_length("abc", duration_s, 0.1) is None) == fits
