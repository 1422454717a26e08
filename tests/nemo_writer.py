"""Writes small `.nemo` files whose weights are those of transformers' Parakeet, under NeMo's names."""

import io
import tarfile

import torch
import yaml
from torch import nn

PIECES = ["<unk>", "▁a", "b", "▁", "c", "▁bc"]
SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128,
    "subsampling_conv_channels": 8,
}  # fmt: skip
_PARTS = {
    "subsampling.layers": "pre_encode.conv", "subsampling.linear": "pre_encode.out", "conv.norm.": "conv.batch_norm.",
    "q_proj": "linear_q", "k_proj": "linear_k", "v_proj": "linear_v", "o_proj": "linear_out",
    "relative_linear_k": "linear_pos", "attn.bias_": "attn.pos_bias_",
}  # fmt: skip


def parakeet(transformers, separable=True, **sizes):
    """A random model. Not `separable`: with the convolutions of Conformer-CTC in place of FastConformer's."""
    torch.manual_seed(3)
    outputs = len(PIECES) + 1
    encoder = transformers.ParakeetEncoderConfig(**(SIZES | sizes))
    config = transformers.ParakeetCTCConfig(encoder_config=encoder, vocab_size=outputs, pad_token_id=outputs - 1)
    model = transformers.ParakeetForCTC(config).eval()
    if not separable:
        width, halvings = encoder.subsampling_conv_channels, encoder.subsampling_factor.bit_length() - 1
        full = [part for _ in range(halvings - 1) for part in (nn.Conv2d(width, width, 3, 2, 1), nn.ReLU())]
        model.encoder.subsampling.layers = nn.ModuleList([*model.encoder.subsampling.layers[:2], *full])
    for name, values in model.state_dict().items():
        if values.ndim > 1:
            nn.init.kaiming_normal_(values)  # the default weights make all frames alike
        elif "running_var" in name:
            nn.init.uniform_(values, 0.5, 1.5)
        elif values.is_floating_point() and "norm" not in name:
            nn.init.normal_(values, std=0.2)
    return model


def config(model, separable=True, vocabulary=PIECES):
    """The content of model_config.yaml, as in the published models."""
    sizes = model.config.encoder_config
    return {
        "target": "nemo.collections.asr.models.ctc_bpe_models.EncDecCTCModelBPE",
        "tokenizer": {"type": "bpe", "model_path": "nemo:x_tokenizer.model"},
        "preprocessor": {
            "_target_": "nemo.collections.asr.modules.AudioToMelSpectrogramPreprocessor", "sample_rate": 16000,
            "normalize": "per_feature", "window_size": 0.025, "window_stride": 0.01, "window": "hann", "features": 80,
            "n_fft": 512, "log": True, "frame_splicing": 1, "dither": 1e-05, "pad_to": 0, "pad_value": 0.0,
        },
        "encoder": {
            "_target_": "nemo.collections.asr.modules.ConformerEncoder", "feat_in": 80, "feat_out": -1,
            "n_layers": sizes.num_hidden_layers, "d_model": sizes.hidden_size,
            "subsampling": "dw_striding" if separable else "striding", "subsampling_factor": sizes.subsampling_factor,
            "subsampling_conv_channels": sizes.subsampling_conv_channels, "causal_downsampling": False,
            "ff_expansion_factor": sizes.intermediate_size // sizes.hidden_size, "self_attention_model": "rel_pos",
            "n_heads": sizes.num_attention_heads, "att_context_size": [-1, -1], "att_context_style": "regular",
            "xscaling": sizes.scale_input, "untie_biases": True, "pos_emb_max_len": 5000,
            "conv_kernel_size": sizes.conv_kernel_size, "conv_norm_type": "batch_norm", "conv_context_size": None,
            "use_bias": sizes.attention_bias, "dropout": 0.1, "dropout_emb": 0.0, "stochastic_depth_drop_prob": 0.0,
        },
        "decoder": {"_target_": "nemo.collections.asr.modules.ConvASRDecoder", "feat_in": None,
                    "num_classes": len(vocabulary), "vocabulary": list(vocabulary)},
    }  # fmt: skip


def weights(model, head="decoder"):
    """The tensors by NeMo's names, with some that the import has no use for."""
    named = {"preprocessor.featurizer.window": torch.ones(400), "spec_augment.x": torch.ones(2)}
    for name, values in model.state_dict().items():
        for part, own in _PARTS.items():
            name = name.replace(part, own)
        named[name.replace("ctc_head", f"{head}.decoder_layers.0")] = values
    return named


def saved(tensors):
    data = io.BytesIO()
    torch.save(tensors, data)
    return data.getvalue()


def write(path, config, checkpoint, extra=(), mode="w"):
    """`checkpoint`: tensors, or bytes. `extra`: further members (TarInfo, bytes)."""
    data = checkpoint if isinstance(checkpoint, bytes) else saved(checkpoint)
    text = config if isinstance(config, bytes) else yaml.safe_dump(config).encode()
    with tarfile.open(path, mode) as archive:
        members = [("./model_config.yaml", text), ("./model_weights.ckpt", data)]
        for member, content in [*((tarfile.TarInfo(name), content) for name, content in members), *extra]:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path
