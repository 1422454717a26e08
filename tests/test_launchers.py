"""Where `asr transcribe` recognises: the same bits by any workers, each recording once. A real Ray: test_ray.py."""

import dataclasses
import pickle
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TOKENS, config, graph_dir, model, noise

from asr.bulk_options import BulkConfig
from asr.cli import main as cli
from asr.cli import ray_workers
from asr.cli.launchers import TRIES, complete
from asr.cli.transcripts import fingerprint
from asr.cli.workers import Attempt, Result
from asr.config import Config
from asr.errors import InputError
from asr.hypothesis import Hypothesis
from asr.manifest import Utterance
from asr.recognizer import bundle, long
from asr.recognizer.long import Share

RATE_HZ = 16000
SOUNDS = 12


@pytest.fixture(scope="module")
def asr_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("launchers")
    cfg = config()
    bundle.write(folder / "model.asr", model(cfg), cfg, TOKENS, graph_dir(folder / "graph"), "# tiny")
    return folder / "model.asr"


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
    assert "process that recognised it died" in str(found[0][1])


# The command line, with workers of this process in the place of a Ray


def stand_in(
    monkeypatch: pytest.MonkeyPatch, loses: Callable[[int], bool] = lambda started: False, **changed: str
) -> list[int]:
    """Actors answer here, in random order; the shares for whose number of starts `loses` is true are lost.

    Returns how many shares each attempt was given.
    """
    given: list[int] = []

    @contextmanager
    def started(cfg: Config, most: int) -> Iterator[Attempt]:
        wanted = {"folder": str(Path.cwd()), "wanted": fingerprint(cfg)} | changed
        actors = [ray_workers.Actor(cfg, **wanted, count=lambda number: 1) for _ in range(2)]
        starts = 0

        def attempt(shares: Sequence[Share]) -> Iterator[tuple[int, list[Result]]]:
            nonlocal starts
            given.append(len(shares))
            for number in random.Random(1).sample(range(len(shares)), len(shares)):
                starts += 1
                if not loses(starts):
                    yield from ray_workers.answered(
                        actors[number % 2]({"number": number, "share": pickle.dumps(shares[number])})
                    )

        yield attempt

    monkeypatch.setattr(ray_workers, "started", started)
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


@pytest.mark.parametrize(
    "changed,says", [({"folder": "/nowhere/at all"}, "cannot enter /nowhere"), ({"wanted": "x"}, "has other content")]
)
def test_a_worker_that_cannot_work_stops_the_run(
    asr_file: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
    changed: dict[str, str], says: str,
) -> None:  # fmt: skip
    stand_in(monkeypatch, **changed)
    assert cli.main(["transcribe", str(asr_file), str(sounds), f"output={tmp_path}/x.jsonl", "launcher=ray"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("asr: error: a worker on ") and says in error
    assert not (tmp_path / "x.jsonl").exists()


def test_a_fault_of_a_worker_is_not_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: ray_workers.Actor) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(ray_workers.Actor, "_opened", fail)
    row = ray_workers.Actor(Config(), ".", "", lambda number: 1)({"number": 0, "share": b""})
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        list(ray_workers.answered(row))


def test_a_share_is_not_started_without_end() -> None:
    """Ray Data retries a share whose worker died for ever."""
    starts = ray_workers.Starts()
    for _ in range(ray_workers.MOST_STARTS):
        starts.count(7)
    row = ray_workers.Actor(Config(), ".", "", starts.count)({"number": 7, "share": b""})
    assert list(ray_workers.answered(row)) == []


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


def test_a_missing_ray_is_one_sentence(
    asr_file: Path, sounds: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert cli.main(["transcribe", str(asr_file), str(sounds / "1.wav"), "launcher=ray"]) == 2
    assert "asr: error: launcher=ray needs ray: pip install" in capsys.readouterr().err


def test_a_ray_that_does_not_start_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(*_: object, **__: object) -> None:
        raise Exception("The current node timed out during startup.\nMore")  # as Ray 2.60 does

    monkeypatch.setattr(ray_workers, "_ray", lambda: SimpleNamespace(init=init, is_initialized=lambda: False))
    with pytest.raises(
        InputError, match="cannot reach a Ray at head:6379: The current node timed out during startup.; "
    ):
        with ray_workers.started(Config(bulk=BulkConfig(launcher="ray", address="head:6379")), 1):
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
