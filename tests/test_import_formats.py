"""Small corpora in the layouts of well-known sets and toolkits."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.data.importers import import_corpus
from asr.errors import InputError


@pytest.fixture
def corpus(tmp_path):
    """corpus({name: content}, start=".") -> (utterances by id, notes); recordings without content are empty files."""

    def read(files, start=".", kind="auto"):
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, np.ndarray):
                soundfile.write(path, content, 8000)
            else:
                path.write_bytes(content if isinstance(content, bytes) else content.encode())
        notes = []
        return {u.id: u for u in import_corpus(tmp_path / start, kind, notes.append)}, "\n".join(notes)

    return read


def lines(*objects):
    return "".join(json.dumps(o) + "\n" for o in objects)


def test_librispeech(corpus):
    found, notes = corpus(
        {
            "84/121/84-121-0000.flac": "",
            "84/121/84-121-0001.flac": "",
            "84/121/84-121.trans.txt": "84-121-0000 ONE TWO\n",
            "7/9/7-9-0000.flac": "",
            "7/9/7-9.trans.txt": "7-9-0000 THREE\n7-9-0001 GONE\n",
            "SPEAKERS.TXT": "; 84 | F",
        }
    )
    assert [(u.id, u.text, u.speaker) for u in found.values()] == [
        ("7-9-0000", "THREE", "7"), ("84-121-0000", "ONE TWO", "84"), ("84-121-0001", None, "84"),
    ]  # fmt: skip
    assert "utterances without a text (absent or null): 84-121-0001" in notes
    assert "transcripts without a recording, or with several: 7-9-0001" in notes
    assert "files that are not used: SPEAKERS.TXT" in notes


def test_mls_and_aishell(corpus):
    found, notes = corpus(
        {
            "train/audio/10/20/10_20_000.flac": "",
            "train/transcripts.txt": "10_20_000\teins zwei\n",
            "train/segments.txt": "10_20_000\thttp://x/y.mp3\t12.1\t20.5\n",
        }
    )
    (u,) = found.values()
    assert (u.id, u.text, u.speaker, u.start_s) == ("10_20_000", "eins zwei", "10", 0.0)
    assert "files that are not used: *.txt" in notes
    found, _ = corpus(
        {
            "a/wav/train/S0002/BAC009S0002W0122.wav": "",
            "a/transcript/aishell_transcript_v0.8.txt": "BAC009S0002W0122 而 对 楼市\nBAC009S0002W0999 没有\n",
        },
        "a",
    )
    (u,) = found.values()
    assert (u.text, u.speaker) == ("而 对 楼市", "S0002")


def test_equal_names_below_lists_of_their_own(corpus):
    """VoxForge and CMU Arctic: a list per speaker, with file names that repeat."""
    files = {
        "ann/wav/a0001.wav": "",
        "ann/etc/PROMPTS": "ann/mfc/a0001 ONE\n",
        "bob/wav/a0001.wav": "",
        "bob/etc/txt.done.data": '( a0001 "Two, he said." )\n',
    }
    found, notes = corpus(files)
    assert {id: u.text for id, u in found.items()} == {"ann-wav-a0001": "ONE", "bob-wav-a0001": "Two, he said."}
    assert "file names repeat, ids are made of paths" in notes


def test_ljspeech(corpus):
    files = {
        "metadata.csv": 'LJ1|In 1900|In nineteen hundred\nLJ2|"Yes|\nLJ3|No|No\n',
        "wavs/LJ1.wav": "",
        "wavs/LJ2.wav": "",
        "wavs/LJ3.wav": "",
        "wavs/LJ4.wav": "",
    }
    for start in (".", "metadata.csv"):
        found, notes = corpus(files, start)
        assert {id: u.text for id, u in found.items()} == {"LJ1": "In nineteen hundred", "LJ2": '"Yes', "LJ3": "No"}
        assert found["LJ1"].extra == {"text_written": "In 1900"} and found["LJ1"].audio.endswith("wavs/LJ1.wav")
        assert ("files that are not used: *.wav" in notes) == (start == ".")
        assert "the text as written is used: LJ2" in notes


def test_lists_without_a_header(corpus):
    found, _ = corpus({"f.txt": "wavs/a.wav|one\nwavs/b.wav|two\n"}, "f.txt")
    assert {id: u.text for id, u in found.items()} == {"a": "one", "b": "two"}
    found, _ = corpus({"f.txt": "a.wav|3|one\n"}, "f.txt")
    assert found["a"].speaker == "3"
    with pytest.raises(InputError, match="may be a speaker or a text; add a header line"):
        corpus({"f.txt": "a.wav|One.|one\n"}, "f.txt")
    with pytest.raises(InputError, match=r"f\.txt:2: 4 fields"):
        corpus({"f.txt": "a|one\nb|a|b|c\n"}, "f.txt")


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_hugging_face_audio_folders(corpus, name):
    rows = {
        "metadata.csv": "file_name,transcription\nx/a.flac,one\nb.flac,\n",
        "metadata.jsonl": lines(
            {"file_name": "x/a.flac", "transcription": "one"}, {"file_name": "b.flac", "transcription": None}
        ),
    }
    files = {f"s/{n}": c for n, c in (("x/a.flac", ""), ("b.flac", ""), ("c.flac", ""), (name, rows[name]))}
    for start in ("s", f"s/{name}"):
        found, notes = corpus(files, start)
        assert {id: u.text for id, u in found.items()} == {"a": "one", "b": None}
        assert Path(found["a"].audio).exists()
        assert ("files that are not used: c.flac" in notes) == (start == "s")
    with pytest.raises(InputError, match=f"holds several sets; give one of .*{name}"):
        corpus(files)


def test_wenet(corpus):
    rows = lines({"key": "u1", "wav": "/d/a.wav", "txt": "one"}, {"key": "u2", "wav": "b.wav", "txt": ""})
    found, notes = corpus({"data.list": rows}, "data.list")
    assert {id: (u.audio[-5:], u.text) for id, u in found.items()} == {"u1": ("a.wav", "one"), "u2": ("b.wav", "")}
    assert "with an empty text, which says that nothing is said: u2" in notes
    with pytest.raises(InputError, match="lists tar files"):
        corpus({"data.list": "/d/shards_000.tar\n"}, "data.list")


def test_nemo_fields(corpus):
    rows = [
        {"audio_filepath": "a.wav", "duration": 1.0, "text_filepath": "a.txt", "speaker": "s", "source_lang": "de"},
        {"audio_filepath": "b.wav", "duration": 1.0, "offset": None, "text": None},
        {"audio_filepath": "c.wav", "duration": 1.0},
        {"audio_filepath": "d.wav", "duration": 1.0, "text": "", "pred_text": "x", "channel": 1},
    ]
    found, notes = corpus({"n.json": lines(*rows), "a.txt": "one two\n"}, "n.json")
    assert [(u.text, "text" in u.extra) for u in found.values()] == [
        ("one two", False), (None, True), (None, False), ("", False),
    ]  # fmt: skip
    assert (found["a"].speaker, found["a"].lang, found["d"].channel) == ("s", "de", 1)
    assert "columns kept as extra fields, without effect: pred_text" in notes
    for row, message in (
        ({"audio_filepath": "a.wav", "shard_id": 3, "text": "x"}, r"in a tar file \(shard 3\)"),
        ({"audio_filepath": ["a.wav", "b.wav"], "text": "x"}, "no audio file"),
        ({"audio_filepath": "a.wav", "text": ["x"]}, r"field 'text' is \['x'\]; expected a string"),
        ({"audio_filepath": "a.wav", "text": "x", "channel": [0, 1]}, "expected a channel"),
    ):
        with pytest.raises(InputError, match=message):
            corpus({"n.json": lines(row)}, "n.json")


def test_common_voice_spontaneous(corpus):
    header = (
        "client_id\taudio_id\taudio_file\tduration_ms\tprompt_id\tprompt\ttranscription\tvotes\tage\tlanguage\tsplit\n"
    )
    rows = "abc\t1\ts-1.mp3\t5000\t2\tWhat?\tI said one\t2\t\ten\ttrain\nabc\t2\ts-2.mp3\t800\t2\tWhat?\t\t0\t\ten\t\n"
    found, notes = corpus({"ss.tsv": header + rows, "audios/s-1.mp3": "", "audios/s-2.mp3": ""}, "ss.tsv")
    first, second = found["s-1"], found["s-2"]
    assert (first.text, first.speaker, first.lang, first.duration_s) == ("I said one", "abc", "en", 5.0)
    assert first.audio.endswith("audios/s-1.mp3") and first.extra["prompt"] == "What?"
    assert second.text is None and second.duration_s == 0.8
    assert "audio_id, prompt_id, prompt, votes, split" in notes
    with pytest.raises(InputError, match="is a Common Voice folder; give one of its tables: ss.tsv"):
        corpus({})


def test_sphinx(corpus):
    sound = np.zeros(80, "float32")
    files = {
        "etc/t.fileids": "s1/a\ns1/b\ns1/c\n",
        "etc/t.transcription": "<s> READ(2) IT </s> (a)\n++NOISE++ YES (b)\nGONE (x)\n",
        "wav/s1/a.wav": sound,
        "wav/s1/b.sph.wav": sound,
        "wav/s1/b.wav": sound,
        "wav/s1/c.flac": sound,
    }
    for start in ("etc/t.fileids", "etc/t.transcription"):
        if start.endswith("transcription"):
            files["etc/t.transcription"] = "<s> READ(2) IT </s> (a)\n++NOISE++ YES (b)\n(c)\n"
        found, notes = corpus(files, start)
        assert found["a"].text == "READ IT" and found["a"].audio.endswith("wav/s1/a.wav")
        assert found["c"].text == (None if start.endswith("fileids") else "")
        assert "words for noises that stay in the texts: ++NOISE++" in notes
    with pytest.raises(InputError, match=r"t\.transcription:1: 'YES'; expected"):
        corpus({"etc/t.transcription": "YES\n"}, "etc/t.fileids")
    with pytest.raises(InputError, match="there is no recording 's1/d'"):
        corpus({"etc/t.fileids": "s1/d\n", "etc/t.transcription": "YES (d)\n"}, "etc/t.fileids")


def test_stm(corpus):
    stm = (
        ";; comment\n"
        "talk 1 ann 0.5 1.25 <o,f0,female> one {two / too} (uh)\n"
        "talk 1 inter_segment_gap 1.25 1.3 <o,,>\n"
        "call A bob 0.1 0.2 yes\n"
        "call B cat 0.1 0.2 no\n"
        "talk 1 ann 1.3 1.4 ignore_time_segment_in_scoring\n"
    )
    files = {"stm/t.stm": stm, "sph/talk.wav": np.zeros(16000), "wav/call.wav": np.zeros((8000, 2))}
    for start in (".", "stm/t.stm"):
        found, notes = corpus(files, start)
        assert [(u.text, u.speaker, u.start_s, u.duration_s, u.channel) for u in found.values()] == [
            ("one two uh", "ann", 0.5, 0.75, None), ("yes", "bob", 0.1, 0.1, 0), ("no", "cat", 0.1, 0.1, 1),
        ]  # fmt: skip
        assert "segments that are not scored are left out" in notes
    for line, message in (("talk 1 ann 2 1 x", "from 2.0 s to 1.0 s"), ("talk 1 ann x 1 y", "start is 'x'"),
                          ("none 1 ann 0 1 y", "no recording 'none'"), ("talk 1 ann", "3 fields")):  # fmt: skip
        with pytest.raises(InputError, match=message):
            corpus({"stm/t.stm": line + "\n"}, "stm/t.stm")


def test_vctk_timit_and_libritts(corpus):
    found, _ = corpus(
        {
            "v/wav48/p225/p225_001_mic1.flac": "",
            "v/wav48/p225/p225_001_mic2.flac": "",
            "v/txt/p225/p225_001.txt": "Please call Stella.\n",
        },
        "v",
    )
    assert [(u.text, u.speaker) for u in found.values()] == [("Please call Stella.", "p225")] * 2
    found, notes = corpus(
        {
            "t/TRAIN/DR1/FCJF0/SA1.WAV": "",
            "t/TRAIN/DR1/FCJF0/SA1.TXT": "0 46797 She had your suit.\n",
            "t/TRAIN/DR1/FCJF0/SA1.PHN": "0 3050 h#\n",
            "t/TRAIN/DR1/MABC0/SA1.WAV": "",
            "t/TRAIN/DR1/MABC0/SA1.TXT": "0 49460 She had your suit.\n",
        },
        "t",
    )
    assert {u.speaker: u.text for u in found.values()} == {"FCJF0": "She had your suit.", "MABC0": "She had your suit."}
    assert "two sample numbers before the text are left out" in notes and "*.phn" in notes
    found, _ = corpus(
        {
            "l/84/121/84_121_0.wav": "",
            "l/84/121/84_121_0.original.txt": "In 1900",
            "l/84/121/84_121_0.normalized.txt": "In nineteen hundred",
        },
        "l",
    )
    assert [(u.text, u.speaker) for u in found.values()] == [("In nineteen hundred", "84")]


def test_texts_next_to_recordings(corpus):
    found, notes = corpus({"a.wav": "", "a.lab": "one\n", "A.wav": "", "A.lab": "two", "b.wav": "", "b.txt": "",
                           "c.wav": "", "c.TextGrid": "x", "d.wav": "", "d.txt": "0 1 2 three"})  # fmt: skip
    assert {id: u.text for id, u in found.items()} == {"a": "one", "A": "two", "b": "", "c": None, "d": "0 1 2 three"}
    assert "files that are not used: c.TextGrid" in notes
    with pytest.raises(InputError, match=r"holds labels with times \(HTK\)"):
        corpus({"h/a.wav": "", "h/a.lab": "0 100000 sil\n100000 200000 one\n"}, "h")


RECORDING = {"id": "r", "sources": [{"type": "file", "channels": [0, 1], "source": "r.wav"}], "sampling_rate": 8000,
             "num_samples": 8000, "duration": 1.0, "channel_ids": [0, 1]}  # fmt: skip
SUPERVISION = {"id": "s", "recording_id": "r", "start": 0.25, "duration": 0.5, "channel": 1, "text": "one"}


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_lhotse_recordings_and_supervisions(corpus, suffix):
    """The utterances equal those that lhotse 1.33 cuts from these manifests."""
    more = {**SUPERVISION, "id": "both", "channel": [0, 1], "text": None, "alignment": {"word": []}, "gender": "F"}
    files = {"x_recordings_dev": lines(RECORDING, {**RECORDING, "id": "alone"}),
             "x_supervisions_dev": lines(SUPERVISION, more)}  # fmt: skip
    packed = {f"{n}{suffix}": gzip.compress(c.encode()) if suffix.endswith("gz") else c for n, c in files.items()}
    for start in packed:
        found, notes = corpus(packed | {"r.wav": ""}, start)
        s, both = found["s"], found["both"]
        assert (s.audio[-5:], s.start_s, s.duration_s, s.text, s.channel) == ("r.wav", 0.25, 0.5, "one", 1)
        assert (both.channel, both.text, both.extra) == (None, None, {"gender": "F", "text": None})
        assert "recordings without a supervision: alone" in notes
        assert "fields of supervisions that are not used: alignment" in notes


@pytest.mark.parametrize(
    ("files", "start", "message"),
    [
        ({"supervisions.jsonl": lines(SUPERVISION)}, "supervisions.jsonl", "no file of recordings next to it"),
        ({"rec.jsonl": lines(RECORDING)}, "rec.jsonl", "no file of supervisions next to it"),
        ({"recordings.jsonl": lines(RECORDING), "supervisions.jsonl": lines({**SUPERVISION, "recording_id": "q"})},
         "supervisions.jsonl", "supervisions.jsonl:1: recording 'q' is not in"),
        ({"recordings.jsonl": lines(RECORDING), "supervisions.jsonl": lines({**SUPERVISION, "start": "x"})},
         "supervisions.jsonl", "supervisions.jsonl:1: not a lhotse supervision"),
        ({"f.jsonl": lines({**SUPERVISION, "storage_type": "lilcom_chunky"})}, "f.jsonl", "holds lhotse features"),
    ],
)  # fmt: skip
def test_lhotse_pairs_that_are_refused(corpus, files, start, message):
    with pytest.raises(InputError, match=message):
        corpus(files, start)


def test_lhotse_cuts_with_channels(corpus):
    cut = {"id": "c", "start": 0.1, "duration": 0.8, "channel": [0, 1], "recording": RECORDING, "type": "MultiCut",
           "custom": {"set": "x", "text": "y", "audio_emb": {"array": {}, "storage_type": "n"}}, "features": {},
           "supervisions": [{**SUPERVISION, "start": 0.1}, {**SUPERVISION, "id": "late", "start": 0.5, "channel": 0}],
           }  # fmt: skip
    found, notes = corpus({"cuts.jsonl": lines(cut), "r.wav": ""}, "cuts.jsonl")
    assert (found["s"].start_s, found["s"].duration_s, found["s"].channel) == (0.2, 0.5, 1)
    assert (found["late"].start_s, found["late"].duration_s, found["late"].channel) == (0.6, 0.3, 0)
    assert found["s"].extra == {"set": "x", "source_text": "y"}
    assert "supervisions beyond their cut end with it, their texts stay whole: late" in notes
    assert "fields of cuts that are not used: features" in notes and "audio_emb" in notes


def test_resampled_cuts(corpus):
    recording = {**RECORDING, "transforms": [{"name": "Resample", "kwargs": {"target_sampling_rate": 16000}}]}
    cut = {"id": "c", "start": 0, "duration": 1.0, "channel": 1, "recording": recording, "supervisions": [SUPERVISION]}
    found, notes = corpus({"cuts.jsonl": lines(cut)}, "cuts.jsonl")
    assert (found["c"].start_s, found["c"].channel) == (0.25, 1)
    assert "resampling is left to the toolkit: r" in notes


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.parquet", b"PAR1\x15\x04", "is a Parquet file"),
        ("t.xlsx", b"PK\x03\x04\x14", "is a zip or Excel file"),
        ("t.json", b"[{}]", "is a JSON array; write one object per line"),
        ("t.json", b'{\n "a": 1}', "one JSON object over several lines"),
        ("wav.scp", b"a a.wav\n", "is part of a Kaldi folder; give the folder"),
    ],
)
def test_files_that_are_refused_by_name(corpus, name, content, message):
    with pytest.raises(InputError, match=message):
        corpus({f"f/{name}": content}, f"f/{name}")


def test_folders_behind_links_are_entered_once(corpus, tmp_path):
    corpus({"far/a.wav": "", "far/a.txt": "one", "set/b.wav": "", "set/b.txt": "two"}, "set")
    (tmp_path / "set/link").symlink_to(tmp_path / "far")
    (tmp_path / "far/back").symlink_to(tmp_path / "set")
    found, _ = corpus({"set/.hidden/c.wav": ""}, "set")
    assert {id: u.text for id, u in found.items()} == {"b": "two", "a": "one"}


def test_ids_are_distinct_and_their_making_is_told(corpus):
    names = ("a-b/c", "a/b-c", "z/c")
    found, notes = corpus({f"{name}{suffix}": "x" for name in names for suffix in (".wav", ".txt")})
    assert set(found) == {"a-b--c", "a--b-c", "z--c"}
    assert "paths look alike, ids are made of paths: a--b-c, a-b--c, z--c" in notes
    with pytest.raises(InputError, match=r"utterance 'a-00000000' occurs twice \(.*a.mp3, .*a.wav\)"):
        corpus({"t/a.wav": "", "t/a.mp3": "", "t/a.txt": "x"}, "t")


def test_recordings_that_are_missing_are_named(corpus):
    _, notes = corpus({"t.csv": "audio,text\na.wav,one\nb.wav,two\n", "b.wav": ""}, "t.csv")
    assert "recordings that do not exist: " in notes and "a.wav" in notes and "b.wav" not in notes


def test_extra_fields_have_other_names_than_fields_of_a_manifest(corpus):
    cut = {"id": "c", "start": 0, "duration": 1.0, "channel": 0, "recording": RECORDING, "supervisions": [],
           "custom": {"end": 3, "duration_s": 4, "snr": 5}}  # fmt: skip
    found, _ = corpus({"cuts.jsonl": lines(cut)}, "cuts.jsonl")
    assert found["c"].extra == {"source_end": 3, "source_duration_s": 4, "snr": 5}


def test_kind_overrides_content(corpus):
    files = {"m.jsonl": lines({"id": "a", "audio": "a.wav", "text": "one", "end": 2})}
    with pytest.raises(InputError, match="is a manifest already"):
        corpus(files, "m.jsonl")
    found, _ = corpus(files, "m.jsonl", "table")
    assert (found["a"].text, found["a"].duration_s) == ("one", 2.0)
    with pytest.raises(InputError, match="is a file; a corpus of kind kaldi is the other"):
        corpus(files, "m.jsonl", "kaldi")
