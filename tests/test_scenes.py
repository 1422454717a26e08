"""Rooms, noise, microphones, clipping, bands and codecs: each against a slow or independent truth."""

import itertools
import json
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import test_trainer
import torch

from asr import manifest
from asr.augment_options import SHARES, AugmentConfig
from asr.config import Config, DataConfig, FeaturesConfig
from asr.data.augment import generator
from asr.data.dataset import Utterances
from asr.data.scenes.codecs import CODECS, through
from asr.data.scenes.devices import another_microphone, clip, limit_band
from asr.data.scenes.noises import babble, hum
from asr.data.scenes.rooms import SOUND_M_S, RecordedRooms, draw_room, images, response, reverberate
from asr.data.scenes.scene import Scene, has_scenes, without_scenes
from asr.data.scenes.sounds import Sounds, digest_of_sounds
from asr.data.scenes.spectra import rms
from asr.errors import InputError
from asr.training.settings import check_resumable, settings
from asr.training.trainer import Trainer

corpus = test_trainer.corpus
RATE = 16000
SIZE, SOURCE, MICROPHONE = np.array([6.0, 5.0, 2.8]), np.array([1.0, 1.2, 1.5]), np.array([4.0, 3.5, 1.2])
NONE = AugmentConfig(speeds=[], silence_s=0.0, gain_db=[])


def speech(seconds: float = 1.0, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Noise (T,) in a few bands and in bursts, so that its place in time is well defined."""
    rng = np.random.default_rng(seed)
    x = np.convolve(rng.standard_normal(round(seconds * rate)), np.hanning(8), "same")
    x *= np.repeat(rng.random(len(x) * 10 // rate + 1) > 0.4, rate // 10)[: len(x)]
    return (0.1 * x / np.abs(x).max()).astype(np.float32)


def tone(hz: float, rate: int = RATE) -> np.ndarray:
    return (0.1 * np.sin(2 * np.pi * hz * np.arange(rate) / rate)).astype(np.float32)


def lag(x: np.ndarray, y: np.ndarray) -> int:
    """The delay of y behind x in samples."""
    size = 2 * len(x)
    found = np.fft.irfft(np.fft.rfft(y, size) * np.conj(np.fft.rfft(x, size)))
    at = int(found.argmax())
    return at if at < len(x) else at - size


def test_images_are_those_of_the_definition() -> None:
    near = []
    for n in itertools.product(range(-3, 4), repeat=3):
        for mirrored in itertools.product((0, 1), repeat=3):
            place = [2 * k * size + (-s if m else s) for k, size, s, m in zip(n, SIZE, SOURCE, mirrored, strict=True)]
            bounces = sum(abs(k - m) + abs(k) for k, m in zip(n, mirrored, strict=True))  # Allen & Berkley, eq. 10
            near.append((float(np.linalg.norm(np.array(place) - MICROPHONE)), 0.8**bounces))
    expected = sorted(pair for pair in near if pair[0] < 12)
    distances, factors = images(SIZE, SOURCE, MICROPHONE, 0.8, 12)
    np.testing.assert_allclose(distances, [d for d, _ in expected])
    np.testing.assert_allclose(np.sort(factors), np.sort([f for _, f in expected]))
    assert distances[0] == pytest.approx(np.linalg.norm(SOURCE - MICROPHONE)) and factors[0] == 1


@pytest.mark.parametrize("rt60_s", [0.2, 0.4, 0.8])
@pytest.mark.parametrize("rate", [8000, 16000])
def test_a_room_decays_in_its_time_and_has_the_power_of_its_field(rt60_s: float, rate: int) -> None:
    found = response(SIZE, SOURCE, MICROPHONE, rt60_s, rate, generator(1)).astype(float)
    assert found[0] == 1 and len(found) == round(rt60_s * rate)
    left_db = 10 * np.log10(np.cumsum(found[::-1] ** 2)[::-1])  # Schroeder 1965
    start, end = np.searchsorted(-(left_db - left_db[0]), [5, 25])
    assert (end - start) / rate * 3 == pytest.approx(rt60_s, rel=0.12)
    direct_m = np.linalg.norm(SOURCE - MICROPHONE)
    time_s = np.arange(len(found)) / rate + direct_m / SOUND_M_S
    field = 4 * np.pi * SOUND_M_S * direct_m**2 / SIZE.prod() / rate * 10 ** (-6 * time_s / rt60_s)
    for part in (slice(rate // 100, rate // 20), slice(rate // 20, rate // 10)):  # the images, and the noise
        assert (found[part] ** 2).sum() == pytest.approx(field[part].sum(), rel=0.4)


def test_a_speaker_at_the_microphone_is_heard_at_once() -> None:
    for metres in (0.0, 0.03, 0.06):
        found = response(SIZE, MICROPHONE + [metres, 0, 0], MICROPHONE, 0.3, RATE, generator(1))
        assert found[0] == 1 and np.abs(found[1:]).max() < 0.2


def test_reverberation_is_the_convolution_at_the_same_level() -> None:
    x, room = speech(0.2), draw_room([0.1, 0.2], RATE, generator(3))
    expected = np.convolve(x, room)[: len(x)]
    found = reverberate(x, room)
    np.testing.assert_allclose(found, expected * rms(x) / rms(expected), atol=1e-5)
    assert rms(found) == pytest.approx(rms(x), rel=1e-4)


CHANGES: dict[str, Callable[[np.ndarray, int, np.random.Generator], np.ndarray]] = {
    "filter": lambda x, rate, rng: another_microphone(x, rate, [3, 12], rng),
    "clip": lambda x, rate, rng: clip(x, [3, 15], rng),
    "band": lambda x, rate, rng: limit_band(x, rate, [300, 3400], rng),
    "noise": lambda x, rate, rng: Scene(replace(NONE, noise_share=1.0), rate, lambda rng: x).change(x, rms(x), rng),
} | {name: lambda x, rate, rng, name=name: through(x, rate, name) for name in CODECS}  # fmt: skip


@pytest.mark.parametrize("rate", [8000, 16000, 10000, 44100])
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_keeps_the_length_and_the_place(name: str, rate: int) -> None:
    x = speech(0.5, rate)
    found = CHANGES[name](x, rate, generator(2))
    assert found.shape == x.shape and np.isfinite(found).all() and not np.array_equal(found, x)
    assert abs(lag(x, found)) <= rate / 4000
    for length in (400, 801):  # short, and odd
        assert len(CHANGES[name](x[:length], rate, generator(2))) == length


def test_mulaw_is_that_of_the_formula() -> None:
    x = np.linspace(-0.99, 0.99, 4001, dtype=np.float32)
    levels = np.sign(x) * np.log1p(255 * np.abs(x)) / np.log(256)
    rounded = np.round(levels * 127.5 - 0.5) / 127.5 + 0.5 / 127.5  # 8 bits
    expected = np.sign(rounded) * (256 ** np.abs(rounded) - 1) / 255
    step = np.maximum(np.abs(x), 1 / 255) * np.log(256) / 127.5  # G.711 is this law in straight pieces
    assert (np.abs(through(x, 8000, "mulaw") - expected) < 1.5 * step).all()


def test_a_telephone_hears_its_band_and_a_microphone_stays_in_its_range() -> None:
    for seed in range(8):
        gain_db = {
            hz: 20 * np.log10(rms(limit_band(tone(hz), RATE, [300, 3400], generator(seed))) / rms(tone(hz)))
            for hz in (60, 1000, 7000)
        }
        assert gain_db[60] < -30 and abs(gain_db[1000]) < 0.1 and gain_db[7000] < -30
        impulse = np.zeros(RATE, np.float32)
        impulse[RATE // 2] = 1
        power = np.abs(np.fft.rfft(another_microphone(impulse, RATE, [6, 6], generator(seed))))
        gains_db = 20 * np.log10(power[np.geomspace(100, 7900, 77).astype(int)])  # 12 in an octave
        assert 5 < np.abs(gains_db).max() < 6.1 and np.abs(np.diff(gains_db)).max() < 2


def test_clipping_cuts_the_peaks_alone() -> None:
    x = speech()
    found = clip(x, [6, 6], generator(1))
    limit = np.abs(x).max() / 10 ** (6 / 20)
    np.testing.assert_allclose(found, np.clip(x, -limit, limit), rtol=1e-6)


@pytest.mark.parametrize("kind", ["coloured", "babble", "hum"])
@pytest.mark.parametrize("below_db", [-5.0, 10.0])
def test_noise_has_the_drawn_level_below_the_speech(kind: str, below_db: float) -> None:
    cfg = replace(NONE, noise_share=1.0, noises=[kind], noise_db=[below_db, below_db])
    x = 0.1 * speech(2.0)
    found = Scene(cfg, RATE, lambda rng: speech(0.7, seed=int(rng.integers(9)))).change(x, 0.01, generator(4))
    assert 20 * np.log10(0.01 / rms(found - x)) == pytest.approx(below_db, abs=0.01)


def test_a_babble_is_made_of_voices_and_a_hum_of_overtones() -> None:
    voices = [speech(0.3, seed=seed) for seed in range(4)]
    found = babble(16000, lambda rng: voices[rng.integers(4)], generator(5))
    spectra = np.stack([np.fft.rfft(np.resize(voice, 16000)) for voice in voices])
    assert all(np.abs(np.fft.rfft(found) * np.conj(spectra)).sum(1) > 0) and rms(found) == pytest.approx(1, rel=1e-3)
    parts = np.lib.stride_tricks.sliding_window_view(np.concatenate([found, found]), 4800)[:4800:97]
    shares = [max(abs(np.corrcoef(part, voice)[0, 1]) for part in parts for _ in (0,)) for voice in voices]
    assert max(shares) > 0.1
    silent = babble(1000, lambda rng: np.zeros(0, np.float32), generator(5))
    assert rms(silent) == pytest.approx(1, rel=1e-3)  # nothing could be read
    for seed in range(4):
        power = np.abs(np.fft.rfft(hum(RATE, RATE, generator(seed)))) ** 2  # one bin is 1 Hz
        for pitch in (50, 60):
            if power[pitch::pitch].sum() > 0.99 * power.sum():
                break
        else:
            pytest.fail("no mains frequency")


def test_what_is_off_draws_nothing() -> None:
    x, rng = speech(), generator(6)
    assert not has_scenes(AugmentConfig()) and not has_scenes(without_scenes(replace(NONE, clip_share=1.0)))
    np.testing.assert_array_equal(Scene(NONE, RATE).change(x, 0.1, rng), x)
    assert rng.random() == generator(6).random()


@pytest.mark.parametrize("share", SHARES)
def test_a_share_of_the_utterances_is_changed_and_the_same_ones_again(share: str) -> None:
    scene = Scene(replace(NONE, **{share: 0.5}), 8000, lambda rng: x)
    x = speech(0.1, 8000)
    found = [scene.change(x, rms(x), generator(7, k)) for k in range(60)]
    assert 15 < sum(not np.array_equal(x, y) for y in found) < 45
    again = [scene.change(x, rms(x), generator(7, k)) for k in range(60)]
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))
    assert len({y.tobytes() for y in found}) > 10 or share == "codec_share"


def test_loud_noise_stays_in_range() -> None:
    cfg = replace(NONE, noise_share=1.0, noise_db=[-20.0, -20.0], codec_share=1.0)
    x = 8 * speech()
    for seed in range(8):
        found = Scene(cfg, RATE, lambda rng: x).change(x, rms(x), generator(seed))
        assert found.dtype == np.float32 and np.abs(found).max() <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise_share": 1.0, "noises": ["babel"]}, "augment.noises=babel: expected some of coloured, babble, hum"),
        ({"noise_share": 1.0, "noises": []}, r"augment.noises=\[\] without augment.noise_files leaves no noise"),
        ({"noise_share": 1.0, "noise_db": []}, r"augment.noise_db=\[\] is no range"),
        ({"noise_share": 1.0, "noise_db": [20, 5]}, r"augment.noise_db=\[20, 5\] is no range; .* the lower first"),
        ({"room_share": 1.0, "room_rt60_s": [0.2, 0.4, 0.8]}, "augment.room_rt60_s=.* is no range; give two numbers"),
        ({"gain_db": [6, -6]}, r"augment.gain_db=\[6, -6\] is no range; .* or \[\] for no change"),
        ({"band_share": 0.1, "band_hz": [7000, 7500]}, "augment.band_hz=.* leaves nothing of sound at 16000 Hz"),
        ({"band_share": 0.1, "band_hz": [2000, 2500]}, "leaves nothing of sound .*: each edge is drawn"),
        ({"noise_share": 1.0, "noise_files": "{tmp}/none"}, "there is no manifest"),
        ({"noise_share": 1.0, "noise_files": "{tmp}"}, "it has no recording; expected a folder of recordings"),
        ({"room_share": 1.0, "room_files": "{tmp}/bad"}, "augment.room_files=.*: none of its 1 recordings can be read"),
        ({"codec_share": 1.0, "codecs": ["speex"]}, "augment.codecs=speex: expected some of mulaw, alaw, gsm, opus"),
        ({"codec_share": 1.0, "codecs": []}, "augment.codecs is empty; name some of mulaw"),
    ],
)
def test_options_that_cannot_be_drawn_are_refused(options: dict, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    made = {k: v.format(tmp=tmp_path) if isinstance(v, str) else v for k, v in options.items()}
    if "bad" in str(made):
        (tmp_path / "bad" / "x.wav").write_bytes(b"RIFFoops")
    with pytest.raises(InputError, match=message):
        Scene(replace(NONE, **made), RATE, lambda rng: speech())


def test_recorded_noise_comes_from_a_folder_or_a_manifest(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "noise/rain").mkdir(parents=True)
    long, short = speech(2.0, 8000), speech(0.25, 8000, seed=1)
    soundfile.write(tmp_path / "noise/rain/long.wav", long, 8000, "FLOAT")
    soundfile.write(tmp_path / "noise/short.wav", short, 8000, "FLOAT")
    (tmp_path / "noise/broken.flac").write_bytes(b"fLaC\0oops")
    with caplog.at_level(logging.WARNING):
        sounds = Sounds(str(tmp_path / "noise"), "augment.noise_files", 8000)
    assert "augment.noise_files" in caplog.text and "broken.flac" in caplog.text
    lengths = set()
    for seed in range(12):
        part = sounds.draw_part(8000, generator(seed))
        assert len(part) == 8000
        if np.array_equal(part[:2000], part[2000:4000]):  # the short one, four times from a drawn place on
            assert np.isin(part[:2000], short).all()
            lengths.add("short")
        else:
            at = int(np.flatnonzero((np.lib.stride_tricks.sliding_window_view(long, 8000) == part).all(1))[0])
            lengths.add(f"long {at > 0}")
    assert {"short", "long True"} <= lengths
    manifest.write(
        tmp_path / "m.jsonl", [manifest.Utterance("n", str(tmp_path / "noise/rain/long.wav"), None, 0.5, 1.0)]
    )
    whole = Sounds(str(tmp_path / "m.jsonl"), "augment.noise_files", 8000).draw(generator(1))
    np.testing.assert_array_equal(whole, long[4000:12000])
    for start_s, duration_s in ((2.5, None), (1.5, 1.0)):
        part = manifest.Utterance("n", str(tmp_path / "noise/rain/long.wav"), None, start_s, duration_s)
        manifest.write(tmp_path / "m.jsonl", [part])
        with pytest.raises(InputError, match="long.wav lasts 2.00 s, less than its part in"):
            Sounds(str(tmp_path / "m.jsonl"), "augment.noise_files", 8000)


def test_a_recorded_room_starts_at_its_direct_sound(tmp_path: Path) -> None:
    x = np.zeros(800, np.float32)
    x[100], x[300] = -0.5, 0.25
    soundfile.write(tmp_path / "room.wav", x, 8000, "FLOAT")
    found = RecordedRooms(str(tmp_path), 8000).draw(generator(1))
    assert len(found) == 700 and found[0] == 1 and found[200] == -0.5
    soundfile.write(tmp_path / "room.wav", np.zeros(800, np.float32), 8000)
    assert RecordedRooms(str(tmp_path), 8000).draw(generator(1)).tolist() == [1.0]


def test_sounds_are_told_from_others(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", speech(0.1), RATE)
    before = digest_of_sounds(str(tmp_path))
    (tmp_path / "notes.txt").write_text("not a recording")
    assert digest_of_sounds(str(tmp_path)) == before
    os.rename(tmp_path / "a.wav", tmp_path / "b.wav")
    assert digest_of_sounds(str(tmp_path)) != before
    os.rename(tmp_path / "b.wav", tmp_path / "a.wav")
    assert digest_of_sounds(str(tmp_path)) == before
    manifest.write(tmp_path / "m.jsonl", [manifest.Utterance("n", str(tmp_path / "a.wav"))])
    listed = digest_of_sounds(str(tmp_path / "m.jsonl"))
    soundfile.write(tmp_path / "a.wav", 0.5 * speech(0.1), RATE)  # as long as before
    assert digest_of_sounds(str(tmp_path)) != before and digest_of_sounds(str(tmp_path / "m.jsonl")) != listed
    assert digest_of_sounds(None) is None and digest_of_sounds(str(tmp_path / "none")) is None
    assert digest_of_sounds(str(tmp_path / "notes.txt"))  # which is no manifest, as its reader says


def test_damaged_noise_is_named_and_other_noise_is_drawn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    soundfile.write(tmp_path / "good.wav", speech(0.5, 8000), 8000)
    soundfile.write(tmp_path / "bad.flac", speech(2.0, 8000), 8000)
    whole = (tmp_path / "bad.flac").read_bytes()
    (tmp_path / "bad.flac").write_bytes(whole[:2000] + bytes(len(whole) - 2000))  # with a header that can be read
    sounds = Sounds(str(tmp_path), "augment.noise_files", 8000)
    assert len(sounds.sounds) == 2
    parts = [sounds.draw_part(4000, generator(seed)) for seed in range(12)]
    assert all(np.isin(part, parts[0]).all() for part in parts) and caplog.text.count("bad.flac") == 1
    again = Sounds(str(tmp_path), "augment.noise_files", 8000)
    assert np.array_equal(again.draw_part(4000, generator(7)), parts[7])
    (tmp_path / "good.wav").unlink()
    with pytest.raises(InputError, match="augment.noise_files=.*: none of its 2 recordings can be decoded"):
        sounds.draw_part(4000, generator(1))


STRONG = replace(
    NONE, room_share=0.5, noise_share=0.7, filter_share=0.5, clip_share=0.3, band_share=0.3, codec_share=0.3
)


def test_items_follow_from_seed_epoch_and_utterance(corpus: Path) -> None:
    cfg = Config(features=FeaturesConfig(sample_rate_hz=RATE), data=DataConfig(cache=False))
    utterances = manifest.read(corpus / "data/train.jsonl")[:-1]  # but for the missing one
    targets = [[1]] * len(utterances)
    plain, strong = Utterances(cfg, utterances, targets, NONE), Utterances(cfg, utterances, targets, STRONG)

    def items(epoch: int, order: list[int]) -> dict[int, torch.Tensor]:
        strong.epoch = epoch
        return {index: strong[index][0] for index in order}  # type: ignore[misc]

    indices = list(range(len(utterances)))
    first, again, later = items(1, indices), items(1, indices[::-1]), items(2, indices)
    assert all(torch.equal(first[i], again[i]) for i in indices)
    assert sum(torch.equal(first[i], later[i]) for i in indices) < len(indices) / 4
    assert all(first[i].shape == plain[i][0].shape for i in indices)  # type: ignore[misc]


def test_a_training_knows_its_noise(tmp_path: Path) -> None:
    (tmp_path / "noise").mkdir()
    soundfile.write(tmp_path / "noise/a.wav", speech(0.5), RATE)
    cfg = Config(out=str(tmp_path), augment=replace(STRONG, noise_files=str(tmp_path / "noise")))
    (tmp_path / "config.json").write_text(json.dumps(settings(cfg)))
    check_resumable(tmp_path / "config.json", cfg)
    soundfile.write(tmp_path / "noise/b.wav", speech(0.5), RATE)
    with pytest.raises(InputError, match="another augment.noise_files: the content of .*noise has changed since"):
        check_resumable(tmp_path / "config.json", cfg)
    cfg.augment = STRONG
    with pytest.raises(InputError, match="holds a training with augment.noise_files; .*or resume it with"):
        check_resumable(tmp_path / "config.json", cfg)


def test_stored_features_have_no_samples_to_change(tmp_path: Path) -> None:
    cfg = Config(features=FeaturesConfig(kind="stored"), augment=AugmentConfig(clip_share=0.1))
    cfg.out = str(tmp_path)
    with pytest.raises(InputError, match="augment.clip_share changes samples, and features=stored has none; set it to"):
        Trainer(cfg)
    cfg = Config(out=str(tmp_path), augment=AugmentConfig(gain_db=[6.0, -6.0]))
    with pytest.raises(InputError, match="augment.gain_db=.* is no range"):
        Trainer(cfg)
