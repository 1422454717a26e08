"""A net whose outputs are pieces of words, learned from its training texts."""

import json
from pathlib import Path

import pytest
import test_trainer

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
