"""Restarts: which words are left out, and which that are repeated on purpose stay."""

from pathlib import Path

import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

import asr
from asr.errors import InputError
from asr.hypothesis import Hypothesis, Word
from asr.recognizer import bundle
from asr.recognizer.hypotheses import hypothesis_of
from asr.recognizer.restarts import are_restarts, without_restarts
from asr.recognizer.written import Writing
from asr.search.searchers import Found, FoundWord
from asr.search.word_times import Segment

RESTARTED = [
    ("I I want", "I want"),
    ("i i i want the the book", "i want the book"),
    ("and and then because because we", "and then because we"),
    ("그 그 그러면", "그러면"),
    ("그러 그러면 가요", "그러면 가요"),
    ("저 저는 우리 우리가", "저는 우리가"),
    ("근 근데 하지 하지만", "근데 하지만"),
    ("i i i", "i"),
    ("이렇 이렇게 어 어떻게", "이렇게 어떻게"),
]
MEANT = (
    "very very good|no no no|that that is|had had|five five five one two|new york new york|bye bye|is is|you you|"
    "it it|her her|a a a|to be to be|the then|i in|we went|h a w a i i|i i t|w i i u|"
    "빨리 빨리|빨리빨리|아주 아주|네 네|하나 하나|일 일|두 두|"
    "그 그림|그 사람 그 사람|이 이야기|내 내일|저 저녁|이 이름|그래 그래서|한국 한국어|"
    "이렇게 이렇게 하면|어떻게 어떻게 하다 보니|그냥 그냥 그래|이런 이런|"
    "집 집에서|아니 아니면|제 제목"
)


@pytest.mark.parametrize(("said", "left"), RESTARTED)
def test_restarts_are_left_out(said: str, left: str) -> None:
    assert without_restarts(said) == left


@pytest.mark.parametrize("said", MEANT.split("|"))
def test_words_repeated_on_purpose_stay(said: str) -> None:
    assert without_restarts(said) == said


@given(st.lists(st.sampled_from("i the want 그 그러면 저 저는 very um".split())))
def test_the_last_word_stays_and_only_such_words_go(words: list[str]) -> None:
    flags = are_restarts(words)
    assert len(flags) == len(words) and not any(flags[-1:])
    for number, is_restart in enumerate(flags):
        assert not is_restart or words[number + 1].startswith(words[number])


def found(*words: str) -> Found:
    timed = [FoundWord(word, [Segment(1, 10 * n, 10 * n + 5, -0.1)], 0.9) for n, word in enumerate(words)]
    return Found(timed, 1.0, True, [("the the cat", 2.0)])


def hypothesis(*words: str, **options):
    return hypothesis_of(found(*words), 100, 0.01, "u", 1.0, 0.0, **options)


def test_restarts_stay_in_the_words_and_leave_the_text() -> None:
    plain = hypothesis("i", "um", "i", "want")
    assert plain.text == "i um i want" and all(word.accepted for word in plain.words)
    short = hypothesis("i", "um", "i", "want", remove=["um"], remove_restarts=True)
    assert short.text == "i want" and [word.accepted for word in short.words] == [False, False, True, True]
    assert [word.start_s for word in short.words] == [word.start_s for word in plain.words]
    assert short.alternatives[0].text == "the cat" and plain.alternatives[0].text == "the the cat"


@pytest.mark.parametrize("restart", ["and", "um and"])
def test_written_forms_span_restarts(restart: str) -> None:
    said = f"it cost one hundred {restart} and five dollars".split()
    short = hypothesis(*said, remove=["um"], remove_restarts=True)
    found = Writing("en", remove=frozenset(["um"]))(short)
    assert found.text == "it cost $105"
    assert [w.word for w in found.words if not w.accepted] == [w.word for w in short.words if not w.accepted]


def test_written_forms_do_not_span_words_of_low_confidence() -> None:
    words = [Word(w, k, k + 0.5, c, c > 0.5) for k, (w, c) in enumerate([("twenty", 0.9), ("a", 0.1), ("five", 0.9)])]
    rejected = Hypothesis("u", "twenty five", words, 1.0, 3.0, True)
    assert Writing("en", reject_below=0.5)(rejected).text == "20 five"


def test_the_option_of_a_loaded_recogniser(tmp_path: Path) -> None:
    cfg = tiny.config()
    bundle.write(tmp_path / "m.asr", tiny.model(cfg), cfg, tiny.TOKENS, tiny.graph_dir(tmp_path / "graph"), "card")
    assert not asr.load(tmp_path / "m.asr").cfg.decoder.remove_restarts
    assert asr.load(tmp_path / "m.asr", remove_restarts=True).cfg.decoder.remove_restarts
    with pytest.raises(InputError, match="remove_restarts=1 must be True or False"):
        asr.load(tmp_path / "m.asr", remove_restarts=1)
