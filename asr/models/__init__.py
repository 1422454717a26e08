"""Acoustic networks: features (N, F, D) and lengths (N,) -> natural-log probabilities (N, F', V) and lengths'.

`model.kind` selects a net from `NETS`. All nets have the same contract: padding never changes the valid output frames
of an utterance, and F' = ceil(F / subsampling). Those that can run in a stream do so by asr.models.streaming.
"""

from typing import cast

from asr.config import ModelConfig, check_group
from asr.errors import InputError
from asr.models.branchformer import EBranchformerNet
from asr.models.cnn import ConvolutionalNet
from asr.models.conformer import ConformerNet
from asr.models.fc import FullyConnectedNet
from asr.models.filters import FilteredStack, WaveFilters
from asr.models.layers import FrameStack
from asr.models.linear import LinearNet
from asr.models.lstm import LstmNet
from asr.models.mixtures import MixtureNet
from asr.models.streaming import Net

NETS: dict[str, type[Net]] = {
    "fc": FullyConnectedNet,
    "cnn": ConvolutionalNet,
    "lstm": LstmNet,
    "linear": LinearNet,
    "conformer": ConformerNet,
    "ebranchformer": EBranchformerNet,
}

_CHUNKS = ("conformer", "ebranchformer")
_HIDDEN = ("fc", "cnn", "lstm", *_CHUNKS)
NETS_OF = {  # options that not all nets have
    "hidden": _HIDDEN,
    "layers": _HIDDEN,
    "kernel": _HIDDEN,
    "bidirectional": ("lstm",),
    "bottleneck": ("cnn",),
    "filters": tuple(NETS),
    **dict.fromkeys(("gaussians", "splice", "projected", "speakers"), ("gmm",)),
    **dict.fromkeys(("intermediate", "self_conditioned"), ("lstm", *_CHUNKS)),
    **dict.fromkeys(("heads", "positions", "chunk", "left", "causal", "dynamic_chunk", "layer_drop"), _CHUNKS),
}


FITTED: dict[str, type[Net]] = {"gmm": MixtureNet}  # not trained by gradients


def check_net(cfg: ModelConfig) -> None:
    """Raises InputError for an option that was changed though the net does not have it, and for mixtures."""
    if cfg.kind in FITTED:
        raise InputError(f"model.kind={cfg.kind} comes from `asr hmm train`; `asr train` takes {', '.join(NETS)}")
    for name, nets in NETS_OF.items():
        value = getattr(cfg, name)
        if cfg.kind not in nets and value != getattr(ModelConfig(), name):
            raise InputError(
                f"model.{name}={value}: the net {cfg.kind} has no such option; leave it out, or choose a net that has "
                f"it: {', '.join(nets)}"
            )


def build_model(cfg: ModelConfig, num_features: int, num_tokens: int, filters: WaveFilters | None = None) -> Net:
    """The net that `cfg.kind` names, for `num_features` inputs per frame and `num_tokens` outputs, blank included.

    `filters` become its first stage. Raises InputError for an unknown kind or a size out of bounds.
    """
    check_group("model", cfg)
    net = (NETS | FITTED)[cfg.kind](cfg, len(filters.scale) if filters else num_features, num_tokens)
    if filters:
        net.stack = FilteredStack(filters, cast(FrameStack, net.stack))
    return net
