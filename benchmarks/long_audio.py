"""One hour in one recording: memory, speed, and what cutting costs in words.

    python recipes/digits/run.py                     # or with optim.epochs=3, in a third of the time
    python benchmarks/long_audio.py [RUN_FOLDER]     # exp/digits unless given

The test strings of the digits recipe are joined with drawn pauses (0.3 to 1.5 s) of their own room noise to recordings
of 10 minutes and one hour (real speech; the 300 strings recur). They are recognised with the trained net and with one
of random weights, whose lattices are large: cut at pauses, and whole as before there was cutting. Each measurement is
a process of its own. Prints peak memory and the real-time factors of wall clock and CPU, and the WER against that of
the same strings recognised one by one; words of the long recording count for the string in whose time they lie. Writes
benchmarks/results/long_audio.json.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from asr import manifest
from asr.evaluation.score import score
from asr.features import audio
from asr.files import atomic_write
from asr.hypothesis import Hypothesis
from asr.manifest import Utterance

RESULT = Path(__file__).parent / "results/long_audio.json"
RATE_HZ, SEED = 16000, 1
MINUTES = (10, 60)
PAUSE_S = (0.3, 1.5)
EDGE_S = 0.1  # of room noise at both ends of each string
WHOLE = {"trained": (10,), "untuned": (10,)}  # minutes that are also measured without cutting


@dataclass(frozen=True)
class Said:
    """A string within a long recording."""

    utterance: Utterance
    start_s: float
    end_s: float


def join_strings(utterances: Sequence[Utterance], minutes: float, path: Path) -> list[Said]:
    """Write a recording of the strings in drawn order; returns where each is."""
    rng = np.random.default_rng(SEED)
    said: list[Said] = []
    at = 0
    with soundfile.SoundFile(path, "w", RATE_HZ, 1) as file:
        while at < minutes * 60 * RATE_HZ:
            for k in rng.permutation(len(utterances)):
                if at >= minutes * 60 * RATE_HZ:
                    break
                samples = audio.load(utterances[k].audio or "", sample_rate_hz=RATE_HZ)  # (T,)
                pause = room_noise(samples, rng.uniform(*PAUSE_S))
                x = np.concatenate([pause, samples])
                file.write(x)
                said.append(Said(utterances[k], (at + len(pause)) / RATE_HZ, (at + len(x)) / RATE_HZ))
                at += len(x)
    return said


def room_noise(samples: np.ndarray, seconds: float) -> np.ndarray:
    """The first `EDGE_S` of samples (T,), forwards and backwards in turn -> (seconds * rate,)."""
    edge = samples[: round(EDGE_S * RATE_HZ)]
    there_and_back = np.concatenate([edge[::-1], edge])
    return np.resize(there_and_back[::-1], round(seconds * RATE_HZ))[::-1]


def write_untuned(run: Path, path: Path) -> None:
    """A bundle with random weights, otherwise that of the run folder."""
    import torch

    from asr.models.acoustic import AcousticModel
    from asr.recognizer import bundle

    opened = bundle.read(run / "model.asr")
    torch.manual_seed(SEED)
    untuned = AcousticModel(opened.cfg.features, opened.cfg.model, len(opened.tokens))
    bundle.write(path, untuned, opened.cfg, opened.tokens, run / "graph", "# random weights\n")


def measure(bundle_path: str, sound: str, is_cut: str, output: str) -> None:
    """In a process of its own: recognise `sound`, write the hypothesis and print the figures as JSON."""
    import asr
    from asr import hypothesis
    from asr.recognizer import long

    recognizer = asr.load(bundle_path)
    if is_cut == "whole":
        long.LONGEST_S = float("inf")
    wall, cpu = time.perf_counter(), time.process_time()
    found = recognizer.transcribe(sound)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    hypothesis.write(output, [found])
    status = Path("/proc/self/status").read_text()
    peak_mb = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    rtf, cpu_rtf = wall / found.duration_s, cpu / found.duration_s
    print(json.dumps({"peak_mb": round(peak_mb), "rtf": round(rtf, 4), "cpu_rtf": round(cpu_rtf, 4)}))


def run_measure(*arguments: object) -> dict[str, float]:
    argv = [sys.executable, __file__, "--measure", *map(str, arguments)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def wer(said: Sequence[Said], texts: Sequence[str]) -> float:
    refs = {str(i): one.utterance.text for i, one in enumerate(said)}
    return round(score(refs, {str(i): text for i, text in enumerate(texts)}, {}, resamples=1).wer, 5)


def texts_by_time(said: Sequence[Said], hypothesis: Hypothesis) -> list[str]:
    """The words in each string's time; the pause between two is divided in the middle."""
    edges = [(before.end_s + after.start_s) / 2 for before, after in zip(said, said[1:], strict=False)]
    middles = [(word.start_s + word.end_s) / 2 for word in hypothesis.words]
    texts: list[list[str]] = [[] for _ in said]
    for word, place in zip(hypothesis.words, np.searchsorted(edges, middles), strict=True):
        texts[place].append(word.word)
    return [" ".join(words) for words in texts]


def measure_cutting(said: Sequence[Said], sound: Path) -> dict[str, object]:
    """Where the recording is cut."""
    from asr.recognizer.long import cut

    blocks = (block.mean(axis=1) for block in audio.blocks(sound))
    starts = [start_s for start_s, _, _ in cut(blocks, RATE_HZ)][1:]
    inside = sum(one.start_s < start_s < one.end_s for start_s in starts for one in said)
    return {"pieces": len(starts) + 1, "cuts_inside_a_string": inside}


def measure_words(said: Sequence[Said], bundle_path: Path, outputs: dict[str, Path]) -> dict[str, object]:
    """WER of the strings one by one, and of the long recording, cut and whole."""
    import asr
    from asr.hypothesis import read

    recognizer = asr.load(bundle_path)
    paths = list(dict.fromkeys(one.utterance.audio or "" for one in said))
    alone = dict(zip(paths, (h.text for h in recognizer.transcribe(paths)), strict=True))
    found = {name: wer(said, texts_by_time(said, read(path)[0])) for name, path in outputs.items()}
    return {"one_by_one": wer(said, [alone[one.utterance.audio or ""] for one in said]), **found}


def main(run: Path) -> None:
    utterances = manifest.read(run / "data" / "test.jsonl")
    rows, words = [], {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundles = {"trained": run / "model.asr", "untuned": folder / "untuned.asr"}
        write_untuned(run, bundles["untuned"])
        for minutes in MINUTES:
            sound = folder / f"{minutes}.flac"
            said = join_strings(utterances, minutes, sound)
            for net, bundle_path in bundles.items():
                ways = ["cut", *(["whole"] if minutes in WHOLE[net] else [])]
                outputs = {way: folder / f"{net}-{minutes}-{way}.jsonl" for way in ways}
                for way in ways:
                    rows.append({"net": net, "minutes": minutes, "way": way})
                    rows[-1] |= run_measure(bundle_path, sound, way, outputs[way])
                    print(*(f"{key}={value}" for key, value in rows[-1].items()), flush=True)
                if net == "trained":
                    words[f"{minutes} min"] = measure_cutting(said, sound) | measure_words(said, bundle_path, outputs)
                    print(*(f"{key}={value}" for key, value in words[f"{minutes} min"].items()), flush=True)
    with atomic_write(RESULT) as file:
        json.dump({"cpus": os.cpu_count(), "rows": rows, "wer": words}, file, indent=1)
    print(f"-> {RESULT}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(*sys.argv[2:])
    else:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else "exp/digits"))
