"""NeMo's `.nemo` files and Parakeet of transformers against the original library; unsafe files."""

import copy
import io
import json
import os
import pickle
import tarfile
import zipfile

import nemo_writer
import numpy as np
import pytest
import torch
from tiny import noise

import asr
from asr.cli.main import main
from asr.errors import InputError
from asr.features.encoders import conformer
from asr.models.imported import encoder_head, read_model
from asr.recognizer import bundle
from asr.tokens import BLANK, SPACE

transformers = pytest.importorskip("transformers", reason="NeMo's models are compared with Parakeet of transformers")
RATE_HZ = 16000
# The front ends sum in different orders: features differ by 2e-3 (test_import_sherpa.py), log-probs by less.
TOLERANCE = 2e-3
SOUNDS = [noise(seconds, seed=i) for i, seconds in enumerate((1.0, 2.337, 0.3, 0.02))]
KINDS = {
    "FastConformer": {}, "Conformer": {"separable": False, "subsampling_factor": 4, "conv_kernel_size": 31},
    "without scaling and biases": {"scale_input": False, "attention_bias": False, "convolution_bias": False},
}  # fmt: skip


def original(model, x, kept):
    """The library's log-probs over the outputs that stay: (F, V)."""
    made = transformers.ParakeetFeatureExtractor()(x, sampling_rate=RATE_HZ, return_tensors="pt")
    frames = int(made["attention_mask"].sum())
    with torch.inference_mode():
        logits = model(input_features=made["input_features"][:, :frames]).logits[0]
    return logits[:, kept].log_softmax(-1).numpy()


def same(found, model, kept):
    for x, log_probs in zip(SOUNDS, found, strict=True):
        expected = original(model, x, kept)
        assert log_probs.shape == expected.shape
        np.testing.assert_allclose(log_probs, expected, atol=TOLERANCE)


@pytest.fixture(scope="module")
def model():
    return nemo_writer.parakeet(transformers)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_log_probs_of_a_nemo_file_are_the_original_ones(kind, mode, tmp_path):
    model = nemo_writer.parakeet(transformers, **KINDS[kind])
    config = nemo_writer.config(model, separable=kind != "Conformer")
    nemo_writer.write(tmp_path / "m.nemo", config, nemo_writer.weights(model), mode=mode)
    assert main(["import", str(tmp_path / "m.nemo"), f"output={tmp_path / 'x.asr'}"]) == 0
    recognizer = asr.load(tmp_path / "x.asr")
    assert recognizer.tokens.symbols == [BLANK, "▁a", "b", "▁", "c", "▁bc"] and recognizer.cfg.tokens.unit == "piece"
    same(recognizer.log_probs(SOUNDS), model, [6, 1, 2, 3, 4, 5])
    assert recognizer.frame_s == (0.04 if kind == "Conformer" else 0.08)
    assert recognizer.log_probs([noise(0.009)])[0].shape == (0, 6)


def test_log_probs_of_parakeet_are_those_of_transformers(model, tmp_path):
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    transformers.ParakeetFeatureExtractor().save_pretrained(folder)
    table = {piece: i for i, piece in enumerate(nemo_writer.PIECES)}
    added = [{"id": 0, "content": "<unk>", "special": True}, {"id": 6, "content": "<pad>", "special": True}]
    data = {"model": {"type": "BPE", "vocab": table}, "added_tokens": added}
    (folder / "tokenizer.json").write_text(json.dumps(data))
    assert main(["import", str(folder), f"output={tmp_path / 'x.asr'}"]) == 0
    recognizer = asr.load(tmp_path / "x.asr")
    assert recognizer.tokens.symbols == [BLANK, "▁a", "b", "▁", "c", "▁bc"] and recognizer.frame_s == 0.08
    same(recognizer.log_probs(SOUNDS), model, [6, 1, 2, 3, 4, 5])


def test_encoder_is_nemos_own():
    modules = pytest.importorskip("nemo.collections.asr.modules.conformer_encoder", reason="nemo_toolkit is large")
    for subsampling, factor, scaled, biased in (("striding", 4, True, True), ("dw_striding", 8, False, False)):
        torch.manual_seed(5)
        encoder = modules.ConformerEncoder(
            feat_in=80, n_layers=2, d_model=32, subsampling=subsampling, subsampling_factor=factor, n_heads=4,
            subsampling_conv_channels=8, conv_kernel_size=9, xscaling=scaled, use_bias=biased,
        ).eval()  # fmt: skip
        for parameter in encoder.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        halvings, separable = factor.bit_length() - 1, subsampling == "dw_striding"
        sizes = conformer.Sizes(80, halvings, 8, 32, 4, 2, 128, 9, int(separable), int(scaled), int(biased), 1)
        ours = encoder_head.load_conformer(encoder.state_dict(), sizes, "x")
        for x in map(torch.from_numpy, SOUNDS):
            features, lengths = ours.mel(x[None], torch.tensor([len(x)]))
            with torch.no_grad():
                expected = encoder(audio_signal=features.transpose(1, 2), length=lengths)[0][0].T
                torch.testing.assert_close(ours.encode(x, 2), expected, atol=1e-5, rtol=0)  # two orders of sums


def test_characters_and_the_ctc_head_of_a_hybrid(model, tmp_path):
    config = nemo_writer.config(model, vocabulary=[" ", "a", "b", "c", "'", "d"])
    config["target"] = "nemo.collections.asr.models.EncDecHybridRNNTCTCModel"
    config["aux_ctc"] = {"ctc_loss_weight": 0.3, "decoder": config.pop("decoder")}
    tensors = nemo_writer.weights(model, "ctc_decoder") | {"decoder.prediction.embed.weight": torch.ones(3, 3)}
    imported = read_model(str(nemo_writer.write(tmp_path / "m.nemo", config, tensors)))
    assert imported.tokens.symbols == [BLANK, SPACE, "a", "b", "c", "'", "d"] and imported.cfg.tokens.unit == "char"
    same(imported.model.score([torch.from_numpy(x) for x in SOUNDS]), model, [6, 0, 1, 2, 3, 4, 5])


def test_long_recordings_are_encoded_in_windows(model, tmp_path):
    path = nemo_writer.write(tmp_path / "m.nemo", nemo_writer.config(model), nemo_writer.weights(model))
    encoder = read_model(str(path)).model.frontend.encoder
    x = torch.from_numpy(noise(70))
    with torch.inference_mode():
        assert len(encoder.encode(x, 2)) == encoder.num_frames(len(x)) == 875


@pytest.mark.parametrize(
    ("group", "change", "message"),
    [
        ("", {"target": "nemo.collections.asr.models.EncDecRNNTBPEModel"}, r"\(target\) is 'EncDecRNNTBPEModel'"),
        ("", {"encoder": None}, "has no options 'encoder'"),
        ("", {"tokenizer": {"type": "agg"}}, "tokenizer.type is 'agg'"),
        ("decoder", {"vocabulary": None}, "decoder.vocabulary is not a list"),
        ("decoder", {"vocabulary": ["▁a", "b"]}, "the head has the tensors"),
        ("decoder", {"vocabulary": ["▁a", "##b"]}, "is a piece of WordPiece"),
        ("preprocessor", {"n_fft": 1024}, "preprocessor.n_fft is 1024; supported values: None, 512"),
        ("preprocessor", {"sample_rate": 8000}, "preprocessor.sample_rate is 8000"),
        ("preprocessor", {"normalize": "all_features"}, "preprocessor.normalize is 'all_features'"),
        ("preprocessor", {"features": 64}, "preprocessor.features is 64, encoder.feat_in 80"),
        ("preprocessor", {"wavelets": 1}, "preprocessor.wavelets is unknown"),
        ("encoder", {"_target_": "nemo.collections.asr.modules.SqueezeformerEncoder"}, "encoder._target_ is 'Squeeze"),
        ("encoder", {"self_attention_model": "rel_pos_local_attn"}, "is 'rel_pos_local_attn'; supp"),
        ("encoder", {"att_context_size": [70, 13]}, r"encoder.att_context_size is \[70, 13\]"),
        ("encoder", {"conv_norm_type": "layer_norm"}, "encoder.conv_norm_type is 'layer_norm'"),
        ("encoder", {"subsampling": "vggnet"}, "encoder.subsampling is 'vggnet'"),
        ("encoder", {"subsampling_factor": 6}, "encoder.subsampling_factor is 6; expected a power of 2"),
        ("encoder", {"n_layers": 10**6}, "encoder.n_layers is 1000000"),
        ("encoder", {"n_layers": 3}, "tensor 'blocks.2.conv.batch_norm.bias' of the encoder has the shape None"),
        ("encoder", {"d_model": "${x}"}, "encoder.d_model is"),
        ("encoder", {"n_heads": 5}, "32 values in 5 heads"),
        ("encoder", {"d_model": 64}, "of the encoder has the shape"),
        ("encoder", {"streaming": True}, "encoder.streaming is unknown"),
    ],
)  # fmt: skip
def test_other_configurations_are_refused(group, change, message, model, tmp_path):
    config = copy.deepcopy(nemo_writer.config(model))
    (config[group] if group else config).update(change)
    path = nemo_writer.write(tmp_path / "m.nemo", config, nemo_writer.weights(model))
    with pytest.raises(InputError, match=message):
        read_model(str(path))


class Trap:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


@pytest.mark.parametrize("kind", ["pickle", "torch", "within torch"])
def test_nothing_is_unpickled(kind, model, tmp_path):
    trap = Trap(tmp_path / "marker")
    data = {"pickle": pickle.dumps(trap), "torch": nemo_writer.saved({"encoder.x": trap})}.get(kind)
    if data is None:
        tensors, target = io.BytesIO(nemo_writer.saved(nemo_writer.weights(model))), io.BytesIO()
        with zipfile.ZipFile(tensors) as before, zipfile.ZipFile(target, "w") as after:
            for name in before.namelist():
                after.writestr(name, pickle.dumps(trap) if name.endswith("data.pkl") else before.read(name))
        data = target.getvalue()
    path = nemo_writer.write(tmp_path / "m.nemo", nemo_writer.config(model), data)
    with pytest.raises(InputError, match="holds more than weights, or is damaged"):
        read_model(str(path))
    path = nemo_writer.write(
        tmp_path / "m.nemo", f"!!python/object/apply:os.mkdir ['{tmp_path}/marker']".encode(), data
    )
    with pytest.raises(InputError, match="is not YAML"):
        read_model(str(path))
    assert not (tmp_path / "marker").exists()
    os.mkdir(*trap.__reduce__()[1])  # the trap works
    assert (tmp_path / "marker").exists()


def member(name, kind=tarfile.REGTYPE, link="", **pax):
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.pax_headers = kind, link, pax
    return found, b""


@pytest.mark.parametrize(
    "extra",
    [
        member("../x"), member("/etc/x"), member("a/../../x"), member("x", tarfile.SYMTYPE, "/etc/passwd"),
        member("x", tarfile.LNKTYPE, "model_config.yaml"), member("x", tarfile.FIFOTYPE), member("x", tarfile.CHRTYPE),
        member("x", tarfile.GNUTYPE_SPARSE), member("model_config.yaml"),
    ],
    ids=lambda extra: f"{extra[0].name} {extra[0].type.decode()}",
)  # fmt: skip
def test_unsafe_members_are_refused(extra, model, tmp_path):
    path = nemo_writer.write(tmp_path / "m.nemo", nemo_writer.config(model), nemo_writer.weights(model), [extra])
    with pytest.raises(
        InputError, match="is a link, outside the archive or one of too many|occurs twice|is not a .nemo"
    ):
        read_model(str(path))
    assert not list(tmp_path.parent.glob("x"))


def test_files_out_of_proportion_are_refused(model, tmp_path):
    config, tensors = nemo_writer.config(model), nemo_writer.weights(model)
    bomb = (tarfile.TarInfo("zeros"), bytes(70 << 20))
    with pytest.raises(InputError, match="unpacks to more than 67108864 bytes"):
        read_model(str(nemo_writer.write(tmp_path / "m.nemo", config, tensors, [bomb], "w:gz")))
    many = [(tarfile.TarInfo(str(i)), b"") for i in range(1000)]
    with pytest.raises(InputError, match="one of too many"):
        read_model(str(nemo_writer.write(tmp_path / "m.nemo", config, tensors, many)))
    wide = {"encoder.x": torch.ones(1).expand(1 << 40)}
    with pytest.raises(InputError, match="a tensor of model_weights.ckpt is larger than its values"):
        read_model(str(nemo_writer.write(tmp_path / "m.nemo", config, wide)))
    with pytest.raises(InputError, match="does not describe a model"):
        read_model(str(nemo_writer.write(tmp_path / "m.nemo", b"a: " + bytes(2 << 20), tensors)))


def test_damaged_files_are_refused(model, tmp_path, capsys):
    path = nemo_writer.write(tmp_path / "m.nemo", nemo_writer.config(model), nemo_writer.weights(model), mode="w:gz")
    data = path.read_bytes()
    rng = np.random.default_rng(2)
    for cut in (0, 1, 10, len(data) // 2, len(data) - 9):
        path.write_bytes(data[:cut])
        with pytest.raises(InputError, match="m.nemo"):
            read_model(str(path))
    for _ in range(20):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            read_model(str(path))
        except InputError:
            continue
    path.write_bytes(b"no archive")
    assert main(["import", str(path), f"output={tmp_path / 'x.asr'}"]) == 2
    assert "is not a .nemo file or is damaged" in capsys.readouterr().err and not (tmp_path / "x.asr").exists()
    with pytest.raises(InputError, match="other.nemo is not a .nemo file or is damaged .*No such file"):
        read_model(str(tmp_path / "other.nemo"))


@pytest.mark.parametrize(
    "change",
    [{"layers": 1 << 20}, {"scaled": 2}, {"heads": 5}, {"dim": 33}, {"halvings": 60}, {"kernel": 4}, {"spare": 1}],
)
def test_a_bundle_with_another_description_is_refused(change, model, tmp_path):
    path = nemo_writer.write(tmp_path / "m.nemo", nemo_writer.config(model), nemo_writer.weights(model))
    imported = read_model(str(path))
    known = imported.model.frontend.encoder.description()
    imported.model.frontend.encoder.description = lambda: known | change
    bundle.write(tmp_path / "x.asr", imported.model, imported.cfg, imported.tokens, None, "")
    with pytest.raises(InputError, match="config.json"):
        bundle.read(tmp_path / "x.asr")
