"""Layers of encoders that are trained: whole, as low-rank pairs, as a weighted sum; and encoders of transformers."""

from pathlib import Path

import numpy as np
import pytest
import tones
import torch
from ctranslate2_model import write_model

from asr import pipeline
from asr.config import Config
from asr.errors import InputError
from asr.features import audio
from asr.features.encoders import open_encoder
from asr.features.frontend import FrontEnd
from asr.models.low_rank import add_pairs, load_merged, merged
from asr.recognizer import bundle, run_folder
from asr.training.trainer import Trainer, load_model, train


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    write_model(tmp_path / "whisper")
    return tones.corpus(tmp_path, 8, 2)


def config(corpus: Path, out: str = "run", **features: object) -> Config:
    options = {"kind": "pretrained", "encoder": str(corpus / "whisper"), "shift_ms": 20.0, "cmvn": "none", **features}
    cfg = tones.config(corpus, out, **options)
    cfg.optim.average, cfg.optim.tune_lr = 2, 1e-2
    return cfg


def heard(corpus: Path, out: str = "run") -> torch.Tensor:
    """The log-probs that the run folder and its bundle give to a recording, which have to agree."""
    x = torch.from_numpy(audio.load(str(corpus / "dev0.wav")))
    cfg = Config(out=str(corpus / out))
    cfg.decoder.kind, cfg.graph.kind = "greedy", "none"
    model, _ = run_folder.load_model(run_folder.as_trained(cfg))
    packed = bundle.read(pipeline.bundle(cfg)).model
    torch.testing.assert_close(packed.score([x])[0], model.score([x])[0])
    return model.score([x])[0]


def test_pairs_are_merged_without_a_difference(corpus: Path) -> None:
    encoder = open_encoder(str(corpus / "whisper"))
    upper, plain = encoder.upper(0, 2), encoder.upper(0, 2)
    x, lengths = torch.randn(2, 9, 16), torch.tensor([9, 5])
    before = upper(x, lengths)
    add_pairs(upper, 3)
    torch.testing.assert_close(upper(x, lengths), before)  # they begin as zeros
    trained = {name for name, p in upper.named_parameters() if p.requires_grad}
    assert len(trained) == 2 * 2 * 4 and {name.rpartition(".")[2] for name in trained} == {"down", "up"}
    with torch.no_grad():
        for name, parameter in upper.named_parameters():
            if name in trained:
                parameter.normal_(std=0.1)
    after = upper(x, lengths)
    plain.load_state_dict(merged(upper.state_dict()))
    torch.testing.assert_close(plain(x, lengths), after, atol=1e-5, rtol=0)
    assert (after - before).abs().max() > 0.1
    load_merged(upper, plain.state_dict())
    torch.testing.assert_close(upper(x, lengths), after, atol=1e-5, rtol=0)


def test_only_pairs_are_trained_and_a_resume_is_exact(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tuned(out: str, rank: int | None) -> Config:
        cfg = config(corpus, out, layer=0)
        cfg.model.tune_layers, cfg.model.lora_rank = 2, rank
        return cfg

    final = train(tuned("run", 1))
    heard(corpus)
    encoder = open_encoder(str(corpus / "whisper"))
    model, _ = load_model(tuned("run", 1))
    for (name, new), old in zip(model.upper.named_parameters(), encoder.upper(0, 2).parameters(), strict=True):
        change = (new - old).detach()
        if name.endswith("weight") and "norm" not in name:
            assert 1 <= torch.linalg.matrix_rank(change, atol=1e-5) <= 2  # two epochs of rank 1 are averaged
        else:
            assert not change.any()
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "is_stale", lambda self: self.state["epoch"] == 1)
        train(tuned("stopped", 1)).unlink()
    assert train(tuned("stopped", 1)).read_bytes() == final.read_bytes()
    train(tuned("frozen", 0))
    model, _ = load_model(tuned("frozen", 0))
    for new, old in zip(model.upper.parameters(), encoder.upper(0, 2).parameters(), strict=True):
        assert torch.equal(new, old)


def test_the_sum_of_layers_is_learned(corpus: Path) -> None:
    cfg = config(corpus, sum_layers=[0, 2, 1], cmvn="global")
    cfg.augment.freq_masks, cfg.augment.time_masks = 1, 1
    train(cfg)
    heard(corpus)
    encoder = open_encoder(str(corpus / "whisper"))
    x = torch.from_numpy(audio.load(str(corpus / "dev0.wav")))
    with torch.inference_mode():
        layers = torch.cat([encoder.encode(x, layer) for layer in (0, 2, 1)], 1)
        torch.testing.assert_close(encoder.encode(x, 0, 2, 1), layers)
    np.testing.assert_allclose(np.load(corpus / "run/features/dev/dev0.npy"), layers, atol=5e-3, rtol=2e-3)
    model, _ = load_model(cfg)
    weights = model.sum.logits.softmax(0)
    assert len(weights) == 3 and weights.detach().numpy().std() > 1e-4
    found, _ = model.frontend(x[None], torch.tensor([len(x)]))
    expected = sum(w * part for w, part in zip(weights, found[0].split(16, 1), strict=True))
    torch.testing.assert_close(model.sum(found)[0], expected)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"sum_layers": [1], "layer": 1}, "exclude each other"),
        ({"sum_layers": [1, 3]}, "has 2 layers"),
        ({"sum_layers": [1, 1]}, "names a layer twice"),
        ({"sum_layers": [1, 2], "deltas": 1}, "needs features.deltas=0"),
        ({"sum_layers": [1, 2], "kind": "logmel", "encoder": None}, "needs features=pretrained, not logmel"),
        ({"sum_layers": [1, 2], "kind": "stored", "num_bins": 13}, "no multiple of the 2 layers"),
    ],
)
def test_sums_that_there_are_not_are_refused(corpus: Path, features: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        FrontEnd(config(corpus, **features).features)


def test_pairs_need_layers(corpus: Path) -> None:
    cfg = config(corpus)
    cfg.model.lora_rank = 4
    with pytest.raises(InputError, match="model.lora_rank is for the layers of model.tune_layers, but that is 0"):
        train(cfg)


@pytest.mark.parametrize("kind", ["wav2vec2", "wav2vec2 stable", "hubert", "data2vec-audio", "wavlm"])
def test_upper_layers_of_transformers(kind: str, tmp_path: Path) -> None:
    """As the whole encoder computes them; padding is not heard."""
    transformers = pytest.importorskip("transformers")
    kind, _, variant = kind.partition(" ")
    sizes = {"num_hidden_layers": 3, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48,
             "conv_dim": [16] * 7, "num_conv_pos_embedding_groups": 4, "num_conv_pos_embeddings": 16}  # fmt: skip
    if variant:
        sizes |= {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}
    torch.manual_seed(3)
    transformers.AutoModel.from_config(transformers.AutoConfig.for_model(kind, **sizes)).save_pretrained(tmp_path)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    encoder = open_encoder(str(tmp_path))
    if kind == "wavlm":
        with pytest.raises(InputError, match="single layers of this wavlm encoder cannot be trained; set model.tune"):
            encoder.upper(1, 2)
        return
    x = torch.from_numpy(np.random.default_rng(0).normal(size=8000).astype(np.float32))
    for layer, count in ((1, 2), (0, 1)):
        upper = encoder.upper(layer, count).eval()
        with torch.inference_mode():
            below, above = encoder.encode(x, layer), encoder.encode(x, layer + count)
            padded = torch.nn.functional.pad(below[None], (0, 0, 0, 6), value=2.0).expand(2, -1, -1)
            found = upper(padded, torch.tensor([len(below), len(below) + 6]))
        torch.testing.assert_close(found[0, : len(below)], above, atol=1e-5, rtol=1e-4)
        assert not found[0, len(below) :].any()
    add_pairs(upper, 2)
    assert sum(p.numel() for p in upper.parameters() if p.requires_grad) == 2 * (4 * 64 + 2 * 80)
