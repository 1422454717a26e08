"""The flywheel over a log: manifests out and transcripts back, what to transcribe, which words to reject."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logged import NOW, bytes_of, heard, log_of
from sqlalchemy import select, true
from test_guide import run_page

from asr import manifest
from asr.cli import main as cli
from asr.errors import InputError
from asr.features import audio
from asr.flywheel.log import RequestLog
from asr.flywheel.request import REQUESTS, TRANSCRIPTS
from asr.flywheel.select import Candidate, choose, greedy
from asr.flywheel.threshold import GRID, thresholds
from asr.flywheel.transcription.journal import Journal, Save
from asr.flywheel.watch import Transcribed, transcribed
from asr.manifest import Utterance


@pytest.fixture
def log(tmp_path: Path) -> RequestLog:
    made = log_of(
        tmp_path / "log",
        heard("asr-1", "one two", 0.9),
        heard("asr-2", "three", 0.4, day=1),
        heard("asr-3", "four", 0.8, day=2, samples=None),
        heard("asr-4", "five", 0.8, day=3, key_name="other"),
    )
    made.slice_rate = 1.0
    made.add(heard("asr-5", "six", 0.1, day=4))
    return made


def run(tmp_path: Path, *words: str) -> int:
    return cli.main(["flywheel", *words, f"log={tmp_path}/log"])


def test_requests_go_out_and_transcripts_come_back(log: RequestLog, tmp_path: Path, capsys) -> None:
    path = tmp_path / "out.jsonl"
    assert run(tmp_path, "export", f"output={path}", "part=rest") == 0
    assert "3 requests -> " in (told := capsys.readouterr().out) and "1 without sound" in told
    utterances = manifest.read(path)
    assert [(u.id, u.text, u.extra["answered"]) for u in utterances] == [
        ("asr-1", None, "one two"), ("asr-2", None, "three"), ("asr-4", None, "five")
    ]  # fmt: skip
    assert utterances[0].extra["confidence"] == 0.9 and utterances[0].lang == "en"
    sound = heard("asr-1").samples
    assert sound is not None and utterances[0].audio and np.abs(audio.load(utterances[0].audio) - sound).max() < 1e-4
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["text"], lines[1]["text"] = " one  too ", ""
    lines.append({"id": "asr-9", "audio": "x.flac", "text": "x"})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run(tmp_path, "import", str(path)) == 0
    told = capsys.readouterr()
    assert "2 transcripts; 1 lines have no text" in told.out and "1 ids are not in the log: asr-9" in told.err
    kept = {row.id: row.text for row in log.rows(select(TRANSCRIPTS))}
    assert kept == {"asr-1": "one too", "asr-2": ""}
    assert run(tmp_path, "export", f"output={path}", "transcribed=yes") == 0
    assert [(u.id, u.text) for u in manifest.read(path)] == [("asr-1", "one too"), ("asr-2", "")]
    lines[0]["text"] = "one two"
    (tmp_path / "in.jsonl").write_text(json.dumps(lines[0]) + "\n")
    assert run(tmp_path, "import", f"{tmp_path}/in.jsonl") == 0  # a later transcript replaces the earlier one
    assert {row.id: row.text for row in log.rows(select(TRANSCRIPTS))} == {"asr-1": "one two", "asr-2": ""}


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (("asr-1", "asr-4", "asr-9"), ["asr-2", "asr-3", "asr-5"]),
        (("key=other",), ["asr-1", "asr-2", "asr-3", "asr-5"]),
        (("key=othr",), ["asr-1", "asr-2", "asr-3", "asr-4", "asr-5"]),
        (("until=2026-02-03",), ["asr-3", "asr-4", "asr-5"]),
        (("since=2026-02-03", "until=2026-02-04"), ["asr-1", "asr-4", "asr-5"]),
    ],
)
def test_requests_are_deleted_by_id_key_and_day(log: RequestLog, tmp_path: Path, words, left, capsys) -> None:
    assert run(tmp_path, "delete", *words) == 0
    told = capsys.readouterr()
    assert told.out == f"{5 - len(left)} requests deleted\n"
    assert ("1 ids name no such request: asr-9" in told.err) == ("asr-9" in words)
    assert ("no request has the key 'othr'" in told.err) == ("key=othr" in words)
    assert [row.id for row in log.rows(select(REQUESTS.c.id).order_by(REQUESTS.c.id))] == left
    kept = bytes_of(tmp_path / "log")
    assert all((id.encode() in kept) == (id in left) for id in ("asr-1", "asr-2", "asr-3", "asr-4", "asr-5"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("delete",), "nothing to delete is named"),
        (("delete", "until=yesterday"), "flywheel.until=yesterday: expected a day, as 2026-03-01"),
        (("export", "output=x.jsonl", "since=2030-01-01"), "holds no such request; since"),
        (("select", "output=x.jsonl", "since=2030-01-01"), "has no request to choose from"),
        (("select", "output=x.jsonl", "minutes=0.0001"), "no request fits: those with doubtful words"),
        (("report", "since=2026-03-02", "until=2026-03-01"), "is after flywheel.until"),
        (("export", "output=log.jsonl"), "which the service tidies; write elsewhere"),
        (("export", "output=x"), "output=x: expected a name with a suffix, as x.jsonl"),
        (("select", "output=x"), "output=x: expected a name with a suffix, as x.jsonl"),
        (("threshold",), "no word of a transcribed request"),
    ],
)
def test_what_cannot_be_done_gets_one_sentence(log, tmp_path: Path, monkeypatch, words, sentence, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(tmp_path, *words) == 2
    assert sentence in capsys.readouterr().err and [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_folder_without_a_log(tmp_path: Path, capsys) -> None:
    assert run(tmp_path, "report") == 2 and "holds no log of requests" in capsys.readouterr().err
    assert cli.main(["flywheel", "report"]) == 2 and "log=exp/log" in capsys.readouterr().err


def test_the_doubtful_are_chosen_and_some_are_drawn(log: RequestLog, tmp_path: Path, capsys) -> None:
    path = tmp_path / "next.jsonl"
    (tmp_path / "known.txt").write_text("one two\n")
    log.transcribe({"asr-1": "one two"}, NOW)
    log.slice_rate = 0.0
    log.add(heard("asr-entry", "nine", 0.01, mode="word"))  # of a list: `retrain` leaves it out
    for number in range(6, 60):
        log.slice_rate = 0.0
        log.add(heard(f"asr-{number}", "seven", 0.99))
    assert run(tmp_path, "select", f"output={path}", "minutes=0.04", f"known={tmp_path}/known.txt") == 0
    told = capsys.readouterr().out
    chosen = {u.id: u.extra["chosen"] for u in manifest.read(path)}
    doubtful = [id for id, kind in chosen.items() if kind == "doubtful"]
    assert doubtful[:2] == ["asr-2", "asr-4"] and list(chosen.values()).count("random") == 2
    assert not {"asr-1", "asr-3", "asr-5"} & chosen.keys()  # transcribed, without sound, of the slice
    assert "asr-entry" not in chosen
    assert "3 words that the training texts lack: five, seven, three" in told and "times what a random choice" in told


def test_what_is_unusable_is_not_chosen_again(log: RequestLog, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    log.transcribe({"asr-1": "one two"}, NOW)
    lines = [{"id": id, "audio": "x.flac", "mark": "unusable"} for id in ("asr-1", "asr-2", "asr-9")]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run(tmp_path, "import", str(path)) == 0
    assert choose(log, true(), 1.0, 0.0, None).chosen == ["asr-4"] and not log.rows(select(TRANSCRIPTS))
    assert run(tmp_path, "export", "transcribed=no", f"output={tmp_path}/rest.jsonl") == 0
    assert [u.id for u in manifest.read(tmp_path / "rest.jsonl")] == ["asr-4", "asr-5"]
    log.transcribe({"asr-1": "one two"}, NOW)  # somebody understood it after all
    assert run(tmp_path, "export", "transcribed=yes", f"output={tmp_path}/rest.jsonl") == 0
    assert log.delete(true()) == 5


def test_known_words_are_read_as_a_language_model_reads_texts(log: RequestLog, tmp_path: Path, capsys) -> None:
    words = ("select", f"output={tmp_path}/next.jsonl", "random_share=0", f"known={tmp_path}/known.jsonl")
    line = '{"id": "a", "audio": "a.flac"'
    (tmp_path / "known.jsonl").write_text(line + ', "text": "four five"}\n' + line.replace('"a"', '"b"', 1) + "}\n")
    assert run(tmp_path, *words) == 0
    told = capsys.readouterr()
    assert (
        "3 words that the training texts lack: one, three, two" in told.out
        and "without a text are left out" in told.err
    )
    (tmp_path / "known.jsonl").write_text(line + "}\n")
    assert run(tmp_path, *words) == 2 and "none of its 1 utterances has a text" in capsys.readouterr().err


def test_written_answers_are_compared_as_they_are_spoken(tmp_path: Path) -> None:
    log = log_of(
        tmp_path / "log", heard("asr-1", "it costs $5", 0.9), heard("asr-2", "오천 원 2026년", 0.9, language="ko")
    )
    log.transcribe({"asr-1": "it costs five dollars", "asr-2": "오천 원 이천이십육 년"}, NOW)
    rows = transcribed(log, true())
    assert [row.answered == row.transcript for row in rows] == [True, True]
    found = thresholds(rows[:1], 5, 1)
    assert found.num_words == 4 and found.precision[0] == 1.0
    assert thresholds(rows[1:], 5, 1).precision[0] == 1.0


def worth(chosen: list[Candidate]) -> float:
    words = {word for candidate in chosen for word in candidate.doubts}
    return sum(sum(c.doubts.get(word, 0.0) for c in chosen) ** 0.5 for word in words)


@settings(max_examples=50)
@given(st.lists(st.dictionaries(st.sampled_from("abcd"), st.floats(0.01, 1), max_size=3), min_size=1, max_size=7))
def test_greedy_takes_the_best_each_time_and_nearly_the_best_set(doubts: list[dict[str, float]]) -> None:
    pool = [Candidate(str(number), 1.0, words) for number, words in enumerate(doubts)]
    chosen = greedy(pool, 3.0)
    for size in range(1, len(chosen) + 1):
        best = max(worth([*chosen[: size - 1], c]) for c in pool if c not in chosen[: size - 1])
        assert worth(chosen[:size]) == pytest.approx(best)
    best = max(worth(list(some)) for some in itertools.combinations(pool, min(3, len(pool))))
    assert worth(chosen) >= (1 - 1 / np.e) * best - 1e-9  # Nemhauser, Wolsey & Fisher 1978


def test_a_word_is_worth_less_the_second_time(tmp_path: Path) -> None:
    pool = [Candidate("1", 1.0, {"a": 0.5}), Candidate("2", 1.0, {"a": 0.5}), Candidate("3", 1.0, {"b": 0.3})]
    assert [c.id for c in greedy(pool, 2.0)] == ["1", "3"]
    assert [c.id for c in greedy(pool, 1.0, known={"a"})] == ["3"]  # a new word counts twice
    with pytest.raises(InputError, match="no request to choose from"):
        choose(log_of(tmp_path), true(), 1.0, 0.2, None)


def test_a_word_with_capitals_and_punctuation_is_the_same_word(tmp_path: Path) -> None:
    log = log_of(tmp_path / "log", heard("asr-1", "Seven, seven $5", 0.5))
    found = choose(log, true(), 1.0, 0.0, {"SEVEN"}, lang="en")
    assert found.new_words == ["$5"] and found.chosen == ["asr-1"]
    assert choose(log, true(), 1.0, 0.0, {"SEVEN"}).new_words == ["$5", "Seven,", "seven"]
    (tmp_path / "known.txt").write_text("SEVEN $5\n")
    words = (f"known={tmp_path}/known.txt", f"output={tmp_path}/next.jsonl", "random_share=0")
    assert run(tmp_path, "select", *words, "lang=en") == 0


def row(id: int, transcript: str, *words: tuple[str, float]) -> Transcribed:
    kept = json.dumps([{"word": word, "confidence": confidence} for word, confidence in words])
    return Transcribed(str(id), "2026-02-02", "m", True, transcript, " ".join(w for w, _ in words), kept)


def test_thresholds_by_hand() -> None:
    rows = [row(1, "a b", ("a", 0.9), ("x", 0.3)), row(2, "c", ("c", 0.5)), row(3, "", ("y", 0.1)), row(4, "d")]
    found = thresholds(rows, wrong_cost=5, reject_cost=1)

    def at(limit: float) -> tuple[float, float, float]:
        number = int(np.flatnonzero(GRID == limit)[0])
        return found.precision[number], found.coverage[number], found.cost[number]

    assert at(0.0) == (0.5, 1.0, 10 / 4)
    assert at(0.2) == pytest.approx((2 / 3, 0.75, 6 / 4))
    assert at(0.31) == pytest.approx((1.0, 0.5, 2 / 4))
    assert at(0.6) == pytest.approx((1.0, 0.25, 3 / 4))
    assert np.isnan(at(1.0)[0])
    assert GRID[found.best] == 0.31 and found.saved == 2.0 and found.num_words == 4
    assert "decoder.reject_below=0.31 saves 2.0000 per word" in found.summary()
    assert thresholds(rows, wrong_cost=1, reject_cost=2).best == 0  # rejecting costs more than errors


def test_the_threshold_verb(log: RequestLog, tmp_path: Path, capsys) -> None:
    log.transcribe({"asr-1": "One, two!", "asr-2": "x", "asr-5": "six"}, NOW)
    assert run(tmp_path, "threshold", "score.lang=en") == 0
    told = capsys.readouterr()
    assert "on 4 words of 3 requests" in told.out and "2 of these requests are not of the random slice" in told.err
    assert "decoder.reject_below=0.41 saves 0.7500 per word" in told.out  # three was wrong at a confidence of 0.4
    assert run(tmp_path, "threshold", "mode=word") == 2
    assert run(tmp_path, "threshold", "part=slice", "mode=dictation") == 0
    assert "warning" not in capsys.readouterr().err


def test_the_guide_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    log = log_of(Path("exp/log"), *(heard(f"asr-{number}", "one two", 0.6) for number in range(12)))
    log.slice_rate = 1.0
    log.add(heard("asr-12"))
    Path("exp/my/data").mkdir(parents=True)
    manifest.write(Path("exp/my/data/train.jsonl"), [Utterance("a", "a.flac", text="one")])
    journal = Journal(Path("exp/next.transcripts.jsonl"))
    for number in range(3):
        journal.add(Save(f"asr-{number}", "anna", "done", "one two", None, 8.0))
    for number, text in ((1, "one two"), (2, "one too")):
        journal.add(Save(f"asr-{number}", "ben", "done", text, None, 9.0))
    assert run_page("flywheel.md", {}) == 5
    assert [row.transcript for row in transcribed(log, true())] == ["one two", "one two"]
