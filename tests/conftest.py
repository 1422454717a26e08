"""Fixtures that several test files share."""

import ctypes
import dataclasses
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import settings
from matplotlib.figure import Figure
from recorder import recorded

from asr.cli.verbs import VERBS
from asr.config import Config

settings.register_profile("any_machine", deadline=None)  # a busy one takes its time
settings.load_profile("any_machine")
SAVEFIG = Figure.savefig
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def declarations() -> Iterator[None]:
    """Every verb that a test runs is checked to read only options that it declares."""
    verbs = dict(VERBS)
    VERBS.update({name: dataclasses.replace(verb, run=recorded(name, verb.run)) for name, verb in verbs.items()})
    yield
    VERBS.update(verbs)


@pytest.fixture(scope="session", autouse=True)
def undrawn() -> Iterator[None]:
    """Figures are made and their files written, but nothing is drawn: that takes longer than most trainings here.

    Tests of what is drawn use `drawn`.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda figure, file, **options: file.write(b"\x89PNG\r\n\x1a\n"))
        yield


@pytest.fixture(scope="module")
def drawn() -> Iterator[None]:
    """Figures are drawn as for users, from the first test that needs it to the end of its file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", SAVEFIG)
        yield


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """Every verb only records its configuration here."""
    configs: list[Config] = []
    for name, verb in list(VERBS.items()):
        monkeypatch.setitem(VERBS, name, dataclasses.replace(verb, run=configs.append))
    return configs


@pytest.fixture
def shared_data() -> Path:
    """The folder of real recordings next to the checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the real recordings in {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the words `a` and `b`. Tests only read it."""
    from served import bundle_in  # needs the extra `serve`

    return bundle_in(tmp_path_factory.mktemp("model"))


@pytest.fixture
def make_wav(tmp_path):
    """make_wav(name, samples or seconds, rate_hz=16000, **soundfile options) -> path below tmp_path.

    Seconds give noise of a seed made from the name; samples are (T,) or (T, C).
    """

    def make(name, samples=1.0, rate_hz=16000, **options) -> Path:
        if isinstance(samples, (int, float)):
            seed = sum(map(ord, name))
            samples = 0.1 * np.random.default_rng(seed).standard_normal(round(samples * rate_hz))
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, rate_hz, **options)
        return path

    return make


def build_emulation(source, folder):
    """CUDA kernels of csrc/ctc, compiled for the CPU: see emulation.h."""
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        pytest.skip("needs a C++ compiler to build the emulation with")
    library = folder / "kernels.so"
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"]
    flags += ["-fsanitize=signed-integer-overflow", "-fsanitize-undefined-trap-on-error"]  # needs no library
    path = Path(__file__).parent.parent / "csrc" / "ctc" / source
    subprocess.run([compiler, *flags, str(path), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


@pytest.fixture(scope="session")
def emulation(tmp_path_factory):
    return build_emulation("emulated.cc", tmp_path_factory.mktemp("emulation"))


@pytest.fixture(scope="session")
def totals_emulation(tmp_path_factory):
    return build_emulation("emulated_totals.cc", tmp_path_factory.mktemp("totals_emulation"))
