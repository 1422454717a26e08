"""Transcripts: token tables, and the least number of output frames that CTC needs."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.data.transcript import check_length, token_table
from asr.errors import InputError
from asr.pieces import BEGIN, Segmenter, joined
from asr.text.lexicon import Lexicon
from asr.tokens import BLANK, SPACE, Tokens, min_frames


def test_token_table_holds_the_units_of_all_texts() -> None:
    assert token_table(["b a", "c"], "char").symbols == ["<blk>", SPACE, "a", "b", "c"]
    assert token_table(["b a"], "phone", Lexicon({"a": [("AH",)], "b": [("B", "IY")]})).symbols == [
        "<blk>", "AH", "B", "IY"
    ]  # fmt: skip


def test_a_table_of_pieces_is_learned_from_the_texts() -> None:
    """Texts are cut as SentencePiece, whose table it is, cuts them."""
    sentencepiece = pytest.importorskip("sentencepiece", reason="needs sentencepiece: pip install '.[korean]'")
    texts = ["학교에 갔다 왔다", "학교가 학교를 갔다", "on and on", "and then on"] * 3
    tokens = token_table(texts, "piece", size=40)
    assert tokens.symbols[0] == BLANK and len(tokens) <= 41 and "▁학교" in tokens and "▁and" in tokens
    pieces = Segmenter(tokens)
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=file, model_type="bpe", vocab_size=41, hard_vocab_limit=False,
        character_coverage=1.0, normalization_rule_name="identity", bos_id=-1, eos_id=-1, minloglevel=2,
    )  # fmt: skip
    model = sentencepiece.SentencePieceProcessor(model_proto=file.getvalue())
    for text in texts:
        found = [piece for word in text.split() for piece in pieces.pronounce(word)]
        assert found == model.encode(text, out_type=str) and joined(found) == text
    with pytest.raises(InputError, match=r"tokens.size=3 pieces cannot spell a text with 15 .*tokens.size=16"):
        token_table(texts, "piece", size=3)


def test_a_start_of_pieces_gets_characters() -> None:
    assert token_table(["ba c", "c"], "piece").symbols == [BLANK, BEGIN, "a", "b", "c"]


def test_words_that_bpe_cannot_spell_get_the_fewest_pieces() -> None:
    pieces = Segmenter(Tokens([BLANK, "ab", "▁ab", "c", "▁a", "bc"]))
    assert pieces.pronounce("abc") == ("▁ab", "c") and pieces.pronounce("abd") == ("▁ab", "d")
    assert Segmenter(Tokens([BLANK, "bc", "▁a", "b", "c", "▁"])).pronounce("abc") == ("▁a", "bc")
    assert Segmenter(Tokens([BLANK, "ab", "▁a", "bc"])).pronounce("abc") == ("▁a", "bc")  # BPE: ▁ abc


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
