"""What transcripts of corpora hold besides words, and recordings by the names of their files."""

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
