"""Times, channels and other columns of tables, and the notes about them: what they mean, and what is refused."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.data.importers import import_corpus
from asr.data.importers.columns import channel_of, times_of
from asr.errors import InputError


@pytest.fixture
def table(tmp_path):
    """table(header, *lines) -> (utterances, notes) of a CSV next to talk.wav, 10 s at 8 kHz."""
    soundfile.write(tmp_path / "talk.wav", np.zeros((80000, 2), "float32"), 8000)

    def read(*lines, name="t.csv"):
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        notes = []
        return import_corpus(tmp_path / name, tell=notes.append), notes

    return read


@pytest.mark.parametrize(
    ("columns", "cells"),
    [
        ("start,end", "1.5,4"),
        ("start_time,end_time", "1.5,4"),
        ("Start Time,End Time", "0:01.5,00:00:04"),
        ("begin,stop", "1.5,4"),
        ("start,duration", "1.5,2.5"),
        ("offset,duration", "1.5,2.5"),
        ("onset,offset", "1.5,4"),
        ("from,to", "1.5,4"),
        ("tmin,tmax", "1.5,4"),
        ("start_ms,end_ms", "1500,4000"),
        ("start (ms),end [ms]", "1500,4000"),
        ("start_in_milliseconds,duration_ms", "1500,2500"),
        ("start_sample,end_sample", "12000,32000"),
        ("sample_start,sample_end,sample_rate", "24000,64000,16000"),
        ("start_seconds,stop_seconds", "1.5,4"),
        ("start,end,duration", "1.5,4,2.5"),
        ("end,duration", "4,2.5"),
        ("segment_start,segment_end", "1.5,4"),
        ("startTime,endTime", "1.5,4"),
        ("Start Time (ms),End Time (ms)", "1500,4000"),
        ("t0,t1", "1.5,4"),
        ("시작,끝", "1.5,4"),
        ("시작 시간(초),종료 시간(초)", "1.5,4"),
    ],
)
def test_one_part_in_many_spellings(table, columns, cells):
    (utterance,), _ = table(f"audio,text,{columns}", f"talk.wav,one,{cells}")
    assert (utterance.start_s, utterance.duration_s, utterance.text) == (1.5, 2.5, "one")
    assert set(utterance.extra) <= {"sample_rate"}


def test_empty_cells_change_the_meaning_of_no_other_column(table):
    utterances, _ = table("audio,text,onset,offset", "talk.wav,one,,4", "talk.wav,two,4,", "talk.wav,three,5,6")
    assert [(u.start_s, u.duration_s) for u in utterances] == [(0.0, 4.0), (4.0, None), (5.0, 1.0)]
    utterances, _ = table("audio,text,from,to", "talk.wav,one,1.5,", "talk.wav,two,3,4")
    assert [(u.start_s, u.duration_s) for u in utterances] == [(1.5, None), (3.0, 1.0)]


def test_an_empty_text_is_not_that_of_another_column(table):
    utterances, _ = table("id,audio,text,words", "a,talk.wav,one two,2", "b,talk.wav,,3")
    assert [(u.text, u.extra["words"]) for u in utterances] == [("one two", "2"), (None, "3")]


def test_an_end_alone_counts_from_the_start_of_the_recording(table):
    (utterance,), _ = table("audio,text,end", "talk.wav,one,4")
    assert (utterance.start_s, utterance.duration_s) == (0.0, 4.0)


@pytest.mark.parametrize(
    ("columns", "cells", "message"),
    [
        ("start,end", "4,1.5", "goes from 4.0 s to 1.5 s; expected start < end"),
        ("start,end", "-1,1.5", "starts at -1.0 s"),
        ("start,end", "1,one", "field 'end' is 'one'; expected seconds"),
        ("start,end", "1,nan", "field 'end' is 'nan'"),
        ("start_ms,end_ms", "1,x", "field 'end_ms' is 'x'; expected a number"),
        ("end,duration", "2,5", "starts at -3.0 s"),
        ("start,stop,duration", "0,48000,3", "give its unit: start_ms, start_sample"),
        ("start,end,duration", "1,2,5", "from 1.0 s to 2.0 s is not 5.0 s"),
        ("start,start_time", "1,2", "'start' and 'start_time' both give the start"),
        ("start,offset", "1,2", "both give the start"),
        ("start_frame,end_frame", "1,2", "'start_frame' looks like a time"),
        ("speech_begins,speech_end", "1,2", "'speech_end' looks like a time"),
        ("frame_offset,num_frames", "1,2", "'frame_offset' looks like a time"),
        ("start,end", "1500,4000", "1 of 1 utterances end after their recording, such as .* of 10.00 s"),
        ("end", "4000", "end after their recording"),
        ("channel", "third", "field 'channel' is 'third'; expected a channel"),
        ("start,end", '"1,5","4,0"', "field 'start' is '1,5'; expected seconds with a point, as in 1.5"),
        ("start,length", "1.5,2.5", "'length' looks like a time, .* duration_s"),
        ("start,num_samples", "1.5,2000", "'num_samples' looks like a time"),
        ("anfang,ende", "1.5,4", "'anfang' looks like a time"),
        ("début,fin", "1.5,4", "'début' looks like a time"),
        ("in,out", "1.5,4", "'in' looks like a time"),
    ],
)
def test_other_times_are_refused(table, columns, cells, message):
    with pytest.raises(InputError, match=message):
        table(f"audio,text,{columns}", f"talk.wav,one,{cells}")


def test_a_few_utterances_beyond_the_recording_are_named(table):
    utterances, notes = table("audio,text,start,end", *(f"talk.wav,one,{i},{i + 1}" for i in range(1, 12)))
    assert len(utterances) == 11
    assert sum("utterances that end after their recording: talk-00010000 (11 s of 10.00 s)" in n for n in notes) == 1


def test_starts_without_an_end_are_told(table):
    _, notes = table("id,audio,text,start,end", "a,talk.wav,one,,2", "b,talk.wav,two,2,")
    assert "utterances without an end last until that of their recording: b" in "\n".join(notes)


def test_one_sound_with_several_texts_is_told(table):
    _, notes = table("id,audio,text,pos", "a,talk.wav,one,p", "b,talk.wav,two,q", "c,talk.wav,two,r")
    assert "the same sound has several texts; name the columns of its times start and end: b, c" in "\n".join(notes)
    _, notes = table("id,audio,text,start,end", "a,talk.wav,one,0,1", "b,talk.wav,two,1,2")
    assert "the same sound" not in "\n".join(notes)


def test_channels(table):
    cells = {"0": 0, "1": 1, "left": 0, "R": 1, "A": 0, "b": 1, "mono": None, "": None}
    utterances, notes = table("id,audio,text,channel", *(f"u{i},talk.wav,t,{cell}" for i, cell in enumerate(cells)))
    assert [u.channel for u in utterances] == list(cells.values())
    assert any("channels are counted from 0" in note for note in notes)
    with pytest.raises(InputError, match="the channels begin at 1; count them from 0"):
        table("id,audio,text,channel", "a,talk.wav,one,1", "b,talk.wav,two,2")


def test_channels_that_will_be_averaged_are_told(table):
    assert any("several channels, which will be averaged: " in note for note in table("audio,text", "talk.wav,one")[1])
    _, notes = table("audio,text,channel", "talk.wav,one,1")
    assert not any("averaged" in note for note in notes)


@pytest.mark.parametrize(("value", "channel"), [(0, 0), ("1", 1), ("2.0", 2), ("Right", 1), ("both", None)])
def test_names_of_channels(value, channel):
    assert channel_of(value, "x") == channel


def test_every_column_is_used_kept_or_told(table):
    (u,), _ = table("audioFile,Transcription,Speaker ID,Language,Room", "talk.wav,one,s1,en,hall")
    assert (u.text, u.speaker, u.lang, u.extra) == ("one", "s1", "en", {"Room": "hall"})
    (u,), notes = table(
        "ID,wav,wrd,spk_id,lang,score,features,num_frames,end_reason,channel",
        "7,talk.wav,YES,s1,en,3,x.npy,12,hung up,1",
    )
    assert (u.id, u.text, u.speaker, u.lang, u.channel) == ("7", "YES", "s1", "en", 1)
    assert u.extra == {"score": "3", "source_features": "x.npy", "num_frames": "12", "end_reason": "hung up"}
    assert (
        "columns kept as extra fields, without effect: score, features as source_features, num_frames, end_reason"
        in ("\n".join(notes))
    )


def test_korean_columns(table):
    (u,), notes = table("파일명,전사,화자,성별", "talk.wav,하나,s1,여")
    assert (u.text, u.speaker, u.extra) == ("하나", "s1", {"성별": "여"})
    (u,), _ = table("filename,전사", "talk.wav,하나")
    assert u.text == "하나" and u.audio.endswith("talk.wav")
    (u,), _ = table(unicodedata.normalize("NFD", "파일,문장"), "talk.wav,하나")
    assert u.text == "하나"


def test_a_column_without_a_name_is_told(table):
    (u,), notes = table(",audio,text", "0,talk.wav,one")
    assert u.extra == {} and "a column without a name is not used" in "\n".join(notes)


def test_quotes_around_cells_of_tabs(table):
    cells = ['"one ""two"""', '"one', 'one "two"', '"talk"']
    utterances, _ = table(
        "id\taudio\ttext", *(f'{i}\t"talk.wav"\t{cell}' for i, cell in enumerate(cells)), name="t.tsv"
    )
    assert [u.text for u in utterances] == ['one "two"', '"one', 'one "two"', "talk"]
    assert all(u.audio.endswith("/talk.wav") for u in utterances)


def test_texts_that_may_stand_for_a_missing_one_are_told(table):
    utterances, notes = table("id,audio,text", "a,talk.wav,NaN", "b,talk.wav,None", "c,talk.wav,none")
    assert [u.text for u in utterances] == ["NaN", "None", "none"]
    assert "texts that may stand for a missing one; leave the cell empty if so: NaN, None" in "\n".join(notes)


def test_the_second_of_two_durations_is_kept(table):
    (u,), _ = table("audio,text,duration,duration_ms", "talk.wav,one,2,2000")
    assert (u.duration_s, u.extra) == (2.0, {"duration_ms": "2000"})
    assert times_of(("char_per_sec", "wav_filesize", "segment", "length")).odd == []


def test_texts_in_files(table, tmp_path):
    (tmp_path / "one.txt").write_text("one\ntwo\n")
    (tmp_path / "none.txt").write_text("")
    utterances, notes = table("id,audio,text_filepath", "a,talk.wav,one.txt", "b,talk.wav,none.txt", "c,talk.wav,x.txt")
    assert [(u.text, "text" in u.extra) for u in utterances] == [("one two", False), ("", False), (None, True)]
    assert any("text files that do not exist" in note for note in notes)
    assert any("utterances with an empty text, which says that nothing is said: b" in note for note in notes)


def test_tables_without_texts(table):
    (u,), notes = table("audio,speaker", "talk.wav,s")
    assert u.text is None and "text" not in u.extra
    assert any("no column, field or file of the corpus gives texts" in note for note in notes)
    with pytest.raises(InputError, match="none of its 2 utterances has a text, such as 'a'"):
        table("id,audio,text", "a,talk.wav,", "b,talk.wav,")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["audio,text,text", "talk.wav,a,b"], "two columns are called 'text'"),
        (["audio,text", "https://x.org/a.wav,one"], "is an address, not a file"),
        (["id,audio,text", "a,talk.wav,one", "a,talk.wav,two"], "utterance 'a' occurs twice"),
        (["talk.wav,one"], "no column for the audio"),
    ],
)
def test_tables_that_are_refused(table, lines, message):
    with pytest.raises(InputError, match=message):
        table(*lines)


def test_encodings(table, tmp_path):
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "u.csv").write_bytes("audio,text\r\ntalk.wav,één\r\n".encode(encoding))
        assert [u.text for u in import_corpus(tmp_path / "u.csv")] == ["één"]
    (tmp_path / "u.csv").write_bytes(b"audio,text\rtalk.wav,one\r")
    with pytest.raises(InputError, match=r"u\.csv: its lines end with CR alone"):
        import_corpus(tmp_path / "u.csv")
    (tmp_path / "u.csv").write_bytes("audio,text\ntalk.wav,one\n".encode("utf-16-le"))
    with pytest.raises(InputError, match=r"u\.csv:1: NUL in the line; it is binary, or UTF-16 without"):
        import_corpus(tmp_path / "u.csv")
    (tmp_path / "u.csv").write_bytes("audio,text\ntalk.wav,één\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"u\.csv:2: not UTF-8 .* iconv -f WINDOWS-1252"):
        import_corpus(tmp_path / "u.csv")


def test_recordings_of_a_relative_folder_are_not_called_unused(tmp_path, monkeypatch, make_wav, capsys):
    make_wav("hf/u0.wav", 0.1)
    (tmp_path / "hf" / "metadata.csv").write_text("file_name,text\nu0.wav,a\n")
    monkeypatch.chdir(tmp_path)
    notes: list[str] = []
    import_corpus(Path("hf"), "auto", notes.append)
    assert not [note for note in notes if "not used" in note]
