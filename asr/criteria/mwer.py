"""Minimum word error rate training (Prabhavalkar et al. 2018, "Minimum word error rate training for attention-based
sequence-to-sequence models", eq. 2 and 3), over the n-best lists of the beam search.

    loss = sum_i p_i W_i        p_i = exp(s_i) / sum_j exp(s_j)        s_i = scale * ln P_ctc(tokens_i | x) - cost_i

W_i is the number of word errors of hypothesis i. The probability of its tokens is the sum over all their alignments,
in which each blank costs the search's penalty, and cost_i that of the search's graph: the p_i are those of the search,
summed over alignments. The paper subtracts the mean of the W_i from each, which does not change the gradient.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from asr.criteria.arguments import Lengths
from asr.criteria.ctc import ctc_loss


@dataclass(frozen=True)
class Hypothesis:
    words: list[str]
    tokens: list[int]  # net outputs without blanks and repeats
    cost: float  # of the graph, without the net: a negative natural log


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
