"""Fillers between words: graphs of both kinds against brute force, and the texts without them."""

import math
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from tiny import ctc_cost

from asr.config import Config, LmConfig
from asr.errors import InputError
from asr.graph.fillers import with_fillers
from asr.graph.grammar import ngram_grammar
from asr.lm import train, train_file
from asr.lm.arpa import read
from asr.lm.score import Scorer
from asr.models.acoustic import AcousticModel
from asr.pipeline import build_graph
from asr.recognizer.recognizer import Recognizer
from asr.search.space import SearchSpace
from asr.tokens import BLANK, Tokens

TEXTS = ["ab b", "b ab ab", "ab ab b b", "b", "ba ab"]
TOKENS = Tokens([BLANK, "a", "b", "u"])
FILLERS, COST = ["u", "uu"], 1.5


def recognizer_of(
    folder: Path, kind: str, fillers: list[str] = FILLERS, unit: str = "word", order: int = 2, **decoder: object
) -> Recognizer:
    folder.mkdir(exist_ok=True)
    (folder / "text.txt").write_text("\n".join(TEXTS) + "\n")
    train_file(LmConfig(text=[str(folder / "text.txt")], order=order, unit=unit, arpa=str(folder / "lm.arpa")))
    TOKENS.write(folder / "tokens.txt")
    cfg = Config(out=str(folder))
    cfg.tokens.unit, cfg.tokens.table, cfg.graph.kind = "char", str(folder / "tokens.txt"), kind
    cfg.graph.fillers, cfg.graph.filler_cost = fillers, COST
    build_graph(cfg)
    cfg.features.num_bins, cfg.features.cmvn, cfg.model.hidden, cfg.model.layers = 8, "utterance", 4, 1
    for name, value in decoder.items():
        setattr(cfg.decoder, name, value)
    model = AcousticModel(cfg.features, cfg.model, len(TOKENS))
    return Recognizer(model, cfg, TOKENS, SearchSpace.read(cfg.graph.dir, TOKENS))


@pytest.fixture(scope="module", params=["static", "dynamic"])
def recognizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recognizer:
    return recognizer_of(tmp_path_factory.mktemp(request.param), request.param, beam=math.inf, lattice_beam=None)


@pytest.mark.parametrize("seed", range(8))
def test_the_search_finds_the_best_of_all_texts(seed: int, recognizer: Recognizer) -> None:
    """Brute force: up to four words and fillers. The language model hears the words alone; each filler has its cost."""
    rng = np.random.default_rng(seed)
    log_probs = np.log(rng.dirichlet([0.4] * 4, size=6)).astype(np.float32)
    lm = Scorer(train(TEXTS, order=2))
    best: tuple[float, str] = (math.inf, "")
    for count in range(5):
        for said in product(["ab", "b", "ba", *FILLERS], repeat=count):
            words = [word for word in said if word not in FILLERS]
            cost = -math.log(10) * sum(log10 for log10, _, _ in lm.full_scores(" ".join(words)))
            cost += COST * (len(said) - len(words))
            cost += ctc_cost(-log_probs.astype(float), [TOKENS.symbols.index(c) for word in said for c in word])
            best = min(best, (cost, " ".join(said)))
    found = recognizer.search("x", log_probs, 1.0)
    assert found.complete and found.cost == pytest.approx(best[0], rel=1e-4)
    assert sum(word in FILLERS for word in found.text.split()) == sum(word in FILLERS for word in best[1].split())


def texts_of(letters: int) -> Iterator[list[str]]:
    """All texts of words and fillers with at most so many letters."""
    for spelled in product(["", "a", "b", "u", " a", " b", " u"], repeat=letters):
        words = "".join(spelled).split()
        if all("u" not in word or word in FILLERS for word in words):
            yield words


@pytest.mark.parametrize("order", [1, 4])
@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_fillers_between_the_words_of_a_model_of_characters(kind: str, order: int, tmp_path: Path) -> None:
    """Brute force, as above: the model hears the characters of the words alone, and no filler stands within a word."""
    recognizer = recognizer_of(tmp_path, kind, unit="char", order=order, beam=math.inf, lattice_beam=None)
    lm = Scorer(read(tmp_path / "lm.arpa"))
    for seed in range(2):
        rows = np.log(np.random.default_rng(seed).dirichlet([0.4] * 4, size=4)).astype(np.float32)
        costs: dict[str, float] = {}
        for said in texts_of(3):
            spoken = [word for word in said if word not in FILLERS]
            cost = -math.log(10) * sum(log10 for log10, _, _ in lm.full_scores(" ".join(spoken)))
            cost += COST * (len(said) - len(spoken))
            cost += ctc_cost(-rows.astype(float), [TOKENS.symbols.index(c) for word in said for c in word])
            costs[" ".join(said)] = cost
        found = recognizer.search("x", rows, 1.0)
        assert found.complete and found.cost == pytest.approx(min(costs.values()), rel=1e-4)
        assert costs[found.text] == pytest.approx(found.cost, rel=1e-4)


def log_probs(spelled: str) -> np.ndarray:
    path = [k for c in spelled for k in (0, *[TOKENS.symbols.index(c)] * 2)]
    return np.log(np.full((len(path), 4), 0.01) + 0.96 * np.eye(4)[path]).astype(np.float32)


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_fillers_among_characters_are_words_of_their_own(kind: str, tmp_path: Path) -> None:
    """In times, in the text, and in what is removed."""
    found = recognizer_of(tmp_path, kind, unit="char", order=3, remove=FILLERS, nbest=2).search(
        "x", log_probs("uabuubu"), 1.0
    )
    words = [word.word for word in found.words]
    assert "".join(words) == "uabuubu" and not {"u", "uu"} & set(found.text.split())
    assert [word for word in words if word not in FILLERS] == found.text.split()
    assert all("u" not in word for word in found.text.split())
    assert [word.start_s for word in found.words] == sorted({word.start_s for word in found.words})


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_fillers_are_heard_anywhere_and_removed_on_demand(kind: str, tmp_path: Path) -> None:
    heard = log_probs("uabuubu")
    found = recognizer_of(tmp_path, kind).search("x", heard, 1.0)
    assert [word for word in found.text.split() if word not in FILLERS] == ["ab", "b"]
    assert "".join(found.text.split()) == "uabuubu" and all(word.accepted for word in found.words)
    short = recognizer_of(tmp_path / "short", kind, remove=FILLERS, nbest=2).search("x", heard, 1.0)
    assert short.text == "ab b" and [word.word for word in short.words] == found.text.split()
    assert [word.accepted for word in short.words] == [word.word not in FILLERS for word in short.words]
    assert not any(word in FILLERS for other in short.alternatives for word in other.text.split())
    assert "u" not in recognizer_of(tmp_path / "none", kind, fillers=[]).search("x", heard, 1.0).text


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_a_filler_that_is_also_a_word_of_the_model(kind: str, tmp_path: Path) -> None:
    found = recognizer_of(tmp_path, kind, fillers=["b"]).search("x", log_probs("abbbab"), 1.0)
    assert found.text == "ab b b ab"


def test_the_grammar_keeps_its_invariants() -> None:
    """Deterministic, sorted, no arc into the start; fillers are loops, except at the start."""
    model = train(TEXTS, order=3)
    words = [word for word in model.words if word[0] != "<"]
    labels = {word: label for label, word in enumerate([*words, "u"], 1)}
    plain = ngram_grammar(model, labels)
    found = with_fillers(plain, labels, ["u"], COST)
    assert found.num_states == plain.num_states + 1 and not (found.target == found.start).any()
    pairs = list(zip(found.source.tolist(), found.ilabel.tolist(), strict=True))
    assert pairs == sorted(set(pairs))
    loops = found.ilabel == labels["u"]
    at_start = found.source[loops] == found.start
    assert loops.sum() == found.num_states and (found.cost[loops] == np.float32(COST)).all()
    assert (found.target[loops][~at_start] == found.source[loops][~at_start]).all()
    assert found.target[loops][at_start].tolist() == [plain.num_states]
    assert found.final[-1] == found.final[found.start]


@pytest.mark.parametrize(
    ("fillers", "unit", "message"),
    [
        (["x"], "word", "the filler 'x' has no pronunciation"),
        (["<s>"], "word", "is a mark"),
        (["<name>"], "word", "is a mark"),
        (["u u"], "word", "cannot be a word"),
        (["x"], "char", "the filler 'x' has no pronunciation"),
        (["▁u"], "char", "is a mark"),
    ],
)
@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_bad_fillers_are_named(kind: str, fillers: list[str], unit: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        recognizer_of(tmp_path, kind, fillers, unit)
    assert not (tmp_path / "graph/stats.json").exists()
