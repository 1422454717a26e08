"""Word mode on real recordings: 100-word lists, word accuracy, and rejection of speech outside the list.

    OMP_NUM_THREADS=1 python benchmarks/word_mode.py [MODEL.asr] [ROOT]

MODEL.asr (default exp/commands/model.asr) is made by `python -m recipes.run commands`; ROOT holds the corpora. Test:
commands_en, 30 words, 41 speakers. A list holds every second of the 30 words in alphabetical order, and other common
words up to 100, chosen by a rule; clips of the other 15 words must be rejected. A second list takes the other half,
so that each clip is once in the list and once outside. Dev, to choose a confidence measure: the speakers of fsdd whom
the recipe does not train on, in noise, with every second digit. Writes benchmarks/results/word_mode.json and
docs/measured/lists.png.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from word_clips import Clips, digits, recordings, score
from word_scores import CTC_ONLY, MEASURES, score_clip

import asr
from asr import manifest
from asr.files import atomic_write
from asr.recognizer.recognizer import Recognizer
from asr.text.lexicon import Lexicon
from recipes.commands.voices import common_words

HERE = Path(__file__).parent
RESULT, PLOT = HERE / "results/word_mode.json", HERE.parent / "docs/measured/lists.png"
SIZE, COMMONEST, BACKGROUND, DEV_CLIPS, RESAMPLES = 100, 1000, 3000, 300, 1000


@dataclass
class Scored:
    """One decision per clip and list: (N,) each. `scores` (N, measures): higher means more confident."""

    listed: np.ndarray
    right: np.ndarray
    speakers: np.ndarray
    scores: np.ndarray
    words: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> "Scored":
        return Scored(*(column[rows] for column in vars(self).values()))


def fill(listed: Sequence[str], tested: Sequence[str], common: Sequence[str]) -> list[str]:
    """The list of 100 words: `listed`, and random words of three or more letters from `common` whose pronunciation
    differs from those of all words in `tested` and of all earlier draws."""
    sounds = Lexicon.cmudict([*tested, *common]).pronunciations
    taken = {sound for word in tested for sound in sounds[word]}
    chosen = list(listed)
    for i in np.random.default_rng(100).permutation(len(common)):
        word = common[i]
        if len(chosen) < SIZE and len(word) > 2 and not taken & set(sounds[word]):
            chosen.append(word)
            taken |= set(sounds[word])
    return chosen


def others(known: Sequence[str], common: Sequence[str]) -> list[str]:
    """The words of `common` whose pronunciation differs from that of all words in `known`."""
    sounds = Lexicon.cmudict([*known, *common]).pronunciations
    taken = {sound for word in known for sound in sounds[word]}
    return [word for word in common if not taken & set(sounds[word])]


def run_folds(recognizer: Recognizer, clips: Clips, common: Sequence[str]) -> tuple[Scored, list[list[str]]]:
    """All clips with both lists. The background model has all words of `common` except those of list and test."""
    tested, rows, lists = sorted(set(clips.words)), [], []
    for fold in range(2):
        half = tested[fold::2]
        lists.append(fill(half, tested, common[:COMMONEST]))
        own = recognizer.with_list(lists[-1])
        background = recognizer.with_list(others([*tested, *lists[-1]], common))
        for word, speaker, log_probs in zip(clips.words, clips.speakers, clips.log_probs, strict=True):
            found, scores = score_clip(own, background, log_probs)
            rows.append((word in half, found == word, speaker, scores, word))
    return Scored(*(np.array(column) for column in zip(*rows, strict=True))), lists


def equal_error(inside: np.ndarray, outside: np.ndarray) -> tuple[float, float]:
    """(rate, threshold) at which equal shares of `inside` are below and of `outside` at or above the threshold.

    A wrong word has -inf in `inside`.
    """
    thresholds = np.unique(np.concatenate([inside, outside, [np.inf]]))
    thresholds = thresholds[np.isfinite(thresholds) | (thresholds == np.inf)]
    refused = np.searchsorted(np.sort(inside), thresholds) / len(inside)
    accepted = 1 - np.searchsorted(np.sort(outside), thresholds) / len(outside)
    at = int(np.argmin(np.abs(refused - accepted)))
    return float((refused[at] + accepted[at]) / 2), float(thresholds[at])


def rates(s: Scored, measure: int) -> dict[str, float]:
    """Word accuracy of listed clips, and two equal-error rates. In the first, a listed clip is lost if it is rejected;
    in the second, also if it is recognised as another word."""
    score, listed, right = s.scores[:, measure], s.listed, s.right
    plain, threshold = equal_error(score[listed], score[~listed])
    strict, _ = equal_error(np.where(right, score, -np.inf)[listed], score[~listed])
    accuracy = float(right[listed].mean())
    return {"accuracy": accuracy, "eer": plain, "eer_or_wrong": strict, "threshold": threshold}


def with_intervals(s: Scored, measure: int) -> dict[str, float | list[float]]:
    """`rates` with 95 % intervals, by bootstrap over speakers."""
    names = np.unique(s.speakers)
    rows = {name: np.flatnonzero(s.speakers == name) for name in names}
    rng, drawn = np.random.default_rng(1), []
    for _ in range(RESAMPLES):
        own = np.concatenate([rows[name] for name in rng.choice(names, len(names))])
        drawn.append(rates(s[own], measure))
    result: dict[str, float | list[float]] = {}
    for name, value in rates(s, measure).items():
        result[name] = round(value, 4)
        if name != "threshold":
            low, high = np.quantile([d[name] for d in drawn], [0.025, 0.975])
            result[f"{name}_interval"] = [round(float(low), 4), round(float(high), 4)]
    return result


def share(scores: np.ndarray, threshold: float) -> float:
    return float(np.mean(scores >= threshold))


def at_threshold(s: Scored, noise: np.ndarray, measure: int, threshold: float) -> dict[str, float]:
    score, listed = s.scores[:, measure], s.listed
    accepted = {"listed": share(score[listed], threshold), "outside": share(score[~listed], threshold)}
    right = float(np.mean(s.right[listed] & (score[listed] >= threshold)))
    return {"threshold": threshold, **accepted, "listed_right": right, "noise": share(noise, threshold)}


def plot(test: Scored, noise: np.ndarray, measure: int, path: Path) -> None:
    """Plot both kinds of errors against the threshold, and the confidences of words in and outside the list."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    score, noise = np.maximum(test.scores[:, measure], 0), np.maximum(noise, 0)
    groups = {"in the list": score[test.listed], "outside": score[~test.listed], "noise": noise}
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3))
    grid = np.linspace(0, 1, 201)
    left.plot(grid, [np.mean(groups["in the list"] < t) for t in grid], label="in the list, refused")
    left.plot(grid, [np.mean(groups["outside"] >= t) for t in grid], label="outside, accepted")
    left.plot(grid, [np.mean(groups["noise"] >= t) for t in grid], label="noise, accepted")
    left.set(xlabel="threshold", ylabel="share of clips", ylim=(0, 1))
    left.legend()
    right.hist(list(groups.values()), np.linspace(0, 1, 11), label=list(groups), density=True)
    right.set(xlabel="confidence", ylabel="density")
    right.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=70)


def main(model: str = "exp/commands/model.asr", root: str = "../shared/data") -> None:
    recognizer = asr.load(model)
    sets = {name: manifest.read(Path(root) / name / "manifest.jsonl") for name in ("commands_en", "noise")}
    common = common_words(root, BACKGROUND)
    test, lists = run_folds(recognizer, score(recognizer, recordings(sets["commands_en"])), common)
    dev, _ = run_folds(recognizer, score(recognizer, digits(root, DEV_CLIPS)), common)
    print(f"{'measure':24} {'dev EER':>8} {'or wrong':>9} {'test EER':>9} {'or wrong':>9}")
    measures = {}
    for i, name in enumerate(MEASURES):
        if recognizer.hmm and name in CTC_ONLY:
            continue
        on_dev, on_test = rates(dev, i), rates(test, i)
        measures[name] = {"dev": on_dev, "test": on_test}
        figures = [on_dev["eer"], on_dev["eer_or_wrong"], on_test["eer"], on_test["eer_or_wrong"]]
        print(f"{name:24} " + " ".join(f"{100 * f:8.1f}%" for f in figures))
    used = list(MEASURES).index("confidence")
    final = with_intervals(test, used)
    own, background = recognizer.with_list(lists[0]), recognizer.with_list(others(lists[0], common))
    heard = score(recognizer, recordings(sets["noise"]))
    noise = np.array([score_clip(own, background, x)[1][used] for x in heard.log_probs])
    new = np.array([u.extra["split"] == "test" for u in sets["noise"]])
    at_dev = at_threshold(test, noise[new], used, rates(dev, used)["threshold"])
    print("dev accuracy", rates(dev, used)["accuracy"], "\ntest", final, "\nat the threshold of dev", at_dev)
    plot(test, noise[new], used, PLOT)
    by_word = {str(word): float(test.right[test.listed & (test.words == word)].mean()) for word in set(test.words)}
    result = {"clips": len(test.listed) // 2, "test": final, "at_dev_threshold": at_dev,
              "noise_accepted_at_eer": {"test": share(noise[new], final["threshold"]),
                                        "train": share(noise[~new], final["threshold"])},
              "measures": measures, "accuracy_by_word": dict(sorted(by_word.items())), "lists": lists}  # fmt: skip
    with atomic_write(RESULT) as file:
        json.dump(result, file, indent=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
