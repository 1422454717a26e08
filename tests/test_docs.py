"""The walkthrough runs as written; README, links and navigation match the files; no file is too long."""

import re
import runpy
from pathlib import Path

import pytest
import soundfile
import tiny

from asr import manifest
from asr.manifest import Utterance
from asr.recognizer import bundle

ROOT = Path(__file__).parent.parent


def test_walkthrough_runs_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "exp/digits"
    (folder / "data").mkdir(parents=True)
    soundfile.write(folder / "data/a.wav", tiny.noise(1.5), 16000)
    manifest.write(folder / "data/test.jsonl", [Utterance("a", str(folder / "data/a.wav"), text="a b")])
    cfg = tiny.config()
    bundle.write(folder / "model.asr", tiny.model(cfg), cfg, tiny.TOKENS, tiny.graph_dir(tmp_path / "graph"), "card")
    monkeypatch.chdir(tmp_path)
    code = re.findall(r"```python\n(.*?)```", (ROOT / "docs/concepts/walkthrough.md").read_text(), re.S)
    assert len(code) == 7
    exec("\n".join(code), {})
    assert "torch.Size([1, 50, 4])" in capsys.readouterr().out


def test_readme_names_every_room() -> None:
    readme = (ROOT / "README.md").read_text()
    tree = readme[readme.index("## The tree") :]
    rooms = [p.parent.name + "/" for p in (ROOT / "asr").glob("*/__init__.py")]
    modules = [p.name for p in (ROOT / "asr").glob("*.py") if not p.name.startswith("__")]
    unnamed = [name for name in (*rooms, *modules) if name not in tree]
    assert not unnamed


def test_files_stay_readable() -> None:
    files = [p for folder in ("asr", "csrc", "recipes", "tests", "benchmarks") for p in (ROOT / folder).rglob("*.*")]
    long = {str(p): n for p in files if p.suffix in (".py", ".cc", ".h", ".cu", ".cuh") and (n := count(p)) > 400}
    assert not long


def count(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "recipes").rglob("*.md")]
    links = [
        (page, link)
        for page in pages
        for link in re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text(encoding="utf-8"))
    ]
    assert len(links) > 60
    assert [(str(page), link) for page, link in links if not (page.parent / link).exists()] == []


def test_the_chain_has_the_figures_of_the_recipes() -> None:
    chain = runpy.run_path(str(ROOT / "docs/chain.py"))
    page = (ROOT / "docs/concepts/chain.md").read_text(encoding="utf-8")
    for corpus in (chain["AN4"], *chain["OTHERS"]):
        steps = chain["read_steps"](corpus)
        assert steps and chain["table"](corpus, steps) in page


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M))
    assert {p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md")} == listed
