"""One sentence for a missing extra, which works for those with a clone and for those with a wheel."""

import re
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from asr.errors import InputError, missing, needed

ROOT = Path(__file__).parent.parent


def packages_of(extra: str) -> set[str]:
    """By pyproject.toml, read as text: tomllib needs Python 3.11."""
    line = re.search(rf"^{extra} = \[(.*)\]$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert line
    return {re.split(r"[\[>=<]", package)[0] for package in re.findall(r'"([^"]+)"', line[1])}


def names(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w.\[])[a-z][a-z0-9_-]+(?=[\[>=<' ]|$)", text))


@pytest.mark.parametrize(
    "extra", ["serve", "postgres", "korean", "media", "pretrained", "vad", "microphone", "export", "ray", "remote"]
)
def test_the_packages_of_an_extra_are_named(extra: str) -> None:
    what, command = missing(extra, "this verb", "a package").split(": pip install ")
    assert what == "this verb needs a package"
    assert names(command) == packages_of(extra)


def test_an_import_that_fails_names_its_package() -> None:
    with pytest.raises(InputError, match=r"^asr serve needs nowhere: pip install '?fastapi"):
        with needed("serve", "asr serve"):
            import nowhere.to_be_found  # noqa: F401


def test_sources_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.requires", requires)
    assert missing("vad", "this", "that") == "this needs that: pip install '.[vad]' in the clone"


def test_no_other_sentence_names_an_extra_to_pip() -> None:
    """No index has the toolkit."""
    for path in (ROOT / "asr").rglob("*.py"):
        if path != ROOT / "asr" / "errors.py":
            assert not re.search(r"asr-toolkit\[", path.read_text()), path
