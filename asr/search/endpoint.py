"""When an utterance in a stream has ended: rules over how long nothing was said, and how likely an end is.

The rules are data; those in `RULES` are Kaldi's. An utterance ends when any of them holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from asr.search.decoder import Partial


@dataclass(frozen=True)
class Rule:
    """Holds when all of its conditions do."""

    speech: bool  # something must have been said
    silence_s: float  # blank frames at the end, at least
    final_cost: float = inf  # what ending here costs above the best path, at most
    utterance_s: float = 0.0  # length of the utterance, at least


RULES = (
    Rule(speech=False, silence_s=5.0),
    Rule(speech=True, silence_s=0.5, final_cost=2.0),
    Rule(speech=True, silence_s=1.0, final_cost=8.0),
    Rule(speech=True, silence_s=2.0),
    Rule(speech=False, silence_s=0.0, utterance_s=20.0),
)


def reached(partial: Partial, frame_s: float, rules: Sequence[Rule] = RULES) -> Rule | None:
    """The first rule that holds, or None. `frame_s`: seconds of one frame of log-probs."""
    tokens = np.flatnonzero(partial.path.alignment)
    frames = len(partial.path.alignment)
    silence_s = (frames - (tokens[-1] + 1 if len(tokens) else 0)) * frame_s
    for rule in rules:
        said = bool(partial.path.labels) or not rule.speech
        likely = rule.final_cost == inf or partial.final_cost <= rule.final_cost
        if said and likely and silence_s >= rule.silence_s and frames * frame_s >= rule.utterance_s:
            return rule
    return None
