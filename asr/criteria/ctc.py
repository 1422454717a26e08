"""CTC (Graves et al., ICML 2006): the negative log of the total probability of all alignments of a target.

An alignment assigns a label or the blank to each frame; merging repeats, then removing blanks, gives the target. The
loss is computed in `csrc/ctc`; `ctc_loss_reference` defines it in a few lines of Python.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from asr.criteria import operators
from asr.criteria.arguments import Lengths, check_arguments
from asr.errors import InputError
from asr.tokens import min_frames

REDUCTIONS = ("none", "sum", "mean")


def ctc_loss(
    x: Tensor,
    targets: Tensor,
    input_lengths: Lengths,
    target_lengths: Lengths,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
    logits: bool = False,
    weights: Tensor | None = None,
) -> Tensor:
    """The CTC loss in nats. The arguments have the same meaning as in torch.nn.functional.ctc_loss.

    x: (T, N, V) natural log-probs, or logits, which are normalised in the same pass (`logits=True`, faster). Log-probs
      need not be normalised; values above 1000 count as NaN. Any floating type; half types are computed in float32. If
      there is no kernel for the device of x, the loss is computed on the CPU.
    targets: (N, S) padded, or the N targets concatenated; labels in 0..V-1 except the blank.
    input_lengths, target_lengths: (N,) frames and labels of each utterance.
    reduction: "none" (N,), "sum", or "mean": the mean over utterances of loss / max(target length, 1).
    zero_infinity: an utterance too short for its target (see `ctc_infeasible`) has a loss of 0 instead of infinity.
    weights: (N,) factors of the losses, applied before the reduction.

    The gradient is the exact derivative with respect to x; for log-probs it is the negative posterior of each label.
    (torch adds exp(x), which cancels in the gradient of a preceding log-softmax.) An infinite loss has a zero gradient.
    NaN among the log-probs of the target makes loss and gradient NaN. The results are bit-identical for any number of
    threads.

    Raises InputError for a shape, length or label that does not fit. On a GPU the host does not read lengths and
    labels: an utterance with an invalid one has a loss of NaN.
    """
    if reduction not in REDUCTIONS:
        raise InputError(f"reduction is {reduction!r}; expected one of {', '.join(REDUCTIONS)}")
    arguments = check_arguments(x, targets, input_lengths, target_lengths, blank)
    if weights is not None and weights.shape != x.shape[1:2]:
        raise InputError(f"weights have shape {tuple(weights.shape)}; expected ({x.shape[1]},), one per utterance")
    losses = _Loss.apply(*arguments, blank, zero_infinity, logits, torch.is_grad_enabled() and x.requires_grad)
    if weights is not None:
        losses = losses * weights.to(losses.device)
    if reduction == "sum":
        losses = losses.sum()
    elif reduction == "mean":
        losses = (losses / arguments.target_lengths.clamp(min=1)).mean()
    return losses if losses.device == x.device else losses.to(x.device)


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, targets, input_lengths, target_lengths, blank, zero_infinity, logits, with_state):
        arguments = (x, targets, input_lengths, target_lengths)
        losses, state = operators.forward(*arguments, blank, zero_infinity, logits, with_state)
        ctx.save_for_backward(*arguments, state)
        ctx.options = (blank, logits)
        return losses

    @staticmethod
    def backward(ctx, upstream):
        return _Gradient.apply(*ctx.saved_tensors, upstream, *ctx.options), *[None] * 7


class _Gradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *arguments):
        return operators.backward(*arguments)

    @staticmethod
    def backward(ctx, *_):
        raise NotImplementedError("ctc_loss has no second derivative; do not use create_graph=True")


def ctc_infeasible(targets: Tensor, input_lengths: Lengths, target_lengths: Lengths) -> list[int]:
    """Indices of the utterances with too few frames for their target. targets: (N, S) padded; lengths: (N,)."""
    sizes = torch.as_tensor(target_lengths).tolist()
    frames = torch.as_tensor(input_lengths).tolist()
    labels = (row[:size] for row, size in zip(targets.tolist(), sizes, strict=True))
    return [n for n, (y, available) in enumerate(zip(labels, frames, strict=True)) if min_frames(y) > available]


def ctc_loss_reference(x: Tensor, target: Sequence[int], blank: int = 0) -> Tensor:
    """The loss of one utterance, x (T, V) natural log-probs. Slow; a readable definition and a reference for tests.

    The states are the labels with a blank before, between and after them. An alignment starts in the first blank or
    label. In each frame it stays, moves to the next state, or skips a blank between two different labels. It ends in
    the last label or blank.
    """
    states = [blank]
    for label in target:
        states += [label, blank]
    nothing = x.new_tensor(float("-inf"))
    alpha = [x.new_tensor(0.0)] + [nothing] * (len(states) - 1)  # before the first frame
    for t in range(len(x)):
        before = alpha
        alpha = []
        for s, label in enumerate(states):
            ways = [before[s]]
            if s > 0 and (t > 0 or s == 1):
                ways.append(before[s - 1])
            if s > 1 and label != blank and label != states[s - 2]:
                ways.append(before[s - 2])
            possible = [way for way in ways if way > nothing]
            alpha.append(torch.logsumexp(torch.stack(possible), 0) + x[t, label] if possible else nothing)
    return -torch.logsumexp(torch.stack(alpha[-2:]), 0)
