"""Training criteria: each maps what the net says and what was said to a loss."""

from asr.criteria.alignment import ctc_forced_align, ctc_greedy, ctc_occupancy
from asr.criteria.ctc import ctc_infeasible, ctc_loss

__all__ = ["ctc_forced_align", "ctc_greedy", "ctc_infeasible", "ctc_loss", "ctc_occupancy"]
