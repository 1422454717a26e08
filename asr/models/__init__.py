"""Acoustic networks: features (N, F, D) and lengths (N,) -> natural-log probabilities (N, F', V) and lengths'.

`model.kind` selects a net from `NETS`. All nets have the same contract: padding never changes the valid output frames
of an utterance, and F' = ceil(F / subsampling). Those that can run in a stream do so by asr.models.streaming.
"""

from asr.config import ModelConfig, check_group
from asr.models.cnn import ConvolutionalNet
from asr.models.fc import FullyConnectedNet
from asr.models.linear import LinearNet
from asr.models.lstm import LstmNet
from asr.models.streaming import Net

NETS: dict[str, type[Net]] = {
    "fc": FullyConnectedNet,
    "cnn": ConvolutionalNet,
    "lstm": LstmNet,
    "linear": LinearNet,
}


def build_model(cfg: ModelConfig, num_features: int, num_tokens: int) -> Net:
    """The net that `cfg.kind` names, for `num_features` inputs per frame and `num_tokens` outputs, blank included.

    Raises InputError for an unknown kind or a size out of bounds.
    """
    check_group("model", cfg)
    return NETS[cfg.kind](cfg, num_features, num_tokens)
