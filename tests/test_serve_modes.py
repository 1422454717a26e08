"""Modes with a graph, a language model or a net of their own, and new words and keywords over a dynamic graph."""

import json
from pathlib import Path

import pytest
import tiny
from served import bundle_in, client_of, noise

import asr
from asr.config import Config
from asr.graph.dynamic import compile_dynamic
from asr.recognizer import bundle
from asr.recognizer.options import DecodingOptions
from asr.search.new_words import NewWord
from asr.serve.access import Caller
from asr.serve.app import make_app
from asr.serve.modes import Modes
from asr.serve.openai import keyword_options
from asr.serve_options import ServeConfig
from asr.text.lexicon import Lexicon

pytestmark = pytest.mark.anyio
ARPA = """\\data\\
ngram 1=6

\\1-grams:
-1 </s>
-99 <s>
-1 <unk>
-1 <name>
{a} a
{b} b

\\end\\
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a dynamic graph in which both words are likely; a graph and an n-gram in which `b` is not."""
    folder = tmp_path_factory.mktemp("modes")
    for name, likely_b in (("both", -0.5), ("rare", -30.0)):
        (folder / f"{name}.arpa").write_text(ARPA.format(a=-0.5, b=likely_b))
        compile_dynamic(tiny.TOKENS, Lexicon({"a": [("a",)], "b": [("b",)]}), folder / f"{name}.arpa", folder / name)
    cfg = tiny.config()
    bundle.write(folder / "m.asr", tiny.model(cfg), cfg, tiny.TOKENS, folder / "both", "card")
    (folder / "static").mkdir()
    bundle_in(folder / "static")
    (folder / "rare.ngram").write_bytes((folder / "rare" / "lm.ngram").read_bytes())
    return folder


def opened(folder: Path, *modes: str) -> Modes:
    return Modes.load(Config(bundle=str(folder / "m.asr"), serve=ServeConfig(modes=list(modes))))


def test_each_mode_has_its_graph_and_all_share_the_net(folder: Path) -> None:
    files = {"local": "rare.ngram", "web": "rare"}
    modes = opened(folder, "dictation", "word", *(f"{name}={folder / file}" for name, file in files.items()))
    sound = noise(2.0)
    texts = {name: recognizer.transcribe(sound).text for name, recognizer in modes.recognizers.items()}
    assert texts["dictation"] == asr.load(folder / "m.asr").transcribe(sound).text
    assert "b" in texts["dictation"] and "b" not in texts["web"]
    assert texts["local"] == texts["web"]
    assert len({id(recognizer.model) for recognizer in modes.recognizers.values()}) == 1


def test_a_mode_may_have_a_bundle_of_its_own(folder: Path) -> None:
    modes = opened(folder, "word", f"web={folder / 'static' / 'm.asr'}")
    sound = noise(2.0)
    assert modes.of("web").transcribe(sound).text == asr.load(folder / "static" / "m.asr").transcribe(sound).text
    assert modes.free() == "web"


@pytest.mark.parametrize("name", ["web", "local"])
def test_a_mode_without_a_file_of_its_own_is_reported(
    folder: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    opened(folder, "dictation", "word", f"{name}={folder / 'rare'}")
    assert not caplog.messages
    opened(folder, "dictation", "word", name)
    (message,) = caplog.messages
    assert f"mode '{name}' names no file" in message and f"{name}=FILE" in message and "dictation" in message


def test_new_words_are_kept_for_their_caller(folder: Path) -> None:
    modes = opened(folder, "dictation")
    own = DecodingOptions(new_words=[NewWord("ab", (("a", "b"),), weight=50.0)])
    sound = noise(2.0)
    before = modes.prepared(Caller("2", "bob"), "dictation", DecodingOptions())[0].transcribe(sound).text
    first, _ = modes.prepared(Caller("1", "ann"), "dictation", own)
    assert "ab" in first.transcribe(sound).text and "ab" not in before
    assert modes.prepared(Caller("1", "ann"), "dictation", own)[0] is first
    other = modes.prepared(Caller("2", "bob"), "dictation", DecodingOptions())[0]
    assert other.transcribe(sound).text == before


def test_filled_slots_are_kept_for_their_caller(folder: Path) -> None:
    modes = opened(folder, "dictation")
    own = DecodingOptions(slots={"<name>": ["ab ba", "aa"]}, phrases={"ab ba": 50.0})
    first, rest = modes.prepared(Caller("1", "ann"), "dictation", own)
    assert rest.slots is None and "ba" in first.transcribe(noise(2.0), options=rest).text
    same = DecodingOptions(slots={"<name>": ["ab ba", "aa"]})
    assert modes.prepared(Caller("1", "ann"), "dictation", same)[0] is first
    other = DecodingOptions(slots={"<name>": ["aa", "ab ba"]}, new_words=["abb"])
    assert modes.prepared(Caller("1", "ann"), "dictation", other)[0] is not first


async def test_slots_of_a_request_are_checked(folder: Path) -> None:
    async with client_of(make_app(Config(bundle=str(folder / "m.asr"), threads=1))) as client:
        for slots, status, says in [
            ({"<name>": ["ab"]}, 200, ""),
            ({"<name>": {"ab": 2.0}}, 200, ""),
            ({"<name>": "#JSGF V1.0; grammar g; public <x> = a b+;"}, 200, ""),
            ({"<name>": "/etc/passwd"}, 400, "the slot <name> must be a list"),
            ({"<name>": "#JSGF V1.0; grammar g; public <x> = <x>;"}, 400, "the rule <name x> is recursive"),
            ({"<place>": ["ab"]}, 400, "has no slot '<place>'"),
            ({"<name>": ["ab"] * 6000, "<x>": ["ab"] * 6000}, 400, "slots has 12000 entries, more than 10000"),
            ({f"<s{n}>": ["ab"] for n in range(101)}, 400, "slots has more than 100 slots"),
        ]:
            data = {"request": json.dumps({"slots": slots})}
            answer = await client.post("/v1/recognize", files={"file": noise()}, data=data)
            assert answer.status_code == status and says in answer.text, answer.text


def test_keywords_are_added_to_a_dynamic_graph(folder: Path) -> None:
    recognizer = asr.load(folder / "m.asr")
    options, unused = keyword_options(recognizer, ["A b", "abba", "  "], 3.0)
    assert dict(options.phrases or {}) == {"a b": 3.0, "abba": 3.0} and unused == ["  "]
    assert options.new_words == ("abba",)
    options, unused = keyword_options(asr.load(folder / "m.asr", kind="greedy"), ["Abb", "abc"], 3.0)
    assert dict(options.phrases or {}) == {"abb": 3.0} and unused == ["abc"]


async def test_words_that_cannot_be_spelled_are_named_in_the_answer(folder: Path) -> None:
    asked = {"new_words": ["ba", "xyz", {"word": "aa", "pronunciation": "a a"}]}
    async with client_of(make_app(Config(bundle=str(folder / "m.asr"), threads=1))) as client:
        answer = await client.post("/v1/recognize", files={"file": noise()}, data={"request": json.dumps(asked)})
        data = {"model": "x", "keywords[]": ["Ba", "xyz", "a xyz"]}
        hinted = await client.post("/v1/audio/transcriptions", files={"file": noise()}, data=data)
    assert answer.status_code == 200 and answer.json()["ignored"] == ["xyz"]
    assert hinted.status_code == 200, hinted.text
    assert json.loads(hinted.headers["x-ignored-keywords"]) == ["xyz", "a xyz"]
