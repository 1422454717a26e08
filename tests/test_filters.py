"""Filters on the raw wave: their bands, gradients, levels and streams, with nets of all kinds."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from tiny import noise

from asr.config import FeaturesConfig, ModelConfig
from asr.errors import InputError
from asr.models import NETS
from asr.models.acoustic import AcousticModel
from asr.models.filters import FILTERS, SincFilters, WaveFilters, bands, hertz, make_filters

RATE = 16000
kinds = pytest.mark.parametrize("kind", list(FILTERS))


def features(**options: Any) -> FeaturesConfig:
    return FeaturesConfig(**{"kind": "wave", "num_bins": 40, "cmvn": "none", **options})


def filters(kind: str, **options: Any) -> WaveFilters:
    made = make_filters(features(**options), ModelConfig(filters=kind), 400)
    assert made is not None
    return made


@kinds
def test_filters_begin_as_bands_side_by_side_on_the_mel_scale(kind: str) -> None:
    """Compared with numpy's transform of the taps and with mel centres worked out by hand."""
    kernels = filters(kind).kernels().detach().numpy()
    assert kernels.shape == (40, 2, 201)
    top = 1127 * math.log1p(8000 / 700)
    low = 1127 * math.log1p(20 / 700)
    edges = 700 * np.expm1((low + (top - low) * np.arange(41) / 40) / 1127)
    response = (np.abs(np.fft.rfft(kernels, 16000, axis=2)) ** 2).sum(1)  # one bin per Hz
    hz = np.arange(8001)
    heard = (response * hz).sum(1) / response.sum(1)
    wide = edges[1:] - edges[:-1] > RATE / 201  # bands that so short a filter can tell apart
    assert wide.sum() > 25
    centres = (edges[1:] + edges[:-1]) / 2
    assert (np.abs(heard - centres)[wide] < 60).all()  # Hz
    assert (np.diff(heard) > 0).all()
    inside = [row[int(a) : int(b) + 1].sum() / row.sum() for row, a, b in zip(response, edges, edges[1:], strict=False)]
    assert min(np.array(inside)[wide]) > 0.6


@kinds
def test_white_noise_has_power_one_and_a_tone_the_most_in_its_band_in_any_phase(kind: str) -> None:
    stage = filters(kind)
    with torch.no_grad():
        torch.manual_seed(0)
        powers = (3 * stage(torch.randn(10, 50, 400))).exp().mean((0, 1))  # (K,)
        torch.testing.assert_close(powers, torch.ones(40), atol=0.2, rtol=0)
        low, high = bands(features())
        for hz in (400.0, 700.0, 1500.0, 4000.0, 6000.0):
            phases = torch.arange(8) / 8 * math.pi
            tones = torch.sin(2 * math.pi * hz / RATE * torch.arange(400) + phases[:, None])  # (8, 400)
            levels = stage(tones[None])[0]  # (8, K)
            loudest = int(levels[0].argmax())
            assert hertz(low[loudest]) - 40 <= hz <= hertz(high[loudest]) + 40
            assert levels[:, loudest].max() - levels[:, loudest].min() < 0.03  # thirds of a neper


@kinds
def test_twice_the_amplitude_is_ln_4_more_power_and_silence_is_finite(kind: str) -> None:
    stage = filters(kind)
    x = 10 * torch.randn(1, 3, 400)
    with torch.no_grad():
        torch.testing.assert_close(stage(2 * x) - stage(x), torch.full((1, 3, 40), math.log(4) / 3), atol=1e-3, rtol=0)
        assert stage(torch.zeros(1, 1, 400)).isfinite().all()


@kinds
def test_gradients_are_those_of_finite_differences(kind: str) -> None:
    stage = filters(kind, num_bins=4, high_hz=7000.0).double()  # edges end at half the rate, where a kink is
    x = torch.randn(1, 2, 400, dtype=torch.float64)
    for parameter in stage.parameters():
        target = stage(x).square().sum()
        (gradient,) = torch.autograd.grad(target, parameter)
        direction = torch.randn_like(parameter)
        with torch.no_grad():
            before = parameter.clone()
            parameter.copy_(before + 1e-5 * direction)
            above = stage(x).square().sum()
            parameter.copy_(before - 1e-5 * direction)
            below = stage(x).square().sum()
            parameter.copy_(before)
        assert float((gradient * direction).sum()) == pytest.approx(float(above - below) / 2e-5, rel=1e-4)


def test_edges_stay_in_order_wherever_training_moves_them() -> None:
    stage = filters("sinc")
    assert isinstance(stage, SincFilters)
    with torch.no_grad():
        stage.low.copy_(torch.randn(40))
        stage.width.copy_(torch.randn(40) * 5)
        stage.low[:2], stage.width[1:3] = 9.0, 0.0  # beyond half the rate; bands of no width
        low, high = stage.edges()
        assert (low >= 0).all() and (high >= low).all()
        assert stage(torch.randn(1, 2, 400)).isfinite().all()


@kinds
@pytest.mark.parametrize("net", list(NETS))
def test_every_net_takes_them(kind: str, net: str) -> None:
    torch.manual_seed(0)
    cfg = ModelConfig(kind=net, filters=kind, hidden=8, layers=1, heads=2)
    model = AcousticModel(features(cmvn="speech", num_bins=10), cfg, 5)
    x = torch.from_numpy(np.stack([noise(0.6), noise(0.6, 1)]))
    log_probs, lengths = model(x, torch.tensor([9600, 7000]))
    assert log_probs.shape == (2, 20, 5) and lengths.tolist() == [20, 14]
    log_probs[..., 0].sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    model.eval()
    alone, _ = model(x[1:, :7000], torch.tensor([7000]))
    together, _ = model(x, torch.tensor([9600, 7000]))
    torch.testing.assert_close(together[1, :14], alone[0], atol=1e-4, rtol=0)


@kinds
def test_streams_give_the_log_probs_of_the_utterance(kind: str) -> None:
    torch.manual_seed(0)
    cfg = ModelConfig(kind="cnn", filters=kind, hidden=8, layers=2, lookahead=2)
    model = AcousticModel(features(num_bins=10), cfg, 5).eval()
    x = torch.from_numpy(noise(1.0))
    whole, _ = model(x[None], torch.tensor([len(x)]))
    heard, state, parts = model.frontend.stream(), model.net.begin(1), []
    for piece in x.split(700):
        log_probs, state = model.net.advance(heard.accept(piece)[None], state, False)
        parts.append(log_probs)
    parts.append(model.net.advance(heard.finish()[None], state, True)[0])
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "logmel"}, "model.filters=sinc hears samples, not features=logmel; set features=wave"),
        ({"deltas": 1}, "not features.deltas=1"),
        ({"low_hz": 9000.0}, "the filters reach from features.low_hz=9000 to 8000 Hz"),
    ],
)
def test_features_that_do_not_fit(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AcousticModel(features(**given), ModelConfig(filters="sinc"), 5)
