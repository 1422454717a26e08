"""The front end against torchaudio and kaldi-native-fbank, slow references, and itself in batches and streams."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.config import FeaturesConfig
from asr.errors import InputError
from asr.features.frontend import FrontEnd

DATA = Path("../shared/data")
SPECTRAL = ("logmel", "mfcc", "loglinear")
STATS = ["cmvn.mean", "cmvn.std"]


def front_end(kind: str = "logmel", cmvn: str = "none", **options) -> FrontEnd:
    options = {"num_bins": 80 if kind == "logmel" else 23} | options
    return FrontEnd(FeaturesConfig(kind=kind, cmvn=cmvn, **options))


def features_of(frontend: FrontEnd, samples: np.ndarray) -> torch.Tensor:
    features, lengths = frontend(torch.from_numpy(samples)[None], torch.tensor([len(samples)]))
    assert lengths.tolist() == [features.shape[1]]
    return features[0]  # (F, D)


def speechlike(seconds: float, rate_hz: int = 16000, seed: int = 0) -> np.ndarray:
    """Noise and a tone, alternately loud and soft, rounded to 16 bits, with a DC offset as sound cards have."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * rate_hz)) / rate_hz
    sound = 0.1 * rng.standard_normal(len(t)) + 0.3 * np.sin(2 * np.pi * 440 * t)
    sound *= 0.02 + np.abs(np.sin(2 * np.pi * 1.5 * t))
    return (np.round(np.clip(sound + 0.01, -1, 1) * 32767) / 32768).astype(np.float32)


def torchaudio_features(cfg: FeaturesConfig, samples: np.ndarray) -> torch.Tensor:
    kaldi = pytest.importorskip("torchaudio.compliance.kaldi")
    options = dict(
        num_mel_bins=cfg.num_bins,
        sample_frequency=cfg.sample_rate_hz,
        frame_length=cfg.window_ms,
        frame_shift=cfg.shift_ms,
        low_freq=cfg.low_hz,
        high_freq=cfg.high_hz,
        dither=0.0,
    )
    x = torch.from_numpy(samples)[None] * 32768
    return kaldi.mfcc(x, num_ceps=cfg.num_ceps, **options) if cfg.kind == "mfcc" else kaldi.fbank(x, **options)


def native_features(cfg: FeaturesConfig, samples: np.ndarray) -> torch.Tensor:
    knf = pytest.importorskip("kaldi_native_fbank")
    options = knf.MfccOptions() if cfg.kind == "mfcc" else knf.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.samp_freq = cfg.sample_rate_hz
    options.frame_opts.frame_length_ms = cfg.window_ms
    options.frame_opts.frame_shift_ms = cfg.shift_ms
    options.mel_opts.num_bins = cfg.num_bins
    options.mel_opts.low_freq, options.mel_opts.high_freq = cfg.low_hz, cfg.high_hz
    if cfg.kind == "mfcc":
        options.num_ceps, options.use_energy = cfg.num_ceps, False
    computer = knf.OnlineMfcc(options) if cfg.kind == "mfcc" else knf.OnlineFbank(options)
    computer.accept_waveform(cfg.sample_rate_hz, (samples * 32768).tolist())
    computer.input_finished()
    return torch.tensor(np.stack([computer.get_frame(i) for i in range(computer.num_frames_ready)]))


PEERS = {"torchaudio": torchaudio_features, "kaldi-native-fbank": native_features}


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize(
    "options",
    [
        dict(kind="logmel"),
        dict(kind="logmel", num_bins=40, low_hz=60.0, high_hz=-400.0),
        dict(kind="logmel", num_bins=64, sample_rate_hz=22050, window_ms=50.0, shift_ms=12.5),
        dict(kind="logmel", num_bins=30, sample_rate_hz=8000, window_ms=32.0, shift_ms=20.0),
        dict(kind="mfcc", num_bins=23),
        dict(kind="mfcc", num_bins=40, num_ceps=24, sample_rate_hz=8000),
        dict(kind="mfcc", num_bins=26, num_ceps=20, sample_rate_hz=44100, shift_ms=20.0),
    ],
    ids=lambda o: "-".join(map(str, o.values())),
)
def test_parity_with_peers(peer: str, options: dict) -> None:
    cfg = FeaturesConfig(cmvn="none", **options)
    samples = speechlike(1.0, cfg.sample_rate_hz)
    torch.testing.assert_close(features_of(FrontEnd(cfg), samples), PEERS[peer](cfg, samples), rtol=0, atol=1e-3)


@pytest.mark.skipif(not DATA.exists(), reason="../shared/data is absent")
@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("kind", ["logmel", "mfcc"])
@pytest.mark.parametrize("corpus", ["fsdd", "yesno", "prompts_en", "pansori", "noise"])
def test_parity_on_real_recordings(corpus: str, kind: str, peer: str) -> None:
    """Within 1e-3 on frames in which no bin is 70 dB below the energy of the frame.

    Below that a float32 FFT resolves nothing: on compressed recordings without high frequencies the peers differ
    from one another by up to 4e-2 there.
    """
    soundfile = pytest.importorskip("soundfile")
    compared = 0
    for path in sorted((DATA / corpus / "audio").rglob("*.*"))[::40][:5]:
        samples, rate_hz = soundfile.read(path, frames=80000, dtype="float32")
        cfg = FeaturesConfig(kind=kind, num_bins=80 if kind == "logmel" else 23, sample_rate_hz=rate_hz, cmvn="none")
        energies = features_of(front_end(num_bins=cfg.num_bins, sample_rate_hz=rate_hz), samples).exp()  # (F, bins)
        sound = (energies.amin(1) > 1e-7 * energies.sum(1)) | (energies.amax(1) < 1e-6)  # (F,)
        found, wanted = features_of(FrontEnd(cfg), samples), PEERS[peer](cfg, samples)
        torch.testing.assert_close(found[sound], wanted[sound], rtol=0, atol=1e-3)
        compared += int(sound.sum())
    assert compared > 100


@pytest.mark.parametrize("level", [0.0, 1000 / 32768, -0.5])
def test_a_constant_signal_gives_the_floor(level: float) -> None:
    features = features_of(front_end(), np.full(4000, level, dtype=np.float32))
    assert torch.all(features == math.log(torch.finfo(torch.float32).eps))


def kaldi_in_double_precision(cfg: FeaturesConfig, samples: np.ndarray) -> np.ndarray:
    """Kaldi's definition in float64, for a window of a whole number of samples."""
    rate_hz = cfg.sample_rate_hz
    width, shift = int(cfg.window_ms * rate_hz / 1000), int(cfg.shift_ms * rate_hz / 1000)
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64) * 32768, width)[::shift]
    frames = frames - frames.mean(1, keepdims=True)
    frames = frames - 0.97 * np.concatenate([frames[:, :1], frames[:, :-1]], 1)
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(width) / (width - 1))) ** 0.85
    size = 1 << math.ceil(math.log2(width))
    power = np.abs(np.fft.rfft(frames * window, size)) ** 2  # (F, size/2+1)

    def mel(hz: float) -> float:
        return 1127 * math.log(1 + hz / 700)

    points = np.linspace(mel(cfg.low_hz), mel(rate_hz / 2), cfg.num_bins + 2)
    at = [mel(k * rate_hz / size) for k in range(size // 2)]
    energies = np.stack([power[:, :-1] @ np.interp(at, points[i : i + 3], [0, 1, 0]) for i in range(cfg.num_bins)], 1)
    logs = np.log(np.maximum(energies, np.finfo(np.float32).eps))
    if cfg.kind == "logmel":
        return logs
    k, n = np.arange(cfg.num_ceps), np.arange(cfg.num_bins)[:, None]
    cosines = np.cos(np.pi / cfg.num_bins * (n + 0.5) * k) * np.where(k == 0, 1, math.sqrt(2)) / math.sqrt(cfg.num_bins)
    return (logs @ cosines) * (1 + 11 * np.sin(np.pi * k / 22))


@pytest.mark.parametrize(
    ("kind", "num_bins", "rate_hz"), [("logmel", 80, 16000), ("mfcc", 23, 16000), ("mfcc", 40, 8000)]
)
def test_single_precision_is_close_to_double(kind: str, num_bins: int, rate_hz: int) -> None:
    cfg = FeaturesConfig(kind=kind, num_bins=num_bins, num_ceps=23, sample_rate_hz=rate_hz, cmvn="none")
    samples = speechlike(1.0, rate_hz)
    wanted = kaldi_in_double_precision(cfg, samples)
    np.testing.assert_allclose(features_of(FrontEnd(cfg), samples), wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2), (16000, 98)])
@pytest.mark.parametrize("kind", [*SPECTRAL, "wave"])
def test_frame_count_snips_edges(kind: str, samples: int, frames: int) -> None:
    frontend = front_end(kind, deltas=1, cmvn="utterance")
    assert features_of(frontend, np.zeros(samples, dtype=np.float32)).shape == (frames, frontend.dim)


def test_loglinear_filters_are_evenly_spaced_in_hz() -> None:
    frontend = front_end("loglinear", num_bins=79, low_hz=0.0)  # centres at 100 Hz, 200 Hz, ...
    for hz in (500, 3000, 7500):
        tone = 0.5 * np.sin(2 * np.pi * hz * np.arange(8000) / 16000).astype(np.float32)
        assert (features_of(frontend, tone).argmax(1) == hz // 100 - 1).all()


def test_wave_gives_the_samples_of_each_window_without_their_mean() -> None:
    samples = speechlike(0.1)
    features = features_of(front_end("wave"), samples)
    np.testing.assert_allclose(features[3], samples[480:880] - samples[480:880].mean(), atol=1e-6)


def test_dither_adds_noise_of_the_given_level() -> None:
    torch.manual_seed(0)
    quiet, loud = (features_of(front_end(dither=d), np.zeros(16000, dtype=np.float32)) for d in (1.0, 10.0))
    assert float((loud - quiet).mean()) == pytest.approx(2 * math.log(10), abs=0.1)


def slow_deltas(x: np.ndarray, orders: int) -> np.ndarray:
    """Kaldi's DeltaFeatures: the regression weights convolved with themselves, frame numbers clamped."""
    scales, out = np.ones(1), [x]
    for _ in range(orders):
        scales = np.convolve(scales, np.arange(-2, 3) / 10)
        radius = len(scales) // 2
        frames = [
            sum(w * x[min(max(f + i - radius, 0), len(x) - 1)] for i, w in enumerate(scales)) for f in range(len(x))
        ]
        out.append(np.stack(frames))
    return np.concatenate(out, 1)


@pytest.mark.parametrize("orders", [1, 2, 3])
@pytest.mark.parametrize("frames", [1, 2, 5, 30])
def test_deltas_equal_kaldis(orders: int, frames: int) -> None:
    x = np.random.default_rng(frames).standard_normal((frames, 4)).astype(np.float32)
    found = features_of(front_end("stored", num_bins=4, deltas=orders), x)
    np.testing.assert_allclose(found, slow_deltas(x, orders), atol=1e-5)


@pytest.mark.parametrize("kind", [*SPECTRAL, "wave", "stored"])
@pytest.mark.parametrize("cmvn", ["none", "global", "utterance", "causal"])
@settings(max_examples=5, deadline=None, derandomize=True)
@given(data=st.data(), deltas=st.integers(0, 2), seed=st.integers(0, 99))
def test_batch_single_utterance_and_stream_agree(
    kind: str, cmvn: str, data: st.DataObject, deltas: int, seed: int
) -> None:
    stored = kind == "stored"
    frontend = front_end(kind, cmvn, deltas=0 if stored and cmvn == "causal" else deltas, num_bins=23)
    inputs = [
        torch.randn(data.draw(st.integers(0, 40)), 23) if stored else torch.from_numpy(speechlike(s, seed=seed))
        for s in data.draw(st.lists(st.floats(0.0, 0.6), min_size=1, max_size=4))
    ]
    lengths = torch.tensor([len(x) for x in inputs])
    batch = torch.nn.utils.rnn.pad_sequence(inputs, batch_first=True, padding_value=float("nan"))
    batch = torch.nn.functional.pad(batch, (0, 0, 0, 9) if stored else (0, 900), value=float("nan"))
    frontend.set_global_stats(torch.full((frontend.dim,), 3.0), torch.full((frontend.dim,), 2.0))
    features, frames = frontend(batch, lengths)
    for row, n, x in zip(features, frames.tolist(), inputs, strict=True):
        assert torch.all(row[n:] == 0)
        alone, _ = frontend(x[None], torch.tensor([len(x)]))
        torch.testing.assert_close(row[:n], alone[0], rtol=1e-5, atol=1e-5)
        if cmvn == "utterance":
            continue
        stream = frontend.stream()
        chunks = x.split(parts(data.draw(st.lists(st.integers(0, len(x)), max_size=8)), len(x)))
        streamed = torch.cat([*(stream.accept(chunk) for chunk in chunks), stream.finish()])
        # Cepstra that are not normalised reach 100, where a step of float32 is 8e-6.
        torch.testing.assert_close(streamed, alone[0], rtol=1e-5, atol=3e-5 if cmvn == "none" else 1e-5)


def parts(cuts: list[int], length: int) -> list[int]:
    """Cut points -> sizes of the chunks, some of them empty."""
    return np.diff([0, *sorted(cuts), length]).tolist()


def test_long_batches_computed_in_blocks_equal_one_block() -> None:
    samples = torch.from_numpy(speechlike(15.0))
    frontend = front_end("mfcc", cmvn="causal")
    frontend.set_global_stats(torch.full((13,), 3.0), torch.full((13,), 2.0))
    features, _ = frontend(samples.expand(2, -1), torch.tensor([len(samples)] * 2))
    stream = frontend.stream()
    streamed = torch.cat([*(stream.accept(chunk.numpy()) for chunk in samples.split(4567)), stream.finish()])
    torch.testing.assert_close(features[1], streamed, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cmvn", ["utterance", "speech"])
def test_normalisation_of_whole_utterances_cannot_stream(cmvn: str) -> None:
    with pytest.raises(InputError, match=f"cmvn={cmvn} .*cmvn=causal"):
        front_end(cmvn=cmvn).stream()


def test_utterance_cmvn_gives_zero_mean_and_unit_deviation() -> None:
    features = features_of(front_end("mfcc", "utterance"), speechlike(1.0))
    torch.testing.assert_close(features.mean(0), torch.zeros(13), rtol=0, atol=1e-5)
    torch.testing.assert_close(features.std(0, correction=0), torch.ones(13), rtol=0, atol=1e-5)


def test_global_statistics_over_batches_equal_those_of_all_frames() -> None:
    frontend, plain = front_end("mfcc", "global", deltas=1), front_end("mfcc", deltas=1)
    batch = torch.randn(6, 8000) * torch.rand(6, 1)
    lengths = torch.tensor([8000, 100, 5000, 4000, 7999, 2000])
    for part in range(0, 6, 2):
        frontend.accumulate_stats(batch[part : part + 2], lengths[part : part + 2])
    frames = torch.cat([features_of(plain, x[:n].numpy()) for x, n in zip(batch, lengths, strict=True)])
    torch.testing.assert_close(frontend.cmvn.mean, frames.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(frontend.cmvn.std, frames.std(0, correction=0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cmvn", ["global", "causal"])
def test_normalisation_without_the_statistics_it_needs_is_refused(cmvn: str) -> None:
    with pytest.raises(InputError, match=f"features.cmvn is {cmvn} .*accumulate_stats"):
        features_of(front_end(cmvn=cmvn), speechlike(0.1))


@pytest.mark.parametrize(("cmvn", "kept"), [("none", []), ("speech", []), ("global", STATS), ("causal", STATS)])
def test_only_global_statistics_are_saved(cmvn: str, kept: list[str]) -> None:
    assert list(front_end("mfcc", cmvn, deltas=2).state_dict()) == kept


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(kind="mfc"), "did you mean 'mfcc'"),
        (dict(cmvn="globl"), "did you mean 'global'"),
        (dict(cmvn="running"), "cmvn=running: replaced by causal, .* train again with that"),
        (dict(num_bins=0), "features.num_bins"),
        (dict(deltas=-1), "features.deltas"),
        (dict(shift_ms=30.0), "features.shift_ms"),
        (dict(shift_ms=0.0), "features.shift_ms"),
        (dict(kind="mfcc", num_bins=12), "features.num_ceps"),
        (dict(low_hz=4000.0, high_hz=3000.0), "features.low_hz"),
        (dict(high_hz=9000.0), "8000"),
        (dict(sample_rate_hz=384000, window_ms=100.0), "38400 samples; expected at most 16384"),
        (dict(num_bins=8192, window_ms=100.0), "num_bins=8192 is too many"),
        (dict(kind="mfcc", num_bins=8192, num_ceps=8192), "num_bins=8192 is too many"),
        (dict(window_ms=float("nan")), r"window_ms=nan: expected a number in \[1, 1000\]"),
        (dict(num_bins=True), "num_bins=True: expected a whole number"),
    ],
)
def test_invalid_configurations_are_refused(options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        FrontEnd(FeaturesConfig(**options))


def test_input_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match="features.num_bins"):
        front_end("stored", num_bins=13)(torch.zeros(1, 5, 14), torch.tensor([5]))
    with pytest.raises(InputError, match="float32"):
        front_end()(torch.zeros(1, 16000, dtype=torch.int16), torch.tensor([16000]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("kind", SPECTRAL)
def test_gpu_equals_cpu(kind: str) -> None:
    frontend = front_end(kind, "utterance", deltas=2)
    x, lengths = torch.from_numpy(speechlike(2.0)).expand(3, -1), torch.tensor([32000, 20000, 100])
    found, _ = frontend.cuda()(x.cuda(), lengths.cuda())
    torch.testing.assert_close(found.cpu(), frontend.cpu()(x, lengths)[0], rtol=1e-3, atol=1e-3)
