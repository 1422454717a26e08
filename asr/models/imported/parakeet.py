"""Parakeet in Hugging Face's format: `ParakeetForCTC`, without transformers.

The encoder is that of NeMo's FastConformer-CTC under other names (asr.features.encoders.conformer), and so is the front
end. Options that change the result are compared with what is computed.
"""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from asr.errors import InputError
from asr.features.encoders import Encoder, conformer
from asr.features.encoders.whisper import our_name
from asr.models.imported import encoder_head

KIND = "parakeet_ctc"
_ENCODER = {"hidden_act": "silu", "subsampling_conv_kernel_size": 3, "subsampling_conv_stride": 2}
_FRONT_END = {
    "sampling_rate": 16000, "hop_length": 160, "n_fft": 512, "win_length": 400, "preemphasis": 0.97,
}  # fmt: skip
# Parts of names -> NeMo's
_PARTS = {
    "subsampling.layers.": "pre_encode.conv.", "subsampling.linear.": "pre_encode.out.",
    "conv.norm.": "conv.batch_norm.", "self_attn.q_proj": "self_attn.linear_q",
    "self_attn.k_proj": "self_attn.linear_k", "self_attn.v_proj": "self_attn.linear_v",
    "self_attn.o_proj": "self_attn.linear_out",
    "self_attn.relative_k_proj": "self_attn.linear_pos", "self_attn.bias_": "self_attn.pos_bias_",
}  # fmt: skip


def read_with_head(
    folder: Path, config: dict[str, Any], preprocessor: dict[str, Any]
) -> tuple[Encoder, Tensor, Tensor]:
    """The encoder, and the weight and bias of the CTC head. Raises InputError naming the file and the option."""
    options = config.get("encoder_config")
    if not isinstance(options, dict):
        raise InputError(f"{folder / 'config.json'} has no encoder_config; copy or download the folder again")
    for name, known, found in (("encoder_config", _ENCODER, options), ("preprocessor", _FRONT_END, preprocessor)):
        for option, value in known.items():
            if found.get(option, value) != value:
                raise InputError(f"{folder}: {option} of {name} is {found[option]!r:.60}; expected {value}")
    sizes = _sizes(options, folder)
    if preprocessor.get("feature_size", 80) != sizes.bands:
        raise InputError(f"{folder}: feature_size of preprocessor is {preprocessor.get('feature_size', 80)!r:.60}; "
                         f"expected {sizes.bands}, num_mel_bins of encoder_config")  # fmt: skip
    tensors = _tensors(folder)
    head = [tensors.pop(f"ctc_head.{name}", None) for name in ("weight", "bias")]
    if head[0] is None or head[1] is None or head[0].shape != (len(head[1]), sizes.dim, 1):
        raise InputError(f"{folder}: the weights lack ctc_head, or have it in another shape; "
                         "name the folder of a model that has it")  # fmt: skip
    own = {our_name(name.removeprefix("encoder."), _PARTS): x for name, x in tensors.items()}
    return encoder_head.load_conformer(own, sizes, folder), head[0][:, :, 0].float(), head[1].float()


def _sizes(options: dict[str, Any], folder: Path) -> conformer.Sizes:
    defaults = {
        "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 8, "intermediate_size": 4096,
        "conv_kernel_size": 9, "subsampling_factor": 8, "subsampling_conv_channels": 256, "num_mel_bins": 80,
    }  # fmt: skip
    found = {name: options.get(name, default) for name, default in defaults.items()}
    for name, value in found.items():
        if type(value) is not int or value < 1:
            raise InputError(f"{folder}: {name} of encoder_config is {value!r:.60}; expected a positive number")
    factor = found["subsampling_factor"]
    if factor < 2 or factor & factor - 1:
        raise InputError(f"{folder}: subsampling_factor of encoder_config is {factor}; expected a power of 2 from 2 on")
    biased = options.get("attention_bias", True)
    if biased not in (True, False) or options.get("convolution_bias", True) != biased:
        raise InputError(f"{folder}: attention_bias and convolution_bias of encoder_config differ; expected one value")
    return conformer.Sizes(
        bands=found["num_mel_bins"], halvings=factor.bit_length() - 1, channels=found["subsampling_conv_channels"],
        dim=found["hidden_size"], heads=found["num_attention_heads"], layers=found["num_hidden_layers"],
        hidden=found["intermediate_size"], kernel=found["conv_kernel_size"], separable=1,
        scaled=int(bool(options.get("scale_input", True))), biased=int(biased), normalised=1,
    )  # fmt: skip


def _tensors(folder: Path) -> dict[str, Tensor]:
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise InputError(f"{folder} holds no model.safetensors; save the model with safe_serialization=True")
    tensors: dict[str, Tensor] = {}
    for file in files:
        try:
            with safe_open(file, "pt") as opened:
                tensors |= {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as e:
            raise InputError(f"{file} cannot be read ({e}); copy or download it again") from e
    return tensors
