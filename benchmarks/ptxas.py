"""Registers, spills and shared memory of the CUDA kernels, as ptxas reports them.

    python benchmarks/ptxas.py [sm_80 sm_90 ...]     # prints a table, writes benchmarks/results/ptxas.json

Needs nvcc, no GPU. Dynamic shared memory depends on the labels and states: see csrc/ctc/launch.h and totals.cuh.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from asr.files import atomic_write

FOLDER = Path(__file__).parent.parent / "csrc" / "ctc"
SOURCES = ("cuda.cu", "totals_cuda.cu")
RESULTS = Path(__file__).parent / "results" / "ptxas.json"
ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_100")
ENTRY = re.compile(
    r"entry function '\w*?\d(?P<kernel>[A-Za-z]+)I(?P<type>[fd])E\w*' for '(?P<architecture>\w+)'"
    r".*?(?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads"
    r".*?Used (?P<registers>\d+) registers(?P<rest>[^\n]*)",
    re.DOTALL,
)


def nvcc_version() -> str:
    text = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=True).stdout
    return text.split("release ")[1].split()[-1]


def compile_report(architecture: str) -> list[dict]:
    with tempfile.TemporaryDirectory() as folder:
        together = Path(folder) / "ctc.cu"  # so that the headers, which take most of the time, are read once
        together.write_text("".join(f'#include "{FOLDER / source}"\n' for source in SOURCES))
        command = ["nvcc", "-std=c++17", "-O3", f"-arch={architecture}", "-Xptxas=-v", "-cubin", str(together)]
        done = subprocess.run([*command, "-o", f"{folder}/ctc.cubin"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"nvcc does not compile {FOLDER}/*.cu for {architecture}:\n{done.stderr}")
    rows = []
    for found in ENTRY.finditer(done.stderr):
        static = re.search(r"(\d+) bytes smem", found["rest"])
        rows.append(
            {
                "kernel": found["kernel"],
                "type": {"f": "float", "d": "double"}[found["type"]],
                "architecture": found["architecture"],
                "registers": int(found["registers"]),
                "spill_bytes": int(found["stores"]) + int(found["loads"]),
                "static_shared_bytes": int(static[1]) if static else 0,
            }
        )
    return sorted(rows, key=lambda row: (row["kernel"], row["type"]))


def main(architectures: list[str]) -> None:
    rows = [row for architecture in architectures or ARCHITECTURES for row in compile_report(architecture)]
    print(f"{'kernel':16} {'type':7} {'arch':7} {'registers':>9} {'spills B':>8} {'static shared B':>15}")
    for row in rows:
        print(
            "{kernel:16} {type:7} {architecture:7} {registers:9} {spill_bytes:8} {static_shared_bytes:15}".format(**row)
        )
    with atomic_write(RESULTS) as file:
        json.dump({"nvcc": nvcc_version(), "rows": rows}, file, indent=1)
    print(f"written to {RESULTS}")


if __name__ == "__main__":
    main(sys.argv[1:])
