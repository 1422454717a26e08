"""Voice activity: where speech stopped, in any chunks, at any level and over noise."""

import numpy as np
import pytest
import soxr

from asr.errors import InputError
from asr.features import audio, vad
from asr.features.vad import EnergyVad, NoVad, SileroVad
from asr.search.endpoint import EndpointOptions

RATE_HZ = 16000


def with_speech(parts, noise, seed=0):
    """Noise of that level, with a voice-like sound of level 0.1 in each (start_s, end_s); 6 s."""
    rng = np.random.default_rng(seed)
    x = noise * rng.standard_normal(6 * RATE_HZ)
    t = np.arange(len(x)) / RATE_HZ
    voice = 0.1 * np.sign(np.sin(2 * np.pi * 120 * t)) * (1.2 + np.sin(2 * np.pi * 4 * t))
    for start_s, end_s in parts:
        part = slice(round(start_s * RATE_HZ), round(end_s * RATE_HZ))
        x[part] += voice[part]
    return x.astype(np.float32)


def silences(made, x, chunk):
    found = []
    for start in range(0, len(x), chunk):
        made.accept(x[start : start + chunk])
        found.append(made.silence_s)
    return found


@pytest.mark.parametrize("noise", [0.0, 1e-4, 1e-3, 0.01])
@pytest.mark.parametrize(("level", "offset"), [(1.0, 0.0), (0.05, 0.0), (1.0, 0.2)])
def test_silence_is_counted_from_the_end_of_speech(noise, level, offset):
    x = offset + level * with_speech([(1.0, 2.5), (3.0, 4.2)], noise)
    found = silences(EnergyVad(RATE_HZ), x, 1600)
    assert found[-1] == pytest.approx(1.8, abs=0.1)
    assert found[28] == pytest.approx(0.4, abs=0.1)
    assert max(found[12:25]) < 0.2


@pytest.mark.parametrize("chunk", [1, 777, 96000])
def test_chunks_do_not_matter(chunk):
    x = with_speech([(0.5, 1.2)], 1e-3)[: 2 * RATE_HZ]
    made, other = EnergyVad(RATE_HZ), EnergyVad(RATE_HZ)
    assert silences(made, x, chunk)[-1] == silences(other, x, 1600)[-1]


def test_steady_noise_and_clicks_are_no_speech():
    x = with_speech([], 0.02)
    x[3 * RATE_HZ : 3 * RATE_HZ + 100] = 0.9
    assert silences(EnergyVad(RATE_HZ), x, 1600)[-1] == pytest.approx(6.0)
    assert silences(EnergyVad(RATE_HZ), np.zeros_like(x), 1600)[-1] == pytest.approx(6.0)
    assert NoVad(RATE_HZ).silence_s == np.inf


def test_percentiles_of_the_latest_levels():
    values = np.random.default_rng(3).normal(size=700).round(1)  # many are equal
    latest = vad._Latest(100)
    for end in range(7, 700, 7):
        latest.extend(values[end - 7 : end].tolist())
        for p in (0, 5, 50, 95, 100):
            assert latest.percentile(p) == pytest.approx(np.percentile(values[max(0, end - 100) : end], p))


def brown(rng, samples):
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    noise = np.fft.irfft(spectrum / np.maximum(np.arange(len(spectrum)), 20), samples)
    return noise / noise.std()


@pytest.mark.parametrize("colour", ["white", "brown"])
@pytest.mark.parametrize("level_db", [-60, -50, -40])
@pytest.mark.parametrize("rate_hz", [8000, 16000, 44100])
def test_steady_noise_after_speech_is_no_speech_however_long(rate_hz, level_db, colour):
    """Of noise that is louder than that between the words, the first two seconds are not known to be steady."""
    rng = np.random.default_rng(0)
    speech = soxr.resample(with_speech([(1.0, 2.5), (3.0, 4.2)], 1e-3), RATE_HZ, rate_hz)
    made = EnergyVad(rate_hz)
    made.accept(speech)
    spoken = made.speech_s
    assert 2.0 < spoken < 4.5
    white = rng.standard_normal(30 * rate_hz) if colour == "white" else brown(rng, 30 * rate_hz)
    made.accept((10 ** (level_db / 20) * white).astype(np.float32))
    assert made.speech_s - spoken < (2.1 if level_db > -60 else 0.08)


@pytest.mark.parametrize("softer_db", [0, 12, 20])
def test_a_short_soft_word_after_long_noise_may_be_speech(softer_db):
    made = EnergyVad(RATE_HZ)
    made.accept(with_speech([(1.0, 2.5), (3.0, 4.2)], 1e-3))
    made.accept(np.tile(with_speech([], 1e-3), 3))
    spoken = made.speech_s
    made.accept(with_speech([(3.0, 3.15)], 1e-3 * 10 ** (softer_db / 20)) * np.float32(10 ** (-softer_db / 20)))
    assert made.speech_s - spoken >= 0.08


@pytest.mark.parametrize("snr_db", [10, 6, 0])
def test_what_is_hardly_louder_than_the_noise_may_be_speech(snr_db):
    x = with_speech([(1.0, 2.5), (3.0, 4.2)], 0.1 * 10 ** (-snr_db / 20))
    made = EnergyVad(RATE_HZ)
    made.accept(x)
    assert made.speech_s > 2.5
    nothing = NoVad(RATE_HZ)
    nothing.accept(x)
    assert nothing.speech_s == pytest.approx(6.0)


@pytest.mark.parametrize("rate_hz", [8000, 16000, 44100])
def test_silero_hears_a_recording(shared_data, rate_hz):
    pytest.importorskip("silero_vad")
    pytest.importorskip("onnxruntime")
    path = next((shared_data / "prompts_en" / "audio").rglob("*.*"))
    x = audio.load(path, sample_rate_hz=rate_hz)[: 4 * rate_hz]
    made = SileroVad(rate_hz)
    padded = np.concatenate([x, np.zeros(2 * rate_hz, np.float32)])
    found = silences(made, padded, rate_hz // 10)
    assert min(found[: len(x) * 10 // rate_hz]) == 0.0
    assert 1.8 <= found[-1] <= 2.6
    spoken = made.speech_s
    assert 0.5 < spoken <= 4.6
    made.accept((1e-3 * np.random.default_rng(0).standard_normal(5 * rate_hz)).astype(np.float32))
    assert made.speech_s - spoken < 0.08


def test_silero_is_asked_for_in_a_sentence(monkeypatch):
    vad._silero.cache_clear()
    monkeypatch.setattr(vad, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs silero-vad and onnxruntime: pip install 'silero-vad>=5'"):
        SileroVad(16000)


@pytest.mark.parametrize("options", [{"vad": "loud"}, {"vad": 3}, {"rules": ()}, {"rules": "now"}, {"rules": (1,)}])
def test_wrong_options_are_refused(options):
    with pytest.raises(InputError, match="must be"):
        EndpointOptions(**options)
