"""`written=True`: times and confidences of written words, in Python, on the command line and in the service."""

import json
from pathlib import Path

import pytest
import soundfile
import tiny
from served import app_of, client_of, noise

import asr
from asr.cli import main as cli
from asr.cli import transcripts
from asr.config import Config
from asr.errors import InputError
from asr.hypothesis import Alternative, Hypothesis, Word
from asr.recognizer import bundle
from asr.recognizer.formats import render
from asr.recognizer.recognizer import Recognizer
from asr.recognizer.written import in_writing, language_of
from asr.search.space import SearchSpace

pytestmark = pytest.mark.anyio
WRITTEN = asr.DecodingOptions(written=True)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def word(text: str, at: int, confidence: float = 0.9, accepted: bool = True) -> Word:
    return Word(text, at / 2, at / 2 + 0.4, confidence, accepted)


def said(text: str, *confidences: float) -> Hypothesis:
    words = [word(w, k, confidences[k] if confidences else 0.9) for k, w in enumerate(text.split())]
    return Hypothesis("u", text, words, 1.0, 10.0, True, [Alternative("four dollars", 2.0)])


def graph_of(folder: Path, one: str, other: str, *more: str) -> Path:
    """The graph of tests/tiny.py whose two words are called `one` and `other`; `more` are never heard."""
    folder = tiny.graph_dir(folder)
    (folder / "words.txt").write_text("\n".join(["<eps>", one, other, *more]) + "\n")
    (folder / "lexicon.txt").write_text("".join(f"{w} {'b' if w == other else 'a'}\n" for w in [one, other, *more]))
    return folder


def recognizer_of(folder: Path, *words: str) -> Recognizer:
    cfg = tiny.config()
    return Recognizer(tiny.model(cfg), cfg, tiny.TOKENS, SearchSpace.read(graph_of(folder, *words), tiny.TOKENS))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that hears `twenty` and `five`, and knows other English numbers."""
    folder, cfg = tmp_path_factory.mktemp("written"), tiny.config()
    graph = graph_of(folder / "graph", "twenty", "five", "one", "two", "three", "four", "six")
    bundle.write(folder / "m.asr", tiny.model(cfg), cfg, tiny.TOKENS, graph, "card")
    return folder / "m.asr"


def test_a_written_word_lasts_as_long_as_its_spoken_words() -> None:
    found = in_writing(
        said("it costs five dollars and twenty cents now", 0.9, 0.8, 0.7, 0.95, 0.5, 0.99, 0.6, 1.0), "en"
    )
    assert found.text == "it costs $5.20 now"
    assert found.words[2] == Word("$5.20", 1.0, 3.4, 0.5)
    assert [w.word for w in found.words] == found.text.split() and found.words[0] == word("it", 0)
    assert found.alternatives == [Alternative("$4", 2.0)]
    assert (found.id, found.cost, found.duration_s, found.complete) == ("u", 1.0, 10.0, True)


def test_words_of_one_form_keep_their_own_times() -> None:
    found = in_writing(said("july fourth nineteen seventy six three million dollars"), "en")
    assert [(w.word, w.start_s, w.end_s) for w in found.words] == [
        ("July", 0.0, 0.4), ("4,", 0.5, 0.9), ("1976", 1.0, 2.4), ("$3", 2.5, 2.9), ("million", 3.0, 3.9),
    ]  # fmt: skip


def test_no_written_word_spans_a_rejected_one() -> None:
    words = [word("twenty", 0), word("uh", 1, 0.1, accepted=False), word("five", 2)]
    found = in_writing(Hypothesis("u", "twenty five", words, 1.0, 5.0, True), "en")
    assert found.text == "20 five" and found.words[1] == words[1]


def test_written_words_span_removed_fillers() -> None:
    words = [word("twenty", 0), word("um", 1, accepted=False), word("five", 2), word("uh", 3, accepted=False)]
    found = in_writing(Hypothesis("u", "twenty five", words, 1.0, 5.0, True), "en", ["um", "uh"])
    assert found.text == "25" and [w.word for w in found.words] == ["25", "um", "uh"]
    assert (found.words[0].start_s, found.words[0].end_s) == (0.0, 1.4)


def test_subtitles_and_tables_take_written_words() -> None:
    found = in_writing(said("at three fifteen p m"), "en")
    assert "at 3:15 p.m." in render([found], "srt") and "at 3:15 p.m." in render([found], "vtt")
    assert [line.split()[4] for line in render([found], "ctm").splitlines()] == ["at", "3:15", "p.m."]


def heard_language(recognizer: Recognizer) -> str:
    return language_of(recognizer.space, recognizer.tokens)


def test_the_language_is_that_of_the_words(tmp_path: Path) -> None:
    assert heard_language(recognizer_of(tmp_path / "ko", "세", "명")) == "ko"
    assert heard_language(recognizer_of(tmp_path / "en", *"ONE TWO THREE FOUR SIX".split())) == "en"
    mixed = [*"one two three four six".split(), *(f"b{n}" for n in range(6000)), *(f"세{n}" for n in range(6000))]
    assert heard_language(recognizer_of(tmp_path / "mixed", *mixed)) == "ko"
    other = recognizer_of(tmp_path / "fr", *"un deux trois quatre six".split())
    with pytest.raises(InputError, match="exist for English and Korean, .*leave out written"):
        other.transcribe(tiny.noise(0.5), 16000, WRITTEN)
    with pytest.raises(InputError, match="exist for English and Korean"):
        other.stream(WRITTEN)


def test_a_wrong_value_is_refused() -> None:
    with pytest.raises(InputError, match="written='yes' must be True or False"):
        asr.DecodingOptions(written="yes")  # type: ignore[arg-type]


def test_transcribe_and_stream(model: Path) -> None:
    recognizer, x = asr.load(model), tiny.noise(2.0)
    plain = recognizer.transcribe(x, 16000)
    found = recognizer.transcribe(x, 16000, WRITTEN)
    assert found == in_writing(plain, "en") and found.text != plain.text
    assert recognizer.transcribe([x, x], 16000, WRITTEN)[1].text == found.text
    stream = recognizer.stream(WRITTEN)
    stream.accept(x, 16000)
    assert stream.partial().text in plain.text  # as spoken: words called stable stay
    assert stream.finish().text == found.text


def test_the_command_line(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(tmp_path / "a.wav", tiny.noise(2.0), 16000)
    expected = asr.load(model).transcribe(tmp_path / "a.wav", options=WRITTEN)
    command = ["transcribe", str(model), f"{tmp_path}/a.wav", f"output={tmp_path}/a.json", "written=true"]
    assert cli.main(command) == 0
    assert json.loads((tmp_path / "a.json").read_text())["text"] == expected.text


def test_plain_partial_results_are_not_continued(model: Path) -> None:
    plain, other = (transcripts.fingerprint(Config(bundle=str(model), written=is_on)) for is_on in (False, True))
    assert plain != other


async def test_the_service(model: Path) -> None:
    sound = noise(2.0)
    expected = asr.load(model).transcribe(sound, options=WRITTEN)
    async with client_of(app_of(model)) as client:
        asked = {"file": sound}, {"request": '{"written": true}'}
        own = (await client.post("/v1/recognize", files=asked[0], data=asked[1])).json()
        form = {"model": "x", "written": "true", "response_format": "verbose_json", "timestamp_granularities[]": "word"}
        openai = (await client.post("/v1/audio/transcriptions", files={"file": sound}, data=form)).json()
        listed = {"request": '{"written": true, "words": ["twenty five"]}'}
        of_list = (await client.post("/v1/recognize", files={"file": sound}, data=listed)).json()
    assert own["text"] == openai["text"] == expected.text
    assert [w["word"] for w in own["words"]] == [w["word"] for w in openai["words"]] == expected.text.split()
    assert of_list["text"] in ("25", "")


async def test_the_service_refuses_another_language(tmp_path: Path) -> None:
    cfg = tiny.config()
    graph = graph_of(tmp_path / "graph", "un", "deux")
    bundle.write(tmp_path / "fr.asr", tiny.model(cfg), cfg, tiny.TOKENS, graph, "card")
    async with client_of(app_of(tmp_path / "fr.asr")) as client:
        answer = await client.post("/v1/recognize", files={"file": noise(0.5)}, data={"request": '{"written": true}'})
    assert answer.status_code == 400 and "leave out written" in answer.json()["error"]["message"]
