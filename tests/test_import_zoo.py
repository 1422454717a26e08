"""Models of sherpa-onnx's collection: lhotse's front end, log-probs, refusals; greedy texts of sherpa-onnx itself."""

import kaldi_native_fbank as knf
import numpy as np
import onnx_writer
import pytest
import torch
import torchaudio
from tiny import noise

import asr
from asr.cli.main import main
from asr.config import FeaturesConfig
from asr.errors import InputError
from asr.features.lhotse import LhotseFrontEnd
from asr.features.onnx.file import OnnxFile
from asr.models.imported import read_model
from asr.tokens import BLANK, SPACE

pytest.importorskip("onnxruntime", reason="ONNX models are run by onnxruntime")
PIECES = ["<blk>", "<sos/eos>", "<unk>", "▁a", "b", "▁", "c", "▁bc"]
KEPT = [0, 3, 4, 5, 6, 7]
RNG = np.random.default_rng(4)
WEIGHTS = RNG.standard_normal((80, len(PIECES))).astype(np.float32) * 0.1
ZIPFORMER = {"model_type": "zipformer2_ctc", "version": "1", "comment": "non-streaming zipformer2 CTC"}
STREAMING = {
    "model_type": "zipformer2", "decode_chunk_len": "32", "T": "45", "num_encoder_layers": "1", "encoder_dims": "16",
    "cnn_module_kernels": "5", "left_context_len": "1", "query_head_dims": "20", "value_head_dims": "4",
    "num_heads": "4",
}  # fmt: skip
STATES = {
    "cached_key_0": ((1, "N", 80),), "cached_nonlin_attn_0": ((1, "N", 1, 12),), "cached_val1_0": ((1, "N", 16),),
    "cached_val2_0": ((1, "N", 16),), "cached_conv1_0": (("N", 16, 2),), "cached_conv2_0": (("N", 16, 2),),
    "embed_states": (("N", 128, 3, 19),), "processed_lens": (("N",), onnx_writer.INT64),
}  # fmt: skip


def lhotse(x, rate_hz=16000, bands=80):
    """kaldi-native-fbank with the options of lhotse and sherpa-onnx: (F, D)."""
    options = knf.FbankOptions()
    options.frame_opts.dither, options.frame_opts.snip_edges, options.frame_opts.samp_freq = 0, False, rate_hz
    options.mel_opts.num_bins, options.mel_opts.high_freq = bands, -400
    computer = knf.OnlineFbank(options)
    computer.accept_waveform(rate_hz, x.tolist())
    computer.input_finished()
    return np.array([computer.get_frame(i) for i in range(computer.num_frames_ready)]).reshape(-1, bands)


def write(folder, data, symbols=PIECES):
    (folder / "model.onnx").write_bytes(data)
    (folder / "tokens.txt").write_text("".join(f"{symbol} {i}\n" for i, symbol in enumerate(symbols)))
    return folder / "model.onnx"


def log_probs(features, weights=WEIGHTS, every=4, kept=KEPT):
    return torch.from_numpy((features[::every] @ weights)[:, kept]).log_softmax(1).numpy()


@pytest.mark.parametrize("samples", [80, 100, 399, 4000, 12345, 16000])
def test_front_end_is_kaldis_with_mirrored_edges(samples):
    x = noise(1.0)[:samples]
    ours, lengths = LhotseFrontEnd(FeaturesConfig(high_hz=-400.0, cmvn="none"))(
        torch.from_numpy(x)[None], torch.tensor([samples])
    )
    expected = lhotse(x)
    assert ours.shape[1] == len(expected) == int(lengths[0])
    np.testing.assert_allclose(ours[0], expected, atol=2e-3)  # sums in float32 of another order, near the floor
    assert LhotseFrontEnd(FeaturesConfig())(torch.zeros(1, 79), torch.tensor([79]))[0].shape == (1, 0, 80)


def test_a_zipformer(tmp_path):
    path = write(tmp_path, onnx_writer.of_frames(WEIGHTS, ZIPFORMER), [*PIECES, "#0", "#1"])
    assert main(["import", str(path), f"output={tmp_path / 'x.asr'}"]) == 0
    recognizer = asr.load(tmp_path / "x.asr")
    assert recognizer.tokens.symbols == [BLANK, "▁a", "b", "▁", "c", "▁bc"] and recognizer.cfg.tokens.unit == "piece"
    sounds = [noise(seconds, seed=i) for i, seconds in enumerate((1.0, 0.733, 0.01))]
    for x, found in zip(sounds, recognizer.log_probs(sounds), strict=True):
        np.testing.assert_allclose(found, log_probs(lhotse(x)), atol=2e-3)
    assert recognizer.frame_s == 0.04 and len(recognizer.log_probs([noise(0.004)])[0]) == 0


def test_a_zipformer_for_streams_hears_the_whole_recording(tmp_path):
    path = write(tmp_path, onnx_writer.of_chunks(WEIGHTS, STREAMING, STATES, 45, 32))
    assert main(["import", str(path), f"output={tmp_path / 'x.asr'}"]) == 0
    recognizer = asr.load(tmp_path / "x.asr")
    for seconds in (2.0, 0.733, 0.33, 0.01):
        x = noise(seconds)
        features = lhotse(x)
        heard = features[::4].copy()
        heard[8::8] += features[31::32][: len(heard[8::8])]  # what the model carries from chunk to chunk
        expected = torch.from_numpy((heard @ WEIGHTS)[:, KEPT]).log_softmax(1)
        np.testing.assert_allclose(recognizer.log_probs([x])[0], expected, atol=5e-3)
    assert recognizer.log_probs([noise(0.004)])[0].shape == (0, len(KEPT))


def test_wenets_front_end_is_torchaudios(tmp_path):
    data = onnx_writer.of_frames(WEIGHTS, {"model_type": "wenet_ctc", "subsampling_factor": "4", "vocab_size": "8"})
    symbols = ["<blank>", "<unk>", "a", "b", "c", "d", "e", "<sos/eos>"]
    imported = read_model(str(write(tmp_path, data, symbols)))
    assert imported.tokens.symbols == [BLANK, "a", "b", "c", "d", "e"] and imported.cfg.tokens.unit == "char"
    x = torch.from_numpy(noise(1.0))
    features = torchaudio.compliance.kaldi.fbank(x[None] * 32768, num_mel_bins=80, energy_floor=0.0, dither=0.0)
    expected = log_probs(features.numpy(), kept=[0, 2, 3, 4, 5, 6])
    np.testing.assert_allclose(imported.model.score([x])[0], expected, atol=2e-3)


def test_the_tdnn_of_yesno(tmp_path):
    weights = RNG.standard_normal((23, 4)).astype(np.float32) * 0.3
    data = onnx_writer.of_frames(weights, {"model_type": "tdnn", "vocab_size": "4"}, every=1, lengths=False)
    imported = read_model(str(write(tmp_path, data, ["<eps>", "SIL", "Y", "N"])))
    assert imported.tokens.symbols == [BLANK, "SIL", "Y", "N"] and imported.cfg.features.sample_rate_hz == 8000
    x = noise(1.0, rate_hz=8000)
    expected = log_probs(lhotse(x, 8000, 23), weights, 1, [0, 1, 2, 3])
    np.testing.assert_allclose(imported.model.score([torch.from_numpy(x)])[0], expected, atol=2e-3)


def test_omnilingual(tmp_path):
    weights = RNG.standard_normal((5, 400)).astype(np.float32)
    data = onnx_writer.of_samples(weights, 320, lengths=False, metadata={"model_type": "omnilingual-asr"})
    path = write(tmp_path, data, ["<s>", "a", " ", "<unk>", "c"])
    (tmp_path / "tokens.txt").write_text("<s> 0\na 1\n  2\n<unk> 3\nc 4\n")
    imported = read_model(str(path))
    assert imported.tokens.symbols == [BLANK, "a", SPACE, "c"] and imported.model.frame_s == 0.02
    x = noise(1.0)
    normalised = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
    frames = np.lib.stride_tricks.sliding_window_view(normalised, 400)[::320]
    expected = torch.from_numpy((frames @ weights.T)[:, [0, 1, 2, 4]]).log_softmax(1)
    np.testing.assert_allclose(imported.model.score([torch.from_numpy(x)])[0], expected, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "symbols", "message"),
    [
        ({"model_type": "telespeech_ctc"}, PIECES, "model_type 'telespeech_ctc'; supported types: EncDecCTCModel"),
        ({"model_type": "sense_voice_ctc"}, PIECES, "model_type 'sense_voice_ctc'"),
        ({"model_type": "EncDecCTCModel", "is_giga_am": "1"}, PIECES, "GigaAM"),
        ({"model_type": "wenet_ctc"}, PIECES, "lack the number subsampling_factor"),
        ({"model_type": "zipformer2", "feature": "whisper"}, PIECES, "the front end whisper"),
        ({"model_type": "zipformer2"}, PIECES, "lack the number T"),
        ({}, ["<blk>", *"ƁƂƃƄƅƆƇ"], "spells bytes"),
        ({}, PIECES[:-1], "the model has 8 outputs, the table 7 tokens"),
    ],
)
def test_other_models_are_refused(change, symbols, message, tmp_path):
    path = write(tmp_path, onnx_writer.of_frames(WEIGHTS, ZIPFORMER | change), symbols)
    with pytest.raises(InputError, match=message):
        read_model(str(path))


@pytest.mark.parametrize(
    ("states", "change", "message"),
    [
        (STATES, {"decode_chunk_len": "0"}, "chunk is 45, chunk_shift 0"),
        (STATES, {"decode_chunk_len": "64"}, "chunk is 45, chunk_shift 64"),
        (STATES, {"T": "-1"}, "chunk is not a number, negative"),
        (STATES | {"cached_val1_0": ((1 << 20, "N", 1 << 20),)}, {}, "the state 'cached_val1_0' has the shape"),
    ],
)
def test_wrong_chunks_and_states_are_refused(states, change, message, tmp_path):
    path = write(tmp_path, onnx_writer.of_chunks(WEIGHTS, STREAMING | change, states, 45, 32))
    with pytest.raises(InputError, match=message):
        read_model(str(path))


def test_a_model_is_opened_once_and_without_tokens_refused(tmp_path, monkeypatch):
    path, opened = write(tmp_path, onnx_writer.of_frames(WEIGHTS, ZIPFORMER)), []
    parse = OnnxFile.parse
    monkeypatch.setattr(OnnxFile, "parse", lambda data, where: opened.append(where) or parse(data, where))
    read_model(str(path))
    assert opened == [path]
    (tmp_path / "tokens.txt").unlink()
    with pytest.raises(InputError, match="tokens.txt"):
        read_model(str(path))


def test_a_model_on_the_cpu_says_so(tmp_path, caplog):
    model = read_model(str(write(tmp_path, onnx_writer.of_frames(WEIGHTS, ZIPFORMER)))).model
    assert model.to("cpu") is model and not caplog.records
    model.to("cuda")
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "a model in ONNX runs on the CPU, not on cuda"
    ]


def greedy(recognizer, sounds, rate_hz=16000):
    """The texts of a recogniser of sherpa-onnx."""
    texts = []
    for x in sounds:
        stream = recognizer.create_stream()
        stream.accept_waveform(rate_hz, x)
        recognizer.decode_stream(stream)
        texts.append(" ".join(stream.result.text.split()))
    return texts


@pytest.mark.parametrize("kind", ["zipformer", "omnilingual", "tdnn"])
def test_greedy_texts_are_those_of_sherpa_onnx(kind, tmp_path):
    sherpa = pytest.importorskip("sherpa_onnx", reason="the peer: pip install sherpa-onnx==2.0.1")
    files, rate_hz = {"model": str(tmp_path / "model.onnx"), "tokens": str(tmp_path / "tokens.txt")}, 16000
    if kind == "zipformer":
        write(tmp_path, onnx_writer.of_frames(WEIGHTS, ZIPFORMER), ["<blk>", "▁a", "b", "▁", "c", "▁bc", "▁d", "d"])
        peer = sherpa.OfflineRecognizer.from_zipformer_ctc(**files)
    elif kind == "tdnn":
        weights, rate_hz = RNG.standard_normal((23, 4)).astype(np.float32) * 0.3, 8000
        write(tmp_path, onnx_writer.of_frames(weights, {"model_type": "tdnn", "vocab_size": "4"}, 1, False),
              ["<eps>", "SIL", "Y", "N"])  # fmt: skip
        peer = sherpa.OfflineRecognizer.from_tdnn_ctc(**files, sample_rate=rate_hz, feature_dim=23)
    else:
        weights = RNG.standard_normal((4, 400)).astype(np.float32)
        data = onnx_writer.of_samples(weights, 320, lengths=False, metadata={"model_type": "omnilingual-asr"})
        write(tmp_path, data, ["<s>", "a", "b", "c"])
        peer = sherpa.OfflineRecognizer.from_omnilingual_asr_ctc(**files)
    assert main(["import", files["model"], f"output={tmp_path / 'x.asr'}"]) == 0
    recognizer = asr.load(tmp_path / "x.asr")
    sounds = [noise(1.5, seed, rate_hz) for seed in range(10)]
    ours = [recognizer.transcribe(x, rate_hz).text for x in sounds]
    if kind == "tdnn":  # sherpa-onnx leaves out silence, and writes phones without spaces
        ours = ["".join(text.replace("SIL", "").split()) for text in ours]
    assert ours == greedy(peer, sounds, rate_hz) and len(set(ours)) > 5


def test_greedy_texts_of_streams_are_those_of_sherpa_onnx(tmp_path):
    sherpa = pytest.importorskip("sherpa_onnx", reason="the peer: pip install sherpa-onnx==2.0.1")
    symbols = ["<blk>", "▁a", "b", "▁", "c", "▁bc", "▁d", "d"]
    path = write(tmp_path, onnx_writer.of_chunks(WEIGHTS, STREAMING, STATES, 45, 32), symbols)
    peer = sherpa.OnlineRecognizer.from_zipformer2_ctc(tokens=str(tmp_path / "tokens.txt"), model=str(path))
    assert main(["import", str(path), f"output={tmp_path / 'x.asr'}"]) == 0
    recognizer = asr.load(tmp_path / "x.asr")
    for seed in range(5):
        x = np.concatenate([noise(1.5, seed), np.zeros(8000, np.float32)])
        stream = peer.create_stream()
        stream.accept_waveform(16000, x)
        stream.input_finished()
        while peer.is_ready(stream):
            peer.decode_stream(stream)
        heard = " ".join(peer.get_result(stream).split())
        # sherpa-onnx leaves out the frames of the last chunk, which is not full
        assert len(heard) > 5 and recognizer.transcribe(x, 16000).text.startswith(heard)
