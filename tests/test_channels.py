"""Recordings of several channels: their mean, a chosen one, and channels that cancel each other."""

import json

import numpy as np
import pytest
import soundfile
import torch
from tiny import TOKENS, config, model, noise

from asr.data.check import check
from asr.errors import InputError
from asr.features import audio
from asr.features.mixing import Mixer
from asr.recognizer import long
from asr.recognizer.inputs import mono_blocks, samples_of
from asr.recognizer.recognizer import Recognizer

RATE_HZ = 16000


def speech(seconds=1.0, seed=0):
    return noise(seconds, seed).astype(np.float32)


@pytest.fixture
def wav(tmp_path):
    def make(*channels, name="a.wav"):
        soundfile.write(tmp_path / name, np.stack(channels, 1), RATE_HZ, subtype="FLOAT")
        return tmp_path / name

    return make


@pytest.fixture(scope="module")
def recognizer():
    cfg = config()
    return Recognizer(model(cfg), cfg, TOKENS)


def test_a_chosen_channel(wav):
    x, y, z = speech(seed=1), speech(seed=2), speech(seed=3)
    path = wav(x, y, z)
    for number, channel in enumerate((x, y, z)):
        assert np.array_equal(audio.load(path, channel=number), channel)
        assert np.array_equal(
            np.concatenate(list(audio.mono_blocks(path, 0.25, 0.5, None, number))), channel[4000:12000]
        )
    assert np.allclose(audio.load(path), (x + y + z) / 3, atol=1e-6)
    with pytest.raises(InputError, match=r"a\.wav has no channel 3; it has 3 channels: 0 to 2"):
        audio.load(path, channel=3)
    with pytest.raises(InputError, match="has no channel 1; it has one channel: 0"):
        audio.load(wav(x), channel=1)
    assert np.array_equal(audio.load(wav(x), channel=0), x)


@pytest.mark.parametrize("offset", [0.0, 0.2])
def test_opposite_phase_is_refused(wav, offset):
    """A constant offset, which does not cancel, hides nothing."""
    x = 0.3 * speech()
    for channels in ((x, -x), (x, -0.8 * x), (x, -x, x, -x), (x, -x + 0.05 * speech(seed=5))):
        path = wav(*(channel + offset for channel in channels))
        with pytest.raises(InputError, match=r"channels of .*a\.wav cancel each other .* choose one with channel=0"):
            audio.load(path)
        assert np.array_equal(audio.load(path, channel=1), soundfile.read(path, dtype="float32")[0][:, 1])


def test_opposite_phase_in_a_part_is_refused(wav):
    """As of two recordings joined into one file: the mean would lose the words of that part."""
    x, y = 0.3 * speech(), 0.3 * speech(seed=2)
    for channels in ((np.append(x, y), np.append(-x, y)), (np.append(y, x), np.append(y, -x))):
        with pytest.raises(InputError, match=r"cancel each other in \d+% of the time"):
            audio.load(wav(*channels))


def test_channels_that_do_not_cancel_are_mixed(wav):
    x, y, silence = 0.3 * speech(), 0.3 * speech(seed=2), np.zeros(RATE_HZ, np.float32)
    late = np.concatenate([silence[:24], x[:-24]])  # the second microphone is half a metre away
    for channels in ((x, x), (x, y), (x, silence), (x, 0.01 * y), (x, late), (x, -0.5 * x), (silence, silence)):
        assert np.allclose(audio.load(wav(*channels)), np.mean(channels, 0), atol=1e-6)
    eight = [x, *[silence] * 7]
    assert np.allclose(audio.load(wav(*eight)), x / 8, atol=1e-6)


@pytest.mark.parametrize("channels", [2, 3, 6])
def test_cancelling_is_told_by_the_power_of_the_mean(channels):
    """Against the definition over the whole signal, block by block."""
    rng = np.random.default_rng(channels)
    for share in np.linspace(0, 1, 21):
        common = rng.normal(0, 0.1, 5000)
        signs = np.array([(-1) ** n for n in range(channels)])
        x = share * signs[:, None] * common + (1 - share) * rng.normal(0, 0.1, (channels, 5000))  # (C, T)
        ratio = np.var(x.mean(0)) / np.var(x, axis=1).mean()
        mixer = Mixer("x", channels)
        for block in np.array_split(x.T.astype(np.float32), 7):
            mixer.mix(block)
        if abs(ratio * channels / 0.1 - 1) > 0.01:
            try:
                mixer.check()
                assert ratio > 0.1 / channels
            except InputError:
                assert ratio < 0.1 / channels


def test_arrays_and_files_are_heard_alike(wav, recognizer):
    x, y = 0.3 * speech(), 0.3 * speech(seed=2)
    path, array = wav(x, y), np.stack([x, y])
    for channel in (None, 0, 1):
        assert np.allclose(samples_of(array, RATE_HZ, RATE_HZ, channel), audio.load(path, channel=channel), atol=1e-6)
        want = recognizer.transcribe(path, channel=channel).words
        forms = [array, torch.from_numpy(array), path.read_bytes(), [path]]
        found = [recognizer.transcribe(form, RATE_HZ, channel=channel) for form in forms]
        assert all((h[0] if isinstance(h, list) else h).words == want for h in found)
    assert recognizer.transcribe(path, channel=1).words == recognizer.transcribe(y, RATE_HZ).words
    with pytest.raises(InputError, match="channels of the array cancel each other"):
        recognizer.transcribe(np.stack([x, -x]), RATE_HZ)
    cfg = config()
    cfg.data.channel = 1
    chosen = Recognizer(recognizer.model, cfg, TOKENS)
    assert chosen.transcribe(path).words == recognizer.transcribe(y, RATE_HZ).words
    assert chosen.transcribe(path, channel=0).words == recognizer.transcribe(x, RATE_HZ).words
    with pytest.raises(InputError, match="the array has no channel 2"):
        recognizer.transcribe(array, RATE_HZ, channel=2)
    for wrong in (-1, "left", 0.0, True):
        with pytest.raises(InputError, match="must be the number of a channel, from 0"):
            recognizer.transcribe(array, RATE_HZ, channel=wrong)


def test_long_recordings(wav, recognizer, monkeypatch):
    monkeypatch.setattr(long, "LONGEST_S", 2.0)
    monkeypatch.setattr(long, "SHORTEST_S", 1.0)
    x, y = 0.3 * speech(5.0), 0.3 * speech(5.0, 2)
    path = wav(x, y)
    assert recognizer.transcribe(path, channel=1).words == recognizer.transcribe(y, RATE_HZ).words
    assert recognizer.transcribe(np.stack([x, y]), RATE_HZ, channel=0).words == recognizer.transcribe(x, RATE_HZ).words
    anti = np.stack([x, -x])
    for form in (wav(*anti), anti):
        with pytest.raises(InputError, match="cancel each other"):
            recognizer.transcribe(form, RATE_HZ)
    assert sum(map(len, mono_blocks(np.stack([x, y])))) == len(x)


def test_the_doctor_names_channels(wav, tmp_path):
    x, y, silence = 0.3 * speech(), 0.3 * speech(seed=2), np.zeros(RATE_HZ, np.float32)
    files = {"anti": (x, -x), "both": (x, y), "dead": (x, silence), "one": (x,)}
    lines = [{"id": id, "audio": str(wav(*c, name=f"{id}.wav")), "text": "a"} for id, c in files.items()]
    lines += [{**lines[0], "id": "left", "channel": 0}, {**lines[1], "id": "third", "channel": 2}]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = check(tmp_path / "m.jsonl", tmp_path / "out")
    found = {(f.id, f.check) for f in report.findings}
    assert found >= {("anti", "channels"), ("third", "channels"), ("dead", "silent channel")}
    assert not {id for id, _ in found} & {"both"} and report.kept == 4
    chosen = check(tmp_path / "m.jsonl", tmp_path / "chosen", channel=1)
    found = {(f.id, f.check) for f in chosen.findings}
    assert ("anti", "channels") not in found and ("one", "channels") in found and ("dead", "silent") in found
    assert ("left", "heard twice") not in found
