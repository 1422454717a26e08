"""The optimiser, and gradients in one block of memory."""

import re

import torch

from asr.config import Config
from asr.models.acoustic import AcousticModel


def make_optimizer(model: AcousticModel, cfg: Config) -> torch.optim.AdamW:
    """AdamW, without weight decay for biases and normalisation weights. The encoder's layers have `optim.tune_lr`."""
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decay = cfg.optim.weight_decay if parameter.dim() > 1 else 0.0
        groups.setdefault((-rate_scale(name, cfg), -decay), []).append(parameter)
    ordered = [{"params": groups[key], "weight_decay": -key[1], "scale": -key[0]} for key in sorted(groups)]
    return torch.optim.AdamW(ordered, lr=cfg.optim.lr, betas=(0.9, 0.98), fused=True)


def rate_scale(name: str, cfg: Config) -> float:
    """The learning rate of a parameter, relative to `optim.lr`.

    The last of the encoder's layers has `optim.tune_lr`, each one below `optim.tune_decay` of that of the next
    (Howard & Ruder 2018, ULMFiT, arXiv:1801.06146).
    """
    if not name.startswith("upper.") or not cfg.optim.lr:
        return 1.0
    layer = re.search(r"\.(\d+)\.", name)  # as in upper.blocks.0.norm.weight
    below = cfg.model.tune_layers - 1 - int(layer[1]) if layer else 0
    return cfg.optim.tune_lr / cfg.optim.lr * cfg.optim.tune_decay**below


def bind_gradients(parameters: list[torch.nn.Parameter], gradient: torch.Tensor) -> None:
    """Make each parameter's `grad` a view of its part of `gradient` (P,)."""
    for parameter, part in zip(parameters, gradient.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = part.view_as(parameter)
