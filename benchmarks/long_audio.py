"""One hour in one recording: memory, speed, and what cutting costs in words.

    python -m recipes.run digits model=lstm hidden=128 optim.epochs=3
    python benchmarks/long_audio.py [DIGITS [PROMPTS]]     # the run folders exp/digits and exp/prompts unless given

A case whose run folder is missing is skipped, and its figures stay as they are in the results.

Digits: digits of the test takes of ../shared/data/fsdd (real speech, six speakers) are joined to strings of one to
seven, 30 strings of one speaker at a time, with pauses of 0.3 to 1.5 s between strings, all at one level over one room
noise 25 dB below: recordings of 10 minutes and one hour, in which takes recur. They are recognised with the trained net
and with one of random weights, whose lattices are larger: cut at pauses, and whole as before there was cutting. Prints
peak memory and the real-time factors of wall clock and CPU, and the WER against that of the same strings recognised one
by one as segments of the recording; words of the whole recording count for the string in whose time they lie.

Prompts: large lattices. The run folder is any of a larger graph, with data/test.jsonl and a tuned model.asr. The
utterances of the test are joined in the same way to recordings of 30 s (a single piece), 10 minutes and one hour. They
are recognised with the tuned scales, with scales that are not tuned (`UNTUNED`), and with random weights.

Each measurement is a process of its own, stopped after `LIMIT_S` or above `LIMIT_MB`; its peak is then a lower bound.
Writes benchmarks/results/long_audio.json.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch

import asr
from asr import hypothesis, manifest
from asr.data import corpora
from asr.evaluation.score import score
from asr.features import audio
from asr.files import atomic_write
from asr.hypothesis import Hypothesis
from asr.manifest import Utterance
from asr.models.acoustic import AcousticModel
from asr.recognizer import bundle, long

RESULT = Path(__file__).parent / "results/long_audio.json"
RATE_HZ, SEED = 16000, 1
MINUTES = (10, 60)
UNTUNED = {"acoustic_scale": 1.0, "word_penalty": 0.0, "blank_penalty": 0.0}  # options of the decoder
LIMIT_S, LIMIT_MB = 360, 14000  # of a measurement
TAKES = range(0, 5)  # fsdd's own test split
WORDS = "zero one two three four five six seven eight nine".split()
STRINGS = 30  # of a speaker's turn
GAP_S, PAUSE_S = (0.0, 0.35), (0.3, 1.5)  # between digits, between strings
LEVEL, NOISE_DB = 0.05, -25  # RMS of the digits; the noise against it
MARGIN_S = 0.15  # of noise on both sides of a string that is recognised alone


def read_digits() -> dict[str, list[tuple[str, np.ndarray]]]:
    """Speaker -> words and their samples (T,), all of one RMS."""
    folder = corpora.find("fsdd", None)
    if folder is None:
        raise SystemExit("the Free Spoken Digit Dataset is missing; set ASR_DATA to the folder that holds fsdd/")
    found: dict[str, list[tuple[str, np.ndarray]]] = {}
    for path in sorted(folder.rglob("*_*_*.flac")):
        digit, speaker, take = path.stem.split("_")
        if int(take) in TAKES:
            samples = audio.load(path, sample_rate_hz=RATE_HZ)
            level = LEVEL / float(np.sqrt(np.mean(samples**2)))
            found.setdefault(speaker, []).append((WORDS[int(digit)], samples * level))
    return found


def join_strings(minutes: float, path: Path) -> list[Utterance]:
    """Write a recording; returns its strings, segments of it."""
    rng = np.random.default_rng(SEED)
    digits = read_digits()
    strings: list[Utterance] = []
    at = 0
    with soundfile.SoundFile(path, "w", RATE_HZ, 1) as file:

        def write(samples: np.ndarray) -> int:
            noise = rng.standard_normal(len(samples)) * LEVEL * 10 ** (NOISE_DB / 20)
            file.write(np.clip(samples + noise, -1, 1))
            return len(samples)

        def pause(limits_s: tuple[float, float]) -> int:
            return write(np.zeros(round(rng.uniform(*limits_s) * RATE_HZ)))

        while at < minutes * 60 * RATE_HZ:
            speaker = sorted(digits)[len(strings) // STRINGS % len(digits)]
            at += pause(PAUSE_S)
            start, words = at, []
            for k in rng.integers(len(digits[speaker]), size=rng.integers(1, 8)):
                words.append(digits[speaker][k][0])
                at += (pause(GAP_S) if len(words) > 1 else 0) + write(digits[speaker][k][1])
            start_s, end_s = start / RATE_HZ - MARGIN_S, at / RATE_HZ + MARGIN_S
            id = f"{len(strings):05}"
            strings.append(Utterance(id, str(path), None, start_s, end_s - start_s, " ".join(words), speaker))
        pause(PAUSE_S)
    return strings


def join_utterances(utterances: Sequence[Utterance], minutes: float, path: Path) -> None:
    """Write a recording of utterances in random order, which recur, all at one level over one noise."""
    rng = np.random.default_rng(SEED)
    sounds = [audio.load(u.audio or "", sample_rate_hz=RATE_HZ) for u in utterances]
    parts, size = [], 0
    while size < minutes * 60 * RATE_HZ:
        sound = sounds[rng.integers(len(sounds))]
        silence = np.zeros(round(rng.uniform(*PAUSE_S) * RATE_HZ), np.float32)
        parts += [silence, sound * (LEVEL / float(np.sqrt(np.mean(sound**2))))]
        size += len(silence) + len(sound)
    samples = np.concatenate(parts)[: round(minutes * 60 * RATE_HZ)]
    noise = rng.standard_normal(len(samples), np.float32) * LEVEL * 10 ** (NOISE_DB / 20)
    soundfile.write(path, np.clip(samples + noise, -1, 1), RATE_HZ)


def write_random(run: Path, path: Path) -> None:
    """A bundle with random weights, otherwise that of the run folder."""
    opened = bundle.read(run / "model.asr")
    torch.manual_seed(SEED)
    model = AcousticModel(opened.cfg.features, opened.cfg.model, len(opened.tokens))
    bundle.write(path, model, opened.cfg, opened.tokens, run / "graph", "# random weights\n")


def measure(bundle_path: str, sound: str, way: str, output: str, options: str) -> None:
    """In a process of its own: recognise `sound`, write the hypothesis and print the figures as JSON."""
    recognizer = asr.load(bundle_path, **json.loads(options))
    if way == "whole":
        long.LONGEST_S = float("inf")
    wall, cpu = time.perf_counter(), time.process_time()
    found = recognizer.transcribe(sound)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    hypothesis.write(output, [found])
    rtf, cpu_rtf = wall / found.duration_s, cpu / found.duration_s
    print(json.dumps({"peak_mb": peak_mb("self"), "rtf": round(rtf, 4), "cpu_rtf": round(cpu_rtf, 4)}))


def peak_mb(pid: int | str) -> int:
    """Peak memory of a process; 0 of one that is ending."""
    status = Path(f"/proc/{pid}/status").read_text()
    return round(int((status.partition("VmHWM:")[2].split() or ["0"])[0]) / 1024)


def run_measure(bundle_path: Path, sound: Path, way: str, output: Path, options: object = None) -> dict[str, object]:
    """The figures; of a stopped run, its peak until then and `stopped`, the reason."""
    arguments = (bundle_path, sound, way, output, json.dumps(options or {}))
    argv = [sys.executable, __file__, "--measure", *map(str, arguments)]
    start = time.perf_counter()
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        while True:
            try:
                printed, _ = process.communicate(timeout=0.2)
                break
            except subprocess.TimeoutExpired:
                peak, seconds = peak_mb(process.pid), time.perf_counter() - start
                if peak > LIMIT_MB or seconds > LIMIT_S:
                    process.kill()
                    return {"peak_mb": peak, "stopped": f"after {seconds:.0f} s"}
    if process.returncode:
        raise SystemExit(f"a measurement failed: {' '.join(argv)}")
    return json.loads(printed.splitlines()[-1])


def wer(strings: Sequence[Utterance], texts: Sequence[str]) -> float:
    hyps = {string.id: text for string, text in zip(strings, texts, strict=True)}
    return round(score({string.id: string.text for string in strings}, hyps, {}, resamples=1).wer, 5)


def texts_by_time(strings: Sequence[Utterance], hypothesis: Hypothesis) -> list[str]:
    """The words in each string's time; the pause between two is divided in the middle."""
    edges = [(end_s(before) + after.start_s) / 2 for before, after in zip(strings, strings[1:], strict=False)]
    middles = [(word.start_s + word.end_s) / 2 for word in hypothesis.words]
    texts: list[list[str]] = [[] for _ in strings]
    for word, place in zip(hypothesis.words, np.searchsorted(edges, middles), strict=True):
        texts[place].append(word.word)
    return [" ".join(words) for words in texts]


def end_s(string: Utterance) -> float:
    return string.start_s + (string.duration_s or 0.0)


def measure_cutting(strings: Sequence[Utterance], sound: Path) -> dict[str, object]:
    """Where the recording is cut."""
    blocks = (block.mean(axis=1) for block in audio.blocks(sound))
    starts = [start_s for start_s, _, _ in long.cut(blocks, RATE_HZ)][1:]
    inside = sum(s.start_s + MARGIN_S < start_s < end_s(s) - MARGIN_S for start_s in starts for s in strings)
    return {"strings": len(strings), "pieces": len(starts) + 1, "cuts_inside_a_string": inside}


def measure_words(strings: Sequence[Utterance], bundle_path: Path, outputs: dict[str, Path]) -> dict[str, object]:
    """WER of the strings one by one, and of the long recording, cut and whole."""
    alone = dict(long.transcribe_each(asr.load(bundle_path), strings))
    found = {way: wer(strings, texts_by_time(strings, hypothesis.read(path)[0])) for way, path in outputs.items()}
    texts = [result.text for _, result in sorted(alone.items()) if isinstance(result, Hypothesis)]
    return {"one_by_one": wer(strings, texts), **found}


def show(figures: dict[str, object]) -> None:
    print(*(f"{key}={value}" for key, value in figures.items()), flush=True)


def measure_digits(run: Path, folder: Path) -> dict[str, object]:
    rows, words = [], {}
    bundles = {"trained": run / "model.asr", "random": folder / "random.asr"}
    write_random(run, bundles["random"])
    for minutes in MINUTES:
        sound = folder / f"{minutes}.flac"
        strings = join_strings(minutes, sound)
        for net, bundle_path in bundles.items():
            outputs = {way: folder / f"{net}-{minutes}-{way}.jsonl" for way in ("cut", "whole")}
            for way in outputs:
                rows.append({"net": net, "minutes": minutes, "way": way})
                rows[-1] |= run_measure(bundle_path, sound, way, outputs[way])
                show(rows[-1])
            if net == "trained":
                words[f"{minutes} min"] = measure_cutting(strings, sound) | measure_words(strings, bundle_path, outputs)
                show(words[f"{minutes} min"])
    return {"rows": rows, "wer": words}


def measure_prompts(run: Path, folder: Path) -> dict[str, object]:
    rows = []
    write_random(run, folder / "random.asr")
    nets = {
        "tuned": (run / "model.asr", {}),
        "untuned": (run / "model.asr", UNTUNED),
        "random": (folder / "random.asr", {}),
    }
    utterances = manifest.read(run / "data/test.jsonl")
    for minutes in (0.5, *MINUTES):
        sound = folder / f"{minutes}.flac"
        join_utterances(utterances, minutes, sound)
        for way in ("cut", "whole") if minutes > 0.5 else ("whole",):
            for net, (bundle_path, options) in nets.items():
                rows.append({"net": net, "minutes": minutes, "way": way})
                rows[-1] |= run_measure(bundle_path, sound, way, folder / "found.jsonl", options)
                show(rows[-1])
    return {"prompts": rows}


def main(digits: Path, prompts: Path) -> None:
    results = json.loads(RESULT.read_text()) | {"cpus": os.cpu_count()}
    for run, measure_case in ((digits, measure_digits), (prompts, measure_prompts)):
        if not (run / "model.asr").exists():
            print(f"{run}/model.asr is missing; its case is skipped")
            continue
        with tempfile.TemporaryDirectory() as name:
            results |= measure_case(run, Path(name))
        with atomic_write(RESULT) as file:
            json.dump(results, file, indent=1)
    print(f"-> {RESULT}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(*sys.argv[2:])
    else:
        given = map(Path, sys.argv[1:])
        main(next(given, Path("exp/digits")), next(given, Path("exp/prompts")))
