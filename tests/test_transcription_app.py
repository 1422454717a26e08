"""The calls of the transcription page: tokens, saves, sounds, and what nobody else may see or send."""

import io
import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny

pytest.importorskip("fastapi", reason="the extra `serve`")

from starlette.testclient import TestClient  # noqa: E402
from test_full_disk import largest_file  # noqa: E402
from transcribed import RATE_HZ, manifest_of, save  # noqa: E402

from asr.cli import main as cli  # noqa: E402
from asr.errors import InputError  # noqa: E402
from asr.flywheel.transcription.app import Desk, make_app, tokens  # noqa: E402
from asr.flywheel.transcription.items import read  # noqa: E402
from asr.flywheel.transcription.journal import Journal  # noqa: E402

NAMES = ["anna", "ben"]


class Page:
    """The calls of each transcriber, as the page makes them."""

    def __init__(self, folder: Path, *answers: str, names: list[str] = NAMES, **options: Any):
        self.path = manifest_of(folder, *answers)
        self.journal = Journal(folder / "next.transcripts.jsonl")
        known = tokens(names, folder / "next.token")
        self.client = TestClient(make_app(Desk(read(self.path)[0], self.journal, names, **options), known))
        self.headers = {name: {"Authorization": f"Bearer {token}"} for token, name in known.items()}

    def work(self, by: str = "anna") -> list[dict[str, Any]]:
        return self.client.get("/work", headers=self.headers[by]).json()["items"]

    def post(self, call: str, by: str = "anna", **body: Any) -> Any:
        return self.client.post(f"/{call}", json=body, headers=self.headers[by])


def test_a_draft_and_a_transcript_come_back(tmp_path: Path) -> None:
    page = Page(tmp_path, "one two", names=["anna"])
    (item,) = page.work()
    assert (item["answered"], item["state"], item["text"], item["versions"]) == ("one two", "open", None, [])
    assert item["words"][1] == {"word": "two", "start_s": 0.3, "end_s": 0.6, "confidence": 0.3}
    assert page.post("save", id="r0", state="draft", text="One, t", spent_s=2.04).json() == {"text": "One, t"}
    (item,) = page.work()
    assert (item["state"], item["text"], item["spent_s"]) == ("draft", "One, t", 2.0)
    assert page.post("save", id="r0", state="done", text="One, TOO!").json() == {"text": "one too"}
    (item,) = page.work()
    assert (item["state"], item["text"]) == ("done", "one too")
    page.post("save", id="r0", state="done", text="ignored", mark="unusable")
    assert page.work()[0]["mark"] == "unusable" and page.journal.done("r0")["anna"].text == ""
    assert Page(tmp_path, "one two", names=["anna"]).work() == page.work()  # after an end


def test_nobody_hears_saves_or_sees_without_a_token(tmp_path: Path) -> None:
    page = Page(tmp_path, "secret answer")
    body = {"id": "r0", "state": "done", "text": "x"}
    for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer x"}, {"Authorization": "Bearer é"},
                    {"Cookie": next(iter(page.headers.values()))["Authorization"]}):  # fmt: skip
        encoded = {name: value.encode() for name, value in headers.items()}
        calls = [page.client.get("/work", headers=encoded), page.client.get("/sound?id=r0", headers=encoded)]
        calls += [page.client.post(f"/{call}", json=body, headers=encoded) for call in ("save", "form")]
        assert {answer.status_code for answer in calls} == {401}
        assert not any(b"secret" in answer.content for answer in calls)
    assert b"secret" not in page.client.get("/").content and not page.journal.path.exists()
    assert page.client.get("/docs").status_code == page.client.get("/openapi.json").status_code == 404


def test_tokens_last_and_are_of_one_name(tmp_path: Path) -> None:
    place = tmp_path / "token"
    first = tokens(NAMES, place)
    assert tokens(NAMES, place) == first and len(first) == 2 and place.stat().st_mode & 0o077 == 0
    assert tokens(["ben"], place) == {token: name for token, name in first.items() if name == "ben"}
    assert not set(tokens(NAMES, tmp_path / "other")) & set(first)
    place.write_text("\n")
    with pytest.raises(InputError, match="holds no secret"):
        tokens(NAMES, place)


@pytest.mark.parametrize(
    ("call", "body", "status"),
    [
        ("save", {"id": "r9", "state": "done", "text": ""}, 404),
        ("form", {"id": "../r0", "text": ""}, 404),
        ("save", {"id": "r0", "state": "over", "text": ""}, 422),
        ("save", {"id": "r0", "state": "done", "text": None}, 422),
        ("save", {"id": "r0", "state": "done", "text": "x", "mark": "bad"}, 422),
        ("save", {"id": "r0", "state": "done", "text": "x", "spent_s": -1}, 422),
        ("save", {"id": "r0", "state": "settled", "text": "x"}, 409),
        ("save", {"id": "r0", "state": "settling", "text": "x"}, 409),
        ("save", {"id": "r0", "state": "done", "text": "x" * 20_001}, 422),
        ("save", {"id": "r0", "state": "done", "text": "x" * 300_000}, 413),
        ("save", [1], 422),
    ],
)
def test_calls_that_cannot_be_used_save_nothing(tmp_path: Path, call: str, body: Any, status: int) -> None:
    page = Page(tmp_path, "one")
    answer = page.client.post(f"/{call}", json=body, headers=page.headers["anna"])
    assert answer.status_code == status and answer.json()["error"] and not page.journal.path.exists()


def test_a_text_that_is_no_unicode_is_refused(tmp_path: Path) -> None:
    page = Page(tmp_path, "one")
    for text in (b'"\\ud800"', b'"\xff"'):
        content = b'{"id": "r0", "state": "done", "text": ' + text + b"}"
        assert page.client.post("/save", content=content, headers=page.headers["anna"]).status_code == 422


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    page = Page(tmp_path, "one", names=["anna"])
    with largest_file(0):
        answer = page.post("save", id="r0", state="done", text="one")
    assert answer.status_code == 507 and "cannot be written" in answer.json()["error"]
    assert page.work()[0]["state"] == "open"
    assert page.post("save", id="r0", state="done", text="one").status_code == 200


def test_the_sound_of_a_part_is_heard_whole(tmp_path: Path) -> None:
    page = Page(tmp_path, "one", "two")
    lines = page.path.read_text().splitlines()
    part = '{"id": "part", "audio": "r1.flac", "start_s": 0.25, "duration_s": 0.5}'
    page.path.write_text("\n".join([*lines, part, '{"id": "lost", "audio": "r0.flac", "duration_s": 1.0}']))
    items = read(page.path)[0]
    (tmp_path / "r0.flac").unlink()
    known = tokens(["anna"], tmp_path / "next.token")
    client = TestClient(make_app(Desk(items, page.journal, ["anna"]), known))
    answer = client.get("/sound?id=part", headers=page.headers["anna"])
    samples, rate_hz = soundfile.read(io.BytesIO(answer.content), dtype="float32")
    assert rate_hz == RATE_HZ and answer.headers["cache-control"] == "no-store"
    assert np.abs(samples - tiny.noise(1.0, 1)[4000:12000]).max() < 1e-3
    lost = client.get("/sound?id=lost", headers=page.headers["anna"])
    assert lost.status_code == 422 and "r0.flac" in lost.json()["error"]


def test_two_hear_the_double_share_and_neither_sees_the_other(tmp_path: Path) -> None:
    page = Page(tmp_path, *["one"] * 20, double=0.5)
    both = [{item["id"] for item in page.work(name)} for name in NAMES]
    assert both[0] | both[1] == {f"r{n}" for n in range(20)} and 2 < len(both[0] & both[1]) < 18
    id = min(both[0] & both[1])
    page.post("save", "anna", id=id, state="done", text="mine")
    of_ben = next(item for item in page.work("ben") if item["id"] == id)
    assert of_ben["text"] is None and of_ben["state"] == "open" and of_ben["versions"] == []
    alone = min(both[0] - both[1])
    page.journal.add(save(alone, "chris", "done by somebody who has left"))
    assert alone not in {item["id"] for item in page.work("anna")}


def test_disagreements_are_settled(tmp_path: Path) -> None:
    page = Page(tmp_path, "one", "two", settles=True)
    for each in (
        save("r0", text="won"),
        save("r0", "ben", mark="noise"),
        save("r1", text="two"),
        save("r1", "ben", "two"),
    ):
        page.journal.add(each)
    (item,) = page.work("ben")
    assert item["versions"] == [{"by": "anna", "text": "won", "mark": None}, {"by": "ben", "text": "", "mark": "noise"}]
    assert (item["id"], item["state"], item["text"]) == ("r0", "open", None)
    assert page.post("save", "ben", id="r0", state="done", text="x").status_code == 409
    assert page.post("save", "ben", id="r0", state="draft", text="x").status_code == 409
    page.post("save", "ben", id="r0", state="settling", text="O")
    again = Page(tmp_path, "one", "two", settles=True)  # after an end
    assert [(item["state"], item["text"]) for item in again.work("ben")] == [("draft", "O")]
    assert again.work("anna")[0]["state"] == "open" and again.journal.disagreed("r0")
    assert again.journal.entries["r0"]["ben"].draft is None  # his own transcript stays as it was
    page.post("save", "ben", id="r0", state="settled", text="One")
    (item,) = page.work("anna")
    assert (item["state"], item["text"]) == ("done", "one")
    assert Journal(page.journal.path).outcome("r0") == page.journal.settled["r0"]


def test_the_page_is_one_file_under_a_strict_policy(tmp_path: Path) -> None:
    answer = Page(tmp_path, "one").client.get("/")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and "unsafe" not in policy
    assert not re.findall(r"(?:https?|wss?)://|src=|innerHTML|insertAdjacent|eval\(|document\.write", answer.text)
    assert answer.text.count("<script") == 1 and "/* script */" not in answer.text


def test_the_command_is_killed_and_goes_on(tmp_path: Path) -> None:
    path = manifest_of(tmp_path, "Yes, two!")
    command = [sys.executable, "-m", "asr", "flywheel", "transcribe", str(path), "transcribers=[anna,ben]", "double=1"]
    command += ["port=0"]

    def start() -> tuple[subprocess.Popen[str], list[str]]:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests run in the background ignore it
        )  # fmt: skip
        assert process.stdout
        return process, [process.stdout.readline() for _ in range(3)]

    def call(line: str, name: str, body: dict[str, Any] | None = None) -> Any:
        address, _, token = line.removeprefix(f"{name}: ").strip().partition("/#")
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(f"{address}/{'save' if body else 'work'}", data)
        request.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request) as answer:
            return json.loads(answer.read())

    process, (told, anna, _) = start()
    assert told.startswith("0 of 1 recordings are transcribed -> ")
    call(anna, "anna", {"id": "r0", "state": "done", "text": "Yes, too"})
    other = subprocess.run(command, capture_output=True, text=True)
    assert other.returncode == 2 and "is in use by process" in other.stderr
    process.kill()
    process.communicate()
    process, (told, again, ben) = start()
    assert (
        told.startswith("1 of 1 recordings are transcribed -> ") and again.rpartition("#")[2] == anna.rpartition("#")[2]
    )
    assert call(again, "anna")["items"][0]["text"] == "yes too" and call(ben, "ben")["items"][0]["text"] is None
    process.send_signal(signal.SIGINT)
    _, warned = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command continues where it stopped" in warned
    assert "what was recognised has capitals or punctuation, such as 'Yes, two!'" in warned


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "expected exactly one file, the manifest of recordings"),
        (("none.jsonl",), "there is no manifest none.jsonl"),
        (("next.jsonl", "transcribers=[]"), "flywheel.transcribers=[] names nobody"),
        (("next.jsonl", "double=2"), "flywheel.double=2"),
        (("next.jsonl", "host=no.such.host.invalid"), "cannot listen on no.such.host.invalid"),
    ],
)
def test_what_cannot_be_served_gets_one_sentence(tmp_path: Path, monkeypatch, capsys, words, sentence: str) -> None:
    manifest_of(tmp_path, "one")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["flywheel", "transcribe", "port=0", *words]) == 2
    assert sentence in capsys.readouterr().err and sorted(path.suffix for path in tmp_path.iterdir()) == [
        ".flac",
        ".jsonl",
    ]
