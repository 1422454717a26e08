"""`launcher=ray` on a real Ray of this machine: `make ray-test`. Skipped where Ray is not installed."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
from tiny import noise, write_bundle

from asr import manifest
from asr.bulk_options import BulkConfig
from asr.cli import data_verbs, lm_verbs
from asr.cli import transcribe as verb
from asr.config import Config, LmConfig
from asr.errors import InputError
from asr.lm import counting
from asr.manifest import Utterance
from asr.recognizer import long

pytest.importorskip("ray.data", reason="needs the extra `ray`")
import ray  # noqa: E402

RATE_HZ = 16000
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def asr_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ray")
    return write_bundle(folder / "model.asr")


@pytest.fixture(scope="module", autouse=True)
def running() -> Iterator[None]:
    """One Ray for all tests, since starting one takes seconds. On a very busy machine Ray gives up after 30 s."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture
def sounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """40 recordings in shares of 2 s, and a file that is no sound."""
    monkeypatch.setattr(long, "SHARE_S", 2.0)
    for number in range(40):
        (tmp_path / "sounds").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "sounds" / f"{number}.wav", noise(0.5 + 0.01 * number, number), RATE_HZ)
    (tmp_path / "sounds" / "text.wav").write_text("these are words")
    return tmp_path / "sounds"


def workers() -> dict[int, str]:
    """The processes of this test's workers: children of the raylet, which is a child of this process."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes().decode(errors="replace")
            if title.startswith("ray::") and "Actor" in title and _parent(_parent(int(folder.name))) == os.getpid():
                found[int(folder.name)] = title
        except (OSError, ValueError):  # it has ended meanwhile
            continue
    return found


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def when(condition: Callable[[], bool], then: Callable[[], None]) -> threading.Thread:
    def wait() -> None:
        while not condition():
            time.sleep(0.01)
        then()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def transcribe(cfg: Config) -> None:
    """Not by `asr.cli.main`: the configurations that the tests record cannot be sent to another process."""
    with pytest.raises(InputError, match="1 of 41 recordings were set aside; the first: .*text.wav"):
        verb.transcribe(cfg)


def test_a_killed_worker_loses_and_doubles_nothing(
    asr_file: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    killed: list[int] = []
    partial = tmp_path / "ray.jsonl.partial"

    def kill() -> None:
        killed.append(min(workers()))
        os.kill(killed[0], signal.SIGKILL)

    watch = when(lambda: partial.exists() and partial.read_text().count("\n") > 3, kill)
    cfg = Config(bundle=str(asr_file), input=[str(sounds)], output=f"{tmp_path}/ray.jsonl", threads=1,
                 bulk=BulkConfig(launcher="ray", workers=2))  # fmt: skip
    transcribe(cfg)
    watch.join(60)
    assert killed and killed[0] not in workers()
    told = [line for line in capsys.readouterr().err.splitlines() if "of audio" not in line]  # progress, if it is slow
    assert len(told) == 1 and told[0].startswith("set aside ") and "text.wav" in told[0], told
    transcribe(replace(cfg, output=f"{tmp_path}/one.jsonl", bulk=BulkConfig()))
    assert (tmp_path / "ray.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()
    assert (tmp_path / "ray.jsonl").read_text().count("\n") == 40


def test_checks_and_features_by_workers_have_the_same_bytes(sounds: Path, tmp_path: Path) -> None:
    manifest.write(
        tmp_path / "all.jsonl", [Utterance(path.stem, str(path), text="a") for path in sorted(sounds.iterdir())]
    )
    found = []
    for bulk in BulkConfig(launcher="ray", workers=2), BulkConfig():
        cfg = Config(input=[f"{tmp_path}/all.jsonl"], output=f"{tmp_path}/made/x.jsonl", threads=1, bulk=bulk)
        data_verbs.features(cfg)
        data_verbs.data_check(replace(cfg, output=f"{tmp_path}/made"))
        found.append({path.name: path.read_bytes() for path in (tmp_path / "made").rglob("*") if path.is_file()})
        shutil.rmtree(tmp_path / "made")
    assert found[0] == found[1] and sum(name.endswith(".npy") for name in found[0]) == 40
    assert b'"unreadable": 1' in found[0]["all.report.json"]


def test_a_killed_worker_changes_no_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "PART", 1 << 19)
    lines = [f"w{number % 977} w{number % 31} w{number * number % 3001}\n" for number in range(200_000)]
    (tmp_path / "a.txt").write_text("".join(lines))
    killed: list[int] = []

    def kill() -> None:
        killed.append(min(workers()))
        os.kill(killed[0], signal.SIGKILL)

    watch = when(lambda: bool([*tmp_path.glob("ray.arpa.counting/*.counts")]), kill)
    for name, bulk in ("ray", BulkConfig(launcher="ray", workers=2)), ("one", BulkConfig()):
        lm_verbs.lm_train(
            Config(lm=LmConfig([f"{tmp_path}/a.txt"], arpa=f"{tmp_path}/{name}.arpa"), threads=1, bulk=bulk)
        )
    watch.join(60)
    assert killed and killed[0] not in workers()
    assert (tmp_path / "ray.arpa").read_bytes() == (tmp_path / "one.arpa").read_bytes()
    assert not (tmp_path / "ray.arpa.counting").exists()
