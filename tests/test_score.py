"""Error rates against jiwer, a plain dynamic programme and textbook intervals."""

import json
import math
import unicodedata
from contextlib import nullcontext

import jiwer
import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import font_manager

from asr.errors import InputError
from asr.evaluation import report
from asr.evaluation.score import Counts, align, bootstrap, normalise, score
from asr.training.curves import plot_curves

pytestmark = pytest.mark.usefixtures("drawn")
WORDS = st.lists(st.sampled_from(["a", "b", "cc", "d", "é", "한국"]), max_size=8).map(" ".join)


def edit_distance(ref, hyp):
    """The textbook table, row by row."""
    row = list(range(len(hyp) + 1))
    for i, r in enumerate(ref, 1):
        diagonal, row[0] = row[0], i
        for j, h in enumerate(hyp, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (r != h))
    return row[-1]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(WORDS.filter(bool), WORDS), min_size=1, max_size=6))
def test_rates_equal_jiwer(pairs):
    refs = {str(i): normalise(ref) for i, (ref, _) in enumerate(pairs)}
    hyps = {str(i): normalise(hyp) for i, (_, hyp) in enumerate(pairs)}
    result = score(refs, hyps, resamples=2)
    words = jiwer.process_words(list(refs.values()), list(hyps.values()))
    characters = jiwer.process_characters(list(refs.values()), list(hyps.values()))
    assert result.wer == pytest.approx(words.wer) and result.cer == pytest.approx(characters.cer)
    assert result.words == Counts(words.hits, words.substitutions, words.deletions, words.insertions)
    assert result.letters.errors == sum(edit_distance(refs[i].replace(" ", ""), hyps[i].replace(" ", "")) for i in refs)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(WORDS, WORDS)
def test_alignment_is_the_shortest_and_spells_both_sides(ref, hyp):
    r, h = ref.split(), hyp.split()
    edits = align(r, h)
    assert sum(e.op != "C" for e in edits) == edit_distance(r, h)
    assert [e.ref for e in edits if e.op != "I"] == r and [e.hyp for e in edits if e.op != "D"] == h
    assert all((e.ref == e.hyp) == (e.op == "C") for e in edits)


def test_jamo_equal_syllables():
    assert score({"u": "한국 말"}, {"u": unicodedata.normalize("NFD", "한국  말")}).wer == 0.0


def test_missing_and_extra_are_reported():
    result = score({"a": "one two", "b": "three"}, {"a": "one two", "c": "four"})
    assert result.missing == ["b"] and result.extra == ["c"]
    assert result.words == Counts(correct=2, deletions=1)
    assert [s.split(")")[0] for s in result.warnings()] == ["1 utterance (b", "1 utterance (c"]


def test_bad_sets_are_refused():
    with pytest.raises(InputError, match="no references to score"):
        score({}, {"a": "x"})
    with pytest.raises(InputError, match="share no id"):
        score({"a": "x"}, {"b": "x"})
    with pytest.raises(InputError, match="resamples"):
        score({"a": "x"}, {"a": "x"}, resamples=0)


def test_empty_references():
    assert score({"a": ""}, {"a": ""}).wer == 0.0
    result = score({"a": ""}, {"a": "word"})
    assert math.isinf(result.wer) and result.as_dict()["wer"] is None


def test_bootstrap_interval_is_the_binomial_one():
    """One-word utterances that are wrong with probability p: the interval is that of a binomial proportion."""
    n, p = 2000, 0.2
    wrong = np.random.default_rng(3).random(n) < p
    counts = [Counts(correct=int(not w), substitutions=int(w)) for w in wrong]
    low, high = bootstrap(counts, resamples=4000, seed=5)
    half = 1.96 * math.sqrt(p * (1 - p) / n)
    assert high - low == pytest.approx(2 * half, rel=0.08)
    assert (low + high) / 2 == pytest.approx(wrong.mean(), abs=0.003)
    assert bootstrap(counts, 4000, 5) == (low, high)


def test_bootstrap_covers_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(7)
    covered = 0
    for trial in range(200):
        lengths = rng.integers(1, 12, 150)
        errors = rng.binomial(lengths, 0.1)
        low, high = bootstrap([Counts(int(n - e), int(e)) for n, e in zip(lengths, errors, strict=True)], 300, trial)
        covered += low <= 0.1 <= high
    assert 180 <= covered <= 199


def test_bootstrap_in_blocks_equals_one_block(monkeypatch):
    counts = [Counts(correct=i % 5, substitutions=i % 3) for i in range(50)]
    whole = bootstrap(counts, 100, 2)
    monkeypatch.setattr("asr.evaluation.score._BLOCK", 333)
    assert bootstrap(counts, 100, 2) == whole


def test_report_columns_are_aligned():
    refs = {"u1": "나는 학교에 간다 ok", "u2": "same here"}
    hyps = {"u1": "나는 학교 간다 ok now", "u2": "same here"}
    text = report.report_text(score(refs, hyps, {"u1": "김", "u2": "이"}))
    ref, hyp, op = (next(li for li in text.splitlines() if li.startswith(f"  {row}")) for row in ("REF", "HYP", "op"))
    assert ref.endswith("***") and report.display_width(ref) == report.display_width(hyp)
    assert report.display_width(hyp[: hyp.index("학교")]) == report.display_width(op[: op.index("S")])
    assert report.display_width(hyp[: hyp.index("now")]) == report.display_width(op[: op.index("I")])
    assert "u2 (" not in text  # correct utterances are only counted
    assert "학교에 -> 학교" in text and "김" in text


def test_long_utterances_are_broken_into_lines():
    words = [f"word{i}" for i in range(60)]
    text = report.report_text(score({"u": " ".join(words)}, {"u": " ".join(words[1:])}))
    assert max(map(len, text.splitlines())) <= 120
    assert sum(line.startswith("  REF") for line in text.splitlines()) == 5


def test_report_files(tmp_path):
    refs = {"u1": "나는 학교에", "u2": "b"}
    with pytest.warns(UserWarning) if no_hangul_font() else nullcontext():
        paths = report.write(score(refs, {"u1": "나는 학교", "u2": "b"}, {"u1": "김", "u2": "$s_2$"}), tmp_path)
    assert [p.name for p in paths] == ["score.txt", "score.json", "errors.png", "speakers.png"]
    assert json.loads((tmp_path / "score.json").read_text())["words"]["substitutions"] == 1
    for png in tmp_path.glob("*.png"):
        assert matplotlib.image.imread(png).std() > 0


def no_hangul_font():
    fonts = {f.name: f.fname for f in font_manager.fontManager.ttflist}
    return not any(ord("한") in report._characters_of(path) for name, path in fonts.items() if "Resort" not in name)


def test_characters_without_a_font_are_spelled_in_latin_with_one_warning(monkeypatch, tmp_path):
    monkeypatch.setattr(report.font_manager.fontManager, "ttflist", [])
    with (
        pytest.warns(UserWarning, match="characters 국한") as warned,
        report._readable(["한국 x", "$y$"]) as (labels, note),
    ):
        assert labels == ["hangug x", r"\$y\$"] and "Latin" in note
    assert len(warned) == 1


def test_characters_of_another_font_are_drawn_without_warnings(tmp_path, recwarn):
    usual, other = (report._characters_of(font_manager.findfont(name)) for name in ("DejaVu Sans", "STIXGeneral"))
    label = "spk " + chr(min(other - usual))
    assert len(report._fonts_for(label)[0]) == 2
    report.plot_speakers(score({"u1": "a"}, {"u1": "b"}, {"u1": label}), tmp_path / "s.png")
    assert not recwarn


def test_curves_of_records_with_gaps(tmp_path):
    records = [{"step": 1, "epoch": 0, "train_loss": 3.0, "lr": 1e-3}, {"step": 2, "dev_loss": 2.0, "dev_ter": None}]
    for name, rows in (("curves.png", records), ("none.png", [])):
        plot_curves(rows, tmp_path / name)
        assert matplotlib.image.imread(tmp_path / name).std() > 0
