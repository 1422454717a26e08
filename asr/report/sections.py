"""The parts of the page that follow from scores."""

import numpy as np

from asr.errors import InputError
from asr.evaluation.calibration_plot import plot_reliability
from asr.evaluation.comparison import hypothesis, pair, paired_bootstrap, reference
from asr.evaluation.score import Counts, Score, UtteranceScore, align, comparable
from asr.report.html import Html, join, picture, table, tag
from asr.report.run import Run

MOST_CHANGED = 10  # utterances that one of two runs recognises better
_KINDS = {"S": "Substitutions", "D": "Deletions", "I": "Insertions"}


def rates(run: Run) -> Html:
    """Error rates with intervals, and what was left out of them."""
    s = run.score
    rows = [_row("WER", s.words, s.wer_interval), _row("CER", s.characters, s.cer_interval)]
    rows.append(_row("CER without spaces", s.letters, None))
    if s.lang == "ko":
        rows += [_row("WER without spaces", s.respaced, None), _row("jamo error rate", s.jamo, None)]
    wrong = sum(u.words.errors > 0 for u in s.utterances)
    notes = [f"{wrong} of {len(s.utterances)} utterances of {run.reference} have an error.", *s.warnings()]
    if s.lang != "none":
        notes.append("The texts are compared in lower case and without punctuation.")
    head = ["rate", "", "95 % interval", "units", "substitutions", "deletions", "insertions"]
    return join([table(head, rows), *(tag("p", note) for note in notes)])


def _row(name: str, c: Counts, interval: tuple[float, float] | None) -> list[str]:
    between = f"{interval[0]:.2%} to {interval[1]:.2%}" if interval else ""
    return [name, f"{c.rate:.2%}", between, *map(str, (c.reference, c.substitutions, c.deletions, c.insertions))]


def confusions(score: Score) -> Html:
    """The most frequent errors of each kind."""
    parts = []
    for op, name in _KINDS.items():
        rows = [[ref or "·", hyp or "·", str(times)] for ref, hyp, times in score.confusions(op)]
        if rows:
            parts.append(tag("div", tag("h3", name), table(["text", "hypothesis", "times"], rows)))
    return tag("div", *parts, class_="columns") if parts else tag("p", "There is no error.")


def speakers(score: Score) -> Html:
    rows = [[name, f"{w.rate:.2%}", f"{c.rate:.2%}", str(w.reference)] for name, (w, c) in score.speakers.items()]
    return table(["speaker", "WER", "CER", "words"], rows)


def calibration(run: Run) -> Html:
    """Whether words of a confidence are as often correct as it says, on the words of the hypotheses.

    Raises InputError if they have none.
    """
    confidences: list[float] = []
    correct: list[bool] = []
    for u in run.score.utterances:
        found = run.hypotheses.get(u.id)
        heard = [w for w in found.words if w.accepted] if found else []
        words = [(word, w.confidence) for w in heard for word in comparable(w.word, run.score.lang).split()]
        confidences += [confidence for _, confidence in words]
        edits = align(reference(u).split(), [word for word, _ in words])
        correct += [edit.op == "C" for edit in edits if edit.op != "D"]
    if not confidences:
        raise InputError("no word was recognised")
    values, right = np.clip(confidences, 0.0, 1.0), np.array(correct)
    plot = picture(lambda path: plot_reliability({run.cfg.split: values}, right, path), "reliability of confidences")
    return join([plot, tag("p", f"{len(right)} words of the hypotheses, {right.mean():.2%} correct.")])


def comparison(run: Run, other: Run) -> Html:
    """Both error rates on the utterances that both have, with a paired bootstrap, and where they differ most."""
    pairs = pair(run.score, other.score)
    is_korean = run.score.lang == "ko"

    def counts(u: UtteranceScore) -> Counts:
        return u.letters if is_korean else u.words

    own, others = [counts(a) for a, _ in pairs], [counts(b) for _, b in pairs]
    found = paired_bootstrap(own, others, run.cfg.score.resamples, run.cfg.seed)
    rate = "CER without spaces" if is_korean else "WER"
    low, high = (f"{100 * x:+.2f}" for x in found.interval)
    row = [f"{found.first:.2%}", f"{found.second:.2%}", f"{100 * found.difference:+.2f} points", f"{low} to {high}",
           f"{found.better:.1%}"]  # fmt: skip
    head = [f"{rate} here", f"{rate} of {other.cfg.out}", "difference", "95 % interval", "chance of fewer errors here"]
    verdict = (
        "The difference is more than chance between utterances explains."
        if found.is_clear
        else "The interval holds 0: another draw of utterances could turn the difference round."
    )
    alone = len(run.score.utterances) + len(other.score.utterances) - 2 * len(pairs)
    notes = [f"Paired bootstrap over {len(pairs)} utterances. {verdict}"]
    notes += [f"{alone} utterances are in one of the runs only and are not compared."] if alone else []
    changes = sorted(pairs, key=lambda p: counts(p[0]).errors - counts(p[1]).errors)
    better = [p for p in changes if counts(p[0]).errors < counts(p[1]).errors][:MOST_CHANGED]
    worse = [p for p in changes[::-1] if counts(p[0]).errors > counts(p[1]).errors][:MOST_CHANGED]
    parts = [table(head, [row]), *(tag("p", note) for note in notes)]
    for title, some in (("Better here", better), ("Worse here", worse)):
        if some:
            rows = [[a.id, reference(a), hypothesis(a) or "·", hypothesis(b) or "·"] for a, b in some]
            parts += [tag("h3", title), table(["utterance", "text", "here", "there"], rows)]
    return join(parts)
