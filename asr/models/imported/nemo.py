"""NeMo's `.nemo` files of CTC models.

Files       one archive: model_config.yaml, model_weights.ckpt; the tokenizer's files are not needed
Models      Conformer-CTC and FastConformer-CTC (EncDecCTCModel, EncDecCTCModelBPE), and the CTC head of the hybrid ones
            (EncDecHybridRNNTCTCModel, EncDecHybridRNNTCTCBPEModel), with unlimited context
Front end   NeMo's (asr.features.nemo): 16 kHz, `normalize` per_feature or none
Subsampling by 4 or 8, in general a power of 2: one frame per 40 or 80 ms
Tokens      `decoder.vocabulary`, of characters or SentencePiece's pieces; the blank is the output after the last one

Each option of front end and encoder is compared with what asr.features.encoders.conformer computes. Others are refused.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asr.errors import InputError
from asr.features.encoders import conformer
from asr.models.imported import encoder_head, nemo_archive, outputs
from asr.models.imported.imported import Imported, Source

CTC = ("EncDecCTCModel", "EncDecCTCModelBPE")
HYBRID = ("EncDecHybridRNNTCTCModel", "EncDecHybridRNNTCTCBPEModel")
MOST = 1 << 16  # of a size
_ANY = object()
_NONE = (None, "", "NA", False)  # no normalisation
# Option -> the values that are computed, the default first; _ANY concerns training or speed alone
_FRONT_END: dict[str, Any] = {
    "_target_": _ANY, "sample_rate": (16000,), "window_size": (0.025,), "window_stride": (0.01,),
    "n_window_size": (None,), "n_window_stride": (None,), "window": ("hann",), "normalize": ("per_feature", *_NONE),
    "n_fft": (None, 512), "preemph": (0.97,), "features": _ANY, "lowfreq": (0,), "highfreq": (None, 0, 8000),
    "log": (True,), "log_zero_guard_type": ("add",), "log_zero_guard_value": (2**-24,), "dither": _ANY, "pad_to": _ANY,
    "frame_splicing": (1,), "exact_pad": (False,), "pad_value": (0,), "mag_power": (2.0,), "rng": _ANY,
    "nb_augmentation_prob": _ANY, "nb_max_freq": _ANY, "mel_norm": ("slaney",), "use_torchaudio": _ANY,
    "stft_exact_pad": _ANY, "stft_conv": _ANY, "max_duration": _ANY, "use_grads": _ANY,
}  # fmt: skip
_ENCODER: dict[str, Any] = {
    "_target_": _ANY, "feat_in": _ANY, "n_layers": _ANY, "d_model": _ANY, "feat_out": _ANY,
    "causal_downsampling": (False,), "subsampling": ("striding", "dw_striding"), "subsampling_factor": _ANY,
    "subsampling_conv_chunking_factor": _ANY, "subsampling_conv_channels": _ANY, "reduction": (None,),
    "reduction_position": (None,), "reduction_factor": (1,), "ff_expansion_factor": _ANY,
    "self_attention_model": ("rel_pos",), "n_heads": _ANY, "att_context_size": (None, [-1, -1], [[-1, -1]]),
    "att_context_probs": (None,), "att_chunk_context_size": (None,), "att_context_style": ("regular",),
    "xscaling": (True, False), "untie_biases": _ANY, "pos_emb_max_len": _ANY, "conv_kernel_size": _ANY,
    "conv_norm_type": ("batch_norm",), "conv_context_size": (None,), "conv_context_style": ("regular",),
    "conv_dual_mode": (False,), "use_bias": (True, False), "dropout": _ANY, "dropout_pre_encoder": _ANY,
    "dropout_emb": _ANY, "dropout_att": _ANY, "stochastic_depth_drop_prob": _ANY, "stochastic_depth_mode": _ANY,
    "stochastic_depth_start_layer": _ANY, "global_tokens": (0,), "global_tokens_spacing": _ANY,
    "global_attn_separate": (False,), "use_pytorch_sdpa": _ANY, "use_pytorch_sdpa_backends": _ANY,
    "sync_max_audio_length": _ANY,
}  # fmt: skip


def read(path: Path) -> Imported:
    """Raises InputError for a file that cannot be read and for a model that is of another kind, naming the option."""
    contents = nemo_archive.read(path)
    kind = str(contents.config.get("target", "")).rpartition(".")[2]
    if kind not in CTC + HYBRID:
        raise InputError(f"{path}: the class of the model (target) is {kind!r}; supported classes: "
                         f"{', '.join(CTC + HYBRID)}")  # fmt: skip
    group, prefix = ("decoder", "decoder.") if kind in CTC else ("aux_ctc", "ctc_decoder.")
    decoder = _group(contents.config, group, path)
    if kind in HYBRID:
        decoder = _group(decoder, "decoder", path)
    found = _outputs(contents.config, decoder, path)
    sizes = _sizes(contents.config, path)
    encoder = encoder_head.load_conformer(_within(contents.weights, "encoder."), sizes, path)
    head = _within(contents.weights, f"{prefix}decoder_layers.0.")
    shapes = {name: tuple(x.shape) for name, x in head.items()}
    width = len(found.columns) + len(found.dropped)
    if shapes != {"weight": (width, encoder.dim, 1), "bias": (width,)}:
        raise InputError(f"{path}: the head has the tensors {shapes}, expected {width} outputs of {encoder.dim} values")
    weight, bias = head["weight"][:, :, 0].float(), head["bias"].float()
    source = Source(path.stem, f"{kind} of NeMo", None, [path])
    return encoder_head.join(encoder, weight, bias, found, source, path)


def _outputs(config: Mapping[str, Any], decoder: Mapping[str, Any], path: Path) -> outputs.Outputs:
    tokenizer = config.get("tokenizer")
    if isinstance(tokenizer, dict) and tokenizer.get("type", "bpe") not in ("bpe", "char"):
        raise InputError(f"{path}: tokenizer.type is {tokenizer['type']!r}; expected bpe, of one language")
    symbols = decoder.get("vocabulary") or config.get("labels")
    if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
        raise InputError(f"{path}: decoder.vocabulary is not a list of tokens; save the model again with NeMo")
    return outputs.choose([*symbols, None], len(symbols), ("▁", " "), (), path)


def _sizes(config: Mapping[str, Any], path: Path) -> conformer.Sizes:
    front, encoder = _group(config, "preprocessor", path), _group(config, "encoder", path)
    for group, target, known, options in (
        ("preprocessor", "AudioToMelSpectrogramPreprocessor", _FRONT_END, front),
        ("encoder", "ConformerEncoder", _ENCODER, encoder),
    ):
        _check(group, target, known, options, path)

    def size(name: str, default: int | None = None) -> int:
        value = encoder.get(name, default)
        if type(value) is not int or not 0 < value <= MOST:
            raise InputError(f"{path}: encoder.{name} is {value!r:.40}; expected 1 to {MOST}")
        return value

    dim, factor = size("d_model"), size("subsampling_factor", 4)
    channels = encoder.get("subsampling_conv_channels", -1)
    if factor < 2 or factor & factor - 1 or factor.bit_length() - 1 > conformer.MOST_HALVINGS:
        raise InputError(f"{path}: encoder.subsampling_factor is {factor}; expected a power of 2 up to "
                         f"{1 << conformer.MOST_HALVINGS}")  # fmt: skip
    if encoder.get("feat_out", -1) not in (-1, dim):
        raise InputError(f"{path}: encoder.feat_out is {encoder['feat_out']!r:.40}; expected -1 or d_model")
    if front.get("features", 64) != size("feat_in"):
        raise InputError(f"{path}: preprocessor.features is {front.get('features', 64)!r:.40}, encoder.feat_in "
                         f"{size('feat_in')}; expected one number")  # fmt: skip
    if "window_size" not in front:
        raise InputError(f"{path}: preprocessor.window_size is missing, which means 0.02; supported values: 0.025")
    return conformer.Sizes(
        bands=size("feat_in"), halvings=factor.bit_length() - 1,
        channels=dim if channels == -1 else size("subsampling_conv_channels"), dim=dim, heads=size("n_heads", 4),
        layers=size("n_layers"), hidden=dim * size("ff_expansion_factor", 4), kernel=size("conv_kernel_size", 31),
        separable=int(encoder.get("subsampling", "striding") == "dw_striding"),
        scaled=int(encoder.get("xscaling", True)), biased=int(encoder.get("use_bias", True)),
        normalised=int(front.get("normalize", "per_feature") == "per_feature"),
    )  # fmt: skip


def _check(group: str, target: str, known: Mapping[str, Any], options: Mapping[str, Any], path: Path) -> None:
    """Raises InputError for an option that is unknown or has a value that is not computed."""
    if (kind := str(options.get("_target_", "")).rpartition(".")[2]) != target:
        raise InputError(f"{path}: {group}._target_ is {kind!r:.60}; expected {target}")
    for name, value in options.items():
        if name not in known:
            raise InputError(f"{path}: {group}.{name} is unknown, so the model might compute something else; "
                             f"supported options: {', '.join(known)}")  # fmt: skip
        if known[name] is not _ANY and value not in known[name]:
            raise InputError(f"{path}: {group}.{name} is {value!r:.60}; supported values: "
                             f"{', '.join(map(str, known[name]))}")  # fmt: skip


def _group(config: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    if not isinstance(found := config.get(name), dict):
        raise InputError(f"{path}: {nemo_archive.CONFIG} has no options '{name}'; save the model again with NeMo")
    return found


def _within(tensors: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}
