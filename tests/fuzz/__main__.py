"""The driver of `make fuzz`: runs every target until it has read the wanted number of inputs.

    PYTHONPATH=tests python -m fuzz                        # 10^6 inputs per target
    PYTHONPATH=tests python -m fuzz bundle arpa inputs=100000
    PYTHONPATH=tests python -m fuzz report                 # the table of docs/measured/fuzz.md

Python readers run under Atheris, the C++ readers under libFuzzer with sanitizers (needs clang++; CXX_FUZZ names it).
build/fuzz keeps the corpus of each target, the counts (log.json) and each input that failed (TARGET-*): an exception
other than InputError, more than 2 s of CPU time, more than 1 GB of memory. A run that was interrupted goes on from the
counts. An input that failed belongs into tests/data/fuzz with the fix.
"""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "fuzz"
LOG = BUILD / "log.json"
NATIVE = ("native_graph", "native_language", "native_arpa")
CHUNK, CHUNK_S = 200_000, 120  # most inputs and seconds of one process
MOST_CPU_S, MOST_MB = 2.0, 1024
FAILURES = 3  # a target with so many is given up


def main(words: list[str]) -> int:
    if words[:1] == ["--one"]:
        return fuzz_one(*words[1:])
    goal = next((int(word.partition("=")[2]) for word in words if word.startswith("inputs=")), 1_000_000)
    names = [word for word in words if "=" not in word]
    if names == ["report"]:
        print(report())
        return 0
    BUILD.mkdir(parents=True, exist_ok=True)
    failed = [name for name in names or all_targets() if not complete(name, goal)]
    print(report())
    print(f"failed: {' '.join(failed)}" if failed else "nothing failed")
    return bool(failed)


def all_targets() -> list[str]:
    from fuzz.targets import TARGETS

    native = NATIVE if compiler() else ()
    if not native:
        print("the C++ targets are left out: no clang++ found; set CXX_FUZZ")
    return [*native, *TARGETS]


def complete(name: str, goal: int) -> bool:
    """Run chunks of the target until it has read `goal` inputs. Returns False if it fails."""
    corpus = BUILD / "corpus" / name
    if not corpus.exists():
        write_seeds(name, corpus)
    is_native = name in NATIVE
    program = [str(build_native(name))] if is_native else [sys.executable, "-m", "fuzz", "--one", name]
    while (row := log().get(name, {"inputs": 0, "seconds": 0.0, "failures": []}))["inputs"] < goal:
        if len(row["failures"]) >= FAILURES:
            return False
        runs = min(goal - row["inputs"], CHUNK)
        seed = row["inputs"] + len(row["failures"]) + 1
        options = [f"-runs={runs}", f"-max_total_time={CHUNK_S}", f"-seed={seed}", f"-artifact_prefix={BUILD}/{name}-",
                   "-print_final_stats=1", "-timeout=60", "-max_len=65536", "-detect_leaks=0",
                   f"-rss_limit_mb={MOST_MB + 1024}", f"-malloc_limit_mb={MOST_MB}"]  # fmt: skip
        start = cpu_s()
        done = subprocess.run([*program, *options, str(corpus)], capture_output=True, text=True, errors="replace")
        row["inputs"] += executed(done.stderr, runs, done.returncode)
        row["seconds"] = round(row["seconds"] + cpu_s() - start, 1)
        row["peak_mb"] = max(row.get("peak_mb", 0), *map(int, re.findall(r"peak_rss_mb:\s+(\d+)", done.stderr)), 0)
        if done.returncode:
            row["failures"].append((done.stderr + done.stdout)[-3000:])
            (BUILD / f"{name}.txt").write_text(done.stdout + done.stderr)
        save(name, row)
        print(f"{name}: {row['inputs']} inputs, {row['seconds']:.0f} s, {len(row['failures'])} failures", flush=True)
    return not row["failures"]


def cpu_s() -> float:
    """CPU time of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def executed(text: str, runs: int, code: int) -> int:
    """The number of inputs that a process has read, from libFuzzer's statistics or its last progress line."""
    if found := re.search(r"number_of_executed_units:\s+(\d+)", text):
        return int(found[1])
    counts = re.findall(r"^#(\d+)\s", text, re.MULTILINE)
    return int(counts[-1]) if counts else 0 if code else runs


def fuzz_one(name: str, *options: str) -> int:
    """This process reads inputs until libFuzzer ends it."""
    import atheris

    from fuzz.targets import run

    for function in functions_of("asr"):
        atheris.instrument_func(function)
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    for seed in sorted((BUILD / "corpus" / name).iterdir())[:3]:
        run(name, seed.read_bytes(), folder)  # modules are imported at first use, which counts for no input
    base_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def read(data: bytes) -> None:
        start = time.process_time()
        run(name, data, folder)
        seconds = time.process_time() - start
        if seconds > MOST_CPU_S:
            raise TimeoutError(f"{seconds:.1f} s of CPU time")
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base_kb > MOST_MB << 10:
            raise MemoryError("more than 1 GB")

    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    atheris.Setup([sys.argv[0], *options], read)
    try:
        atheris.Fuzz()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def functions_of(package: str) -> Iterator[FunctionType]:
    """The functions and methods of all modules loaded so far. (Atheris's import hook misses editable packages.)"""
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == package:
            holders = [module, *(x for x in vars(module).values() if isinstance(x, type) and x.__module__ == name)]
            for value in (value for holder in holders for value in list(vars(holder).values())):
                value = getattr(value, "fget", None) or getattr(value, "__func__", value)
                if isinstance(value, FunctionType) and value.__module__ == name:
                    yield value


def write_seeds(name: str, corpus: Path) -> None:
    from fuzz.targets import TARGETS

    corpus.mkdir(parents=True)
    known = ROOT / "tests" / "data" / "fuzz"
    with tempfile.TemporaryDirectory() as folder:
        seeds = [*TARGETS[name.removeprefix("native_")].seeds(Path(folder))]
    seeds += [path.read_bytes() for path in known.glob(f"{name}-*")]
    for number, data in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(data)


def compiler() -> str | None:
    names = [os.environ.get("CXX_FUZZ", ""), "clang++", *(f"clang++-{n}" for n in range(22, 13, -1))]
    return next((found for name in names if name and (found := shutil.which(name))), None)


def build_native(name: str) -> Path:
    program, clang = BUILD / name, compiler()
    if not clang:
        sys.exit("the C++ targets need clang++ with libFuzzer; set CXX_FUZZ")
    room = "lm" if name == "native_arpa" else "decoder"
    sources = [p for p in (ROOT / "csrc" / room).glob("*.cc") if p.name != "bindings.cc"]
    flags = ["-std=c++17", "-O1", "-g", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]
    command = [clang, *flags, f"-D{name.upper()}", f"-I{ROOT}/csrc", f"-I{ROOT}/csrc/{room}", "-pthread"]
    subprocess.run([*command, str(ROOT / "tests/fuzz/native.cc"), *map(str, sources), "-o", str(program)], check=True)
    return program


def log() -> dict[str, dict]:
    return json.loads(LOG.read_text()) if LOG.exists() else {}


def save(name: str, row: dict) -> None:
    temporary = LOG.with_suffix(".new")
    temporary.write_text(json.dumps(log() | {name: row}, indent=1))
    temporary.replace(LOG)


def report() -> str:
    rows = ["| Target | Inputs | CPU seconds | Peak MB | Failures |", "|---|---|---|---|---|"]
    for name, row in sorted(log().items()):
        rows.append(
            f"| {name} | {row['inputs']:,} | {row['seconds']:.0f} | {row['peak_mb']} | {len(row['failures'])} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
