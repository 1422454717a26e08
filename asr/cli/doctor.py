"""`asr doctor`: what is installed, what is missing, and the command that installs it."""

import importlib
import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

REBUILD = "run `pip install --no-deps -e .` in the source tree (needs a C++17 compiler)"


def report(data_root: str | None) -> str:
    """One line per finding. A line that starts with `!` gives the remedy after `->`."""
    return "\n".join([*_python(), *_torch(), *_extensions(), *_libraries(), *_machine(), *_data(data_root)])


def _line(name: str, value: str | None, remedy: str) -> str:
    return f"  {name:20}{value}" if value else f"! {name:20}missing -> {remedy}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _python() -> Iterator[str]:
    yield _line("asr", _version("asr-toolkit"), "run `pip install .` in the source tree")
    yield _line("Python", f"{platform.python_version()} on {platform.platform()}", "")


def _torch() -> Iterator[str]:
    yield _line("torch", _version("torch"), "pip install torch")
    if importlib.util.find_spec("torch") is None:
        return
    import torch

    if torch.cuda.is_available():
        names = {torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
        yield _line("CUDA device", f"{torch.cuda.device_count()} x {', '.join(sorted(names))}", "")
    else:
        yield _line("CUDA device", "none: training and decoding run on the CPU (device=cpu)", "")


def _extensions() -> Iterator[str]:
    for name, task in (("_ctc", "CTC loss"), ("_decoder", "search"), ("_lm", "language models")):
        try:
            module = importlib.import_module(f"asr.{name}")
            yield _line(f"asr.{name}", f"built ({task}): {module.__file__}", "")
        except ImportError as e:
            yield _line(f"asr.{name}", None, f"{task} cannot run ({e}); {REBUILD}")
    built = importlib.util.find_spec("asr._ctc_cuda") is not None
    yield _line("asr._ctc_cuda", f"{'built' if built else 'not built'} (CTC on a GPU; else the CPU computes it)", "")
    yield _line("nvcc", shutil.which("nvcc") or "none: the extensions are built for the CPU only", "")


def _libraries() -> Iterator[str]:
    pynini = _version("pynini")
    yield _line("pynini", pynini and f"{pynini} (brings OpenFst as pywrapfst)", "pip install pynini")
    if _version("openfst-python"):
        yield "! openfst-python      is superseded by pywrapfst, which pynini brings -> pip uninstall openfst-python"
    for package in ("soxr", "hydra-core", "safetensors", "zstandard"):
        yield _line(package, _version(package), f"pip install {package}")
    yield from _audio_formats()
    media = "none: m4a, mp4, webm, amr and wma files are refused (to read them: `pip install av`)"
    yield _line("PyAV", _version("av") or media, "")


def _audio_formats() -> Iterator[str]:
    remedy = "pip install soundfile (and libsndfile on systems other than Linux, macOS and Windows)"
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: the package is installed, libsndfile is not
        yield _line("soundfile", None, remedy)
        return
    yield _line("soundfile", f"{soundfile.__version__} with {soundfile.__libsndfile_version__}", remedy)
    wanted = {"WAV", "FLAC", "OGG", "MP3"}
    missing = wanted - set(soundfile.available_formats())
    formats = ", ".join(sorted(wanted - missing))
    yield _line("audio formats", formats, "")
    if missing:
        yield _line(", ".join(sorted(missing)), None, "pip install --upgrade soundfile, whose wheel brings libsndfile")


def _machine() -> Iterator[str]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield _line("CPU cores", str(cores), "")
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        yield _line("memory", f"{memory:.1f} GiB", "")
    except (ValueError, OSError, AttributeError):  # no such name on this system
        yield _line("memory", "unknown on this system", "")
    yield _line("free disk here", f"{shutil.disk_usage('.').free / 2**30:.1f} GiB", "")


def _data(data_root: str | None) -> Iterator[str]:
    from asr.data import corpora

    places = [*([Path(data_root)] if data_root else []), *corpora.places()]
    found = next((place for place in places if place.is_dir()), None)
    given = data_root or os.environ.get("ASR_DATA")
    missing = f"{given} is no folder; " if given else ""
    remedy = f"{missing}recipes download their corpora, or set data.root=DIR or ASR_DATA"
    yield _line("data root", str(found.resolve()) if found else None, remedy)
