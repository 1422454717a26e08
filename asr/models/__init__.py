"""Acoustic networks: features (N, F, D) and lengths (N,) -> natural-log probabilities (N, F', V) and lengths'.

`model.kind` selects a net from `NETS`. All nets have the same contract: padding never changes the valid output frames
of an utterance, and F' = ceil(F / subsampling).
"""

from torch import nn

from asr.config import ModelConfig
from asr.errors import InputError
from asr.models.cnn import ConvolutionalNet
from asr.models.fc import FullyConnectedNet
from asr.models.lstm import LstmNet

NETS: dict[str, type[nn.Module]] = {"fc": FullyConnectedNet, "cnn": ConvolutionalNet, "lstm": LstmNet}


def build_model(cfg: ModelConfig, num_features: int, num_tokens: int) -> nn.Module:
    """The net that `cfg.kind` names, for `num_features` inputs per frame and `num_tokens` outputs, blank included.

    Raises InputError for an unknown kind or a size below 1.
    """
    if cfg.kind not in NETS:
        raise InputError(f"model.kind={cfg.kind} is unknown; choose one of {', '.join(NETS)}")
    for name in ("hidden", "layers", "kernel", "subsampling"):
        if getattr(cfg, name) < 1:
            raise InputError(f"model.{name}={getattr(cfg, name)} must be at least 1")
    return NETS[cfg.kind](cfg, num_features, num_tokens)
