"""The training criteria: what the trainer minimises, and the errors by which it judges an epoch.

`ctc`, `lfmmi`, `mwer` and `smbr` (asr.training.discriminative) need the tokens of each text. `ce` needs the HMM state
of each frame, from `asr hmm train`; the net then takes the place of the mixtures (Bourlard & Morgan 1994,
"Connectionist speech recognition"). `lfmmi`, `mwer` and `smbr` can be over these states, too.
"""

import json
import math
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from asr.config import Config, CriterionConfig
from asr.criteria.ce import IGNORED, cross_entropy, frame_targets, path_targets
from asr.criteria.lfmmi import lfmmi_loss
from asr.criteria.totals import occupancy
from asr.data.alignments import TABLE
from asr.data.augment import of_features
from asr.data.dataset import Batch
from asr.data.sets import Sets
from asr.errors import InputError
from asr.literals import parse_json
from asr.models.acoustic import AcousticModel
from asr.models.layers import TokenOutput
from asr.states import HMM_FILE, States, every_nth
from asr.tokens import BLANK_ID, Tokens
from asr.training.discriminative import (
    CtcCriterion,
    LfmmiCriterion,
    MakeGraphs,
    MmiGraphs,
    MwerCriterion,
    Search,
    SmbrCriterion,
    frame_risk,
    word_errors,
    word_risk,
)
from asr.training.start import Start

NEVER = -1e4  # the bias of an output that no frame has
OVER_STATES = ("ce", "lfmmi", "mwer", "smbr")  # the criteria that take alignments
SEARCHING = ("mwer", "smbr")  # that search with the graph of the recogniser to start from


class Criterion(Protocol):
    """For log-probs (N, F', V) with their frames (N,) and a batch."""

    def loss(self, log_probs: Tensor, frames: Tensor, batch: Batch) -> Tensor:
        """Summed over the utterances, in nats."""

    def errors(self, log_probs: Tensor, frames: Tensor, batch: Batch) -> tuple[int, int]:
        """Wrong tokens, frames or words, and how many there are."""

    def finish(self, model: AcousticModel) -> None:
        """Makes the trained net one for the search."""


def make_criterion(
    cfg: Config, sets: Sets, start: Start | None = None, make_graphs: MakeGraphs | None = None
) -> Criterion:
    """The criterion that `cfg` names. `start`: the recogniser whose search mwer and smbr train for. `make_graphs` makes
    the graphs of LF-MMI over HMMs.

    Raises InputError if the net has other tokens than the graph of that search.
    """
    kind, alignments = cfg.criterion.kind, cfg.criterion.alignments
    if kind == "ce":
        return FrameCriterion(cfg, sets) if States.of(sets.tokens) else PathCriterion()
    if kind == "lfmmi":
        if not alignments:
            return LfmmiCriterion(cfg, sets)
        assert make_graphs
        return StateLfmmiCriterion(cfg, sets, make_graphs(cfg))
    if kind == "ctc":
        return CtcCriterion(cfg)
    assert start and start.make_search  # check_criterion
    if sets.tokens.symbols[: len(start.tokens)] != start.tokens.symbols:
        raise InputError(f"criterion={kind} searches with the graph of init={start.path}, whose tokens are not those "
                         "of this training; leave out tokens.table, or train in another folder with out=")  # fmt: skip
    search, scale = start.make_search(), start.cfg.decoder.acoustic_scale
    if alignments:
        return StateRiskCriterion(cfg, sets, search, scale, start.cfg.criterion.kind)
    if kind == "mwer":
        return MwerCriterion(cfg, search, scale, start.cfg.decoder.blank_penalty)
    return SmbrCriterion(cfg, search, scale)


class PathCriterion:
    """Cross-entropy of the outputs of each frame on paths of CTC, blanks among them, as `asr align` writes them. The
    search takes the net as one of CTC."""

    stretched = staticmethod(path_targets)  # targets at the frames of the net

    def loss(self, log_probs: Tensor, frames: Tensor, batch: Batch) -> Tensor:
        return cross_entropy(log_probs, self._targets(log_probs, frames, batch))

    def errors(self, log_probs: Tensor, frames: Tensor, batch: Batch) -> tuple[int, int]:
        targets = self._targets(log_probs, frames, batch)
        is_frame = targets != IGNORED
        return int((log_probs.argmax(2)[is_frame] != targets[is_frame]).sum()), int(is_frame.sum())

    def finish(self, model: AcousticModel) -> None:
        """The net was trained as it is searched."""

    def _targets(self, log_probs: Tensor, frames: Tensor, batch: Batch) -> Tensor:
        targets, lengths = (x.to(log_probs.device) for x in (batch.targets, batch.target_lengths))
        return self.stretched(targets, lengths, frames.to(log_probs.device), log_probs.shape[1])


class FrameCriterion(PathCriterion):
    """Cross-entropy of the states of HMMs."""

    stretched = staticmethod(frame_targets)

    def __init__(self, cfg: Config, sets: Sets):
        counts = torch.bincount(torch.cat(sets.train.targets), minlength=len(sets.tokens))
        self.priors = (counts + 1) / (counts + 1).sum()  # (V,) of the states, each counted once more than seen
        self.scale = read_scale(hmm_beside(cfg))

    @torch.no_grad()
    def undo_finish(self, model: AcousticModel) -> None:
        """Makes posteriors of the outputs of a finished net of the same HMMs. The blank's bias tells their scale."""
        output = model.net.output
        assert isinstance(output, TokenOutput)
        scale = output.linear.bias[BLANK_ID] / NEVER
        output.linear.weight.div_(scale)
        output.linear.bias.div_(scale).add_(self.priors.log().to(output.linear.bias))

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

    def posteriors_of(self, log_probs: Tensor) -> Tensor:
        """The log-posteriors that the outputs of a finished net stand for."""
        return (log_probs / self.scale + self.priors.log().to(log_probs)).log_softmax(-1)


class StateLfmmiCriterion(FrameCriterion):
    """LF-MMI over HMMs, with a share of the cross-entropy of the posteriors that the outputs stand for: those of
    `FrameCriterion` before `finish`. Wrong frames are those of the most probable state given the net and the phone
    n-gram."""

    def __init__(self, cfg: Config, sets: Sets, graphs: MmiGraphs):
        super().__init__(cfg, sets)
        self.graphs, self.zero_infinity = graphs, cfg.criterion.zero_infinity
        self.weight = cfg.criterion.auxiliary_weight
        tqdm.write(f"denominator: {len(graphs.denominator.label):,} arcs over the states of HMMs")

    def loss(self, log_probs: Tensor, frames: Tensor, batch: Batch) -> Tensor:
        numerators = [self.graphs.numerator(text) for text in batch.texts]
        x = log_probs.transpose(0, 1)  # (F, N, V)
        losses = lfmmi_loss(x, frames, numerators, self.graphs.denominator, self.zero_infinity)
        return losses.sum() + self.weight * super().loss(self.posteriors_of(log_probs), frames, batch)

    def errors(self, log_probs: Tensor, frames: Tensor, batch: Batch) -> tuple[int, int]:
        posteriors = occupancy(log_probs.transpose(0, 1), frames, self.graphs.denominator)
        return super().errors(posteriors.transpose(0, 1).to(log_probs.device), frames, batch)

    def undo_finish(self, model: AcousticModel) -> None:
        """The finished net is the one to start from."""

    def finish(self, model: AcousticModel) -> None:
        """The net was trained as it is searched."""


class StateRiskCriterion(FrameCriterion):
    """MWER or sMBR over HMMs, with a share of cross-entropy. `outputs`: those of the net to start from, see
    `outputs_of`. Behind cross-entropy, the net is trained as `FrameCriterion` leaves it before `finish`, and
    searched as after it; behind LF-MMI, it is trained as it is searched. The errors are those of the words that the
    search finds."""

    def __init__(self, cfg: Config, sets: Sets, search: Search, acoustic_scale: float, outputs: str):
        super().__init__(cfg, sets)
        self.search, self.acoustic_scale, self.weight = search, acoustic_scale, cfg.criterion.auxiliary_weight
        self.of_words, self.nbest = cfg.criterion.kind == "mwer", cfg.criterion.nbest
        self.are_posteriors = outputs != "lfmmi"

    def loss(self, log_probs: Tensor, frames: Tensor, batch: Batch) -> Tensor:
        references, x = self._targets(log_probs, frames, batch), self._searched(log_probs)
        if self.of_words:
            risk = word_risk(self.search, x, frames, batch.texts, self.nbest, self.acoustic_scale)
        else:
            risk = frame_risk(self.search, x, frames, references, self.acoustic_scale)
        posteriors = log_probs if self.are_posteriors else self.posteriors_of(log_probs)
        return risk + self.weight * cross_entropy(posteriors, references)

    def errors(self, log_probs: Tensor, frames: Tensor, batch: Batch) -> tuple[int, int]:
        return word_errors(self.search, self._searched(log_probs), frames, batch)

    def undo_finish(self, model: AcousticModel) -> None:
        if self.are_posteriors:
            super().undo_finish(model)

    def finish(self, model: AcousticModel) -> None:
        if self.are_posteriors:
            super().finish(model)

    def _searched(self, log_probs: Tensor) -> Tensor:
        return self.scale * (log_probs - self.priors.log().to(log_probs)) if self.are_posteriors else log_probs


def undo_finish(criterion: Criterion, model: AcousticModel, start: Start, tokens: Tokens) -> None:
    """What a training on states does first with the net of `start` that it continues with outputs `tokens`. Raises
    InputError if that scores states of other HMMs, or if its outputs cannot be made posteriors."""
    if not isinstance(criterion, FrameCriterion) or not States.of(start.tokens):
        return
    if start.tokens != tokens:
        raise InputError("the net of init= scores states of other HMMs than those of criterion.alignments; name the "
                         "alignments that it was trained on, or train without init")  # fmt: skip
    kind = start.cfg.criterion.kind
    if kind == "ctc" and not isinstance(criterion, StateLfmmiCriterion):
        raise InputError(f"the net of init={start.path} does not say its criterion, and so not whether its outputs are "
                         "posteriors; name a bundle of this version")  # fmt: skip
    if kind == "lfmmi" and not isinstance(criterion, StateLfmmiCriterion | StateRiskCriterion):
        raise InputError(f"the net of init={start.path} was trained with criterion=lfmmi, but criterion=ce continues "
                         "nets whose outputs are posteriors; name one of criterion=ce")  # fmt: skip
    criterion.undo_finish(model)


def outputs_of(cfg: Config, start: Start | None) -> str:
    """The criterion that made the outputs of a net what they are. Over HMMs, that is "lfmmi", for their steps at full
    weight, or "ce": MWER and sMBR leave them what they were."""
    kind = cfg.criterion.kind
    if kind in SEARCHING and cfg.criterion.alignments and start:
        return "lfmmi" if start.cfg.criterion.kind == "lfmmi" else "ce"
    return kind


def counted(cfg: Config) -> str:
    """What the errors of an epoch are counted of."""
    if cfg.criterion.kind in SEARCHING:
        return "word"
    return "frame" if cfg.criterion.alignments else "token"


def hmm_beside(cfg: Config) -> Path:
    """The HMMs that the alignments belong to."""
    return Path(cfg.criterion.alignments or "").with_name(HMM_FILE)


def are_of_hmms(cfg: Config) -> bool:
    """Whether the alignments, if there are any, are of HMMs and not of a CTC net."""
    alignments = cfg.criterion.alignments
    return bool(alignments and States.of(Tokens.read(Path(alignments).with_name(TABLE))))


def hmm_text(cfg: Config, outputs: str) -> str:
    """The HMMs that the trained net belongs to, as in `hmm.json`: of every n-th frame with model.subsampling=n. LF-MMI
    trains for their scale of 1."""
    text = hmm_beside(cfg).read_text(encoding="utf-8")
    if cfg.model.subsampling == 1 and outputs != "lfmmi":
        return text
    hmm = parse_json(text) | ({"scale": 1.0} if outputs == "lfmmi" else {})
    for entry in hmm["phones"]:
        entry["steps"] = every_nth(np.array(entry["steps"]), cfg.model.subsampling).tolist()
    return json.dumps(hmm)


def read_scale(path: Path) -> float:
    """The factor on log-probabilities in the search of HMMs."""
    try:
        scale = float(parse_json(path.read_text(encoding="utf-8"))["scale"])
        if not 0 < scale < math.inf:
            raise ValueError(f"its scale is {scale}")
        return scale
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise InputError(f"cannot read {path} beside the alignments ({e!r}); `asr hmm train` writes both") from e


def check_criterion(cfg: Config, start: Start | None = None) -> None:
    """Raises InputError for options that do not fit the criterion, and for mwer and smbr without a search."""
    check_views(cfg)
    check_unused(cfg)
    if cfg.criterion.prior_subtraction and cfg.model.self_conditioned:
        raise InputError("model.self_conditioned reads posteriors, but criterion.prior_subtraction divides them by "
                         "priors in the end; leave out one of them")  # fmt: skip
    alignments, kind = cfg.criterion.alignments, cfg.criterion.kind
    if alignments and kind not in OVER_STATES:
        raise InputError(f"criterion.alignments={alignments} is for criterion={', '.join(OVER_STATES[:-1])} and "
                         f"{OVER_STATES[-1]}; leave it out, or add one")  # fmt: skip
    if kind in SEARCHING:
        topology = "HMMs" if alignments else "CTC"
        if start is None or start.make_search is None or bool(States.of(start.tokens)) != bool(alignments):
            raise InputError(f"criterion={kind} searches with the graph of the recogniser that it starts from; name "
                             f"the bundle of one for {topology} with init=FILE")  # fmt: skip
    if not alignments and kind == "ce":
        raise InputError("criterion=ce needs criterion.alignments=FILE, the alignments.npz of `asr hmm train`")
    if not alignments:
        return
    if kind == "lfmmi" and not cfg.tokens.lexicon:
        raise InputError("criterion=lfmmi over HMMs needs tokens.lexicon=FILE, the lexicon that they were trained with")
    if not Path(alignments).is_file():
        raise InputError(f"there are no alignments {alignments}; run `asr hmm train` first")
    of_hmms = are_of_hmms(cfg)
    if not of_hmms and kind != "ce":
        raise InputError(f"criterion.alignments={alignments} holds paths of CTC, which only criterion=ce takes; leave "
                         "it out, or name those of `asr hmm train`")  # fmt: skip
    if of_hmms and cfg.model.subsampling != 1:
        check_subsampling(cfg)
    if cfg.augment.silence_s:
        raise InputError(f"augment.silence_s={cfg.augment.silence_s:g} moves the frames that criterion.alignments has "
                         "targets for; set it to 0")  # fmt: skip
    if cfg.model.self_conditioned:
        raise InputError("model.self_conditioned reads posteriors, but criterion=ce makes likelihoods of the outputs "
                         "in the end; leave it out")  # fmt: skip
    if cfg.data.replay or cfg.data.general_dev:
        raise InputError("criterion.alignments has no targets for data.replay and data.general_dev; leave them out")


def check_subsampling(cfg: Config) -> None:
    """Raises InputError if a phone of the HMMs has more states than a net that skips frames may see of it."""
    hmm = parse_json(hmm_beside(cfg).read_text(encoding="utf-8"))
    speech = [entry for entry in hmm["phones"] if entry["phone"] != hmm["silence"]]
    if (most := max((len(entry["steps"]) - 1 for entry in speech), default=1)) > 1:
        raise InputError(f"model.subsampling={cfg.model.subsampling}: a phone of {most} states lasts as many frames of "
                         "the net; set it to 1, or train HMMs with hmm.states=1")  # fmt: skip


def check_views(cfg: Config) -> None:
    """Raises InputError if the two views of `criterion.consistency` would be the same."""
    weight, augment = cfg.criterion.consistency, of_features(cfg)
    masked = augment.freq_masks * augment.freq_width + augment.time_masks * augment.time_width_s * augment.time_fraction
    drops = cfg.model.dropout and cfg.model.kind != "linear"  # which has no hidden values to drop
    if weight and not (masked or augment.bin_warp or drops):
        raise InputError(f"criterion.consistency={weight:g} compares two views of an utterance, but without masks, bin "
                         "warping and dropout they are the same; set augment.time_masks")  # fmt: skip


def check_unused(cfg: Config) -> None:
    """Raises InputError for an option of the criterion that was changed though nothing reads it."""
    kind = cfg.criterion.kind
    readers = {
        "intermediate_weight": (bool(cfg.model.intermediate), "model.intermediate"),
        "consistency_warmup": (cfg.criterion.consistency > 0, "criterion.consistency"),
        "ngram_order": (kind == "lfmmi", "criterion=lfmmi"),
        "nbest": (kind == "mwer", "criterion=mwer"),
        "auxiliary_weight": (kind in ("lfmmi", "mwer", "smbr"), "criterion=lfmmi, mwer or smbr"),
        "prior_scale": (kind == "ctc", "criterion=ctc"),
        "prior_subtraction": (kind == "ctc", "criterion=ctc"),
    }
    for name, (is_read, reader) in readers.items():
        if not is_read and (value := getattr(cfg.criterion, name)) != getattr(CriterionConfig(), name):
            raise InputError(
                f"criterion.{name}={value:g} does nothing without {reader}; leave it out, or set that, too"
            )
