"""The verb `asr model`: see asr/cli/verbs.py."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from asr.cli.inputs import only_input
from asr.config import Config, FeaturesConfig, ModelConfig
from asr.errors import InputError

if TYPE_CHECKING:
    from asr.models.acoustic import AcousticModel

NUM_TOKENS = 30  # outputs of an untrained net: letters, space and blank, about


def model(cfg: Config) -> None:
    """Prints what a model costs: parameters, multiply-adds, time on one CPU thread, latency.

    asr model MODEL.asr
    asr model exp/my
    asr model model=conformer features=mfcc

    The first two are of a recogniser, or of the trained net in a run folder. The third is of an untrained net with 30
    outputs. The latency is the time from the beginning of a frame to its log-probs in a stream, without computing.
    """
    from asr.models.cost import measure

    found, features, what = _opened(cfg) if cfg.input else untrained(cfg)
    print(f"{what}\n{measure(found, features).table()}", end="")


def _opened(cfg: Config) -> "tuple[AcousticModel, FeaturesConfig, str]":
    """The model of a bundle or run folder, its features, and a line about it."""
    from asr.models.acoustic import AcousticModel
    from asr.recognizer import run_folder

    path = only_input(cfg, "a bundle or a run folder")
    if asdict(cfg.model) != asdict(ModelConfig()) or asdict(cfg.features) != asdict(FeaturesConfig()):
        raise InputError(f"{path} has its own net and features; leave out those options, or the path")
    found, trained, *_ = run_folder.open_model(path)
    if not isinstance(found, AcousticModel):
        raise InputError(f"{path} holds a model in ONNX, whose parts are not known here; `asr model` takes models that "
                         "were trained here or imported from Hugging Face")  # fmt: skip
    return found, trained.features, f"{path}: {_named(trained)}, {found.num_tokens} outputs"


def untrained(cfg: Config) -> "tuple[AcousticModel, FeaturesConfig, str]":
    """The model of a configuration."""
    import torch

    from asr.models import check_net
    from asr.models.acoustic import AcousticModel

    check_net(cfg.model)
    made = AcousticModel(cfg.features, cfg.model, NUM_TOKENS)
    if cfg.features.cmvn in ("global", "causal"):
        made.frontend.set_global_stats(torch.zeros(made.frontend.dim), torch.ones(made.frontend.dim))
    return made, cfg.features, f"{_named(cfg)}, {NUM_TOKENS} outputs, untrained"


def _named(cfg: Config) -> str:
    return f"{cfg.model.kind} on {cfg.features.kind}, {cfg.features.sample_rate_hz} Hz"
