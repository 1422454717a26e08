"""Written forms: hand-written examples, the truth of korean_dialog, round trips through `spoken`, and any text."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asr import manifest
from asr.cli import main as cli
from asr.errors import InputError
from asr.text.clean import clean
from asr.text.spoken import spoken
from asr.text.written import spans, written

ENGLISH = Path(__file__).parent / "data" / "en_written.tsv"
DIALOG = Path(__file__).parents[2] / "shared/data/korean_dialog/manifest.jsonl"
EASY = settings(max_examples=60, deadline=None)


def read_pairs() -> list[tuple[str, str]]:
    return [(said, form) for _, said, form in (line.split("\t") for line in ENGLISH.read_text().splitlines())]


def test_the_english_pairs() -> None:
    pairs = read_pairs()
    assert len(pairs) >= 300
    assert [(said, written(said, "en"), form) for said, form in pairs if written(said, "en") != form] == []


KOREAN = [
    ("세 명이 세 시 십오 분에 삼 층에서", "3명이 3시 15분에 3층에서"),
    ("스물다섯 살", "25살"),
    ("삼십칠 점 오 도", "37.5도"),
    ("오후 세 시 반", "오후 3시 반"),
    ("오전 아홉시 삼십분", "오전 9시 30분"),
    ("이천이십삼 년 유월 십 일", "2023년 6월 10일"),
    ("두 시 이 분 이 초", "2시 2분 2초"),
    ("에이티엠 앞에서 엠피쓰리를", "ATM 앞에서 MP3를"),
    ("공일공 일이삼사 오육칠팔", "010-1234-5678"),
    ("칠십만 원 이억 삼천만 원 만 육천 명", "70만 원 2억 3천만 원 16,000명"),
    ("삼분의 이", "2/3"),
    ("이백 오십 도로 십 오 분", "250도로 15분"),  # as recognisers space numbers
    ("만 이십사개월 이상", "만 24개월 이상"),  # of full age, not 10,024
    ("십육세에서 십팔세 사이", "16~18세 사이"),
    ("일위부터 사위까지", "1위부터 4위까지"),
    ("제 이도시에요", "제 2도시에요"),
    ("이천십일 시즌 삼십일까지", "2011 시즌 30일까지"),
    ("삼일 운동 육이오 전쟁", "3·1 운동 6·25 전쟁"),
    ("'열두개', 십분!", "'12개', 10분!"),
]
KEPT = (
    "하나 둘 셋|한 번 더 한번 봐|첫 번째 사람|이번 주 이번 버스|이 분은 이 층에|두 개와 세 가지|일부 사회의 구조|"
    "세대 차이|두통이 심해|오십시오|일주일 동안|이유로|천만에요|이천시에서|이점이 있다|네 가지 마|수 천 명이|"
    "몇 백 명|유엔이|구급대가|사장님|제사장은|천 원|이백만이 넘는"
)


@pytest.mark.parametrize("said,form", KOREAN)
def test_korean(said: str, form: str) -> None:
    assert written(said, "ko") == form


@pytest.mark.parametrize("said", KEPT.split("|"))
def test_korean_words_that_only_look_like_numbers_stay(said: str) -> None:
    assert written(said, "ko") == said


@pytest.mark.parametrize(
    "said",
    "one of them|wait a second|the second one|you may go|may first want|we march on|two minus one|two fifty"
    "|no one|which one am i|look at this|half of it|polka dot dress|a b|oh no".split("|"),
)
def test_english_words_that_only_look_like_numbers_stay(said: str) -> None:
    assert written(said, "en").lower() == said


def test_case_and_spaces() -> None:
    assert written("  I HAVE  Five Dollars\tand I Left ", "en") == "I HAVE $5 and I Left"
    assert written("", "en") == written(" ", "ko") == ""


@pytest.mark.skipif(not DIALOG.exists(), reason="korean_dialog is not here")
def test_the_truth_of_korean_dialog() -> None:
    """All sets, as in docs/measured/korean_written.md."""
    rows = [(str(u.text), u.extra["text_written"]) for u in manifest.read(DIALOG)]
    differ = [(said, truth) for said, truth in rows if said != truth]
    assert sum(written(said, "ko") == truth for said, truth in differ) >= 0.9 * len(differ)
    equal = [said for said, truth in rows if said == truth]
    assert sum(written(said, "ko") != said for said in equal) <= 0.005 * len(equal)


NUMBER = st.integers(1, 12).flatmap(lambda digits: st.integers(0, 10**digits - 1))
SMALL, HOUR, SIXTY, DAY = st.integers(1, 99), st.integers(1, 12), st.integers(1, 59), st.integers(1, 31)
YEAR = st.integers(1001, 2199)
MONTHS = "January February March April May June July August September October November December".split()


def forms(form: str, *parts: st.SearchStrategy) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map(lambda values: form.format(*values))


def below(top: int) -> st.SearchStrategy[str]:
    return st.integers(2, top).flatmap(lambda d: st.integers(1, d - 1).map(lambda n: f"{n}/{d}"))


# What is said for these forms is written as these forms.
SAME = {
    "ko": [
        forms("{}년 {}월 {}일", YEAR, HOUR, DAY),
        forms("오전 {}시 {}분 {}초", HOUR, SIXTY, SIXTY),
        forms("{}.{}도", SMALL, SMALL),
        forms("{}%", st.integers(0, 999)),
        forms("{}kg", st.integers(1, 999)),
        forms("{}세", st.integers(3, 120)),
        forms("{}명", SMALL.filter(lambda n: n > 1)),
        forms("제{}회", st.integers(1, 999)),
        forms("010-{:04}-{:04}", st.integers(0, 9999), st.integers(0, 9999)),
        forms("{}만 원", st.integers(2, 999)),
        forms("{}억 {}만 원", st.integers(1, 999), st.integers(2, 999)),
        below(100),
    ],
    "en": [
        forms("{} {}, {}", st.sampled_from(MONTHS), DAY, YEAR.filter(lambda year: year // 100 not in (10, 11, 12))),
        forms("{}:{:02} p.m.", HOUR, SIXTY),
        forms("${:,}.{:02}", st.integers(1, 99999), SMALL),
        forms("${}.{} million", st.integers(0, 999), st.integers(1, 9)),
        forms("{}.{}%", st.integers(0, 999), st.integers(1, 999)),
        forms("{}°C", st.integers(-99, 200)),
        forms("{:,} km", st.integers(0, 10**6 - 1)),  # 1 million km
        forms("{}-{}-{:04}", st.integers(200, 999), st.integers(200, 999), st.integers(0, 9999)),
        forms("in {}", st.integers(1301, 1999)),
        forms("€{:,}", st.integers(0, 10**9).filter(lambda n: n < 10**6)),
    ],
}  # fmt: skip
# What is written is at least said in the same way.
AGAIN = {
    "ko": [
        forms("{:,}{}", NUMBER, st.sampled_from("개 명 원 번 층 호 도 분 시간 미터 쪽 년 월 권 대 살 회 조".split())),
        forms("{}~{}{}", SMALL, st.integers(100, 120), st.sampled_from(["세", "명", "%"])),
        forms("{}시 {}분", st.integers(0, 24), SIXTY),
    ],
    "en": [
        forms("{:,} {}", NUMBER.filter(lambda n: not 2000 < n < 2100), st.sampled_from("people days minutes".split())),
        forms("the {} of {}", st.integers(1, 31), st.sampled_from(MONTHS)),
        forms("{} {}", SMALL, below(16)),
        forms("page {}", st.integers(1, 9999)),
    ],
}  # fmt: skip


@given(st.data(), st.sampled_from(["en", "ko"]))
@EASY
def test_written_and_spoken_are_each_others_opposite(data: st.DataObject, lang: str) -> None:
    form = data.draw(st.one_of(SAME[lang]))
    assert written(clean(spoken(form, lang), lang), lang) == form


@given(st.data(), st.sampled_from(["en", "ko"]))
@EASY
def test_what_is_written_is_said_as_before(data: st.DataObject, lang: str) -> None:
    words = clean(spoken(data.draw(st.one_of(SAME[lang] + AGAIN[lang])), lang), lang)
    assert clean(spoken(written(words, lang), lang), lang) == words


WORDS = {
    "en": "one five twenty fifteen hundred thousand million point dollars and cents percent may fourth a m oh o'clock "
    "dot com at three thirty half minus to kilograms",
    "ko": "이 십 백 천 만 육천 세 열 다섯시 분 반 원 오월 사일 점 퍼센트 에서 제 부터 에이 티비 번 개 명 영 공일공 "
    "일이삼사",
}


@given(st.data(), st.sampled_from(["en", "ko"]))
@EASY
@example(None, "en")
def test_each_written_word_stands_for_whole_words(data: st.DataObject | None, lang: str) -> None:
    some = st.sampled_from(WORDS[lang].split()) | st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1)
    said = data.draw(st.lists(some, max_size=15)) if data else ["[x]", "\\", "a\x00b", "]", "\u200b"]
    found = spans(said, lang)
    assert sum(count for count, _ in found) == len(said)
    assert all(" " not in form for _, form in found)
    assert data or [form for _, form in found] == said


def test_a_long_text_is_written_whole() -> None:
    said = "we paid five dollars on may third " * 500
    assert written(said, "en") == " ".join(["we paid $5 on May 3"] * 500)


def test_the_grammars_are_fast_and_come_late() -> None:
    code = "import asr, asr.text.written, sys; assert 'pynini' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    said = (
        "on july fourth nineteen seventy six the price was five dollars and twenty cents for ten kilograms of rice here"
    )
    written(said, "en")
    begun = time.process_time()
    for _ in range(20):
        written(said, "en")
    assert (time.process_time() - begun) / 20 < 0.02  # 3 ms on an idle core


def test_unknown_languages_are_refused() -> None:
    with pytest.raises(InputError, match="no written forms for the language 'fr'; choose one of en, ko"):
        written("deux", "fr")


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.txt").write_text("it costs five dollars\n\nhello\n")
    assert cli.main(["text", "write", str(tmp_path / "t.txt"), f"output={tmp_path}/w.txt", "lang=en"]) == 0
    assert (tmp_path / "w.txt").read_text() == "it costs $5\n\nhello\n"
    assert "1 of 3 sentences changed" in capsys.readouterr().out
    assert cli.main(["text", "write", f"output={tmp_path}/w.txt"]) == 2
    (tmp_path / "m.jsonl").write_text('{"id": "room five", "audio": "a.wav", "text": "five dollars"}\n')
    assert cli.main(["text", "write", str(tmp_path / "m.jsonl"), f"output={tmp_path}/m.txt", "lang=en"]) == 2
    assert "is a manifest; asr text write takes a text" in capsys.readouterr().err
    assert not (tmp_path / "m.txt").exists()
    assert json.dumps(capsys.readouterr().err)
