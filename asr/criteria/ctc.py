"""CTC (Graves et al., ICML 2006): the negative log of the summed probability of all alignments of a target.

An alignment gives each frame a label or the blank; dropping repeats, then blanks, leaves the target. The work is done
in `csrc/ctc`; `ctc_loss_reference` says the same in a few lines of Python.

There are two operators, forward and backward. The forward leaves a small state (the normaliser of each frame, one row
of alpha in sqrt(T)); the backward then writes the gradient once, already times what comes from above. A gradient made
in the forward would need a second pass over (T, N, V) for that, which costs more than the rest for a large vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from asr import _ctc
from asr.errors import InputError

REDUCTIONS = ("none", "sum", "mean")


def ctc_loss(
    x: Tensor,
    targets: Tensor,
    input_lengths: Tensor | Sequence[int],
    target_lengths: Tensor | Sequence[int],
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
    logits: bool = False,
) -> Tensor:
    """The CTC loss in nats, with torch's arguments and meaning of them.

    x: (T, N, V) natural log-probabilities, or logits to be normalised on the way (`logits=True`, faster). Any floating
      type; half types are computed in float32. Work on another device than the CPU is done on the CPU.
    targets: (N, S) padded, or the N targets joined into one dimension; labels in 0..V-1, none of them the blank.
    input_lengths, target_lengths: (N,) frames and labels of each utterance.
    reduction: "none" (N,), "sum", or "mean": the mean over utterances of loss / max(target length, 1).
    zero_infinity: an utterance too short for its target (see `min_frames`) costs 0 instead of infinity.

    The gradient is the true derivative by `x`; for log-probabilities it is minus the posterior of each label. (torch
    adds exp(x) there, which the log-softmax behind it takes away again.) A loss of infinity has a zero gradient; NaN
    among the scores of the target makes both NaN. The results are the same bits for any number of threads.

    Raises InputError for a shape, length or label that does not fit.
    """
    if reduction not in REDUCTIONS:
        raise InputError(f"reduction is {reduction!r}; ctc_loss knows {', '.join(REDUCTIONS)}")
    if x.dim() != 3 or not x.is_floating_point() or x.shape[2] == 0:
        raise InputError(f"x has shape {tuple(x.shape)} and type {x.dtype}; ctc_loss needs floating (T, N, V)")
    frames, batch, vocabulary = x.shape
    if not 0 <= blank < vocabulary:
        raise InputError(f"blank is {blank}; it must be one of the {vocabulary} outputs of x, 0..{vocabulary - 1}")
    if targets.dim() not in (1, 2) or targets.dim() == 2 and targets.shape[0] != batch or targets.is_floating_point():
        raise InputError(
            f"targets have shape {tuple(targets.shape)} and type {targets.dtype}; "
            f"ctc_loss needs integers, ({batch}, S) padded or one dimension with all targets joined"
        )
    input_lengths = _lengths("input_lengths", input_lengths, batch)
    target_lengths = _lengths("target_lengths", target_lengths, batch)
    scores = x.cpu() if x.dtype in (torch.float32, torch.float64) else x.cpu().float()
    losses, _ = _forward(
        scores if scores.stride(2) == 1 else scores.contiguous(),
        _padded(targets.to("cpu", torch.int64), target_lengths).contiguous(),
        input_lengths,
        target_lengths,
        blank,
        zero_infinity,
        logits,
        torch.is_grad_enabled() and x.requires_grad,
    )
    if reduction == "sum":
        losses = losses.sum()
    elif reduction == "mean":
        losses = (losses / target_lengths.clamp(min=1)).mean()
    return losses.to(x.device)


def min_frames(targets: Sequence[int] | Tensor) -> int:
    """The fewest frames an alignment of one target takes: its tokens, and a blank between equal neighbours."""
    labels = targets.tolist() if isinstance(targets, Tensor) else list(targets)
    return len(labels) + sum(a == b for a, b in zip(labels, labels[1:], strict=False))


def ctc_greedy(log_probs: Tensor, lengths: Tensor | Sequence[int], blank: int = 0) -> list[list[int]]:
    """The tokens of the best output of each frame: (N, F, V) and (N,) frames -> repeats, then blanks dropped."""
    if log_probs.dim() != 3:
        raise InputError(f"log_probs have shape {tuple(log_probs.shape)}; ctc_greedy needs (N, F, V)")
    best = log_probs.argmax(dim=2).cpu()  # (N, F)
    frames = _lengths("lengths", lengths, len(best)).tolist()
    paths = (torch.unique_consecutive(path[:n]).tolist() for path, n in zip(best, frames, strict=True))
    return [[token for token in path if token != blank] for path in paths]


def ctc_loss_reference(x: Tensor, target: Sequence[int], blank: int = 0) -> Tensor:
    """The loss of one utterance: x (T, V) natural log-probabilities. Slow, to be read and to test against.

    The states of an alignment are the labels with a blank around each. It starts in the first blank or label, each
    frame it stays, goes to the next state, or leaps over a blank between two different labels, and it ends in the
    last label or blank.
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


def _lengths(name: str, lengths: Tensor | Sequence[int], batch: int) -> Tensor:
    lengths = torch.as_tensor(lengths)
    if lengths.shape != (batch,) or batch and lengths.is_floating_point():
        raise InputError(f"{name} have shape {tuple(lengths.shape)}; expected {batch} integers, one an utterance")
    return lengths.to("cpu", torch.int64).contiguous()


def _padded(targets: Tensor, lengths: Tensor) -> Tensor:
    """Joined targets -> (N, S)."""
    if targets.dim() == 2:
        return targets
    if int(lengths.sum()) != len(targets) or int(lengths.clamp(max=0).sum()):
        raise InputError(f"target_lengths are {lengths.tolist()}; they must share out the {len(targets)} joined labels")
    if not len(lengths):
        return targets.view(0, 0)
    return torch.nn.utils.rnn.pad_sequence(list(targets.split(lengths.tolist())), batch_first=True)


@torch.library.custom_op("asr::ctc_loss", mutates_args=(), device_types="cpu")
def _forward(
    x: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    blank: int,
    zero_infinity: bool,
    logits: bool,
    with_state: bool,
) -> tuple[Tensor, Tensor]:
    """(T, N, V), (N, S), (N,), (N,) -> losses (N,), and the state of the backward, or nothing."""
    losses, state = _outputs(x, targets, with_state)
    arguments = (targets, input_lengths, target_lengths, blank, zero_infinity, logits)
    try:
        _ctc.forward(x.detach(), *arguments, losses, state if with_state else None, torch.get_num_threads())
    except ValueError as e:
        raise InputError(str(e)) from None
    return losses, state


@torch.library.custom_op("asr::ctc_loss_backward", mutates_args=(), device_types="cpu")
def _backward(
    x: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    state: Tensor,
    upstream: Tensor,
    blank: int,
    logits: bool,
) -> Tensor:
    grad = torch.empty_like(x)
    arguments = (targets, input_lengths, target_lengths, blank, logits)
    _ctc.backward(x.detach(), *arguments, state, upstream.detach().contiguous(), grad, torch.get_num_threads())
    return grad


@_forward.register_fake
def _(x, targets, input_lengths, target_lengths, blank, zero_infinity, logits, with_state):
    return _outputs(x, targets, with_state)


@_backward.register_fake
def _(x, targets, input_lengths, target_lengths, state, upstream, blank, logits):
    return torch.empty_like(x)


def _outputs(x: Tensor, targets: Tensor, with_state: bool) -> tuple[Tensor, Tensor]:
    size = _ctc.state_size(*x.shape, targets.shape[1], torch.get_num_threads()) if with_state else 0
    return x.new_empty(x.shape[1]), x.new_empty((x.shape[1], size), dtype=torch.int64)


def _save(ctx, inputs, output):
    x, targets, input_lengths, target_lengths, ctx.blank, _, ctx.logits, _ = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)  # or torch would fill zeros of the state's size
    ctx.save_for_backward(x, targets, input_lengths, target_lengths, output[1])


def _differentiate(ctx, upstream, _):
    grad = _backward(*ctx.saved_tensors, upstream, ctx.blank, ctx.logits)
    return grad, *[None] * 7


def _refuse(ctx, *_):
    raise NotImplementedError("ctc_loss has no second derivative; take its gradient without create_graph=True")


_forward.register_autograd(_differentiate, setup_context=_save)
_backward.register_autograd(_refuse)
