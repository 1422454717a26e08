"""Endpoint detection in a stream: rules on the length of trailing silence and on the cost of ending.

Rules are data. An utterance has ended if any rule holds. `RULES` are Kaldi's, `SEMANTIC` those of streams.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from asr.errors import InputError
from asr.features.vad import VADS
from asr.search.decoder import Partial


@dataclass(frozen=True)
class Rule:
    """A rule holds if all of its conditions hold."""

    speech: bool  # whether a word must have been recognised
    silence_s: float  # least length of silence at the end
    final_cost: float = inf  # largest cost of ending here, above the best path
    utterance_s: float = 0.0  # least length of the utterance
    name: str = ""

    def __post_init__(self) -> None:
        for name in ("silence_s", "final_cost", "utterance_s"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not value >= 0:
                raise InputError(f"{name}={value!r} of an endpoint rule must be a number of at least 0")


RULES = (
    Rule(speech=False, silence_s=5.0, name="no speech"),
    Rule(speech=True, silence_s=0.5, final_cost=2.0, name="likely end"),
    Rule(speech=True, silence_s=1.0, final_cost=8.0, name="possible end"),
    Rule(speech=True, silence_s=2.0, name="long silence"),
    Rule(speech=False, silence_s=0.0, utterance_s=20.0, name="long utterance"),
)


# Chosen with benchmarks/endpoints.py: docs/guide/stream.md has the figures.
NO_SPEECH = Rule(speech=False, silence_s=5.0, name="no speech")
LONG = Rule(speech=False, silence_s=0.3, utterance_s=20.0, name="long utterance")
SEMANTIC = (
    NO_SPEECH,
    Rule(speech=True, silence_s=0.4, final_cost=1.0, name="likely end"),
    Rule(speech=True, silence_s=0.7, final_cost=3.0, name="possible end"),
    Rule(speech=True, silence_s=1.2, name="silence"),
    LONG,
)


def after_silence(silence_s: float) -> tuple[Rule, ...]:
    """The rules that end an utterance after so much silence, whatever was said."""
    return NO_SPEECH, Rule(speech=True, silence_s=silence_s, name="silence"), LONG


def semantic(factor: float = 1.0) -> tuple[Rule, ...]:
    """The rules that wait the shorter, the more probable the language model finds the end of a sentence here.

    `factor` scales the silences after speech: below 1 for an eager end, above 1 for a patient one.
    """
    return tuple(replace(rule, silence_s=factor * rule.silence_s) if rule.speech else rule for rule in SEMANTIC)


@dataclass(frozen=True)
class EndpointOptions:
    """When an utterance of a stream has ended: if one of the `rules` holds.

    `vad` says what is silence: "net", frames without a token of a word; "energy" or "silero", moments that are neither
    speech by that (asr.features.vad) nor have a word. Raises InputError for other values.
    """

    rules: tuple[Rule, ...] = SEMANTIC
    vad: str = "energy"

    def __post_init__(self) -> None:
        if not isinstance(self.vad, str) or self.vad not in VADS:
            raise InputError(f"vad={self.vad!r} must be one of {', '.join(VADS)}")
        rules = self.rules if isinstance(self.rules, tuple | list) else ()
        if not rules or not all(isinstance(rule, Rule) for rule in rules):
            raise InputError(f"rules={self.rules!r:.60} must be a tuple of asr.search.endpoint.Rule, at least one")
        object.__setattr__(self, "rules", tuple(rules))


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
