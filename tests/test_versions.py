"""The gate before a new version, and the versions themselves: promoted, rolled back, killed in between."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from killed import kill_after
from retrained import request

from asr import fingerprints, manifest
from asr.cli import main as cli
from asr.cli.version_verbs import trained_on
from asr.config import Config
from asr.errors import InputError
from asr.evaluation.comparison import compare
from asr.flywheel import gate
from asr.flywheel.gate import Terms, judge
from asr.flywheel.versions import Versions
from asr.hypothesis import Hypothesis
from asr.manifest import Utterance

TERMS = Terms(least=20, margin=0.05, half_life_days=float("inf"))


@pytest.fixture
def recogniser_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], SimpleNamespace]:
    """A recogniser that answers from a table, "a b" for all others; None: it cannot read the utterance."""

    def decoded(recognizer: SimpleNamespace, utterances: list[Utterance], threads: int) -> list[Hypothesis]:
        texts = {u.id: recognizer.table.get(u.id, "a b") for u in utterances}
        return [Hypothesis(id, text, [], 0.0, 1.0, True) for id, text in texts.items() if text is not None]

    monkeypatch.setattr(gate, "decode_utterances", decoded)
    return lambda table: SimpleNamespace(table=table)


SLICE = [request(f"asr-{n}", n, in_slice=True) for n in range(40)]
OLD = [Utterance(f"old-{n}", f"{n}.wav", text="a b") for n in range(10)]


def wrong(*numbers: int, name: str = "asr", text: str | None = "a c") -> dict[str, str | None]:
    return {f"{name}-{n}": text for n in numbers}


@pytest.mark.parametrize(
    ("candidate", "current", "is_promoted", "why"),
    [
        (wrong(0), wrong(*range(12)), True, "word errors: 1.25% instead of 15.00% on 40 utterances of"),
        ({}, wrong(0), False, "it does not clearly beat the current version; word errors: 0.00% instead of 1.25%"),
        (wrong(*range(12)), wrong(0), False, "it makes more errors than the current version"),
        ({}, {}, False, "it does not clearly beat"),
        (wrong(0, name="old"), wrong(*range(12)), True, "no regression set loses more than 5 points"),
        (wrong(0, 1, name="old"), wrong(*range(12)), False,
         "it loses more than 5 points (flywheel.margin); word errors: 10.00% instead of 0.00% on 10 utterances of old"),
        (wrong(*range(12), text=None), {}, False, "word errors: 30.00% instead of 0.00%"),
    ],
)  # fmt: skip
def test_a_candidate_has_to_be_better_and_nowhere_worse(recogniser_of, candidate, current, is_promoted, why) -> None:
    found = judge(recogniser_of(candidate), recogniser_of(current), SLICE, {"old": OLD}, TERMS)
    assert found.is_promoted == is_promoted and why in found.why
    assert found.seen_texts is None and json.dumps(found.as_dict()) and "of old" in found.table()


def test_equal_errors_of_requests_of_unequal_age_are_not_called_more(recogniser_of) -> None:
    terms = replace(TERMS, half_life_days=1e6)
    found = judge(recogniser_of(wrong(20)), recogniser_of(wrong(3)), SLICE, {}, terms)
    assert found.slice and 0 < found.slice.loss < 1e-5
    assert "it does not clearly beat the current version; word errors: 1.25% instead of 1.25%" in found.why


def test_texts_of_the_training_are_told_apart(recogniser_of) -> None:
    test = [replace(u, text="a c" if n < 10 else "A b") for n, u in enumerate(SLICE)]
    found = judge(recogniser_of({}), recogniser_of(wrong(*range(20))), test, {}, replace(TERMS, lang="en"), OLD)
    assert found.seen_texts == 0.75 and found.slice and found.unseen
    assert (found.unseen.utterances, found.unseen.candidate, found.unseen.current) == (10, 0.5, 0.0)
    assert (found.slice.candidate, found.slice.current) == (10 / 80, 10 / 80)


def test_numbers_are_compared_as_they_are_spoken(recogniser_of) -> None:
    """Transcribers may write digits; recognisers hear words."""
    test = [replace(u, text="a 5", lang="en") for u in SLICE]
    seen = [replace(OLD[0], text="a five", lang="en")]
    right = recogniser_of({u.id: "a five" for u in test})
    found = judge(right, recogniser_of(wrong(*range(40), text="a nine")), test, {"old": test}, TERMS, seen)
    assert found.slice and found.is_promoted and found.slice.candidate == 0 and found.slice.current == 0.5
    assert found.regressions[0].candidate == 0 and found.seen_texts == 1.0


def test_texts_of_another_training_are_not_taken_for_those_of_a_candidate(tmp_path: Path) -> None:
    train = tmp_path / "run/data/train.jsonl"
    manifest.write(train, OLD)
    cfg = Config(out=str(tmp_path / "run"))
    assert cfg.data.train == str(train) and cfg.bundle == str(tmp_path / "run/model.asr")
    assert trained_on(cfg) == manifest.read(train)
    assert trained_on(replace(cfg, bundle=str(tmp_path / "other.asr"))) is None
    with pytest.raises(InputError, match="nowhere.jsonl"):  # it was named
        trained_on(replace(cfg, data=replace(cfg.data, train=str(tmp_path / "nowhere.jsonl"))))


@pytest.mark.parametrize(
    ("test", "trained", "message"),
    [
        (SLICE[:19], None, "has 19 transcribed requests, and a decision needs 20"),
        ([replace(u, text=None) for u in SLICE], None, "has 0 transcribed requests"),
        ([*SLICE, request("asr-x", 3)], None, "utterance 'asr-x' of the test is not of the random slice"),
        ([*SLICE, OLD[0]], None, "utterance 'old-0' has no answered_at_s"),
        (
            SLICE,
            [replace(SLICE[3], id="asr-3~1", extra={"copy_of": "asr-3"})],
            "1 requests of the test were trained on",
        ),
    ],
)
def test_a_test_that_tells_nothing_is_refused(recogniser_of, test, trained, message: str) -> None:
    with pytest.raises(InputError, match=message):
        judge(recogniser_of({}), recogniser_of({}), test, {}, TERMS, trained)


def test_a_test_that_nobody_can_read_is_too_small(recogniser_of) -> None:
    gone = recogniser_of(wrong(*range(25), text=None))
    with pytest.raises(InputError, match="15 of the 40 requests of the test can be read, and a decision needs 20"):
        judge(gone, gone, SLICE, {}, TERMS)


def test_recent_requests_weigh_more(recogniser_of) -> None:
    """The rates are those of a test that has each request as often as its weight says."""
    test = [request(f"asr-{n}", 10 * (n % 3), in_slice=True) for n in range(30)]
    bad = wrong(0, 3, 7)  # two of the oldest third, whose weight is 1/4, and one of the next, of 1/2
    found = judge(recogniser_of(bad), recogniser_of({}), test, {}, replace(TERMS, half_life_days=10)).slice
    assert found and found.candidate == pytest.approx((2 * 0.25 + 0.5) / (2 * (10 * 0.25 + 10 * 0.5 + 10)))


def test_equal_recognisers_are_seldom_promoted() -> None:
    """At most about one in forty, as the interval says: both err at random, independently."""
    rng, promoted = np.random.default_rng(1), 0
    for seed in range(150):
        errors = rng.binomial(4, 0.2, (2, 100))
        promoted += compare(errors, np.full(100, 4), 100, seed).interval[1] < 0
    assert promoted <= 10  # 150 * 0.025 and three standard deviations


def write(folder: Path, name: str) -> tuple[Path, str]:
    path = folder / f"{name}.asr"
    path.write_text(name * 1000)
    digest = fingerprints.digest(path)
    assert digest
    return path, digest


def test_versions_are_promoted_and_rolled_back(tmp_path: Path) -> None:
    versions = Versions(tmp_path / "versions")
    assert versions.current() is None and versions.all() == []
    (tmp_path / "lm.arpa").write_text("lm")
    for name in "abc":
        versions.promote(*write(tmp_path, name), {"why": name}, tmp_path / "lm.arpa" if name == "b" else None)
    assert [(v.number, v.decision["why"], v.decision["replaces"]) for v in versions.all()] == [
        (1, "a", None), (2, "b", 1), (3, "c", 2)
    ]  # fmt: skip
    assert (tmp_path / "versions/current/model.asr").read_text()[0] == "c"
    assert [path.name for path in sorted((tmp_path / "versions").rglob("lm.arpa"))] == ["lm.arpa"]
    assert versions.rollback().number == 2 and versions.rollback().number == 1
    with pytest.raises(InputError, match="version 1 replaced none"):
        versions.rollback()
    assert versions.rollback(3).number == 3 and versions.rollback(1).number == 1
    again = versions.promote(*write(tmp_path, "b"), {"why": "again"})  # no second copy
    assert (again.number, again.decision["why"], again.decision["replaces"]) == (2, "again", 1)
    assert versions.promote(*write(tmp_path, "d"), {}).number == 4
    with pytest.raises(InputError, match="there are: 1, 2, 3, 4"):
        versions.rollback(9)
    (tmp_path / "versions").rename(tmp_path / "moved")
    assert (tmp_path / "moved/current/model.asr").read_text()[0] == "d"


def test_a_bundle_that_changes_meanwhile_is_not_promoted(tmp_path: Path) -> None:
    versions = Versions(tmp_path / "versions")
    path, digest = write(tmp_path, "a")
    path.write_text("other")
    with pytest.raises(InputError, match="has changed while it was judged"):
        versions.promote(path, digest, {})
    assert versions.all() == [] and versions.current() is None


def test_a_candidate_that_was_compared_with_an_earlier_version_is_not_promoted(tmp_path: Path) -> None:
    versions = Versions(tmp_path / "versions")
    for name, compared_with in (("a", None), ("b", 1)):
        versions.promote(*write(tmp_path, name), {"compared_with": compared_with})
    with pytest.raises(InputError, match="version 2 became current while .* was compared with 1; repeat"):
        versions.promote(*write(tmp_path, "c"), {"compared_with": 1})
    assert len(versions.all()) == 2


def test_a_lost_link_is_not_taken_for_a_first_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    versions = Versions(tmp_path / "versions")
    path, digest = write(tmp_path, "a")
    versions.promote(path, digest, {"why": "first"})
    (versions.folder / "current").unlink()
    with pytest.raises(InputError, match="is not a link to a version; `asr flywheel rollback NUMBER` makes it one"):
        versions.promote(path, digest, {})
    (versions.folder / "current").symlink_to("0007")
    with pytest.raises(InputError, match="leads to 0007, which is no version"):
        versions.current()
    assert cli.main(["flywheel", "rollback", "1", f"versions={versions.folder}"]) == 2  # this is no bundle
    assert "is not a bundle" in capsys.readouterr().err and versions.rollback(1).number == 1
    assert cli.main(["flywheel", "versions", f"versions={versions.folder}"]) == 0
    assert (told := capsys.readouterr().out).startswith("* 1  2") and told.endswith("first\n")
    (versions.folder / "0001/decision.json").write_text("{")
    assert cli.main(["flywheel", "versions", f"versions={versions.folder}"]) == 2
    assert "it belongs to version 1, restore it" in capsys.readouterr().err
    assert cli.main(["flywheel", "versions"]) == 2 and cli.main(["flywheel", "rollback", "x"]) == 2


PROMOTES = """
import sys
from pathlib import Path
from asr import fingerprints
from asr.flywheel.versions import Versions
versions, folder = Versions(sys.argv[1]), Path(sys.argv[1]).parent
for number in range(10**6):
    path = folder / f"{number % 7}.asr"
    path.write_text(f"{number} " * 1000)
    versions.promote(path, fingerprints.digest(path), {"number": number})
    print(number, flush=True)
    if number % 3 == 2:
        versions.rollback()
"""


@pytest.mark.parametrize("lines", [1, 4, 6])
def test_a_killed_promotion_leaves_the_old_version_or_the_new(tmp_path: Path, lines: int) -> None:
    told = kill_after(lines, [sys.executable, "-c", PROMOTES, str(tmp_path / "versions")])
    versions = Versions(tmp_path / "versions")
    current = versions.current()
    assert current and current.decision["number"] in (told - 2, told - 1, told)
    assert current.model.read_text() == f"{current.decision['number']} " * 1000
    assert all(version.model.exists() and version.decision for version in versions.all())
    assert versions.promote(*write(tmp_path, "next"), {}).decision["replaces"] == current.number
