"""Pretrained encoders against the libraries that they come from, on small models with random weights."""

import json

import numpy as np
import pytest
import torch

from asr.errors import InputError
from asr.features.encoders import build_encoder, open_encoder

transformers = pytest.importorskip("transformers", reason="the encoders are compared with Hugging Face's transformers")
RATE_HZ = 16000
SMALL = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48}
CONVOLUTIONS = {"conv_dim": [16] * 7, "num_conv_pos_embedding_groups": 4, "num_conv_pos_embeddings": 16}


def sound(seconds, seed=1):
    rng = np.random.default_rng(seed)
    samples = int(seconds * RATE_HZ)
    return torch.from_numpy((rng.standard_normal(samples) * np.linspace(0.01, 0.3, samples)).astype(np.float32))


def randomised(model):
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 or "bias" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    config = transformers.WhisperConfig(
        d_model=32, encoder_layers=3, encoder_attention_heads=4, encoder_ffn_dim=48, decoder_layers=1,
        decoder_attention_heads=4, decoder_ffn_dim=32, vocab_size=30, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1,
    )  # fmt: skip
    model = randomised(transformers.WhisperModel(config))
    folder = tmp_path_factory.mktemp("whisper")
    model.save_pretrained(folder)
    return model, folder


def test_whisper_equals_the_original(whisper):
    model, folder = whisper
    x = sound(30)
    mel = transformers.WhisperFeatureExtractor()(x.numpy(), sampling_rate=RATE_HZ, return_tensors="pt").input_features
    encoder = open_encoder(str(folder))
    with torch.inference_mode():
        expected = model.encoder(mel, output_hidden_states=True)
        # The original mirrors the end of the 30 s; here silence follows. This concerns the last frame of the spectrum.
        torch.testing.assert_close(encoder.log_mel(x)[:, :-1], mel[0, :, :-1], atol=1e-5, rtol=0)
        for layer in (1, 2, 3):
            y = expected.last_hidden_state if layer == 3 else expected.hidden_states[layer]
            torch.testing.assert_close(encoder.encode(x, layer)[:1400], y[0, :1400], atol=2e-3, rtol=0)


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "wavlm", "data2vec-audio", "wav2vec2-bert"])
@pytest.mark.parametrize("stable", [False, True])
def test_transformers_encoder_equals_the_original(kind, stable, tmp_path):
    sizes = SMALL | ({} if kind == "wav2vec2-bert" else CONVOLUTIONS)
    if kind in ("wav2vec2", "hubert", "wavlm"):
        sizes |= {"do_stable_layer_norm": stable, "feat_extract_norm": "layer" if stable else "group"}
    model = randomised(transformers.AutoModel.from_config(transformers.AutoConfig.for_model(kind, **sizes)))
    extractor = (
        transformers.SeamlessM4TFeatureExtractor()
        if kind == "wav2vec2-bert"
        else transformers.Wav2Vec2FeatureExtractor(do_normalize=stable)
    )
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    encoder = open_encoder(str(tmp_path))
    for seconds in (0.05, 1.0, 3.337):
        x = sound(seconds)
        made = extractor(x.numpy(), sampling_rate=RATE_HZ, return_tensors="pt", padding=False)
        inputs = {name: value for name, value in made.items() if name in ("input_values", "input_features")}
        with torch.inference_mode():
            expected = model(**inputs, output_hidden_states=True)
            assert encoder.num_frames(len(x)) == expected.last_hidden_state.shape[1]
            torch.testing.assert_close(encoder.encode(x, 2), expected.last_hidden_state[0], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(encoder.encode(x, 1), expected.hidden_states[1][0], atol=1e-4, rtol=1e-4)
    again = build_encoder(json.loads(json.dumps(encoder.description())))
    again.load_state_dict(encoder.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(again.encode(x, 2), encoder.encode(x, 2))


@pytest.mark.parametrize("seconds", [0.0, 0.005, 0.011, 0.02, 29.99, 30.0, 30.02, 33.9, 34.1, 61.3])
def test_whisper_of_any_length_has_a_frame_for_every_20_ms(whisper, seconds):
    encoder = open_encoder(str(whisper[1]))
    x = sound(seconds)
    with torch.inference_mode():
        y = encoder.encode(x, 1)
    assert y.shape == (encoder.num_frames(len(x)), 32)
    assert len(y) == -(-(len(x) // 160) // 2)


def test_windows_of_a_long_recording_are_joined_in_place(whisper):
    """In the middle of a window a frame equals that of the window encoded alone."""
    encoder = open_encoder(str(whisper[1]))
    x = sound(70)
    with torch.inference_mode():
        y = encoder.encode(x, 3)
        starts = [0, 1300, 2600]
        for start, first, last in zip(starts, (0, 1400, 2700), (1400, 2700, 3500), strict=True):
            alone = encoder.encode_window(x[start * 320 : (start + 1500) * 320], 3)
            torch.testing.assert_close(y[first:last], alone[first - start : last - start])


def test_unknown_encoders_are_refused(tmp_path):
    with pytest.raises(InputError, match="features.encoder=DIR"):
        open_encoder(None)
    with pytest.raises(InputError, match="no folder"):
        open_encoder(str(tmp_path / "missing"))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="'bert' is not supported"):
        open_encoder(str(tmp_path))
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(InputError, match="config.json is not a description"):
        open_encoder(str(tmp_path))
