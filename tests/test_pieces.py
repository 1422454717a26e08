"""Pieces of words as tokens: segmentations, greedy text, and words in graphs, lists and new words."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from asr.config import Config
from asr.errors import InputError
from asr.models.acoustic import AcousticModel
from asr.models.imported import outputs
from asr.pieces import segmentations
from asr.pipeline import build_graph
from asr.recognizer.recognizer import Recognizer
from asr.search.searchers import GreedySearcher
from asr.search.space import SearchSpace
from asr.text.lexicon import Lexicon
from asr.text.units import to_text, to_units
from asr.tokens import BLANK, Tokens

TOKENS = Tokens([BLANK, "▁", "▁a", "a", "b", "ab", "▁ab", "ba", "▁abba"])


def all_segmentations(word, pieces):
    text = "▁" + word
    for count in range(len(text)):
        for cuts in combinations(range(1, len(text)), count):
            ends = [0, *cuts, len(text)]
            parts = tuple(text[i:j] for i, j in zip(ends, ends[1:], strict=False))
            if all(part in pieces for part in parts):
                yield parts


@pytest.mark.parametrize("word", ["a", "ab", "abba", "ababab", "bbaab"])
def test_segmentations_are_those_with_the_fewest_pieces(word):
    every = list(all_segmentations(word, TOKENS))
    assert sorted(segmentations(word, TOKENS, 10**6)) == sorted(every)
    few = segmentations(word, TOKENS)
    assert [len(parts) for parts in few] == sorted(len(parts) for parts in every)[:4] and len(set(few)) == len(few)


def merged_one_by_one(word, symbols):
    """BPE as it is learned: each piece in the order of the table is merged wherever its two parts meet."""
    parts = list("▁" + word)
    for piece in symbols:
        at = 0
        while at < len(parts) - 1:
            if parts[at] + parts[at + 1] == piece:
                parts[at : at + 2] = [piece]
            at += 1
    return tuple(parts)


def learned_table(rng):
    """Pieces in the order in which BPE learns them from random words, then the characters, as SentencePiece does."""
    words = [list("▁" + "".join(rng.choice(list("abc"), rng.integers(1, 12)))) for _ in range(30)]
    pieces = []
    while len(pieces) < 12:
        pairs = Counter(a + b for word in words for a, b in zip(word, word[1:], strict=False))
        pieces.append(pairs.most_common(1)[0][0])
        words = [list(merged_one_by_one("".join(word)[1:], pieces)) for word in words]
    return [BLANK, *pieces, "▁", "a", "b", "c"]


def test_the_segmentation_of_bpe_is_among_them():
    rng, missed = np.random.default_rng(3), 0
    for _ in range(20):
        tokens = Tokens(learned_table(rng))
        for _ in range(20):
            word = "".join(rng.choice(list("abc"), rng.integers(1, 16)))
            expected, found = merged_one_by_one(word, tokens.symbols[1:-4]), segmentations(word, tokens)
            assert expected in found and len(found) <= 5 and len(set(found)) == len(found)
            missed += expected not in found[:4]
    assert missed > 5  # it may have many pieces


def test_words_that_pieces_cannot_spell_are_named():
    for word in ("abc", "A", BLANK):
        assert segmentations(word, TOKENS) == []
    assert list(Lexicon.from_spelling(["A", "ab"], "piece", TOKENS).pronunciations) == ["ab"]
    with pytest.raises(InputError, match=r"no word can be spelled in the model's pieces \(A, AB\)"):
        Lexicon.from_spelling(["A", "AB"], "piece", TOKENS)


def test_a_long_word_takes_no_time():
    assert len(segmentations("ab" * 200, TOKENS)) == 4


def test_units_and_text():
    lexicon = Lexicon.from_spelling(["abba", "ab"], "piece", TOKENS)
    units = to_units("abba ab", "piece", lexicon)
    assert units == ["▁abba", "▁ab"] and to_text(units, "piece") == "abba ab"
    assert to_text(["b", "a", "▁a", "b", "▁", "▁ba"], "piece") == "ba ab ba"
    with pytest.raises(InputError, match="unit 'piece' needs a lexicon"):
        to_units("ab", "piece")


def log_probs(*names):
    """Each token for two frames, after a blank."""
    path = [k for name in names for k in (0, *[TOKENS.symbols.index(name)] * 2)]
    return np.log(np.full((len(path), len(TOKENS)), 0.01) + 0.9 * np.eye(len(TOKENS))[path]).astype(np.float32)


def test_greedy_words_begin_at_their_mark():
    found = GreedySearcher(TOKENS, "piece").search(log_probs("b", "▁a", "ba", "▁", "▁ab", "▁", "a"))
    assert [word.word for word in found.words] == ["b", "aba", "ab", "a"]
    assert [len(word.segments) for word in found.words] == [1, 2, 1, 2]


@pytest.fixture(scope="module", params=["static", "dynamic"])
def recognizer(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pieces")
    TOKENS.write(folder / "tokens.txt")
    (folder / "lm.arpa").write_text(
        "\\data\\\nngram 1=5\n\n\\1-grams:\n-99 <s>\n-0.6 </s>\n-0.6 abba\n-0.6 ab\n-0.9 a\n\n\\end\\\n"
    )
    cfg = Config(out=str(folder))
    cfg.tokens.unit, cfg.tokens.table = "piece", str(folder / "tokens.txt")
    cfg.graph.kind = request.param
    build_graph(cfg)
    cfg.features.num_bins, cfg.features.cmvn, cfg.model.hidden, cfg.model.layers = 8, "utterance", 4, 1
    model = AcousticModel(cfg.features, cfg.model, len(TOKENS))
    return Recognizer(model, cfg, TOKENS, SearchSpace.read(cfg.graph.dir, TOKENS))


@pytest.mark.parametrize("pieces", [["▁abba"], ["▁ab", "ba"], ["▁a", "b", "ba"]])
def test_graph_search_hears_a_word_in_any_of_its_pieces(pieces, recognizer):
    found = recognizer.search("x", log_probs(*pieces, "▁ab"), 1.0)
    assert found.text == "abba ab"
    assert [word.confidence > 0.5 for word in found.words] == [True, True]


def test_lists_and_new_words_are_spelled_in_pieces(recognizer):
    assert recognizer.with_list(["baab", "ab"]).search("x", log_probs("▁", "ba", "ab"), 1.0).text == "baab"
    with pytest.raises(InputError, match="cannot be spelled in the model's pieces: ax"):
        recognizer.with_list(["ax"])
    if recognizer.cfg.graph.kind == "dynamic":
        with_word = recognizer.with_new_words(["baab"])
        assert with_word.search("x", log_probs("▁", "ba", "ab", "▁abba"), 1.0).text == "baab abba"


def test_the_unit_is_found_and_a_lone_mark_stays_a_piece():
    found = outputs.choose([*TOKENS.symbols, "<unk>"], 0, ["▁"], (), "x")
    assert found.unit == "piece" and found.symbols == TOKENS.symbols and found.dropped == ["<unk>"]
    with pytest.raises(InputError, match="'##b' is a piece of WordPiece"):
        outputs.choose([BLANK, "a", "##b"], 0, ["|"], (), "x")
