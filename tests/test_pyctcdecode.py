"""asr.integrations.transformers against enumeration, and pyctcdecode and transformers where they are installed."""

import copy
import itertools
import math
import pickle
import random

import numpy as np
import pytest
from test_graph import random_ngrams, write_arpa

from asr.errors import InputError
from asr.integrations.alphabet import Alphabet
from asr.integrations.ctc_sums import log_sums
from asr.integrations.transformers import build_ctcdecoder
from asr.lm.score import load

LABELS = ["<pad>", "|", "a", "b", "c"]
# Wide enough for every text of a tiny problem.
WIDE = {"beam_width": 3000, "beam_prune_logp": -1000.0, "token_min_logp": -30.0}


def logits_of(seed, frames=4, labels=5):
    """The last frame holds neither blank nor space: pyctcdecode scores a text that ends in a space as one word more."""
    made = np.random.default_rng(seed).normal(size=(frames, labels)) * 2
    made[-1, :2] = -100
    return made


def collapse(path):
    return "".join(LABELS[k] for k, _ in itertools.groupby(path) if k).replace("|", " ")


def enumerate_texts(logits):
    """Text -> log of the sum of the probabilities of its alignments."""
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    log_probs[log_probs < WIDE["token_min_logp"]] = -math.inf
    found = {}
    for path in itertools.product(range(len(LABELS)), repeat=len(logits)):
        text = " ".join(collapse(path).split())
        own = sum(log_probs[f, k] for f, k in enumerate(path))
        if own > -math.inf:
            found[text] = np.logaddexp(found.get(text, -math.inf), own)
    return found


def problem(seed, folder, order):
    """A random language model and options: (path, words, options, hot words)."""
    rng = random.Random(seed)
    words = sorted({"".join(rng.choices("abc", k=rng.randint(1, 3))) for _ in range(4)})
    ngrams = random_ngrams(rng, words, order)
    if seed % 4 == 3:
        ngrams = {gram: value for gram, value in ngrams.items() if "<unk>" not in gram}
    write_arpa(ngrams, folder / "lm.arpa")
    options = {
        "alpha": rng.choice([0.0, 0.3, 1.0]),
        "beta": rng.choice([0.0, 1.5]),
        "unk_score_offset": rng.choice([-10.0, -2.0, 0.0]),
        "lm_score_boundary": rng.random() < 0.7,
    }
    hotwords = rng.choice([None, [words[0]], ["ab"], ["ca b"]])
    return folder / "lm.arpa", words, options, hotwords


def score_of(text, arpa, words, options, hotwords):
    """The formula at the top of asr.integrations.transformers, without the logit_score."""
    model, log10 = load(arpa), 0.0
    state = model.begin if options["lm_score_boundary"] else 0
    for word in text.split():
        state, own = model.step(state, word)
        log10 += own + (0 if word in words else options["unk_score_offset"] * max(1, len(word) / 6))
    if options["lm_score_boundary"]:
        log10 += model.step(state, "</s>")[1]
    hot = {part for phrase in hotwords or () for part in phrase.split()}
    boost = 2.0 * sum(word in hot for word in text.split())
    return options["alpha"] * math.log(10) * log10 + options["beta"] * len(text.split()) + boost


@pytest.mark.parametrize("seed", range(12))
def test_beams_equal_enumeration(seed, tmp_path):
    arpa, words, options, hotwords = problem(seed, tmp_path, 1 + seed % 3)
    decoder = build_ctcdecoder(LABELS, arpa, words[:3], **options)
    logits = logits_of(seed)
    found = {b[0]: b for b in decoder.decode_beams(logits, hotwords=hotwords, hotword_weight=2.0, **WIDE)}
    texts = enumerate_texts(logits)
    scores = {text: value + score_of(text, arpa, words[:3], options, hotwords) for text, value in texts.items()}
    assert texts.keys() == found.keys()
    for text, (_, _, _, logit_score, score) in found.items():
        assert logit_score == pytest.approx(texts[text], abs=1e-4)
        assert score == pytest.approx(scores[text], abs=1e-4)
    assert scores[next(iter(found))] == pytest.approx(max(scores.values()), abs=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_beams_without_a_language_model_equal_enumeration(seed):
    logits = np.random.default_rng(seed).normal(size=(4, len(LABELS))) * 2
    found = {b[0]: b for b in build_ctcdecoder(LABELS).decode_beams(logits, **WIDE)}
    texts = enumerate_texts(logits)
    assert texts.keys() == found.keys()
    assert all(beam[3] == beam[4] == pytest.approx(texts[text], abs=1e-4) for text, beam in found.items())


@pytest.mark.parametrize("seed", range(12))
def test_beams_equal_those_of_pyctcdecode(seed, tmp_path):
    peer_module = pytest.importorskip("pyctcdecode")
    arpa, words, options, hotwords = problem(seed, tmp_path, order=2)
    if not any(line.startswith("ngram 2=") for line in arpa.read_text().splitlines()):
        pytest.skip("kenlm refuses unigram models")
    peer = peer_module.build_ctcdecoder(LABELS, str(arpa), words, **options)
    decoder = build_ctcdecoder(LABELS, arpa, words, **options)
    both = [
        {b[0]: b for b in some.decode_beams(logits_of(seed), hotwords=hotwords, hotword_weight=2.0, **WIDE)}
        for some in (decoder, peer)
    ]
    assert both[0].keys() == both[1].keys()
    assert next(iter(both[0])) == next(iter(both[1]))
    for text, beam in both[0].items():
        assert beam[3:] == pytest.approx(both[1][text][3:], abs=1e-4)


def test_ctc_sums_of_pieces_allow_no_repeated_spaces():
    log_probs = np.log(np.random.default_rng(1).dirichlet(np.ones(3), 4)).astype(np.float32)
    expected = {}
    for path in itertools.product(range(3), repeat=4):
        tokens = tuple(k for k, _ in itertools.groupby(path) if k)
        own = sum(float(log_probs[f, k]) for f, k in enumerate(path))
        expected[tokens] = np.logaddexp(expected.get(tokens, -math.inf), own)
    assert log_sums(log_probs, list(expected), 0) == pytest.approx(list(expected.values()), abs=1e-5)


def peaks(text, labels=LABELS, height=8.0):
    """Logits of a text of labels: each is a peak of two frames, with a blank between."""
    columns = [k for c in text for k in (labels.index(c), labels.index(c), 0)]
    return height * np.eye(len(labels))[columns]


@pytest.fixture
def decoder(tmp_path):
    ngrams = {(w,): (p, 0.0) for w, p in [("<s>", -9.0), ("</s>", -1.0), ("<unk>", -3.0), ("ab", -0.5), ("ca", -0.7)]}
    write_arpa({**ngrams, ("<s>", "ab"): (-0.2, 0.0)}, tmp_path / "lm.arpa")
    return build_ctcdecoder(LABELS, tmp_path / "lm.arpa")


def test_words_have_the_frames_of_their_letters(decoder):
    (text, state, frames, _, _), *_ = decoder.decode_beams(peaks("ab||ca|"))
    assert (text, state) == ("ab ca", None)
    assert frames == [("ab", (0, 5)), ("ca", (12, 17))]


def test_words_that_no_list_has_are_found(decoder):
    assert decoder.decode(peaks("ab|bbb|ca")) == "ab bbb ca"
    assert decoder.decode(peaks("abcabcabcabc|ca")) == "abcabcabcabc ca"


def test_one_long_unknown_word_does_not_replace_a_sentence(decoder):
    """An unknown word costs more the longer it is."""
    logits = np.tile(peaks("ab|ca|", height=2.0), (6, 1))
    assert decoder.decode(logits) == " ".join(["ab ca"] * 6)


@pytest.mark.parametrize(("hot", "weight"), [("ca", 9.0), ("cc", 28.0)])
def test_a_hot_word_wins_over_another_reading(decoder, hot, weight):
    logits = peaks("ab", height=4.0)
    logits[:, [LABELS.index(c) for c in "ac"]] += 3.5
    logits[:, LABELS.index("|")] = -20  # one word only
    assert decoder.decode(logits, hotwords=[hot], hotword_weight=weight) == hot
    assert decoder.decode(logits) == "ab"


def test_a_hot_word_of_other_letters_is_told(decoder, caplog):
    assert decoder.decode(peaks("ab"), hotwords=["xyz"]) == "ab"
    assert "hot words that cannot be spelled with the labels have no effect: xyz" in caplog.text


def test_silence_and_no_frames_have_no_words(decoder):
    assert decoder.decode(10 * np.eye(5)[[0] * 6]) == ""
    assert decoder.decode(np.zeros((0, 5))) == ""
    assert decoder.decode(10 * np.eye(5)[[0, 1, 0, 1, 0]]) == ""


def test_logits_log_probs_and_probabilities_give_the_same(decoder):
    logits = logits_of(3, frames=12)
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found = [decoder.decode_beams(x) for x in (logits, np.log(probs), probs, probs.astype(np.float32))]
    assert len({beams[0][0] for beams in found}) == 1
    assert found[2][0][3] == pytest.approx(found[0][0][3], abs=1e-3)


def test_batches_equal_single_calls(decoder):
    utterances = [logits_of(seed, frames=20 + seed) for seed in range(6)]
    assert decoder.decode_batch(None, utterances) == [decoder.decode(x) for x in utterances]
    beams = decoder.decode_beams_batch(None, utterances, beam_width=5)
    assert [[b[0] for b in one] for one in beams] == [[b[0] for b in decoder.decode_beams(x, 5)] for x in utterances]
    assert all(len(beam) == 4 for one in beams for beam in one)
    with pytest.raises(InputError, match="utterance 1 of the batch: the logits have shape"):
        decoder.decode_batch(None, [utterances[0], utterances[0][:, 1:]])


def test_weights_can_be_changed(decoder, tmp_path):
    logits = logits_of(5, frames=12)
    decoder.reset_params(alpha=1.2, beta=-0.5, unk_score_offset=-3.0, lm_score_boundary=False)
    fresh = build_ctcdecoder(LABELS, tmp_path / "lm.arpa", None, 1.2, -0.5, -3.0, False)
    assert decoder.decode_beams(logits) == fresh.decode_beams(logits)


def test_copies_keep_the_weights_and_are_independent(decoder):
    decoder.reset_params(alpha=1.2)
    logits = logits_of(5, frames=12)
    copies = [copy.deepcopy(decoder), pickle.loads(pickle.dumps(decoder))]
    expected = decoder.decode_beams(logits)
    decoder.reset_params(beta=-2.0)
    assert [other.decode_beams(logits) for other in copies] == [expected] * 2
    assert decoder.decode_beams(logits) != expected


def test_forms_of_labels():
    found = Alphabet(["<pad>", "<s>", "</s>", "<unk>", "|", "E", "T"])
    assert found.labels == ["", "<s>", "</s>", "⁇", " ", "E", "T"]
    assert Alphabet(["_", " ", "a"]).labels == ["", " ", "a"]
    assert Alphabet(["a", " "]).labels == ["a", " ", ""]  # the blank is the column after the last
    assert Alphabet(["[PAD]", "[UNK]", "he", "##llo"]).labels == ["", "▁⁇▁", "▁he", "llo"]
    assert found.spell("TEE") == [(4, 3, 2, 2)]  # the space comes first
    assert found.spell("TEA") == []


def test_special_labels_count_as_blank():
    decoder = build_ctcdecoder(["<pad>", "<s>", "|", "a"])
    logits = 9 * np.eye(4)[[1, 3, 1, 3, 1]]
    assert decoder.decode(logits) == "aa"


def test_pieces_spell_words_in_several_ways(tmp_path):
    labels = ["<unk>", "▁a", "b", "▁ab", "▁c", "a", "▁"]
    write_arpa({(w,): (-1.0, 0.0) for w in ("<s>", "</s>", "<unk>", "ab", "ca")} | {("<s>", "ab"): (-0.5, 0.0)},
               tmp_path / "lm.arpa")  # fmt: skip
    decoder = build_ctcdecoder(labels, tmp_path / "lm.arpa")
    assert len(Alphabet(labels).spell("ab")) == 3
    for pieces in (["▁a", "b", "▁c", "a"], ["▁ab", "▁c", "a"], ["▁", "a", "b", "▁c", "a"]):
        columns = [k for piece in pieces for k in (labels.index(piece), 7)]
        (text, _, frames, _, _), *_ = decoder.decode_beams(9 * np.eye(8)[columns])
        assert text == "ab ca"
        assert frames[1] == ("ca", (len(columns) - 4, len(columns) - 1))


def test_a_known_word_in_another_segmentation_scores_as_the_known_word(tmp_path):
    write_arpa({(w,): (-1.0, 0.0) for w in ("<s>", "</s>", "<unk>", "aaaaaa")}, tmp_path / "lm.arpa")
    labels = ["▁a", "▁aa", "a", "aa", "aaa", "<pad>"]
    decoder = build_ctcdecoder(labels, tmp_path / "lm.arpa")
    assert (1, 3, 3, 3, 3, 3) not in Alphabet(labels).spell("aaaaaa")
    (text, _, _, logit_score, score), *_ = decoder.decode_beams(9 * np.eye(6)[[0, 5, 2, 5, 2, 5, 2, 5, 2, 5, 2]])
    assert text == "aaaaaa"
    assert score - logit_score == pytest.approx(0.5 * math.log(10) * -2 + 1.5, abs=1e-4)


def test_labels_without_a_space_make_one_word():
    decoder = build_ctcdecoder(["<pad>", "가", "나"])
    assert decoder.decode(9 * np.eye(3)[[1, 0, 2, 1]]) == "가나가"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d, f: d.decode(np.zeros((3, 4))), r"shape \(3, 4\); expected \(frames, 5\)"),
        (lambda d, f: d.decode(np.full((3, 5), np.nan)), "frame 0 of the logits holds NaN"),
        (lambda d, f: d.decode(np.full((3, 5), -np.inf)), "frame 0 of the logits holds only -inf"),
        (lambda d, f: d.decode(np.zeros((3, 5)), beam_width=0), "beam_width is 0"),
        (lambda d, f: d.decode(np.zeros((3, 5)), beam_prune_logp=1.0), "beam_prune_logp 1.0"),
        (lambda d, f: d.decode(np.zeros((3, 5)), hotwords="ab"), "hotwords is the text 'ab'"),
        (lambda d, f: d.decode(np.zeros((3, 5)), hotwords=["ab"], hotword_weight=math.nan), "hotword_weight is nan"),
        (lambda d, f: d.decode(np.zeros((3, 5)), lm_start_state=1), "lm_start_state must be None"),
        (lambda d, f: build_ctcdecoder("abc"), "labels must be a list"),
        (lambda d, f: build_ctcdecoder(["a", "b", "a"]), "'a' occurs twice"),
        (lambda d, f: build_ctcdecoder(["<pad>", "|"]), "no label stands for text"),
        (lambda d, f: build_ctcdecoder(["▁a", "b", " "]), "one of the two styles"),
        (lambda d, f: build_ctcdecoder(["A", "|"], f / "lm.arpa"), "upper and lower case"),
        (lambda d, f: build_ctcdecoder(LABELS, f / "lm.arpa", "ab"), "unigrams is the text 'ab'"),
        (lambda d, f: build_ctcdecoder(LABELS, f / "lm.arpa", alpha=math.inf), "alpha is inf"),
        (lambda d, f: build_ctcdecoder(LABELS, f / "lm.arpa", unk_score_offset="x"), "unk_score_offset is 'x'"),
        (lambda d, f: d.reset_params(beta=math.nan), "beta is nan"),
        (lambda d, f: build_ctcdecoder(LABELS, f / "no.arpa"), "no.arpa"),
    ],
)
def test_bad_input_is_refused(call, message, decoder, tmp_path):
    with pytest.raises(InputError, match=message):
        call(decoder, tmp_path)


def test_a_kenlm_binary_is_refused(tmp_path):
    (tmp_path / "lm.bin").write_bytes(b"mmap lm http://kheafield.com/code format version 5\n\0" + bytes(100))
    with pytest.raises(InputError, match="KenLM"):
        build_ctcdecoder(LABELS, tmp_path / "lm.bin")


def test_unigrams_without_effect_are_told(tmp_path, decoder, caplog):
    build_ctcdecoder(LABELS, unigrams=["ab"])
    assert "unigrams have no effect without a language model" in caplog.text
    build_ctcdecoder(LABELS, tmp_path / "lm.arpa", ["ab", "cc"])
    assert "1 of 2 unigrams are not in the language model and count as unknown words: cc" in caplog.text
