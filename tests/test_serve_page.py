"""The page in headless Chromium: a microphone that hears a file, words, corrections, downloads, keyboard, contrast."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra `serve`")

from page_browser import chromium, serving, spoken  # noqa: E402
from page_mock import SAID, Mock, words_until  # noqa: E402

from asr.hypothesis import Hypothesis, Word  # noqa: E402
from asr.recognizer import formats  # noqa: E402


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return spoken(tmp_path_factory.mktemp("sound"))


@pytest.fixture(scope="module")
def browser(sound: Path) -> Iterator[Any]:
    with chromium(sound) as started:
        yield started


@pytest.fixture
def mock() -> Iterator[Mock]:
    yield Mock()


@pytest.fixture
def address(mock: Mock) -> Iterator[str]:
    with serving(mock) as where:
        yield where


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page in English, and no message in the console at the end."""
    context = browser.new_context(locale="en-GB", viewport={"width": 1000, "height": 760})
    opened = context.new_page()
    complaints: list[str] = []
    opened.complaints = complaints
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto(address)
    opened.set_default_timeout(30_000)  # the machine may be busy
    yield opened
    assert complaints == []
    context.close()


def speak(page: Any, until: str = "four") -> None:
    page.click("#speak")
    page.wait_for_selector(f"#partial:has-text('{until}')")
    page.click("#speak")
    page.wait_for_selector("#results:not([hidden])")


def shown(page: Any) -> list[str]:
    return page.locator("#words button").all_inner_texts()


def test_what_is_said_appears(page: Any, mock: Mock) -> None:
    page.click("#speak")
    page.wait_for_selector("#partial span:not(.stable)")
    grey, plain = (
        page.evaluate(f"getComputedStyle(document.querySelector('{part}')).color")
        for part in ("#partial span:not(.stable)", "body")
    )
    assert grey != plain
    page.wait_for_selector("#partial:has-text('four')")
    page.click("#speak")
    page.wait_for_selector("#results:not([hidden])")
    [request] = mock.requests
    assert request == {
        "type": "start", "mode": "dictation", "encoding": "pcm_s16le", "sample_rate_hz": 16000, "partials": True,
    }  # fmt: skip
    assert shown(page)[:5] == SAID[:5]
    assert page.inner_text("#spoken") == " ".join(shown(page))
    assert page.inner_text("#status") == "Done"
    # All that was recorded arrived, to the last block: the canvas is as long as the sound.
    [heard] = mock.sessions.values()
    assert page.evaluate("document.getElementById('length').style.width") == f"{len(heard) * 150 // 32000}px"
    assert max(heard) > 0


def test_doubt_is_seen_and_said(page: Any) -> None:
    speak(page)
    unsure = page.locator("#words button.unsure")
    assert unsure.all_inner_texts() == ["two"]
    assert unsure.get_attribute("aria-label") == "two, unsure, 35 percent"
    shades = [
        page.evaluate(
            "(word) => getComputedStyle(word).backgroundColor", page.locator("#words button").nth(k).element_handle()
        )
        for k in (0, 2)
    ]
    assert shades[0].endswith("/ 0)") and not shades[1].endswith("/ 0)")


def test_a_second_recording_goes_on_after_the_first(page: Any, mock: Mock) -> None:
    speak(page)
    first = len(shown(page))
    speak(page, "one")
    assert shown(page)[first : first + 2] == SAID[:2]
    start_s = len(next(iter(mock.sessions.values()))) / 32000
    page.locator("#words button").nth(first).focus()
    assert page.inner_text("#word-details").startswith(f"zero · {start_s:.2f} to {start_s + 0.3:.2f} s")


def test_a_broken_connection_loses_nothing(page: Any, mock: Mock) -> None:
    mock.break_after = 20_000
    speak(page)
    assert mock.break_after is None and len(mock.sessions) == 1
    [heard] = mock.sessions.values()
    assert page.evaluate("document.getElementById('length').style.width") == f"{len(heard) * 150 // 32000}px"
    assert shown(page) == SAID[: len(shown(page))]


def test_a_file_is_recognised_and_drawn(page: Any, mock: Mock, sound: Path) -> None:
    page.set_input_files("#file", sound)
    page.wait_for_selector("#results:not([hidden])")
    assert mock.requests == [{"mode": "dictation"}]
    assert shown(page) == [word["word"] for word in words_until(2.0)]
    assert page.evaluate("document.getElementById('length').style.width") == "900px"


def test_a_dropped_file_is_recognised(page: Any, mock: Mock) -> None:
    page.evaluate("""() => {
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([new Uint8Array(100)], "broken.mp3"));
      for (const name of ["dragenter", "dragover", "drop"]) {
        document.body.dispatchEvent(new DragEvent(name, { dataTransfer, bubbles: true, cancelable: true }));
      }
    }""")
    page.wait_for_selector("#results:not([hidden])")
    assert len(mock.requests) == 1
    assert "cannot play this file" in page.inner_text("#status")


def test_downloads_are_those_of_asr_transcribe(page: Any, sound: Path) -> None:
    page.set_input_files("#file", sound)
    page.wait_for_selector("#results:not([hidden])")
    words = [Word(**word) for word in words_until(2.0)]
    expected = Hypothesis("spoken", " ".join(word.word for word in words), words, 0.0, 6.0, True)
    for format in ("txt", "srt", "vtt"):
        with page.expect_download() as download:
            page.click(f"[data-format={format}]")
        assert download.value.suggested_filename == f"spoken.{format}"
        assert Path(download.value.path()).read_text() == formats.render([expected], format)


def test_subtitles_break_as_those_of_asr_transcribe(page: Any) -> None:
    texts = ["안녕하세요", "to", "incomprehensibilities", "한강", "漢字", "a", "é", "x" * 50, "&<>", "ｶﾅ", "！"]
    at_s, words = 0.0, []
    for k in range(400):
        length_s = 0.05 + 0.13 * (k * 7 % 9)
        words.append(Word(texts[k * k % len(texts)], round(at_s, 2), round(at_s + length_s, 2), 0.5))
        at_s += length_s + (1.3 if k % 23 == 0 else 0.09 * (k % 4))
    hypothesis = Hypothesis("long", "", words, 0.0, round(at_s, 2), True)
    script = """async ([words, duration_s, format]) =>
      (await import('./subtitles.js')).render(format, [{ text: '', words }], duration_s)"""
    plain = [{"word": word.word, "start_s": word.start_s, "end_s": word.end_s} for word in words]
    for format in ("srt", "vtt"):
        assert page.evaluate(script, [plain, hypothesis.duration_s, format]) == formats.render([hypothesis], format)


def test_a_correction_arrives(page: Any, mock: Mock, sound: Path) -> None:
    page.set_input_files("#file", sound)
    page.click("#correct")
    mock.feedback_down = True
    page.fill("#fields textarea", "zero wonderful  two  <b> for ever")
    page.click("text=Send corrections")
    page.wait_for_selector("#notice:not([hidden])")
    assert "busy" in page.inner_text("#notice-text") and page.is_visible("#editor")
    mock.feedback_down = False
    page.click("#notice-retry")
    page.wait_for_selector(".mark")
    assert mock.feedback == [{"id": "file-1", "text": "zero wonderful two <b> for ever"}]
    assert shown(page) == "zero wonderful two <b> for ever".split()
    with page.expect_download() as download:
        page.click("[data-format=srt]")
    assert "zero wonderful two <b> for ever" in Path(download.value.path()).read_text()
    page.locator("#words button").nth(1).focus()  # it has the time of the word that it replaces
    assert page.inner_text("#word-details") == "wonderful · 0.40 to 0.70 s · confidence 100 %"
    page.complaints.remove("Failed to load resource: the server responded with a status of 503 (Service Unavailable)")


@pytest.mark.parametrize("keeps", [True, False])
def test_a_correction_that_the_server_does_not_keep_stays_on_the_page(page: Any, keeps: bool) -> None:
    mock = Mock(keeps_answers=keeps, forgets_answers=True)
    with serving(mock) as address:
        page.goto(address)
        speak(page)
        page.click("#correct")
        assert page.inner_text("#send") == ("Send corrections" if keeps else "Keep corrections")
        page.fill("#fields textarea", "")
        page.click("#send")
        page.wait_for_selector(".mark")
    assert shown(page) == [] and mock.feedback == []
    assert page.inner_text("#status").startswith("Corrected on this page only")
    page.complaints[:] = [text for text in page.complaints if "404" not in text]


def test_lists_go_with_the_request_or_name_the_wrong_line(page: Any, mock: Mock, sound: Path) -> None:
    page.click("text=Phrases to prefer")
    page.fill("#phrase-list", "Han River = 4\n\nnew  york")
    page.set_input_files("#file", sound)
    page.wait_for_selector("#results:not([hidden])")
    assert mock.requests == [{"mode": "dictation", "phrases": {"Han River": 4, "new york": 3}}]
    page.click("text=Words")
    for wrong, complaint in (
        ("", "at least one word"),
        ("yes\nno = x", "Line 2"),
        ("a\n\na", "Line 3"),
        ("= 2", "Line 1"),
    ):
        page.fill("#word-list", wrong)
        page.click("#speak")
        assert complaint in page.inner_text("#word-list-error")
        assert page.evaluate("document.activeElement.id") == "word-list"
    page.fill("#word-list", "yes\nno = 2")
    speak(page)
    assert mock.requests[1]["words"] == {"yes": 1, "no": 2} and mock.requests[1]["mode"] == "word"


def test_the_keyboard_alone_does_everything(page: Any, mock: Mock) -> None:
    page.wait_for_selector("#modes input")
    reach = lambda target: next(k for k in range(30) if _tab(page, target))  # noqa: E731
    reach("#speak")
    page.keyboard.press("Enter")
    page.wait_for_selector("#partial:has-text('four')")
    page.keyboard.press("Enter")
    page.wait_for_selector("#results:not([hidden])")
    page.keyboard.press("Home")
    reach("#words button")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.locator("#words .playing").all_inner_texts() == ["two"]
    page.wait_for_selector("#words .playing", state="detached")
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.textContent") == shown(page)[-1]
    reach("#correct")
    page.keyboard.press("Enter")
    page.keyboard.type(" ever")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".mark")
    assert mock.feedback[0]["text"].endswith(" ever")
    assert page.evaluate("document.activeElement.id") == "correct"
    reach("#clear")
    page.keyboard.press("Enter")
    assert shown(page) == []
    reach("#restore")
    page.keyboard.press("Enter")
    assert shown(page)[-1] == "ever"


def _tab(page: Any, target: str) -> bool:
    page.keyboard.press("Tab")
    return page.evaluate(f"document.activeElement.matches('{target}')")


def test_a_word_of_the_picture_is_played(page: Any) -> None:
    speak(page)
    page.evaluate("document.getElementById('scroller').scrollLeft = 0")
    page.click("#spectrogram", position={"x": 0.9 * 150, "y": 40})
    assert page.locator("#words .playing").all_inner_texts() == ["two"]
    page.wait_for_selector("#words .playing", state="detached")


@pytest.mark.parametrize(
    ("error", "said"),
    [("NotFoundError", "No microphone"), ("NotAllowedError", "may not use"), ("NotReadableError", "Another program")],
)
def test_a_microphone_that_does_not_open(page: Any, error: str, said: str) -> None:
    page.evaluate(
        f"() => {{ navigator.mediaDevices.getUserMedia = async () => {{ throw new DOMException('', '{error}') }} }}"
    )
    page.click("#speak")
    page.wait_for_selector("#notice:not([hidden])")
    assert said in page.inner_text("#notice-text")
    page.evaluate("delete navigator.mediaDevices.getUserMedia")
    page.click("#notice-retry")
    page.wait_for_selector("#speak[data-state=live]")


def test_a_key_is_asked_for_and_kept_in_the_tab(page: Any) -> None:
    with serving(Mock(key="sesame")) as address:
        page.goto(address)
        page.wait_for_selector("#key-form:not([hidden])")
        assert page.complaints == []
        for given, then in (("wrong", "#key-hint.error"), ("sesame", "#speak:focus")):
            page.fill("#key", given)
            page.keyboard.press("Enter")
            page.wait_for_selector(then)
        assert page.is_hidden("#key-form")
        kept = page.evaluate("[sessionStorage.length, localStorage.length, sessionStorage['asr.key']]")
        assert kept == [1, 0, "sesame"]
        speak(page)
        page.click("#forget")
        page.wait_for_selector("#key-form:not([hidden])")
        assert page.evaluate("sessionStorage['asr.key']") is None
    page.complaints[:] = [text for text in page.complaints if "401" not in text]


def test_a_used_up_quota_says_when_to_come_back(page: Any, mock: Mock, sound: Path) -> None:
    mock.quota_used_up = True
    page.set_input_files("#file", sound)
    page.wait_for_selector("#notice:not([hidden])")
    assert page.inner_text("#notice-text") == "No calls are left for this key. Try again in 2 h 10 min."
    page.click("#notice-close")
    page.click("#speak")
    page.wait_for_selector("#notice:not([hidden])")
    assert page.inner_text("#notice-text") == "No calls are left for this key. Try again later."
    page.complaints[:] = [text for text in page.complaints if "429" not in text]


def test_a_server_that_is_gone(browser: Any, sound: Path) -> None:
    mock = Mock()
    page = browser.new_page()
    with serving(mock) as address:
        page.goto(address)
        page.wait_for_selector("#modes input")
    page.set_input_files("#file", sound)
    page.wait_for_selector("#notice:not([hidden])")
    assert "does not answer" in page.inner_text("#notice-text")
    page.click("#speak")
    page.wait_for_selector("#notice:not([hidden])")
    assert "does not answer" in page.inner_text("#notice-text")
    with serving(mock, int(address.rsplit(":", 1)[1])):
        page.click("#notice-retry")
        page.wait_for_selector("#speak[data-state=live]")
        page.click("#speak")
        page.wait_for_selector("#speak[data-state=idle]")
    page.close()


def test_the_picture_of_live_sound_is_that_of_the_whole(page: Any) -> None:
    same = page.evaluate("""async () => {
      const [{ Recording }, { Spectrum }] = await Promise.all([import('./recording.js'), import('./spectrum.js')]);
      const samples = Int16Array.from({ length: 16000 }, (_, k) => 9000 * Math.sin(k * k / 9000));
      const columns = (block) => {
        const recording = new Recording(16000);
        const spectrum = new Spectrum(recording);
        const found = [];
        for (let k = 0; k < samples.length; k += block) {
          recording.append(samples.subarray(k, k + block));
          while (found.length < spectrum.length) found.push(String(spectrum.column(found.length)));
        }
        return found;
      };
      const [live, whole] = [columns(800), columns(16000)];
      return live.length === whole.length && live.every((column, k) => column === whole[k]);
    }""")
    assert same
