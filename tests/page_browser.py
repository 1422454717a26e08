"""Chromium for the tests of the page: found, started with a microphone that hears a file, and asked about contrast."""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import soundfile
import tiny
from fastapi import FastAPI
from page_mock import Mock, Server, make_app


def spoken(folder: Path, duration_s: float = 6.0) -> Path:
    """A file for the microphone to hear."""
    path = folder / "spoken.wav"
    soundfile.write(path, tiny.noise(duration_s), 16000)
    return path


@contextmanager
def chromium(heard: Path) -> Iterator[Any]:
    """A headless browser; skips the test where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="drives the browser: pip install playwright")
    found = [path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))]
    if not found:
        pytest.skip("no Chromium on the PATH: apt-get install chromium")
    microphone = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with playwright.sync_playwright() as driver:
        options = [
            *microphone,
            f"--use-file-for-fake-audio-capture={heard}",
            "--autoplay-policy=no-user-gesture-required",
        ]
        browser = driver.chromium.launch(executable_path=found[0], args=options)
        yield browser
        browser.close()


def serving(mock: Mock, port: int = 0) -> AbstractContextManager[str]:
    """The address of a running mock."""
    return serving_app(make_app(mock), port)


@contextmanager
def serving_app(app: FastAPI, port: int = 0) -> Iterator[str]:
    """The address of a running app."""
    server = Server(app, port)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.address
    server.should_exit = True
    thread.join()


# Each visible text with its contrast to the colours behind it (WCAG 2.2, 1.4.3), and the contrast that it needs.
CONTRASTS = """() => {
  const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const over = (colours) => {
    context.clearRect(0, 0, 1, 1);
    for (const colour of colours) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.checkVisibility()) continue;
    // 1.4.3 leaves out controls that cannot be used.
    if (element.closest(".unseen, noscript, [aria-disabled=true], label:has(:disabled)")) continue;
    const behind = [];
    for (let at = element; at; at = at.parentElement) behind.unshift(getComputedStyle(at).backgroundColor);
    const style = getComputedStyle(element);
    const [a, b] = [luminance(over(behind)), luminance(over([...behind, style.color]))];
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    found.push({ text: walker.currentNode.textContent.trim(), contrast, needed: large ? 3 : 4.5 });
  }
  return found;
}"""
