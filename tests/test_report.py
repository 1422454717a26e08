"""`asr report`: one page that holds everything, shows every text as text, and names what it lacks."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from page_browser import chromium, spoken

from asr import hypothesis, manifest
from asr.cli import main as cli
from asr.config import Config, ReportConfig
from asr.errors import InputError
from asr.evaluation.comparison import pair, paired_bootstrap
from asr.evaluation.score import Counts, Edit, score
from asr.hypothesis import Hypothesis, Word
from asr.manifest import Utterance
from asr.recognizer import bundle
from asr.recognizer.run_folder import _described
from asr.report.alignment_picture import WAVE, Placed, draw
from asr.report.html import tag
from asr.report.page import write_report
from asr.report.run import read_run
from asr.report.worst import _placed, show_worst, worst

pytestmark = pytest.mark.usefixtures("drawn")
HOSTILE = "<script>alert(1)</script> \"'& </style> \u202eabc \x00 &lt;b&gt; javascript:x"
ID = "<img src=x onerror=alert(2)>"
TEXTS = {"u0": ("a b", "a b"), "u1": ("a b a", "b b"), "u2": ("b", "a"), ID: ("a", HOSTILE)}
TAGS = {
    "html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "table", "thead", "tbody", "tr", "th",
    "td", "section", "article", "div", "span", "b", "i", "img", "audio", "svg", "path", "rect", "line", "text",
    "details", "summary", "pre",
}  # fmt: skip


class Parsed(HTMLParser):
    """The elements and the texts of a page; raises for an element that is not closed."""

    def __init__(self, page: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attributes)))
        if name not in ("meta", "img", "br"):
            self.open.append(name)

    def handle_startendtag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attributes)))

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    def of(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.elements if found == name]

    @property
    def text(self) -> str:
        return "\n".join(self.texts)


def make_run(out: Path) -> Path:
    """A run folder with a log, an imported model of the tokens a and b, recordings and hypotheses."""
    (out / "train").mkdir(parents=True)
    (out / "data").mkdir()
    utterances, hypotheses = [], []
    for number, (id, (text, heard)) in enumerate(TEXTS.items()):
        soundfile.write(out / f"data/{number}.wav", tiny.noise(1.0, number), 16000)
        utterances.append(Utterance(id, str(out / f"data/{number}.wav"), text=text, speaker="<b>s</b>"))
        words = [Word(w, 0.1 + 0.2 * k, 0.25 + 0.2 * k, 0.9 - 0.2 * k) for k, w in enumerate(heard.split())]
        hypotheses.append(Hypothesis(id, heard, words, 1.0, 1.0, True))
    manifest.write(out / "data/test.jsonl", utterances)
    hypothesis.write(out / "decode/test/hyp.jsonl", hypotheses)
    records = [{"step": 10 * k, "epoch": k, "train_loss": 3 / k, "dev_loss": 2 / k, "dev_ter": 0.5 / k, "lr": 1e-3,
                "file": "x"} for k in (1, 2, 3)]  # fmt: skip
    (out / "train/log.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    cfg = tiny.config()
    (out / "train/config.json").write_text(json.dumps(_described(cfg) | {"note": HOSTILE}))
    bundle.write(out / "train/imported.asr", tiny.model(cfg), cfg, tiny.TOKENS, None, "card")
    return out


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


@pytest.fixture(scope="module")
def whole(drawn: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with its report."""
    out = make_run(tmp_path_factory.mktemp("whole") / "run")
    assert cli.main(["report", f"out={out}"]) == 0
    return out


def read(run: Path) -> Parsed:
    return Parsed((run / "report.html").read_text(encoding="utf-8"))


def page_of(run: Path, **options: Any) -> tuple[Parsed, list[str]]:
    missing = write_report(Config(out=str(run), report=ReportConfig(**options)), run / "report.html")
    return read(run), missing


def test_the_page_holds_everything_and_fetches_nothing(whole: Path) -> None:
    page = read(whole)
    headings = [text for text in page.texts if text in (
        "Error rates", "Training curves", "Confusions", "Speakers", "Worst utterances", "Calibration")]  # fmt: skip
    assert len(headings) == 6 and "Missing" not in page.text
    policy = next(m["content"] for m in page.of("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy and policy.startswith("default-src 'none'; img-src data:; media-src data:;")
    sources = [attributes["src"] or "" for name, attributes in page.elements if "src" in attributes]
    assert len(sources) == 2 + 3 and all(source.startswith("data:") for source in sources)
    assert len(page.of("svg")) == len(page.of("audio")) == 3  # of the utterances with an error
    found = score({k: r for k, (r, _) in TEXTS.items()}, {k: h for k, (_, h) in TEXTS.items()})
    assert f"{found.wer:.2%}" in page.texts


def test_no_text_becomes_markup(whole: Path) -> None:
    page = read(whole)
    assert {name for name, _ in page.elements} <= TAGS
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("href", "srcdoc", "action")]
    shown = HOSTILE.replace("\x00", "\ufffd")
    for word in shown.split():
        assert word in page.text
    assert ID in page.text and "<b>s</b>" in page.texts


@settings(max_examples=40)
@given(st.text())
def test_a_text_is_read_back_as_it_was(text: str) -> None:
    page = Parsed(tag("p", text, title=text))
    shown = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", "\ufffd", text)
    assert "".join(page.texts) == shown and page.of("p") == [{"title": shown}]


@pytest.mark.parametrize(
    ("removed", "missing"),
    [
        ("train/log.jsonl", "Training curves: there is no .*log.jsonl; `asr train` writes it"),
        ("decode/test/hyp.jsonl", "Worst utterances: there are no hypotheses .*; run `asr decode out=.* split=test`"),
        ("train/config.json", "Options of the training: there is no "),
        ("data/test.jsonl", "Error rates: .*test.jsonl"),
    ],
)
def test_missing_parts_are_named_and_the_others_made(run: Path, removed: str, missing: str) -> None:
    (run / removed).unlink()
    page, sentences = page_of(run)
    assert any(re.search(missing, sentence) for sentence in sentences), sentences
    assert sum(text.startswith("Missing: ") for text in page.texts) == len(sentences)
    assert len(page.of("section")) >= 6


@pytest.mark.parametrize(
    ("line", "message"), [("{", "log.jsonl:4: not JSON"), ('{"step": "x"}', "log.jsonl:4: expected an object with")]
)
def test_a_damaged_log_is_named(run: Path, line: str, message: str) -> None:
    with open(run / "train/log.jsonl", "a") as file:
        file.write(line + "\n")
    _, sentences = page_of(run)
    assert len(sentences) == 1 and message in sentences[0]


def test_without_a_model_or_a_recording_the_rest_is_shown(run: Path) -> None:
    (run / "train/imported.asr").unlink()
    (run / "data/1.wav").unlink()
    page, _ = page_of(run)
    assert "The words of the texts are not placed: " in page.text and "No sound: audio file" in page.text
    assert len(page.of("svg")) == len(page.of("audio")) == 2


def test_sounds_beyond_the_limit_are_left_out(whole: Path) -> None:
    size = len(read(whole).of("audio")[0]["src"] or "") * 3 // 4
    run = read_run(Config(out=str(whole)))
    page = Parsed(show_worst(run, worst(run, 9), size + size // 2))
    assert len(page.of("audio")) == 1 and page.text.count("the limit report.sound_mb is reached") == 2


def test_a_picture_of_too_many_words_is_left_out(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asr.report.worst.MOST_PICTURE", 100)
    run = read_run(Config(out=str(whole)))
    page = Parsed(show_worst(run, worst(run, 9), 2**20))
    assert not page.of("svg") and page.of("audio") and page.text.count("No picture: it would have ") == 3


def test_a_folder_without_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", f"out={tmp_path}"]) == 2
    assert "holds no training to report on, and there are no hypotheses" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_two_runs_are_compared(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    shutil.copytree(run, other)
    manifest.write(other / "data/test.jsonl", manifest.read(run / "data/test.jsonl"))
    better = [replace(h, text=TEXTS[h.id][0]) for h in hypothesis.read(run / "decode/test/hyp.jsonl")[:-1]]
    hypothesis.write(other / "decode/test/hyp.jsonl", better)
    assert cli.main(["report", f"out={run}", f"other={other}", "worst=0"]) == 0
    page = read(run)
    assert f"Compared with {other}" in page.text and "Paired bootstrap over 4 utterances" in page.text
    assert "Worse here" in page.texts and "None was asked for." in page.texts and page.texts.count("u1") >= 1
    assert cli.main(["report", f"out={run}", f"other={run}"]) == 2
    assert "is the run itself" in capsys.readouterr().err
    rows = manifest.read(other / "data/test.jsonl")
    manifest.write(other / "data/test.jsonl", [replace(rows[0], text="b b"), *rows[1:]])
    _, sentences = page_of(run, other=str(other), worst=0)
    assert "'u0' has other words in the other run's references: 'a b' and 'b b'" in sentences[0]


def test_the_worst_come_first(whole: Path) -> None:
    found = worst(read_run(Config(out=str(whole))), 3)
    assert [u.words.errors for u in found] == sorted((u.words.errors for u in found), reverse=True)
    assert found[0].id.startswith("<img") and {found[1].id, found[2].id} == {"u1", "u2"}


def test_words_stand_where_they_are_heard() -> None:
    x = np.zeros(16000, np.float32)
    x[8000:12000] = 0.5
    svg = Parsed(draw(x, 8000, [Placed("<a>", 1.0, 1.5, False)], [Placed("b", 0.5, 1.0, True)]))
    (frame,), boxes = svg.of("svg"), svg.of("rect")
    width = float(frame["width"] or 0)
    assert [float(b["x"] or 0) / width for b in boxes] == pytest.approx([0.5, 0.25], abs=1e-3)
    assert [float(b["width"] or 0) / width for b in boxes] == pytest.approx([0.25, 0.25], abs=1e-3)
    assert [b["class"] for b in boxes] == ["right", "wrong"] and "<a>" in svg.texts
    outline = [tuple(map(float, p.split(","))) for p in (svg.of("path")[0]["d"] or "").strip("MZ").split()]
    heights = np.array([y for _, y in outline[: len(outline) // 2]])
    loud = np.array([0.5 < at / width < 0.75 for at, _ in outline[: len(outline) // 2]])
    assert heights.max() - heights[loud][2:-2].max() == pytest.approx(WAVE / 2, abs=0.1)
    assert draw(np.zeros(0, np.float32), 8000, [], []).startswith("<svg")


def test_words_that_were_not_compared_one_by_one_have_no_marks() -> None:
    columns = [Edit("C", "three", "three"), Edit("S", "dollars", "dollar")]
    placed = [("three", 0.0, 0.5), ("dollar", 0.5, 0.9)]
    assert [p.is_wrong for p in _placed(placed, columns, lambda e: e.hyp)] == [False, True]
    assert [p.is_wrong for p in _placed([("$3", 0.0, 0.9)], columns, lambda e: e.hyp)] == [None]
    svg = Parsed(draw(np.zeros(800, np.float32), 8000, [], [Placed("$3", 0.0, 0.1, None)]))
    assert [b["class"] for b in svg.of("rect")] == ["unmarked"]


# The paired bootstrap


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=30), st.integers(0, 99))
def test_a_comparison_turns_round_with_its_sides(errors: list[tuple[int, int]], seed: int) -> None:
    first, second = ([Counts(5 - e, e) for e in side] for side in zip(*errors, strict=True))
    found, turned = paired_bootstrap(first, second, 200, seed), paired_bootstrap(second, first, 200, seed)
    assert turned.difference == -found.difference and turned.better == pytest.approx(1 - found.better)
    assert turned.interval == pytest.approx((-found.interval[1], -found.interval[0]))
    same = paired_bootstrap(first, first, 50, seed)
    assert same.interval == (0, 0) and same.better == 0.5 and not same.is_clear


def test_the_interval_is_that_of_the_resamples() -> None:
    rng = np.random.default_rng(0)
    errors = rng.integers(0, 6, (2, 200))
    first, second = ([Counts(10 - int(e), int(e)) for e in side] for side in errors)
    found = paired_bootstrap(first, second, 4000, 1)
    slow = []
    for _ in range(4000):  # drawn apart, one after the other
        drawn = rng.integers(0, 200, 200)
        slow.append((errors[0][drawn].sum() - errors[1][drawn].sum()) / 2000)
    assert found.difference == pytest.approx((errors[0] - errors[1]).sum() / 2000)
    assert found.interval == pytest.approx(np.quantile(slow, [0.025, 0.975]), abs=0.003)
    assert found.better == pytest.approx((np.array(slow) < 0).mean(), abs=0.05)


def test_a_comparison_needs_the_same_references() -> None:
    with pytest.raises(InputError, match="on the same references"):
        paired_bootstrap([Counts(1, 0)], [Counts(2, 0)])
    with pytest.raises(InputError, match="no utterance in common"):
        pair(score({"a": "x"}, {"a": "x"}), score({"b": "x"}, {"b": "x"}))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(spoken(tmp_path_factory.mktemp("sound"), 1.0)) as started:
        yield started


PLAYABLE = """() => Promise.all([...document.querySelectorAll('audio')].map((sound) => new Promise((done) => {
  if (sound.readyState) done(sound.duration);
  sound.onloadedmetadata = () => done(sound.duration);
  sound.onerror = () => done(0);
})))"""


def test_a_browser_shows_the_page_and_plays_the_sounds(whole: Path, browser: Any) -> None:
    page, fetched, faults = browser.new_page(viewport={"width": 390, "height": 800}), [], []
    page.on("request", lambda request: fetched.append(request.url))
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto((whole / "report.html").as_uri())
    assert page.evaluate(PLAYABLE) == pytest.approx([1.0] * 3, abs=0.05)
    assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 100)")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert all(url.startswith(("data:", "file:")) for url in fetched) and not faults
    assert page.title() == "run: report"
