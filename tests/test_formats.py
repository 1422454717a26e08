"""The output formats, read back by independent readers, or compared with files written by hand."""

import io
import json

import numpy as np
import pytest

from asr.evaluation.texts import read_texts
from asr.hypothesis import Hypothesis, Word, read
from asr.recognizer.formats import LINE_WIDTH, MAX_CUE_S, OF_MANY, SUFFIXES, cues, render

WORDS = [
    Word("so", 0.5, 0.7, 0.9),
    Word("<&>", 0.7, 1.25, 0.5),
    Word("no", 1.25, 1.3, 0.1, accepted=False),
    Word('say "five"', 3.0, 3.4, 0.75),
]
HYPO = Hypothesis("a b", 'so <&> say "five"', WORDS, 12.5, 4.0, True)
EMPTY = Hypothesis("silence", "", [], 1.0, 2.5, True)


def talk(seconds, seed=0, letters="abcdefghij"):
    """A hypothesis with words of 1-12 letters and a pause after every seventh word or so."""
    rng = np.random.default_rng(seed)
    words, at = [], 0.3
    while at < seconds - 2:
        word = "".join(rng.choice(list(letters), rng.integers(1, 13)))
        end = at + 0.06 * len(word) + 0.1
        words.append(Word(word, round(at, 3), round(end, 3), 0.9))
        at = end + (rng.uniform(0.3, 1.6) if rng.random() < 0.15 else rng.uniform(0, 0.05))
    return Hypothesis("talk", " ".join(w.word for w in words), words, 1.0, seconds, True)


def test_txt(tmp_path):
    assert render([HYPO], "txt") == 'so <&> say "five"\n'
    (tmp_path / "hyp.txt").write_text(render([HYPO, EMPTY], "txt"))
    assert read_texts(tmp_path / "hyp.txt").texts == {"a b": HYPO.text, "silence": ""}


def test_json(tmp_path):
    assert Hypothesis.from_dict(json.loads(render([HYPO], "json"))) == HYPO
    (tmp_path / "hyp.jsonl").write_text(render([HYPO, EMPTY], "jsonl"))
    assert read(tmp_path / "hyp.jsonl") == [HYPO, EMPTY]


def test_srt_by_hand():
    wanted = '1\n00:00:00,500 --> 00:00:01,500\nso <&>\n\n2\n00:00:03,000 --> 00:00:04,000\nsay "five"\n'
    assert render([HYPO], "srt") == wanted
    assert render([EMPTY], "srt") == ""


def test_vtt_by_hand():
    wanted = (
        "WEBVTT\n\n00:00:00.500 --> 00:00:01.500\nso &lt;&amp;&gt;\n\n"
        "00:00:03.000 --> 00:00:04.000\nsay \"five\"\n"
    )  # fmt: skip
    assert render([HYPO], "vtt") == wanted
    assert render([EMPTY], "vtt") == "WEBVTT\n"


def test_ctm_by_hand():
    """Sorted by recording, no spaces in names; words in their order."""
    wanted = 'a_b 1 0.500 0.200 so 0.9000\na_b 1 0.700 0.550 <&> 0.5000\na_b 1 3.000 0.400 say "five" 0.7500\n'
    assert render([EMPTY, HYPO], "ctm") == wanted
    lines = render([talk(60), HYPO], "ctm").splitlines()
    assert [line.split()[0] for line in lines] == sorted(line.split()[0] for line in lines)


def test_srt_is_read_by_srt():
    srt = pytest.importorskip("srt")
    hypo = talk(5000)
    subtitles = list(srt.parse(render([hypo], "srt")))
    assert " ".join(s.content.replace("\n", " ") for s in subtitles) == hypo.text
    assert [s.index for s in subtitles] == list(range(1, len(subtitles) + 1))
    check_cues([(s.start.total_seconds(), s.end.total_seconds(), s.content) for s in subtitles])
    assert subtitles[-1].start.total_seconds() > 3600


def test_vtt_is_read_by_webvtt():
    webvtt = pytest.importorskip("webvtt")
    hypo = talk(5000)
    captions = webvtt.from_buffer(io.StringIO(render([hypo], "vtt"))).captions
    assert " ".join(c.text.replace("\n", " ") for c in captions) == hypo.text
    check_cues([(c.start_in_seconds, c.end_in_seconds, c.text) for c in captions], tolerance_s=1)


def check_cues(found, tolerance_s=1e-6):
    assert len(found) > 100
    for (start, end, text), (next_start, _, _) in zip(found, [*found[1:], found[-1]], strict=True):
        lines = text.split("\n")
        assert len(lines) <= 2 and max(map(len, lines)) <= LINE_WIDTH
        assert start <= end <= start + MAX_CUE_S + tolerance_s
        assert end <= next_start + tolerance_s or (start, end) == found[-1][:2]


def test_cues_break_at_pauses():
    words = [Word(f"w{i}", i * 0.4, i * 0.4 + 0.3, 1.0) for i in range(40)]
    shifted = [Word(w.word, w.start_s + 0.3, w.end_s + 0.3, 1.0) if i >= 12 else w for i, w in enumerate(words)]
    assert len(next(cues(shifted))) == 12  # at the pause, not after 7 s
    assert [len(cue) for cue in cues(words)][:2] == [17, 17]  # 17 * 0.4 + 0.3 = 7.1 s would be too long
    far = [Word("a", 0, 0.5, 1.0), Word("b", 2.0, 2.5, 1.0)]
    assert len(list(cues(far))) == 2


def test_wide_letters_take_two_columns():
    hypo = talk(300, letters="가나다라마바사")
    for cue in cues(hypo.words):
        assert len(cue) == 1 or sum(2 * len(w.word) + 1 for w in cue) <= 2 * LINE_WIDTH + 2


def test_a_word_without_end():
    """A word that fits no line and lasts too long stays whole, but its cue is limited."""
    hypo = Hypothesis("x", "w" * 60, [Word("w" * 60, 1.0, 30.0, 1.0)], 0.0, 31.0, True)
    assert render([hypo], "srt") == f"1\n00:00:01,000 --> 00:00:08,000\n{'w' * 60}\n"


@pytest.mark.parametrize("hypo", [HYPO, EMPTY, talk(200)], ids=["quotes", "empty", "talk"])
def test_textgrid_is_read_by_praatio(tmp_path, hypo):
    textgrid = pytest.importorskip("praatio.textgrid")
    (tmp_path / "x.TextGrid").write_text(render([hypo], "textgrid"))
    read = textgrid.openTextgrid(str(tmp_path / "x.TextGrid"), includeEmptyIntervals=True, reportingMode="error")
    entries = read.getTier("words").entries
    words = [word for word in hypo.words if word.accepted]
    assert [(e.start, e.end, e.label) for e in entries if e.label] == [(w.start_s, w.end_s, w.word) for w in words]
    edges = [0.0, *(e.end for e in entries)]
    assert edges[:-1] == [e.start for e in entries] and edges[-1] == hypo.duration_s


def test_textgrid_of_words_that_touch_or_pass_the_end():
    """Intervals never overlap nor are empty: Praat refuses such files."""
    words = [Word("a", 0.0, 1.0, 1.0), Word("b", 0.9, 0.95, 1.0), Word("c", 0.9, 1.2, 1.0)]
    text = render([Hypothesis("x", "a b c", words, 0.0, 1.1, True)], "textgrid")
    assert "size = 2" in text and "xmax = 1.2\ntiers" in text and '"b"' not in text


def test_every_format_has_its_suffix():
    assert set(OF_MANY) < set(SUFFIXES)
    for format in SUFFIXES:
        assert render([HYPO], format)
        if format not in OF_MANY:
            with pytest.raises(ValueError):
                render([HYPO, EMPTY], format)
