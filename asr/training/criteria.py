"""The training criteria: what the trainer minimises, and the errors by which it judges an epoch.

`ctc` needs the tokens of each text. `ce` needs the HMM state of each frame, from `asr hmm train`; the net then takes
the place of the mixtures (Bourlard & Morgan 1994, "Connectionist speech recognition").
"""

from pathlib import Path
from typing import Protocol

import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor

from asr.config import Config
from asr.criteria import ctc_greedy, ctc_loss
from asr.criteria.ce import IGNORED, cross_entropy, frame_targets
from asr.data.dataset import Batch
from asr.data.sets import Sets
from asr.errors import InputError
from asr.literals import parse_json
from asr.models.acoustic import AcousticModel
from asr.models.layers import TokenOutput
from asr.states import HMM_FILE
from asr.tokens import BLANK_ID

NEVER = -1e4  # the bias of an output that no frame has


class Criterion(Protocol):
    """For log-probs (N, F', V) with their frames (N,) and a batch."""

    def loss(self, log_probs: Tensor, frames: Tensor, batch: Batch) -> Tensor:
        """Summed over the utterances, in nats."""

    def errors(self, log_probs: Tensor, frames: Tensor, batch: Batch) -> tuple[int, int]:
        """Wrong tokens or frames, and how many there are."""

    def finish(self, model: AcousticModel) -> None:
        """Makes the trained net one for the search."""


def make_criterion(cfg: Config, sets: Sets) -> Criterion:
    return FrameCriterion(cfg, sets) if cfg.criterion.kind == "ce" else CtcCriterion(cfg)


class CtcCriterion:
    def __init__(self, cfg: Config):
        self.zero_infinity = cfg.criterion.zero_infinity

    def loss(self, log_probs: Tensor, frames: Tensor, batch: Batch) -> Tensor:
        return ctc_loss(
            log_probs.transpose(0, 1),  # (F', N, V)
            batch.targets.to(log_probs.device),
            frames,
            batch.target_lengths.to(log_probs.device),
            reduction="sum",
            zero_infinity=self.zero_infinity,
        )

    def errors(self, log_probs: Tensor, frames: Tensor, batch: Batch) -> tuple[int, int]:
        pairs = zip(ctc_greedy(log_probs, frames), batch.targets, batch.target_lengths.tolist(), strict=True)
        wrong = sum(Levenshtein.distance(found, target[:n].tolist()) for found, target, n in pairs)
        return wrong, int(batch.target_lengths.sum())

    def finish(self, model: AcousticModel) -> None:
        """The search takes the net as it is."""


class FrameCriterion:
    def __init__(self, cfg: Config, sets: Sets):
        counts = torch.bincount(torch.cat(sets.train.targets), minlength=len(sets.tokens))
        self.priors = (counts + 1) / (counts + 1).sum()  # (V,) of the states, each counted once more than seen
        self.scale = read_scale(hmm_beside(cfg))

    def loss(self, log_probs: Tensor, frames: Tensor, batch: Batch) -> Tensor:
        return cross_entropy(log_probs, self._targets(log_probs, frames, batch))

    def errors(self, log_probs: Tensor, frames: Tensor, batch: Batch) -> tuple[int, int]:
        targets = self._targets(log_probs, frames, batch)
        is_frame = targets != IGNORED
        return int((log_probs.argmax(2)[is_frame] != targets[is_frame]).sum()), int(is_frame.sum())

    @torch.no_grad()
    def finish(self, model: AcousticModel) -> None:
        """Divide the posteriors by the priors of the states, which gives likelihoods up to a factor per frame, and
        multiply the logarithms by the scale of the HMMs.

        Both are linear before the softmax of the output layer, and its sum is the same for all paths of the search.
        """
        output = model.net.output
        assert isinstance(output, TokenOutput)
        bias, weight = output.linear.bias, output.linear.weight
        bias.sub_(self.priors.log().to(bias))
        bias[BLANK_ID] = NEVER
        bias.mul_(self.scale)
        weight.mul_(self.scale)

    def _targets(self, log_probs: Tensor, frames: Tensor, batch: Batch) -> Tensor:
        targets, lengths = (x.to(log_probs.device) for x in (batch.targets, batch.target_lengths))
        return frame_targets(targets, lengths, frames.to(log_probs.device), log_probs.shape[1])


def hmm_beside(cfg: Config) -> Path:
    """The HMMs that the alignments belong to."""
    return Path(cfg.criterion.alignments or "").with_name(HMM_FILE)


def read_scale(path: Path) -> float:
    """The factor on log-probabilities in the search of HMMs."""
    try:
        return float(parse_json(path.read_text(encoding="utf-8"))["scale"])
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise InputError(f"cannot read {path} beside the alignments ({e!r}); `asr hmm train` writes both") from e


def check_criterion(cfg: Config) -> None:
    """Raises InputError for options that do not fit the criterion."""
    check_views(cfg)
    alignments = cfg.criterion.alignments
    if cfg.criterion.kind != "ce":
        if alignments:
            raise InputError(f"criterion.alignments={alignments} is for criterion=ce; leave it out, or add that")
        return
    if not alignments:
        raise InputError("criterion=ce needs criterion.alignments=FILE, the alignments.npz of `asr hmm train`")
    if not Path(alignments).is_file():
        raise InputError(f"there are no alignments {alignments}; run `asr hmm train` first")
    if cfg.model.subsampling != 1:
        raise InputError(f"model.subsampling={cfg.model.subsampling}: HMMs count frames of features; set it to 1")
    if cfg.augment.silence_s:
        raise InputError(f"augment.silence_s={cfg.augment.silence_s:g} moves the frames that criterion=ce has targets "
                         "for; set it to 0")  # fmt: skip
    if cfg.model.self_conditioned:
        raise InputError("model.self_conditioned reads posteriors, but criterion=ce makes likelihoods of the outputs "
                         "in the end; leave it out")  # fmt: skip
    if cfg.data.replay or cfg.data.general_dev:
        raise InputError("criterion=ce has no targets for data.replay and data.general_dev; leave them out")


def check_views(cfg: Config) -> None:
    """Raises InputError if the two views of `criterion.consistency` would be the same."""
    weight, augment = cfg.criterion.consistency, cfg.augment
    masked = augment.freq_masks * augment.freq_width + augment.time_masks * augment.time_width_s * augment.time_fraction
    drops = cfg.model.dropout and cfg.model.kind != "linear"  # which has no hidden values to drop
    if weight and not (masked or augment.bin_warp or drops):
        raise InputError(f"criterion.consistency={weight:g} compares two views of an utterance, but without masks, bin "
                         "warping and dropout they are the same; set augment.time_masks")  # fmt: skip
