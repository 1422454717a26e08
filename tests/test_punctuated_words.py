"""`punctuate=True`: times and confidences, the order of steps, and the language, in Python, CLI and service."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
import test_written_words as forms
import tiny
from served import app_of, client_of, noise

import asr
from asr.cli import main as cli
from asr.cli import transcripts
from asr.config import Config
from asr.errors import InputError
from asr.hypothesis import Alternative, Hypothesis, Word
from asr.punctuation.file import LANGUAGES, trained
from asr.recognizer.formats import render
from asr.recognizer.long import join
from asr.recognizer.recognizer import Recognizer
from asr.recognizer.written import Writing, language_of
from asr.tokens import Tokens

pytestmark = pytest.mark.anyio
BOTH = asr.DecodingOptions(written=True, punctuate=True)
MARKS = asr.DecodingOptions(punctuate=True)
NUMBERS = "ONE TWO THREE FOUR FIVE".split()
model, said, word = forms.model, forms.said, forms.word


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_the_nets_of_the_package() -> None:
    english, korean = (trained(lang) for lang in LANGUAGES)
    asked = "what time is it i think it is half past three but i am not sure".split()
    assert " ".join(english.punctuated(asked)).startswith("What time is it? I think")
    assert " ".join(korean.punctuated("지금 몇 시입니까 아마 세 시쯤 됐을 겁니다".split())) == (
        "지금 몇 시입니까? 아마 세 시쯤 됐을 겁니다."
    )
    folder = Path(asr.__file__).parent / "punctuation"
    for lang in LANGUAGES:
        assert (folder / f"punctuation_{lang}.npz").stat().st_size < 2e6
        assert "Licence" in (folder / f"punctuation_{lang}.md").read_text()


def test_words_keep_times_and_confidences() -> None:
    plain = said("what time is it i think it is late", 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
    found = Writing("en", has_forms=False, has_marks=True)(plain)
    assert found.text == "What time is it? I think it is late."
    assert [w.word for w in found.words] == found.text.split()
    assert [(w.start_s, w.end_s, w.confidence) for w in found.words] == [
        (w.start_s, w.end_s, w.confidence) for w in plain.words
    ]
    assert found.alternatives == [Alternative("Four dollars.", 2.0)]
    assert (found.id, found.cost, found.duration_s, found.complete) == ("u", 1.0, 10.0, True)


def test_numbers_are_written_before_marks_are_put() -> None:
    found = Writing("en", has_marks=True)(said("i think it cost five dollars and twenty cents"))
    assert found.text == "I think it cost $5.20." and found.words[4].word == "$5.20."
    assert (found.words[4].start_s, found.words[4].end_s) == (2.0, 4.4)


def test_words_in_capitals_throughout_get_their_own() -> None:
    found = Writing("en", has_marks=True, is_upper=True)(said("I LIVE IN THE U S A"))
    assert found.text == "I live in the USA."


def test_capitals_of_a_recogniser_that_has_small_letters_stay(tmp_path: Path) -> None:
    assert Writing("en", has_marks=True)(said("KTX IBM")).text == "KTX IBM."
    upper = forms.recognizer_of(tmp_path / "upper", "KTX", "sam", *NUMBERS)  # one added in small letters
    mixed = forms.recognizer_of(tmp_path / "mixed", "KTX", "Sam", *map(str.lower, NUMBERS))
    assert upper.writing(MARKS) == Writing("en", has_forms=False, has_marks=True, is_upper=True)
    assert mixed.writing(MARKS) == Writing("en", has_forms=False, has_marks=True)


def test_a_word_list_of_a_call_does_not_tell_the_language(tmp_path: Path) -> None:
    recognizer = forms.recognizer_of(tmp_path / "words", "가", "나")
    listed = replace(recognizer.space, words=["<eps>", "KTX", "X"], is_closed=True, base=recognizer.space)
    assert language_of(listed, tiny.TOKENS) == "ko"
    pieces = forms.recognizer_of(tmp_path / "pieces", *"▁the ▁a ▁of ▁to ▁and".split()).space
    assert pieces.of_pieces
    assert language_of(replace(listed, base=pieces), tiny.TOKENS) == "en"


def test_fillers_in_capitals_are_still_fillers() -> None:
    words = [word("TWENTY", 0), word("UM", 1, accepted=False), word("FIVE", 2)]
    found = Writing("en", has_marks=True, is_upper=True, remove=frozenset(["UM"]))(
        Hypothesis("u", "TWENTY FIVE", words, 1.0, 5.0, True)
    )
    assert found.text.rstrip(".,?") == "25" and found.words[1] == words[1]


def test_words_that_are_left_out_stay_as_they_are() -> None:
    words = [word("where", 0), word("um", 1, accepted=False), word("are", 2), word("yu", 3, 0.1, accepted=False),
             word("you", 4), word("uh", 5, accepted=False)]  # fmt: skip
    found = Writing("en", has_marks=True, remove=frozenset(["um", "uh"]))(
        Hypothesis("u", "where are you", words, 1.0, 5.0, True)
    )
    assert found.text == "Where are you?"
    assert [w.word for w in found.words] == ["Where", "um", "are", "yu", "you?", "uh"]
    assert [w.accepted for w in found.words] == [w.accepted for w in words]


def test_entries_of_lists_with_spaces_and_nothing_heard() -> None:
    listed = Hypothesis("u", "new york city", [Word("new york city", 0.0, 1.0, 0.9)], 1.0, 2.0, True)
    found = Writing("en", has_marks=True, has_forms=False)(listed)
    assert found.words[0].word.lower().rstrip(",.?") == "new york city" and found.words[0].word.startswith("New ")
    silence = Hypothesis("u", "", [], 0.0, 2.0, True)
    assert Writing("en", has_marks=True)(silence) == silence


def test_parts_of_a_recording_are_punctuated_as_one_text() -> None:
    parts = [said("i went to the"), said("market and bought some bread")]
    writing = Writing("en", has_marks=True)
    whole = writing.marked(join([writing.formed(part) for part in parts]))
    assert whole.text == "I went to the market and bought some bread."
    assert writing.marked(parts[1], "I went to the").text[0] == "m"
    assert writing.marked(parts[1], "I went home.").text[0] == "M"


def test_subtitles_and_tables_take_marks() -> None:
    found = Writing("en", has_marks=True)(said("where are you"))
    assert "Where are you?" in render([found], "srt") and "Where are you?" in render([found], "vtt")
    assert [line.split()[4] for line in render([found], "ctm").splitlines()] == ["Where", "are", "you?"]


def test_korean() -> None:
    found = Writing("ko", has_marks=True)(said("세 명이 몇 시에 왔습니까"))
    assert found.text == "3명이 몇 시에 왔습니까?"


def greedy(symbols: list[str]) -> Recognizer:
    cfg = tiny.config()
    cfg.decoder.kind = "greedy"
    return Recognizer(tiny.model(cfg), cfg, Tokens([*tiny.TOKENS.symbols[:2], *symbols]))


def test_letters_tell_no_language() -> None:
    recognizer = greedy(["a", "b"])
    for options in (forms.WRITTEN, MARKS):
        with pytest.raises(InputError, match="do not tell which of them it hears: name it .language=en"):
            recognizer.transcribe(tiny.noise(0.5), 16000, options)
    named = asr.DecodingOptions(punctuate=True, language="en")
    assert recognizer.transcribe(tiny.noise(0.5), 16000, named).text[:1] in "AB"
    pieces = "▁the ▁of ▁and ▁to ▁in ▁was".split()
    assert language_of(None, Tokens(["<blk>", *pieces])) == language_of(
        None, Tokens(["<blk>", *map(str.upper, pieces)])
    )
    with pytest.raises(InputError, match="do not tell"):
        language_of(None, Tokens(["<blk>", *"▁die ▁der ▁und ▁in ▁was ▁das".split()]))
    with pytest.raises(InputError, match="language='fr' must be one of en, ko"):
        asr.DecodingOptions(language="fr")


def test_transcribe_and_stream(model: Path) -> None:
    recognizer, x = asr.load(model), tiny.noise(2.0)
    plain, found = recognizer.transcribe(x, 16000), recognizer.transcribe(x, 16000, BOTH)
    assert found == Writing("en", has_marks=True)(plain) and found.text[-1] in ".?"
    stream = recognizer.stream(BOTH)
    stream.accept(x, 16000)
    assert stream.partial().text in plain.text  # as spoken: words called stable stay
    assert stream.finish().text == found.text


def test_the_command_line(model: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tiny.noise(2.0), 16000)
    expected = asr.load(model).transcribe(tmp_path / "a.wav", options=BOTH)
    command = [
        "transcribe",
        str(model),
        f"{tmp_path}/a.wav",
        f"output={tmp_path}/a.json",
        "written=true",
        "punctuate=true",
    ]
    assert cli.main([*command, "spoken_language=en"]) == 0
    assert json.loads((tmp_path / "a.json").read_text())["text"] == expected.text
    plain, other = (transcripts.fingerprint(Config(bundle=str(model), punctuate=is_on)) for is_on in (False, True))
    assert plain != other


async def test_the_service(model: Path) -> None:
    sound = noise(2.0)
    expected = asr.load(model).transcribe(sound, options=BOTH)
    async with client_of(app_of(model)) as client:
        asked = {"request": '{"written": true, "punctuate": true, "language": "en"}'}
        own = (await client.post("/v1/recognize", files={"file": sound}, data=asked)).json()
        form = {"model": "x", "written": "true", "punctuate": "true", "response_format": "srt"}
        openai = (await client.post("/v1/audio/transcriptions", files={"file": sound}, data=form)).text
        form |= {"stream": "true", "response_format": "json"}
        events = (await client.post("/v1/audio/transcriptions", files={"file": sound}, data=form)).text
        form = {"model": "x", "written": "true", "punctuate": "true", "language": "ko"}  # the words tell another
        hinted = (await client.post("/v1/audio/transcriptions", files={"file": sound}, data=form)).json()
        wrong = await client.post("/v1/recognize", files={"file": sound}, data={"request": '{"language": "fr"}'})
    assert own["text"] == expected.text and expected.text in openai.replace("\n", " ")
    done = [json.loads(line[6:]) for line in events.splitlines() if line.startswith("data: {")][-1]
    assert done["text"] == expected.text == hinted["text"]
    assert wrong.status_code == 400 and "language" in wrong.json()["error"]["message"]
