"""Processes that are killed while they work."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]


def kill_after(lines: int, command: Sequence[str]) -> int:
    """Runs `command`, kills it -9 once it has written so many lines -> how many it wrote in all."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout
    for _ in range(lines):
        assert process.stdout.readline()
    process.kill()
    told = lines + len(process.stdout.read().splitlines())
    process.wait()
    return told
