"""Batching, augmentation, and the sets that training reads."""

import multiprocessing
import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asr import manifest
from asr.config import AugmentConfig, Config, DataConfig, FeaturesConfig, OptimConfig
from asr.data.augment import (
    NOISE_DB,
    add_silence,
    band_noise,
    change_level,
    change_speed,
    change_tempo,
    generator,
    mask_features,
    noise,
    warp_bins,
)
from asr.data.batching import epoch_batches, fill
from asr.data.cache import InputCache
from asr.data.dataset import Utterances
from asr.features.frontend import FrontEnd
from asr.training.shards import split


@given(st.lists(st.floats(0.1, 20), min_size=1, max_size=60), st.floats(1, 40), st.integers(0, 3))
def test_batches_hold_every_utterance_once_within_the_limit(durations: list[float], batch_s: float, epoch: int) -> None:
    batches = epoch_batches(durations, batch_s, 1, epoch)
    assert sorted(i for batch in batches for i in batch) == list(range(len(durations)))
    assert all(len(b) == 1 or len(b) * max(durations[i] for i in b) <= batch_s for b in batches)
    assert batches == epoch_batches(durations, batch_s, 1, epoch)


def test_batches_differ_by_epoch() -> None:
    durations = np.random.default_rng(0).uniform(1, 10, 200).tolist()
    assert epoch_batches(durations, 30, 1, 0) != epoch_batches(durations, 30, 1, 1)


def test_little_of_a_batch_is_padding_and_epochs_still_mix_other_utterances() -> None:
    """Lengths as those of AN4: 948 utterances, median 2.5 s."""
    durations = np.random.default_rng(1).lognormal(np.log(2.5), 0.5, 948)
    epochs = [epoch_batches(durations, 60, 1, epoch) for epoch in range(4)]
    padded = sum(len(batch) * durations[batch].max() for batches in epochs for batch in batches)
    assert padded < 1.05 * len(epochs) * durations.sum()
    first, second = ({number: set(batch) for batch in batches for number in batch} for batches in epochs[:2])
    shared = np.mean([len(first[i] & second[i]) / len(first[i] | second[i]) for i in range(len(durations))])
    assert shared < 0.7


def test_speed_moves_a_tone_and_shortens_it() -> None:
    tone = np.sin(2 * np.pi * 400 * np.arange(16000) / 16000).astype(np.float32)
    fast = change_speed(tone, 1.25)
    assert len(fast) == pytest.approx(12800, abs=2)
    peak_hz = np.abs(np.fft.rfft(fast)).argmax() * 16000 / len(fast)
    assert peak_hz == pytest.approx(500, abs=2)
    assert change_speed(tone, 1.0) is tone


def test_tempo_interpolates_along_time() -> None:
    ramp = np.arange(11, dtype=np.float32)[:, None] * [[1, 2]]
    slow = change_tempo(ramp, 0.5)
    np.testing.assert_allclose(slow[:, 0], np.linspace(0, 10, 22), atol=1e-5)
    np.testing.assert_allclose(slow[:, 1], 2 * slow[:, 0], atol=1e-5)


def test_warp_stretches_bins_and_nothing_else() -> None:
    ramp = torch.arange(20.0).expand(3, 4, 20)
    assert torch.equal(warp_bins(ramp, 0.0, generator(1)), ramp)
    warped = warp_bins(ramp, 0.2, generator(1))
    factors = generator(1).uniform(0.8, 1.2, 3)
    for row, factor in zip(warped, factors, strict=True):
        np.testing.assert_allclose(row[0], np.minimum(np.arange(20) * factor, 19), rtol=1e-5)


def test_masks_stay_within_their_limits() -> None:
    cfg = AugmentConfig(freq_masks=1, freq_width=3, time_masks=3, time_width_s=0.1, time_fraction=0.2)
    x = torch.ones(8, 50, 20)
    masked = mask_features(x, torch.full((8,), 50), cfg, 0.01, generator(1))
    assert (x == 1).all()
    silent_frames = (masked == 0).all(2).sum(1)  # (N,)
    silent_bins = (masked == 0).all(1).sum(1)
    assert silent_frames.max() <= 10 and silent_bins.max() <= 3 and silent_frames.sum() > 0 < silent_bins.sum()
    assert torch.equal(masked, mask_features(x, torch.full((8,), 50), cfg, 0.01, generator(1)))


def test_batches_keep_the_order_and_the_limit():
    lengths = [1.0, 2.0, 9.0, 1.0, 1.0, 1.0, 4.0]
    assert list(fill(range(7), lengths.__getitem__, 4.0)) == [[0, 1], [2], [3, 4, 5], [6]]
    assert list(fill([], lengths.__getitem__, 4.0)) == []
    read = []
    first = next(fill((read.append(i) or i for i in range(7)), lengths.__getitem__, 4.0))
    assert first == [0, 1] and read == [0, 1, 2]  # one item ahead, no more


def test_cache_keeps_what_fits_its_slot() -> None:
    cache = InputCache([3, 4], np.int16)
    assert cache.get(0) is None
    cache.put(1, np.array([1, 2, 3], np.int16))
    cache.put(0, np.array([9, 9, 9, 9], np.int16))  # too long: it must not spill into the next slot
    assert cache.get(0) is None
    np.testing.assert_array_equal(cache.get(1), [1, 2, 3])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_cache_is_shared_by_forked_processes() -> None:
    cache = InputCache([3], np.float32)
    child = multiprocessing.get_context("fork").Process(target=cache.put, args=(0, np.array([0.5, 1.5], np.float32)))
    child.start()
    child.join()
    np.testing.assert_array_equal(cache.get(0), [0.5, 1.5])


@given(st.lists(st.integers(0, 99), unique=True), st.integers(1, 4))
def test_shards_hold_every_utterance_once_and_differ_by_one(batch: list[int], shards: int) -> None:
    parts = split(batch, shards)
    sizes = [len(part) for part in parts]
    assert sorted(i for part in parts for i in part) == sorted(batch)
    assert len(parts) == shards and max(sizes) - sizes[0] <= 1 and sizes[0] == min(sizes)


def test_silence_comes_before_within_and_behind_and_keeps_the_speech() -> None:
    speech = np.arange(1, 401, dtype=np.float32)
    places = set()
    for seed in range(200):
        found = add_silence(speech, 100, lambda after: after, lambda n: np.zeros(n, np.float32), generator(seed))
        heard = np.flatnonzero(found)
        np.testing.assert_array_equal(found[heard], speech)
        gaps = np.diff(heard) - 1
        before, within, behind = heard[0], gaps.max(), len(found) - 1 - heard[-1]
        assert (gaps > 0).sum() <= 1 and max(before, within, behind) <= 100
        places.add((before > 0, within > 0, behind > 0))
    assert len(places) == 8


def test_noise_has_zeros_and_levels_relative_to_the_speech() -> None:
    speech = generator(0).standard_normal(8000) * 0.1
    kinds = [noise(4000, speech, generator(seed)) for seed in range(300)]
    powers = [np.square(x).mean() for x in kinds if x.any()]
    assert 150 < len(powers) < 250  # a third is digital silence
    levels = 10 * np.log10(powers) + 20  # relative to the speech
    assert NOISE_DB[0] - 1 < levels.min() < NOISE_DB[0] + 5 and NOISE_DB[1] - 5 < levels.max() < NOISE_DB[1] + 1
    assert all(np.isfinite(noise(length, speech, generator(length))).all() for length in range(50))


def test_noise_of_stored_energies_is_flat_or_softer_than_the_speech() -> None:
    frontend = FrontEnd(FeaturesConfig(kind="stored", num_bins=20))
    speech = generator(1).standard_normal((100, 20)).astype(np.float32) + 12
    for seed in range(20):
        levels = frontend.levels(torch.from_numpy(band_noise(50, speech, generator(seed)))[None])
        assert levels.isinf().all() or levels.max() < frontend.levels(torch.from_numpy(speech)[None]).mean()


def test_levels_are_drawn_and_clipped() -> None:
    speech = (0.3 * np.sin(np.arange(8000) * 0.1)).astype(np.float32)
    peaks = [np.abs(change_level(speech, (-30, 12), 8000, generator(seed))).max() for seed in range(100)]
    assert max(peaks) == 1 and min(peaks) < 0.02 and len(set(np.round(peaks, 3))) > 50
    steps = [change_level(speech, (0, 0), 8000, generator(seed)) for seed in range(40)]
    assert 5 < sum(not np.isclose(abs(x[-100:]).max(), abs(x[:100]).max(), rtol=0.01) for x in steps) < 25


def test_utterances_get_silence_after_a_quarter_of_the_epochs_and_some_lose_their_words() -> None:
    augment = AugmentConfig(speeds=[], gain_db=[])
    cfg = Config(
        features=FeaturesConfig(sample_rate_hz=8000), optim=OptimConfig(epochs=8), data=DataConfig(cache=False)
    )
    utterances = Utterances(cfg, [manifest.Utterance(f"u{i}", "x.wav", duration_s=0.5) for i in range(300)],
                            [[1, 2]] * 300, augment)  # fmt: skip
    speech = (0.1 * np.sin(np.arange(4000) * np.linspace(0, 1, 4000))).astype(np.float32)
    utterances.load = lambda index: speech  # type: ignore[method-assign]
    for epoch, has_silence in ((0, False), (1, False), (2, True)):
        utterances.epoch = epoch
        items = [utterances[i] for i in range(300)]
        assert any(len(x) != len(speech) for x, *_ in items) == has_silence
        assert (2 < sum(not len(target) for _, target, *_ in items) < 20) == has_silence
        assert all(torch.equal(items[i][0], utterances[i][0]) for i in range(20))
    assert max(len(x) for x, *_ in items) <= 4000 + 3 * 24000


@pytest.mark.parametrize("kind", ["logmel", "stored"])
def test_speeds_leave_enough_frames_for_the_words(kind: str) -> None:
    cfg = Config(features=FeaturesConfig(kind=kind))
    shift = round(cfg.features.shift_ms * cfg.features.sample_rate_hz / 1000) if kind == "logmel" else 1
    augment = AugmentConfig(speeds=[0.9, 1.0, 1.1])
    sets = Utterances(cfg, [], [], augment)
    target = [1, 2, 2, 3] * 10  # needs 50 outputs
    needed = 50 * cfg.model.subsampling
    assert sets.speeds(round(1.2 * needed) * shift, target) == [0.9, 1.0, 1.1]
    assert sets.speeds((needed + 5) * shift, target) == [0.9, 1.0]
    assert sets.speeds(needed // 2 * shift, target) == [0.9]
    assert Utterances(cfg, [], [], AugmentConfig(speeds=[])).speeds(needed * shift, target) == []
