"""Kaldi data folders: pipes that stand for a file, channels, speakers, and files that are named as not used."""

import numpy as np
import pytest
import soundfile

from asr.data.importers import import_corpus
from asr.data.importers.pipes import file_of_pipe
from asr.errors import InputError


@pytest.fixture
def kaldi(tmp_path):
    """kaldi(name=content) -> (utterances, notes) of the folder with these files; `x_scp` is the file `x.scp`."""
    soundfile.write(tmp_path / "mono.wav", np.zeros(8000, "float32"), 8000)
    soundfile.write(tmp_path / "stereo.wav", np.zeros((8000, 2), "float32"), 8000)

    def read(**files):
        for name, content in files.items():
            (tmp_path / name.replace("_scp", ".scp")).write_text(content)
        notes = []
        return import_corpus(tmp_path, tell=notes.append), "\n".join(notes)

    return read


@pytest.mark.parametrize(
    ("pipe", "file", "channel"),
    [
        ("flac -c -d -s /data/84-1.flac |", "/data/84-1.flac", None),
        ("flac -cds a.flac|", "a.flac", None),
        ("/usr/bin/flac --decode --stdout --silent 'my file.flac' |", "my file.flac", None),
        ("cat a.wav |", "a.wav", None),
        ("sph2pipe -f wav -p -c 1 a.sph |", "a.sph", 0),
        ("tools/sph2pipe_v2.5/sph2pipe -f wav -p -c 2 a.sph |", "a.sph", 1),
        ("sph2pipe -f rif a.sph |", "a.sph", None),
        ("sox a.flac -r 16000 -b 16 -c 1 -t wav - |", "a.flac", None),
        ("sox -G a.mp3 -t wav -r 16k - |", "a.mp3", None),
        ("sox -t flac a.flac -t wav - rate -v 16000 dither -s |", "a.flac", None),
        ("sox a.wav -t wav - remix 2 |", "a.wav", 1),
        ("sox a.wav -t wav - remix 2 rate 8k |", "a.wav", 1),
        ("sox a.wav -t wav - remix - |", "a.wav", None),
        ("ffmpeg -i a.mp3 -f wav -ar 16000 -ac 1 - |", "a.mp3", None),
        ("ffmpeg -loglevel quiet -nostdin -i a.m4a -acodec pcm_s16le -f wav pipe:1 |", "a.m4a", None),
        ("sph2pipe -f wav -p -c 2 a.sph | sox -t wav - -r 16000 -t wav - |", "a.sph", 1),
        ("flac -c -d -s a.flac | sox - -t wav - remix 1 |", "a.flac", 0),
    ],
)
def test_pipes_that_stand_for_a_file(pipe, file, channel):
    assert file_of_pipe(pipe) == (file, channel)


@pytest.mark.parametrize(
    ("pipe", "reason"),
    [
        ("sox a.wav -t wav - speed 1.1 |", "sox changes the sound by 'speed 1.1'"),
        ("sox a.wav -t wav - gain -3 |", "sox changes the sound by 'gain -3'"),
        ("sox a.wav -t wav - trim 1.5 2 |", "sox changes the sound by 'trim 1.5 2'"),
        ("sox a.wav -t wav - rate 16k tempo 0.9 |", "sox changes the sound by 'tempo 0.9'"),
        ("sox a.wav -t wav - remix 1,2 |", "remix 1,2"),
        ("sox a.wav -t wav - remix 1 2 |", "remix 1 2"),
        ("sox -v 0.5 a.wav -t wav - |", "the option -v of sox"),
        ("sox -r 8000 a.wav -t wav - |", "another rate than that of the file"),
        ("sox -t raw -r 8000 a.pcm -t wav - |", "without a header"),
        ("sox a.wav -c 2 -t wav - |", "an output with 2 channels"),
        ("sox a.wav b.wav -t wav - |", "-t"),
        ("sox - -t wav - |", "reads the standard input"),
        ("flac -c -d -s --skip=100 a.flac |", "the option --skip=100 of flac"),
        ("flac -c -d -s a.flac b.flac |", "names 2 files"),
        ("sph2pipe -f wav -t 1:2 a.sph |", "the option -t of sph2pipe"),
        ("sph2pipe -f raw a.sph |", "without a header"),
        ("ffmpeg -ss 3 -i a.mp3 -f wav - |", "the option -ss of ffmpeg"),
        ("ffmpeg -i a.mp3 -af volume=2 -f wav - |", "the option -af of ffmpeg"),
        ("ffmpeg -i a.mp3 -f wav -ac 2 - |", "an output with 2 channels"),
        ("wav-reverberate --impulse-response=x.wav a.wav - |", "the command 'wav-reverberate' is unknown"),
        ("cat a.wav; touch ran |", "';' needs a shell"),
        ("cat $(touch ran) |", "needs a shell"),
        ("flac -c -d -s a.flac | wav-reverberate - - |", "'wav-reverberate' is unknown"),
        ("cat 'a.wav |", "No closing quotation"),
    ],
)
def test_other_pipes_are_refused(kaldi, pipe, reason):
    with pytest.raises(InputError, match="commands are not run") as refused:
        kaldi(wav_scp=f"u1 {pipe}\n", text="u1 one\n")
    assert reason in str(refused.value)


def test_segments_with_channels(kaldi):
    segments = "a r 0 0.5 0\nb r 0 0.5 1\nc r 0.5 -1 -1\nd m 0.1 0.2\n"
    utterances, _ = kaldi(wav_scp="r stereo.wav\nm mono.wav\n", segments=segments, text="a x\nb x\nc x\nd x\n")
    assert [(u.id, u.start_s, u.duration_s, u.channel) for u in utterances] == [
        ("a", 0.0, 0.5, 0), ("b", 0.0, 0.5, 1), ("c", 0.5, None, None), ("d", 0.1, 0.1, None),
    ]  # fmt: skip
    with pytest.raises(InputError, match="channel 'A'; expected 0"):
        kaldi(segments="a r 0 0.5 A\n")


def test_sides_of_conversations(kaldi):
    """reco2file_and_channel picks the channel of files that have both sides, and of no others."""
    sides = "sw1-A sw1 A\nsw1-B sw1 B\nsw2-A sw2 A\nsw3-B sw3 2\ngone-A g A\n"
    recordings = "sw1-A stereo.wav\nsw1-B stereo.wav\nsw2-A mono.wav\nsw3-B sph2pipe -f wav -p -c 2 sw3.sph |\n"
    utterances, notes = kaldi(
        wav_scp=recordings, reco2file_and_channel=sides, text="sw1-A a\nsw1-B b\nsw2-A c\nsw3-B d\n"
    )
    assert [u.channel for u in utterances] == [0, 1, None, 1]
    assert "recordings of reco2file_and_channel that wav.scp lacks: gone-A" in notes


def test_every_file_of_the_folder_is_used_kept_or_told(kaldi, tmp_path):
    (tmp_path / "split4").mkdir()
    utterances, notes = kaldi(
        wav_scp="u1 mono.wav\nu2 stereo.wav\n",
        text="u1 one\n",
        spk2utt="s1 u1 u2\n",
        spk2gender="s1 f\n",
        utt2lang="u1 ko\nu2 en\n",
        utt2uniq="u1 base1\nu2 base2\n",
        utt2dur="u1 1.0\nu2 1.0\n",
        utt2num_frames="u1 98\nu2 98\n",
        feats_scp="u1 x.ark:1\nu2 x.ark:9\n",
        cmvn_scp="s1 c.ark:1\n",
        glm="",
    )
    assert [(u.speaker, u.lang, u.extra) for u in utterances] == [
        ("s1", "ko", {"gender": "f", "uniq": "base1"}),
        ("s1", "en", {"gender": "f", "uniq": "base2", "text": None}),
    ]
    for name in ("cmvn.scp", "feats.scp", "glm", "split4", "utt2dur", "utt2num_frames"):
        assert name in notes
    assert "utterances without a text (absent or null): u2" in notes


def test_texts(kaldi):
    """An id alone says that nothing is said; an id that is missing is unknown."""
    utterances, notes = kaldi(wav_scp="a mono.wav\nb mono.wav\nc mono.wav\n", text="a  \nb one\n")
    assert [(u.text, "text" in u.extra) for u in utterances] == [("", False), ("one", False), (None, True)]
    assert "utterances with an empty text, which says that nothing is said: a" in notes
    with pytest.raises(InputError, match="none of its 3 utterances has a text"):
        kaldi(text="")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"wav_scp": "a x.ark:12\n"}, "'a' is in an archive"),
        ({"wav_scp": "a x.wavs:12\n"}, "'a' is in an archive"),
        ({"wav_scp": "a -\n"}, "'a' is '-'; expected a file"),
        ({"feats_scp": "a x.ark:12[0:9]\n"}, "feats.scp: 'a' is x.ark:12"),
        ({"feats_scp": "a copy-feats x.ark - |\n"}, "feats.scp: 'a' is copy-feats"),
    ],
)
def test_sources_that_are_refused(kaldi, files, message):
    with pytest.raises(InputError, match=message):
        kaldi(text="a one\n", **files)
