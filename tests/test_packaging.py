"""The wheel, installed without the source tree, finds its configuration and its extensions."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built in the folder of `make test`, whose objects it finds up to date."""
    pytest.importorskip("scikit_build_core", reason="builds the wheel; installed by `make test`")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def other_venv(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a venv with the wheel; its dependencies are borrowed from this venv."""
    folder = tmp_path_factory.mktemp("other") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel],
        check=True,
    )
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def output_of(*command: str | Path, cwd: Path) -> str:
    run = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_wheel_holds_configuration_page_and_extensions(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    page = {f"asr/serve/page/{path.name}" for path in (ROOT / "asr/serve/page").glob("*.*")}
    assert len(page) > 10 and page <= names
    yamls = {f"asr/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert len(yamls) > 20 and yamls <= names
    for extension in ("_ctc", "_decoder", "_lm"):
        assert any(name.startswith(f"asr/{extension}.") and name.endswith(".so") for name in names)
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"asr"}


def test_installed_wheel_works_from_a_foreign_folder(other_venv: Path, tmp_path: Path) -> None:
    assert "transcribe" in output_of(other_venv / "asr", "--help", cwd=tmp_path)
    program = (
        "import asr._ctc, asr._decoder, asr._lm, asr.cli.options, asr.cli.overrides\n"
        "print(asr.cli.options.conf_dir())\n"
        "print(asr.cli.overrides.compose(['experiment=tiny', 'optim.lr=0.5']).optim)"
    )
    conf, optim = output_of(other_venv / "python", "-c", program, cwd=tmp_path).splitlines()
    assert Path(conf).is_relative_to(other_venv.parent) and Path(conf).parts[-2:] == ("asr", "conf")
    assert "lr=0.5" in optim
