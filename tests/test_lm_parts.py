"""Counting n-grams in parts: outputs that are pipes, texts that change meanwhile, other commands in the same folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from asr.cli.launchers import counters
from asr.config import Config, LmConfig
from asr.errors import InputError
from asr.lm import counting, train_file
from asr.lm.counting import Workers, count_files

HERE = Workers(lambda work, items: map(work, items), 1)  # no other process
CFG = LmConfig(["a.txt"], arpa="lm.arpa")


@pytest.fixture(autouse=True)
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(counting, "PART", 60)
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("a b c\nb c d\n" * 10)
    return Path("a.txt")


def test_counts_that_cat_has_joined_are_refused() -> None:
    for end in "", ".gz":
        count_files(CFG, f"a.counts{end}")
        Path("joined").write_bytes(Path(f"a.counts{end}").read_bytes() * 2)
        with pytest.raises(InputError, match="^joined goes on after its end; name each file of counts"):
            train_file(replace(CFG, text=["joined"]))


@pytest.mark.parametrize("order", [-1, 0, 9])
@pytest.mark.parametrize("workers", [None, HERE])
def test_an_order_out_of_range_is_refused(order: int, workers: Workers | None) -> None:
    for write in (lambda cfg: count_files(cfg, "a.counts", workers)), (lambda cfg: train_file(cfg, workers=workers)):
        with pytest.raises(InputError, match=f"lm.order is {order}; it must be from 1 to 8"):
            write(replace(CFG, order=order))
    assert sorted(os.listdir()) == ["a.txt"]


def test_a_pipe_gets_the_model_though_no_folder_can_be_beside_it() -> None:
    train_file(CFG)
    with open("piped", "wb") as file:
        train_file(replace(CFG, arpa=f"/dev/fd/{file.fileno()}"), workers=HERE)
    assert Path("piped").read_bytes() == Path("lm.arpa").read_bytes()


def test_a_text_replaced_while_it_is_counted_is_refused_and_counted_again(text: Path) -> None:
    def replaces_text(work: Any, items: Any) -> Iterator[Any]:
        for number, item in enumerate(items):
            if number == 1:
                Path("new").write_text("x\n" + text.read_text())
                os.replace("new", text)
            yield work(item)

    with pytest.raises(InputError, match="a text has changed while it was counted; the same command"):
        train_file(CFG, workers=Workers(replaces_text, 1))
    assert not Path("lm.arpa").exists()
    train_file(CFG, workers=HERE)
    train_file(replace(CFG, arpa="alone.arpa"))
    assert Path("lm.arpa").read_bytes() == Path("alone.arpa").read_bytes()
    assert not Path("lm.arpa.counting").exists()


def test_what_another_command_begins_to_count_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waited for the lock, and takes it as soon as it is free."""
    locked = counting.locked

    @contextmanager
    def then_by_another(folder: Path) -> Iterator[None]:
        with locked(folder):
            yield
        (folder / "of_another.counts").touch()

    monkeypatch.setattr(counting, "locked", then_by_another)
    train_file(CFG, workers=HERE)
    assert os.listdir("lm.arpa.counting") == ["of_another.counts"]


def test_a_text_named_twice_counts_twice_although_its_parts_have_one_name() -> None:
    twice = replace(CFG, text=["a.txt", "a.txt"])
    parts, _ = counting.divided(twice.text, 3, "word")
    assert len({part.name for part in parts}) < len(parts)
    train_file(twice, workers=HERE)
    train_file(replace(twice, arpa="alone.arpa"))
    assert Path("lm.arpa").read_bytes() == Path("alone.arpa").read_bytes()


@pytest.mark.parametrize(("threads", "is_divided"), [(0, False), (1, False), (2, True)])
def test_texts_are_divided_among_processes_only_where_these_are_asked_for(threads: int, is_divided: bool) -> None:
    with counters(Config(threads=threads)) as workers:
        assert (workers is not None) == is_divided


def test_counts_that_lose_their_longest_ngrams_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    count_files(replace(CFG, order=4), "old.counts")
    assert capsys.readouterr().err == ""
    count_files(replace(CFG, text=["old.counts", "a.txt"]), "new.counts")
    assert "old.counts has n-grams of 4 words, and new.counts will have those of 3 only" in capsys.readouterr().err
