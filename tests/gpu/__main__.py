"""The driver of `make gpu-test`: `python -m gpu [log]` with tests/ on the path.

Builds the CUDA extension if it is missing, then runs each part as a process. A part that fails or exceeds its time does
not stop the others; in all they take at most LIMIT_S. The log names the card, the driver and the versions, and ends
with a line per part. Exit code: 0 if none failed, 1 if one did, 2 if there is no GPU or the build failed.
"""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIMIT_S = 460
PARTS = str(Path(__file__).parent / "parts.py")
TRAININGS = str(Path(__file__).parent / "trainings.py")
PYTEST = ("-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider")
SANITIZER = "compute-sanitizer"


@dataclass(frozen=True)
class Part:
    name: str
    words: Sequence[str]  # of Python's command line
    limit_s: int
    tool: Sequence[str] = ()  # the program that Python runs under

    def command(self) -> list[str]:
        return [*self.tool, sys.executable, *self.words]


def parts() -> list[Part]:
    """In the order of their worth, so that a short lease has the important ones."""
    sanitizers = [
        Part(f"compute-sanitizer {check}", (PARTS, "sanitized"), 90,
             (SANITIZER, f"--tool={check}", "--error-exitcode=1"))
        for check in ("memcheck", "racecheck")
    ]  # fmt: skip
    return [
        Part("kernels against the CPU", (*PYTEST, "tests/test_gpu.py"), 90),
        Part("large batch", (PARTS, "large_batch"), 60),
        Part("two streams", (PARTS, "streams"), 60),
        Part("CUDA graph", (PARTS, "graph_capture"), 60),
        Part("training", (PARTS, "training"), 60),
        Part("training with CUDA graphs", (TRAININGS, "graphs"), 120),
        Part("torchrun on two GPUs", (TRAININGS, "torchrun"), 90),
        Part("training throughput", (TRAININGS, "throughput"), 90),
        *sanitizers,
        Part("benchmark", (PARTS, "benchmark"), 90),
        Part("LF-MMI benchmark", (PARTS, "lfmmi"), 60),
        Part("features on the GPU", (*PYTEST, "tests/test_features.py", "-k", "gpu"), 60),
    ]


class Log:
    """Writes to the terminal and to the file."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8")

    def __call__(self, text: str) -> None:
        for out in (sys.stdout, self._file):
            print(text, file=out, flush=True)


def main(path: Path) -> int:
    import torch

    if not torch.cuda.is_available():
        print(f"make gpu-test: torch {torch.__version__} finds no CUDA GPU here; run it on a machine with one, with a "
              "CUDA build of torch", file=sys.stderr)  # fmt: skip
        return 2
    log, start = Log(path), time.monotonic()
    log(machine(torch))
    if not (has_extension() or build(log)):
        log("the CUDA extension was not built")
        return 2
    states = run_all(parts(), log, lambda: LIMIT_S - (time.monotonic() - start))
    log("\n".join(f"{state:8} {name}" for name, state in states.items()))
    log(f"{time.monotonic() - start:.0f} s in all")
    return int("failed" in states.values())


def machine(torch) -> str:  # type: ignore[no-untyped-def]
    card = torch.cuda.get_device_properties(0)
    driver = output(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"])
    return "\n".join([
        f"card      {card.name}, sm_{card.major}{card.minor}, {card.total_memory >> 20} MiB",
        f"driver    {driver or 'unknown'}",
        f"versions  Python {platform.python_version()}, torch {torch.__version__}, CUDA {torch.version.cuda}",
        f"commit    {output(['git', 'rev-parse', '--short', 'HEAD']) or 'unknown'}",
        f"date      {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())} UTC",
    ])  # fmt: skip


def output(command: Sequence[str]) -> str:
    if not shutil.which(command[0]):
        return ""
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout.strip()


def has_extension() -> bool:
    return importlib.util.find_spec("asr._ctc_cuda") is not None


def build(log: Log) -> bool:
    """Build the extensions with nvcc into the package of this checkout."""
    if not shutil.which("nvcc") and not os.environ.get("CUDACXX"):
        log("no nvcc: put it on the PATH or name it in CUDACXX")
        return False
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-build-isolation", "--no-deps", "-e", "."]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    log(done.stdout + done.stderr)
    importlib.invalidate_caches()
    return done.returncode == 0 and output([sys.executable, "-c", "import asr._ctc_cuda; print('built')"]) == "built"


def run_all(parts: Sequence[Part], log, left_s) -> dict[str, str]:  # type: ignore[no-untyped-def]
    """The state of each part: passed, failed, skipped. `left_s()`: seconds until the run must end."""
    states = {}
    for part in parts:
        log(f"\n== {part.name}")
        states[part.name], text = run(part, min(part.limit_s, left_s()))
        log(f"{text.strip()}\n-- {states[part.name]}")
    return states


def run(part: Part, limit_s: float) -> tuple[str, str]:
    if part.tool and not shutil.which(part.tool[0]):
        return "skipped", f"{part.tool[0]} is not on the PATH"
    if limit_s < 5:
        return "skipped", "no time left"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), str(ROOT)])}
    try:
        done = subprocess.run(part.command(), cwd=ROOT, env=environment, timeout=limit_s, text=True, errors="replace",
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    except subprocess.TimeoutExpired as e:
        text = e.output.decode(errors="replace") if isinstance(e.output, bytes) else e.output or ""
        return "failed", f"{text}\nstopped after {limit_s:.0f} s"
    except OSError as e:
        return "failed", str(e)
    return ("failed" if done.returncode else "passed"), done.stdout


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "gpu-test.log"))
