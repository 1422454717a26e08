"""Importing small corpora in each format, as the toolkits write them, and input that the importers refuse."""

import gzip
import json

import pytest

from asr import manifest
from asr.data.importers import detect, import_corpus
from asr.errors import InputError


@pytest.fixture
def tree(tmp_path):
    """tree({name: content}) writes files below tmp_path; recordings that importers only name may be empty."""

    def write(files):
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        return tmp_path

    return write


def rows(utterances, *fields):
    return [tuple(getattr(u, f) for f in fields) for u in utterances]


# Kaldi

KALDI = {
    "wav.scp": "rec1 audio/rec 1.wav\nrec2 /data/rec2.flac\n",
    "segments": "s1-a rec1 0.5 2.25\ns1-b rec1 2.25 3\ns2-a rec2 0 -1\n",
    "text": "s1-a hello world\ns1-b  안녕 \ns2-a\n",
    "utt2spk": "s1-a s1\ns1-b s1\ns2-a s2\n",
    "utt2lang": "s1-b ko\n",
}


def test_kaldi(tree):
    folder = tree(KALDI)
    utterances = import_corpus(folder)
    rec1 = str(folder / "audio/rec 1.wav")
    assert rows(utterances, "id", "audio", "start_s", "duration_s", "text", "speaker", "lang") == [
        ("s1-a", rec1, 0.5, 1.75, "hello world", "s1", None),
        ("s1-b", rec1, 2.25, 0.75, "안녕", "s1", "ko"),
        ("s2-a", "/data/rec2.flac", 0.0, None, "", "s2", None),
    ]


def test_kaldi_without_segments(tree):
    folder = tree({"wav.scp": "u1 a.wav\nu2\tb.wav\n", "text": "u1 one\nu2\ttwo\n"})
    assert rows(import_corpus(folder, "kaldi"), "id", "text") == [("u1", "one"), ("u2", "two")]


def test_kaldi_features(tree):
    folder = tree({"feats.scp": "u1 raw/x.ark:12\nu2 /mfcc/y.ark:5\n", "text": "u1 one\nu2 two\n"})
    paths = [(None, f"{folder}/raw/x.ark:12"), (None, "/mfcc/y.ark:5")]
    assert rows(import_corpus(folder), "audio", "features") == paths


def test_kaldi_paths_from_the_working_directory(tree, monkeypatch):
    """Kaldi recipes give paths relative to where they run (egs/x/s5), not to data/train."""
    folder = tree({"data/train/wav.scp": "u1 corpus/a.wav\n", "corpus/a.wav": ""})
    monkeypatch.chdir(folder)
    assert import_corpus("data/train")[0].audio == str(folder / "corpus/a.wav")


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"wav.scp": "rec1 sox a.wav -t wav - speed 1.1 |\nrec2 b.wav\n"},
            "wav.scp: 'rec1' is the output of a command",
        ),
        ({"wav.scp": "rec1 wav.ark:7\nrec2 b.wav\n"}, "wav.scp: 'rec1' is in an archive"),
        ({"wav.scp": "rec1 a.wav\nrec2\n"}, "wav.scp:2: 'rec2' has no value"),
        ({"wav.scp": "rec1 a.wav\n\nrec1 b.wav\n"}, "wav.scp:3: 'rec1' occurs twice"),
        ({"segments": "s1-a rec9 0 1\n"}, "segments: utterance 's1-a' is 'rec9 0 1'; expected"),
        ({"segments": "s1-a rec1 0\n"}, "segments: utterance 's1-a' is 'rec1 0'; expected"),
        ({"segments": "s1-a rec1 zero 1\n"}, "utterance 's1-a', start is 'zero'; expected seconds"),
        ({"segments": "s1-a rec1 2 1\n"}, "goes from 2.0 s to 1.0 s"),
        ({"segments": "s1-a rec1 0 nan\n"}, "end is 'nan'"),
        ({"text": "s1-a hello\ns9 lost\n"}, "text: utterance 's9' is in no segments"),
    ],
)
def test_kaldi_refuses(tree, change, message):
    with pytest.raises(InputError, match=message):
        import_corpus(tree(KALDI | change))


def test_kaldi_commands_are_refused(tree):
    folder = tree({"wav.scp": "u1 touch ran |\n"})
    with pytest.raises(InputError, match="commands are not run"):
        import_corpus(folder)
    assert not (folder / "ran").exists()


# lhotse: the lines are what lhotse 1.33 wrote for two supervisions in a file of 2 s, before and after
# trim_to_supervisions()

RECORDING = {
    "id": "a",
    "sources": [{"type": "file", "channels": [0], "source": "/tmp/lhc/a.wav"}],
    "sampling_rate": 16000,
    "num_samples": 32000,
    "duration": 2.0,
    "channel_ids": [0],
}
ONE = {"id": "s1", "recording_id": "a", "start": 0.2, "duration": 0.5, "channel": 0, "text": "one", "language": "en",
       "speaker": "x", "custom": {"snr": 3.5}}  # fmt: skip
TWO = {"id": "s2", "recording_id": "a", "start": 1.0, "duration": 0.9, "channel": 0, "text": "two", "speaker": "y"}
CUT = {"id": "a-0", "start": 0, "duration": 2.0, "channel": 0, "supervisions": [ONE, TWO], "recording": RECORDING,
       "type": "MonoCut"}  # fmt: skip
TRIMMED = [
    {**CUT, "id": "s1", "start": 0.2, "duration": 0.5, "supervisions": [{**ONE, "start": 0.0}]},
    {**CUT, "id": "s2", "start": 1.0, "duration": 0.9, "supervisions": [{**TWO, "start": 0.0}]},
]
HEARD = [
    ("s1", "/tmp/lhc/a.wav", 0.2, 0.5, "one", "x", "en", {"snr": 3.5}),
    ("s2", "/tmp/lhc/a.wav", 1.0, 0.9, "two", "y", None, {}),
]
LHOTSE_FIELDS = ("id", "audio", "start_s", "duration_s", "text", "speaker", "lang", "extra")


@pytest.mark.parametrize("cuts", [[CUT], TRIMMED])
@pytest.mark.parametrize("zipped", [False, True])
def test_lhotse(tmp_path, cuts, zipped):
    lines = "".join(json.dumps(cut) + "\n" for cut in cuts).encode()
    path = tmp_path / ("cuts.jsonl.gz" if zipped else "cuts.jsonl")
    path.write_bytes(gzip.compress(lines) if zipped else lines)
    assert rows(import_corpus(path), *LHOTSE_FIELDS) == HEARD


def test_lhotse_cut_inside_a_recording(tree):
    """A supervision that exceeds its cut is clipped to it; times count from the start of the cut."""
    cut = {**CUT, "start": 0.4, "duration": 0.2, "supervisions": [{**ONE, "start": -0.2}]}
    folder = tree({"cuts.jsonl": json.dumps(cut)})
    assert rows(import_corpus(folder / "cuts.jsonl"), "id", "start_s", "duration_s") == [("a-0", 0.4, 0.2)]


def test_lhotse_without_supervision_and_many_channels(tree):
    stereo = {**RECORDING, "sources": [{"type": "file", "channels": [0, 1], "source": "s.wav"}]}
    cut = {**CUT, "type": "MultiCut", "channel": [0, 1], "supervisions": [], "recording": stereo}
    folder = tree({"cuts.jsonl": json.dumps(cut), "s.wav": ""})
    assert rows(import_corpus(folder / "cuts.jsonl"), "id", "audio", "text") == [("a-0", str(folder / "s.wav"), None)]


def test_lhotse_chooses_the_channel_file(tree):
    sources = [{"type": "file", "channels": [c], "source": f"/c{c}.wav"} for c in (0, 1)]
    cut = {**CUT, "channel": 1, "recording": {**RECORDING, "sources": sources}}
    assert import_corpus(tree({"cuts.jsonl": json.dumps(cut)}) / "cuts.jsonl")[0].audio == "/c1.wav"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"type": "MixedCut", "recording": None}, "a MixedCut without one recording"),
        ({"recording": None}, "a MonoCut without one recording"),
        ({"recording": {**RECORDING, "transforms": [{"name": "Speed"}]}}, "recording 'a' has transforms"),
        ({"recording": {**RECORDING, "sources": [{**RECORDING["sources"][0], "type": "url"}]}}, "source of type 'url'"),
        (
            {
                "channel": [0, 1],
                "recording": {**RECORDING, "sources": [{**RECORDING["sources"][0], "channels": [0, 1, 2]}]},
                "supervisions": [],
            },
            r"uses channels \[0, 1\] of \[0, 1, 2\]",
        ),
        ({"start": None}, r"not a lhotse cut \(TypeError"),
        ({"recording": {"id": "a"}}, r"not a lhotse cut \(KeyError: 'sources'"),
        ({"supervisions": [{**ONE, "start": 5.0}]}, "supervision from 5.0 s to 2.0 s of the cut"),
    ],
)
def test_lhotse_refuses(tree, change, message):
    folder = tree({"cuts.jsonl": json.dumps(CUT) + "\n" + json.dumps({**CUT, **change, "id": "b"})})
    with pytest.raises(InputError, match=rf"cuts\.jsonl:2: .*{message}"):
        import_corpus(folder / "cuts.jsonl")


# NeMo


def test_nemo(tree):
    lines = [
        {"audio_filepath": "wav/a.wav", "duration": 1.5, "text": "hello", "lang": "en", "pnc": True},
        {"audio_filepath": "/far/b.wav", "duration": 2, "offset": 3.25, "text": " two  words "},
    ]
    folder = tree({"train.json": "\n".join(map(json.dumps, lines))})
    utterances = import_corpus(folder / "train.json")
    assert rows(utterances, "id", "audio", "start_s", "duration_s", "text", "lang", "extra") == [
        ("a", str(folder / "wav/a.wav"), 0.0, 1.5, "hello", "en", {"pnc": True}),
        ("b", "/far/b.wav", 3.25, 2.0, "two words", None, {}),
    ]


def test_ids_from_names(tree):
    """The first rule that makes ids distinct: name, path, path and start time."""

    def ids(*places):
        lines = [json.dumps({"audio_filepath": p, "offset": at, "duration": 1, "text": "x"}) for p, at in places]
        return [u.id for u in import_corpus(tree({"n.jsonl": "\n".join(lines)}) / "n.jsonl")]

    assert ids(("x/a.wav", 0), ("y/b.wav", 0)) == ["a", "b"]
    assert ids(("x/a.wav", 0), ("y/a.wav", 0)) == ["x-a", "y-a"]
    assert ids(("x/a.wav", 0), ("x/a.wav", 1.5), ("y/a.wav", 0)) == ["x-a-00000000", "x-a-00001500", "y-a-00000000"]
    with pytest.raises(InputError, match="utterance 'x-a-00000000' occurs twice"):
        ids(("x/a.wav", 0), ("x/a.wav", 0))


@pytest.mark.parametrize(
    "line, message",
    [
        ('{"text": "x"}', "no audio file"),
        ('{"audio_filepath": "b.wav", "duration": "long"}', "field 'duration' is 'long'; expected seconds"),
        ('{"audio_filepath": "b.wav", "duration": -1}', "lasts -1.0 s; expected"),
        ('{"audio_filepath": "b.wav", "offset": -1}', "starts at -1.0 s"),
        ('{"audio_filepath": "b.wav"', "not JSON"),
        ("17", "expected a JSON object, found int"),
    ],
)
def test_nemo_refuses(tree, line, message):
    folder = tree({"n.jsonl": '{"audio_filepath": "a.wav", "text": "x"}\n' + line})
    with pytest.raises(InputError, match=rf"n\.jsonl:2: .*{message}"):
        import_corpus(folder / "n.jsonl")


# Tables


def test_common_voice(tree):
    folder = tree(
        {
            "ko/validated.tsv": "client_id\tpath\tsentence\tup_votes\tage\tlocale\n"
            'f00d\tcommon_voice_ko_1.mp3\t"그래," 그가 말했다.\t2\t\tko\n'
            "beef\tcommon_voice_ko_2\t하나 둘\t2\ttwenties\tko\n",
            "ko/clips/common_voice_ko_1.mp3": "",
        }
    )
    utterances = import_corpus(folder / "ko/validated.tsv")
    assert rows(utterances, "id", "audio", "text", "speaker", "lang", "extra") == [
        ("common_voice_ko_1", f"{folder}/ko/clips/common_voice_ko_1.mp3", '"그래," 그가 말했다.', "f00d", "ko",
         {"up_votes": "2"}),
        ("common_voice_ko_2", f"{folder}/ko/clips/common_voice_ko_2.mp3", "하나 둘", "beef", "ko",
         {"up_votes": "2", "age": "twenties"}),
    ]  # fmt: skip
    with pytest.raises(InputError, match="is a Common Voice folder; give one of its tables: validated.tsv"):
        import_corpus(folder / "ko")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_table(tree, delimiter):
    lines = [
        ["ID", "Path", "Start", "Duration", "Transcript", "Speaker", "room"],
        ["u1", "a b.wav", "0.5", "2", "one two", "s1", "hall"],
        [],
        ["u2", "c.wav", "", "", "", "", ""],
    ]
    folder = tree({"t.csv": "".join(delimiter.join(line) + "\r\n" for line in lines)})
    assert rows(import_corpus(folder / "t.csv"), *LHOTSE_FIELDS) == [
        ("u1", str(folder / "a b.wav"), 0.5, 2.0, "one two", "s1", None, {"room": "hall"}),
        ("u2", str(folder / "c.wav"), 0.0, None, None, None, None, {"text": None}),
    ]


def test_table_quotes(tree):
    """Quotes protect commas and line ends in CSV; DeepSpeech's column names are accepted."""
    folder = tree({"t.csv": 'wav_filename,wav_filesize,transcript\na.wav,9,"yes, ""no""\nand so"\n'})
    assert rows(import_corpus(folder / "t.csv"), "id", "text") == [("a", 'yes, "no" and so')]


@pytest.mark.parametrize(
    "content, message",
    [
        ("file,text\na.wav,x\nb.wav,x,y\n", r"t\.csv:3: 3 fields, but the header has 2"),
        ('file,text\na.wav,"x\n', r"t\.csv:2: unexpected end of data; check the quotes"),
        ("file,text\n,x\n", r"t\.csv:2: no audio file"),
        ("\n\n", r"t\.csv:1: no column for the audio: the file is empty"),
        ("name,words\na.wav,x\n", r"t\.csv:1: no column for the audio"),
        ("file,start\na.wav,soon\n", r"t\.csv:2: field 'start' is 'soon'"),
        ("file,text\n", r"t\.csv: 0 utterances"),
        ("", r"t\.csv:1: no column"),
    ],
)
def test_table_refuses(tree, content, message):
    with pytest.raises(InputError, match=message):
        import_corpus(tree({"t.csv": content}) / "t.csv")


# Folders


def test_folder(tree):
    folder = tree(
        {"x/a.WAV": "", "x/a.txt": "하나\n둘\n", "y/a.flac": "", "y/a.txt": "two\n", "y/b.opus": "", "notes.txt": "no"}
    )
    utterances = import_corpus(folder)
    assert rows(utterances, "id", "text") == [("x-a", "하나 둘"), ("y-a", "two"), ("y-b", None)]
    assert utterances[0].audio == str(folder / "x/a.WAV")


def test_folder_refuses(tree):
    folder = tree({"texts/a.txt": "x", "sounds/a.wav": "", "latin/a.wav": ""})
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no files; check the path$"):
        import_corpus(folder / "empty")
    with pytest.raises(InputError, match="texts holds no recordings"):
        import_corpus(folder / "texts")
    with pytest.raises(InputError, match=r"sounds holds 1 recordings but no \.txt next to any"):
        import_corpus(folder / "sounds")
    (folder / "latin/a.txt").write_bytes("é".encode("latin-1"))
    with pytest.raises(InputError, match=r"cannot read .*latin/a\.txt:1: not UTF-8"):
        import_corpus(folder / "latin")


# All kinds


def test_detect(tree):
    folder = tree(
        {
            "kaldi/wav.scp": "a a.wav\n",
            "folder/a.wav": "",
            "cuts.jsonl": json.dumps(CUT),
            "nemo.jsonl": '{"audio_filepath": "a.wav"}',
            "cv.tsv": "client_id\tpath\tsentence\n",
            "table.tsv": "path\tsentence\n",
        }
    )
    found = {
        name: detect(folder / name) for name in ("kaldi", "folder", "cuts.jsonl", "nemo.jsonl", "cv.tsv", "table.tsv")
    }
    assert list(found.values()) == ["kaldi", "folder", "lhotse", "nemo", "common_voice", "table"]


def test_files_that_are_not_corpora_are_refused(tree):
    folder = tree({"m.jsonl": '{"id": "a", "audio": "a.wav"}', "o.jsonl": '{"name": 1}'})
    (folder / "bad.jsonl.gz").write_bytes(gzip.compress(b"{}")[:-4])
    for name, message in (
        ("m.jsonl", "is a manifest already"),
        ("o.jsonl", "neither a lhotse cut .* nor NeMo"),
        ("bad.jsonl.gz", "cannot read"),
        ("none", "does not exist"),
    ):
        with pytest.raises(InputError, match=message):
            import_corpus(folder / name)
    with pytest.raises(InputError, match="unknown kind of corpus 'wavs'; expected one of auto, kaldi"):
        import_corpus(folder, "wavs")


def test_import_then_manifest(tree):
    """An imported corpus survives writing and reading a manifest."""
    folder = tree(KALDI)
    utterances = import_corpus(folder)
    manifest.write(folder / "m.jsonl", utterances)
    assert manifest.read(folder / "m.jsonl") == utterances
