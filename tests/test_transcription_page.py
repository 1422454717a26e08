"""The transcription page in headless Chromium: keyboard, input methods, hostile texts, and nothing that is lost."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra `serve`")

from page_browser import CONTRASTS, chromium, serving_app, spoken  # noqa: E402
from transcribed import HOSTILE, manifest_of, save  # noqa: E402

from asr.flywheel.transcription.app import Desk, make_app, tokens  # noqa: E402
from asr.flywheel.transcription.items import read  # noqa: E402
from asr.flywheel.transcription.journal import Journal  # noqa: E402


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(spoken(tmp_path_factory.mktemp("sound"))) as started:
        yield started


class Desktop:
    """The command on a manifest, and browsers before it. `complaints`: what the pages say in their consoles."""

    def __init__(
        self, folder: Path, browser: Any, *answers: str, lang: str = "en", seconds: float = 1.0, **options: Any
    ):
        self.folder, self.browser, self.options = folder, browser, options
        self.path = manifest_of(folder, *answers, lang=lang, seconds=seconds)
        self.complaints: list[str] = []

    @contextmanager
    def served(self, port: int = 0, dies: bool = False) -> Iterator[str]:
        """The address. At the end the pages are closed, unless the server `dies` before them."""
        known = tokens(["anna"], self.folder / "next.token")
        self.token = next(iter(known))
        journal = Journal(self.folder / "next.transcripts.jsonl")
        desk = Desk(read(self.path)[0], journal, ["anna"], **self.options)
        with serving_app(make_app(desk, known), port) as address:
            yield address
            for context in [] if dies else self.browser.contexts:
                context.close()

    def page(self, address: str, context: Any = None, **options: Any) -> Any:
        page = (context or self.browser.new_context(locale="en-GB", **options)).new_page()
        page.set_default_timeout(30_000)  # the machine may be busy
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(f"{address}/#{self.token}")
        return page

    @property
    def journal(self) -> Journal:
        return Journal(self.folder / "next.transcripts.jsonl")

    def outcomes(self) -> dict[str, tuple[str, str | None]]:
        return {item.id: found.said for item in read(self.path)[0] if (found := self.journal.outcome(item.id))}


@pytest.fixture
def desktop(tmp_path: Path, browser: Any) -> Iterator[Callable[..., Desktop]]:
    made: list[Desktop] = []

    def make(*answers: str, **options: Any) -> Desktop:
        made.append(Desktop(tmp_path, browser, *answers, **options))
        return made[-1]

    yield make
    assert [text for each in made for text in each.complaints] == []


def at(page: Any, number: int) -> None:
    page.wait_for_selector(f"#place:has-text('{number} of ')")


def until(page: Any, is_so: str) -> None:
    """As `page.wait_for_function`, which the policy of the page forbids."""
    for _ in range(600):
        if page.evaluate(is_so):
            return
        page.wait_for_timeout(50)
    raise AssertionError(is_so)


def saved(page: Any) -> None:
    page.wait_for_selector("#saved:has-text('all saved')")


def test_a_morning_by_the_keyboard(desktop: Callable[..., Desktop]) -> None:
    desk = desktop("one two", "three", "four", "five", "six", seconds=60.0)  # it plays on however slow the machine is
    with desk.served() as address:
        page = desk.page(address)
        at(page, 1)
        assert page.url == f"{address}/"  # the token is out of the address
        assert page.locator("#words button").all_text_contents() == ["one", "two unsure"]
        assert page.locator("#words button.low").count() == 1
        until(page, "document.getElementById('audio').currentTime > 0")  # plays at once
        page.keyboard.press("Escape")
        assert page.evaluate("document.getElementById('audio').paused")
        page.evaluate("document.getElementById('audio').currentTime = 0.9")
        page.keyboard.press("Alt+KeyJ")
        until(page, "!document.getElementById('audio').paused")
        assert page.evaluate("document.activeElement.id") == "text"
        page.keyboard.press("Alt+Comma")
        assert page.inner_text("#rate") == "× 0.75"
        page.keyboard.press("Control+A")
        page.keyboard.type("One, too 5")
        page.wait_for_selector("#kept:has-text('kept as: one too 5')")
        page.wait_for_selector("#remarks:has-text('one too five')")
        page.click("#remarks button")
        page.keyboard.press("Enter")
        at(page, 2)
        page.keyboard.press("Alt+Digit1")
        at(page, 3)
        page.keyboard.press("Alt+Digit2")
        at(page, 4)
        page.keyboard.press("Control+A")
        page.keyboard.press("Delete")
        page.keyboard.press("Enter")
        page.wait_for_selector("#remarks:has-text('Press Enter again')")
        page.keyboard.press("PageDown")
        at(page, 5)
        page.keyboard.press("Alt+Digit3")
        at(page, 4)  # the one that is still open
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        page.wait_for_selector("#notice:has-text('All recordings are done')")
        saved(page)
        assert "anna · 5 of 5 done" in page.inner_text("#progress")
        assert desk.outcomes() == {
            "r0": ("one too five", None), "r1": ("", "unusable"), "r2": ("", "noise"), "r3": ("", None),
            "r4": ("", "not speech"),
        }  # fmt: skip


def test_korean_is_composed_and_enter_ends_the_syllable_first(desktop: Callable[..., Desktop]) -> None:
    desk = desktop("하나", "둘", lang="ko")
    with desk.served() as address:
        page = desk.page(address)
        at(page, 1)
        page.fill("#text", "")
        keys = page.context.new_cdp_session(page)
        page.focus("#text")
        for part in ("ㅅ", "세", "셋"):
            keys.send("Input.imeSetComposition", {"text": part, "selectionStart": 1, "selectionEnd": 1})
        enter = {"type": "keyDown", "key": "Process", "code": "Enter", "windowsVirtualKeyCode": 229}
        keys.send("Input.dispatchKeyEvent", enter)  # the Enter that an input method takes
        page.evaluate("""() => document.getElementById("text").dispatchEvent(
            new KeyboardEvent("keydown", { key: "Enter", code: "Enter", isComposing: true, bubbles: true }))""")
        assert page.inner_text("#place").startswith("1 of 2") and page.input_value("#text") == "셋"
        keys.send("Input.insertText", {"text": "셋"})
        page.keyboard.type("!")
        page.keyboard.press("Enter")
        at(page, 2)
        page.fill("#text", "둘")
        page.keyboard.press("Enter")
        page.wait_for_selector("#notice:has-text('All recordings are done')")
        saved(page)
    assert desk.outcomes() == {"r0": ("셋", None), "r1": ("둘", None)}


def test_hostile_texts_are_texts(desktop: Callable[..., Desktop]) -> None:
    desk = desktop(f"{HOSTILE} two", settles=True)
    journal = Journal(desk.folder / "next.transcripts.jsonl")
    journal.add(save("r0", text=HOSTILE))
    journal.add(save("r0", "<b>ben</b>", "</script><script>document.title='owned'</script>"))
    with desk.served() as address:
        page = desk.page(address)
        at(page, 1)
        assert HOSTILE in page.inner_text("#versions") and "<b>ben</b>: </script>" in page.inner_text("#versions")
        assert (
            "<img" in page.inner_text("#words")
            and page.input_value("#text") == "</script><script>document.title='owned'</script>"
        )
        page.fill("#text", f"{HOSTILE} é")
        page.wait_for_selector("#kept:has-text('img src')")
        assert page.locator("main img, main b, main script").count() == 0 and page.title() == "Transcribe"
        saved(page)  # a draft of the decision
        assert Journal(journal.path).settling["r0"]["anna"].text == f"{HOSTILE} é"
        page.locator("#versions button").first.click()
        page.keyboard.press("Enter")
        saved(page)
    assert desk.outcomes()["r0"][0] == "script script document title owned script"


def test_nothing_is_lost_when_the_server_or_the_browser_dies(desktop: Callable[..., Desktop]) -> None:
    desk = desktop("one", "two", "three")
    context = desk.browser.new_context(locale="en-GB")
    with desk.served(dies=True) as address:
        page = desk.page(address, context)
        at(page, 1)
        page.fill("#text", "won")
        saved(page)  # a draft
    assert desk.journal.entries["r0"]["anna"].draft is not None
    page.keyboard.press("Enter")
    at(page, 2)
    page.fill("#text", "too")
    page.wait_for_selector("#saved.failed:has-text('not saved yet, trying again')")
    port = int(address.rpartition(":")[2])
    page.close()  # without a goodbye, as a crash
    with desk.served(port):
        page = desk.page(address, context)
        at(page, 2)
        assert page.input_value("#text") == "too"
        saved(page)
        assert desk.outcomes() == {"r0": ("won", None)}
        assert (draft := desk.journal.entries["r1"]["anna"].draft) and draft.text == "too"
        assert page.evaluate("Object.keys(localStorage).filter((name) => name.includes('save')).length") == 0
        page.keyboard.press("Enter")
        at(page, 3)
        saved(page)
    desk.complaints[:] = [text for text in desk.complaints if "ERR_CONNECTION_REFUSED" not in text]
    assert desk.outcomes()["r1"] == ("too", None)


def test_contrast_languages_and_a_narrow_window(desktop: Callable[..., Desktop]) -> None:
    desk = desktop("one two three")
    with desk.served() as address:
        page = desk.page(address, viewport={"width": 360, "height": 700})
        at(page, 1)
        page.fill("#text", "é 5")
        page.wait_for_selector("#remarks:has-text('é')")
        page.click("summary")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            found = page.evaluate(CONTRASTS)
            assert len(found) > 25 and [row for row in found if row["contrast"] < row["needed"]] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.click("[data-language=ko]")
        assert page.inner_text("h1") == "받아쓰기" and "1개 중 1번째" in page.inner_text("#place")
        page.evaluate("sessionStorage.clear()")
        page.reload()  # without the token
        page.wait_for_selector("#notice:has-text('open the address that the command has printed')")
        assert page.inner_text("h1") == "받아쓰기" and page.locator("#desk").is_hidden()
    desk.complaints[:] = [text for text in desk.complaints if "401" not in text]


def test_both_languages_have_all_texts() -> None:
    source = (Path(__file__).parent.parent / "asr/flywheel/transcription/page/texts.js").read_text()
    english, korean = source.split("  ko: {")

    def names(part: str) -> set[str]:
        return set(re.findall(r"(\w+): \"", part.split("};\n")[0]))

    assert names(english) == names(korean) and len(names(english)) > 30
