"""Training criteria and CTC alignments.

In: log-probs (or logits) of a batch, targets, and their lengths. Out: a differentiable loss, the best alignment, or the
posterior of each token in each frame. The work is done in csrc/ctc, on the CPU and on CUDA. `lfmmi`, `mwer` and
`smbr` are the discriminative criteria; `acceptor` sums over the paths of any model of the labels, on the CPU.
"""

from asr.criteria.alignment import ctc_forced_align, ctc_greedy, ctc_occupancy
from asr.criteria.ctc import ctc_infeasible, ctc_loss

__all__ = ["ctc_forced_align", "ctc_greedy", "ctc_infeasible", "ctc_loss", "ctc_occupancy"]
