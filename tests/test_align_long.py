"""Long recordings with imperfect texts become utterances: anchors, places, pieces, and the verb."""

import itertools
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tone_net
from hypothesis import given
from hypothesis import strategies as st
from test_guide import run_page

import asr
from asr import manifest
from asr.align.alignment import AlignedWord
from asr.align.anchors import Anchor, anchors
from asr.align.anchors import _longest_chain as longest_chain
from asr.align.ctc_aligner import collapsed
from asr.align.cutting import cut
from asr.align.heard import hear
from asr.align.times import Clock
from asr.cli.main import main
from asr.manifest import Utterance

sequences = st.lists(st.integers(0, 3), max_size=30)


@given(sequences, sequences)
def test_anchors_are_equal_runs_in_order(heard, text):
    found = anchors(heard, text, (4, 2))
    for place, other, length in found:
        assert heard[place : place + length] == text[other : other + length]
    assert all(a.heard < b.heard and a.text < b.text for a, b in itertools.pairwise(found))


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), unique_by=lambda pair: pair[0], max_size=8))
def test_the_chain_is_the_longest(pairs):
    pairs = sorted(pairs)
    chain = longest_chain(pairs)
    assert all(a < b and c < d for (a, c), (b, d) in itertools.pairwise(chain)) and set(chain) <= set(pairs)
    ways = (way for size in range(len(pairs) + 1) for way in itertools.combinations(pairs, size))
    best = max((len(way) for way in ways if all(a[1] < b[1] for a, b in itertools.pairwise(way))), default=0)
    assert len(chain) == best


def test_anchors_pass_over_what_only_one_side_has():
    rng = np.random.default_rng(1)
    tokens = rng.integers(0, 30, 200).tolist()
    heard, text = tokens[:50] + rng.integers(0, 30, 40).tolist() + tokens[50:], tokens[:120] + tokens[140:]
    found = anchors(heard, text, (6,))
    assert Anchor(0, 0, 6) in found and Anchor(90, 50, 6) in found and Anchor(234, 174, 6) in found
    assert {h - t for h, t, _ in found} == {0, 40, 60}


@st.composite
def placed_words(draw):
    """Words with numbers and times, and times of other speech between some of them."""
    words, extra, at_s, number = [], [], 0.0, 0
    for _ in range(draw(st.integers(1, 30))):
        number += draw(st.sampled_from([0, 0, 0, 2]))
        pause_s = draw(st.sampled_from([0.0, 0.1, 0.5, 2.0]))
        if pause_s == 2.0 and draw(st.booleans()):
            extra.append((at_s + 0.5, at_s + 1.5))
        length_s = draw(st.sampled_from([0.1, 0.4]))
        start_s = at_s + pause_s
        words.append((number, AlignedWord(f"w{number}", start_s, start_s + length_s, 0.9, [])))
        at_s, number = start_s + length_s, number + 1
    return words, extra, at_s + 0.3


@given(placed_words(), st.sampled_from([0.2, 1.0, 3.0]))
def test_pieces_hold_every_word_once_and_nothing_else(case, longest_s):
    words, extra, duration_s = case
    pieces = list(cut(words, extra, duration_s, longest_s))
    assert [w.word for piece in pieces for w in piece.alignment.words] == [word.word for _, word in words]
    placed = iter(words)
    end_s = 0.0
    for piece in pieces:
        assert piece.start_s >= end_s - 1e-3
        end_s = piece.start_s + piece.alignment.duration_s
        own = piece.alignment.words
        assert len(own) == 1 or own[-1].end_s - own[0].start_s <= longest_s + 1e-6
        for number, word in enumerate(own):
            assert next(placed)[0] == piece.first + number  # consecutive in the text
            assert -1e-6 <= word.start_s < word.end_s <= piece.alignment.duration_s + 1e-3
        assert not any(s < end_s - 1e-3 and e > piece.start_s + 1e-3 for s, e in extra)
    assert end_s <= duration_s + 1e-3


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A recording of 300 words, and its text with a passage deleted, one inserted, and some words replaced."""
    pytest.importorskip("onnxruntime", reason="the model of tones is run by onnxruntime")
    folder = tmp_path_factory.mktemp("book")
    assert main(["import", str(tone_net.write_model(folder)), f"output={folder}/m.asr"]) == 0
    rng = np.random.default_rng(6)
    said = tone_net.say(tone_net.new_words(300, rng), rng, (0.2, 0.6))
    soundfile.write(folder / "book.wav", said.samples, tone_net.RATE_HZ)
    return folder, said, misquote(said, rng, folder / "book.txt")


def misquote(said, rng, path):
    """Writes the text of 300 words with a passage deleted, one inserted, and words replaced. Returns the words, each
    with its number in what is said, or None."""
    foreign = iter([word for word in tone_net.new_words(300, rng) if len(word) == 5])
    wanted: list[tuple[str, int | None]] = [(word, number) for number, (word, _, _) in enumerate(said.words)]
    for number in range(10, 300, 25):
        wanted[number] = (next(foreign), None)
    wanted[200:200] = [(next(foreign), None) for _ in range(20)]
    del wanted[100:120]
    lines = [" ".join(word for word, _ in wanted[at : at + 12]) for at in range(0, len(wanted), 12)]
    path.write_text("\n".join(lines) + "\n")
    return wanted


def places_of(utterances, said, wanted):
    """How many words are where they are said, and how many elsewhere."""
    right = wrong = 0
    for utterance in utterances:
        words = utterance.extra["alignment"]["words"]
        assert utterance.text == " ".join(word["word"] for word in words)
        for number, word in enumerate(words, utterance.extra["first_word"] - 1):
            assert word["word"] == wanted[number][0]
            source = wanted[number][1]
            is_near = source is not None and abs(utterance.start_s + word["start_s"] - said.words[source][1]) < 0.1
            right, wrong = right + is_near, wrong + (not is_near)
    return right, wrong


def test_a_long_recording_is_cut_into_utterances(book, monkeypatch, capsys):
    folder, said, wanted = book
    monkeypatch.chdir(folder)
    monkeypatch.setattr("asr.align.long.SECTION_S", 10.0)  # so that there are several sections
    assert main(["align", "long", "m.asr", "book.wav", "book.txt", "output=out.jsonl", "longest_s=8"]) == 0
    printed = capsys.readouterr().out
    found = manifest.read("out.jsonl")
    for utterance in found:
        assert utterance.duration_s <= 8 + 0.4 and utterance.audio == str(folder / "book.wav")
    right, wrong = places_of(found, said, wanted)
    spoken = sum(source is not None for _, source in wanted)
    assert right >= 0.97 * spoken and wrong <= 4
    assert f"of {len(wanted)} words found" in printed and "speech at" in printed and "not heard after" in printed
    rows = (folder / "out.jsonl.suspicious.tsv").read_text()
    assert "s of speech at" in rows and "of the text" in rows

    assert main(["align", "long", "m.asr", "book.wav", "book.txt", "output=grids/"]) == 0
    assert len(list((folder / "grids").glob("book-*.TextGrid"))) > 10
    assert main(["align", "m.asr", "out.jsonl", "output=again.ctm"]) == 0  # the utterances align with their texts
    assert f"aligned {len(found)} utterances" in capsys.readouterr().out


def test_a_text_of_something_else_is_refused(book, tmp_path, monkeypatch, capsys):
    folder, _, _ = book
    monkeypatch.chdir(folder)
    foreign = tone_net.new_words(300, np.random.default_rng(77))
    (tmp_path / "foreign.txt").write_text(" ".join(foreign))
    assert main(["align", "long", "m.asr", "book.wav", str(tmp_path / "foreign.txt"), "output=foreign.jsonl"]) == 2
    assert "have no passage in common" in capsys.readouterr().err
    assert not Path("foreign.jsonl").exists()


@pytest.mark.parametrize("kind", ["foreign", "unspeakable"])
def test_a_short_text_of_something_else_is_refused(book, tmp_path, monkeypatch, capsys, kind):
    """Too short for passages in common to be missed; words without a pronunciation stand for any sound."""
    folder, said, _ = book
    monkeypatch.chdir(folder)
    call = ["align", "long", "m.asr", f"{tmp_path}/part.wav", f"{tmp_path}/short.txt", f"output={tmp_path}/out.jsonl"]
    soundfile.write(tmp_path / "part.wav", said.samples[: 4 * tone_net.RATE_HZ], tone_net.RATE_HZ)
    foreign = [word for word in tone_net.new_words(90, np.random.default_rng(78)) if len(word) == 5]
    words = foreign[:12] if kind == "foreign" else ["???", "!!!", "12"]
    (tmp_path / "short.txt").write_text(" ".join(words))
    assert main(call) == 2
    assert "few words in common" in capsys.readouterr().err and not (tmp_path / "out.jsonl").exists()
    (tmp_path / "short.txt").write_text(" ".join(word for word, _, end_s in said.words if end_s < 4))
    assert main(call) == 0


@pytest.mark.parametrize("pad_s", [0.0, 0.03, 0.1])
def test_frames_of_a_padded_recording_are_those_of_the_sound(book, pad_s):
    recognizer = asr.load(book[0] / "m.asr", pad_s=pad_s)
    samples, rate_hz = soundfile.read(book[0] / "book.wav", frames=5 * tone_net.RATE_HZ, dtype="float32")
    soundfile.write(book[0] / "part.wav", samples, rate_hz)
    clock = Clock.of(recognizer)
    heard = hear(recognizer, book[0] / "part.wav", partial(collapsed, gaps=[0]), clock)
    (padded,) = recognizer.log_probs([samples])
    place = next(n for n in range(9) if np.allclose(padded[n : n + 50], heard.log_probs[:50], atol=1e-3))
    for frame in (50, 200):
        assert heard.clock.time_s(frame, 5) == pytest.approx(clock.time_s(place + frame, 5))


def test_a_piece_has_the_sound_up_to_an_end_of_the_recording():
    words = [(0, AlignedWord("a", 0.1, 0.4, 0.9, [])), (1, AlignedWord("b", 0.5, 0.9, 0.9, []))]
    (piece,) = cut(words, [], 1.0, 9.0)
    assert (piece.start_s, piece.alignment.duration_s) == (0.0, 1.0)


def test_wrong_calls_are_refused(book, monkeypatch, capsys):
    folder = book[0]
    monkeypatch.chdir(folder)
    (folder / "empty.txt").write_text("\n")
    (folder / "other.txt").write_text("xyz ???\n")
    before = (folder / "book.txt").read_bytes()
    for words, message in {
        "m.asr book.wav output=x.jsonl": "needs a recording and its text",
        "m.asr book.wav book.txt output=book.wav": "book.wav is also an input",
        "m.asr book.wav book.txt output=book.txt format=ctm": "also an input",
        "m.asr book.wav empty.txt output=x.jsonl": "empty.txt is empty",
        "m.asr book.wav book.txt output=x.jsonl fillers=ab": "fillers",
        "m.asr book.wav book.txt output=x.jsonl min_score=1": "have a score below align.min_score=1",
    }.items():
        assert main(["align", "long", *words.split()]) == 2, words
        assert message in capsys.readouterr().err, words
    assert (folder / "book.txt").read_bytes() == before and not list(folder.glob("x.*"))


def test_the_guide_runs_as_written(book, tmp_path, monkeypatch):
    folder, said, _ = book
    monkeypatch.chdir(tmp_path)
    Path("exp/my/data").mkdir(parents=True)
    shutil.copy(folder / "m.asr", "exp/my/model.asr")
    part = tone_net.say([word for word, _, _ in said.words[:40]], np.random.default_rng(3))
    soundfile.write("long.wav", part.samples, tone_net.RATE_HZ)
    Path("long.txt").write_text(part.text + "\n")
    manifest.write("exp/my/data/test.jsonl", [Utterance("a/b", "long.wav", text=part.text)])
    assert run_page("align.md", {}) == 2
    assert Path("grids/a/b.TextGrid").exists() and len(manifest.read("pieces.jsonl")) > 1
