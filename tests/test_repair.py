"""Repairs of text: the table against a slow scan, the built-in repairs, and messages for bad files."""

import random
import re
import sys
from pathlib import Path

import pytest

from asr.errors import InputError
from asr.text import repair
from asr.text.ko.morphemes import kiwi


def table(folder: Path, pairs: dict[str, str]) -> repair.Repair:
    path = folder / "fixes.tsv"
    path.write_text("# wrong, right\n\n" + "".join(f"{wrong}\t{right}\n" for wrong, right in pairs.items()))
    return repair.table(path)


def test_words_and_phrases_are_replaced_whole(tmp_path: Path) -> None:
    fix = table(
        tmp_path, {"teh": "the", "alot": "a lot", "a lot of": "much", "됬다": "됐다", "w/o": "without", "um": ""}
    )
    assert fix("Teh cat, teh dog; tehran") == "the cat, the dog; tehran"
    assert fix("alot of a  lot\tof w/o") == "a lot of much without"
    assert fix("됬다. 안됬다") == "됐다. 안됬다"
    assert fix("so um yes") == "so  yes"


def test_table_is_the_longest_match_at_each_place(tmp_path: Path) -> None:
    draws = random.Random(1)
    words = ["a", "ab", "abc", "b", "bc", "c", "a b", "a b c", "b c a", "c.a"]
    for _ in range(100):
        pairs = {wrong: f"<{k}>" for k, wrong in enumerate(draws.sample(words, 5))}
        fix = table(tmp_path, pairs)
        longest_first = "|".join(re.escape(wrong) for wrong in sorted(pairs, key=len, reverse=True))
        slow = re.compile(rf"(?<!\w)(?:{longest_first})(?!\w)")
        text = "".join(draws.choices("abc  .", k=40)).replace("  ", " ")
        assert fix(text) == slow.sub(lambda m, right=pairs: right[m[0]], text)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("teh the\n", r"fixes.tsv:1: expected wrong<TAB>right, found 'teh the'"),
        ("a\tb\tc\n", "expected wrong<TAB>right"),
        ("\tb\n", "expected wrong<TAB>right"),
        ("a\tb\nA\tc\n", "fixes.tsv:2: 'A' appears twice; keep one"),
        ("# nothing\n", "0 replacements"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, lines: str, message: str) -> None:
    path = tmp_path / "fixes.tsv"
    path.write_text(lines)
    with pytest.raises(InputError, match=message):
        repair.table(path)


def test_names_are_looked_up_in_order(tmp_path: Path) -> None:
    (tmp_path / "fixes.tsv").write_text("soo\tso\n")
    found = repair.repairs(["repeats", str(tmp_path / "fixes.tsv")])
    text = "soooo good"
    for step in found.values():
        text = step(text)
    assert text == "so good"
    with pytest.raises(
        InputError, match="no repair 'repeat'; choose one of case, marks, markup, repeats, spacing, or name a file"
    ):
        repair.repairs(["repeat"])
    with pytest.raises(InputError, match="cannot read .*none.tsv"):
        repair.repairs([str(tmp_path / "none.tsv")])


def test_a_custom_repair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "REPAIRS", dict(repair.REPAIRS))
    repair.named("dashes")(lambda text: text.replace("-", " "))
    assert repair.repairs(["dashes"])["dashes"]("a-b") == "a b"


def test_case_and_repeats() -> None:
    assert repair.case("THE GREAT WAR OF HENRY VIII") == "the great war of henry viii"
    assert repair.case("hELLO from NASA, iPad and U.S.") == "Hello from NASA, iPad and U.S."
    assert repair.case("NASA") == "NASA"
    assert repair.repeats("soooo ㅋㅋㅋㅋ good 1000") == "soo ㅋㅋ good 1000"


def test_markup() -> None:
    assert repair.markup("<b>rock &amp; roll</b>, &nbsp ; 1 < 2").split() == "rock & roll , 1 < 2".split()


def test_spacing_of_korean() -> None:
    pytest.importorskip("kiwipiepy")
    assert (
        repair.spacing("아버지가방에들어가신다. 오늘은날씨가좋네요") == "아버지가 방에 들어가신다. 오늘은 날씨가 좋네요"
    )


def test_spacing_without_kiwipiepy_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kiwipiepy", None)
    kiwi.cache_clear()
    with pytest.raises(InputError, match="needs kiwipiepy: pip install .kiwipiepy"):
        repair.spacing("가나다")
