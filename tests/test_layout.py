"""The package's layout: every room has a floor, and no room loads more than its purpose needs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOT_ROOMS = ("__init__", "__main__", "conf")


def floors() -> list[str]:
    """The rooms that the import contract in pyproject.toml names (read as text: tomllib needs Python 3.11)."""
    text = (ROOT / "pyproject.toml").read_text()
    listed = text[text.index("layers = [") + len("layers = ") :]
    rows = ast.literal_eval(listed[: listed.index("]") + 1])
    return [room for row in rows for room in row.split(" : ")]


def test_every_room_has_a_floor() -> None:
    rooms = {p.stem for p in (ROOT / "asr").iterdir() if (p / "__init__.py").exists() or p.suffix == ".py"}
    assert rooms.difference(NOT_ROOMS) == set(floors())


def test_every_room_states_its_purpose() -> None:
    for init in (ROOT / "asr").rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(init.read_text())), init


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("asr", ("torch", "numpy", "hydra")),
        ("asr.cli.main", ("torch", "numpy", "hydra", "matplotlib")),
        ("asr.training.trainer", ("asr._decoder", "asr._lm", "pywrapfst")),
        ("asr.text.lexicon", ("asr._lm", "asr._decoder", "torch", "pywrapfst")),
        ("asr.data.check", ("torch", "asr._decoder", "asr._lm")),
    ],
)
def test_rooms_load_only_what_they_need(module: str, unwanted: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print([name for name in {unwanted} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
