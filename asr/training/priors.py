"""How often each output occurs in an epoch of the training: the priors of the next one, and of the trained net.

The posteriors of the shards are added in their order, so the priors are the same for any number of processes. They are
in the state of the training, as `log_priors` of the last epoch and as `posteriors` so far. Its JSON keeps every bit, so
a resumed epoch ends with the same priors.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from asr.config import CriterionConfig
from asr.criteria.priors import log_priors_of
from asr.training.criteria import Criterion
from asr.training.discriminative import CtcCriterion


def are_needed(cfg: CriterionConfig) -> bool:
    return cfg.prior_scale > 0 or cfg.prior_subtraction > 0


def add(state: dict[str, Any], totals: Iterable[np.ndarray | None]) -> None:
    """Count the posteriors (V,) of shards, summed over their frames; None for shards without any."""
    for total in totals:
        if total is not None:
            state["posteriors"] = (np.array(state.get("posteriors", 0.0)) + total).tolist()


def finish_epoch(state: dict[str, Any]) -> None:
    if "posteriors" in state:
        state["log_priors"] = log_priors_of(np.array(state.pop("posteriors"))).tolist()


def tell(criterion: Criterion, log_priors: list[float] | None) -> None:
    """Give the priors of the last epoch to the criterion; None: it shall compute without priors."""
    if isinstance(criterion, CtcCriterion):
        criterion.log_priors = None if log_priors is None else torch.tensor(log_priors)
