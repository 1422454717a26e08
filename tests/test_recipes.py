"""Recipes: the files that prepare.py writes, downloads, synthetic speech, and experiments that compose."""

import hashlib
import lzma
import tarfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from asr import manifest
from asr.cli.overrides import compose, to_overrides
from asr.config import Config, FeaturesConfig
from asr.data import corpora
from asr.errors import InputError
from asr.features import recorded
from asr.features.frontend import FrontEnd
from asr.features.sphinx import COSINES, smooth
from recipes.commands import voices
from recipes.digits import kokoro, synthesise, unseen
from recipes.digits import prepare as digits_room
from recipes.librispeech.prepare import write_splits
from recipes.run import load_module

RECIPES = Path(__file__).parent.parent / "recipes"


def load_prepare(recipe: str) -> ModuleType:
    return load_module(recipe, recipe)


def config(out: Path, root: Path, **features: float) -> Config:
    cfg = Config(features=FeaturesConfig(**features))
    cfg.data.dir, cfg.data.root = str(out), str(root)
    return cfg


def write_noise(path: Path, seconds: float, rate_hz: int = 16000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(path.name))
    soundfile.write(path, 0.1 * rng.standard_normal(int(seconds * rate_hz)), rate_hz)


WITHOUT_TEXT = ("timit_hmm",)  # HMMs for `asr align`
DATA_OF = {
    "english_hama": "english",
    "english_sat": "english_scratch",
    "english_hybrid": "english_scratch",
    "korean_dnn": "korean_adapted",
    "korean_hybrid": "korean_sat",
}


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*/experiment/*.yaml")), ids=lambda p: p.stem)
def test_experiment_composes(path: Path) -> None:
    cfg = compose(to_overrides([f"experiment={path.stem}"], (), str(path.parent.parent)))
    assert cfg.out == f"exp/{path.stem}"
    assert cfg.lm.text == ([] if path.stem in WITHOUT_TEXT else [f"{cfg.data.dir}/lm.txt"])
    assert cfg.data.dir == f"exp/{DATA_OF.get(path.stem, path.stem)}/data"


@pytest.fixture
def digits_corpus(tmp_path: Path) -> Path:
    for digit in range(10):
        for speaker in ("ann", "bob"):
            for take in (0, 5, 9, 10):
                write_noise(tmp_path / f"fsdd/audio/{digit}_{speaker}_{take}.wav", 0.2 + 0.02 * digit, 8000)
    return tmp_path


def test_digit_strings_keep_to_their_split(
    digits_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = load_prepare("digits")
    monkeypatch.setattr(digits, "STRINGS", {"train": 12, "dev": 4, "test": 6})
    assert "real speech" in digits.prepare(config(tmp_path / "out", digits_corpus))
    train, test = (manifest.read(tmp_path / f"out/{s}.jsonl") for s in ("train", "test"))
    assert len(train) == 12 and len(test) == 6 and {u.speaker for u in test} == {"ann", "bob"}
    for u in train:
        assert u.audio and 1 <= len(u.text.split()) <= 7
        assert soundfile.info(u.audio).duration == pytest.approx(u.duration_s, abs=1e-3)
    chosen = digits.split_digits(digits.list_digits(digits_corpus))
    takes = {split: {d.take for d in chosen[split]} for split in chosen}
    assert takes == {"train": {9, 10}, "dev": {5}, "test": {0}}
    lexicon = (tmp_path / "out/lexicon.txt").read_text()
    assert "seven S EH V AH N" in lexicon


def test_a_held_out_speaker_is_only_tested(digits_corpus: Path) -> None:
    digits = load_prepare("digits")
    chosen = digits.split_digits(digits.list_digits(digits_corpus), "bob")
    assert {d.speaker for d in chosen["test"]} == {"bob"} and len(chosen["test"]) == 40
    assert {d.speaker for d in [*chosen["train"], *chosen["dev"]]} == {"ann"}
    with pytest.raises(InputError, match="no speaker 'eve'; choose one of"):
        digits.split_digits(digits.list_digits(digits_corpus), "eve")
    fewer = digits.split_digits(digits.list_digits(digits_corpus), "bob", without="ann")
    assert {d.speaker for d in fewer["test"]} == {"bob"} and not fewer["train"] + fewer["dev"]
    with pytest.raises(InputError, match="no speaker 'eve'"):
        digits.split_digits(digits.list_digits(digits_corpus), "bob", without="eve")


def write_census(folder: Path) -> None:
    """Two speakers' cepstra in AN4's layout."""
    folder.mkdir(parents=True)
    words = "ZERO ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE".split()
    (folder / "an4.dic").write_text("".join(f"{word} {' '.join(word)}\n" for word in [*words, "RUBOUT", "ONE(2)"]))
    rng = np.random.default_rng(1)
    utterances = []
    for name in ("fash", "fbbh"):
        cepstra = rng.normal(0, 1, (90, 13)).astype(np.float32)
        (folder / f"{name}.mfc").write_bytes(np.array(cepstra.size, ">i4").tobytes() + cepstra.astype(">f4").tobytes())
        utterance = manifest.Utterance(name, features=str(folder / f"{name}.mfc"), text="ONE RUBOUT", speaker=name)
        utterance.extra = {"split": "train"}
        utterances.append(utterance)
    manifest.write(folder / "manifest.jsonl", utterances)


def test_training_for_an_unseen_speaker_includes_other_voices(
    digits_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_census(tmp_path / "an4")
    digits = digits_room.list_digits(digits_corpus / "fsdd")
    monkeypatch.setattr(unseen, "synthetic_digits", lambda: [d for d in digits if d.speaker == "ann"])
    monkeypatch.setattr(unseen, "neural_digits", lambda: [])
    monkeypatch.setattr(unseen, "REAL_STRINGS", {"train": 6, "dev": 2, "test": 3})
    monkeypatch.setattr(unseen, "SYNTHETIC_STRINGS", 4)
    assert "SYNTHETIC" in unseen.prepare(config(tmp_path / "out", tmp_path), speaker="bob")
    made = {split: manifest.read(tmp_path / f"out/{split}.jsonl") for split in ("train", "dev", "test")}
    assert [len(made[split]) for split in made] == [6 + 4 + 2 * unseen.CENSUS_COPIES, 2, 3]
    assert {u.speaker for u in made["test"]} == {"bob"}
    assert {u.speaker for u in made["train"]} == {"ann", "fash", "fbbh"}
    for u in [*made["train"], *made["test"]]:
        features = np.load(u.features)
        assert features.shape[1] == unseen.COMMON_BANDS and features.dtype == np.float32 and u.text.isupper()
    copies = [np.load(u.features) for u in made["train"] if u.id.endswith("fash")]
    assert len(copies) == unseen.CENSUS_COPIES and not np.allclose(copies[0], copies[1])
    assert "RUBOUT" not in (tmp_path / "out/digits.txt").read_text()


def write_corpus(folder: Path, rows: list[tuple[str, str | None, str]]) -> None:
    """Recordings of noise: (id, text, split). An id may name its speaker: 1_ann_5."""
    utterances = []
    for name, text, split in rows:
        path = folder / f"{name}.flac"
        write_noise(path, 0.8)
        extra = {"split": split}
        speaker = name.split("_")[1] if "_" in name else "s1"
        utterances.append(manifest.Utterance(name, str(path), None, 0.0, 0.8, text, speaker, "en", extra))
    manifest.write(folder / "manifest.jsonl", utterances)


@pytest.fixture
def commands_corpora(tmp_path: Path) -> Path:
    write_census(tmp_path / "an4")
    census = manifest.read(tmp_path / "an4/manifest.jsonl")
    census[1].extra = {"split": "test"}
    manifest.write(tmp_path / "an4/manifest.jsonl", census)
    (tmp_path / "an4/an4.dic").write_text("ONE W AH N\nRUBOUT R AH B AW T\n")
    write_corpus(tmp_path / "prompts_en", [("a", "Goodbye!", "train"), ("b", "Hello.", "dev"), ("c", "2", "test")])
    write_corpus(tmp_path / "commands_en", [("d", "bed", "test"), ("e", "happy", "test")])
    digits = [("1_ann_5", "one", "train"), ("2_ann_39", "two", "train"), ("3_theo_5", "three", "train"),
              ("4_ann_0", "four", "test"), ("5_theo_0", "five", "test")]  # fmt: skip
    write_corpus(tmp_path / "fsdd", digits)
    write_corpus(tmp_path / "libri_en", [("l", "the end", "train"), ("m", "of all", "dev")])
    write_corpus(tmp_path / "noise", [("h", None, "train"), ("i", None, "test")])
    write_corpus(tmp_path / "rir", [("j", "", "train"), ("k", "", "test")])
    (tmp_path / "text_en").mkdir()
    with lzma.open(tmp_path / "text_en/t.txt.xz", "wt") as file:
        file.write("Happy the cat, the bed; it's the cat xqzzy\n")
    return tmp_path


def test_commands_keep_the_test_and_its_words_out_of_the_training(
    commands_corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = load_prepare("commands")
    monkeypatch.setattr(voices, "PACKAGES", ())
    said = {}

    def speak(engine: str, words: list[str], folder: Path) -> list[manifest.Utterance]:
        said[engine] = words
        path = tmp_path / f"{engine}.flac"
        write_noise(path, 0.5)
        return [manifest.Utterance(engine, str(path), None, 0.0, 0.5, "the cat", engine, "en")]

    monkeypatch.setattr(commands, "speak", speak)
    cfg = config(tmp_path / "out", tmp_path, kind="stored", num_bins=40, low_hz=130, high_hz=6800)
    assert "SYNTHETIC" in commands.prepare(cfg)
    assert all(words == ["the", "cat"] for words in said.values())
    made = {s: manifest.read(tmp_path / f"out/{s}.jsonl") for s in ("train", "dev", "test")}
    assert {u.text for u in made["train"]} == {"one rubout", "goodbye", "the end", "of all", "one", "", "the cat"}
    assert {u.text for u in made["dev"]} == {"one rubout", "hello", "two", "five"}
    assert [u.text for u in made["test"]] == ["bed", "happy"]
    assert len(made["train"]) == sum(commands.COPIES.values()) + 1  # libri_en has two utterances
    for u in made["train"] + made["test"]:
        features = np.load(u.features)
        assert features.shape == (round(100 * u.duration_s), 40) and np.isfinite(features).all()
    for split in made:
        front_end = recorded.read(tmp_path / f"out/{split}/config.json")
        assert front_end == FeaturesConfig(kind="logmel", num_bins=40, low_hz=130, high_hz=6800, cmvn="none")
    lexicon = (tmp_path / "out/lexicon.txt").read_text()
    assert "rubout R AH B AW T\n" in lexicon and "happy HH AE P IY\n" in lexicon
    assert voices.phones("happy seven", voices.PIPER) == "hˈæpiː sˈɛvən"
    assert voices.phones("seven bird", voices.KOKORO) == "sˈɛvən bˈɜɹd"


def test_the_frames_of_commands_in_a_room_are_those_of_the_clean_copies(
    commands_corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = load_prepare("commands")
    monkeypatch.setattr(commands, "COPIES", {"an4": 2, "prompts_en": 3, "noise": 1})
    cfg = config(tmp_path / "out", tmp_path, kind="stored", num_bins=40, low_hz=130, high_hz=6800)
    monkeypatch.setattr(voices, "PACKAGES", ("numpy", "no_such_voice"))
    with pytest.raises(InputError, match="no no_such_voice .*voices"):
        commands.prepare(cfg)
    monkeypatch.setattr(voices, "PACKAGES", ())
    commands.prepare(cfg)
    for split in ("train", "dev", "test"):
        heard, clean = (manifest.read(tmp_path / f"out/{folder}{split}.jsonl") for folder in ("", "clean/"))
        assert [(u.id, u.text, u.duration_s) for u in heard] == [(u.id, u.text, u.duration_s) for u in clean]
        for one, other in zip(heard, clean, strict=True):
            bands, cepstra = np.load(one.features), np.load(other.features)
            assert cepstra.shape == (len(bands), 13)
            if split != "train":
                np.testing.assert_allclose(cepstra @ COSINES, smooth(bands), atol=1e-3)


def test_a_word_begins_and_ends_at_the_same_place_in_all_rooms(commands_corpora: Path, tmp_path: Path) -> None:
    """Two clicks, in rooms where sound arrives 30 ms late."""
    rooms = load_prepare("commands").Rooms(str(tmp_path), FrontEnd(FeaturesConfig(kind="logmel", num_bins=40)))
    rooms.echoes = [np.concatenate([np.zeros(480), 0.8 ** np.arange(50)])]
    rooms.noises = [np.random.default_rng(1).standard_normal(8000)]
    clicks = np.zeros(8000, np.float32)
    clicks[[1600, 6400]] = 1.0
    leads = set()
    for seed in range(20):
        heard, clean = (np.abs(x) for x in rooms.in_a_room(clicks, np.random.default_rng(seed)))
        assert len(heard) == len(clean)
        places = sorted(clean.argsort()[-2:])
        assert places[1] - places[0] == 4800
        for place in places:
            assert heard[place - 400 : place + 400].argmax() == 400
        leads.add(places[0] - 1600)
    assert 0.05 * 16000 <= min(leads) < max(leads) <= 0.45 * 16000


def test_words_are_spoken_once_and_trimmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def say(text: str, voice: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        return np.concatenate([np.zeros(8000), rng.normal(0, 0.1, 8000), np.zeros(8000)]), 8000

    monkeypatch.setitem(voices.ENGINES, "test", (lambda: say, 2, 3, (1, 2)))
    made = voices.speak("test", ["cat", "dog"], tmp_path)
    assert [len(u.text.split()) for u in made] == [1, 2, 1] and all(0.9 < u.duration_s < 1.1 for u in made)
    assert voices.speak("test", ["cat", "dog"], tmp_path) == made
    assert {u.text for u in voices.speak("test", ["other"], tmp_path)} == {"other", "other other"}


def test_kokoro_speaks_in_published_voices_and_in_mixtures_of_three(tmp_path: Path) -> None:
    published = np.eye(4, 510 * 256, dtype="<f4").reshape(4, 510, 256)
    paths = [tmp_path / f"{name}.bin" for name in "abcd"]
    for path, style in zip(paths, published, strict=True):
        style.tofile(path)
    np.testing.assert_array_equal(kokoro.published_style(paths, 2), published[2])
    weights = kokoro.published_style(paths, 4).ravel()[:4]
    assert (weights > 0).sum() == 3 and weights.sum() == pytest.approx(1)
    np.testing.assert_array_equal(kokoro.published_style(paths, 4).ravel()[:4], weights)


def test_yesno_splits_train_and_names_the_words(tmp_path: Path) -> None:
    yesno = load_prepare("yesno")
    rows = []
    for number in range(24):
        name = "_".join(f"{number:08b}")
        path = tmp_path / f"yesno/audio/{name}.flac"
        write_noise(path, 0.3, 8000)
        text = " ".join("yes" if c == "1" else "no" for c in f"{number:08b}")
        split = "train" if number < 12 else "test"
        rows.append(manifest.Utterance(name, str(path), None, 0.0, 0.3, text, "global", "he", {"split": split}))
    manifest.write(tmp_path / "yesno/manifest.jsonl", rows)
    assert yesno.prepare(config(tmp_path / "out", tmp_path)) == f"real speech: the yesno set in {tmp_path}/yesno"
    sizes = {s: len(manifest.read(tmp_path / f"out/{s}.jsonl")) for s in ("train", "dev", "test")}
    assert sizes == {"train": 10, "dev": 2, "test": 12}


@pytest.fixture
def librispeech_tree(tmp_path: Path) -> Path:
    """Two parts with a chapter each in LibriSpeech's layout; one recording of the first is missing."""
    for part, speaker in (("train-clean-5", 19), ("dev-clean-2", 84)):
        chapter = tmp_path / f"LibriSpeech/{part}/{speaker}/198"
        for number in range(2):
            write_noise(chapter / f"{speaker}-198-000{number}.flac", 1.0)
        lines = [f"{speaker}-198-000{number} HELLO WORLD {number}" for number in range(3 if speaker == 19 else 2)]
        (chapter / f"{speaker}-198.trans.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_librispeech_layout(librispeech_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = {"train": ["train-clean-5"], "dev": ["dev-clean-2"]}
    write_splits(config(tmp_path / "out", librispeech_tree), parts)
    train = manifest.read(tmp_path / "out/train.jsonl")
    assert [(u.id, u.text, u.speaker) for u in train] == [
        ("19-198-0000", "hello world 0", "19"),
        ("19-198-0001", "hello world 1", "19"),
    ]
    assert "19-198.trans.txt:3" in capsys.readouterr().out
    with pytest.raises(InputError, match="has no folder 'test-clean'"):
        write_splits(config(tmp_path / "out", librispeech_tree), {"test": ["test-clean"]})


@pytest.fixture
def archive_server(librispeech_tree: Path) -> Iterator[tuple[str, str, Path]]:
    """(address of an archive, its digest, the folder served)."""
    served = librispeech_tree / "served"
    served.mkdir()
    with tarfile.open(served / "part.tar.gz", "w:gz") as tar:
        tar.add(librispeech_tree / "LibriSpeech", "LibriSpeech")
    digest = "md5:" + hashlib.md5((served / "part.tar.gz").read_bytes()).hexdigest()

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(served))  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/part.tar.gz", digest, served
        server.shutdown()


def test_archive_is_fetched_once_checked_and_unpacked(archive_server: tuple[str, str, Path], tmp_path: Path) -> None:
    url, digest, served = archive_server
    folder = corpora.fetch(url, digest, tmp_path / "cache")
    assert (folder / "LibriSpeech/dev-clean-2/84/198/84-198.trans.txt").exists()
    assert corpora.fetch(url, digest, tmp_path / "cache") == folder
    (tmp_path / "by_hand").mkdir()
    (served / "part.tar.gz").rename(tmp_path / "by_hand/part.tar.gz")
    assert (corpora.fetch(url, digest, tmp_path / "by_hand") / "LibriSpeech").is_dir()


def test_broken_download_starts_again_where_the_server_cannot_resume(
    archive_server: tuple[str, str, Path], tmp_path: Path
) -> None:
    url, digest, _ = archive_server
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/part.tar.gz.part").write_bytes(b"half of something")
    assert (corpora.fetch(url, digest, tmp_path / "cache") / "LibriSpeech").is_dir()


def test_wrong_digest_and_dead_server_are_named(archive_server: tuple[str, str, Path], tmp_path: Path) -> None:
    url, _, _ = archive_server
    with pytest.raises(InputError, match="part.tar.gz has md5 .*, expected 0123; it is deleted.* as .*/part.tar.gz$"):
        corpora.fetch(url, "md5:0123", tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.tar.gz*"))
    with pytest.raises(InputError, match="cannot download http://127.0.0.1:9/x.tar.gz.* save it .* as .*/x.tar.gz"):
        corpora.fetch("http://127.0.0.1:9/x.tar.gz", "md5:0", tmp_path / "cache")


def test_find_looks_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("given", "variable"):
        (tmp_path / place / "set").mkdir(parents=True)
    monkeypatch.setenv("ASR_DATA", str(tmp_path / "variable"))
    assert corpora.find("set", str(tmp_path / "given")) == tmp_path / "given/set"
    assert corpora.find("set") == tmp_path / "variable/set"
    with pytest.raises(InputError, match="holds no folder 'other'"):
        corpora.find("other", str(tmp_path / "given"))
    monkeypatch.delenv("ASR_DATA")
    monkeypatch.chdir(tmp_path)
    assert corpora.find("set") is None
    (tmp_path / "shared/data/set").mkdir(parents=True)
    (tmp_path / "checkout/docs").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "checkout/docs")
    assert corpora.find("set") == tmp_path / "shared/data/set" and corpora.find("other") is None


def test_espeak_speaks_digits_of_different_voices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("espeakng_loader", reason="pip install espeakng-loader to test the synthetic corpus")
    monkeypatch.setattr(synthesise, "VOICES", ["en-us", "en-gb"])
    monkeypatch.setattr(synthesise, "TAKES", [(30, 120), (60, 180)])
    folder = synthesise.synthesise_digits(tmp_path / "espeak", ["zero", "one"])
    digits = load_prepare("digits").list_digits(folder)
    assert len(digits) == 8 and {d.speaker for d in digits} == {"enus", "engb"}
    lengths = {d.path.name: len(soundfile.read(d.path)[0]) for d in digits}
    assert lengths["0_enus_0.flac"] > lengths["0_enus_1.flac"] > 2000
