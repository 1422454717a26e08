"""`hmm.speeds`: HMMs that hear each training utterance at several speeds."""

import dataclasses

import numpy as np
import pytest
import torch
from test_hmm_training import LEXICON, config, speak

from asr import manifest, pipeline
from asr.config import Config
from asr.data.alignments import read_alignments
from asr.data.augment import change_tempo
from asr.errors import InputError
from asr.hmm.corpus import at_speed
from asr.manifest import Utterance

SPEEDS = [0.8, 1.0, 1.25]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Four utterances of each of three speakers to train on, and two of another one."""
    folder, rng = tmp_path_factory.mktemp("speeds"), np.random.default_rng(4)
    for split, speakers in (("train", "abc"), ("dev", "d"), ("test", "d")):
        utterances = []
        for speaker in speakers:
            for n in range(4 if split == "train" else 2):
                words = rng.choice(list(LEXICON.pronunciations), 3).tolist()
                x = speak(words, rng)[0].astype(np.float32) + ord(speaker) % 3
                utterances.append(stored(folder, f"{split}-{speaker}{n}", x, words, speaker))
        manifest.write(folder / f"{split}.jsonl", utterances)
    LEXICON.write(folder / "lexicon.txt")
    return folder


def stored(folder, id, x, words, speaker):
    np.save(folder / f"{id}.npy", x)
    return Utterance(id, features=str(folder / f"{id}.npy"), duration_s=len(x) / 100, text=" ".join(words),
                     speaker=speaker)  # fmt: skip


def sat(corpus, out):
    cfg = config(corpus, out, "mono")
    cfg.hmm.splice, cfg.hmm.dim, cfg.hmm.speakers, cfg.hmm.rounds = 1, 6, True, 4
    return cfg


def test_copies_train_as_utterances_of_other_speakers_would(corpus, tmp_path, monkeypatch):
    """The truth is a training on a manifest that lists the copies. Alignments are of the recordings alone."""
    monkeypatch.setattr("asr.hmm.speakers.FEWEST", 60)
    own = manifest.read(corpus / "train.jsonl")
    listed = [
        stored(tmp_path, f"{u.id}x{speed}", change_tempo(np.load(u.features), speed), u.text.split(),
               f"{u.speaker}x{speed}")
        for speed in SPEEDS if speed != 1 for u in own
    ]  # fmt: skip
    manifest.write(tmp_path / "listed.jsonl", own + listed)
    expected, found, plain = (sat(corpus, tmp_path / name) for name in ("expected", "found", "plain"))
    expected.data.train, found.hmm.speeds = str(tmp_path / "listed.jsonl"), SPEEDS
    models = [pipeline.train_hmm(cfg) for cfg in (expected, found, plain)]
    assert models[0].read_bytes() == models[1].read_bytes() != models[2].read_bytes()
    paths = [read_alignments(model.with_name("alignments.npz")) for model in models]
    assert set(paths[1]) == set(paths[2]) == {u.id for u in own + manifest.read(corpus / "dev.jsonl")}
    assert all(np.array_equal(paths[0][id], paths[1][id]) for id in paths[1])


def test_sound_becomes_faster_and_its_speaker_another(tmp_path):
    tone = np.sin(2 * np.pi * 500 * np.arange(16000) / 16000).astype(np.float32)
    given = Utterance("u", "u.wav", text="a", speaker="s")
    changed, words, x = at_speed(Config(out=str(tmp_path)), (given, ["a"], torch.from_numpy(tone)), 1.25)
    assert changed == dataclasses.replace(given, speaker="s, 1.25 times as fast") and words == ["a"]
    spectrum = np.abs(np.fft.rfft(x.numpy()))
    assert len(x) == 12800 and abs(spectrum.argmax() * 16000 / len(x) - 625) < 2  # Hz


def test_speeds_without_the_recordings_themselves_are_refused(corpus, tmp_path):
    for speeds in ([], [0.9, 1.1], [1.0, 1.0]):
        cfg = config(corpus, tmp_path, "mono")
        cfg.hmm.speeds = speeds
        with pytest.raises(InputError, match=r"hmm.speeds=.* must name 1, the recordings as they are, and each"):
            pipeline.train_hmm(cfg)
    assert not (tmp_path / "train").exists()
