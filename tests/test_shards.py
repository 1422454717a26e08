"""A corpus in tar files: what is written, the order of an epoch, and a training from it, broken off and continued."""

import io
import json
import multiprocessing
import os
import re
import sys
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import fsspec
import numpy as np
import pytest
import soundfile
import tones
from ranked import train_ranks
from tiny import noise

from asr import manifest, members
from asr.cli import main as cli
from asr.data.batching import shard_batches
from asr.errors import InputError
from asr.features import audio
from asr.manifest import Utterance
from asr.members import Member, member_of, read, read_ahead
from asr.training.shards import Shards
from asr.training.trainer import Trainer

RATE_HZ = 16000


def corpus(folder: Path, count: int = 12) -> Path:
    """Recordings of several formats, a long one with three utterances, and one that is no sound."""
    found = []
    for number in range(count):
        path = folder / f"sound/{number}.{('wav', 'flac', 'ogg')[number % 3]}"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, noise(0.5 + 0.02 * number, number), RATE_HZ)
        found.append(Utterance(f"u/{number}", str(path), text=f"word {number}" if number else None, speaker="s"))
    soundfile.write(folder / "long.wav", np.stack([noise(3.0, 50), noise(3.0, 51)], 1), 8000)
    found += [Utterance(f"cut.{k}", str(folder / "long.wav"), None, 0.5 * k, 0.5, "", channel=k % 2) for k in (1, 2, 3)]
    (folder / "text.wav").write_text("these are words")
    found.append(Utterance("bad", str(folder / "text.wav"), text="x"))
    manifest.write(folder / "corpus.jsonl", found)
    return folder / "corpus.jsonl"


def heard(u: Utterance, rate_hz: int = RATE_HZ) -> np.ndarray:
    assert u.audio
    return audio.load(u.audio, u.start_s, u.duration_s, rate_hz, channel=u.channel)


@pytest.mark.parametrize("is_remote", [False, True])
def test_shards_hold_what_the_manifest_names(tmp_path: Path, capsys, is_remote: bool) -> None:
    """Sounds, texts and fields, as `tarfile` reads them, and as the toolkit does by the places of the new manifest."""
    source, folder = corpus(tmp_path), tmp_path / "shards"
    place = "memory://shards" if is_remote else str(folder)
    words = ["data", "shard", str(source), f"output={folder}", "tar_mb=0.06", *([f"tars={place}/"] * is_remote)]
    assert cli.main(words) == 0
    told = capsys.readouterr().out
    assert "1 utterances set aside" in told and "bad: " in told and "15 utterances in" in told
    assert json.loads((folder / "set_aside.jsonl").read_text())["id"] == "bad"
    before = {u.id: u for u in manifest.read(source)}
    after = manifest.read(folder / "manifest.jsonl")
    assert {u.id for u in after} == before.keys() - {"bad"} and [u.id for u in after] != list(before)[:-1]
    store = fsspec.filesystem("memory")
    files = {}
    for name in {
        u.audio.split(":", 2 if is_remote else 1)[0 if not is_remote else 1].rpartition("/")[2] for u in after
    }:
        content = store.cat(f"/shards/{name}") if is_remote else (folder / name).read_bytes()
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            files |= {(name, m.offset_data): (m.name, tar.extractfile(m).read()) for m in tar.getmembers()}
    assert len({name for name, _ in files}) > 3
    texts = {content.decode() for name, content in files.values() if name.endswith(".txt")}
    assert texts == {u.text for u in after if u.text is not None}
    lines = {
        line["id"]: line for name, content in files.values() if name[-5:] == ".json" for line in [json.loads(content)]
    }
    for u in after:
        old, place_of = before[u.id], member_of(u.audio)
        assert place_of and files[Path(place_of.file).name, place_of.offset][1] == read(place_of)
        assert (u.text, u.speaker) == (old.text, old.speaker) == (lines[u.id].get("text"), lines[u.id].get("speaker"))
        rate_hz = 8000 if u.id.startswith("cut") else RATE_HZ
        assert (heard(u, rate_hz) == heard(old, rate_hz)).all() and u.duration_s == pytest.approx(
            len(heard(old)) / RATE_HZ
        )
    if is_remote:
        store.rm("/shards", recursive=True)
        return
    first = (folder / "shard-00000.tar").read_bytes()
    assert cli.main([*words, "tar_mb=1000"]) == 0  # of the shards of before none stays
    assert [path.name for path in folder.glob("*.tar")] == ["shard-00000.tar"]
    assert cli.main([*words]) == 0 and (folder / "shard-00000.tar").read_bytes() == first


def test_the_channel_that_was_packed_is_the_one_that_is_heard(tmp_path: Path) -> None:
    """Whatever `data.channel` is later; a channel that is not there is not packed."""
    for name, channels in (("whole", 2), ("long", 2), ("mono", 1)):
        soundfile.write(tmp_path / f"{name}.wav", np.stack([noise(1.0, c) for c in range(channels)], 1), RATE_HZ)
    found = [Utterance(name, str(tmp_path / f"{name}.wav"), text="x") for name in ("whole", "mono")]
    found += [Utterance(f"cut{k}", str(tmp_path / "long.wav"), None, 0.5 * k, 0.5, "x", channel=c)
              for k, c in enumerate((None, 0))]  # fmt: skip
    manifest.write(tmp_path / "m.jsonl", found)
    assert cli.main(["data", "shard", f"{tmp_path}/m.jsonl", f"output={tmp_path}/s", "data.channel=1"]) == 0
    after = manifest.read(tmp_path / "s/manifest.jsonl")
    assert sorted(u.id for u in after) == ["cut0", "cut1", "whole"]
    assert "no channel 1" in (tmp_path / "s/set_aside.jsonl").read_text()
    for u in after:
        old = {o.id: replace(o, channel=1 if o.channel is None else o.channel) for o in found}[u.id]
        assert u.channel is not None and (heard(u) == heard(old)).all()


def test_shards_are_no_larger_than_they_may_be_and_keep_their_endings(tmp_path: Path) -> None:
    """Texts, fields and headers count. Also if they are packed again; but not over themselves."""
    found = []
    for number in range(60):
        soundfile.write(tmp_path / f"{number}.WAV", noise(0.01, number), RATE_HZ)
        found.append(
            Utterance(f"{number}", str(tmp_path / f"{number}.WAV"), text="said " * 100, extra={"note": "n" * 700})
        )
    manifest.write(tmp_path / "m.jsonl", found)
    for source, folder in (("m.jsonl", "s"), ("s/manifest.jsonl", "again")):
        words = ["data", "shard", f"{tmp_path}/{source}", f"output={tmp_path}/{folder}", "tar_mb=0.05"]
        assert cli.main(words) == 0
        sizes = [path.stat().st_size for path in (tmp_path / folder).glob("*.tar")]
        assert max(sizes) <= 50_000 and len(sizes) <= 7  # 60 of 5,120 bytes, and an end of 10,240 at most
        for path in (tmp_path / folder).glob("*.tar"):
            with tarfile.open(path) as tar:
                assert {name[9:] for name in tar.getnames()} == {".wav", ".json", ".txt"}
    (tmp_path / "m.jsonl").write_bytes((tmp_path / "s/manifest.jsonl").read_bytes().replace(b"shard-", b"s/shard-"))
    before = {path: path.read_bytes() for path in (tmp_path / "s").iterdir()}
    assert cli.main(["data", "shard", f"{tmp_path}/m.jsonl", f"output={tmp_path}/s", "tar_mb=0.03"]) == 2
    assert {path: path.read_bytes() for path in (tmp_path / "s").iterdir()} == before


@pytest.mark.parametrize("is_remote", [False, True])
def test_tar_files_of_another_corpus_are_not_replaced(tmp_path: Path, capsys, is_remote: bool) -> None:
    """Those of an interrupted call are; and of those of before, none stays."""
    place = "memory://shards" if is_remote else str(tmp_path / "tars")
    store = fsspec.filesystem("memory") if is_remote else fsspec.filesystem("file")
    words = ["data", "shard", str(corpus(tmp_path)), f"tars={place}", "tar_mb=0.06"]
    assert cli.main([*words, f"output={tmp_path}/one"]) == 0
    before = {name: store.cat(name) for name in store.find(place)}
    assert len(before) > 3
    assert cli.main([*words, f"output={tmp_path}/two", "seed=2"]) == 2
    assert "such as shard-00000.tar; set tars= to another folder" in capsys.readouterr().err
    assert {name: store.cat(name) for name in store.find(place)} == before
    (tmp_path / "one/manifest.jsonl").unlink()  # of one that was killed
    assert cli.main([*words, f"output={tmp_path}/one", "seed=2", "tar_mb=1"]) == 0
    assert len(store.find(place)) == 1
    places = [member_of(u.audio) for u in manifest.read(tmp_path / "one/manifest.jsonl")]
    with read_ahead():
        alone = [read(place) for place in places]
    assert cli.main([*words, f"output={tmp_path}/one", "seed=3", "tar_mb=1"]) == 0  # written again: no block is left
    with read_ahead():
        again = [read(member_of(u.audio)) for u in manifest.read(tmp_path / "one/manifest.jsonl")]
    assert sorted(again) == sorted(alone) and again != alone
    store.rm(place, recursive=True)


def test_a_member_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert cli.main(["data", "shard", str(corpus(tmp_path)), f"output={tmp_path}/s"]) == 0
    (first, *_, last) = manifest.read(tmp_path / "s/manifest.jsonl")
    path, member = tmp_path / "s/shard-00000.tar", member_of(first.audio)
    with pytest.raises(
        InputError, match=f"has no member of {member.size} bytes at {member.offset + 512}: it is damaged"
    ):
        read(member._replace(offset=member.offset + 512))
    content = bytearray(path.read_bytes())
    content[member.offset : member.offset + 4] = b"xxxx"
    path.write_bytes(content[: member_of(last.audio).offset + 10])
    with pytest.raises(InputError, match=f"{member} is not audio"):
        audio.load(first.audio)
    with pytest.raises(InputError, match="shard-00000.tar ends within the member at"), read_ahead():
        audio.load(last.audio)
    path.unlink()
    members.forget()
    with pytest.raises(InputError, match="cannot read .*shard-00000.tar: No such file"):
        audio.load(first.audio)


def test_blocks_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within `read_ahead`, in any order; each member is the same as read alone."""
    assert cli.main(["data", "shard", str(corpus(tmp_path)), f"output={tmp_path}/s"]) == 0
    places = [member_of(u.audio) for u in manifest.read(tmp_path / "s/manifest.jsonl")]
    alone = [read(place) for place in places]
    asked: Counter[int] = Counter()
    in_part = members._range
    monkeypatch.setattr(members, "BLOCK", 4096)
    monkeypatch.setattr(members, "_range", lambda file, start, end: asked.update([start]) or in_part(file, start, end))
    members.forget()
    with read_ahead():
        assert [read(place) for place in reversed(places)] == alone[::-1]
    assert max(asked.values()) == 1 and len(asked) > 20
    members.forget()


def test_threads_share_the_block_that_one_of_them_asks_for(tmp_path: Path, monkeypatch) -> None:
    """Also if it cannot be read: each of them says so, and the next reader asks again."""
    asked: list[int] = []
    together = threading.Barrier(4)

    def slow(file: str, start: int, end: int) -> bytes:
        asked.append(start)
        time.sleep(0.05)
        if len(asked) == 1:
            raise InputError("broken off")
        return whole(file, start, end)

    def reads(member: Member) -> bytes | str:
        together.wait()
        try:
            return read(member)
        except InputError as e:
            return str(e)

    tones.write(tmp_path, "files", 2)
    assert cli.main(["data", "shard", f"{tmp_path}/files.jsonl", f"output={tmp_path}/s"]) == 0
    first = member_of(next(iter(manifest.read(tmp_path / "s/manifest.jsonl"))).audio or "")
    assert first
    content, whole = read(first), members._range
    monkeypatch.setattr(members, "_range", slow)
    members.forget()
    with read_ahead(), ThreadPoolExecutor(4) as pool:
        assert list(pool.map(reads, [first] * 4)) == ["broken off"] * 4
        assert list(pool.map(reads, [first] * 4)) == [content] * 4
    assert len(asked) == 2


def test_a_forked_process_does_not_wait_for_a_thread_of_the_other_one(tmp_path: Path, monkeypatch) -> None:
    """It is forked while a thread reads a block, which that process reads, too."""
    tones.write(tmp_path, "files", 2)
    assert cli.main(["data", "shard", f"{tmp_path}/files.jsonl", f"output={tmp_path}/s"]) == 0
    first = member_of(next(iter(manifest.read(tmp_path / "s/manifest.jsonl"))).audio or "")
    assert first
    content, whole, here = read(first), members._range, os.getpid()
    began, may_end = threading.Event(), threading.Event()

    def slow(file: str, start: int, end: int) -> bytes:
        if os.getpid() == here:
            began.set()
            may_end.wait()
        return whole(file, start, end)

    monkeypatch.setattr(members, "_range", slow)
    members.forget()
    with read_ahead(), ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read, first)
        began.wait()
        process = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(read(first) != content))
        process.start()
        process.join(20)
        process.kill()
        may_end.set()
        assert reading.result() == content
    process.join()
    assert process.exitcode == 0
    members.forget()


@pytest.mark.parametrize("verb", ["features", "data check"])
def test_other_verbs_read_blocks_and_find_what_is_in_files(tmp_path: Path, monkeypatch, verb: str) -> None:
    tones.write(tmp_path, "files", 12)
    words = [*verb.split(), "features.num_bins=20"] + (["threads=1"] if verb == "features" else [])
    assert cli.main(["data", "shard", f"{tmp_path}/files.jsonl", f"output={tmp_path}/s", "tar_mb=0.1"]) == 0
    asked: Counter[tuple[str, int]] = Counter()
    whole = members._range
    monkeypatch.setattr(
        members, "_range", lambda file, start, end: asked.update([(file, start)]) or whole(file, start, end)
    )
    members.forget()
    found = []
    for source, name in ((tmp_path / "files.jsonl", "of_files"), (tmp_path / "s/manifest.jsonl", "of_tars")):
        output = tmp_path / f"{name}.jsonl" if verb == "features" else tmp_path / name
        assert cli.main([*words, str(source), f"output={output}"]) == 0
        if verb == "features":
            found.append({u.id: np.load(u.features).tolist() for u in manifest.read(output)})
        else:
            (clean,) = output.glob("*.clean.jsonl")
            found.append({u.id: u.duration_s for u in manifest.read(clean)})
    assert found[0] == found[1] and len(found[0]) == 12
    assert len(asked) == len(list((tmp_path / "s").glob("*.tar"))) > 2 and max(asked.values()) == 1


@pytest.mark.parametrize(("parts", "files"), [(1, 1), (2, 8), (3, 3), (3, 2)])
def test_an_epoch_takes_each_utterance_once_and_each_part_its_own_shards(parts: int, files: int) -> None:
    rng = np.random.default_rng(1)
    durations_s = rng.uniform(1, 15, 480).tolist()
    places = [Member(f"{k % files}.tar", 512 * k, 1000) for k in range(480)]
    in_window = 40 // parts
    first, again, other = (
        shard_batches(durations_s, places, 90.0, 1, epoch, parts, window=1000 * in_window * parts)
        for epoch in (0, 0, 1)
    )
    assert first == again != other
    for batches in (first, other):
        assert sorted(i for batch in batches for i in batch) == list(range(480))
        assert all(len(batch) * max(durations_s[i] for i in batch) <= 90 for batch in batches)
        own = [[i for batch in batches for i in batch[part::parts]] for part in range(parts)]
        if files >= parts:
            assert len({(places[i].file, part) for part in range(parts) for i in own[part]}) == files
        for numbers in own:  # a shard is read once, from the beginning to the end, but for the windows
            for file in {places[i].file for i in numbers} if files >= parts else ():
                at = [k for k, i in enumerate(numbers) if places[i].file == file]
                assert at[-1] - at[0] < len(at) + 2 * in_window
                order = [numbers[k] for k in at]
                assert all(abs(sorted(order).index(i) - k) < 2 * in_window for k, i in enumerate(order))
                assert order != sorted(order)
    padding = sum(len(b) * max(durations_s[i] for i in b) for b in first) / sum(durations_s)
    assert padding < 1.4  # batches of like lengths; of 10 drawn at random the longest is 1.7 times the mean


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tones in 9 shards, one member of which is damaged."""
    folder = tmp_path_factory.mktemp("shards")
    tones.write(folder, "train", 36)
    tones.write(folder, "dev", 3, seed=1)
    assert cli.main(["data", "shard", f"{folder}/train.jsonl", f"output={folder}/shards", "tar_mb=0.093"]) == 0
    (folder / "train.jsonl").unlink()
    (bad,) = [u for u in manifest.read(folder / "shards/manifest.jsonl") if u.id == "train7"]
    with open(member_of(bad.audio).file, "r+b") as file:
        file.seek(member_of(bad.audio).offset)
        file.write(b"no sound")
    assert len(list((folder / "shards").glob("*.tar"))) == 9
    return folder


def words(place: Path, out: str) -> list[str]:
    data = [f"out={place}/{out}", f"data.train={place}/shards/manifest.jsonl", f"data.dev={place}/dev.jsonl"]
    return [*data, *OPTIONS.split()]


OPTIONS = "threads=1 features.num_bins=20 model=fc model.hidden=16 model.layers=1 optim.batch_s=4 optim.epochs=2 "
OPTIONS += "optim.checkpoint_steps=1 optim.shards=2 data.cache=false augment=none features.cmvn=utterance"


def note_reads(folder: str, rank: int) -> None:
    """Writes which shards a rank reads, a line per pass over a set."""
    range_of, run = members._range, Shards.run

    def noted(file: str, start: int, end: int) -> bytes:
        with open(f"{folder}/read{rank}", "a") as notes:
            notes.write(f" {Path(file).name}")
        return range_of(file, start, end)

    def in_a_line(self: Shards, *given: object) -> Iterator:
        members.forget()
        with open(f"{folder}/read{rank}", "a") as notes:
            notes.write("\n")
        return run(self, *given)

    members._range, Shards.run = noted, in_a_line


def test_a_training_from_shards_is_continued_to_the_same_bits_in_any_number_of_processes(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The damaged member is named and set aside. Each process reads shards of its own."""
    assert cli.main(["train", *words(place, "whole")]) == 0
    told = capsys.readouterr().out
    assert re.search(r"set aside utterance 'train7': .*/shards/shard-0000\d.tar:\d+:\d+ ", told)
    taken, take = [], Trainer.take_step
    monkeypatch.setattr(Trainer, "take_step", lambda self: taken.append(stop_at(5, len(taken))) or take(self))
    assert cli.main(["train", *words(place, "stopped")]) == 130
    monkeypatch.undo()
    assert cli.main(["train", *words(place, "stopped")]) == 0 and "resuming" in capsys.readouterr().out
    found = train_ranks(2, place, words(place, "ranks"), partial(note_reads, str(place)))
    assert [code for code, _ in found] == [0, 0], found
    nets = [(place / out / "train/final.safetensors").read_bytes() for out in ("whole", "stopped", "ranks")]
    assert nets[0] == nets[1] == nets[2]
    read = [[line.split() for line in (place / f"read{rank}").read_text().splitlines() if line] for rank in (0, 1)]
    assert len(read[0]) == len(read[1]) == 2  # epochs; the dev set is in files
    for first, second in zip(*read, strict=True):
        assert len({*first, *second}) == 9 and len({*first} & {*second}) <= 1  # the rest of the last


def stop_at(step: int, now: int) -> None:
    if now == step:
        raise KeyboardInterrupt
