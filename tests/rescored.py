"""A small recogniser of the words a and b, and language models for its second pass."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_neural_lm import model as neural_model
from tiny import TOKENS, config, graph_dir, model

from asr.lm import arpa, trie_file
from asr.lm.neural import file
from asr.lm.training import train
from asr.recognizer.recognizer import Recognizer
from asr.search.space import SearchSpace
from asr.words import END, UNKNOWN


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of the words, neural and n-gram, and a graph."""
    folder = tmp_path_factory.mktemp("second")
    file.write(folder / "lm.safetensors", neural_model([END, UNKNOWN, "a", "b"], layers=1, seed=7))
    arpa.write(train(["a a b", "b a a a"], 2), folder / "lm.arpa")
    trie_file.write(train(["a a b", "b a a a"], 2), folder / "lm.trie")
    graph_dir(folder / "graph")
    return folder


@pytest.fixture(scope="module")
def recognizer(folder: Path) -> Recognizer:
    cfg = config()
    net = model(cfg)
    with torch.no_grad():
        net.net.output.linear.weight *= 0.15  # so that the language model can change the words
    return Recognizer(net, cfg, TOKENS, SearchSpace.read(folder / "graph", TOKENS))


def with_second(recognizer: Recognizer, folder: Path, **options: object) -> Recognizer:
    found = {"rescore": str(folder / "lm.safetensors"), "rescore_share": 0.9, "nbest": 3, **options}
    return recognizer.with_decoder(replace(recognizer.cfg.decoder, **found))
