"""Where recordings are recognised, checked and analysed: the same bytes by any workers, each recording once.

A real Ray: test_ray.py."""

import dataclasses
import json
import pickle
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import noise, write_bundle

from asr import manifest
from asr.bulk_options import BulkConfig
from asr.cli import launchers, ray_workers
from asr.cli import main as cli
from asr.cli.launchers import TRIES, complete
from asr.cli.workers import Attempt, Result
from asr.config import Config
from asr.errors import InputError
from asr.hypothesis import Hypothesis
from asr.manifest import Utterance
from asr.recognizer import long
from asr.recognizer.long import Share

RATE_HZ = 16000
SOUNDS = 12


@pytest.fixture(scope="module")
def asr_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("launchers")
    return write_bundle(folder / "model.asr")


@pytest.fixture
def sounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Recordings in shares of 2 s, and a file that is no sound."""
    monkeypatch.setattr(long, "SHARE_S", 2.0)
    (tmp_path / "sounds").mkdir()
    for number in range(SOUNDS):
        soundfile.write(tmp_path / "sounds" / f"{number}.wav", noise(0.5 + 0.03 * number, number), RATE_HZ)
    (tmp_path / "sounds" / "text.wav").write_text("these are words")
    return tmp_path / "sounds"


# Shares


def opened(durations_s: Sequence[float]) -> list[Share]:
    recognizer = SimpleNamespace(cfg=Config())
    shares, failed = long.shares_of(
        recognizer,  # type: ignore[arg-type]
        [Utterance(str(number), "x.wav", duration_s=seconds) for number, seconds in enumerate(durations_s)],
    )
    assert not failed
    return shares


@settings(max_examples=15)
@given(st.lists(st.floats(0, 2 * long.SHARE_S)))
def test_shares_hold_each_recording_once_and_are_bounded(durations_s: list[float]) -> None:
    shares = opened(durations_s)
    numbers = [number for share in shares for number in share.opened]
    assert sorted(numbers) == list(range(len(durations_s)))
    assert [durations_s[number] for number in numbers] == sorted(durations_s)
    for share in shares:
        assert share.opened.keys() == share.seconds.keys()
        assert len(share.opened) == 1 or share.total_s <= long.SHARE_S + 1e-6


def test_recordings_whose_length_only_reading_tells_are_divided_too() -> None:
    assert [len(share.opened) for share in opened([0.0] * (2 * long.MOST_IN_SHARE + 1))] == [500, 500, 1]


# Workers that die


def results(share: Share) -> list[Result]:
    return [(number, Hypothesis(str(number), "a", [], 0.0, 1.0, True)) for number in share.opened]


@settings(max_examples=15)
@given(st.randoms(use_true_random=False), st.integers(1, 30))
def test_each_recording_has_one_result_whatever_workers_do(draw: random.Random, count: int) -> None:
    """Shares are lost, answered twice, or in part; some recordings kill every worker that hears them."""
    shares = opened([draw.uniform(100, 700) for _ in range(count)])
    killers = set(draw.sample(range(count), draw.randint(0, min(3, count))))
    times: Counter[int] = Counter()

    def attempt(shares: Sequence[Share]) -> Iterator[tuple[int, list[Result]]]:
        for number, share in enumerate(shares):
            times.update(list(share.opened))
            if killers & share.opened.keys():
                continue
            answers = draw.choices(["all", "part"], k=draw.randint(0, 3)) if len(share.opened) > 1 else ["all"]
            for answer in answers:
                yield number, results(share) if answer == "all" else results(share)[:-1]

    found = [result for answers in complete(shares, attempt) for result in answers]
    assert sorted(number for number, _ in found) == list(range(count))
    assert {number for number, result in found if isinstance(result, InputError)} == killers
    assert max(times.values()) <= TRIES + 1


def test_a_recording_that_kills_its_workers_is_named() -> None:
    (found,) = complete(opened([1.0]), lambda shares: [])
    assert "process that read it died" in str(found[0][1])


# The command line, with workers of this process in the place of a Ray


def stand_in(
    monkeypatch: pytest.MonkeyPatch,
    loses: Callable[[int], bool] = lambda started: False,
    kills: Callable[[Share], bool] = lambda share: False,
    folder: str | None = None,
) -> list[int]:
    """Actors answer here, in random order; the shares for whose number of starts `loses` is true are lost, and those
    for which `kills` is true each time.

    Returns how many shares each attempt was given.
    """
    given: list[int] = []

    @contextmanager
    def started(cfg: Config, most: int, opened: Callable[[], ray_workers.Work]) -> Iterator[Attempt]:
        opened = pickle.loads(pickle.dumps(opened))  # as Ray does
        actors = [ray_workers.Actor(opened, folder or str(Path.cwd()), lambda number: 1) for _ in range(2)]
        starts = 0

        def attempt(shares: Sequence[Share]) -> Iterator[tuple[int, list[Result]]]:
            nonlocal starts
            given.append(len(shares))
            for number in random.Random(1).sample(range(len(shares)), len(shares)):
                starts += 1
                if not loses(starts) and not kills(shares[number]):
                    yield from ray_workers.answered(
                        actors[number % 2]({"number": number, "share": pickle.dumps(shares[number])})
                    )

        yield attempt

    monkeypatch.setattr(ray_workers, "started", started)
    monkeypatch.setattr(ray_workers, "connected", lambda cfg: nullcontext())
    monkeypatch.setattr(ray_workers, "check_installed", lambda: None)
    return given


def test_workers_write_the_same_bytes(
    asr_file: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    words = ["transcribe", str(asr_file), str(sounds), "nbest=2"]
    assert cli.main([*words, f"output={tmp_path}/one.jsonl"]) == 2
    said = capsys.readouterr().err
    given = stand_in(monkeypatch, lambda started: started in (1, 3))
    assert cli.main([*words, f"output={tmp_path}/many.jsonl", "launcher=ray", "workers=2"]) == 2
    assert (tmp_path / "many.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()
    assert capsys.readouterr().err == said and "set aside" in said and "text.wav" in said
    assert len(given) == 2 and given[1] == 2 < given[0]


def test_a_run_is_continued_by_workers(
    asr_file: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in the folder is not given to a worker again."""
    words = ["transcribe", str(asr_file), str(sounds), f"output={tmp_path}/out/", "launcher=ray"]

    def interrupt(started: int) -> bool:
        if started == 3:
            raise KeyboardInterrupt
        return False

    stand_in(monkeypatch, interrupt)
    assert cli.main(words) == 130
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert 0 < len(before) < SOUNDS
    stand_in(monkeypatch)
    assert cli.main(words) == 2
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert len(after) == SOUNDS and after == after | before


@pytest.mark.parametrize("folder,says", [("/nowhere/at all", "cannot enter /nowhere"), (None, "has other content")])
def test_a_worker_that_cannot_work_stops_the_run(
    asr_file: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
    folder: str | None, says: str,
) -> None:  # fmt: skip
    stand_in(monkeypatch, folder=folder)
    monkeypatch.setattr(ray_workers, "fingerprint", lambda cfg: "that of another model")
    assert cli.main(["transcribe", str(asr_file), str(sounds), f"output={tmp_path}/x.jsonl", "launcher=ray"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("asr: error: a worker on ") and says in error
    assert not (tmp_path / "x.jsonl").exists()


def test_a_fault_of_a_worker_is_not_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: ray_workers.Actor) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(ray_workers.Actor, "_opened", fail)
    row = ray_workers.Actor(list, ".", lambda number: 1)({"number": 0, "share": b""})  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        list(ray_workers.answered(row))


def test_a_share_is_not_started_without_end() -> None:
    """Ray Data retries a share whose worker died for ever."""
    starts = ray_workers.Starts()
    for _ in range(ray_workers.MOST_STARTS):
        starts.count(7)
    row = ray_workers.Actor(list, ".", starts.count)({"number": 7, "share": b""})  # type: ignore[arg-type]
    assert list(ray_workers.answered(row)) == []


# Utterances: the data check and features


@pytest.fixture
def corpus(sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Manifests in shares of two utterances. One repeats a sound, one is no sound, one has no text."""
    monkeypatch.setattr(launchers, "UTTERANCES", 2)
    monkeypatch.setattr(launchers, "MOST_AT_ONCE", 7)
    said = ["one", "two", None] + ["one two"] * (SOUNDS - 3)
    found = [Utterance(str(n), str(sounds / f"{n}.wav"), text=text, speaker="s") for n, text in enumerate(said)]
    found[5:5] = [Utterance("text", str(sounds / "text.wav"), text="one"), replace(found[1], id="again")]
    manifest.write(tmp_path / "train.jsonl", found)
    manifest.write(tmp_path / "dev.jsonl", [Utterance("dev", str(sounds / "7.wav"), text="two", speaker="s")])
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_check_by_workers_writes_the_same_bytes(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (corpus / "lexicon.txt").write_text("one W AH N\n")
    words = ["data", "check", f"{corpus}/dev.jsonl", f"{corpus}/train.jsonl", "unit=phone"]
    words.append(f"lexicon={corpus}/lexicon.txt")
    made = []
    for more in [], ["launcher=ray", "workers=2"]:
        given = stand_in(monkeypatch, lambda started: started in (1, 3))
        assert cli.main([*words, f"output={corpus}/check", *more]) == 2  # nothing is kept of dev
        made.append((files(corpus / "check"), capsys.readouterr().out))
    assert made[0] == made[1] and len(made[0][0]) == 8
    assert given == [1, 1, 1, 1, 4, 2, 4]  # dev and its fingerprints, lost once each; train, in two parts, lost twice
    report = json.loads(made[0][0]["train.report.json"])
    counts = {"unreadable": 1, "no text": 1, "duplicate": 1, "heard twice": 1, "not in the lexicon": 11}
    assert counts.items() <= report["counts"].items()


def test_a_file_that_kills_the_workers_of_a_check_is_named(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, kills=lambda share: any(u.id == "3" for u, _ in share.opened.values()))
    assert cli.main(["data", "check", f"{corpus}/train.jsonl", f"output={corpus}/check", "launcher=ray"]) == 0
    report = json.loads((corpus / "check/train.report.json").read_text())
    (found,) = [f for f in report["findings"] if f["id"] == "3"]
    assert found["check"] == "unreadable" and "3.wav: each process that read it died" in found["why"]
    assert report["utterances"] == {"total": 14, "kept": 11}


def test_features_by_workers_are_the_same_bytes_and_are_continued(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    words = ["features", f"{corpus}/train.jsonl", f"output={corpus}/made/train.jsonl", "features=mfcc"]
    made = []
    for more in [], ["launcher=ray", "workers=2"]:
        stand_in(monkeypatch, lambda started: started == 2)
        assert cli.main([*words, *more]) == 0
        made.append(files(corpus / "made"))
        said = capsys.readouterr().out
        assert "utterance 'text' set aside" in said
        if not more:
            shutil.rmtree(corpus / "made")
    assert made[0] == made[1] and len([name for name in made[0] if name.endswith(".npy")]) == SOUNDS + 1
    before = {path: path.stat().st_mtime_ns for path in (corpus / "made").rglob("*.npy")}
    next(iter(before)).unlink()
    assert cli.main([*words, "launcher=ray"]) == 0
    changed = [path for path, at in before.items() if path.stat().st_mtime_ns != at]
    assert files(corpus / "made") == made[0] and changed == [next(iter(before))]


def test_features_need_a_folder_that_all_machines_share(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (corpus / "elsewhere").mkdir()
    stand_in(monkeypatch, folder=str(corpus / "elsewhere"))
    monkeypatch.chdir(corpus)
    assert cli.main(["features", "train.jsonl", "output=made/train.jsonl", "launcher=ray"]) == 2
    assert "a worker on" in (error := capsys.readouterr().err) and "made/train is not there" in error


# Options


@pytest.mark.parametrize(
    "words,says",
    [
        (["x.wav", "workers=2"], "bulk.workers=2 is an option of workers of a Ray; add launcher=ray"),
        (["x.wav", "address=auto"], "bulk.address=auto is an option"),
        (["-", "launcher=ray", "rate=16000"], "launcher=ray recognises files"),
    ],
)
def test_options_without_effect_are_refused(
    asr_file: Path, capsys: pytest.CaptureFixture, words: list[str], says: str
) -> None:
    assert cli.main(["transcribe", str(asr_file), *words]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("words", ["transcribe no.asr no.wav", "data check no.jsonl", "features no output=x.jsonl",
                                   "lm count no.txt output=x.counts", "lm train text=no.txt"])  # fmt: skip
def test_a_missing_ray_is_one_sentence(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """It comes before anything is read."""
    monkeypatch.setitem(sys.modules, "ray", None)
    assert cli.main([*words.split(), "launcher=ray"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("asr: error: launcher=ray needs ray: pip install") and error.count("\n") == 1


def test_a_ray_that_does_not_start_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(*_: object, **__: object) -> None:
        raise Exception("The current node timed out during startup.\nMore")  # as Ray 2.60 does

    monkeypatch.setattr(ray_workers, "_ray", lambda: SimpleNamespace(init=init, is_initialized=lambda: False))
    with pytest.raises(
        InputError, match="cannot reach a Ray at head:6379: The current node timed out during startup.; "
    ):
        with ray_workers.started(Config(bulk=BulkConfig(launcher="ray", address="head:6379")), 1, list):  # type: ignore[arg-type]
            pass


def test_a_ray_of_somebody_else_is_not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an address `ray.init` joins one that runs on the machine, and then refuses a number of cores."""
    asked = []

    def init(address: str | None = None, **options: object) -> None:
        asked.append((address, options["num_cpus"]))

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray_workers, "_ray", lambda: SimpleNamespace(init=init))
    ray_workers._connect(Config(threads=2, bulk=BulkConfig(launcher="ray", workers=3)))
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    ray_workers._connect(Config(bulk=BulkConfig(launcher="ray", workers=3)))
    assert asked == [("local", 6), ("head:6379", None)]


def test_a_share_survives_the_way_to_another_process() -> None:
    (share,) = opened([1.0, 2.0])
    assert dataclasses.asdict(pickle.loads(pickle.dumps(share))) == dataclasses.asdict(share)
