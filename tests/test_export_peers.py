"""Exported recognisers in sherpa-onnx and onnx-asr themselves: the same greedy texts."""

import importlib

import numpy as np
import pytest
import soxr
from tiny import TOKENS, config, graph_dir, model, noise

import asr
from asr.cli.main import main
from asr.recognizer import bundle

pytest.importorskip("onnx", reason="asr export needs onnx")
SECONDS = (0.3, 0.8, 1.3, 2.1, 3.7)
DEFAULT = {"num_bins": 80, "cmvn": "speech"}
TELEPHONE = {"num_bins": 23, "cmvn": "speech", "sample_rate_hz": 8000, "high_hz": 3800.0}


def exported(tmp_path, **features):
    """(our texts of noises, the noises, the folder)."""
    cfg = config(**features)
    cfg.model.hidden = 16
    bundle.write(tmp_path / "x.asr", model(cfg), cfg, TOKENS, graph_dir(tmp_path / "graph"), "card")
    assert main(["export", str(tmp_path / "x.asr"), f"output={tmp_path / 'out'}"]) == 0
    sounds = [noise(seconds, seed=seed, rate_hz=cfg.features.sample_rate_hz) for seed, seconds in enumerate(SECONDS)]
    greedy = asr.load(tmp_path / "x.asr", kind="greedy")
    texts = [greedy.transcribe(x, cfg.features.sample_rate_hz).text for x in sounds]
    assert len("".join(texts)) > 10
    return texts, sounds, tmp_path / "out"


def heard(recognizer, x, rate_hz):
    """What sherpa-onnx finds in sound at 16 kHz: its resampler lets through what an untrained net takes for tokens."""
    stream = recognizer.create_stream()
    stream.accept_waveform(16000, x if rate_hz == 16000 else soxr.resample(x, rate_hz, 16000))
    recognizer.decode_stream(stream)
    return stream.result


@pytest.mark.parametrize("features, opened", [(DEFAULT, "fire_red_asr"), (TELEPHONE, "omnilingual_asr")])
def test_sherpa_onnx(tmp_path, features, opened):
    sherpa = pytest.importorskip("sherpa_onnx", reason="the wheels sherpa-onnx and sherpa-onnx-core are not installed")
    texts, sounds, folder = exported(tmp_path, **features)
    rate_hz = features.get("sample_rate_hz", 16000)
    load = getattr(sherpa.OfflineRecognizer, f"from_{opened}_ctc")
    for name in ("model.onnx", "model.int8.onnx"):
        theirs = load(str(folder / "sherpa-onnx" / name), str(folder / "sherpa-onnx/tokens.txt"))
        found = [heard(theirs, x, rate_hz) for x in sounds]
        same = sum(result.text.split() == text.split() for result, text in zip(found, texts, strict=True))
        assert same == len(texts) or name != "model.onnx" and same > 0
    scale = 1.0 if opened == "fire_red_asr" else 1.5  # as the verb tells
    ours = asr.load(tmp_path / "x.asr", kind="greedy").transcribe(sounds[-1], rate_hz)
    result = heard(load(str(folder / "sherpa-onnx/model.onnx"), str(folder / "sherpa-onnx/tokens.txt")),
                   sounds[-1], rate_hz)  # fmt: skip
    first = next(i for i, token in enumerate(result.tokens) if token.strip())
    assert scale * result.timestamps[first] == pytest.approx(ours.words[0].start_s, abs=1e-3)


def test_sherpa_onnx_with_the_graph(tmp_path):
    sherpa = pytest.importorskip("sherpa_onnx", reason="the wheels sherpa-onnx and sherpa-onnx-core are not installed")
    _, sounds, folder = exported(tmp_path, **DEFAULT)
    core = importlib.import_module("sherpa_onnx.lib._sherpa_onnx")
    files = folder / "sherpa-onnx"
    settings = core.OfflineRecognizerConfig(
        model_config=core.OfflineModelConfig(
            fire_red_asr_ctc=core.OfflineFireRedAsrCtcModelConfig(model=str(files / "model.onnx")),
            tokens=str(files / "tokens.txt"),
        ),
        ctc_fst_decoder_config=sherpa.OfflineCtcFstDecoderConfig(graph=str(files / "HLG.fst"), max_active=3000),
    )
    theirs = core.OfflineRecognizer(settings)
    words = {number: word for word, number in (line.split() for line in (files / "words.txt").read_text().splitlines())}
    ours = asr.load(tmp_path / "x.asr")
    for x in sounds:
        found = heard(theirs, x, 16000)
        assert " ".join(words[str(label)] for label in found.words) == ours.transcribe(x, 16000).text


def test_onnx_asr(tmp_path):
    peer = pytest.importorskip("onnx_asr", reason="the wheel onnx-asr is not installed")
    texts, sounds, folder = exported(tmp_path, **TELEPHONE)
    theirs = peer.load_model("t-one-ctc", folder / "onnx-asr")
    assert [theirs.recognize(x, sample_rate=8000).split() for x in sounds] == [text.split() for text in texts]
    assert theirs.recognize(np.zeros(8000, np.float32), sample_rate=8000) == ""
    assert peer.load_model("t-one-ctc", folder / "onnx-asr", quantization="int8").recognize(sounds[0], sample_rate=8000)
