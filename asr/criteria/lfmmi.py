"""Maximum mutual information without lattices (LF-MMI), and CTC-CRF as its case with the topology of CTC.

    loss = -ln ( sum over paths a of the transcript  w(a) prod_f exp(x[f, a_f])
               / sum over all paths a                w(a) prod_f exp(x[f, a_f]) )

Povey et al. 2016 ("Purely sequence-trained neural networks for ASR based on lattice-free MMI", eq. 1): w(a) is the
weight of a path in the denominator, a model of all token sequences composed with a topology. The same w is used in the
numerator, so that its paths are some of the denominator's and the loss is not negative. With the topology of CTC and
w(a) = P(tokens of a) it is the loss of CTC-CRF (Xiang & Ou 2019, "CRF-based single-stage acoustic modeling with CTC
topology", eq. 3). Both sums are exact. Paths begin in the initial state and end in a final state: utterances are not
cut into chunks, so no leaky HMM is needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from asr.criteria.acceptor import NO_LABEL, Acceptor
from asr.criteria.arguments import Lengths
from asr.criteria.ctc import ctc_loss
from asr.criteria.totals import log_totals


@dataclass(frozen=True)
class TokenModel:
    """A model of token sequences: H histories, V net outputs. Logarithms are natural."""

    start: int  # the history of the first token
    successor: np.ndarray  # (H, V) integers: the history after a token
    log_prob: np.ndarray  # (H, V) float64 of a token after a history; -inf for the blank
    log_final: np.ndarray  # (H,) float64 of the end after a history

    def score(self, tokens: Sequence[int]) -> float:
        """ln P(tokens, end)."""
        history, total = self.start, 0.0
        for token in tokens:
            total += float(self.log_prob[history, token])
            history = int(self.successor[history, token])
        return total + float(self.log_final[history])

    @cached_property
    def ctc(self) -> Acceptor:
        """The topology of CTC composed with the model: in each frame a token or the blank (output 0) is passed; a token
        may be repeated, and a blank stands between two equal ones.

        After a history h come its blank and, for each token that leads to h, that token. What follows any of them
        leaves from one silent state, except for the token just passed: it has to leave from the others.
        """
        size, outputs = self.log_prob.shape
        before, token = np.nonzero(self.log_prob > -np.inf)  # of each arc of the model
        after, weight = self.successor[before, token], self.log_prob[before, token]
        passed, at = np.unique(after * outputs + token, return_inverse=True)  # (history, its last token)
        at = at.ravel() + 2 * size
        own_history, own_token = np.divmod(passed, outputs)
        own = 2 * size + np.arange(len(passed))
        silent, blank, none = np.arange(size), size + np.arange(size), np.zeros(size)
        repeats = np.isin(before * outputs + token, passed)

        # A token that may have been the last one comes from the blank, or from another last token.
        again = np.flatnonzero(repeats)
        first = np.searchsorted(own_history, np.arange(size + 1))
        counts = first[before[again] + 1] - first[before[again]]
        which = np.repeat(again, counts)
        other = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts) + first[before[which]]
        differs = own_token[other] != token[which]
        which, other = which[differs], own[other[differs]]
        once = np.flatnonzero(~repeats)

        rows = [
            (silent, 0, none, blank),
            (blank, NO_LABEL, none, silent),
            (own, own_token, np.zeros(len(own)), own),
            (own, NO_LABEL, np.zeros(len(own)), own_history),
            (before[once], token[once], weight[once], at[once]),
            (size + before[again], token[again], weight[again], at[again]),
            (other, token[which], weight[which], at[which]),
        ]
        source, label, log_weight, target = (
            np.concatenate([np.broadcast_to(row[k], row[0].shape) for row in rows]) for k in range(4)
        )
        start, final = np.full((2, 2 * size + len(own)), -np.inf)
        start[size + self.start] = 0.0
        final[:size] = self.log_final
        return Acceptor(source, label, log_weight, target, start, final)


def ctc_crf_loss(x: Tensor, targets: Tensor, input_lengths: Lengths, target_lengths: Lengths, model: TokenModel,
                 zero_infinity: bool = False) -> Tensor:  # fmt: skip
    """The loss of each utterance, in nats: (N,) float64. The arguments are those of `asr.ctc_loss`; the blank is 0.

    x (T, N, V) need not be normalised: adding a number to all outputs of a frame changes nothing. The gradient is the
    posterior of each output given any tokens, minus that given the target's. An utterance too short for its target, or
    with a target that the model excludes, has a loss of infinity, or 0 with `zero_infinity`, and a zero gradient.

    Raises InputError for a shape, length or label that does not fit.
    """
    numerator = -ctc_loss(x.double(), targets, input_lengths, target_lengths, reduction="none")
    labels, sizes = targets.tolist(), torch.as_tensor(target_lengths).tolist()
    if targets.dim() == 1:
        ends = np.cumsum(sizes).tolist()
        labels = [labels[end - size : end] for end, size in zip(ends, sizes, strict=True)]
    scores = [model.score(row[:size]) for row, size in zip(labels, sizes, strict=True)]
    numerator = numerator + torch.tensor(scores, dtype=torch.float64, device=numerator.device)
    return _difference(numerator, log_totals(x, input_lengths, model.ctc), zero_infinity)


def lfmmi_loss(x: Tensor, input_lengths: Lengths, numerators: Sequence[Acceptor], denominator: Acceptor,
               zero_infinity: bool = False) -> Tensor:  # fmt: skip
    """As `ctc_crf_loss`, for any topology: the paths of each transcript (N of them) and of all, with their weights."""
    numerator = log_totals(x, input_lengths, numerators)
    return _difference(numerator, log_totals(x, input_lengths, denominator), zero_infinity)


def _difference(numerator: Tensor, denominator: Tensor, zero_infinity: bool) -> Tensor:
    impossible = numerator == -torch.inf
    losses = torch.where(impossible, 0.0, denominator - torch.where(impossible, 0.0, numerator))
    return losses if zero_infinity else losses.masked_fill(impossible, torch.inf)
