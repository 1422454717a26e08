"""Counts of n-grams: the same model, byte for byte, as from the texts in one process; damaged files; processes."""

import json
import lzma
import os
import random
import shutil
import signal
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_launchers import stand_in

from asr import _lm, manifest
from asr.cli import main as cli
from asr.config import LmConfig
from asr.data.pool import in_processes
from asr.errors import InputError
from asr.lm import corpus as corpora
from asr.lm import counting, counts_file, train_file
from asr.lm.counting import Workers, count_files
from asr.manifest import Utterance
from asr.words import BEGIN, END, MARKS

HERE = Workers(lambda work, items: map(work, items), 1)  # no other process
WORDS = ["a", "b", "c", "<name>", "하나", "하늘", "é", "d", "bb"]


def some_text(draw: random.Random) -> str:
    """Lines with any ends, and some without words; it has a word."""
    lines = [" ".join(draw.choices(WORDS, k=draw.choice([0, 1, 2, 7]))) for _ in range(draw.randint(0, 12))]
    return "".join(line + draw.choice(["\n", "\r\n", " \n", "\n\n"]) for line in lines) + draw.choice(["a", "b c\n"])


def some_options(draw: random.Random) -> LmConfig:
    return LmConfig(
        order=draw.randint(1, 5),
        unit=draw.choice(["word", "char"]),
        memory_mb=draw.choice([1, 100]),
        prune=draw.choice([[], [0], [0, 1], [0, 0, 1]]),
        min_count=draw.choice([1, 2]),
        vocabulary_size=draw.choice([0, 3]),
        coverage=draw.choice([1.0, 0.8]),
    )


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """2 kB where `lm.memory_mb` is 1: sorters hold 16 n-grams, and spools are files."""
    monkeypatch.setattr(corpora, "Corpus", lambda size, folder: _lm.Corpus(size >> 9, folder))


@pytest.fixture
def quick_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are not waited for, since there are many."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "PART", 40)


def trained(cfg: LmConfig, texts: list[Path], workers: Workers | None = None) -> tuple[bytes, str]:
    """The model and the report, or the sentence of the error."""
    arpa = texts[0].parent / "lm.arpa"
    cfg = replace(cfg, text=list(map(str, texts)), arpa=str(arpa), prune=cfg.prune[: cfg.order])
    try:
        report = train_file(cfg, workers=workers)
    except InputError as e:
        return b"", str(e)
    return arpa.read_bytes(), str(replace(report, duration_s=0))


@pytest.mark.parametrize("seed", range(30))
def test_models_do_not_depend_on_what_was_counted_before(
    tmp_path: Path, little_memory: None, small_parts: None, quick_files: None, seed: int
) -> None:
    """Texts, counts of some of them together and of a higher order, counts of counts, and all that divided in parts."""
    draw = random.Random(seed)
    cfg = some_options(draw)
    paths = [tmp_path / f"{number}.txt" for number in range(draw.randint(1, 5))]
    for path in paths:
        text = some_text(draw)  # slots are words
        path.write_bytes((text if cfg.unit == "word" else text.replace("<name>", "name")).encode())
    if seed % 3 == 0:
        (tmp_path / "words").write_text("a\n하나\nunseen\n", encoding="utf-8")
        cfg = replace(cfg, vocabulary=str(tmp_path / "words"), min_count=1, vocabulary_size=0, coverage=1.0)
    wanted = trained(cfg, paths)
    assert trained(cfg, paths, HERE) == wanted
    draw.shuffle(paths)
    while len(paths) > 1 or not counts_file.is_counts(paths[0]):
        some = [paths.pop() for _ in range(draw.randint(1, len(paths)))]
        made = tmp_path / f"{len(list(tmp_path.iterdir()))}.counts{draw.choice(['', '.gz'])}"
        order = cfg.order if any(map(counts_file.is_counts, some)) else draw.randint(cfg.order, 5)
        count_files(replace(cfg, order=order, text=list(map(str, some))), str(made), draw.choice([None, HERE]))
        paths.insert(draw.randint(0, len(paths)), made)
        assert trained(cfg, paths) == wanted
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def unpacked(path: Path) -> tuple[dict[str, Any], list[str], dict[tuple[str, ...], int]]:
    """The content of a counts file by its description: header, words, n-grams with `<s>` before those cut short."""
    data = path.read_bytes()
    assert data[:8] == b"asrcount"
    blocks, at = [], 8
    while True:
        size, checksum = struct.unpack_from("<II", data, at)
        blocks.append(data[at + 8 : at + 8 + size])
        assert zlib.crc32(blocks[-1]) == checksum
        at += 8 + size
        if not size:
            break
    assert at == len(data)
    header = json.loads(blocks[0])
    listed = blocks[1].decode().split("\n")[:-1] if header["words"] else []
    names = [*MARKS, *listed]
    numbers = iter(b"".join(blocks[2:]))

    def number() -> int:
        byte = next(numbers)
        return byte if byte < 128 else byte - 128 + 128 * number()

    found, last = {}, [0] * header["order"]
    while True:
        try:
            shared = number()
        except StopIteration:
            return header, listed, found
        ids = [*last[:shared], last[shared] + number()]
        while len(ids) < header["order"] and names[ids[-1]] != BEGIN:
            ids.append(number())
        last = [*ids, *[1] * (header["order"] - len(ids))]
        found[tuple(names[id] for id in reversed(ids))] = number()


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_files_hold_the_ngrams_that_a_dictionary_counts(tmp_path: Path, order: int) -> None:
    draw = random.Random(order)
    names = [f"w{i}" for i in range(200)] + ["하나", "<slot>"]
    lines = [" ".join(draw.choices(names, k=draw.randint(0, 9))) for _ in range(800)]
    (tmp_path / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    report = count_files(LmConfig([str(tmp_path / "a.txt")], order=order), str(tmp_path / "a.counts"))
    counts: Counter[tuple[str, ...]] = Counter()
    for line in filter(None, lines):
        marked = [BEGIN, *line.split(), END]
        counts.update(tuple(marked[max(0, end - order) : end]) for end in range(2, len(marked) + 1))
    header, listed, found = unpacked(tmp_path / "a.counts")
    assert found == counts
    assert listed == sorted({word for line in lines for word in line.split()})
    assert header == {"order": order, "unit": "word", "words": len(listed), "version": 1}
    assert (report.sentences, report.seen) == (len(list(filter(None, lines))), len(listed))
    assert report.words == sum(len(line.split()) for line in lines)


# Damage


@pytest.fixture
def counts(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("a b c\nb c d\na b d\n")
    count_files(LmConfig([str(tmp_path / "a.txt")], order=3), str(tmp_path / "a.counts"))
    return tmp_path / "a.counts"


def test_every_changed_byte_and_every_cut_is_noticed(counts: Path) -> None:
    data = counts.read_bytes()
    for at in range(len(data)):
        for damaged in (data[:at] + bytes([data[at] ^ 64]) + data[at + 1 :], data[:at]):
            counts.write_bytes(damaged)
            with pytest.raises(InputError, match=r"a\.counts (is (damaged|cut short|no file)|was written by)"):
                counts_file.add(corpora.new_corpus(1, counts.parent), counts, 3, "word")


def file_of(header: bytes, *blocks: bytes) -> bytes:
    return b"asrcount" + b"".join(
        struct.pack("<II", len(block), zlib.crc32(block)) + block for block in (header, *blocks, b"")
    )


HEADER = b'{"order": 2, "unit": "word", "words": 2}'


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (file_of(b"[]", b"a\nb\n"), "its header cannot be read"),
        (file_of(b'{"order": "2", "unit": "word", "words": 2}'), "its header cannot be read"),
        (file_of(HEADER.replace(b"2}", b'2, "version": 2}')), "another version"),
        (file_of(b'{"order": 9, "unit": "word", "words": 2}'), "another version"),
        (file_of(HEADER, b"a\n"), "another number of words"),
        (file_of(HEADER, b"a\nb\nc\n"), "another number of words"),
        (file_of(HEADER, b"b\na\n"), "the words do not ascend"),
        (file_of(HEADER, b"a\na\n"), "the words do not ascend"),
        *((file_of(HEADER, b"a\n" + word + b"\n"), "a word that cannot be one")
          for word in (b"", b" b", b"b c", b"<UNK>", b"<eps>", b"b\0", b"\xff")),
        (file_of(HEADER, b"a\nb\n"), "its words are in none of its n-grams"),
        (file_of(HEADER, b"a\nb\n", b"\0\x05\x01\x01"), "the id of a word is wrong"),
        (file_of(HEADER, b"a\nb\n", b"\0\x01\x01\x01"), "the id of a word is wrong"),
        (file_of(HEADER, b"a\nb\n", b"\0\x03\x02\x01"), "the id of a word is wrong"),
        (file_of(HEADER, b"a\nb\n", b"\x01\x03\x01\x01"), "an n-gram has too many words"),
        (file_of(HEADER, b"a\nb\n", b"\0\x03\x01\x01\x02\x01\x01"), "an n-gram has too many words"),
        (file_of(HEADER, b"a\nb\n", b"\0\x03\x01\x01\0\0\x03\x01"), "the n-grams do not ascend"),
        (file_of(HEADER, b"a\nb\n", b"\0\x03\x01\0"), "the count of an n-gram is 0"),
        (file_of(HEADER, b"a\nb\n", b"\0\x03\x01"), "an n-gram is cut off"),
        (file_of(HEADER, b"a\nb\n", b"\0\x03\x01" + b"\xff" * 9 + b"\x01"), "a number is too large"),
        (file_of(HEADER, b"a\nb\n", b"\0\x03\x01" + b"\xff" * 8 + b"\x7f"), "the counts are too large"),
    ],
)  # fmt: skip
def test_what_no_text_has_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "a.counts").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.counts .*{says}"):
        train_file(LmConfig([str(tmp_path / "a.counts")], order=1, arpa=str(tmp_path / "lm.arpa")))
    assert not (tmp_path / "lm.arpa").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"order": 4}, "has n-grams of 3 words, too short for lm.order=4; lower it, or count the text again with `asr"),
        ({"unit": "char"}, "has counts of lm.unit=word, not of char; set lm.unit=word, or"),
        ({"arpa": "a.counts"}, "is also an input"),
    ],
)
def test_counts_of_other_options_are_refused(
    counts: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], says: str
) -> None:
    monkeypatch.chdir(counts.parent)
    with pytest.raises(InputError, match=f"a.counts {says}"):
        train_file(replace(LmConfig(["a.counts"], arpa="x.arpa"), **change))


def test_other_readers_of_texts_name_them(counts: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(counts.parent)
    assert cli.main("lm vocabulary text=a.counts output=x".split()) == 2
    assert "a.counts: it is counts of n-grams" in capsys.readouterr().err


# Parts and processes


@pytest.fixture
def mixed(tmp_path: Path, small_parts: None, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A text with a byte order mark, a compressed one, a manifest, counts, and an empty file."""
    monkeypatch.chdir(tmp_path)
    draw = random.Random(3)
    lines = [" ".join(draw.choices("abcdefg", k=draw.randint(1, 8))) for _ in range(60)]
    (tmp_path / "a.txt").write_text("\ufeff" + "\n".join(lines[:30]), encoding="utf-8")
    (tmp_path / "b.xz").write_bytes(lzma.compress("\n".join(lines[30:40]).encode()))
    said = [Utterance(str(n), f"{n}.wav", text=text) for n, text in enumerate(lines[40:50])]
    manifest.write(tmp_path / "c.jsonl", said)
    (tmp_path / "d.txt").write_text("\n".join(lines[50:]))
    (tmp_path / "e.txt").write_text("")
    count_files(LmConfig(["d.txt"]), "d.counts")
    return [Path(name) for name in ("a.txt", "b.xz", "c.jsonl", "d.counts", "e.txt", "a.txt")]


def test_parts_hold_each_line_once(mixed: list[Path]) -> None:
    parts, rest = counting.divided(list(map(str, mixed)), 3, "word")
    assert rest == ["d.counts"]
    stretches = [stretch for part in parts for stretch in part.stretches]
    text = Path("a.txt").read_bytes()
    spans = [stretch.span for stretch in stretches if stretch.path == "a.txt"]
    assert len(spans) > 10
    assert b"".join(text[span.begin : span.end] for span in spans) == text + text
    assert all(span.end == len(text) or text[: span.end].endswith(b"\n") for span in spans)
    assert [stretch.path for stretch in stretches].count("b.xz") == 1
    assert all(part.size < counting.PART + 20 for part in parts if {s.path for s in part.stretches} == {"a.txt"})


@pytest.mark.parametrize("unit", ["word", "char"])
def test_processes_write_the_same_model(mixed: list[Path], unit: str, capsys: pytest.CaptureFixture) -> None:
    words = ["lm", "train", f"text={','.join(map(str, mixed if unit == 'word' else mixed[:3]))}", f"unit={unit}"]
    for threads in 1, 2, 3:
        assert cli.main([*words, f"arpa={threads}.arpa", f"threads={threads}"]) == 0, capsys.readouterr().err
    assert Path("1.arpa").read_bytes() == Path("2.arpa").read_bytes() == Path("3.arpa").read_bytes()
    assert not list(Path().glob("*.counting"))


def test_a_bad_line_is_named_as_without_parts(mixed: list[Path]) -> None:
    lines = Path("a.txt").read_bytes().split(b"\n")
    lines[20] += b" <s>"
    Path("a.txt").write_bytes(b"\n".join(lines))
    alone, parts = trained(LmConfig(), mixed), trained(LmConfig(), mixed, HERE)
    assert alone == parts and "a.txt:21: the text contains '<s>'" in alone[1]
    lines[20] = b"\xff"
    Path("a.txt").write_bytes(b"\n".join(lines))
    for unit in "word", "char":
        _, said = trained(LmConfig(unit=unit), mixed[:1], HERE)
        assert said.startswith("cannot read the text a.txt:21: not UTF-8")


def test_a_line_too_long_for_a_text_is_too_long_in_parts(tmp_path: Path, small_parts: None, monkeypatch) -> None:
    (tmp_path / "a.txt").write_bytes(b"a b\n" * 5 + b"a " * (2 << 20) + b"\na b\n")
    alone, parts = trained(LmConfig(), [tmp_path / "a.txt"]), trained(LmConfig(), [tmp_path / "a.txt"], HERE)
    assert alone == parts and ":6: the line is longer than" in alone[1]


def kills_itself(work: Any, items: Any) -> Iterator[Any]:
    """Two processes, one of which ends at the fifth part."""
    return in_processes(2, _Killer(work, list(items)[4]), items)


class _Killer:
    def __init__(self, work: Any, item: Any):
        self.work, self.item = work, item

    def __call__(self, item: Any) -> Any:
        if item == self.item:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.work(item)


def test_a_killed_process_ends_the_run_which_goes_on_later(mixed: list[Path]) -> None:
    wanted = trained(LmConfig(), mixed)
    Path("lm.arpa").unlink()
    _, said = trained(LmConfig(), mixed, Workers(kills_itself, 1))
    assert "a process of this command was killed, perhaps for lack of memory; the same command continues" in said
    assert not Path("lm.arpa").exists()
    kept = {path: path.stat().st_mtime_ns for path in Path("lm.arpa.counting").glob("*.counts")}
    asked: list[str] = []

    def pool(work: Any, items: Any) -> Iterator[Any]:
        asked.extend(part.name for part in items)
        assert kept == {path: path.stat().st_mtime_ns for path in kept}
        return map(work, items)

    assert kept and trained(LmConfig(), mixed, Workers(pool, 1)) == wanted
    assert asked and not {path.name for path in kept} & set(asked)
    assert not Path("lm.arpa.counting").exists()


def test_a_text_that_has_changed_is_counted_again(mixed: list[Path]) -> None:
    trained(LmConfig(), mixed, Workers(kills_itself, 1))
    Path("a.txt").write_text("g f e\n" * 40)
    assert trained(LmConfig(), mixed, HERE) == trained(LmConfig(), mixed)


# Workers of a Ray; a real one: test_ray.py


@pytest.mark.parametrize("verb", ["lm train text={} arpa={}", "lm count text={} output={}"])
def test_workers_of_a_ray_write_the_same_bytes(
    mixed: list[Path], monkeypatch: pytest.MonkeyPatch, verb: str, capsys: pytest.CaptureFixture
) -> None:
    """The first and the third share are lost, and counted by another worker."""
    names = ",".join(map(str, mixed))
    assert cli.main(verb.format(names, "one").split() + ["threads=1"]) == 0
    given = stand_in(monkeypatch, lambda started: started in (1, 3))
    assert cli.main(verb.format(names, "many").split() + ["launcher=ray", "workers=2"]) == 0
    assert Path("one").read_bytes() == Path("many").read_bytes()
    assert len(given) == 2 and given[1] == 2 < given[0]


def test_a_part_that_kills_workers_is_named(mixed: list[Path], monkeypatch, capsys) -> None:
    def kills(share: Any) -> bool:
        return any(stretch.path == "b.xz" for part in share.opened.values() for stretch in part.stretches)

    stand_in(monkeypatch, kills=kills)
    words = ["lm", "train", f"text={','.join(map(str, mixed[1:3]))}", "arpa=x.arpa", "launcher=ray"]
    assert cli.main(words) == 2
    assert "asr: error: b.xz: each process that read it died" in capsys.readouterr().err
    assert not Path("x.arpa").exists() and Path("x.arpa.counting").exists()


def test_workers_need_the_folder(mixed: list[Path], monkeypatch, capsys) -> None:
    Path("elsewhere").mkdir()
    for path in mixed:
        if not Path("elsewhere", path).exists():
            shutil.copy(path, "elsewhere")
    stand_in(monkeypatch, folder=str(Path("elsewhere").resolve()))
    cwd = Path.cwd()
    assert cli.main(["lm", "train", f"text={','.join(map(str, mixed))}", "arpa=x.arpa", "launcher=ray"]) == 2
    os.chdir(cwd)
    assert "x.arpa.counting is not there; write to a folder that all machines share" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("lm count output=x.counts", "asr lm count needs texts"),
        ("lm count a.txt", "output=FILE is missing"),
        ("lm count e.txt output=x.counts", "no word to estimate"),
        ("lm count a.txt output=a.txt", "is also an input"),
        ("lm count a.txt nowhere.txt output=x.counts threads=2", "cannot read the text nowhere.txt"),
        ("lm count a.txt workers=2 output=x.counts", "add launcher=ray"),
        ("lm train text=a.txt kind=neural launcher=ray", "a neural model is trained here"),
    ],
)
def test_bad_calls(mixed: list[Path], words: str, says: str, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(words.split()) == 2
    assert says in capsys.readouterr().err
    assert not Path("x.counts").exists()
