"""NeMo's front end against a slow reference and transformers' own, and NeMo models of sherpa-onnx."""

import math

import numpy as np
import onnx_writer
import pytest
import torch
from tiny import noise

import asr
from asr.cli.main import main
from asr.errors import InputError
from asr.features.nemo import NemoFrontEnd
from asr.models.imported import read_model
from asr.tokens import BLANK

pytest.importorskip("onnxruntime", reason="ONNX models are run by onnxruntime")
PIECES = ["<unk>", "▁a", "b", "▁", BLANK]
WEIGHTS = np.random.default_rng(4).standard_normal((80, len(PIECES))).astype(np.float32) * 0.3
METADATA = {"model_type": "EncDecCTCModelBPE", "subsampling_factor": "2", "normalize_type": "per_feature"}


def slow_nemo(x, bands=80, rate_hz=16000):
    """(F, D), from the definition, sample by sample and filter by filter."""
    x = x.astype(np.float64)
    x = np.array([x[0], *(x[t] - 0.97 * x[t - 1] for t in range(1, len(x)))])
    window = np.zeros(512)
    window[56:456] = [0.5 - 0.5 * math.cos(2 * math.pi * n / 399) for n in range(400)]

    def hz(mel):
        return 200 / 3 * mel if mel < 15 else 1000 * math.exp((mel - 15) * math.log(6.4) / 27)

    top = 15 + 27 * math.log(rate_hz / 2000) / math.log(6.4)
    edges = [hz(top * i / (bands + 1)) for i in range(bands + 2)]
    padded = np.concatenate([np.zeros(256), x, np.zeros(256)])
    frames = []
    for start in range(0, len(x) // 160 * 160, 160):
        power = np.abs(np.fft.rfft(padded[start : start + 512] * window)) ** 2
        energies = []
        for low, centre, high in zip(edges, edges[1:], edges[2:], strict=False):
            bins = np.arange(257) * rate_hz / 512
            heights = np.maximum(0, np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)))
            energies.append(power @ heights * 2 / (high - low))
        frames.append(np.log(np.array(energies) + 2.0**-24))
    y = np.array(frames)
    return (y - y.mean(0)) / (y.std(0, ddof=1) + 1e-5)


def features(x):
    return NemoFrontEnd(80, 16000, normalised=True)(torch.from_numpy(x)[None], torch.tensor([len(x)]))[0][0].numpy()


@pytest.mark.parametrize("samples", [320, 4000, 12345])
def test_front_end_is_nemos(samples):
    x = noise(1.0)[:samples]
    np.testing.assert_allclose(features(x), slow_nemo(x), atol=2e-3)  # float32 against float64


def test_front_end_is_that_of_transformers():
    transformers = pytest.importorskip("transformers", reason="it has NeMo's front end for Parakeet")
    x = noise(1.3)
    made = transformers.ParakeetFeatureExtractor()(x, sampling_rate=16000, return_tensors="pt")
    expected = made["input_features"][0][: len(x) // 160]
    np.testing.assert_allclose(features(x), expected, atol=2e-3)  # ours computes the filters in float64


def test_a_nemo_model_of_sherpa_onnx(tmp_path):
    (tmp_path / "model.onnx").write_bytes(onnx_writer.of_nemo(WEIGHTS, METADATA))
    (tmp_path / "tokens.txt").write_text("".join(f"{piece} {i}\n" for i, piece in enumerate(PIECES)))
    assert main(["import", str(tmp_path / "model.onnx"), f"output={tmp_path / 'x.asr'}"]) == 0
    recognizer = asr.load(tmp_path / "x.asr")
    assert recognizer.tokens.symbols == [BLANK, "▁a", "b", "▁"] and recognizer.cfg.tokens.unit == "piece"
    assert recognizer.frame_s == 0.02
    x = noise(1.0)
    found, none = recognizer.log_probs([x, x[:100]])
    expected = torch.from_numpy((slow_nemo(x)[::2] @ WEIGHTS)[:, [4, 1, 2, 3]]).log_softmax(1)
    np.testing.assert_allclose(found, expected, atol=2e-2)  # the sum of 80 features within 2e-3
    assert none.shape == (0, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "zipformer"}, "model_type 'zipformer'; supported types: EncDecCTCModel"),
        ({"subsampling_factor": "x"}, "lack the number subsampling_factor"),
        ({"subsampling_factor": "4"}, "shift_ms is 40, but the model gives a frame per 20 ms"),
        ({"normalize_type": "all_features"}, "normalize_type 'all_features' is not supported"),
    ],
)
def test_other_metadata_are_refused(change, message, tmp_path):
    (tmp_path / "model.onnx").write_bytes(onnx_writer.of_nemo(WEIGHTS, METADATA | change))
    (tmp_path / "tokens.txt").write_text("".join(f"{piece} {i}\n" for i, piece in enumerate(PIECES)))
    with pytest.raises(InputError, match=message):
        read_model(str(tmp_path / "model.onnx"))
