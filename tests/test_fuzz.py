"""Readers of files from outside: InputError or a result, for every stored input that once failed and for mutations."""

import resource
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from fuzz.mutate import mutated
from fuzz.targets import TARGETS, run

FAILED = Path(__file__).parent / "data" / "fuzz"  # TARGET-*: inputs that `make fuzz` found
MUTATIONS = 150


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    made: dict[str, list[bytes]] = {}

    def of(name: str) -> list[bytes]:
        if name not in made:
            made[name] = TARGETS[name].seeds(tmp_path_factory.mktemp("seeds"))
        return made[name]

    return of


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_accepted(name, seeds, tmp_path):
    if name in ("config", "weights", "graph"):
        assert all(run(name, data, tmp_path) for data in seeds(name))
    for data in seeds(name):
        run(name, data, tmp_path)


@pytest.mark.parametrize("name", TARGETS)
def test_mutations_are_refused_or_read(name, seeds, tmp_path):
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    run(name, seeds(name)[0], tmp_path)  # imports what the reader needs
    slowest = 0.0
    for _ in range(MUTATIONS):
        data, other = (seeds(name)[rng.integers(len(seeds(name)))] for _ in range(2))
        start = time.process_time()
        run(name, mutated(rng, data, other), tmp_path)
        slowest = max(slowest, time.process_time() - start)
    assert slowest < 2


@pytest.mark.parametrize("path", sorted(FAILED.glob("*-*")), ids=lambda p: p.name)
def test_inputs_that_once_failed(path, tmp_path):
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    run(path.name.partition("-")[0], path.read_bytes(), tmp_path)
    assert time.process_time() - start < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # kB
