"""Minimum word error rate training (Prabhavalkar et al. 2018, "Minimum word error rate training for attention-based
sequence-to-sequence models", eq. 2 and 3), over the n-best lists of the beam search.

    loss = sum_i p_i W_i        p_i = exp(s_i) / sum_j exp(s_j)        s_i = scale * ln P_ctc(tokens_i | x) - cost_i

W_i is the number of word errors of hypothesis i. The probability of its tokens is the sum over all their alignments,
in which each blank costs the search's penalty, and cost_i that of the search's graph: the p_i are those of the search,
summed over alignments. The paper subtracts the mean of the W_i from each, which does not change the gradient.

Over the states of HMMs, a hypothesis has its best path alone: s_i = scale * sum_f x[f, a_if] - cost_i, where a_if is
its label in frame f, and cost_i includes the steps of the HMMs. The p_i are those of the search itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.criteria.arguments import Lengths
from asr.criteria.ctc import ctc_loss


@dataclass(frozen=True)
class Hypothesis:
    words: list[str]
    tokens: list[int]  # net outputs without blanks and repeats
    cost: float  # of the graph, without the net: a negative natural log
    path: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # (F,) labels of its best path


def expected_errors(x: Tensor, lengths: Lengths, hypotheses: Sequence[Sequence[Hypothesis]],
                    errors: Sequence[Sequence[int]], scale: float, blank_penalty: float = 0.0) -> Tensor:  # fmt: skip
    """The expected number of word errors of each utterance: (N,), differentiable with respect to x.

    x: (T, N, V) log-probs; lengths: (N,) frames; hypotheses: of each utterance, with the errors of each. An utterance
    with one hypothesis has its errors as a constant, one without any has 0. `scale`: the factor on log-probs in the
    search; `blank_penalty`: its cost per blank frame, which is not scaled.
    """
    numbers = [n for n, own in enumerate(hypotheses) for _ in own]
    if not numbers:
        return 0 * x.sum((0, 2))
    found = [hypothesis for own in hypotheses for hypothesis in own]
    sizes = torch.tensor([len(hypothesis.tokens) for hypothesis in found])
    tokens = torch.tensor([token for hypothesis in found for token in hypothesis.tokens], dtype=torch.int64)
    each = torch.as_tensor(lengths).cpu()[numbers]
    if blank_penalty:
        x = torch.cat([x[..., :1] - blank_penalty / scale, x[..., 1:]], 2)
    losses = ctc_loss(x[:, numbers], tokens, each, sizes, reduction="none")  # (K,) of all hypotheses
    scores = -scale * losses - losses.new_tensor([hypothesis.cost for hypothesis in found])
    return torch.stack([
        (own.softmax(0) * own.new_tensor(wrong)).sum() if len(own) else own.sum()
        for own, wrong in zip(scores.split([len(own) for own in hypotheses]), errors, strict=True)
    ])  # fmt: skip


def expected_path_errors(x: Tensor, hypotheses: Sequence[Sequence[Hypothesis]], errors: Sequence[Sequence[int]],
                         scale: float) -> Tensor:  # fmt: skip
    """`expected_errors` of hypotheses with one path each: (N,) float64. x (F, N, V): log-probs, normalised or not."""
    risks = []
    for n, (own, wrong) in enumerate(zip(hypotheses, errors, strict=True)):
        if not own:
            risks.append(0 * x[:, n].sum().double())
            continue
        paths = torch.from_numpy(np.stack([hypothesis.path for hypothesis in own])).to(x.device)  # (K, F)
        passed = x[torch.arange(paths.shape[1], device=x.device), n, paths].double()  # (K, F)
        scores = scale * passed.sum(1) - passed.new_tensor([hypothesis.cost for hypothesis in own])
        risks.append((scores.softmax(0) * scores.new_tensor(wrong)).sum())
    return torch.stack(risks) if risks else x.new_zeros(0).double()
