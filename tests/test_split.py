"""Texts in pieces: joined they are the text again, and a recogniser of pieces gives spaced words."""

import lzma
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.cli.main import main
from asr.config import Config, LmConfig
from asr.errors import InputError
from asr.lm.training import train, train_file
from asr.models.acoustic import AcousticModel
from asr.pieces import Segmenter, are_pieces, joined
from asr.pipeline import build_graph
from asr.recognizer.recognizer import Recognizer
from asr.search.space import SearchSpace
from asr.text.clean import clean
from asr.text.ko.morphemes import kiwi, morphemes
from asr.text.split import split_files, splitter
from asr.text.units import to_units
from asr.tokens import BLANK, SPACE, Tokens

TEXT_KO = Path(__file__).parents[2] / "shared/data/text_ko"
SENTENCES = ["나는 학교에 갔다", "학생들에게서는 그 값을 물었습니다", "kbs 뉴스 3번 봐", "아 음 그 뭐라고 할까"]


@pytest.fixture
def needs_kiwi() -> None:
    pytest.importorskip("kiwipiepy", reason="pip install kiwipiepy")


def test_morphemes(needs_kiwi: None) -> None:
    assert morphemes("나는 학교에 갔다") == "▁나 는 ▁학교 에 ▁갔 다"
    assert "들 에게서 는" in morphemes("학생들에게서는") and morphemes("") == ""


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.text(st.sampled_from("가는다갔값을 를ㅋᆯa1.😀é\u1100"), max_size=20))
def test_pieces_joined_are_the_text(text: str) -> None:
    pytest.importorskip("kiwipiepy", reason="pip install kiwipiepy")
    found = splitter("morphemes")(text)
    assert joined(found.split()) == " ".join(text.split())
    assert sum(piece.startswith("▁") for piece in found.split()) == len(text.split())


def test_pieces_of_real_sentences_joined_are_the_text(needs_kiwi: None) -> None:
    if not TEXT_KO.is_dir():
        pytest.skip("needs ../shared/data/text_ko")
    split = splitter("morphemes")
    for path in sorted(TEXT_KO.glob("*.xz")):
        with lzma.open(path, "rt", encoding="utf-8") as lines:
            for line in islice(lines, 0, 2000, 20):
                assert joined(split(clean(line, "ko")).split()) == clean(line, "ko")


def test_pieces_of_sentencepiece(tmp_path: Path) -> None:
    pieces = pytest.importorskip("sentencepiece", reason="pip install sentencepiece")
    (tmp_path / "a.txt").write_text("\n".join(SENTENCES * 20) + "\n", encoding="utf-8")
    pieces.SentencePieceTrainer.train(
        input=str(tmp_path / "a.txt"), model_prefix=str(tmp_path / "m"), vocab_size=60, hard_vocab_limit=False,
        minloglevel=2,
    )  # fmt: skip
    split = splitter(str(tmp_path / "m.model"))
    for text in [*SENTENCES, "못 본 글자 쀍"]:
        assert joined(split(text).split()) == text and "▁ " not in split(text) + " "
    with pytest.raises(InputError, match="changes the text 'ﬁ' to 'fi'; clean the text, or train"):
        split("ﬁ")
    (tmp_path / "bad.model").write_bytes(b"not a model")
    with pytest.raises(InputError, match="bad.model is not a model of SentencePiece"):
        splitter(str(tmp_path / "bad.model"))
    with pytest.raises(InputError, match="text.pieces=none: expected morphemes, a net's tokens.txt, or a file"):
        splitter("none")


def test_pieces_of_a_net(tmp_path: Path) -> None:
    Tokens([BLANK, "ab", "▁ab", "a", "b", "▁"]).write(tmp_path / "tokens.txt")
    split = splitter(str(tmp_path / "tokens.txt"))
    assert split("abab  ba") == "▁ab ab ▁ b a" and joined(split("abc").split()) == "abc"


def test_marks_are_refused(needs_kiwi: None) -> None:
    for text in ("▁나 는", "저는 <name>"):
        with pytest.raises(InputError, match="cannot be in a text that is split"):
            splitter("morphemes")(text)


def test_without_kiwipiepy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "kiwipiepy", None)
    kiwi.cache_clear()
    (tmp_path / "a.txt").write_text("나는\n")
    with pytest.raises(InputError, match="needs kiwipiepy: pip install"):
        split_files([str(tmp_path / "a.txt")], str(tmp_path / "b.txt"), "morphemes")
    assert not (tmp_path / "b.txt").exists()
    kiwi.cache_clear()


def test_the_verb(needs_kiwi: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given, output = tmp_path / "a.txt", tmp_path / "b.pieces"
    given.write_text("\n".join(SENTENCES) + "\n", encoding="utf-8")
    assert main(["text", "split", str(given), f"output={output}"]) == 0
    assert capsys.readouterr().out.startswith("4 sentences, 16 words in ")
    assert [joined(line.split()) for line in output.read_text(encoding="utf-8").splitlines()] == SENTENCES
    assert main(["text", "split", str(given), f"output={given}"]) == 2


def test_a_model_of_pieces_cuts_plain_text_itself() -> None:
    model = train(["▁나 는 ▁학교 에", "▁학교 는 ▁나"], order=2)
    assert are_pieces(model.words)
    assert model.words_in("▁나 는") == ["▁나", "는"]
    assert model.words_in("학교는 나에") == ["▁학교", "는", "▁나", "에"]
    assert model.words_in("나는 너는") == ["▁나", "는", "▁너", "는"]  # the model cannot spell the last
    assert train(["▁나 는 ▁나"], order=1).words_in("나는 너") == ["▁나", "는", "▁너"]


PIECES = ["▁나 는 ▁학교 에 ▁갔 다", "▁너 는 ▁집 에 ▁왔 다", "▁학교 에서 ▁나 를 ▁봤 다", "▁집 을 ▁봤 다"]


@pytest.fixture(scope="module", params=["static jamo", "dynamic jamo", "static piece", "dynamic piece"])
def recognizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recognizer:
    kind, unit = request.param.split()
    folder = tmp_path_factory.mktemp("pieces")
    (folder / "a.pieces").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    train_file(LmConfig(text=[str(folder / "a.pieces")], order=2, arpa=str(folder / "lm.arpa")))
    texts = [joined(line.split()) for line in PIECES]
    if unit == "piece":
        tokens = Tokens([BLANK, *sorted({piece for line in PIECES for piece in line.split()})])
    else:
        tokens = Tokens([BLANK, SPACE, *sorted({x for text in texts for x in to_units(text, unit)} - {SPACE})])
    tokens.write(folder / "tokens.txt")
    cfg = Config(out=str(folder))
    cfg.tokens.unit, cfg.tokens.table, cfg.graph.kind = unit, str(folder / "tokens.txt"), kind
    build_graph(cfg)
    cfg.features.num_bins, cfg.features.cmvn, cfg.model.hidden, cfg.model.layers = 8, "utterance", 4, 1
    model = AcousticModel(cfg.features, cfg.model, len(tokens))
    return Recognizer(model, cfg, tokens, SearchSpace.read(cfg.graph.dir, tokens))


@pytest.mark.parametrize(
    "text", ["나는 학교에 갔다", "너를 집에서 봤다", "학교는 왔다", "집에 학교에서 나를", "나 너 집"]
)
def test_a_graph_of_pieces_recognises_words_that_no_text_has(recognizer: Recognizer, text: str) -> None:
    tokens = recognizer.tokens
    units = to_units(text, recognizer.cfg.tokens.unit, Segmenter(tokens))
    path = [k for unit in units for k in (0, *[tokens.symbols.index(unit)] * 2)]
    share = np.full((len(path), len(tokens)), 0.02 / len(tokens)) + 0.98 * np.eye(len(tokens))[path]
    found = recognizer.search("x", np.log(share).astype(np.float32), 1.0)
    assert found.text == text and [word.word for word in found.words] == text.split()
    assert all(word.start_s < word.end_s for word in found.words)
