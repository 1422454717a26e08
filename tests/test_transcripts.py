"""The files of `asr transcribe`: they never collide, and know which recordings they were made from."""

import os

import pytest
import soundfile
import test_transcribe
from test_transcribe import RATE_HZ
from tiny import noise

from asr import hypothesis, manifest
from asr.cli import transcripts
from asr.cli.recordings import find_recordings
from asr.locks import locked
from asr.manifest import Utterance

asr_file, call, sounds = test_transcribe.asr_file, test_transcribe.call, test_transcribe.sounds


@pytest.mark.parametrize(
    "ids,says",
    [
        (["a", "a.json/b"], "'a' would be written to a file, and 'a.json/b' to a folder"),
        (["a.json/b/c", "A"], "'A' would be written to a file, and 'a.json/b/c' to a folder"),
        (["x", "X"], "'x' and 'X' would be written to one file"),
        (["\u00e9", "e\u0301"], "would be written to one file"),
        (["n" * 240], "gives a name of 245 bytes"),
    ],
)
def test_reports_of_different_ids_never_collide(call, sounds, tmp_path, ids, says):
    manifest.write(tmp_path / "m.jsonl", [Utterance(id, audio=f"{sounds}/b.wav") for id in ids])
    assert call(tmp_path / "m.jsonl", f"output={tmp_path}/out/") == 2 and says in call.err
    assert not (tmp_path / "out").exists()
    assert call(tmp_path / "m.jsonl", f"output={tmp_path}/out.jsonl") == 0
    assert [h.id for h in hypothesis.read(tmp_path / "out.jsonl")] == ids


def test_names_that_differ_in_case_or_normal_form_keep_more_of_their_path(tmp_path):
    paths = []
    for folder, name in (("p", "x"), ("q", "X"), ("p", "\u00e9"), ("q", "e\u0301")):
        (tmp_path / folder).mkdir(exist_ok=True)
        soundfile.write(tmp_path / folder / f"{name}.wav", noise(0.3), RATE_HZ)
        paths.append(str(tmp_path / folder / f"{name}.wav"))
    assert [r.id for r in find_recordings(paths)] == [path.removesuffix(".wav") for path in paths]
    soundfile.write(tmp_path / "p" / "X.wav", noise(0.3), RATE_HZ)
    assert sorted(r.id for r in find_recordings([str(tmp_path / "p")])) == ["X", "x", "\u00e9"]  # two on this system


def test_a_changed_recording_is_not_taken_from_a_partial_result(call, tmp_path, monkeypatch):
    """Of equal size and time."""
    for name in ("x", "y"):
        soundfile.write(tmp_path / f"{name}.wav", noise(0.6, 1), RATE_HZ)
    command = (tmp_path / "x.wav", tmp_path / "y.wav", f"output={tmp_path}/o.jsonl")
    with monkeypatch.context() as patch:
        patch.setattr(transcripts.File, "finish", lambda self: None)
        assert call(*command) == 0
    stat = (tmp_path / "x.wav").stat()
    soundfile.write(tmp_path / "x.wav", noise(0.6, 2), RATE_HZ)
    os.utime(tmp_path / "x.wav", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert call(*command) == 0
    assert "(1 existed already)" in call.out and "1 recordings" in call.out


def test_transcripts_older_than_their_recording_are_named(call, tmp_path):
    soundfile.write(tmp_path / "x.wav", noise(0.6, 1), RATE_HZ)
    command = (tmp_path / "x.wav", f"output={tmp_path}/out/")
    assert call(*command) == 0 and call(*command) == 0 and "warning" not in call.err
    time_s = (tmp_path / "out" / "x.json").stat().st_mtime + 10
    os.utime(tmp_path / "x.wav", (time_s, time_s))
    assert call(*command) == 0 and "1 of them are older than their recording" in call.err


def test_replacing_the_transcript_of_another_recording_is_reported(call, tmp_path):
    for name in ("x", "y"):
        soundfile.write(tmp_path / f"{name}.wav", noise(0.6, ord(name)), RATE_HZ)
    output = f"output={tmp_path}/o.jsonl"
    assert call(tmp_path / "x.wav", output) == 0 and call(tmp_path / "x.wav", output) == 0
    assert "replaced" not in call.err
    assert call(tmp_path / "y.wav", output) == 0 and f"replaced {tmp_path}/o.jsonl" in call.err


def test_two_processes_do_not_write_one_file(call, tmp_path):
    soundfile.write(tmp_path / "x.wav", noise(0.6), RATE_HZ)
    with locked(tmp_path, "o.jsonl"):
        assert (
            call(tmp_path / "x.wav", f"output={tmp_path}/o.jsonl") == 2 and "o.jsonl is in use by process" in call.err
        )
        assert call(tmp_path / "x.wav", f"output={tmp_path}/other.jsonl") == 0
        assert call(tmp_path / "x.wav") == 0
