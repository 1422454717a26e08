"""The report on a log: figures by day, alarms with a known rate of false ones, error rates."""

import math
import random
from statistics import median

import pytest
from logged import NOW, heard, log_of
from sqlalchemy import true

from asr.cli import main as cli
from asr.flywheel.drift import Alarm, alarms, student_tail, threshold
from asr.flywheel.log import RequestLog
from asr.flywheel.watch import watch


@pytest.mark.parametrize(("degrees", "ratio", "tail"), [  # tables of Student's t
    (1, 12.706, 0.025), (2, 4.303, 0.025), (3, 3.182, 0.025), (10, 1.812, 0.05), (29, 2.462, 0.01), (100, 0.0, 0.5),
])  # fmt: skip
def test_tails_of_student(degrees: int, ratio: float, tail: float) -> None:
    assert student_tail(ratio, degrees) == pytest.approx(tail, rel=3e-3)


def test_the_rate_of_false_alarms_is_the_one_asked_for() -> None:
    """300 months of days on which nothing changes."""
    rng = random.Random(1)
    limit, found = threshold(1.0), 0
    for _ in range(60):
        days = [rng.gauss(5, 3) for _ in range(150)]
        found += len(alarms(days, [0.0] * 150, limit))
    assert abs(found - 300) < 4 * math.sqrt(300)


@pytest.mark.parametrize("correlation", [0.2, 0.3, 0.5])
def test_days_that_resemble_the_day_before_raise_hardly_more_alarms(correlation: float) -> None:
    """250 months of days on which nothing changes; without the correction there are 0.44, 0.56 and 1.03 a month."""
    rng = random.Random(4)
    limit, found, noise = threshold(0.2), 0, 0.0
    for _ in range(50):
        days = []
        for _ in range(150):
            noise = correlation * noise + math.sqrt(1 - correlation**2) * rng.gauss(0, 1)
            days.append(20 + noise)
        found += len(alarms(days, [0.0] * 150, limit))
    assert 0.1 < found / 250 < 0.32


@pytest.mark.parametrize("sign", [1, -1])
def test_a_shift_is_found_soon_and_once(sign: int) -> None:
    rng = random.Random(2)
    delays, begun = [], []
    for _ in range(30):
        days = [rng.gauss(0, 1) + sign * 3 * (day >= 40) for day in range(80)]
        true_ones = [alarm for alarm in alarms(days, [0.0] * 80, threshold(0.01)) if alarm.day >= 40]
        assert true_ones and true_ones[0].is_rise == (sign > 0)
        delays.append(true_ones[0].day - 40)
        begun.append(true_ones[0].since - 40)
    assert sum(delays) / len(delays) < 4 and abs(median(begun)) <= 1


def test_days_that_hardly_vary_are_no_alarm() -> None:
    """The spread is at least that of the requests within a day: a first rejection is no change of the world."""
    days = [0.0] * 20 + [0.01] + [0.0] * 5
    assert alarms(days, [0.01] * 26, threshold(0.2)) == []
    assert alarms([1.0] * 30, [0.0] * 30, threshold(0.2)) == []
    assert alarms([1.0] * 30 + [2.0] * 2, [0.0] * 32, threshold(0.2)) == [Alarm(30, 30, True)]
    assert alarms([], [], 4.0) == []


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> RequestLog:
    """20 days of 8 requests; from the 16th on their sound is soft, and the words are doubtful."""
    made = log_of(tmp_path_factory.mktemp("drift") / "log")
    rng = random.Random(3)
    for day in range(20):
        is_bad = day >= 15
        for number in range(8):
            id = f"asr-{day}-{number}"
            made.slice_rate = float(number == 0)
            made.add(heard(
                id, "one two", min(1.0, rng.gauss(0.5 if is_bad else 0.9, 0.03)), day=day, seconds=0.05,
                level_db=rng.gauss(-45 if is_bad else -20, 2), mode="word" if number == 1 else "dictation",
            ))  # fmt: skip
    made.add(heard("asr-alone", day=21))
    made.transcribe({"asr-1-0": "one two", "asr-2-0": "one too", "asr-3-1": "no"}, NOW)
    return made


def test_figures_and_alarms(log: RequestLog) -> None:
    watched = watch(log, true(), least=5, false_alarms=0.2)
    charts = {chart.title: chart for chart in watched.charts}
    assert len(watched.counts) == 21 and watched.counts["2026-02-23"] == 1
    assert charts["mode word"].values == pytest.approx([1 / 8] * 20)
    assert charts["confidence"].values[0] == pytest.approx(0.9, abs=0.05) and len(charts["confidence"].days) == 20
    first = {title: chart.alarms[0] for title, chart in charts.items() if chart.alarms}
    assert first.keys() == {"confidence", "level in dBFS"}
    assert all(15 <= alarm.day <= 16 and alarm.since == 15 and not alarm.is_rise for alarm in first.values())


def test_a_day_that_is_not_over_is_not_tested(log: RequestLog) -> None:
    whole, unfinished = (watch(log, true(), 5, 0.2, NOW + day * 86400) for day in (20, 15.5))
    assert len(unfinished.charts[0].days) == len(whole.charts[0].days) == 20
    assert {day for day, _, _ in whole.alarmed} >= {"2026-02-17"} and not list(unfinished.alarmed)


def test_the_page(log: RequestLog, capsys) -> None:
    path = log.folder / "page.html"
    assert cli.main(["flywheel", "report", f"log={log.folder}", "day_requests=5", f"output={path}"]) == 0
    told, page = capsys.readouterr().out, path.read_text()
    assert "alarm: 2026-02-18: confidence has fallen, since about 2026-02-17" in told
    assert "161 requests of 21 days -> " in told
    assert "<h2>Alarms</h2><ul><li>" in page and "level in dBFS has fallen" in page
    assert "<td>random slice</td><td>all</td><td>25.00%</td>" in page and "<td>others</td><td>all</td>" in page
    assert "<script" not in page and "http" not in page.replace("http-equiv", "") and page.count("data:image/png") == 1
    assert cli.main(["flywheel", "report", f"log={log.folder}", "until=2026-02-03"]) == 0
    assert "No day has enough requests" in (log.folder / "report.html").read_text()
