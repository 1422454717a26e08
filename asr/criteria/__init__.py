"""Training criteria: each maps what the net says and what was said to a loss."""

from asr.criteria.ctc import ctc_greedy, ctc_loss, min_frames

__all__ = ["ctc_greedy", "ctc_loss", "min_frames"]
