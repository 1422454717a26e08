"""Endpoint detection in a stream: rules on the length of trailing silence and on the cost of ending.

Rules are data; `RULES` are Kaldi's. An utterance has ended if any rule holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from asr.search.decoder import Partial


@dataclass(frozen=True)
class Rule:
    """A rule holds if all of its conditions hold."""

    speech: bool  # whether a word must have been recognised
    silence_s: float  # least length of silence at the end
    final_cost: float = inf  # largest cost of ending here, above the best path
    utterance_s: float = 0.0  # least length of the utterance
    name: str = ""


RULES = (
    Rule(speech=False, silence_s=5.0, name="no speech"),
    Rule(speech=True, silence_s=0.5, final_cost=2.0, name="likely end"),
    Rule(speech=True, silence_s=1.0, final_cost=8.0, name="possible end"),
    Rule(speech=True, silence_s=2.0, name="long silence"),
    Rule(speech=False, silence_s=0.0, utterance_s=20.0, name="long utterance"),
)


@dataclass(frozen=True)
class EndpointOptions:
    """When an utterance of a stream has ended: if one of the `rules` holds."""

    rules: tuple[Rule, ...] = RULES


def reached(partial: Partial, frame_s: float, rules: Sequence[Rule] = RULES) -> Rule | None:
    """The first rule that holds, or None. `frame_s`: seconds per frame of log-probs."""
    tokens = np.flatnonzero(partial.path.alignment)
    frames = len(partial.path.alignment)
    silence_s = (frames - (tokens[-1] + 1 if len(tokens) else 0)) * frame_s
    return holding(rules, bool(partial.path.labels), silence_s, partial.final_cost, frames * frame_s)


def holding(
    rules: Sequence[Rule], speech: bool, silence_s: float, final_cost: float, utterance_s: float
) -> Rule | None:
    """The first rule that holds, or None."""
    for rule in rules:
        said = speech or not rule.speech
        likely = rule.final_cost == inf or final_cost <= rule.final_cost
        if said and likely and silence_s >= rule.silence_s and utterance_s >= rule.utterance_s:
            return rule
    return None
