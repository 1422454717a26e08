"""Cleaning of whole files: output, dropped sentences and the report."""

import gzip
import json
import lzma
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr import manifest
from asr.cli import main as cli
from asr.config import TextConfig
from asr.errors import InputError
from asr.manifest import Utterance
from asr.text.cleaning import Seen, clean_files
from asr.text.cleaning_report import difference
from asr.text.ko import transcription
from asr.text.sentences import split

TEXT = "Hello, World!\nIt cost $5.\n\nпривет мир\n--- !!\nit cost $5\nＨello world\n"


def cleaned(folder: Path, text: str | bytes, **settings: object) -> tuple[list[str], dict]:
    """The lines of the output and the JSON report."""
    (folder / "in.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    clean_files([str(folder / "in.txt")], str(folder / "out.txt"), TextConfig(**settings))
    return (folder / "out.txt").read_text().splitlines(), json.loads((folder / "out.txt.report.json").read_text())


def counts(report: dict) -> dict[str, int]:
    return {kind: finding["count"] for kind, finding in (report["changed"] | report["dropped"]).items()}


def test_lines_changes_and_drops(tmp_path: Path) -> None:
    lines, report = cleaned(tmp_path, TEXT, max_repeats=1)
    assert lines == ["hello world", "it cost five dollars"]
    assert (report["texts"], report["kept_texts"], report["words"], report["kept_words"]) == (6, 2, 14, 6)
    assert counts(report) == {
        "case": 3, "punctuation": 3, "numbers": 2, "unicode": 1, "foreign": 1, "no words": 1, "repeated": 2,
    }  # fmt: skip
    assert report["changed"]["numbers"]["examples"] == [
        ["It cost $5.", "It cost five dollars."],
        ["it cost $5", "it cost five dollars"],
    ]
    assert report["dropped"]["foreign"]["examples"] == [[f"{tmp_path}/in.txt:4", "привет мир"]]


def test_settings(tmp_path: Path) -> None:
    assert cleaned(tmp_path, TEXT, max_foreign=1.0)[0][2] == "привет мир"
    assert "it cost 5" in cleaned(tmp_path, TEXT, numbers="digits")[0]
    assert cleaned(tmp_path, "12\n", numbers="digits")[0] == ["12"]
    assert cleaned(tmp_path, "soooo\n", repairs=["repeats"])[0] == ["soo"]
    assert cleaned(tmp_path, "TV 3대\n", lang="ko", latin="keep")[0] == ["tv 세 대"]
    for wrong in ({"lang": "fr"}, {"max_repeats": -1}, {"max_repeats": 255}):
        with pytest.raises(InputError, match=f"text.{next(iter(wrong))}=.*expected"):
            cleaned(tmp_path, TEXT, **wrong)


def test_slots_stay(tmp_path: Path) -> None:
    text = "Call <name>, please: 2 times!\n<b>Drive</b> to <place>...\n"
    assert cleaned(tmp_path, text, slots=["<name>", "<place>"])[0] == [
        "call <name> please two times",
        "b drive b to <place>",
    ]
    assert cleaned(tmp_path, "<name>님 3명\n", slots=["<name>"], lang="ko")[0] == ["<name> 님 세 명"]
    with pytest.raises(InputError, match="'name' is not a slot; expected a word in angle brackets"):
        cleaned(tmp_path, text, slots=["name"])


def test_lines_that_are_not_utf8_are_named_and_left_out(tmp_path: Path) -> None:
    lines, report = cleaned(tmp_path, b"\xef\xbb\xbfone\n\xff\xfe\ntwo\n")
    assert lines == ["one", "two"]
    assert report["dropped"]["not UTF-8"]["examples"][0][0] == f"{tmp_path}/in.txt:2"


def test_packed_files_in_and_out(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"One.\n"))
    (tmp_path / "b.xz").write_bytes(lzma.compress(b"Two.\n"))
    clean_files([str(tmp_path / "a.gz"), str(tmp_path / "b.xz")], str(tmp_path / "out.txt.gz"), TextConfig())
    assert gzip.decompress((tmp_path / "out.txt.gz").read_bytes()) == b"one\ntwo\n"


@given(st.text("aB가.1 2?(\n", max_size=40), st.sampled_from(["en", "ko"]))
@settings(max_examples=200, deadline=None)
def test_splitting_loses_white_space_only(text: str, lang: str) -> None:
    found = list(split(text, lang))
    assert all(sentence.strip() == sentence != "" for sentence in found)
    assert "".join("".join(found).split()) == "".join(text.split())


def test_paragraphs_become_sentences(tmp_path: Path) -> None:
    text = 'Mr. J. Smith paid $3.50. "Why?" he asked. It was 5 p.m. on Jan. 5... Yes!'
    assert list(split(text, "en")) == [
        "Mr. J. Smith paid $3.50.", '"Why?" he asked.', "It was 5 p.m. on Jan. 5...", "Yes!",
    ]  # fmt: skip
    assert list(split("안녕하세요. 3.14는 원주율이다! 왜요?", "ko")) == ["안녕하세요.", "3.14는 원주율이다!", "왜요?"]
    assert list(split("We met in 1984. Then we left. 2. He is 30. 5 men came.", "en")) == [
        "We met in 1984.", "Then we left.", "2. He is 30.", "5 men came.",
    ]  # fmt: skip
    assert list(split("1. Mix 2 eggs. 2. Bake at 200. (3. Eat it.)", "en")) == [
        "1. Mix 2 eggs.", "2. Bake at 200.", "(3. Eat it.)",
    ]  # fmt: skip
    dates = "시행일은 2023. 5. 17. 이다. 총점은 30. 다음은 2023.5.17. 공포. 6. 10. 개최. 3.14. 끝."
    assert list(split(dates, "ko")) == [
        "시행일은 2023. 5. 17. 이다.", "총점은 30.", "다음은 2023.5.17. 공포.", "6. 10. 개최.", "3.14.", "끝.",
    ]  # fmt: skip
    assert cleaned(tmp_path, "One. Two.\n", paragraphs=True)[0] == ["one", "two"]
    assert cleaned(tmp_path, "One. Two.\n")[0] == ["one two"]


def test_manifests_become_a_manifest_or_a_text(tmp_path: Path) -> None:
    utterances = [
        Utterance("a", str(tmp_path / "a.wav"), text="Yes, 3!", speaker="s", extra={"split": "train"}),
        Utterance("b", str(tmp_path / "b.wav"), text="?!"),
    ]
    manifest.write(tmp_path / "in.jsonl", utterances)
    with open(tmp_path / "in.jsonl", "a") as file:
        file.write("{}\n")
    report = clean_files([str(tmp_path / "in.jsonl")], str(tmp_path / "out.jsonl"), TextConfig())
    utterances[0].text = "yes three"
    assert manifest.read(tmp_path / "out.jsonl") == utterances[:1]
    assert {reason: finding.examples[0][0] for reason, finding in report.dropped.items()} == {
        "no words": f"{tmp_path}/in.jsonl: b",
        "malformed": f"{tmp_path}/in.jsonl:3",
    }
    clean_files([str(tmp_path / "in.jsonl")], str(tmp_path / "out.txt"), TextConfig())
    assert (tmp_path / "out.txt").read_text() == "yes three\n"
    with pytest.raises(InputError, match="out.txt is not a manifest .* so .*x.jsonl cannot be one; name it"):
        clean_files([str(tmp_path / "out.txt")], str(tmp_path / "x.jsonl"), TextConfig())
    with pytest.raises(InputError, match="is also an input"):
        clean_files([str(tmp_path / "out.txt")], str(tmp_path / "out.txt"), TextConfig())


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("3명이 왔다.\n3명이 왔다.\n")
    (tmp_path / "p.txt").write_text("왔다. 갔다.\n")
    (tmp_path / "fix.tsv").write_text("왔다\t갔다\n")
    words = [
        str(tmp_path / "a.txt"),
        f"output={tmp_path}/b.txt",
        "lang=ko",
        f"repairs={tmp_path}/fix.tsv",
        "max_repeats=1",
    ]
    assert cli.main(["text", "clean", *words]) == 0
    assert (tmp_path / "b.txt").read_text() == "세 명이 갔다\n"
    printed = capsys.readouterr().out
    assert "kept 1 of 2 sentences, 3 words of 4" in printed and "3명이 갔다. -> 세 명이 갔다." in printed
    assert (
        cli.main(["text", "clean", f"{tmp_path}/p.txt", f"output={tmp_path}/c.txt", "lang=ko", "paragraphs=true"]) == 0
    )
    assert "kept 2 of 2" in capsys.readouterr().out
    (tmp_path / "l.txt").write_bytes(b"caf\xe9 noir\n")
    assert cli.main(["text", "clean", f"{tmp_path}/l.txt", f"output={tmp_path}/d.txt", "lang=en"]) == 2
    assert "l.txt: 0 sentences kept; the report above gives the reasons" in capsys.readouterr().err
    (tmp_path / "l.txt").write_text("\n")
    assert cli.main(["text", "clean", f"{tmp_path}/l.txt", f"output={tmp_path}/b.txt", "lang=en"]) == 2
    assert "l.txt: there is no text to clean" in capsys.readouterr().err
    assert (tmp_path / "b.txt").read_text() == "세 명이 갔다\n"
    assert cli.main(["text", "clean", words[0]]) == 2
    assert cli.main(["text", "clean", f"output={tmp_path}/b.txt"]) == 2
    assert "needs texts" in capsys.readouterr().err


def test_repetitions_are_counted_as_by_a_counter() -> None:
    draws = random.Random(1)
    seen, counter = Seen(), Counter[str]()
    for _ in range(20_000):
        text = str(int(draws.paretovariate(0.3)) % 10_000)
        counter[text] += 1
        assert seen.add(text) == min(counter[text], Seen.MOST + 1)


def test_examples_show_the_change_with_its_neighbours() -> None:
    assert difference("a b c d 5 e f g h", "a b c d five e f g h") == ("c d 5 e f", "c d five e f")
    assert difference("a", "") == ("a", "")
    assert difference("x 1 1", "x 1") == ("x 1 1", "x 1")


def test_characters_outside_the_alphabet_are_counted_and_named(tmp_path: Path) -> None:
    lines, report = cleaned(tmp_path, "café naïve café\nplain words\nßeta \u0915\u093f x\u0304\n")
    assert lines == ["café naïve café", "plain words", "ßeta \u0915\u093f x\u0304"]
    assert report["outside"] == {"é": 2, "ï": 1, "ß": 1, "\u0915": 1, "\u093f": 1, "\u0304": 1}
    assert report["noticed"]["outside the alphabet"]["count"] == 2
    lines, report = cleaned(tmp_path, "ok 좋아요 ㅋㅋ <name>\n", lang="ko", latin="keep", slots=["<name>"])
    assert report["outside"] == {"ㅋ": 2, "o": 1, "k": 1}
    assert cleaned(tmp_path, "12.5 people\n", numbers="digits")[1]["outside"] == {}
    assert cleaned(tmp_path, "12.5 people, don't\n")[1]["outside"] == {}


def test_the_table_names_them_and_wrong_encodings(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("café x\u0304\ndonâ€™t\n")
    table = clean_files([str(tmp_path / "in.txt")], str(tmp_path / "out.txt"), TextConfig()).table()
    assert "characters outside the alphabet: é (U+00E9) 1, U+0304 1, â (U+00E2) 1" in table
    assert "noticed wrong encoding" in table and "| donâ€™t" in table


def test_marks_of_korean_transcripts(tmp_path: Path) -> None:
    text = "b/ 안녕 o/ (3시)/(세 시)에 n/ 그+ u/(70%)/(칠십 프로) 뭐* 아/\n"
    lines, report = cleaned(tmp_path, text, lang="ko")
    assert lines == ["안녕 세 시에 그 칠십 프로 뭐 아"]
    assert report["changed"]["transcription"]["count"] == 1
    assert cleaned(tmp_path, text, lang="ko", numbers="digits")[0] == ["안녕 3시에 그 70 뭐 아"]
    assert cleaned(tmp_path, "(사과)나 귤/배 km/h\n", lang="ko", numbers="digits")[0] == ["사과 나 귤 배 km h"]


@pytest.mark.parametrize(
    ("text", "spoken", "written"),
    [
        ("(1/2)/(이분의 일)로", "이분의 일로", "1/2로"),  # a slash within
        ("(3시) / (세 시)", "세 시", "3시"),
        ("그 b/. l/l/ 네 n/, 아b/", "그 . 네 , 아", "그 . 네 , 아"),
        ("o/x 퀴즈 km/h a/b/ 귤/배", "o/x 퀴즈 km/h a/b/ 귤/배", "o/x 퀴즈 km/h a/b/ 귤/배"),
        ("b/ (b/ 2번)/(두 번)", "두 번", "2번"),
    ],
)
def test_korean_transcriptions_as_spoken_and_as_written(text: str, spoken: str, written: str) -> None:
    assert " ".join(transcription.plain(text).split()) == spoken
    assert " ".join(transcription.plain(text, as_spoken=False).split()) == written


def test_marks_in_brackets_are_noticed_or_removed(tmp_path: Path) -> None:
    text = "<noise> one [laughter] {um} <COMMA> two\nthree <name>\n"
    lines, report = cleaned(tmp_path, text, slots=["<name>"])
    assert lines == ["noise one laughter um comma two", "three <name>"]
    assert report["noticed"]["marks"]["count"] == 1
    assert "<noise> [laughter] {um} <COMMA>" in report["noticed"]["marks"]["examples"][0][1]
    lines, report = cleaned(tmp_path, text, slots=["<name>"], repairs=["marks"])
    assert lines == ["one two", "three <name>"] and "marks" not in report["noticed"]
