"""Calibrations of confidences with and without the mean of the utterance (`clarity`), fitted on DEV, told on each TEST.

    OMP_NUM_THREADS=1 python -m benchmarks.calibration RUN DEV.jsonl TEST.jsonl ...

RUN, a run folder or a bundle, and the manifests are those of benchmarks/real_search.py, whose log-probs are used if it
has been run. DEV is told by cross-validation in ten parts of utterances. Intervals are those of the differences, by a
bootstrap over utterances. The last column is the calibration error with the best two numbers for the set itself.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

import asr
from asr import pipeline
from asr.recognizer.recognizer import Recognizer
from asr.search.confidence import Calibration, calibration_error, information, ranking
from benchmarks.real_search import scored, search, words_of

FOLDS, DRAWS = 10, 500
Words = tuple[np.ndarray, np.ndarray, np.ndarray]  # (W,) posteriors, whether the words are correct, their utterances


def found_in(recognizer: Recognizer, path: Path, name: str) -> Words:
    data = scored(recognizer, path, name)
    search(recognizer, data[:20])  # a dynamic graph grows
    return words_of(data, search(recognizer, data)[0])


def both(fit: Words, told: Words) -> list[np.ndarray]:
    """The confidences (W,) by two numbers and by three."""
    posteriors, correct, utterances = fit
    fitted = [Calibration.fit(posteriors, correct), Calibration.fit(posteriors, correct, utterances)]
    return [calibration.of_utterances(told[0], told[2]) for calibration in fitted]


def cross_validated(words: Words) -> list[np.ndarray]:
    result = [np.zeros(len(words[0])) for _ in range(2)]
    for fold in range(FOLDS):
        own = words[2] % FOLDS == fold
        fit, told = (tuple(part[of] for part in words) for of in (~own, own))
        for whole, part in zip(result, both(fit, told), strict=True):
            whole[own] = part
    return result


def interval(words: Words, two: np.ndarray, three: np.ndarray) -> str:
    rng, places = np.random.default_rng(0), [np.flatnonzero(words[2] == k) for k in np.unique(words[2])]
    gains = []
    for _ in range(DRAWS):
        at = np.concatenate([places[k] for k in rng.integers(0, len(places), len(places))])
        y = words[1][at]
        gains.append([measure(three[at], y) - measure(two[at], y) for measure in (calibration_error, information)])
    low, high = np.percentile(gains, [2.5, 97.5], 0)
    return f"error {low[0]:+.3f} to {high[0]:+.3f}, cross-entropy {low[1]:+.3f} to {high[1]:+.3f}"


def main(run: Path, *paths: Path) -> None:
    recognizer = asr.load(run) if run.is_file() else pipeline.open_recognizer(asr.tuned(asr.Config(out=str(run))))
    plain = replace(
        recognizer.cfg.decoder, confidence_scale=1.0, confidence_offset=0.0, confidence_clarity=0.0, calibrated_for=[],
        rescore=None, reject_below=0.0,
    )  # fmt: skip
    recognizer, name = recognizer.with_decoder(plain), (run.parent if run.is_file() else run).resolve().name
    dev = found_in(recognizer, paths[0], name)
    print(Calibration.fit(*dev[:2]), Calibration.fit(*dev))
    for path in paths:
        words = dev if path == paths[0] else found_in(recognizer, path, name)
        two, three = cross_validated(words) if path == paths[0] else both(dev, words)
        print(f"{path.stem}: {len(words[0])} words, {words[1].mean():.1%} correct")
        for kind, p in (("before", words[0]), ("two numbers", two), ("three", three)):
            measures = (calibration_error, information, ranking)
            print(f"  {kind:12} {'  '.join(f'{measure(p, words[1]):.3f}' for measure in measures)}")
        own = Calibration.fit(*words[:2]).of_utterances(words[0], words[2])
        print(f"  {interval(words, two, three)}; own {calibration_error(own, words[1]):.3f}", flush=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
