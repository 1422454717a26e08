"""Recipes of Korean corpora, each on a small tree in the layout in which it is distributed."""

import json
import lzma
import os
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
import soundfile

from asr import manifest
from asr.config import Config
from asr.errors import InputError
from asr.manifest import Utterance
from asr.text.lexicon import Lexicon
from recipes.clovacall import prepare as clovacall
from recipes.korean import korean_adapted, korean_sat
from recipes.korean.letters import letter_lexicon, pronunciations
from recipes.korean.texts import as_flac, write_lm_text
from recipes.ksponspeech import prepare as ksponspeech
from recipes.zeroth import prepare as zeroth


def noise(seed: int, seconds: float = 0.5) -> np.ndarray:
    return np.random.default_rng(seed).integers(-3000, 3000, int(16000 * seconds)).astype("<i2")


def write(path: Path, content: str | bytes | np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, np.ndarray):
        soundfile.write(path, content, 16000)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def config(tmp_path: Path, root: Path) -> Config:
    cfg = Config()
    cfg.data.dir, cfg.data.root = str(tmp_path / "out"), str(root)
    return cfg


def texts(tmp_path: Path, split: str) -> dict[str, str | None]:
    return {u.id: u.text for u in manifest.read(tmp_path / f"out/{split}.jsonl")}


def lm_text(tmp_path: Path) -> list[str]:
    return (tmp_path / "out/lm.txt").read_text(encoding="utf-8").splitlines()


@pytest.fixture
def zeroth_tree(tmp_path: Path) -> Path:
    corpus = tmp_path / "zeroth_korean"
    people = [("106", "F"), ("107", "m"), ("201", "F")]
    write(
        corpus / "AUDIO_INFO",
        "SPEAKERID|NAME|SEX|SCRIPTID|DATASET\n" + "".join(f"{s}|이름|{x}|003|t\n" for s, x in people),
    )
    for part, speaker in (("train_data_01", "106"), ("train_data_01", "107"), ("test_data_01", "201")):
        folder = corpus / part / "003" / speaker
        names = [f"{speaker}_003_{i:04}" for i in range(3)]
        for name in names[: 2 if speaker == "107" else 3]:
            write(folder / f"{name}.flac", noise(int(speaker)))
        lines = [f"{name} 인사를 {i + 1}번 하는 것\n" for i, name in enumerate(names)]
        write(folder / f"{speaker}_003.trans.txt", "".join(lines))
    return tmp_path


def test_zeroth(zeroth_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Zeroth-Korean" in zeroth.prepare(config(tmp_path, zeroth_tree))
    assert texts(tmp_path, "train") == {"107_003_0000": "인사를 한 번 하는 것", "107_003_0001": "인사를 두 번 하는 것"}
    assert list(texts(tmp_path, "dev")) == [f"106_003_000{i}" for i in range(3)]
    test = manifest.read(tmp_path / "out/test.jsonl")
    assert {(u.speaker, u.extra["sex"], u.lang, u.duration_s) for u in test} == {("201", "f", "ko", 0.5)}
    assert "107_003.trans.txt:3" in capsys.readouterr().out
    assert lm_text(tmp_path) == ["인사를 한 번 하는 것", "인사를 두 번 하는 것"]


def test_zeroth_refuses_other_trees(zeroth_tree: Path, tmp_path: Path) -> None:
    info = zeroth_tree / "zeroth_korean/AUDIO_INFO"
    write(info, "106|이름|F\n107\n")
    with pytest.raises(InputError, match=r"AUDIO_INFO:2: '107'; expected speaker\|name\|sex"):
        zeroth.prepare(config(tmp_path, zeroth_tree))
    write(info, "106|이름|F\n")
    with pytest.raises(InputError, match="AUDIO_INFO has no speaker 107"):
        zeroth.prepare(config(tmp_path, zeroth_tree))


def test_zeroth_refuses_a_line_without_text(zeroth_tree: Path, tmp_path: Path) -> None:
    """It would be trained on as silence."""
    next((zeroth_tree / "zeroth_korean/train_data_01").glob("*/*/*.trans.txt")).write_text("107_003_0000\n")
    with pytest.raises(InputError, match=r"trans.txt:1: '107_003_0000'; expected '<id> <text>'"):
        zeroth.prepare(config(tmp_path, zeroth_tree))


KSPON = {
    "train": [
        ("KsponSpeech_01/KsponSpeech_0001/KsponSpeech_000001.pcm", "b/ 아/ 몬 소리야, 그건 또. n/"),
        ("KsponSpeech_01/KsponSpeech_0001/KsponSpeech_000002.pcm", "(70%)/(칠십 퍼센트) 확률이라니 뭐* 그+ 그건"),
        ("KsponSpeech_05/KsponSpeech_0620/KsponSpeech_619001.pcm", "난 u/ 간다"),
        ("KsponSpeech_05/KsponSpeech_0620/KsponSpeech_619002.pcm", "(3시)/세 시에"),
        ("KsponSpeech_05/KsponSpeech_0620/KsponSpeech_619003.pcm", "없다."),
        ("KsponSpeech_05/KsponSpeech_0620/KsponSpeech_619004.pcm", "홀수"),
    ],
    "dev": [("KsponSpeech_05/KsponSpeech_0623/KsponSpeech_620001.pcm", "음/ l/ 네 u/")],
    "eval_clean": [("KsponSpeech_eval/eval_clean/KsponSpeech_E00001.pcm", "(TV)/(티비) 봐 o/")],
    "eval_other": [("KsponSpeech_eval/eval_other/KsponSpeech_E03001.pcm", "(1/2)/(이분의 일) KBS+ KBS?")],
}


@pytest.fixture(params=["utf-8", "cp949"])
def kspon_tree(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    corpus = tmp_path / "KsponSpeech"
    for name, rows in KSPON.items():
        write(corpus / f"scripts/{name}.trn", "".join(f"{pcm} :: {text}\n" for pcm, text in rows).encode(request.param))
        for number, (pcm, text) in enumerate(rows):
            if text != "없다.":
                write(corpus / pcm, noise(number).tobytes() + b"\0" * (text == "홀수"))
                write((corpus / pcm).with_suffix(".txt"), text.encode("cp949"))
    return tmp_path


def test_ksponspeech(kspon_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "as spoken" in ksponspeech.prepare(config(tmp_path, kspon_tree))
    spoken = ["아 몬 소리야 그건 또", "칠십 퍼센트 확률이라니 뭐 그 그건"]
    assert list(texts(tmp_path, "train").values()) == spoken == lm_text(tmp_path)
    assert texts(tmp_path, "dev") == {"KsponSpeech_620001": "음 네"}
    assert texts(tmp_path, "test") == {"KsponSpeech_E00001": "티비 봐"}
    assert texts(tmp_path, "test-other") == {"KsponSpeech_E03001": "이분의 일 케이비에스 케이비에스"}
    printed = capsys.readouterr().out
    assert "1 utterances with unintelligible speech" in printed
    for number, reason in ((4, "parentheses in '(3시)/세 시에'"), (5, "cannot read"), (6, "has 16001 bytes")):
        assert f"train.trn:{number}: " in printed and reason in printed
    first = manifest.read(tmp_path / "out/train.jsonl")[0]
    samples, rate_hz = soundfile.read(first.audio, dtype="int16")
    assert (rate_hz, first.duration_s) == (16000, 0.5) and np.array_equal(samples, noise(0))


def test_ksponspeech_as_written(kspon_tree: Path, tmp_path: Path) -> None:
    ksponspeech.prepare(config(tmp_path, kspon_tree), notation="written")
    assert list(texts(tmp_path, "train").values())[1] == "70 확률이라니 뭐 그 그건"
    assert texts(tmp_path, "test") == {"KsponSpeech_E00001": "tv 봐"}
    assert texts(tmp_path, "test-other") == {"KsponSpeech_E03001": "1 2 kbs kbs"}
    with pytest.raises(InputError, match="notation=both: expected one of spoken, written"):
        ksponspeech.prepare(config(tmp_path, kspon_tree), notation="both")


def test_ksponspeech_names_malformed_scripts(tmp_path: Path) -> None:
    corpus = tmp_path / "KsponSpeech"
    corpus.mkdir()
    with pytest.raises(InputError, match="unpack KsponSpeech_scripts.zip as 'scripts'"):
        ksponspeech.prepare(config(tmp_path, tmp_path))
    write(corpus / "scripts/train.trn", "a.pcm:: 네\n")
    with pytest.raises(InputError, match=r"train.trn:1: 'a.pcm:: 네'; expected"):
        ksponspeech.prepare(config(tmp_path, tmp_path))


@pytest.mark.parametrize("has_header", [True, False])
def test_clovacall(has_header: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = tmp_path / "ClovaCall"
    rows = {
        part: [
            {"wav": f"42_0603_748_0_0{s}_0{i}.wav", "text": f"단체 할인 {i + 1}명, 되나요?", "speaker_id": s}
            for s in speakers for i in range(2)
        ]
        for part, speakers in {"train": ["3319", "3607"], "test": ["4001"]}.items()
    }  # fmt: skip
    for part, found in rows.items():
        write(corpus / f"{part}_ClovaCall.json", json.dumps(found, ensure_ascii=False))
        for number, row in enumerate(found):
            for sound, seconds in (("raw", 0.6), ("clean", 0.4)):
                samples = noise(number, seconds)
                write(corpus / sound / row["wav"], samples if has_header else samples.tobytes())
    (corpus / "clean" / rows["train"][3]["wav"]).unlink()
    clovacall.prepare(config(tmp_path, tmp_path))
    assert texts(tmp_path, "train") == {"42_0603_748_0_03607_00": "단체 할인 한 명 되나요"}
    assert "train_ClovaCall.json, item 4: cannot read" in capsys.readouterr().out
    assert {u.speaker for u in manifest.read(tmp_path / "out/dev.jsonl")} == {"3319"}
    test = manifest.read(tmp_path / "out/test.jsonl")
    assert [u.duration_s for u in test] == [0.4, 0.4] and test[0].text == "단체 할인 한 명 되나요"
    assert np.array_equal(soundfile.read(test[1].audio, dtype="int16")[0], noise(1, 0.4))
    clovacall.prepare(config(tmp_path, tmp_path), sound="raw")
    assert [u.duration_s for u in manifest.read(tmp_path / "out/test.jsonl")] == [0.6, 0.6]
    assert len(soundfile.read(manifest.read(tmp_path / "out/test.jsonl")[1].audio)[0]) == 9600


def test_clovacall_names_malformed_lists(tmp_path: Path) -> None:
    for content, message in {'[{"wav": "a.wav", "text": "네"}]': "item 1: expected an object", "{}": "a list"}.items():
        write(tmp_path / "ClovaCall/train_ClovaCall.json", content)
        with pytest.raises(InputError, match=message):
            clovacall.prepare(config(tmp_path, tmp_path))


def test_headerless_samples_become_flac_once(tmp_path: Path) -> None:
    write(tmp_path / "a.pcm", noise(1).tobytes())
    assert as_flac(tmp_path / "a.pcm", tmp_path / "a.flac") == 0.5
    before = (tmp_path / "a.flac").stat().st_mtime_ns
    assert as_flac(tmp_path / "a.pcm", tmp_path / "a.flac") == 0.5
    assert (tmp_path / "a.flac").stat().st_mtime_ns == before
    write(tmp_path / "a.pcm", noise(2, 0.25).tobytes())
    assert as_flac(tmp_path / "a.pcm", tmp_path / "a.flac") == 0.25 == soundfile.info(tmp_path / "a.flac").duration
    write(tmp_path / "a.pcm", noise(3, 0.25).tobytes())  # as long as before
    os.utime(tmp_path / "a.flac", (0, 0))
    as_flac(tmp_path / "a.pcm", tmp_path / "a.flac")
    assert np.array_equal(soundfile.read(tmp_path / "a.flac", dtype="int16")[0], noise(3, 0.25))
    write(tmp_path / "b.pcm", b"")
    with pytest.raises(InputError, match="has 0 bytes"):
        as_flac(tmp_path / "b.pcm", tmp_path / "b.flac")


def test_the_language_model_reads_no_sentence_that_is_tested(tmp_path: Path) -> None:
    for split, text in {
        "train": "나는 간다",
        "dev": "너는 온다",
        "test": "세 명이 본다",
        "test-other": "비가 온다",
    }.items():
        manifest.write(tmp_path / f"out/{split}.jsonl", [Utterance(split, "x.wav", text=text)])
    (tmp_path / "text_ko").mkdir()
    with lzma.open(tmp_path / "text_ko/a.txt.xz", "wt", encoding="utf-8") as file:
        file.write("너는 온다.\n3명이 본다\n비가 온다\n눈이 온다\n나는 간다\n")
    write_lm_text(tmp_path / "out", str(tmp_path))
    assert lm_text(tmp_path) == ["나는 간다", "눈이 온다", "나는 간다"]


@pytest.mark.parametrize(
    "word, phones",
    [
        ("국물", ["국물"]),  # letters, not sounds
        ("아이", ["ᅡᅵ"]),  # the first consonant is mute
        ("개", ["게"]),
        ("왜", ["ᅰ"]),
        ("부엌", ["부ᅥᆨ"]),
        ("없다", ["ᅥᆸ다", "ᅥᆸᆺ다"]),
        ("좋아", ["조ᅡ", "좋ᅡ"]),
        ("삶과", ["삼과", "살ᆷ과"]),
        ("ㅋㅋ", ["크크"]),
        ("ok", []),
    ],
)
def test_korean_letters_as_phones(word: str, phones: list[str]) -> None:
    assert ["".join(units) for units in pronunciations(word)] == [normalize("NFD", units) for units in phones]


def test_the_lexicon_of_letters_spells_every_syllable() -> None:
    syllables = [chr(code) for code in range(ord("가"), ord("힣") + 1)]
    lexicon = letter_lexicon([*syllables, "가나 ok"])
    assert {len(units) for s in syllables for units in lexicon.pronunciations[s]} == {1, 2, 3, 4}
    assert len(lexicon) == 2 * len(syllables) + 1  # each also with ▁, and 가나
    assert lexicon.pronunciations["▁나"] == lexicon.pronunciations["나"]
    assert "ok" not in lexicon and "▁o" not in lexicon
    assert len(lexicon.units()) == 18 + 17 + 14


def test_hmms_get_a_lexicon_of_words_and_syllables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = config(tmp_path, tmp_path)
    for split, text in (("train", "좋은 날"), ("dev", "새 말")):
        manifest.write(tmp_path / f"out/{split}.jsonl", [Utterance(split, audio="a.wav", text=text)])
    write(tmp_path / "out/lm.txt", "어느 봄\n")
    monkeypatch.setattr("recipes.korean.prepare.prepare", lambda cfg: "found")
    assert korean_sat.prepare(cfg) == "found"
    found = Lexicon.read(tmp_path / "out/lexicon.txt")
    assert {"좋은", "좋", "▁좋", "새", "▁말", "▁느", "봄"} <= set(found.pronunciations) and "어느" not in found
    assert found.pronunciations["어"] == [("ᅥ",)]


def test_adapted_features_of_all_test_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cfg = config(tmp_path, tmp_path)
    with pytest.raises(InputError, match="experiment=korean_sat"):
        korean_adapted.prepare(cfg)
    own = tmp_path / "exp/korean_sat"
    for name in ("tune.json", "data/lexicon.txt", "data/lm.txt"):
        write(own / name, "{}")
    listed = {"train": ["pansori-1"], "dev": ["pansori-2"], "test": ["korean_read-3", "pansori-4", "korean_dialog-5"]}
    for split, ids in listed.items():
        manifest.write(own / f"data/{split}.jsonl", [Utterance(id, audio="a.wav", text="말") for id in ids])
    monkeypatch.setattr("asr.pipeline.tuned", lambda cfg: cfg)
    monkeypatch.setattr("asr.pipeline.open_recognizer", lambda cfg: None)
    monkeypatch.setattr(
        korean_adapted, "write_features", lambda _, source, output: manifest.write(output, manifest.read(source))
    )
    korean_adapted.prepare(cfg)
    found = {path.stem: list(texts(tmp_path, path.stem)) for path in (tmp_path / "out").glob("*.jsonl")}
    assert found == listed | {
        "pansori": ["pansori-4"],
        "korean_read": ["korean_read-3"],
        "korean_dialog": ["korean_dialog-5"],
    }
