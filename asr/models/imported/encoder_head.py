"""A pretrained encoder and its linear CTC head as a model of ours."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from asr.config import Config, FeaturesConfig, ModelConfig
from asr.errors import InputError
from asr.features.encoders import Encoder, build_encoder, conformer
from asr.models.acoustic import AcousticModel
from asr.models.imported.imported import Imported, Source
from asr.models.imported.outputs import Outputs
from asr.tokens import Tokens


def join(encoder: Encoder, weight: Tensor, bias: Tensor, found: Outputs, source: Source, where: object) -> Imported:
    """`weight` (V0, D), `bias` (V0,): of all outputs. Raises InputError if they are fewer than the tokens need."""
    if len(weight) < 1 + max(found.columns):
        raise InputError(f"{where}: the head has {len(weight)} outputs, the vocabulary more; "
                         "take both from the same model")  # fmt: skip
    cfg = Config()
    shift_ms = 1000 * encoder.shift_samples / encoder.rate_hz
    cfg.features = FeaturesConfig(
        kind="pretrained", sample_rate_hz=encoder.rate_hz, shift_ms=shift_ms, cmvn="none", num_bins=encoder.dim
    )
    cfg.model, cfg.tokens.unit = ModelConfig(kind="linear", subsampling=1), found.unit
    encoder.requires_grad_(False)
    model = AcousticModel(cfg.features, cfg.model, len(found.symbols), encoder)
    model.net.load_state_dict(
        {"output.linear.weight": weight[found.columns], "output.linear.bias": bias[found.columns]}
    )
    return Imported(model.eval(), cfg, Tokens(found.symbols), found.dropped, source)


def load_conformer(tensors: Mapping[str, Tensor], sizes: conformer.Sizes, where: object) -> Encoder:
    """The encoder whose tensors have NeMo's names.

    Raises InputError if the sizes are out of bounds, and if a tensor is missing, spare or of another shape.
    """
    state = {re.sub(r"^layers\.", "blocks.", name): x for name, x in tensors.items()}
    state = {name: x.float() if x.is_floating_point() else x for name, x in state.items()}
    description = conformer.description_of(sizes)
    try:
        with torch.device("meta"):
            wanted = build_encoder(description).state_dict()
    except ValueError as e:
        raise InputError(f"{where}: {e}; download the model again") from e
    for name in sorted(wanted.keys() | state.keys()):
        expected, found = (tuple(x[name].shape) if name in x else None for x in (wanted, state))
        if expected != found:
            raise InputError(f"{where}: tensor '{name}' of the encoder has the shape {found}, expected {expected}")
    encoder = build_encoder(description)
    encoder.load_state_dict(state)
    return encoder
