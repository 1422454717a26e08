"""Packed n-gram models that are mapped: the scores of the ARPA file bit for bit, damage, and what refuses them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_lm import corpora, zipf_text
from test_scorer import model_of, sentences, without_unknown

import asr.lm
from asr.cli.main import main
from asr.errors import InputError
from asr.lm import arpa, score, trie_file
from asr.lm.model import NgramModel
from asr.search.rescoring import NgramScorer
from asr.search.second_pass import open_scorer

TEXTS = [*zipf_text(1, 100, 70), "", "unheard", "w1 unheard w2 w1 w1"]


def states(scorer: score.Scorer, text: str) -> list[tuple[int, float]]:
    found = [(scorer.begin, 0.0)]
    for word in (*text.split(), "</s>"):
        found.append(scorer.step(found[-1][0], word))
    return found


def assert_equal(model: NgramModel, path, texts: list[str]) -> None:
    trie_file.write(model, path)
    whole, mapped = score.Scorer(model), score.load(path)
    assert mapped.words_in("a b") == whole.words_in("a b") and mapped.of_pieces == whole.of_pieces
    for text in texts:
        assert list(mapped.full_scores(text)) == list(whole.full_scores(text))
        assert states(mapped, text) == states(whole, text)


@given(corpora, st.integers(1, 6), st.floats(0, 1), sentences)
@settings(max_examples=40, deadline=None)
def test_mapped_scores_are_those_of_the_model(tmp_path_factory, texts, order, size, test):
    assert_equal(model_of(texts, order, size), tmp_path_factory.mktemp("trie") / "lm.trie", test)


@pytest.mark.parametrize("order", [1, 3, 8])
def test_a_larger_model_with_and_without_unknown_words(tmp_path, order):
    model = model_of(zipf_text(0, 300, 60), order)
    assert_equal(model, tmp_path / "lm.trie", TEXTS)
    assert_equal(without_unknown(model), tmp_path / "lm.trie", TEXTS)


def test_the_verbs_write_and_score_it(tmp_path, capsys):
    arpa.write(asr.lm.train(zipf_text(0, 100, 60), 3), tmp_path / "lm.arpa")
    (tmp_path / "test.txt").write_text("\n".join(text for text in TEXTS if text))
    assert main(["lm", "convert", str(tmp_path / "lm.arpa"), str(tmp_path / "lm.trie")]) == 0
    rows = []
    for name in ("lm.arpa", "lm.trie"):
        assert main(["lm", "ppl", str(tmp_path / name), str(tmp_path / "test.txt")]) == 0
        rows.append(capsys.readouterr().out.splitlines()[-2].split())
    assert rows[0][1:] == rows[1][1:] and rows[1][0].endswith("lm.trie")
    costs = [open_scorer(tmp_path / name).costs(TEXTS) for name in ("lm.arpa", "lm.trie")]
    assert costs[0] == costs[1]
    words = ["<eps>", *(f"w{k}" for k in range(9))]
    labels = np.array([1, 5, -1])
    steps = [NgramScorer(tmp_path / name, words) for name in ("lm.arpa", "lm.trie")]
    found = [scorer.step([scorer.start()], np.zeros(3, np.int64), labels) for scorer in steps]
    assert found[0][0] == found[1][0] and found[0][1].tolist() == found[1][1].tolist()


def test_what_needs_an_arpa_file_says_so(tmp_path):
    trie_file.write(asr.lm.train(["a b a"], 2), tmp_path / "lm.trie")
    with pytest.raises(InputError, match="packed n-gram model .*ARPA file it was made of"):
        arpa.read(tmp_path / "lm.trie")
    with pytest.raises(InputError, match=r"cannot read the n-gram model .*missing\.trie"):
        trie_file.read(tmp_path / "missing.trie")
    (tmp_path / "empty.trie").write_bytes(b"")
    with pytest.raises(InputError, match=r"empty\.trie"):
        trie_file.read(tmp_path / "empty.trie")


def test_damage_that_a_score_meets_names_the_file(tmp_path):
    trie_file.write(asr.lm.train(["a b a", "b a"], 2), tmp_path / "lm.trie")
    data = np.frombuffer((tmp_path / "lm.trie").read_bytes(), np.uint8).copy()
    header = data[: trie_file.HEADER.itemsize].view(trie_file.HEADER)[0]
    nodes, histories = (int(header["order_begin"][order]) for order in (3, 2))
    first = trie_file.HEADER.itemsize + 2 * (-(-4 * nodes // 8) * 8) + (-(-4 * histories // 8) * 8)
    data[first + 4 : first + 4 * (histories + 1)].view(np.uint32)[:] = 2**31
    (tmp_path / "lm.trie").write_bytes(data)
    scorer = score.load(tmp_path / "lm.trie")
    for use in (lambda: scorer.step(1, "a"), lambda: list(scorer.full_scores("a b"))):
        with pytest.raises(InputError, match=r"lm\.trie is damaged: its n-grams are damaged; make it again with"):
            use()


def test_training_does_not_write_an_arpa_file_under_the_name_of_another_format(tmp_path, capsys):
    (tmp_path / "text.txt").write_text("a b a\n")
    for ending in ("trie", "ngram", "fst"):
        path = tmp_path / f"lm.{ending}"
        assert main(["lm", "train", f"text={tmp_path}/text.txt", f"arpa={path}"]) == 2
        assert f"convert it with `asr lm convert LM.arpa lm.{ending}`" in capsys.readouterr().err
        assert not path.exists()


def test_a_packed_model_that_cannot_be_opened_is_named_as_one(tmp_path):
    (tmp_path / "cut.trie").write_bytes(bytes(300))
    with pytest.raises(InputError, match=r"cut\.trie is no packed n-gram model"):
        open_scorer(tmp_path / "cut.trie")
    with pytest.raises(InputError, match=r"there is no language model .*missing\.trie; check .*asr lm convert"):
        open_scorer(tmp_path / "missing.trie")


def test_damage_is_named_or_harmless(tmp_path):
    """Whatever byte is changed, the file is refused, or its scores are numbers or refused."""
    trie_file.write(asr.lm.train(zipf_text(0, 12, 12), 3), tmp_path / "lm.trie")
    good = np.frombuffer((tmp_path / "lm.trie").read_bytes(), np.uint8)
    rng, refused = np.random.default_rng(0), 0
    for size in (0, 7, 63, len(good) // 2, len(good) - 1):
        with pytest.raises(InputError, match="no packed n-gram model|cut short"):
            trie_file.parse(good[:size].copy(), "x")
    for _ in range(600):
        bad = good.copy()
        place = int(rng.choice([rng.integers(0, 80), rng.integers(0, len(bad))]))
        bad[place] = rng.integers(0, 256)
        try:
            scorer = score.Scorer(trie_file.parse(bad, "x"))
            for text in TEXTS:
                assert len(list(scorer.full_scores(text))) == len(text.split()) + 1
        except InputError:
            refused += 1
    assert refused > 100
