"""Retraining on transcribed requests: what is trained and tested on, and the candidate that comes of it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from logged import NOW, heard, log_of
from retrained import base_in, log_in, request
from test_neural_lm import model as neural_model

import asr
from asr import manifest, pipeline
from asr.cli import main as cli
from asr.cli import version_verbs
from asr.database import closing
from asr.errors import InputError
from asr.flywheel import retrain
from asr.flywheel.fresh import COPIES, Sets, copied, divide, weights
from asr.flywheel.gate import checked_test
from asr.flywheel.log import DAY_S, RequestLog
from asr.flywheel.request import day_of
from asr.flywheel.versions import Versions
from asr.lm import arpa
from asr.lm.neural import file
from asr.lm.training import train
from asr.manifest import Utterance
from asr.recognizer import bundle
from asr.words import END, UNKNOWN

TRAINING = ["epochs=8", "lr=5e-2", "batch_s=12", "augment=none", "threads=1", "least_requests=20", "test_days=10"]


def days_of(utterances: list[Utterance]) -> set[str]:
    return {day_of(u.extra["answered_at_s"]) for u in utterances}


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(0, 60), st.booleans()), min_size=8, max_size=60), st.integers(1, 30))
def test_the_test_is_later_than_the_training_and_the_slice_is_never_trained_on(
    requests: list[tuple[float, bool]], test_days: int
) -> None:
    given_ = [request(f"asr-{n}", day, in_slice) for n, (day, in_slice) in enumerate(requests)]
    try:
        sets = divide(given_, test_days, 30.0, 1)
    except InputError:
        return
    trained = [*sets.train, *sets.dev]
    assert not any(u.extra["in_slice"] for u in trained) and all(u.extra["in_slice"] for u in sets.test)
    assert max(days_of(trained)) < min(days_of(sets.test)) and len(days_of(sets.test)) <= test_days
    of_slice = [u for u in given_ if u.extra["in_slice"]]
    assert {u.id for u in sets.test} == {u.id for u in of_slice if day_of(u.extra["answered_at_s"]) >= sets.first_day}
    used = {u.extra.get("copy_of", u.id) for u in trained} | {u.id for u in sets.test}
    assert len(given_) == len(used) + sets.counts.total()  # nobody is lost
    assert not {u.extra["copy_of"] for u in sets.train} & {u.id for u in sets.dev}
    assert sets == divide(given_[::-1], test_days, 30.0, 1)


def test_recent_requests_count_more() -> None:
    requests = [request(f"asr-{n}", day) for day in (0, 30, 60) for n in range(1000 * day, 1000 * day + 400)]
    np.testing.assert_allclose(weights(requests, 30.0)[::400], [0.25, 0.5, 1.0])
    found = copied(requests, 30.0)
    by_day = [sum(u.extra["answered_at_s"] == requests[k].extra["answered_at_s"] for u in found) for k in (0, 400, 800)]
    np.testing.assert_allclose(np.array(by_day) / 400, COPIES * np.array([0.25, 0.5, 1.0]), rtol=0.01)
    odd = copied(requests, 40.0)  # a weight that is no whole number of copies is met on average
    oldest = sum(u.extra["answered_at_s"] == requests[0].extra["answered_at_s"] for u in odd)
    assert abs(oldest / 400 - COPIES * 0.5**1.5) < 0.1
    assert len({u.id for u in found}) == len(found) and len(copied(requests, float("inf"))) == COPIES * len(requests)


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([request("asr-1", 0), request("asr-2", 9, in_slice=True)], "1 transcribed requests of its newest 7 days"),
        ([request(f"asr-{n}", 9, True) for n in range(3)], "0 transcribed requests are outside the random slice"),
        ([Utterance("a", "a.wav", text="a")], "utterance 'a' has no answered_at_s and in_slice"),
        ([Utterance("a", "a.wav", text="a", extra={"answered_at_s": 1e300, "in_slice": True})], "has no answered_at_s"),
    ],
)
def test_requests_that_cannot_be_divided_are_refused(requests: list[Utterance], message: str) -> None:
    with pytest.raises(InputError, match=message):
        divide(requests, 7, 30.0, 3)


@pytest.mark.parametrize(
    ("days", "test_days", "remedy"),
    [
        ([8, 8, 9], 7, "3 more are as new as the test: lower flywheel.test_days, or retrain when the log is older"),
        ([9, 9, 9, 9, 9], 7, "5 more are as new as the test: retrain when the log is older"),
        ([9, 9], 1, "2 more are as new as the test: retrain when the log is older"),
        ([0, 9], 1, "1 more is as new as the test: retrain when the log is older"),
        ([9], 7, "transcribe those of `asr flywheel select`"),
    ],
)
def test_a_log_that_is_too_young_is_told_what_helps(days: list[int], test_days: int, remedy: str) -> None:
    of_slice = [request(f"slice-{n}", day, in_slice=True) for n, day in enumerate((6, 7, 9, 9, 9))]
    young = [request(f"asr-{n}", day) for n, day in enumerate(days)]
    with pytest.raises(InputError, match=f"; {remedy}$"):
        divide([*of_slice, *young], test_days, 30.0, 3)
    if "lower" in remedy:
        assert divide([*of_slice, *young], 1, 30.0, 3).train


def test_requests_left_out_are_counted() -> None:
    requests = [request(f"asr-{n}", n, in_slice=n % 2 == 1) for n in range(20)]
    requests += [request("asr-silent", 3, text=None)]
    sets: Sets = divide(requests, 5, 30.0, 1)
    assert (len(sets.test), len(sets.dev), sets.counts.total()) == (3, 1, 1 + 7 + 2)
    told = sets.summary()
    assert "1 without a transcript" in told and "7 of the random slice" in told and "2 as new as the test" in told


def test_entries_of_lists_are_no_free_speech(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the log and of manifests; `mode=word` takes them alone."""
    log = log_of(tmp_path / "log", heard("asr-1"), heard("asr-2", mode="word"), heard("asr-3", mode="web"))
    log.transcribe({f"asr-{n}": "a" for n in (1, 2, 3)}, NOW)
    by_hand = [request("asr-4", 1), replace(request("asr-5", 2), extra={"mode": "word"})]
    manifest.write(tmp_path / "m.jsonl", by_hand)
    for mode, wanted in ((None, ["asr-1", "asr-3", "asr-4"]), ("word", ["asr-2", "asr-4", "asr-5"])):
        cfg = asr.Config(input=[str(tmp_path / "m.jsonl")], out=str(tmp_path))
        cfg.flywheel.mode = mode
        assert sorted(u.id for u in retrain._requests(cfg, log, tmp_path / "logged.jsonl")) == wanted
        assert ("left out: 2 requests of mode word" in capsys.readouterr().out) == (mode is None)
    log.mark_unusable(["asr-1", "asr-3"], NOW)
    manifest.write(tmp_path / "m.jsonl", [by_hand[1], replace(by_hand[1], id="asr-2")])  # one is in the log, too
    cfg = asr.Config(input=[str(tmp_path / "m.jsonl")], out=str(tmp_path))
    with pytest.raises(InputError, match="all 2 requests are of mode word; mode=word retrains"):
        retrain._requests(cfg, log, tmp_path / "logged.jsonl")
    log.close()
    slice = [replace(request(f"asr-{n}", n, True), extra=request("x", n, True).extra | {"mode": m})
             for n, m in enumerate(["dictation", "word"])]  # fmt: skip
    assert checked_test(slice, 1, None) == slice[:1] and checked_test(slice[1:], 1, None) == slice[1:]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("retrain")
    base_in(folder)
    log_in(folder / "log").close()
    return folder


def run(place: Path, verb: str, *words: str) -> int:
    return cli.main(["flywheel", verb, f"versions={place}/versions", *words])


def test_a_recogniser_gets_better_and_is_promoted(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    """From a recogniser of read speech to version 2, stopped once on the way; then back to version 1."""
    assert run(place, "promote", f"{place}/base/static.asr") == 0
    words = ["retrain", f"log={place}/log", f"out={place}/next", *TRAINING]
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "build_graph", lambda cfg: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(place, *words) == 130
    assert "the same command continues where it stopped" in capsys.readouterr().err
    assert run(place, *words) == 0
    out = capsys.readouterr().out
    told = ("already trained", "prepared before", "new words; left out, without a spelling", ": xy\n")
    assert [part for part in told if part not in out] == []
    found, start = bundle.read(place / "next/model.asr"), bundle.read(place / "base/static.asr")
    assert found.tokens == start.tokens and found.cfg.decoder == start.cfg.decoder
    assert found.space and start.space and "abca" in found.space.labels and "abca" not in start.space.labels
    assert run(place, *words, "half_life_days=3") == 2
    assert "was made with another flywheel.half_life_days" in capsys.readouterr().err

    recognizer = asr.load(place / "base/static.asr")  # what it hears is the truth here, and the candidate hears others
    test = manifest.read(place / "next/data/test.jsonl")
    manifest.write(place / "before.jsonl", [replace(u, text=recognizer.transcribe(u.audio).text) for u in test])
    assert run(place, "promote", f"out={place}/next", "least_requests=20", f"regressions={place}/before.jsonl") == 3
    out = capsys.readouterr().out
    assert "not promoted: it loses more than 0.5 points (flywheel.margin); word errors:" in out
    told = json.loads((place / "next/model.decision.json").read_text())
    assert not told["is_promoted"] and told["slice"]["interval"][1] < 0 and told["regressions"][0]["candidate"] > 0
    promotes = ["promote", f"out={place}/next", "least_requests=20"]
    for name in ("_switch", "all"):  # stopped before the switch: the decision of before is still the one that is told
        with monkeypatch.context() as patch:
            patch.setattr(Versions, name, lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
            assert run(place, *promotes) == 130
        assert json.loads((place / "next/model.decision.json").read_text()) == told
        assert "is_promoted" not in (place / "versions/0002/decision.json").read_text()
    with monkeypatch.context() as patch:  # stopped after the switch
        patch.setattr(version_verbs, "_write", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(place, *promotes) == 130
    (place / "next/model.decision.json").write_text('{"is_promoted": true, "why": "of an earlier model of this name"}')
    capsys.readouterr()
    assert run(place, *promotes) == 0
    assert "promoted to version 2 before; its decision was missing" in capsys.readouterr().out
    assert run(place, *promotes) == 2 and "is the current version already" in capsys.readouterr().err
    decision = json.loads((place / "next/model.decision.json").read_text())
    assert decision["is_promoted"] and decision["why"].startswith("word errors:") and "replaces" not in decision
    told = json.loads((place / "versions/current/decision.json").read_text())
    assert "is_promoted" not in told  # which the link tells
    assert told["compared_with"] == told["replaces"] == 1 and told["seen_texts"] > 0.5
    assert (place / "versions/current/model.asr").read_bytes() == (place / "next/model.asr").read_bytes()
    assert (place / "versions/current/lm.arpa").read_bytes() == (place / "next/lm.arpa").read_bytes()
    assert run(place, "promote", f"out={place}/next") == 2
    assert "is the current version already, number 2" in capsys.readouterr().err
    assert run(place, "versions") == 0
    assert [line[:3] for line in capsys.readouterr().out.splitlines()] == ["  1", "* 2"]
    assert run(place, "rollback") == 0
    assert (place / "versions/current/model.asr").read_bytes() == (place / "base/static.asr").read_bytes()


@pytest.mark.parametrize(("part", "kind"), [("acoustic", "static"), ("lm", "dynamic")])
def test_parts_stay_as_they_are(place: Path, part: str, kind: str, capsys: pytest.CaptureFixture, monkeypatch) -> None:
    """From a manifest, without a log. With the language model, the scales and the calibration are made anew."""
    monkeypatch.setattr(retrain, "TUNED_FROM", 100 if part == "acoustic" else 1)
    path, out, init = place / f"{part}.jsonl", place / part, place / f"base/{kind}.asr"
    assert cli.main(["flywheel", "export", f"log={place}/log", f"output={path}", "transcribed=yes"]) == 0
    assert (
        run(place, "retrain", str(path), f"init={init}", f"out={out}", *TRAINING[1:], f"parts={part}", "epochs=1") == 0
    )
    start, found = bundle.read(init), bundle.read(out / "model.asr")
    before, after = (dict(each.model.named_parameters()) for each in (start, found))
    assert all(torch.equal(before[name], after[name]) for name in before) == (part == "lm")
    assert (found.cfg.decoder == start.cfg.decoder) == (part == "acoustic") == (not found.cfg.decoder.calibrated_for)
    assert found.space and start.space and list(found.space.words) == list(start.space.words)
    assert (out / "lm.arpa").exists()  # for the next retraining
    name = "graph.bin" if kind == "static" else "lm.ngram"
    same = (place / f"base/{kind}/{name}").read_bytes() == (out / f"graph/{name}").read_bytes()
    assert same == (part == "acoustic") and "xy" not in capsys.readouterr().out  # the lexicon is left alone


def test_a_graph_comes_back_out_of_its_bundle(place: Path, tmp_path: Path) -> None:
    for kind, names in (("static", ("graph.bin", "words.txt", "lexicon.txt")), ("dynamic", ("tree.bin", "lm.ngram"))):
        bundle.unpack_graph(place / f"base/{kind}.asr", tmp_path)  # over the other one
        assert {path.name for path in tmp_path.iterdir()} == {*names, "tokens.txt", "stats.json"}
        assert all((tmp_path / n).read_bytes() == (place / f"base/{kind}/{n}").read_bytes() for n in names)
        opened = bundle.read(place / f"base/{kind}.asr")
        bundle.write(tmp_path.parent / "again.asr", opened.model, opened.cfg, opened.tokens, tmp_path, opened.card)
        assert (tmp_path.parent / "again.asr").read_bytes() == (place / f"base/{kind}.asr").read_bytes()


def test_a_retraining_that_cannot_be_made_is_refused(place: Path, capsys: pytest.CaptureFixture[str], tmp_path) -> None:
    def error(*words: str) -> str:
        assert run(tmp_path, "retrain", f"out={tmp_path}/next", *words) == 2
        return capsys.readouterr().err

    log = f"log={place}/log"
    log_of(tmp_path / "empty", heard("asr-1")).close()
    assert "has no such request with sound and a transcript" in error(f"log={tmp_path}/empty", *TRAINING)
    assert "no requests are named; name a log" in error(f"init={place}/base/static.asr", "least_requests=20")
    assert "has 30 transcribed requests of its newest 14 days, and a test needs 50" in error(log)
    assert "flywheel.parts has 'ml'; choose among acoustic, lm, lexicon" in error(log, "parts=ml")
    assert "flywheel.parts needs acoustic or lm" in error(log, "parts=lexicon")
    assert "no recogniser to start from is named" in error(log, *TRAINING)
    start = place / "base/static.asr"
    words = [log, f"init={tmp_path}/moved.asr", "parts=lm", "least_requests=20", "test_days=10"]
    opened = bundle.read(start)
    bundle.write(tmp_path / "moved.asr", opened.model, opened.cfg, opened.tokens, None, "card")
    assert "has no graph" in error(*words)
    (tmp_path / "moved.asr").write_bytes(start.read_bytes())
    assert "there is no lm.arpa beside" in error(*words)
    assert "was made with another flywheel.parts" in error(*words, "parts=acoustic")
    (tmp_path / "moved.asr").write_bytes((place / "base/dynamic.asr").read_bytes())
    assert "was made with another init" in error(*words)
    assert len(manifest.read(tmp_path / "next/data/test.jsonl")) == 30 and DAY_S == 86400


def test_the_folder_of_another_run_is_left_alone(place: Path, tmp_path: Path, monkeypatch) -> None:
    """And one whose preparation was stopped is prepared again."""
    cfg = asr.Config(out=str(tmp_path / "run"), init=str(place / "base/static.asr"))
    cfg.flywheel.least_requests, cfg.flywheel.test_days = 20, 10
    for name in retrain.WRITTEN:
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_text("mine")
        with (
            closing(RequestLog.existing(place / "log")) as log,
            pytest.raises(InputError, match=f"has {name}, which no"),
        ):
            retrain.prepare(cfg, log)
        assert (tmp_path / "run" / name).read_text() == "mine"
        (tmp_path / "run" / name).unlink()
    whole = manifest.write
    with monkeypatch.context() as patch:
        patch.setattr(manifest, "write", lambda path, u: whole(path, u) if "dev" not in path.name else 1 / 0)
        with closing(RequestLog.existing(place / "log")) as log, pytest.raises(ZeroDivisionError):
            retrain.prepare(cfg, log)
    assert (tmp_path / "run/data/train.jsonl").exists() and not (tmp_path / "run/data/test.jsonl").exists()
    with closing(RequestLog.existing(place / "log")) as log:
        assert "prepared before" not in retrain.prepare(cfg, log) and "prepared before" in retrain.prepare(cfg, log)


def test_a_language_model_stays_without_words_to_adapt_it_to(tmp_path: Path, capsys) -> None:
    arpa.write(train(["a b c", "b a"], 2), tmp_path / "lm.arpa")
    cfg = asr.Config(out=str(tmp_path / "next"), init=str(tmp_path / "model.asr"))
    some = [request("asr-1", 0)]
    for texts, dev in ((some, []), (some, [request("asr-2", 0, text="")]), ([request("asr-2", 0, text="")], some)):
        retrain._adapt_lm(cfg, texts, dev, None)
        assert arpa.read(cfg.lm.arpa).words == arpa.read(tmp_path / "lm.arpa").words
        assert "the language model stays" in capsys.readouterr().out


def test_a_second_pass_stays_in_the_candidate(place: Path, tmp_path: Path) -> None:
    file.write(tmp_path / "lm.safetensors", neural_model([END, UNKNOWN, "ab", "bc"], layers=1))
    opened = bundle.read(place / "base/dynamic.asr")
    opened.cfg.decoder.rescore = str(tmp_path / "lm.safetensors")
    opened.cfg.decoder.lattice_beam = opened.cfg.decoder.lattice_beam or 5.0
    start = tmp_path / "start.asr"
    bundle.write(start, opened.model, opened.cfg, opened.tokens, place / "base/dynamic", "card")
    words = [f"log={place}/log", f"init={start}", f"base={place}/base/lm.arpa", f"out={tmp_path}/next", *TRAINING[4:]]
    assert run(tmp_path, "retrain", *words, "parts=lm") == 0
    assert (tmp_path / "next/rescore.safetensors").read_bytes() == (tmp_path / "lm.safetensors").read_bytes()
    found = bundle.read(tmp_path / "next/model.asr")
    assert found.cfg.decoder == bundle.read(start).cfg.decoder and found.rescorer
