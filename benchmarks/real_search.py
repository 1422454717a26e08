"""The search on real speech: confidences, words of least expected errors, skipped blanks.

    OMP_NUM_THREADS=1 python -m benchmarks.real_search RUN TEST.jsonl [DEV.jsonl] [RATE]

RUN is a run folder with a graph, searched as `asr decode` does. TEST and DEV are manifests of what its net takes, sound
or stored features. RATE is wer (the default) or cer_without_spaces. One row per search: error rate, utterances whose
words differ from those of the first row, CPU seconds of the search per second of sound. Confidences of words are
calibrated on DEV, as `asr calibrate` does; without DEV, each half of TEST is calibrated on the other.
Writes benchmarks/results/real_search-RUN.json. The log-probs are kept in exp/real_search; delete them after a training.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import asr
from asr import manifest, pipeline
from asr.config import DecoderConfig
from asr.evaluation.calibrate import are_correct, fit
from asr.evaluation.score import Counts, error_counts, normalise
from asr.files import atomic_write
from asr.hypothesis import Hypothesis
from asr.manifest import Utterance
from asr.recognizer.recognizer import Recognizer
from asr.search.confidence import calibration_error, information, ranking
from asr.search.phrases import Phrases

HERE, KEPT = Path(__file__).parent / "results", Path("exp/real_search")
SKIPS = (0.9999, 0.999, 0.99, 0.95, 0.9)
Scored = list[tuple[Utterance, np.ndarray, float]]  # utterance, log-probs (F', V), seconds


def scored(recognizer: Recognizer, path: Path, run: str) -> Scored:
    """The log-probs of a manifest."""
    utterances = {u.id: u for u in manifest.read(path) if u.text}
    kept = KEPT / f"{run}-{path.stem}.npz"
    KEPT.mkdir(parents=True, exist_ok=True)
    if not kept.exists():
        with tqdm(total=len(utterances)) as bar:
            parts = [part for batch in recognizer.score_utterances(list(utterances.values()), bar) for part in batch]
        arrays: dict[str, Any] = {id: log_probs for id, log_probs, _ in parts}
        np.savez(kept, **arrays, **{f"{id}|s": np.float64(seconds) for id, _, seconds in parts})
    found = np.load(kept)
    return [(u, found[id], float(found[f"{id}|s"])) for id, u in utterances.items() if id in found]


def search(recognizer: Recognizer, data: Scored, phrases: Phrases | None = None) -> tuple[list[Hypothesis], float]:
    """The hypotheses, and the CPU seconds of the search per second of sound."""
    start = time.thread_time()
    found = [recognizer.search(u.id, log_probs, seconds, phrases) for u, log_probs, seconds in data]
    return found, (time.thread_time() - start) / sum(seconds for _, _, seconds in data)


def rate_of(data: Scored, found: Sequence[Hypothesis], rate: str) -> float:
    counts = (error_counts(u.transcript, h.text, rate) for (u, _, _), h in zip(data, found, strict=True))
    return round(100 * sum(counts, Counts()).rate, 2)


def words_of(data: Scored, found: Sequence[Hypothesis]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(W,) of the posteriors of all words, whether they are correct, and the numbers of their utterances."""
    posteriors: list[float] = []
    correct: list[bool] = []
    numbers: list[int] = []
    for number, ((u, _, _), h) in enumerate(zip(data, found, strict=True)):
        posteriors += [word.confidence for word in h.words]
        correct += are_correct([word.word for word in h.words], normalise(u.transcript).split())
        numbers += [number] * len(h.words)
    return np.array(posteriors), np.array(correct), np.array(numbers)


def confidences(test: Scored, found: Sequence[Hypothesis], dev: Scored, heard: Sequence[Hypothesis]) -> dict:
    posteriors, correct, numbers = words_of(test, found)
    fitted = fit(*words_of(dev, heard)) if dev else fit(posteriors, correct, numbers)
    after = fitted.calibration.of_utterances(posteriors, numbers) if dev else fitted.held_out
    measures: dict[str, Callable] = {"ece": calibration_error, "nce": information, "auc": ranking}
    return {
        "words": len(correct),
        "correct": round(float(correct.mean()), 4),
        **{
            f"{name}_{when}": round(measure(values, correct), 3)
            for name, measure in measures.items()
            for when, values in (("before", posteriors), ("after", after))
        },
    }


def main(run: Path, test_path: Path, dev_path: Path | None, rate: str) -> None:
    name = run.resolve().name
    recognizer = pipeline.open_recognizer(asr.tuned(asr.Config(out=str(run))))
    plain = replace(
        recognizer.cfg.decoder, confidence_scale=1.0, confidence_offset=0.0, confidence_clarity=0.0, calibrated_for=[]
    )
    recognizer = recognizer.with_decoder(plain)
    test = scored(recognizer, test_path, name)
    dev = scored(recognizer, dev_path, name) if dev_path else []
    rows: list[dict[str, Any]] = []
    first: list[str] = []

    def row(what: str, decoder: DecoderConfig) -> list[Hypothesis]:
        found, cpu = search(recognizer.with_decoder(decoder), test)
        texts = [h.text for h in found]
        changed = sum(a != b for a, b in zip(first or texts, texts, strict=True))
        rows.append({"search": what, rate: rate_of(test, found, rate), "changed": changed, "cpu": round(cpu, 5)})
        print(json.dumps(rows[-1]), flush=True)
        return found

    search(recognizer, test)  # a dynamic graph grows
    found = row("as tuned", plain)
    first.extend(h.text for h in found)
    figures = confidences(test, found, dev, search(recognizer, dev)[0] if dev else [])
    print(json.dumps(figures), flush=True)
    least = row("mbr", replace(plain, mbr=True))
    row("mbr and confusion", replace(plain, mbr=True, confusion=True))
    of_mbr = confidences(test, least, [], [])
    share = np.mean(np.concatenate([np.exp(log_probs[:, 0]) for _, log_probs, _ in test]) >= 0.99)
    row("no lattice", replace(plain, lattice_beam=None))
    for skip in SKIPS:
        row(f"blank_skip={skip}, no lattice", replace(plain, blank_skip=skip, lattice_beam=None))
    row("blank_skip=0.99", replace(plain, blank_skip=0.99))
    result = {"rows": rows, "confidence": figures, "of_mbr": of_mbr, "blanks_above_0.99": round(float(share), 3)}
    with atomic_write(HERE / f"real_search-{name}.json") as file:
        json.dump(result | {"utterances": len(test), "test": str(test_path), "dev": str(dev_path)}, file, indent=1)


if __name__ == "__main__":
    paths = [Path(word) for word in sys.argv[1:] if word not in ("wer", "cer_without_spaces")]
    main(
        paths[0],
        paths[1],
        paths[2] if len(paths) > 2 else None,
        next(iter({*sys.argv} & {"cer_without_spaces"}), "wer"),
    )
