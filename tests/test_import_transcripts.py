"""What transcripts of corpora hold besides words, single malformed utterances, and recordings by their names."""

import json

import numpy as np
import pytest
import soundfile

from asr.data.importers import import_corpus
from asr.errors import InputError


@pytest.fixture
def corpus(tmp_path):
    """corpus({name: content}, start=".") -> (utterances, notes); recordings without content are one second long."""

    def read(files, start="."):
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                soundfile.write(path, np.zeros(8000), 8000, format="WAV")
            else:
                path.write_text(content)
        notes = []
        return import_corpus(tmp_path / start, tell=notes.append), "\n".join(notes)

    return read


@pytest.mark.parametrize(
    ("written", "text", "told"),
    [
        ("and(2) that(3) is", "and that is", "numbers of pronunciations are left out"),
        ("a { b / { c / d } e } f", "a b f", "of alternatives the first is used"),
        ("(you know) yes", "you know yes", "optional words are kept"),
        ("one {SMACK} two", "one {SMACK} two", "marks of noises that stay in the texts: {SMACK}"),
    ],
)
def test_marks_of_stm(corpus, written, text, told):
    (utterance,), notes = corpus({"t.stm": f"talk 1 ann 0 0.5 <o,f0,male> {written}\n", "talk.wav": None}, "t.stm")
    assert utterance.text == text
    assert told in notes


@pytest.mark.parametrize("suffix", ["mkv", "mka", "mov", "3gp", "voc", "spx", "aifc", "wv", "M4B", "nist", "mp2"])
def test_recordings_of_every_name_are_found(corpus, suffix):
    utterances, notes = corpus({f"a.{suffix}": None, "a.txt": "one", "b.wav": None, "b.txt": "two"})
    assert [u.text for u in utterances] == ["one", "two"]
    assert "not used" not in notes


def test_subtitles_are_no_texts(corpus):
    srt = "1\n00:00:00,100 --> 00:00:00,900\none\n"
    with pytest.raises(InputError, match=r"a\.txt holds subtitles with times, not a text"):
        corpus({"a.wav": None, "a.txt": srt})


@pytest.mark.parametrize("table", ["metadata.tsv", "de/validated.tsv", "data/train/metadata.jsonl"])
def test_a_folder_without_texts_names_its_tables(corpus, table):
    with pytest.raises(InputError, match=f"give the table of its texts, such as .*{table}"):
        corpus({"a.wav": None, table: ""})


SOURCE = {"id": "r", "sources": [{"type": "file", "channels": [0], "source": "a.wav"}]}
MANY = 30  # of which one may be malformed


def numbered(line, odd):
    return "".join(f"{line.format(i=i, end=i / 100 + 0.1)}\n" for i in range(MANY)) + odd + "\n"


def cut(id, duration):
    return json.dumps({"id": id, "start": 0, "duration": duration, "channel": 0, "recording": SOURCE})


@pytest.mark.parametrize(
    ("files", "start", "told"),
    [
        ({"t.csv": "id,audio,text\n" + numbered("{i},a.wav,one", "x,a.wav,two,three")}, "t.csv",
         "t.csv:32: 4 fields, but the header has 3"),
        ({"t.csv": "id,audio,text,start\n" + numbered("{i},a.wav,one,0.5", "x,a.wav,two,-1")}, "t.csv",
         "t.csv:32: starts at -1.0 s"),
        ({"t.jsonl": numbered('{{"audio_filepath": "a.wav", "id": "{i}", "text": "one"}}', "{")}, "t.jsonl",
         "t.jsonl:31: not JSON"),
        ({"t.stm": numbered("a 1 s 0 {end} one", "a 1 s 0.5 0.4 one")}, "t.stm", "t.stm:31: goes from 0.5 s to 0.4 s"),
        ({"t.jsonl": "".join(cut(i, 0.5) + "\n" for i in range(MANY)) + cut("x", "long")}, "t.jsonl",
         "t.jsonl:31: not a lhotse cut"),
        ({"wav.scp": "a a.wav\n", "segments": numbered("u{i} a 0 {end}", "x a 0.5 0.4"),
          "text": numbered("u{i} one", "x two")}, ".", "segments: utterance 'x' goes from 0.5 s to 0.4 s"),
        ({"wav.scp": numbered("u{i} a.wav", "x shuffle a.wav |"), "text": numbered("u{i} one", "x two")}, ".",
         "the command 'shuffle' is unknown"),
        ({"wav.scp": numbered("u{i} a.wav", ""), "text": numbered("u{i} one", "x two")}, ".",
         "text: utterance 'x' is in no segments"),
    ],
)  # fmt: skip
def test_a_malformed_utterance_is_told_and_set_aside(corpus, files, start, told):
    utterances, notes = corpus({**files, "a.wav": None}, start)
    assert len(utterances) == MANY
    assert notes.count("malformed and set aside: ") == 1 and told in notes


def test_a_corpus_with_many_malformed_utterances_is_refused(corpus):
    rows = "".join(f"{i},a.wav,one{',two' if i % 5 == 0 else ''}\n" for i in range(20))
    with pytest.raises(InputError, match=r"t\.csv:2: 4 fields, but the header has 3; correct the line"):
        corpus({"a.wav": None, "t.csv": "id,audio,text\n" + rows}, "t.csv")


@pytest.mark.parametrize(
    ("fileids", "transcription", "message"),
    [
        ("a\na\n", "YES (a)\n", r"t\.fileids:2: 'a' is listed twice; keep one line"),
        ("a\na\n", "YES (b)\n", r"t\.fileids:2: 'a' is listed twice"),
        ("s/a\na\n", "YES (a)\n", r"t\.fileids:2: 'a' is listed twice"),
        ("a\n", "YES (s/a)\nNO (t/a)\n", r"t\.fileids:1: transcripts 's/a' and 't/a' fit 'a'; write its path"),
    ],
)
def test_recordings_of_sphinx_have_one_transcript_each(tmp_path, fileids, transcription, message):
    for name in ("a.wav", "b.wav", "s/a.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, np.zeros(80), 8000)
    (tmp_path / "t.fileids").write_text(fileids)
    (tmp_path / "t.transcription").write_text(transcription)
    with pytest.raises(InputError, match=message):
        import_corpus(tmp_path / "t.fileids", "auto", print)
