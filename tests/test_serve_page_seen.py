"""The page as it is served and seen: headers, contrast, a phone's width, two languages."""

import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra `serve`")

from page_browser import CONTRASTS, chromium, serving, spoken  # noqa: E402
from page_mock import Mock  # noqa: E402

PAGE = Path(__file__).parent.parent / "asr/serve/page"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(spoken(tmp_path_factory.mktemp("sound"))) as started:
        yield started


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(Mock()) as where:
        yield where


def test_every_file_is_served_under_a_strict_policy(address: str) -> None:
    files = [path.name for path in PAGE.iterdir() if path.suffix in (".html", ".js", ".css", ".svg")]
    assert len(files) > 10
    for name in files:
        with urllib.request.urlopen(f"{address}/{'' if name == 'index.html' else name}") as answer:
            assert answer.read() == (PAGE / name).read_bytes()
            policy = answer.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; script-src 'self';") and "unsafe" not in policy
            tag = answer.headers["ETag"]
        again = urllib.request.Request(
            f"{address}/{'' if name == 'index.html' else name}", headers={"If-None-Match": tag}
        )
        with pytest.raises(urllib.error.HTTPError, match="304"):
            urllib.request.urlopen(again)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{address}/__init__.py")


def test_the_page_needs_no_other_server() -> None:
    for path in PAGE.iterdir():
        if path.is_file():
            addresses = re.findall(r"(?:https?|wss?)://[^\s\"')]+", path.read_text())
            assert set(addresses) <= {"http://www.w3.org/2000/svg"}, path  # a name, not a place


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_that_of_wcag_aa(browser: Any, address: str, scheme: str) -> None:
    page = browser.new_page(color_scheme=scheme, reduced_motion="reduce")
    page.goto(address)
    page.click("text=Phrases to prefer")
    page.click("#speak")
    page.wait_for_selector("#partial span:not(.stable)")
    found = page.evaluate(CONTRASTS)
    page.click("#speak")
    page.wait_for_selector("#results:not([hidden])")
    page.evaluate("document.querySelector('#words button').style.setProperty('--doubt', 1)")
    page.evaluate("for (const id of ['notice', 'key-form']) document.getElementById(id).hidden = false")
    page.evaluate("document.getElementById('notice-text').textContent = 'something is wrong'")
    page.evaluate("document.getElementById('phrase-list-error').textContent = 'wrong'")
    found += page.evaluate(CONTRASTS)
    assert len(found) > 40
    assert [row for row in found if row["contrast"] < row["needed"]] == []
    page.close()


def test_a_phone_shows_everything(browser: Any, address: str) -> None:
    page = browser.new_page(viewport={"width": 320, "height": 640}, locale="ko-KR")
    page.goto(address)
    page.click("#speak")
    page.wait_for_selector("#partial:has-text('four')")
    page.click("#speak")
    page.wait_for_selector("#results:not([hidden])")
    assert page.evaluate("document.documentElement.lang") == "ko"
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    boxes = page.evaluate("[...document.querySelectorAll('button')].map((b) => b.getBoundingClientRect().toJSON())")
    assert all(box["right"] <= 320 and box["height"] >= 24 for box in boxes if box["width"])
    page.click("[data-language=en]")
    assert page.inner_text("#speak-label") == "Speak"
    page.reload()
    assert page.inner_text("#speak-label") == "Speak"
    page.close()


def test_both_languages_have_all_texts(browser: Any, address: str) -> None:
    page = browser.new_page()
    page.goto(address)
    keys = page.evaluate("""async () => {
      const { TEXTS } = await import('./texts.js');
      const names = (text) => (typeof text === 'string' ? text.match(/{\\w+}/g) ?? [] : Object.keys(text));
      const places = (text) => String(names(text).sort());
      return Object.values(TEXTS).map((texts) => Object.entries(texts).map(([name, text]) => [name, places(text)]));
    }""")
    assert keys[0] == keys[1]
    named = re.findall(r'data-text="(\w+)"', (PAGE / "index.html").read_text())
    assert set(named) <= {name for name, _ in keys[0]}
    page.close()
