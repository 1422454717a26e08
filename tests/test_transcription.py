"""Transcription by people: the journal, who hears what, the form of transcripts, agreement, and the verbs."""

import json
import math
import os
import random
import sys
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from killed import kill_after
from logged import heard, log_of
from test_full_disk import largest_file
from transcribed import manifest_of, save

from asr import manifest
from asr.cli import main as cli
from asr.config import TextConfig
from asr.errors import InputError
from asr.flywheel.transcription.agreement import agreement, kappa
from asr.flywheel.transcription.form import checked, normal
from asr.flywheel.transcription.items import assigned, check_names, read
from asr.flywheel.transcription.journal import Journal, Save
from asr.text.cleaning import Cleaner
from asr.text.cleaning_report import CleaningReport


def test_a_journal_is_read_as_it_was_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    saves = [
        save("a", text="하나", state="draft"), save("a", text="하나 둘"), save("a", "ben", "하나 둘"),
        save("b", mark="noise"), save("b", "ben", text="x"), save("c", text="one", state="draft"),
    ]  # fmt: skip
    for each in saves:
        journal.add(each)
    for read_again in (journal, Journal(journal.path)):
        assert read_again.done("a") == {"anna": saves[1], "ben": saves[2]} and not read_again.disagreed("a")
        assert read_again.outcome("a") == saves[1]
        assert read_again.disagreed("b") and read_again.outcome("b") is None
        assert read_again.entries["c"]["anna"].draft == saves[5] and read_again.outcome("c") is None
        assert read_again.damaged == []
    journal.add(save("b", text="x", state="settled"))
    assert Journal(journal.path).outcome("b") == journal.settled["b"] and not journal.disagreed("b")
    assert journal.path.stat().st_mode & 0o077 == 0


def test_a_torn_line_loses_no_other(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    for each in (save("a", text="one"), save("b", text="two")):
        Journal(path).add(each)
    whole = path.read_bytes()
    for size in range(whole.index(b"\n") + 2, len(whole)):
        path.write_bytes(whole[:size])
        journal = Journal(path)
        journal.add(save("c", text="three"))
        again = Journal(path)
        expected = {"a", "c"} | ({"b"} if size == len(whole) - 1 else set())
        assert {id for id in "abc" if again.outcome(id)} == expected == {id for id in "abc" if journal.outcome(id)}
        assert len(again.damaged) == ("b" not in expected)


def test_another_file_is_no_journal(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text('{"audio": "a.flac", "id": "a"}\n')
    with pytest.raises(InputError, match="is no journal"):
        Journal(path)


def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    journal.add(save("a", text="one"))
    with largest_file(journal.path.stat().st_size + 20), pytest.raises(OSError):
        journal.add(save("b", text="two"))
    assert journal.outcome("b") is None
    journal.add(save("b", text="two"))
    again = Journal(journal.path)
    assert again.damaged == [2] and again.done("b") == journal.done("b") and again.outcome("a")


KILLED = """
import sys
from pathlib import Path
from asr.flywheel.transcription.journal import Journal, Save
journal = Journal(Path(sys.argv[1]))
for number in range(100_000):
    journal.add(Save(f"r{number}", "anna", "done", "one two", None, 0.0))
    print(flush=True)
"""


def test_what_a_killed_process_acknowledged_is_kept(tmp_path: Path) -> None:
    told = kill_after(20, [sys.executable, "-c", KILLED, str(tmp_path / "j.jsonl")])
    journal = Journal(tmp_path / "j.jsonl")
    assert told <= len(journal.entries) <= told + 1
    assert all(journal.outcome(f"r{number}") for number in range(told))


def test_shares_are_even_and_a_further_name_moves_no_others() -> None:
    names = ["anna", "ben", "chris"]
    ids = [f"asr-{number}" for number in range(6000)]
    shares = {id: assigned(id, names, 0.1) for id in ids}
    assert abs(sum(len(who) == 2 for who in shares.values()) - 600) < 4 * math.sqrt(600 * 0.9)
    counts = Counter(name for who in shares.values() for name in who)
    assert all(abs(counts[name] - 2200) < 4 * math.sqrt(2200 * 2 / 3) for name in names)
    assert all(len(set(who)) == len(who) for who in shares.values())
    more = {id: assigned(id, [*names, "dora"], 0.1) for id in ids}
    assert all(set(more[id]) - {"dora"} <= set(shares[id]) for id in ids)
    assert shares == {id: assigned(id, names[::-1], 0.1) for id in ids}
    assert {len(assigned(id, ["anna"], 1.0)) for id in ids} == {1}


@pytest.mark.parametrize("names", [[], [""], ["a" * 41], ["a\nb"], ["a", "a"]])
def test_names_that_cannot_be_used(names: list[str]) -> None:
    with pytest.raises(InputError, match="flywheel.transcribers"):
        check_names(names)


@pytest.mark.parametrize(
    ("lang", "typed", "text", "spoken", "unknown"),
    [
        ("en", " Don't  STOP, please! ", "don't stop please", None, ""),
        ("en", "it costs $5", "it costs 5", "it costs five dollars", ""),
        ("en", "naïve café", "naïve café", None, "ïé"),
        ("ko", unicodedata.normalize("NFD", "하나 둘."), "하나 둘", None, ""),
        ("ko", "2026년 3월", "2026년 3월", "이천이십육 년 삼월", ""),
        ("ko", "ㅋㅋ ok", "ㅋㅋ ok", None, "ㅋok"),
        (None, " Ünï\tcode 5\0 ", "Ünï code 5", None, ""),
        ("en", "", "", None, ""),
    ],
)
def test_the_form_of_transcripts(lang, typed, text, spoken, unknown) -> None:
    found = checked(typed, lang)
    assert (found.text, found.spoken, found.unknown) == (text, spoken, unknown)


@settings(max_examples=60)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), st.sampled_from(["en", "ko"]))
def test_transcripts_are_as_text_clean_writes_them(text: str, lang: str) -> None:
    cleaner = Cleaner(TextConfig(lang=lang, numbers="digits"), CleaningReport([], ""))
    assert (cleaner(text, "") or "") in (normal(text, lang), "")
    assert normal(normal(text, lang), lang) == normal(text, lang)
    kept = normal(text, lang, cleans=False)
    assert kept == normal(kept, None) and unicodedata.is_normalized("NFC", kept)


def test_kappa_by_hand_and_by_chance() -> None:
    # Cohen's table: 20 both, 15 neither, 5 and 10 one alone: 0.7 agreed, 0.5 by chance
    given = [(True, True)] * 20 + [(True, False)] * 5 + [(False, True)] * 10 + [(False, False)] * 15
    assert kappa(given) == pytest.approx(0.4)
    assert kappa([(True, True), (False, False)]) == 1 and kappa([(False, False)] * 9) is None
    rng = random.Random(1)
    assert abs(kappa([(rng.random() < 0.3, rng.random() < 0.6) for _ in range(20_000)]) or 0) < 0.02


def test_agreement_by_hand(tmp_path: Path) -> None:
    path = manifest_of(tmp_path, *["x"] * 6)
    items, _ = read(path)
    journal = Journal(tmp_path / "j.jsonl")
    for each in (
        save("r0", text="one two three four"), save("r0", "ben", "one too three four"),
        save("r1", text="five"), save("r1", "ben", "five"),
        save("r2", mark="unusable"), save("r2", "ben", "something"),
        save("r3", mark="noise"), save("r3", "ben", ""), save("r4", text="alone"),
        save("r5", mark="unusable"), save("r5", "ben", mark="unusable"),
    ):  # fmt: skip
        journal.add(each)
    found = agreement(items, journal)
    assert len(found.pairs) == 5 and [item.id for item, _ in found.disputed] == ["r0", "r2", "r3"]
    assert (found.rates["en"].words.errors, found.rates["en"].words.reference) == (1, 5)
    assert found.rates["en"].characters.errors == 1 and found.kappas[("anna", "ben")] == (pytest.approx(6 / 11), 5)
    assert [(p.name, p.recordings, p.unusable, p.sound_s, p.work_s) for p in found.people] == [
        ("anna", 6, 2, 6.0, 18.0), ("ben", 5, 1, 5.0, 15.0)
    ]  # fmt: skip


def test_the_way_from_the_log_and_back(tmp_path: Path, capsys) -> None:
    log_of(tmp_path / "log", *(heard(f"asr-{n}", "one two", 0.5) for n in range(4)))
    path = tmp_path / "next.jsonl"
    logged = f"log={tmp_path}/log"
    assert cli.main(["flywheel", "select", logged, f"output={path}", "minutes=0.02", "random_share=0"]) == 0
    items, refused = read(path)
    assert len(items) == 4 and not refused and items[0].answered == "one two"
    assert [(w["word"], w["confidence"], w["start_s"]) for w in items[0].words] == [("one", 0.5, 0), ("two", 0.5, 0.1)]
    journal = Journal(tmp_path / "next.transcripts.jsonl")
    ids = [item.id for item in items]
    assert cli.main(["flywheel", "agreement", str(path)]) == 2
    assert "no recording has a transcript yet" in capsys.readouterr().err
    for each in (
        save(ids[0], text="one too"), save(ids[1], mark="unusable"), save(ids[2], text="x"), save(ids[2], "ben", "y"),
        save(ids[3], mark="noise"),
    ):  # fmt: skip
        journal.add(each)
    for name in ("next.transcripts.jsonl", "next.transcripts.token"):
        (tmp_path / "next.transcripts.token").write_text("secret")
        before = (tmp_path / name).read_bytes()
        assert cli.main(["flywheel", "agreement", str(path), f"output={tmp_path}/{name}"]) == 2
        assert "is also an input" in capsys.readouterr().err and (tmp_path / name).read_bytes() == before
    output = tmp_path / "transcribed.jsonl"
    assert cli.main(["flywheel", "agreement", str(path), f"output={output}"]) == 0
    told = capsys.readouterr().out
    assert f"{ids[2]}\n    anna: x\n    ben: y\n" in told and "1 disagreements, 0 settled" in told
    assert "en: WER 100.00%" in told and "undefined: all marked alike" in told
    made = {u.id: (u.text, u.extra.get("mark")) for u in manifest.read(output)}
    assert made == {ids[0]: ("one too", None), ids[1]: (None, "unusable"), ids[3]: ("", "noise")}
    assert all(os.path.isfile(u.audio or "") for u in manifest.read(output))
    assert cli.main(["flywheel", "import", str(output), logged]) == 0
    assert "2 transcripts; 1 requests are unusable\n" in capsys.readouterr().out


def test_recordings_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    path = manifest_of(tmp_path, "one", "two")
    more = [{"id": "f", "features": "x.npy"}, {"id": "gone", "audio": "gone.flac"}, {"id": "odd", "audio": "r0.flac"}]
    more[2] |= {"words": [{"word": 5}], "answered": 7, "text": "given"}  # type: ignore[dict-item]
    for number, confidence in enumerate((math.nan, math.inf, 10**400, "1", None)):
        word = {"word": "x", "start_s": 0, "end_s": 1, "confidence": confidence}
        more.append({"id": f"n{number}", "audio": "r0.flac", "words": [word]})
    path.write_text(path.read_text() + "".join(json.dumps(line) + "\n" for line in more))
    items, refused = read(path)
    assert not any(item.words for item in items[3:]) and len(items) == 8
    assert [item.id for item in items[:3]] == ["r0", "r1", "odd"]
    assert [line.split("'")[1] for line in refused] == ["f", "gone"]
    assert (items[2].words, items[2].answered, items[2].duration_s) == ((), "given", 1.0)
    path.write_text(json.dumps(more[0]) + "\n")
    with pytest.raises(InputError, match="none of its recordings can be used"):
        read(path)


def test_saves_of_unknown_kind_are_no_saves(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    Journal(path).add(Save("a", "anna", "done", "x", None, 0.0))
    good = json.loads(path.read_text())
    for change in ({"state": "over"}, {"mark": "bad"}, {"text": 5}, {"more": 1}, {"spent_s": "1"}):
        path.write_text(path.read_text() + json.dumps(good | {"id": "b"} | change) + "\n")
    journal = Journal(path)
    assert journal.damaged == [2, 3, 4, 5, 6] and not journal.done("b") and journal.done("a")
