"""`asr transcribe`: many recordings in, any format out, and finished work is not repeated."""

import json
import time

import numpy as np
import pytest
import soundfile
from tiny import TOKENS, config, graph_dir, model, noise, write_bundle

import asr
from asr import hypothesis, manifest
from asr.cli import main as cli
from asr.cli import transcribe as verb
from asr.cli import transcripts
from asr.cli.recordings import find_recordings
from asr.errors import InputError
from asr.manifest import Utterance
from asr.recognizer import bundle, long
from asr.recognizer.formats import SUFFIXES

RATE_HZ = 16000
FILES = ("b.wav", "a.flac", "sub/a.flac", "sub/deep/c.WAV")


@pytest.fixture(scope="module")
def asr_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("transcribe")
    return write_bundle(folder / "model.asr")


@pytest.fixture
def sounds(tmp_path):
    """A folder with recordings of 0.5 to 2 s, the longest first, and files that are no sound."""
    folder = tmp_path / "sounds"
    for number, name in enumerate(FILES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, noise(2.0 - 0.5 * number, number), RATE_HZ)
    (folder / "notes.md").write_text("no sound")
    (folder / "._b.wav").write_text("what another system keeps")
    return folder


class Called:
    """Calls `asr transcribe`; returns the exit code, and keeps the printed text."""

    def __init__(self, asr_file, capsys):
        self.asr_file, self.capsys, self.out, self.err = asr_file, capsys, "", ""

    def __call__(self, *words) -> int:
        code = cli.main(["transcribe", str(self.asr_file), *map(str, words)])
        self.out, self.err = self.capsys.readouterr()
        return code


@pytest.fixture
def call(asr_file, capsys):
    return Called(asr_file, capsys)


def texts(asr_file, sounds):
    recognizer = asr.load(asr_file)
    return {name: recognizer.transcribe(sounds / name).text for name in FILES}


# What is named


def test_a_folder_with_its_sub_folders(sounds):
    assert [r.id for r in find_recordings([str(sounds)])] == ["a", "b", "sub/a", "sub/deep/c"]


def test_equal_names_keep_more_of_their_path(sounds):
    def ids(*names):
        return [r.id for r in find_recordings([str(sounds / name) for name in names])]

    assert ids("a.flac", "b.wav") == ["a", "b"]
    assert [id.removeprefix(f"{sounds}/") for id in ids("a.flac", "sub/a.flac")] == ["a", "sub/a"]
    soundfile.write(sounds / "b.flac", noise(0.5), RATE_HZ)
    assert [id.removeprefix(f"{sounds}/") for id in ids("b.wav", "b.flac")] == ["b.wav", "b.flac"]
    assert ids("b.wav", "b.wav", "../sounds/b.wav") == ["b"]  # one file
    assert len(find_recordings([str(sounds), str(sounds / "sub")])) == 5
    (sounds / "sub" / "other").mkdir()
    soundfile.write(sounds / "sub" / "other" / "a.flac", noise(0.5), RATE_HZ)
    assert ids("sub", "sub/other") == ["a", "deep/c", "other/a"]


def test_a_list_is_relative_to_its_folder(sounds, tmp_path):
    (tmp_path / "list.txt").write_text(f"sounds/b.wav\n\n{sounds}/a.flac\nsounds/gone.wav\n", encoding="utf-8-sig")
    found = find_recordings([str(tmp_path / "list.txt")])
    assert [(r.id, str(r.source)) for r in found] == [
        (name, str(sounds / file)) for name, file in (("b", "b.wav"), ("a", "a.flac"), ("gone", "gone.wav"))
    ]


def test_folders_and_lists_without_recordings(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9.wav\n")
    (tmp_path / "text.txt").write_text("hello world\n")
    (tmp_path / "book.txt").write_text("word " * 80 + "\n")
    for name, says in (("empty", "holds no files that end in .wav"), ("empty.txt", "is empty"), ("latin.txt", "UTF-8"),
                       ("book.txt", "book.txt is read as a list .* exists, such as 'word word"),
                       ("text.txt", "text.txt is read as a list .* exists, such as 'hello world'")):  # fmt: skip
        with pytest.raises(InputError, match=says):
            find_recordings([str(tmp_path / name)])
    with pytest.raises(InputError, match="end in .npy, .mfc"):
        find_recordings([str(tmp_path / "empty")], has_stored_features=True)


def test_equal_ids_of_two_manifests(tmp_path):
    for name in ("a", "b"):
        manifest.write(tmp_path / f"{name}.jsonl", [Utterance("u1", audio=f"{name}.wav")])
    with pytest.raises(InputError, match="two recordings have the id 'u1'"):
        find_recordings([str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")])


# The recogniser


@pytest.mark.parametrize("words", [["gone.asr"], ["folder"], ["bundle=gone.asr"], ["exp/gone"], []])
def test_a_missing_recogniser_is_named(words, sounds, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    assert cli.main(["transcribe", *words, str(sounds / "b.wav")]) == 2
    named = words[0].removeprefix("bundle=") if words else "folder"
    name = named if named != "folder" else "exp/model.asr"
    assert capsys.readouterr().err == (
        f"asr: error: there is no recogniser {name}; name a bundle (*.asr) or a run folder with a trained model, then "
        f"the recordings: asr transcribe exp/model.asr speech.wav\n"
    )


# The terminal


def test_the_printed_order_is_that_of_the_words(call, sounds, asr_file):
    assert call(*(sounds / name for name in FILES)) == 0
    wanted = texts(asr_file, sounds)
    shown = [line for line in call.out.splitlines() if line.startswith(str(sounds))]
    assert shown == [f"{sounds / name}: {wanted[name]}" for name in FILES]
    assert call.err == ""


def test_bad_files_are_named_and_set_aside(call, sounds, asr_file, tmp_path):
    (sounds / "empty.wav").touch()
    (sounds / "sub" / "text.wav").write_text("these are words")
    output = tmp_path / "hyp.jsonl"
    assert call(sounds, sounds / "gone.wav", f"output={output}") == 2
    lines = call.err.splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["set"] * 3 + ["asr:"]
    for name in ("empty.wav", "text.wav", "gone.wav"):
        assert sum(name in line for line in lines[:3]) == 1
    assert lines[3].startswith("asr: error: 3 of 7 recordings were set aside; the first: ")
    assert {h.id: h.text for h in hypothesis.read(output)} == {
        name.rpartition(".")[0]: text for name, text in texts(asr_file, sounds).items()
    }
    assert f"4 recordings -> {output}" in call.out


def test_segments_of_a_manifest(call, sounds, tmp_path):
    segments = [Utterance(f"s{i}", audio=str(sounds / "b.wav"), start_s=i * 0.5, duration_s=0.5) for i in range(3)]
    manifest.write(tmp_path / "m.jsonl", [*segments, Utterance("gone", audio="gone.wav")])
    assert call(tmp_path / "m.jsonl", "format=jsonl") == 2
    found = [json.loads(line) for line in call.out.splitlines()]
    assert [(h["id"], h["duration_s"]) for h in found] == [("s0", 0.5), ("s1", 0.5), ("s2", 0.5)]
    assert "set aside gone: audio file" in call.err


def test_a_long_recording(call, tmp_path):
    x = noise(70)
    for t in range(5, 70, 5):
        x[t * RATE_HZ : t * RATE_HZ + 4000] *= 1e-3
    soundfile.write(tmp_path / "long.flac", x, RATE_HZ)
    assert call(tmp_path / "long.flac", "format=json") == 0
    words = json.loads(call.out)["words"]
    assert words[-1]["end_s"] > 65 and words == sorted(words, key=lambda word: word["start_s"])
    assert call(tmp_path / "long.flac", "max_audio_s=60") == 2 and "long.flac is longer than 60 s" in call.err


# Files


@pytest.mark.parametrize("format", list(SUFFIXES))
def test_one_file_of_each_format(call, sounds, tmp_path, format):
    """The suffix of `output` names the format; `format` alone prints the same."""
    output = tmp_path / f"x{SUFFIXES[format]}"
    assert call(sounds / "b.wav", f"output={output}") == 0
    written = output.read_text()
    assert call(sounds / "b.wav", f"format={format}") == 0
    assert call.out == written and written.strip()
    other = tmp_path / "x.out"
    assert call(sounds / "b.wav", f"output={other}", f"format={format}") == 0
    assert other.read_text() == written


@pytest.mark.parametrize("format", ["srt", "vtt", "json", "textgrid"])
def test_formats_of_one_recording(call, sounds, tmp_path, format):
    for words in ([], [f"output={tmp_path}/x{SUFFIXES[format]}"]):
        assert call(sounds, f"format={format}", *words) == 2
        assert f"format={format} holds one recording, not 4; set output=FOLDER/" in call.err
    assert call(sounds, f"output={tmp_path}/x.docx") == 2 and "no format ends in .docx" in call.err
    assert call(sounds, "format=str") == 2 and "'srt'" in call.err


def test_an_input_is_never_overwritten(call, sounds, tmp_path):
    (tmp_path / "list.txt").write_text("sounds/b.wav\n")
    manifest.write(tmp_path / "m.jsonl", [Utterance("m", audio=f"{sounds}/b.wav")])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for words in (
        ["list.txt", f"output={tmp_path}/list.txt"],
        ["m.jsonl", f"output={tmp_path}/m.jsonl"],
        ["m.jsonl", f"output={tmp_path}", "format=jsonl"],
        ["sounds/b.wav", f"output={tmp_path}/sounds/b.wav", "format=txt"],
    ):
        assert call(tmp_path / words[0], *words[1:]) == 2, words
        assert "is also an input" in call.err
    assert call(sounds, f"output={call.asr_file}", "format=txt") == 2 and "also an input" in call.err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_folder_of_files(call, sounds, tmp_path, asr_file):
    """One per recording, sub-folders kept; a second call adds the missing ones and changes nothing else."""
    out = tmp_path / "out"
    assert call(sounds, f"output={out}/", "format=txt") == 0
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert files == {name.rpartition(".")[0] + ".txt" for name in FILES}
    assert (out / "sub/a.txt").read_text() == texts(asr_file, sounds)["sub/a.flac"] + "\n"
    assert "4 recordings -> " in call.out and call.out.count("\n") == 1
    (out / "a.txt").unlink()
    (out / "b.txt").write_text("corrected by hand\n")
    assert call(sounds, f"output={out}", "format=txt") == 0
    assert f"1 recordings -> {out} (3 existed already)" in call.out
    assert (out / "b.txt").read_text() == "corrected by hand\n" and (out / "a.txt").exists()
    assert call(sounds, f"output={tmp_path}/new") == 0  # no ending: a folder, and json holds all
    assert json.loads((tmp_path / "new" / "sub" / "deep" / "c.json").read_text())["id"] == "sub/deep/c"
    assert not list(tmp_path.rglob("*.tmp"))


def test_output_stays_in_its_folder(call, sounds, tmp_path):
    """For any ids in a manifest and any file names."""
    manifest.write(
        tmp_path / "m.jsonl", [Utterance("../../up/x", audio=f"{sounds}/b.wav"), Utterance("..", f"{sounds}/b.wav")]
    )
    assert call(tmp_path / "m.jsonl", f"output={tmp_path}/out/") == 0
    assert {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.json")} == {"up/x.json", "_.json"}
    (tmp_path / "file").touch()
    assert call(sounds, f"output={tmp_path}/file/") == 2 and "is a file, not a folder" in call.err
    manifest.write(
        tmp_path / "m.jsonl", [Utterance("../x", audio=f"{sounds}/b.wav"), Utterance("x", f"{sounds}/b.wav")]
    )
    assert call(tmp_path / "m.jsonl", f"output={tmp_path}/out/") == 2 and "to one file" in call.err


def interrupt_after(monkeypatch, count):
    """The recogniser stops after the given number of recordings; returns the ids that it is asked for."""
    asked = []
    original = long.transcribe_each

    def stopping(recognizer, recordings, *arguments):
        asked.append(len(recordings))
        for number, result in enumerate(original(recognizer, recordings, *arguments)):
            if number == count:
                raise KeyboardInterrupt
            yield result

    monkeypatch.setattr(long, "transcribe_each", stopping)
    return asked


def test_a_file_is_continued_after_an_interruption(call, sounds, tmp_path, monkeypatch):
    output = tmp_path / "hyp.jsonl"
    assert call(sounds, f"output={tmp_path}/whole.jsonl") == 0
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        assert call(sounds, f"output={output}") == 130
    partial = tmp_path / "hyp.jsonl.partial"
    assert not output.exists() and partial.read_text().count("\n") == 3
    with open(partial, "a") as file:
        file.write('{"id": "a", "te')  # as a full disk leaves it
    with monkeypatch.context() as patch:
        asked = interrupt_after(patch, 9)
        assert call(sounds, f"output={output}") == 0
    assert asked == [2] and "2 recordings -> " in call.out and "(2 existed already)" in call.out
    whole = [(h.id, h.words) for h in hypothesis.read(tmp_path / "whole.jsonl")]
    assert [(h.id, h.words) for h in hypothesis.read(output)] == whole
    assert not partial.exists()


def test_other_options_start_again(call, sounds, tmp_path, monkeypatch):
    """Results of other options are not mixed in; a complete file is written again."""
    words = (sounds, f"output={tmp_path}/hyp.txt")
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        assert call(*words) == 130
    with monkeypatch.context() as patch:
        asked = interrupt_after(patch, 9)
        assert call(*words, "beam=7") == 0
        assert call(*words, "beam=7", "threads=1") == 0
    assert asked == [4, 4]
    assert (tmp_path / "hyp.txt").read_text().count("\t") == 4


# Progress


def test_progress_appears_when_work_takes_long(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for is_terminal, wanted in ((False, 1), (True, 7)):
        monkeypatch.setattr("sys.stderr.isatty", lambda value=is_terminal: value, raising=False)
        progress = verb.Progress()
        for step in range(1, 36):
            now[0] += 0.9
            progress(step * 90.0, 7200.0)
            if step > 12 and is_terminal:
                break
        err = capsys.readouterr().err
        assert err.count("% of 2:00:00 of audio, 100.0 times real time") == wanted + (is_terminal and 1)
        progress.print("set aside x", None)
        said = capsys.readouterr()
        assert said.out == "set aside x\n" and said.err == ("\r\033[K" if is_terminal else "")
    assert "left" in err


def test_stored_features(tmp_path, capsys):
    cfg = config(kind="stored")
    bundle.write(tmp_path / "m.asr", model(cfg), cfg, TOKENS, graph_dir(tmp_path / "graph"), "# tiny")
    (tmp_path / "f").mkdir()
    for name in ("x", "y"):
        np.save(tmp_path / "f" / f"{name}.npy", np.random.default_rng(1).normal(size=(200, 8)).astype(np.float32))
    soundfile.write(tmp_path / "f" / "z.wav", noise(0.5), RATE_HZ)
    assert cli.main(["transcribe", f"{tmp_path}/m.asr", f"{tmp_path}/f", "format=jsonl"]) == 0
    assert [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()] == ["x", "y"]
    assert cli.main(["transcribe", f"{tmp_path}/m.asr", f"{tmp_path}/f/z.wav"]) == 2
    assert "z.wav: this model takes stored features" in capsys.readouterr().err


def test_help_names_the_formats(capsys):
    assert cli.main(["transcribe", "--help"]) == 0
    said = capsys.readouterr().out
    assert "MANIFEST.jsonl" in said and all(format in said for format in SUFFIXES)


def test_results_of_other_recordings_are_not_taken(call, tmp_path, monkeypatch):
    for folder, seed in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        for name in ("x", "y"):
            soundfile.write(tmp_path / folder / f"{name}.wav", noise(0.6, seed), RATE_HZ)
    output = f"output={tmp_path}/o.jsonl"
    with monkeypatch.context() as patch:
        patch.setattr(transcripts.File, "finish", lambda self: None)  # as if stopped before the end
        assert call(tmp_path / "a", output) == 0
    assert (tmp_path / "o.jsonl.partial").exists()
    assert call(tmp_path / "b", output) == 0 and "already" not in call.out
    assert "2 recordings ->" in call.out


def test_no_file_that_is_read_is_overwritten(call, tmp_path):
    soundfile.write(tmp_path / "x.wav", noise(0.6), RATE_HZ)
    (tmp_path / "p.txt").write_text("a b\n")
    assert call(tmp_path / "x.wav", f"phrases={tmp_path}/p.txt", f"output={tmp_path}/p.txt") == 2
    assert "p.txt is also an input" in call.err and (tmp_path / "p.txt").read_text() == "a b\n"
