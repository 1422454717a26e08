"""The commands and programs of the guide run as written, on small synthetic corpora.

A block is not run if the line above it is `<!-- not run: REASON -->`. Blocks marked as text are expected output and are
not compared: the figures in the guide come from real recordings.
"""

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.cli.main import main

GUIDE = Path(__file__).parent.parent / "docs" / "guide"
BLOCK = re.compile(r"(<!-- not run: .+? -->\n)?```(bash|python)\n(.*?)```", re.S)
ENGLISH = "yes no stop go on call john new york light please".split()
KOREAN = "네 아니요 오늘 날씨 좋다 내일 학교 가요".split()
RATE_HZ = 16000


def say(text: str, rng: np.random.Generator) -> np.ndarray:
    """Samples (T,): a tone per letter or jamo, a pause per gap."""
    pieces = [np.zeros(RATE_HZ // 10)]
    for word in text.split():
        for letter in word:
            time_s = np.arange(RATE_HZ // 12) / RATE_HZ
            pieces.append(0.3 * np.sin(2 * np.pi * (200 + 97 * (ord(letter) % 37)) * time_s))
        pieces.append(np.zeros(RATE_HZ // 8))
    samples = np.concatenate(pieces)
    return samples + 0.003 * rng.standard_normal(len(samples))


def make_corpus(folder: Path, words: list[str], sizes: dict[str, int]) -> list[str]:
    """Recordings with texts of the same name; returns the texts."""
    rng = np.random.default_rng(5)
    texts = []
    for split, size in sizes.items():
        (folder / split).mkdir(parents=True)
        for number in range(size):
            text = " ".join(rng.choice(words, 4))
            soundfile.write(folder / split / f"{split}-{number}.wav", say(text, rng), RATE_HZ)
            (folder / split / f"{split}-{number}.txt").write_text(text + "\n", encoding="utf-8")
            texts.append(text)
    return texts


def run_page(name: str, namespace: dict[str, object]) -> int:
    """Run the blocks of a page in order; returns how many ran."""
    ran = 0
    for skipped, language, code in BLOCK.findall((GUIDE / name).read_text(encoding="utf-8")):
        if skipped:
            continue
        ran += 1
        if language == "python":
            exec(compile(code, name, "exec"), namespace)
            continue
        for line in code.replace("\\\n", " ").splitlines():
            command = shlex.split(line, comments=True)
            if command:
                assert command[0] == "asr", f"{name}: '{line}' is no asr command; mark the block as not run"
                assert main(command[1:]) == 0, f"{name}: {line}"
    return ran


def test_english_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = make_corpus(tmp_path / "corpus", ENGLISH, {"train": 12, "dev": 6, "test": 3})
    files = {
        "general.txt": texts[:12],
        "domain.txt": ["call john please", "please call new york", "stop the light", "go on john"] * 3,
        "domain.dev": ["please call john", "stop new york", "go on please"],
        "names.txt": ["cory", "polk\tP OW K", "stork\tS T AO R K\t\t2.0"],
        "slots.txt": ["call <name> please", "please call <name>", "my number is <digits>", "stop the light"] * 3,
        "slots.jsgf": ["#JSGF V1.0;", "grammar slots;", "public <name> = <first> [york] | new york;",
                       "<first> = /3/ john | /1/ cory;"],
        "phrases.txt": ["new york", "call john\t5"],
        "list.txt": ["stop", "go on", "call john\t2"],
        "lights.jsgf": ["#JSGF V1.0;", "grammar lights;", "public <command> = [please] (stop | go on) <what>;",
                        "<what> = light | york;"],
    }  # fmt: skip
    for name, lines in files.items():
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    soundfile.write("x.wav", say("call john please", np.random.default_rng(1)), RATE_HZ)
    assert run_page("english.md", {}) >= 10
    Path("words.txt").write_text("it costs five dollars\n", encoding="utf-8")
    for page in ("transcribing.md", "written.md", "domain.md", "words.md", "stream.md", "python.md"):
        assert run_page(page, {}), page
    assert run_page("cluster.md", {}) == 3
    if find_spec("onnx") and find_spec("onnxruntime"):
        assert run_page("export.md", {}) == 2


def test_korean_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = make_corpus(tmp_path / "corpus", KOREAN, {"train": 12, "dev": 6, "test": 3})
    (tmp_path / "conversations.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert run_page("korean.md", {}) == 6


def test_every_page_is_covered() -> None:
    run = {
        "english.md",
        "transcribing.md",
        "written.md",
        "domain.md",
        "words.md",
        "python.md",
        "korean.md",
        "export.md",
        "cluster.md",
        "stream.md",
        "align.md",  # by test_align_long.py
        "serve.md",  # by test_serve_openai.py
        "flywheel.md",  # by test_flywheel.py
        "live.md",  # by test_serve_live.py and test_serve_realtime.py
    }
    for page in GUIDE.glob("*.md"):
        blocks = [skipped for skipped, _, _ in BLOCK.findall(page.read_text(encoding="utf-8"))]
        assert page.name in run or all(blocks), f"{page.name} has blocks that no test runs"
