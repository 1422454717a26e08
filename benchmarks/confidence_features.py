"""Confidences by more than lattice posteriors: does a small classifier tell right words from wrong ones better?

    python -m benchmarks.confidence_features MODEL.asr LM DEV.jsonl TEST.jsonl ...

A ridge-regularised logistic regression of each word's features is fitted on DEV and told on each TEST, beside the two
numbers that `asr calibrate` fits. DEV is told by cross-validation in ten parts of utterances. One row takes all
features, others the posterior and one kind, or all but one. LM: an n-gram, ARPA or packed. Intervals are of the gains.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from tqdm import tqdm

import asr
from asr import manifest
from asr.evaluation.calibrate import are_correct
from asr.evaluation.score import normalise
from asr.lm import score
from asr.recognizer.recognizer import Recognizer
from asr.search.confidence import Calibration, calibration_error, information, log_odds, ranking
from asr.search.searchers import GraphSearcher, peak_confidence

RIDGE = 1e-2
KINDS = {
    "posterior": 1,  # log-odds
    "entropy": 2,  # of the words that compete at the place; log of their number
    "peaks": 3,  # mean and least log-prob of the tokens' peaks; frames of the tokens, relative to the word's
    "length": 2,  # log of the tokens, log of the frames per token
    "language": 3,  # log10 probability, length of the n-gram used, and that of the next word
    "context": 3,  # log-odds of the words before and behind; mean of the utterance
}


@dataclass(frozen=True)
class Words:
    features: np.ndarray  # (W, D)
    correct: np.ndarray  # (W,)
    part: np.ndarray  # (W,) number of the utterance

    def of(self, kinds: Sequence[str]) -> np.ndarray:
        """The columns of these kinds."""
        ends = np.cumsum(list(KINDS.values()))
        places = zip(KINDS.items(), ends, strict=True)
        chosen = [np.arange(end - size, end) for (kind, size), end in places if kind in kinds]
        return self.features[:, np.concatenate(chosen)]


def features_of(recognizer: Recognizer, model: score.Scorer, path: str) -> Words:
    searcher = recognizer.searcher
    assert isinstance(searcher, GraphSearcher)
    utterances = {u.id: u for u in manifest.read(path) if u.text}
    rows: list[list[float]] = []
    correct: list[bool] = []
    part: list[int] = []
    with tqdm(total=len(utterances)) as bar:
        batches = list(recognizer.score_utterances(list(utterances.values()), bar))
    for number, (id, log_probs, _) in enumerate(one for batch in batches for one in batch):
        found = searcher.search(log_probs)
        words = [w.word for w in found.words]
        odds = log_odds([w.confidence for w in found.words])
        scores = list(model.full_scores(" ".join(words)))
        for k, word in enumerate(found.words):
            choices = [share for _, share in found.confusion[2 * k + 1] if share > 0]
            shares = np.array(choices) / max(sum(choices), 1e-9)
            peaks = [s.log_prob for s in word.segments]
            frames = max(1, word.segments[-1].end - word.segments[0].start)
            following = scores[k + 1]
            rows.append([
                odds[k],
                -float((shares * np.log(shares)).sum()), np.log(max(1, len(choices))),
                np.log(peak_confidence(word.segments) + 1e-6), max(min(peaks), -10.0), len(peaks) / frames,
                np.log(len(peaks)), np.log(frames / len(peaks)),
                scores[k][0], scores[k][1], following[0],
                odds[k - 1] if k else odds.mean(), odds[k + 1] if k + 1 < len(odds) else odds.mean(), odds.mean(),
            ])  # fmt: skip
        correct += are_correct(words, normalise(utterances[id].transcript).split())
        part += [number] * len(words)
    return Words(np.array(rows), np.array(correct), np.array(part))


class Classifier:
    def __init__(self, x: np.ndarray, y: np.ndarray):
        self.mean, self.std = x.mean(0), x.std(0) + 1e-6
        x = self._scaled(x)
        self.weights = np.zeros(x.shape[1])
        for _ in range(50):  # of Newton's method; the ridge keeps it stable
            p = 1 / (1 + np.exp(-x @ self.weights))
            ridge = RIDGE * np.append(np.ones(x.shape[1] - 1), 0.0)
            gradient = x.T @ (p - y) / len(y) + ridge * self.weights
            curvature = (x * (p * (1 - p))[:, None]).T @ x / len(y) + np.diag(ridge + 1e-9)
            self.weights -= np.linalg.solve(curvature, gradient)

    def _scaled(self, x: np.ndarray) -> np.ndarray:
        return np.hstack([(x - self.mean) / self.std, np.ones((len(x), 1))])

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-self._scaled(x) @ self.weights))


def measured(p: np.ndarray, y: np.ndarray) -> str:
    return f"ECE {calibration_error(p, y):.3f}  NCE {information(p, y):.3f}  AUC {ranking(p, y):.3f}"


def interval(words: Words, p: np.ndarray, q: np.ndarray) -> str:
    """95 % intervals of the gains of p over q in NCE and AUC: bootstrap over utterances."""
    rng, numbers = np.random.default_rng(0), np.unique(words.part)
    places = [np.flatnonzero(words.part == number) for number in numbers]
    gains = []
    for _ in range(300):
        at = np.concatenate([places[k] for k in rng.integers(0, len(places), len(places))])
        y = words.correct[at]
        gains.append([information(p[at], y) - information(q[at], y), ranking(p[at], y) - ranking(q[at], y)])
    low, high = np.percentile(gains, [2.5, 97.5], 0)
    return f"NCE {low[0]:+.3f} to {high[0]:+.3f}, AUC {low[1]:+.3f} to {high[1]:+.3f}"


def main(bundle: str, lm: str, dev: str, *tests: str) -> None:
    recognizer = asr.load(bundle, confusion=True)
    plain = replace(
        recognizer.cfg.decoder, confidence_scale=1.0, confidence_offset=0.0, confidence_clarity=0.0, calibrated_for=[]
    )
    recognizer, model = recognizer.with_decoder(plain), score.load(lm)
    held = features_of(recognizer, model, dev)
    odds = 1 / (1 + np.exp(-held.features[:, 0]))
    ways = {"all": list(KINDS)} | {f"posterior, {kind}": ["posterior", kind] for kind in list(KINDS)[1:]}
    ways |= {f"without {kind}": [k for k in KINDS if k != kind] for kind in KINDS}
    for source in (dev, *tests):
        words = held if source == dev else features_of(recognizer, model, source)
        posteriors = 1 / (1 + np.exp(-words.features[:, 0]))
        print(f"{source}: {len(words.correct)} words, {words.correct.mean():.2%} correct")
        before = np.zeros(len(words.correct))
        found = {way: np.zeros(len(words.correct)) for way in ways}
        for fold in range(10) if source == dev else (None,):
            own = words.part % 10 == fold if fold is not None else np.ones(len(words.correct), bool)
            fit = ~own if fold is not None else np.ones(len(held.correct), bool)
            before[own] = Calibration.fit(odds[fit], held.correct[fit]).apply(posteriors[own].tolist())
            for way, kinds in ways.items():
                found[way][own] = Classifier(held.of(kinds)[fit], held.correct[fit])(words.of(kinds)[own])
        print(f"  {'calibrated posterior':22} {measured(before, words.correct)}")
        for way, p in found.items():
            print(f"  {way:22} {measured(p, words.correct)}  {interval(words, p, before)}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
