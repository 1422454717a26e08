"""A net whose outputs are pieces of words, learned from its training texts."""

import json
from pathlib import Path

import pytest
import test_trainer

from asr.data.transcript import Demands, token_table
from asr.pipeline import train
from asr.tokens import BLANK, Tokens

pytest.importorskip("sentencepiece", reason="needs sentencepiece: pip install '.[korean]'")
corpus = test_trainer.corpus


def test_a_net_learns_pieces(corpus: Path) -> None:
    cfg = test_trainer.config(corpus, "exp", epochs=6)
    cfg.tokens.unit, cfg.tokens.size, cfg.threads = "piece", 10, 1
    train(cfg)
    table = Tokens.read(corpus / "exp/train/tokens.txt").symbols
    assert table[0] == BLANK and len(table) == 11 and any(len(piece) > 2 and piece[0] == "▁" for piece in table)
    records = [json.loads(line) for line in (corpus / "exp/train/log.jsonl").read_text().splitlines()]
    assert records[-1]["dev_loss"] < 0.8 * records[0]["dev_loss"]


@pytest.mark.parametrize("size", [0, 8])
def test_white_space_and_marks_of_words_are_no_pieces(size: int) -> None:
    table = token_table(["ab\u00a0ab\tcd\u3000ab", "ab\nab", "a▁b"], "piece", size=size)
    assert not any(piece.isspace() for piece in table.symbols) and table.symbols.count("▁") == 1
    assert {c for piece in table.symbols[1:] for c in piece} == set("▁abcd")
    demands = Demands("piece", table)
    assert demands.examine("ab cd", None)[1] == {}
    assert list(demands.examine("a▁b", None)[1].values()) == [
        "not in the token table: ▁a▁b; clean the text or extend the table"
    ]
