"""Punctuation of texts: what is read from books, what is put back, the net against torch, its file and its verbs."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.cli import main as cli
from asr.errors import InputError
from asr.punctuation import file, tagger, training
from asr.punctuation.marks import CAPITAL, CAPITALS, COMMA, FULL_STOP, LOWER, NONE, QUESTION_MARK, UNKNOWN, put, read
from asr.punctuation.scores import baseline, score
from asr.punctuation.tagger import Tagger, without_capitals
from asr.punctuation.training import Corpus, Trained, corpus, train

SIGNS = {",": COMMA, ".": FULL_STOP, "?": QUESTION_MARK}
READ = [
    ('"Yes," he said.', "yes, he said."),
    ("What is it? I know!", "what is it? i know."),
    ("Mr. Smith -- of the U.S. army -- slept; J. Brown did not: why?",
     "mr smith, of the u.s. army, slept, j brown did not, why?"),
    ("At 5 p.m. it cost $1,234.50...", "at 5 p.m. it cost $1,234.50."),
    ("a well-known 'friend' (or two)", "a well known friend or two"),
    ("He came to St. Ives, etc.", "he came to st ives, etc."),
    ("'네,' 하고 말했다… 왜?", "네, 하고 말했다. 왜?"),
    ("— 10% 할인 -5도 C++", "10% 할인 -5도 c++"),
    ("...", ""),
]  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), READ)
def test_marks_are_read_from_text(line: str, expected: str) -> None:
    assert " ".join(w.word.lower() + ("", ",", ".", "?")[w.mark] for w in read(line)) == expected


def test_cases_are_read_from_text() -> None:
    assert [w.case for w in read("The BBC in London said I was. so 5 McDonald")] == [
        UNKNOWN, CAPITALS, LOWER, CAPITAL, LOWER, CAPITAL, LOWER, LOWER, LOWER, CAPITAL,
    ]  # fmt: skip


def test_marks_and_capitals_are_put() -> None:
    words = "how are you i am in the usa at 5 p.m. now".split()
    marks = [0, 0, QUESTION_MARK, 0, 0, 0, 0, COMMA, 0, 0, FULL_STOP, FULL_STOP]
    cases = [LOWER] * 7 + [CAPITALS] + [LOWER] * 4
    assert " ".join(put(words, marks, cases)) == "How are you? I am in the USA, at 5 p.m. Now."
    assert list(put("at p.m. mr. p.m.".split(), [0, QUESTION_MARK, COMMA, COMMA], [LOWER] * 4)) == [
        "At", "p.m.?", "Mr.", "p.m.,"
    ]  # fmt: skip
    assert " ".join(put(["and", "iPhone,"], [0, FULL_STOP], [LOWER] * 2, is_start=False)) == "and iPhone,"
    assert " ".join(put(["Yes.", "no"], [FULL_STOP, NONE], [LOWER] * 2)) == "Yes. No"
    assert " ".join(put("네 tv 봐요".split(), [FULL_STOP, NONE, QUESTION_MARK], None)) == "네. tv 봐요?"


def net(has_cases: bool = True, seed: int = 0) -> Trained:
    torch.manual_seed(seed)
    made = Trained(has_cases).eval()
    torch.nn.init.normal_(made.pairs.weight)
    return made


TEXT = st.lists(st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=6), max_size=40)
NET = net()
TAGGER = Tagger(NET.net())


@given(TEXT)
@settings(max_examples=50, deadline=None)
def test_the_tags_are_those_of_torch(words: list[str]) -> None:
    padded = np.zeros((1, len(words) + 5, tagger.NUM_KEYS), np.uint32)
    padded[0, : len(words)] = np.reshape([tagger.keys(word) for word in words], (len(words), tagger.NUM_KEYS))
    with torch.no_grad():
        scores = NET(padded)[0, : len(words)]
    assert TAGGER.tags(words, is_end=False) == (scores[:, :4].argmax(1).tolist(), scores[:, 4:].argmax(1).tolist())


@given(TEXT)
@settings(max_examples=50, deadline=None)
def test_only_marks_and_capitals_change(words: list[str]) -> None:
    found = TAGGER.punctuated(words)
    assert len(found) == len(words) and not any(char.isspace() for word in found for char in word)
    for word, form in zip(words, found, strict=True):
        assert word.islower() or word in (form, form[:-1])
        plain, *marked = (text.upper().casefold() for text in (word, form, form[:-1]))
        assert plain in marked


def test_tags_do_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [f"w{n % 7}{'x' * (n % 3)}" for n in range(100)]
    whole = TAGGER.tags(words)
    monkeypatch.setattr(tagger, "BLOCK", 9)
    assert TAGGER.tags(words) == whole and len(set(whole[0])) > 1
    assert TAGGER.tags([]) == ([], []) and whole[0][-1] in (FULL_STOP, QUESTION_MARK)


def test_capitals_throughout_tell_nothing() -> None:
    assert without_capitals(["HELLO", "I"]) == ["hello", "i"] and without_capitals(["OK", "I", "am"]) == [
        "OK",
        "I",
        "am",
    ]


def test_a_file_keeps_the_net(tmp_path: Path) -> None:
    file.write(tmp_path / "n.npz", TAGGER.net)
    found = file.read(tmp_path / "n.npz")
    assert np.abs(found.table - TAGGER.net.table).max() <= np.abs(TAGGER.net.table).max() / 127
    layers, expected = [[net.inner, *net.layers, net.out] for net in (found, TAGGER.net)]
    for one, other in zip(layers, expected, strict=True):
        assert all(np.allclose(a, b, rtol=1e-3, atol=1e-6) for a, b in zip(one, other, strict=True))


def changed(path: Path, **members: np.ndarray | None) -> Path:
    with np.load(path) as found:
        kept = {name: found[name] for name in found.files} | members
    np.savez_compressed(path, **{name: array for name, array in kept.items() if array is not None})
    return path


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "n.npz"
    with pytest.raises(InputError, match="there is no punctuation net .*asr punctuation train"):
        file.read(path)
    wrong = [
        {"format": np.frombuffer(b"asr g2p 1", np.uint8)}, {"table": None}, {"table_scale": np.ones(3, np.float32)},
        {"pairs": np.ones((4, 4), np.int8)}, {"inner_w": np.ones((1, 1), np.float16)},
        {"layer2_b": np.full(64, np.nan, np.float16)}, {"out_b": np.ones(5, np.float16)},
        {"table": np.array([{}], object)},
    ]  # fmt: skip
    for members in wrong:
        file.write(path, TAGGER.net)
        with pytest.raises(InputError, match="is not a punctuation net or is damaged"):
            file.read(changed(path, **members))
    file.write(path, TAGGER.net)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"no net", whole[:5000] + b"xxxx" + whole[5004:]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="is not a punctuation net or is damaged"):
            file.read(path)


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    packed = io.BytesIO()
    np.save(packed, np.zeros((1 << 21, 33), np.int8))
    with zipfile.ZipFile(tmp_path / "n.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("table.npy", packed.getvalue())
    with pytest.raises(InputError, match="more than"):
        file.read(tmp_path / "n.npz")


def test_the_net_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions begin with `do`, a comma precedes `but`, and Ann is a name. A small net is enough."""
    monkeypatch.setattr(training, "HIDDEN", 64)
    random = np.random.default_rng(1)

    def sentence() -> str:
        words = [str(random.choice(["you", "see", "Ann", "go", "home", "now"])) for _ in range(random.integers(2, 6))]
        is_question = random.random() < 0.4
        if random.random() < 0.4:
            words[-1] += ", but " + str(random.choice(["see", "go"]))
        text = " ".join(["Do" if is_question else "They", *words])
        return text + ("?" if is_question else ".")

    (tmp_path / "a.txt").write_text("\n".join(sentence() for _ in range(3000)))
    texts = corpus([str(tmp_path / "a.txt")])
    assert isinstance(texts, Corpus) and texts.has_cases and len(texts.ends) == 3000
    tagger = Tagger(train(texts, 2, 1, lambda line: None))
    said = "do you see ann they go but see do you go now but go"
    assert " ".join(tagger.punctuated(said.split())) == "Do you see Ann? They go, but see. Do you go now, but go?"


def test_training_is_repeated_by_its_seed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Do you? No, I go.\n" * 300)
    texts = corpus([str(tmp_path / "a.txt")])
    one, two = (train(texts, 1, 3, lambda line: None) for _ in range(2))
    assert np.array_equal(one.table, two.table) and np.array_equal(one.out[0], two.out[0])


def test_scores_by_hand() -> None:
    truth = [read("Do you see Ann? No, I go."), read("Yes, go.")]
    found = score(truth, baseline)
    assert [(s.right, s.found, s.true) for s in found.values()] == [(0, 0, 2), (2, 2, 2), (0, 0, 1), (2, 2, 5)]
    assert (found["capital"].precision, found["capital"].recall, found["comma"].f1) == (1.0, 0.4, 0.0)
    assert found["capital"].f1 == pytest.approx(2 * 0.4 / 1.4)
    assert list(score([read("네, 가요.")], baseline, has_cases=False)) == ["comma", "full stop", "question mark"]


def test_the_verbs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, model = tmp_path / "a.txt", tmp_path / "net.npz"
    text.write_text("Do you see it?\nNo, I go home.\n\nA LOUD HEADING.\nno mark\n" * 100)
    assert cli.main(["punctuation", "train", str(text), f"output={model}", "epochs=1"]) == 0
    assert "200 sentences, 800 words" in capsys.readouterr().out
    (tmp_path / "w.txt").write_text("DO YOU SEE IT\n\nno i go home\n")
    command = [
        "punctuation",
        "apply",
        str(tmp_path / "w.txt"),
        f"output={tmp_path}/p.txt",
        f"punctuation.model={model}",
    ]
    assert cli.main(command) == 0
    lines = (tmp_path / "p.txt").read_text().split("\n")
    assert len(lines) == 4 and lines[0][0] == "D" and lines[1] == ""
    capsys.readouterr()
    assert cli.main(["punctuation", "score", str(text), f"punctuation.model={model}", "lines=2"]) == 0
    assert "100 texts, 800 words" in capsys.readouterr().out


def test_wrong_inputs_of_the_verbs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plain.txt").write_text("no marks here\n")
    (tmp_path / "m.jsonl").write_text('{"id": "a", "audio": "a.wav", "text": "b"}\n')
    for command, message in (
        ("punctuation train {}/plain.txt output={}/n.npz", "no line ends in a punctuation mark"),
        ("punctuation train output={}/n.npz", "needs texts"),
        ("punctuation apply {}/m.jsonl output={}/p.txt", "is a manifest"),
        ("punctuation apply {}/plain.txt output={}/p.txt punctuation.model={}/plain.txt", "is not a punctuation net"),
        ("punctuation score", "needs texts"),
    ):
        assert cli.main(command.replace("{}", str(tmp_path)).split()) == 2
        assert message in capsys.readouterr().err
    assert not {path.name for path in tmp_path.iterdir()} - {"plain.txt", "m.jsonl"}
