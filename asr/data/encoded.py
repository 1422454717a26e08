"""Training on a pretrained encoder: its outputs are computed once and stored, and the net is trained on them."""

from dataclasses import replace
from pathlib import Path

from asr.config import Config, FeaturesConfig
from asr.data.extract import extract
from asr.features.frontend import FrontEnd


def encode_sets(cfg: Config) -> Config:
    """`cfg` for a training on stored encoder outputs, which are computed if they are not there.

    The training set is encoded at each of `augment.speeds`. Raises InputError as `extract` does.
    """
    folder = Path(cfg.out) / "features"
    speeds = sorted(set(cfg.augment.speeds)) or [1.0]
    train = extract(cfg.data.train, folder / "train.jsonl", cfg, speeds)
    dev = extract(cfg.data.dev, folder / "dev.jsonl", cfg)
    dim = FrontEnd(cfg.features).dim
    cfg = replace(cfg, data=replace(cfg.data, train=str(train), dev=str(dev)), augment=replace(cfg.augment, speeds=[]))
    cfg.features = FeaturesConfig(kind="stored", num_bins=dim, shift_ms=cfg.features.shift_ms, cmvn=cfg.features.cmvn)
    return cfg
