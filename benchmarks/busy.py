"""Batches per second of the digits training, on an idle machine and while another process keeps one core busy.

    python -m benchmarks.busy [--seconds 15] [--config recipes/digits]

Each setting runs in a separate process: the toolkit's choice of processes and threads, and, as "one process", the
earlier one: all cores as OpenMP threads of one process that wait for each other in spin loops. The net and the
batches are those of the experiment; the recordings are noise, since the speed does not depend on the words.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

RESULT = Path(__file__).parent / "results" / "busy.json"
DIGITS = "zero one two three four five six seven eight nine".split()
RECORDINGS, RATE_HZ, WARM_UP = 120, 8000, 3
SPINNING = {"GOMP_SPINCOUNT": "300000"}  # libgomp's own default, which `import asr` replaces by passive waiting
SETTINGS = {"one process": SPINNING, "chosen": {}}


def write_corpus(folder: Path) -> None:
    """Noise of one to five seconds with the text of one to seven digits, in train.jsonl and dev.jsonl."""
    from asr import manifest
    from asr.manifest import Utterance
    from asr.text.lexicon import Lexicon

    rng = np.random.default_rng(0)
    utterances = []
    for number in range(RECORDINGS):
        digits = rng.choice(DIGITS, rng.integers(1, 8))
        samples = 0.1 * rng.standard_normal(int(RATE_HZ * (0.5 + 0.6 * len(digits))))
        path = folder / f"{number}.wav"
        soundfile.write(path, samples, RATE_HZ)
        utterances.append(Utterance(str(number), str(path), None, 0.0, len(samples) / RATE_HZ, " ".join(digits)))
    manifest.write(folder / "train.jsonl", utterances)
    manifest.write(folder / "dev.jsonl", utterances[:5])
    Lexicon.cmudict(DIGITS).write(folder / "lexicon.txt")


def train(setting: str, config: str, folder: str, seconds: float) -> float:
    """Batches per second over about `seconds` of training."""
    from asr.cli.overrides import compose, to_overrides
    from asr.training import trainer

    if setting == "one process":
        trainer.divide_threads = lambda threads, most: (1, os.cpu_count() or 1)
    name = Path(config).name
    overrides = [
        f"experiment={name}",
        f"data.dir={folder}",
        f"out={folder}/{os.getpid()}",
        "optim.checkpoint_steps=1000000",
        "optim.epochs=1000",
    ]
    cfg = compose(to_overrides(overrides, (), config))
    return Stopwatch(trainer.Trainer(cfg), seconds).measure()


class Stopwatch:
    """Runs a trainer until enough time has passed after the first batches."""

    def __init__(self, trainer, seconds: float):
        self.trainer, self.seconds, self.steps, self.start = trainer, seconds, 0, 0.0

    def measure(self) -> float:
        take_step = self.trainer.take_step

        def timed():
            if self.steps == WARM_UP:
                self.start = time.perf_counter()
            if self.steps > WARM_UP and time.perf_counter() - self.start > self.seconds:
                raise StopIteration
            self.steps += 1
            return take_step()

        self.trainer.take_step = timed
        try:
            self.trainer.run()
        except StopIteration:
            pass
        return (self.steps - WARM_UP) / (time.perf_counter() - self.start)


def measure(setting: str, options: argparse.Namespace, folder: str, busy: bool) -> float:
    """`train` in a separate process; if `busy`, a pure Python loop runs at the same time."""
    spin = f"import os\nwhile os.getppid() == {os.getpid()}: pass"  # ends when this process dies
    spinner = subprocess.Popen([sys.executable, "-c", spin]) if busy else None
    command = [sys.executable, __file__, "--setting", setting, "--folder", folder]
    command += ["--config", options.config, "--seconds", str(options.seconds)]
    try:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))} | SETTINGS[setting]
        output = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    finally:
        if spinner:
            spinner.kill()
            spinner.wait()
    return json.loads(output.splitlines()[-1])


def main(options: argparse.Namespace) -> None:
    load = os.getloadavg()[0]
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        write_corpus(Path(folder))
        for setting in SETTINGS:
            idle, busy = (measure(setting, options, folder, busy) for busy in (False, True))
            rows[setting] = {"idle": round(idle, 3), "busy": round(busy, 3), "factor": round(idle / busy, 2)}
    print(f"{'batches per second':20s} {'idle':>8s} {'busy':>8s} {'factor':>8s}")
    for setting, row in rows.items():
        print(f"{setting:20s} {row['idle']:8.2f} {row['busy']:8.2f} {row['factor']:8.2f}")
    machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(), "load_before": load}
    RESULT.write_text(json.dumps({"machine": machine, "batches_per_second": rows}, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--config", default=str(Path(__file__).parent.parent / "recipes" / "digits"))
    parser.add_argument("--setting", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.setting:
        print(json.dumps(train(options.setting, options.config, options.folder, options.seconds)))
    else:
        main(options)
