"""Sphinx's front end: features from audio and from cepstra have the same bands."""

import numpy as np
import pytest

from asr.data.augment import another_room
from asr.features.files import cepstra_to_bands
from asr.features.sphinx import BANDS, CEPSTRA, SHIFT, WINDOW, log_mels, smooth


def test_a_tone_is_loudest_in_its_band() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    mels = log_mels(tone)
    assert mels.shape == (1 + (16000 - WINDOW) // SHIFT, BANDS)
    edges = 700 * (10 ** (np.linspace(*(2595 * np.log10(1 + np.array([130, 6800]) / 700)), BANDS + 2) / 2595) - 1)
    loudest = int(mels.mean(0).argmax())
    assert edges[loudest] < 1000 < edges[loudest + 2]
    assert np.allclose(log_mels(np.zeros(1600)), 0)


def test_smooth_bands_are_what_the_cepstra_keep() -> None:
    mels = np.random.default_rng(1).normal(5, 2, (7, BANDS))
    basis = np.cos(np.pi * np.arange(CEPSTRA)[:, None] * (np.arange(BANDS) + 0.5) / BANDS)
    assert np.allclose(smooth(mels), cepstra_to_bands(mels @ basis.T / BANDS), atol=1e-4)
    assert np.allclose(smooth(smooth(mels)), smooth(mels))


@pytest.mark.parametrize("seed", range(3))
def test_another_room_keeps_loud_parts_and_fills_silence(seed: int) -> None:
    mels = np.zeros((50, BANDS))
    mels[20:30] = 12.0
    heard = another_room(mels, np.random.default_rng(seed))
    assert heard.shape == mels.shape
    assert np.abs(heard[20:30] - mels[20:30]).mean() < 2
    assert heard[:20].mean() > 1
