"""Training on a pretrained encoder: its outputs are computed once and stored, and the net is trained on them."""

import copy
import math
from dataclasses import replace
from pathlib import Path

from asr.config import Config
from asr.data.extract import extract
from asr.data.scenes.scene import without_scenes
from asr.features.encoders import full_name, open_encoder


def with_full_name(cfg: Config) -> Config:
    """`cfg` with the absolute path of the encoder, if it is a folder."""
    if cfg.features.encoder is None:
        return cfg
    cfg = copy.copy(cfg)
    cfg.features = copy.copy(cfg.features)
    cfg.features.encoder = full_name(cfg.features.encoder)
    return cfg


def encode_sets(cfg: Config) -> Config:
    """`cfg` for a training on stored encoder outputs, which are computed if they are not there.

    The training set is encoded at each of `augment.speeds`, with silences, levels and scenes as `augment` says. Raises
    InputError as `extract` does.
    """
    folder = Path(cfg.out) / "features"
    encoder = open_encoder(cfg.features.encoder)
    train = extract(cfg.data.train, folder / "train.jsonl", cfg, cfg.augment, encoder)
    dev = extract(cfg.data.dev, folder / "dev.jsonl", cfg, encoder=encoder)
    values = encoder.dim * max(1, len(cfg.features.sum_layers))
    features = replace(cfg.features, kind="stored", num_bins=values, encoder=None, layer=None)
    data, augment = replace(cfg.data, train=str(train), dev=str(dev)), replace(without_scenes(cfg.augment), speeds=[])
    data.max_audio_s = math.inf  # longer recordings are set aside, but silence and slow speech may add to others
    if data.replay:
        data.replay = str(extract(data.replay, folder / "replay.jsonl", cfg, cfg.augment, encoder))
    if data.general_dev:
        data.general_dev = str(extract(data.general_dev, folder / "general_dev.jsonl", cfg, encoder=encoder))
    return replace(cfg, data=data, features=features, augment=augment)
