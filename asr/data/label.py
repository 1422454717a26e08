"""Transcripts of a recogniser for speech that nobody transcribed, to train on those that it is sure of."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from asr.errors import InputError
from asr.hypothesis import Hypothesis
from asr.manifest import Utterance


@dataclass
class Labelled:
    """`utterances`: those to train on, of which `transcribed` had a text before. `left_out`: reason -> count."""

    utterances: list[Utterance] = field(default_factory=list)
    transcribed: int = 0
    wrong_words: float = 0.0  # expected number in the new texts, if confidences are the probabilities of being right
    words: int = 0  # of the new texts
    left_out: Counter[str] = field(default_factory=Counter)

    def table(self) -> str:
        lines = [f"{len(self.utterances) - self.transcribed} utterances got a text, {self.transcribed} had one"]
        if self.words:
            lines.append(
                f"{self.words} new words, of which {self.wrong_words / self.words:.1%} are expected to be wrong"
            )
        lines += [f"left out: {count} {reason}" for reason, count in sorted(self.left_out.items())]
        return "\n".join(lines) + "\n"


def label(utterances: Iterable[Utterance], hypotheses: Iterable[Hypothesis], min_confidence: float) -> Labelled:
    """The utterances that have a text, and the others with the text of their hypothesis if it is sure enough.

    A hypothesis is as sure as the mean confidence of its words. The new texts keep it in the field `confidence`.
    Raises InputError if none of the utterances without a text has a hypothesis, or if two have the same id.
    """
    found, known = Labelled(), dict[str, Hypothesis]()
    for hypothesis in hypotheses:
        if known.setdefault(hypothesis.id, hypothesis) is not hypothesis:
            raise InputError(f"two hypotheses have the id '{hypothesis.id}'; keep one")
    lacking = 0
    for utterance in utterances:
        if utterance.text is not None:
            found.transcribed += 1
            found.utterances.append(utterance)
            continue
        lacking += 1
        heard = known.get(utterance.id)
        if reason := _doubt(heard, min_confidence):
            found.left_out[reason] += 1
            continue
        assert heard is not None
        found.words += len(heard.words)
        found.wrong_words += sum(1 - word.confidence for word in heard.words)
        found.utterances.append(_with_text(utterance, heard))
    if not lacking:
        raise InputError("every utterance has a text already; name a manifest whose utterances have none")
    if found.left_out["without a hypothesis"] == lacking:
        raise InputError("none of the utterances without a text has a hypothesis: the ids differ; name the hypotheses "
                         "that `asr decode` or `asr transcribe` wrote for this manifest")  # fmt: skip
    return found


def _doubt(hypothesis: Hypothesis | None, min_confidence: float) -> str:
    """Why a hypothesis is not a text to train on; empty if it is one."""
    if hypothesis is None:
        return "without a hypothesis"
    if hypothesis.confidence is None:
        return "in which no words were heard"
    if not hypothesis.complete or not all(word.accepted for word in hypothesis.words):
        return "whose text is incomplete"
    return "" if hypothesis.confidence >= min_confidence else f"less sure than {min_confidence:g}"


def _with_text(utterance: Utterance, hypothesis: Hypothesis) -> Utterance:
    extra = {name: value for name, value in utterance.extra.items() if name != "text"}  # a text that was null
    return replace(
        utterance, text=hypothesis.text, extra=extra | {"confidence": round(hypothesis.confidence or 0.0, 3)}
    )
