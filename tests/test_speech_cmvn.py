"""What stands around the speech changes nothing: cmvn=speech against a slow reference, and under silence and gain."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.config import FeaturesConfig
from asr.errors import InputError
from asr.features import recorded
from asr.features.cmvn import FEWEST, GATE, GATE_WIDTH, LEAST_STD, LIMIT, LOUDEST, QUIET, REACH, Cmvn
from asr.features.frontend import FrontEnd

RATE_HZ = 8000
CFG = FeaturesConfig(sample_rate_hz=RATE_HZ, num_bins=20, cmvn="speech")


def features_of(samples: np.ndarray, **options) -> np.ndarray:
    frontend = FrontEnd(replace(CFG, **options))
    return frontend(torch.from_numpy(samples.astype(np.float32))[None], torch.tensor([len(samples)]))[0][0].numpy()


def speechlike(seconds: float = 2.0, seed: int = 0) -> np.ndarray:
    """Syllables: tones and noise that come and go, four per second."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    tones = sum(np.sin(2 * np.pi * hz * t * (1 + 0.1 * np.sin(t))) / k for k, hz in enumerate((180, 620, 1700), 1))
    return (0.1 * (tones + 0.2 * rng.standard_normal(len(t))) * np.abs(np.sin(2 * np.pi * 2 * t))).astype(np.float32)


def slow_reference(x: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Log energies (F, D), frame by frame."""
    heard = np.isfinite(levels)
    loudest = sorted(levels[heard])[::-1][: min(2 * LOUDEST, max(1, heard.sum()))]
    level = loudest[(len(loudest) - 1) // 2]
    w = np.where(heard, 1 / (1 + np.exp(-(levels - level + GATE) / GATE_WIDTH)), 0)
    out = np.zeros_like(x)
    for f in range(len(x)):
        near = slice(max(0, f - REACH), f + REACH + 1)
        missing = max(0.0, FEWEST - w[near].sum()) / w.sum()
        weights = np.concatenate([w[near], missing * w])[:, None]
        values = np.concatenate([x[near], x])
        mean = (weights * values).sum(0) / weights.sum()
        std = np.sqrt((weights * (values - mean) ** 2).sum(0) / weights.sum())
        out[f] = np.clip((x[f] - mean) / np.maximum(std, LEAST_STD), -QUIET, LIMIT)
    return out


@settings(max_examples=15, deadline=None, derandomize=True)
@given(frames=st.integers(1, 500), silent=st.floats(0, 0.9), seed=st.integers(0, 99))
def test_it_equals_the_slow_reference(frames: int, silent: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((frames, 3)) * 2 + 10 + 6 * rng.standard_normal((frames, 1))
    x[rng.random(frames) < silent] = -15.9
    x[0] = 12, 13, 14
    levels = np.where(x[:, 0] == -15.9, -np.inf, np.log(np.exp(x).sum(1)))
    given = torch.from_numpy(x).float()[None], torch.tensor([frames]), torch.from_numpy(levels).float()[None]
    np.testing.assert_allclose(Cmvn("speech", 3, 3)(*given)[0], slow_reference(x, levels), rtol=0, atol=2e-3)


@pytest.mark.parametrize("kind", ["logmel", "mfcc", "loglinear", "wave"])
@pytest.mark.parametrize("silence_s", [0.25, 1.0, 3.0])
def test_digital_silence_around_changes_no_frame_of_the_speech(kind: str, silence_s: float) -> None:
    speech, silence = speechlike(1.2), np.zeros(int(silence_s * RATE_HZ))
    alone = features_of(speech, kind=kind)
    around = features_of(np.concatenate([silence, speech, silence]), kind=kind)
    first = len(silence) * 100 // RATE_HZ
    tolerance = {"mfcc": 0.15, "wave": 0.1}.get(kind, 0.03)  # the frames that are partly silent are new
    np.testing.assert_allclose(around[first : first + len(alone)], alone, atol=tolerance)


@pytest.mark.parametrize("kind", ["logmel", "mfcc", "wave"])
def test_a_batch_equals_its_utterances(kind: str) -> None:
    inputs = [torch.from_numpy(speechlike(seconds)) for seconds in (0.02, 3.5, 0.3, 0.1)]
    batch = torch.nn.utils.rnn.pad_sequence(inputs, batch_first=True, padding_value=float("nan"))
    features, frames = FrontEnd(replace(CFG, kind=kind, deltas=1))(batch, torch.tensor([len(x) for x in inputs]))
    assert frames.tolist() == [0, 348, 28, 8]
    for row, count, x in zip(features, frames.tolist(), inputs, strict=True):
        assert (row[count:] == 0).all()
        np.testing.assert_allclose(row[:count], features_of(x.numpy(), kind=kind, deltas=1), atol=1e-4)


@pytest.mark.parametrize("noise_db", [-60, -50])
def test_noise_of_a_room_around_the_speech_is_as_digital_silence(noise_db: float) -> None:
    speech = speechlike(1.2)
    noise = np.random.default_rng(1).standard_normal(RATE_HZ) * speech.std() * 10 ** (noise_db / 20)
    found = features_of(np.concatenate([noise, speech, noise]))
    zeros = features_of(np.concatenate([0 * noise, speech, 0 * noise]))
    assert (found[:95] == -QUIET).all() and (zeros[:95] == -QUIET).all()
    np.testing.assert_allclose(found, zeros, atol=0.03)


@pytest.mark.parametrize("kind", ["logmel", "mfcc", "wave"])
@pytest.mark.parametrize("gain_db", [-30, -10, 12])
def test_gain_changes_nothing(gain_db: float, kind: str) -> None:
    loud, as_is = (features_of(speechlike() * 10 ** (db / 20), kind=kind) for db in (gain_db, 0))
    np.testing.assert_allclose(loud, as_is, atol=5e-3)


@pytest.mark.parametrize("offset", [0.05, -0.2])
def test_an_offset_changes_nothing(offset: float) -> None:
    np.testing.assert_allclose(features_of(speechlike() + offset), features_of(speechlike()), atol=0.05)


def test_a_pop_changes_only_its_surroundings() -> None:
    speech = np.concatenate([speechlike(), np.zeros(RATE_HZ)])
    popped = speech.copy()
    popped[-400:] = np.random.default_rng(2).choice([-1.0, 1.0], 400)  # 50 ms at full scale
    assert np.abs(features_of(popped) - features_of(speech))[:190].mean() < 0.1


def test_a_soft_part_is_normalised_by_what_is_near() -> None:
    """Seconds after a change of level of 10 dB, a shift of one standard deviation, the features are nearly those of the
    part alone."""
    loud, soft = speechlike(6.0), speechlike(6.0, seed=1) * 10 ** (-10 / 20)
    found, alone = features_of(np.concatenate([loud, soft])), features_of(soft)
    assert np.abs(found[-400:] - alone[-400:]).mean() < 0.25


@pytest.mark.parametrize("kind", ["logmel", "mfcc", "loglinear", "wave"])
@pytest.mark.parametrize("sound", ["zeros", "offset", "hum", "one frame", "two frames", "click"])
def test_no_recording_gives_values_beyond_the_limits(kind: str, sound: str) -> None:
    t = np.arange(RATE_HZ) / RATE_HZ
    samples = {
        "zeros": 0 * t,
        "offset": 0 * t + 0.5,
        "hum": 0.1 * np.sin(2 * np.pi * 50 * t),
        "one frame": speechlike()[:200],
        "two frames": speechlike()[:280],
        "click": np.eye(1, len(t), 4000)[0],
    }[sound]
    found = features_of(samples, kind=kind)
    assert len(found) and np.isfinite(found).all()
    assert kind == "wave" or np.abs(found).max() <= LIMIT
    if sound in ("zeros", "offset") and kind in ("logmel", "loglinear"):
        assert (found == -QUIET).all()


def test_an_empty_band_stays_silent() -> None:
    """8 kHz speech in a model of 16 kHz: the bins above 4 kHz hold nothing but rounding."""
    soxr = pytest.importorskip("soxr")
    wide = soxr.resample(speechlike(), RATE_HZ, 16000)
    found = features_of(wide, sample_rate_hz=16000, num_bins=40)
    assert np.isfinite(found).all() and np.abs(found[:, -6:]).max() < LIMIT


def test_digital_silence_is_left_out_of_global_statistics() -> None:
    plain, padded = (FrontEnd(replace(CFG, cmvn="global")) for _ in range(2))
    speech = torch.from_numpy(speechlike())[None]
    plain.accumulate_stats(speech, torch.tensor([speech.shape[1]]))
    around = torch.nn.functional.pad(speech, (8000, 8000))
    padded.accumulate_stats(around, torch.tensor([around.shape[1]]))
    torch.testing.assert_close(padded.cmvn.mean, plain.cmvn.mean, rtol=0, atol=0.2)  # with zeros: 10 less


def test_stored_cepstra_are_not_taken_for_energies() -> None:
    for options in (dict(num_bins=13), dict(num_bins=40, deltas=1)):
        with pytest.raises(InputError, match="set features.cmvn=utterance for cepstra"):
            FrontEnd(FeaturesConfig(kind="stored", **options))
    trained = FeaturesConfig(kind="stored", num_bins=24)
    with pytest.raises(InputError, match="these are mfcc"):
        recorded.behind(FeaturesConfig(kind="mfcc", num_bins=24, num_ceps=24), trained)


def test_stored_energies_are_normalised_as_their_sound() -> None:
    sound = FrontEnd(CFG)
    stored = FrontEnd(replace(CFG, kind="stored"))
    samples = torch.from_numpy(np.concatenate([np.zeros(4000, np.float32), speechlike()]))[None]
    features, frames = sound.unnormalised(samples, torch.tensor([samples.shape[1]]))
    assert torch.equal(stored(features, frames)[0], sound(samples, torch.tensor([samples.shape[1]]))[0])
    assert math.isinf(float(stored.levels(features)[0, 0]))
