"""Language models of characters (lm.unit=char), and graphs of them: any word can be recognised."""

import math
from itertools import product

import numpy as np
import pytest
from tiny import ctc_cost

from asr.config import Config, LmConfig
from asr.errors import InputError
from asr.evaluation.tune import PIECE_PENALTIES, tune
from asr.integrations.transformers import build_ctcdecoder
from asr.lm import arpa, train, train_file
from asr.lm.adapt import adapt
from asr.lm.compare import compare
from asr.lm.filter import restrict
from asr.lm.mix import mix
from asr.lm.score import Scorer, perplexity
from asr.manifest import Utterance
from asr.models.acoustic import AcousticModel
from asr.pieces import are_pieces, spread
from asr.pipeline import build_graph
from asr.recognizer import bundle
from asr.recognizer.recognizer import Recognizer
from asr.search.decoder import Decoder
from asr.search.rescoring import NgramScorer, rerank
from asr.search.space import SearchSpace
from asr.text.lexicon import NO_SPACE
from asr.tokens import BLANK, SPACE, Tokens

TEXTS = ["ab ba", "bba abab", "ab aab", "aab b", "b abba ba"]
TOKENS = Tokens([BLANK, SPACE, "a", "b"])


def test_a_text_in_pieces():
    assert spread(" to  be \n") == "▁t o ▁b e"
    assert spread("한국 어") == "▁한 국 ▁어"
    assert are_pieces(["<s>", "</s>", "<unk>", "▁t", "o", "▁b", "e"])
    assert not are_pieces(["▁", "word"]) and not are_pieces(["▁odd", *["word"] * 300]) and not are_pieces([])


def test_the_model_is_that_of_the_characters(tmp_path):
    (tmp_path / "text.txt").write_text("\n".join(TEXTS) + "\n")
    report = train_file(LmConfig(text=[str(tmp_path / "text.txt")], unit="char", arpa=str(tmp_path / "lm.arpa")))
    expected = train([spread(text) for text in TEXTS], order=3)
    held_out = ["abba", "b ab a"]
    score = perplexity(tmp_path / "lm.arpa", held_out)
    spelled = perplexity(expected, [spread(text) for text in held_out])
    assert score.perplexity == pytest.approx(spelled.perplexity, rel=1e-5) and score.words == spelled.words
    assert report.words == sum(len(text.replace(" ", "")) for text in TEXTS)
    assert perplexity(tmp_path / "lm.arpa", ["▁a b b a", "▁b ▁a b ▁a"]) == score  # already in pieces
    comparison = compare([str(tmp_path / "lm.arpa")], ["ab c"])
    assert [*comparison.unknown.values()] == [{"▁c": 1}]
    assert adapt(expected, TEXTS, held_out).new_words == 0


def test_words_have_one_or_no_space_before_them(tmp_path):
    recognizer = recognizer_of(tmp_path, "static")
    space = recognizer.space
    assert space.spellings(space.labels["▁a"], TOKENS) == [(1, 2), (2,)]
    assert space.spellings(space.labels["b"], TOKENS) == [(3,)]
    assert space.lexicon.weights(["▁a", "b"]) == {
        ("▁a", (SPACE, "a")): 1.0,
        ("▁a", ("a",)): NO_SPACE,
        ("b", ("b",)): 1.0,
    }


def recognizer_of(folder, kind, order=2):
    (folder / "text.txt").write_text("\n".join(TEXTS) + "\n")
    train_file(LmConfig(text=[str(folder / "text.txt")], unit="char", order=order, arpa=str(folder / "lm.arpa")))
    TOKENS.write(folder / "tokens.txt")
    cfg = Config(out=str(folder))
    cfg.tokens.unit, cfg.tokens.table, cfg.graph.kind = "char", str(folder / "tokens.txt"), kind
    build_graph(cfg)
    cfg.features.num_bins, cfg.features.cmvn, cfg.model.hidden, cfg.model.layers = 8, "utterance", 4, 1
    model = AcousticModel(cfg.features, cfg.model, len(TOKENS))
    return Recognizer(model, cfg, TOKENS, SearchSpace.read(cfg.graph.dir, TOKENS))


@pytest.fixture(scope="module", params=["static", "dynamic"])
def recognizer(request, tmp_path_factory):
    return recognizer_of(tmp_path_factory.mktemp(request.param), request.param)


def log_probs(spelled, certainty=0.9):
    """Each token for two frames, after a blank; `_` is the space."""
    path = [k for c in spelled for k in (0, *[TOKENS.symbols.index(SPACE if c == "_" else c)] * 2)]
    return np.log(np.full((len(path), 4), (1 - certainty) / 4) + certainty * np.eye(4)[path]).astype(np.float32)


@pytest.mark.parametrize("seed", range(8))
def test_the_search_finds_the_best_of_all_texts(seed, recognizer, tmp_path):
    """Brute force: all sequences of up to five pieces, each word with and without a space before it."""
    rng = np.random.default_rng(seed)
    log_probs = np.log(rng.dirichlet([0.4] * 4, size=6)).astype(np.float32)
    lm = Scorer(train([spread(text) for text in TEXTS], order=2))
    best = (math.inf, "")
    for count in range(1, 6):
        for pieces in product(["▁a", "▁b", "a", "b"], repeat=count):
            cost = -math.log(10) * sum(log10 for log10, _, _ in lm.full_scores(" ".join(pieces)))
            variants = [[(TOKENS.symbols.index(p[-1]),), (1, TOKENS.symbols.index(p[-1]))][: len(p)] for p in pieces]
            for chosen in product(*variants):
                tokens = [token for part in chosen for token in part]
                spaces = sum(piece[0] == "▁" and len(part) == 1 for piece, part in zip(pieces, chosen, strict=True))
                total = cost + ctc_cost(-log_probs, tokens) - spaces * math.log(NO_SPACE)
                best = min(best, (total, " ".join("".join(pieces).split("▁")).strip()))
    decoder = Decoder(recognizer.space.graph, beam=1000.0)
    path = decoder.decode(log_probs)
    assert path.cost == pytest.approx(best[0], abs=1e-3)
    assert recognizer.space.text(path.labels) == best[1]


def test_words_that_no_text_has(recognizer):
    found = recognizer.search("x", log_probs("abba_bb_a"), 2.7)
    assert found.text == "abba bb a"
    assert [word.word for word in found.words] == ["abba", "bb", "a"]
    segments = [word.segments for word in recognizer.searcher.search(log_probs("abba_bb_a")).words]
    assert [(word[0].start, word[-1].end) for word in segments] == [(1, 12), (16, 21), (25, 27)]
    assert all(0.3 < word.confidence <= 1 for word in found.words)


def test_a_confidence_is_the_share_of_the_readings_with_the_word(recognizer):
    heard = log_probs("ab_bb", 0.8)
    found = recognizer.search("x", heard, 1.0)
    lattice = recognizer.searcher.decoder.decode_lattice(heard).lattice
    masses = {}
    for reading in lattice.readings():
        text = recognizer.space.text(reading.labels)
        masses[text] = masses.get(text, 0.0) + math.exp(-reading.cost)
    first, second = found.text.split()
    total = sum(masses.values())
    begins = sum(mass for text, mass in masses.items() if text.split()[0] == first) / total
    ends = sum(mass for text, mass in masses.items() if text.split()[-1] == second) / total
    assert [word.confidence for word in found.words] == pytest.approx([begins, ends], abs=0.02)
    boosted = recognizer.search("x", heard, 1.0, recognizer.compile_phrases({second: 5.0}))
    assert boosted.text == found.text
    assert [word.confidence for word in boosted.words] == pytest.approx(
        [word.confidence for word in found.words], abs=0.02
    )


def test_phrases_are_boosted_and_alternatives_joined(recognizer):
    either = log_probs("ab_b")
    either[-2:] = np.log([0.02, 0.02, 0.48, 0.48])
    texts = {
        recognizer.search("x", either, 1.0, phrases).text
        for phrases in (None, *(recognizer.compile_phrases({text: 6.0}) for text in ("ab a", "ab b")))
    }
    assert texts == {"ab a", "ab b"}
    cfg = recognizer.cfg.decoder.__class__(nbest=5)
    found = recognizer.with_decoder(cfg).search("x", either, 1.0)
    texts = [found.text, *(other.text for other in found.alternatives)]
    assert len(texts) == 5 == len(set(texts)) and {"ab a", "ab b"} < set(texts)


def test_phrases_that_cannot_be(recognizer):
    with pytest.raises(InputError, match="negative boosts need a graph of words"):
        recognizer.compile_phrases({"b": -3.0})
    with pytest.raises(InputError, match="'zz' in 'ab zz'"):
        recognizer.compile_phrases({"ab zz": 3.0})


def test_lists_have_words_and_new_words_are_not_needed(recognizer):
    assert recognizer.with_list(["abba", "b"]).search("x", log_probs("abba"), 1.0).text == "abba"
    with pytest.raises(InputError, match="vocabulary is open"):
        recognizer.with_new_words(["bbb"])


def test_the_bundle_joins_pieces_too(recognizer, tmp_path):
    bundle.write(tmp_path / "x.asr", recognizer.model, recognizer.cfg, TOKENS, recognizer.cfg.graph.dir, "card")
    opened = bundle.read(tmp_path / "x.asr")
    again = Recognizer(opened.model, opened.cfg, opened.tokens, opened.space)
    assert again.search("x", log_probs("ab_bba"), 1.0) == recognizer.search("x", log_probs("ab_bba"), 1.0)


def test_tuning_counts_the_chosen_errors(recognizer, monkeypatch):
    heard = {"1": log_probs("ab_ba"), "2": log_probs("abba")}
    monkeypatch.setattr(Recognizer, "score_utterances", lambda *_: iter([[(id, x, 1.0) for id, x in heard.items()]]))
    utterances = [Utterance("1", audio="1", text="ab ba"), Utterance("2", audio="2", text="ab ba")]
    rates = {
        rate: tune(recognizer, utterances, (1.0,), (-1.0, 0.0), (0.0,), 1, rate)
        for rate in ("wer", "cer", "cer_without_spaces")
    }
    assert [rates[rate].greedy.errors for rate in rates] == [2, 1, 0]
    assert [rates[rate].greedy.reference for rate in rates] == [4, 10, 8]
    assert rates["cer_without_spaces"].best.counts.errors == 0
    assert "CER" in rates["cer"].table() and "WER" in rates["wer"].table()
    words = {point.word_penalty for point in tune(recognizer, utterances, (1.0,), None, (0.0,), 1).points}
    assert len(words) > 1 and words <= set(PIECE_PENALTIES)


@pytest.mark.parametrize(("text", "rate"), [("ab ba", "wer"), ("아 바", "cer_without_spaces")])
def test_tuning_counts_characters_if_the_texts_are_korean(text, rate, recognizer, monkeypatch):
    monkeypatch.setattr(Recognizer, "score_utterances", lambda *_: iter([[("1", log_probs("ab_ba"), 1.0)]]))
    found = tune(recognizer, [Utterance("1", audio="1", text=text)], (1.0,), (0.0,), (0.0,), 1)
    assert found.rate == rate and ("CER -sp" in found.table()) == (rate != "wer")


def test_phones_cannot_spell_characters(tmp_path):
    recognizer_of(tmp_path, "static")
    cfg = Config(out=str(tmp_path))
    cfg.tokens.unit, cfg.tokens.table = "phone", str(tmp_path / "tokens.txt")
    with pytest.raises(InputError, match="needs units char, jamo or piece, not phone"):
        build_graph(cfg)


def written(path, text):
    path.write_text(text)
    return str(path)


def test_vocabularies_of_words_are_spelled(tmp_path):
    cfg = LmConfig(text=[written(tmp_path / "t.txt", "ab b\nc ab\n")], unit="char", arpa=str(tmp_path / "lm.arpa"))
    cfg.vocabulary = written(tmp_path / "v.txt", "ab\nb\n")
    assert train_file(cfg).vocabulary == 3  # ▁a b ▁b
    model = arpa.read(cfg.arpa)
    assert {"▁a", "b"} <= {*restrict(model, ["▁a", "b"]).words} and "▁b" not in restrict(model, ["▁a", "b"]).words
    with pytest.raises(InputError, match="model of characters has no words"):
        restrict(model, ["b"])


def test_models_of_words_and_of_characters_do_not_mix(tmp_path):
    words, characters = train(TEXTS, order=2), train([spread(text) for text in TEXTS], order=2)
    paths = [str(tmp_path / name) for name in ("words.arpa", "characters.arpa")]
    for model, path in zip((words, characters), paths, strict=True):
        arpa.write(model, path)
    with pytest.raises(InputError, match="cannot be mixed"):
        mix([words, characters], [0.5, 0.5])
    with pytest.raises(InputError, match="words.arpa is of words, .*characters.arpa is of characters"):
        compare(paths, ["ab"])
    with pytest.raises(InputError, match="do not have the same unit"):
        NgramScorer(paths[0], ["<eps>", "▁a", "b"])
    with pytest.raises(InputError, match="not of words"):
        build_ctcdecoder(["", " ", "a", "b"], paths[1])


def test_slots_need_words(tmp_path):
    cfg = LmConfig(text=[written(tmp_path / "t.txt", "a <name> b\n")], unit="char", arpa=str(tmp_path / "lm.arpa"))
    with pytest.raises(InputError, match="the slot <name> needs a language model of words"):
        train_file(cfg)


def test_reranking_reads_words(recognizer):
    lattice = recognizer.searcher.decoder.decode_lattice(log_probs("ab_b")).lattice
    seen = []
    rerank(lattice.nbest(3), lambda texts: seen.extend(texts) or [0.0] * len(texts), recognizer.space.words)
    assert "ab b" in seen and not any("▁" in text for text in seen)


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_a_lexicon_of_words_does_not_fit(kind, tmp_path):
    cfg = recognizer_of(tmp_path, kind).cfg
    own = Config(out=str(tmp_path))
    own.tokens.unit, own.tokens.table, own.graph.kind = "char", cfg.tokens.table, kind
    own.graph.lexicon = written(tmp_path / "lexicon.txt", "a a\nb b\n")
    with pytest.raises(InputError, match="leave out graph.lexicon"):
        build_graph(own)


def test_silence_has_no_words(recognizer):
    """Without a piece there is no word either."""
    assert recognizer.search("silence", np.log(np.eye(4)[[0] * 5] + 1e-9), 1.0).words == []
