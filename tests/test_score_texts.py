"""References and hypotheses as the world writes them."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import InputError
from asr.evaluation.texts import read_pair, read_texts

SAME = {"u1": "hello world", "u2": "", "u3": "one 2"}
FORMS = {
    "tabs": "u1\thello world\nu2\t\nu3\tone 2\n",
    "tabs, with a header": "utt_id\ttext\nu1\thello world\nu2\t\nu3\tone 2\n",
    "tabs, one taken away by an editor": "u1\thello world\nu2\nu3\tone 2\n",
    "Kaldi": "u1 hello world\nu2\nu3 one 2\n",
    "CRLF, BOM": "\ufeffu1 hello  world \r\nu2 \r\n\r\nu3 one 2\r\n",
    "trn": ";; made by hand\nhello world (u1)\n(u2)\none 2 (u3)\n",
    "JSON lines": '{"id": "u1", "text": "hello world"}\n{"id": "u2", "text": ""}\n{"id": "u3", "text": "one 2"}\n',
    "WeNet": '{"key": "u1", "txt": "hello world"}\n{"key": "u2", "txt": ""}\n{"key": "u3", "txt": "one 2"}\n',
    "JSON list": json.dumps([{"id": i, "text": t} for i, t in SAME.items()], indent=1),
    "JSON object": json.dumps(SAME, indent=2),
    "JSON object of objects": json.dumps({i: {"text": t, "lang": "en"} for i, t in SAME.items()}),
    "NeMo": "".join(json.dumps({"audio_filepath": f"/a/{i}.wav", "text": t, "duration": 1.0}) + "\n"
                    for i, t in SAME.items()),
}  # fmt: skip


def read(tmp_path, content, name="texts", **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_texts(path, **options)


@pytest.mark.parametrize("form", FORMS)
def test_forms_give_the_same_texts(form, tmp_path):
    assert {id: " ".join(text.split()) for id, text in read(tmp_path, FORMS[form]).texts.items()} == SAME


WORDS = st.lists(st.sampled_from(["one", "2", "0.5", "A", "한국", "<unk>", "x-y", "(laugh)", "don't"]), max_size=5)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from(["u1", "2", "s-1_a", "한"]), WORDS, min_size=1))
def test_kaldi_text_of_any_words(tmp_path_factory, texts):
    """Words may be numbers: ctm and stm need times in every line."""
    path = tmp_path_factory.mktemp("t") / "text"
    path.write_text("".join(f"{' '.join([id, *words])}\n" for id, words in texts.items()), "utf-8")
    times = all(len(w) > 3 and all(x in ("2", "0.5") for x in w[1:3]) for w in texts.values())
    marks = all(w and w[-1] == "(laugh)" for w in texts.values())
    segments = all(len(w) > 3 and all(x in ("2", "0.5") for x in w[2:4]) for w in texts.values())
    if not (times or marks or segments):
        assert read_texts(path).texts == {id: " ".join(words) for id, words in texts.items()}


def test_digits_are_not_times(tmp_path):
    assert read(tmp_path, "u1 1 2 3 4\nu2 5 6 7 8\n").texts == {"u1": "1 2 3 4", "u2": "5 6 7 8"}


def test_whisper_and_nemo_results(tmp_path):
    whisper = json.dumps({"text": " Hello world.", "segments": [{"id": 0, "text": " Hello world."}], "language": "en"})
    assert read(tmp_path, whisper, "u7.json").texts == {"u7": " Hello world."}
    nemo = '{"audio_filepath": "a/b.wav", "offset": 1.5, "text": "one", "pred_text": "won"}\n'
    assert read(tmp_path, nemo).texts == {"b-1.5": "one"}
    assert read(tmp_path, nemo, hypotheses=True).texts == {"b-1.5": "won"}


CTM = """;; file channel start duration word confidence
r1 A 0.50 0.20 world 0.9
r1 A 0.10 0.20 hello 1
r1 A 3.00 0.20 noise 0.3
r2 1 0.00 0.20 one
r2 2 0.00 0.20 two NA
"""
STM = """;; comment
r1 1 s1 0.0 1.0 <o,f0,male> hello there
r1 1 s1 1.0 2.0 <o,f0,male> { world / word } (uh)
r1 1 inter_segment_gap 2.0 2.5 <o,,unknown>
r1 1 excluded_region 2.5 4.0 ignore_time_segment_in_scoring
r2 A s2 0.0 1.0 one
r2 B s3 0.0 1.0 too
"""


def test_ctm_and_stm(tmp_path, caplog):
    assert read(tmp_path, CTM).texts == {"r1": "hello world noise", "r2-1": "one", "r2-2": "two"}
    stm = read(tmp_path, STM, "stm")
    assert stm.texts == {"r1": "hello there world uh", "r2-1": "one", "r2-2": "too"}
    assert stm.speakers == {"r1": "s1", "r2-1": "s2", "r2-2": "s3"}
    for told in ("1 alternations", "1 words in parentheses", "1 segments are excluded"):
        assert told in caplog.text
    refs, hyps = read_pair(tmp_path / "stm", tmp_path / "texts")
    assert hyps.texts == {"r1": "hello world", "r2-1": "one", "r2-2": "two"}  # without the word in the excluded time
    caplog.clear()
    (tmp_path / "text").write_text("r1 hello world noise\n")
    read_pair(tmp_path / "stm", tmp_path / "text")
    assert "needs hypotheses with times" in caplog.text


def test_alternatives_of_ctm_and_trn(tmp_path, caplog):
    marks = "r 1 * * <ALT_BEGIN>\nr 1 0.1 0.2 uh\nr 1 * * <ALT>\nr 1 0.1 0.2 @\nr 1 * * <ALT_END>\nr 1 0.5 0.1 go\n"
    assert read(tmp_path, marks).texts == {"r": "uh go"}
    assert "1 alternations (<ALT_BEGIN>)" in caplog.text
    assert read(tmp_path, "[uh] one (s-1)\n{ a / b } (s-2)\n").texts == {"s-1": "[uh] one", "s-2": "a"}  # no JSON
    caplog.clear()
    assert read(tmp_path, "a { b / c { d / e } } { @ / f } (g) (s-1)\n").texts == {"s-1": "a b g"}
    assert "alternations such as { a / b }" in caplog.text and "parentheses" in caplog.text


def test_a_missing_text_is_not_an_empty_one(tmp_path, caplog):
    content = '{"id": "a", "text": "one"}\n{"id": "b"}\n{"id": "c", "text": null}\n{"id": "d", "text": ""}\n'
    refs = read(tmp_path, content)
    assert refs.texts == {"a": "one", "d": ""} and refs.textless == ["b", "c"]
    assert "2 utterances have no text and are not scored, such as b" in caplog.text
    (tmp_path / "hyp").write_text("a one\nb two\n")
    assert read_pair(tmp_path / "texts", tmp_path / "hyp")[1].texts == {"a": "one"}


def test_what_is_assumed_is_told(tmp_path, caplog):
    read(tmp_path, FORMS["tabs, one taken away by an editor"])
    assert "1 lines have no tab, such as 'u2'" in caplog.text
    caplog.clear()
    read(tmp_path, "u1\nu2\n")
    assert "all texts are empty" in caplog.text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a\tx\na\ty\n", ":2: id 'a' occurs twice"),
        ("a x\na y\n", ":2: id 'a' occurs twice"),
        ("a\tx\nb y z\n", ":2: no tab in the line, as in the others"),
        ("a\tx\tspeaker\n", ":1: 3 columns"),
        ("\tx\n", ":1: the id is empty"),
        ("id,text\nu1,hello world\n", ":1: the columns seem to be separated by commas"),
        ('{"id": "a"}\n', ":1: 'text' is missing"),
        ('{"id": "a", "text": null}\n', ":1: 'text' is missing"),
        ("{}\n", ":1: 'id' is missing"),
        ('{"id": \n', ":1: not a JSON object"),
        ('{"id": "a", "text": "b"}\n{"id": \n', ":2: not a JSON object"),
        ('{"id": "a", "text": ["b"]}\n', r":1: 'text' is \['b'\]; expected a string"),
        ("[1]\n", "item 1: not a JSON object"),
        ("r 1 * * word\nr 1 0.5 0.1 go\n", ":1: 'word' has no times"),
        (b"\xff\xfe\x00", "cannot read"),
    ],
)
def test_bad_text_files(tmp_path, content, says):
    with pytest.raises(InputError, match=says):
        read(tmp_path, content)
    with pytest.raises(InputError, match="cannot read"):
        read_texts(tmp_path / "none")


PARTS = ["a", "1", "0.5", "(u)", "{", "}", "/", "*", "<ALT>", "\t", ";;", "[", "]", '"id"', ":"]
FIELDS = ["id", "text", "segments", "audio_filepath", "offset", "key", "u"]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.lists(
        st.lists(st.sampled_from(PARTS), max_size=7).map(" ".join),
        max_size=4,
    ).map("\n".join)
    | st.text(max_size=30)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=3),
        lambda x: st.lists(x, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), x, max_size=3),
    ).map(json.dumps)
)  # fmt: skip
def test_any_text_is_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("t") / "texts"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    for hypotheses in (False, True):
        try:
            found = read_texts(path, hypotheses)
        except InputError as e:
            assert "texts" in str(e)
        else:
            assert all(isinstance(text, str) and id for id, text in found.texts.items())


def test_deeply_nested_json_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a JSON object"):
        read(tmp_path, "[" * 100_000)


def test_tokens_that_are_no_words(tmp_path, caplog):
    rich = "r 1 0.1 0.2 uh 0.9 fp s1\nr 1 0.5 0.1 go 0.9 lex s1\nr 1 0.7 0.1 {LAUGH} 0.9 non-lex s1\n"
    assert read(tmp_path, rich).texts == {"r": "uh go"}
    assert read(tmp_path, "r 1 0.1 0.2 <eps> 1.0\nr 1 0.5 0.1 go 1.0\n").texts == {"r": "go"}
    assert caplog.text.count("1 tokens that are no words (non-lex, misc, noscore, <eps>) are left out") == 2
    caplog.clear()
    assert read(tmp_path, "and(2) {SMACK} (you know) (s-1)\n").texts == {"s-1": "and {SMACK} you know"}
    assert "1 numbers of pronunciations" in caplog.text and "1 marks of noises, such as {SMACK}" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("# made by x\nr 1 0.1 0.2 hi 0.9\nr 1 0.5 0.2 you 0.9\n", ":1: '# made by x' is no line of a ctm"),
        ("r 1 0.1 0.2 hi\nr 1 -0.5 0.2 you\ns 1 0.1 0.2 ho\n", ":2: 'r 1 -0.5 0.2 you' is no line of a ctm"),
        ("r 1 s 0.1 0.2 hi\nr 1 s 1.5 you\nq 1 s 0.5 0.9 ho\n", ":2: 'r 1 s 1.5 you' is no line of a stm"),
        ('{"u1": "hi", "u1": "ho"}', "the field 'u1' occurs twice"),
    ],
)
def test_odd_lines_are_named(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, content)
