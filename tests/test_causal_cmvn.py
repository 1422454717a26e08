"""cmvn=causal: against a slow reference, in a stream, and next to silence, at other levels and with an offset."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TOKENS, config, model

from asr.config import FeaturesConfig
from asr.errors import InputError
from asr.features.cmvn import LEAST_STD, LIMIT, QUIET, Cmvn
from asr.features.frontend import FrontEnd
from asr.features.speech_so_far import GATE, GATE_WIDTH, MARGIN, MEMORY, NARROW, PRIOR, SETTLED, STEADY
from asr.recognizer import bundle

RATE_HZ = 8000
CFG = FeaturesConfig(sample_rate_hz=RATE_HZ, num_bins=20, cmvn="causal")
KINDS = ("logmel", "mfcc", "loglinear", "wave")


def speechlike(seconds: float = 2.0, seed: int = 0) -> np.ndarray:
    """0.2 s of noise 40 dB below the speech; then syllables: tones and noise that come and go, four per second."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    tones = sum(np.sin(2 * np.pi * hz * t * (1 + 0.1 * np.sin(t))) / k for k, hz in enumerate((180, 620, 1700), 1))
    speech = 0.1 * (tones + 0.2 * rng.standard_normal(len(t))) * np.abs(np.sin(2 * np.pi * 2 * t)) * (t > 0.2)
    return (speech + 0.001 * rng.standard_normal(len(t))).astype(np.float32)


def front_end(kind: str = "logmel", **options) -> FrontEnd:
    """With the statistics of three other utterances."""
    frontend = FrontEnd(replace(CFG, kind=kind, **options))
    for seed in (7, 8, 9):
        x = torch.from_numpy(speechlike(seed=seed))[None]
        frontend.accumulate_stats(x, torch.tensor([x.shape[1]]))
    return frontend


def features_of(frontend: FrontEnd, samples: np.ndarray) -> np.ndarray:
    x = torch.from_numpy(np.asarray(samples, np.float32))[None]
    return frontend(x, torch.tensor([x.shape[1]]))[0][0].numpy()


def slow_reference(x: np.ndarray, levels: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Log energies (F, D), frame by frame, each from the frames before it alone."""
    weights, relative, out = np.zeros(len(x)), np.zeros_like(x), np.zeros_like(x)
    for f in range(len(x)):
        first = max(0, f - MEMORY + 1)
        steady = [levels[max(0, i - STEADY + 1) : i + 1] for i in range(first, f + 1)]
        steady = [part for part in steady if len(part) == STEADY and np.isfinite(part).all()]
        peak = max((part.min() for part in steady), default=-math.inf)
        noise = min((part.max() for part in steady), default=levels[max(0, f - STEADY + 1) : f + 1].max())
        heard = np.isfinite(levels[first : f + 1]).sum()
        level = max(peak, noise + NARROW + (MARGIN - NARROW) * min(1, heard / SETTLED))
        relative[f] = x[f] - (level if np.isfinite(level) else 0)
        if np.isfinite(levels[f]):
            weights[f] = 1 / (1 + np.exp(-(levels[f] - max(peak, noise + MARGIN) + GATE) / GATE_WIDTH))
        w, near = weights[first : f + 1, None], relative[first : f + 1]
        total = w.sum() + PRIOR
        now = ((w * near).sum(0) + PRIOR * mean) / total
        square = ((w * near**2).sum(0) + PRIOR * (std**2 + mean**2)) / total
        deviation = np.maximum(np.sqrt(np.maximum(square - now**2, 0)), LEAST_STD)
        out[f] = np.clip((relative[f] - now) / deviation, -QUIET, LIMIT)
    return out


@settings(max_examples=10, deadline=None, derandomize=True)
@given(frames=st.integers(1, MEMORY + 200), silent=st.floats(0, 0.9), seed=st.integers(0, 99))
def test_it_equals_the_slow_reference(frames: int, silent: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    loudness = np.repeat(6 * rng.standard_normal(frames // 9 + 1), 9)[:frames, None]
    x = rng.standard_normal((frames, 3)) + 10 + loudness
    x[np.repeat(rng.random(frames // 9 + 1) < silent, 9)[:frames]] = -15.9
    levels = np.where(x[:, 0] == -15.9, -np.inf, np.log(np.exp(x).sum(1)))
    mean, std = np.array([-1.0, -3.0, -2.0]), np.array([2.0, 1.0, 3.0])
    cmvn = Cmvn("causal", 3, 3)
    cmvn.set_stats(torch.from_numpy(mean), torch.from_numpy(std))
    given = torch.from_numpy(x).float()[None], torch.tensor([frames]), torch.from_numpy(levels).float()[None]
    np.testing.assert_allclose(cmvn(*given)[0], slow_reference(x, levels, mean, std), rtol=0, atol=2e-3)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=5, deadline=None, derandomize=True)
@given(cuts=st.lists(st.floats(0, 1), max_size=9), seed=st.integers(0, 9))
def test_any_chunks_give_the_frames_of_the_whole(kind: str, cuts: list[float], seed: int) -> None:
    """Of seven seconds, so that the beginning is forgotten."""
    frontend = front_end(kind, deltas=2)
    samples = np.concatenate([speechlike(3.0, seed), np.zeros(RATE_HZ), speechlike(3.0, seed + 1)]).astype(np.float32)
    stream = frontend.stream()
    parts = np.split(samples, sorted(round(cut * len(samples)) for cut in cuts))
    found = torch.cat([*(stream.accept(part) for part in parts), stream.finish()])
    np.testing.assert_allclose(found, features_of(frontend, samples), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_what_follows_changes_no_frame(kind: str) -> None:
    frontend, samples = front_end(kind), speechlike()
    loud = np.concatenate([samples, np.random.default_rng(3).uniform(-1, 1, RATE_HZ)])
    before = features_of(frontend, samples)
    np.testing.assert_allclose(features_of(frontend, loud)[: len(before)], before, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("silence_s", [0.25, 3.0, 9.0])
def test_digital_silence_before_changes_no_frame(kind: str, silence_s: float) -> None:
    frontend, speech = front_end(kind), speechlike()
    alone = features_of(frontend, speech)
    around = features_of(frontend, np.concatenate([np.zeros(int(silence_s * RATE_HZ)), speech]))
    first = int(silence_s * 100)
    np.testing.assert_allclose(around[first:], alone, rtol=0, atol=0.15)  # two frames that are partly silent are new
    assert np.isfinite(around).all() and (around[: first - 3] == around[0]).all()


@pytest.mark.parametrize("seconds", [1.0, 3.0])
def test_digital_silence_between_changes_little(seconds: float) -> None:
    frontend, one, other = front_end(), speechlike(), speechlike(seed=1)
    apart = features_of(frontend, np.concatenate([one, np.zeros(int(seconds * RATE_HZ)), other]))
    joined = features_of(frontend, np.concatenate([one, other]))
    assert np.abs(apart[-190:] - joined[-190:]).max() < 0.3
    assert (apart[200 : 200 + int(100 * seconds) - 4] == -QUIET).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gain_db", [-30, -10, 12])
def test_gain_changes_nothing(gain_db: float, kind: str) -> None:
    frontend = front_end(kind)
    loud, as_is = (features_of(frontend, speechlike() * 10 ** (db / 20)) for db in (gain_db, 0))
    np.testing.assert_allclose(loud, as_is, atol=5e-3)


@pytest.mark.parametrize("offset", [0.05, -0.2])
def test_an_offset_changes_nothing(offset: float) -> None:
    frontend, speech = front_end(), speechlike()
    np.testing.assert_allclose(features_of(frontend, speech + offset), features_of(frontend, speech), atol=0.1)


@pytest.mark.parametrize("noise_db", [-60, -50, -40])
def test_noise_before_the_speech_is_soft_and_forgotten_with_its_first_word(noise_db: float) -> None:
    frontend, speech = front_end(), speechlike(3.0)
    noise = np.random.default_rng(1).standard_normal(3 * RATE_HZ) * speech.std() * 10 ** (noise_db / 20)
    found, alone = features_of(frontend, np.concatenate([noise, speech])), features_of(frontend, speech)
    assert found[SETTLED:298].mean() < -1 and found[SETTLED:298].max() < 0.5
    assert np.abs(found[345:] - alone[45:]).mean() < 0.2


def test_a_click_does_not_change_the_speech_behind_it() -> None:
    frontend, speech = front_end(), speechlike()
    popped = np.concatenate([np.zeros(2000), np.ones(16), np.zeros(784), speech])
    assert np.abs(features_of(frontend, popped)[-175:] - features_of(frontend, speech)[-175:]).mean() < 0.02


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sound", ["zeros", "offset", "hum", "one frame", "two frames", "click", "nothing"])
def test_no_recording_gives_values_beyond_the_limits(kind: str, sound: str) -> None:
    t = np.arange(RATE_HZ) / RATE_HZ
    samples = {
        "zeros": 0 * t,
        "offset": 0 * t + 0.5,
        "hum": 0.1 * np.sin(2 * np.pi * 50 * t),
        "one frame": speechlike()[2000:2200],
        "two frames": speechlike()[2000:2280],
        "click": np.eye(1, len(t), 4000)[0],
        "nothing": t[:100],
    }[sound]
    found = features_of(front_end(kind), samples)
    assert np.isfinite(found).all() and len(found) == max(0, 1 + (len(samples) - 200) // 80)
    assert kind == "wave" or not len(found) or np.abs(found).max() <= LIMIT
    if sound in ("zeros", "offset") and kind in ("logmel", "loglinear"):
        assert (found == -QUIET).all()


def test_statistics_are_of_speech_relative_to_its_level() -> None:
    """Whatever stands around it, at any level."""
    plain, other = FrontEnd(CFG), FrontEnd(CFG)
    for seed, gain in ((0, 1.0), (1, 0.03), (2, 3.0)):
        speech = speechlike(seed=seed)
        for frontend, x in ((plain, speech), (other, np.concatenate([np.zeros(4000), gain * speech, np.zeros(9999)]))):
            frontend.accumulate_stats(torch.from_numpy(x.astype(np.float32))[None], torch.tensor([len(x)]))
    torch.testing.assert_close(other.cmvn.mean, plain.cmvn.mean, rtol=0, atol=0.05)
    torch.testing.assert_close(other.cmvn.std, plain.cmvn.std, rtol=0, atol=0.05)
    assert plain.cmvn.std.min() > 0.5


def test_cepstra_from_files_and_encoders_are_refused() -> None:
    for options in (dict(num_bins=13), dict(num_bins=40, deltas=1)):
        with pytest.raises(InputError, match="cmvn=causal takes stored features for log filterbank energies"):
            FrontEnd(FeaturesConfig(kind="stored", cmvn="causal", **options))


def test_a_bundle_with_the_former_running_normalisation_is_refused(tmp_path) -> None:
    cfg = config(cmvn="global")
    made = model(cfg)
    cfg.features.cmvn = "running"
    bundle.write(tmp_path / "old.asr", made, cfg, TOKENS, None, "# old\n")
    with pytest.raises(InputError, match="old.asr: .*features.cmvn=running: replaced by causal.* train again"):
        bundle.read(tmp_path / "old.asr")
