"""Acoustic networks: features (N, F, D) and lengths (N,) -> natural-log probabilities (N, F', V) and lengths'.

`model.kind` selects a net from `NETS`. All nets have the same contract: padding never changes the valid output frames
of an utterance, and F' = ceil(F / subsampling).
"""

from torch import nn

from asr.config import ModelConfig, check_group
from asr.models.cnn import ConvolutionalNet
from asr.models.fc import FullyConnectedNet
from asr.models.linear import LinearNet
from asr.models.lstm import LstmNet

NETS: dict[str, type[nn.Module]] = {
    "fc": FullyConnectedNet,
    "cnn": ConvolutionalNet,
    "lstm": LstmNet,
    "linear": LinearNet,
}


def build_model(cfg: ModelConfig, num_features: int, num_tokens: int) -> nn.Module:
    """The net that `cfg.kind` names, for `num_features` inputs per frame and `num_tokens` outputs, blank included.

    Raises InputError for an unknown kind or a size out of bounds.
    """
    check_group("model", cfg)
    return NETS[cfg.kind](cfg, num_features, num_tokens)
