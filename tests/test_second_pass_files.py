"""The second pass in bundles, run folders and retrainings, and its tuning on a dev set."""

import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import rescored
from rescored import with_second
from test_bundle import rewritten
from tiny import TOKENS, config, noise

import asr
from asr import pipeline
from asr.cli import earlier
from asr.cli.overrides import compose
from asr.cli.transcripts import fingerprint
from asr.config import Config, DecoderConfig
from asr.errors import InputError
from asr.evaluation.score import Counts, error_counts
from asr.evaluation.tune import Point, Tuning
from asr.evaluation.tune_second_pass import PENALTIES, SHARES, Rescoring, SecondPoint, tune_second_pass
from asr.flywheel import retrain
from asr.recognizer import bundle, run_folder
from asr.search.confidence import _warn_once, search_of
from asr.search.second_pass import resolved

folder, recognizer = rescored.folder, rescored.recognizer  # fixtures


def test_a_word_list_in_a_run_folder_whose_second_pass_was_tuned(recognizer, folder, tmp_path, monkeypatch):
    (tmp_path / "list.txt").write_text("a b\nb\n")
    monkeypatch.setattr(run_folder, "as_trained", lambda cfg, encoder: replace(cfg))
    monkeypatch.setattr(run_folder, "load_model", lambda cfg: (recognizer.model, TOKENS))
    cfg = replace(config(), lm=Config().lm)
    cfg.decoder = replace(cfg.decoder, rescore=str(folder / "lm.safetensors"))
    cfg.graph = replace(cfg.graph, kind="word", words=str(tmp_path / "list.txt"), lexicon=None)
    assert pipeline.open_recognizer(cfg).transcribe(noise(0.5), 16000).text in ("a b", "b", "")


def test_a_calibration_belongs_to_its_second_pass():
    one = DecoderConfig(rescore="x", rescore_share=0.3)
    assert search_of(one) != search_of(DecoderConfig()) and search_of(one) != search_of(replace(one, rescore_share=0.4))
    assert search_of(one) == search_of(replace(one, rescore="bundled"))  # the place of the file does not matter


@pytest.mark.parametrize("name", ["lm.safetensors", "lm.trie"])
def test_a_bundle_holds_its_language_model(recognizer, folder, tmp_path, name):
    second = with_second(recognizer, folder, rescore=str(folder / name))
    path = tmp_path / "model.asr"
    bundle.write(path, second.model, second.cfg, TOKENS, folder / "graph", "")
    opened, x = asr.load(path), noise(1.0, 2)
    assert opened.cfg.decoder.rescore == "bundled" and str(folder) not in path.read_bytes().decode("latin-1")
    assert opened.transcribe(x, 16000) == second.transcribe(x, 16000)
    assert opened.with_list(["a b"]).transcribe(x, 16000).text in ("a b", "")
    assert asr.load(path, rescore=None).transcribe(x, 16000).text == recognizer.transcribe(x, 16000).text
    assert asr.load(path, rescore="bundled", rescore_share=0.0).transcribe(x, 16000)
    other = asr.load(path, rescore=str(folder / "lm.arpa"))
    assert other.rescorer.source.endswith("arpa")
    with pytest.raises(InputError, match="which alone a bundle can hold"):
        bundle.write(tmp_path / "m.asr", other.model, other.cfg, TOKENS, folder / "graph", "")
    with pytest.raises(InputError, match="this bundle gets none"):
        bundle.write(tmp_path / "m.asr", second.model, second.cfg, TOKENS, None, "")
    gone = replace(second.cfg, decoder=replace(second.cfg.decoder, rescore=str(tmp_path / "gone.trie")))
    with pytest.raises(InputError, match=r"gone\.trie does not exist; check the path"):
        bundle.write(tmp_path / "m.asr", second.model, gone, TOKENS, folder / "graph", "")
    assert not (tmp_path / "m.asr").exists()


def test_a_bundle_that_could_not_be_opened_is_not_written(recognizer, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "MAX_BYTES", 2 * bundle.MAX_SMALL_BYTES)
    (tmp_path / "big.trie").write_bytes((folder / "lm.trie").read_bytes() + bytes(bundle.MAX_SMALL_BYTES))
    second = with_second(recognizer, folder, rescore=str(folder / "lm.trie"))
    cfg = replace(second.cfg, decoder=replace(second.cfg.decoder, rescore=str(tmp_path / "big.trie")))
    with pytest.raises(InputError, match="more than can be opened"):
        bundle.write(tmp_path / "model.asr", second.model, cfg, TOKENS, folder / "graph", "")
    assert not (tmp_path / "model.asr").exists()


@pytest.mark.parametrize("name", ["safetensors", "trie"])
def test_a_bundle_of_an_earlier_version_keeps_how_it_ranks(recognizer, folder, tmp_path, name):
    """rescore_order was a whole number, 0 by default, and before that there was none."""
    second = with_second(recognizer, folder, rescore=str(folder / f"lm.{name}"))
    bundle.write(tmp_path / "new.asr", second.model, second.cfg, TOKENS, folder / "graph", "")
    with zipfile.ZipFile(tmp_path / "new.asr") as archive:
        data, model = json.loads(archive.read("config.json")), archive.read(f"rescore.{name}")
    for order in (0, 3, None):
        data["decoder"].pop("rescore_order")
        old = {**data, "decoder": data["decoder"] | ({} if order is None else {"rescore_order": order})}
        data["decoder"]["rescore_order"] = order
        changes = {"config.json": json.dumps(old).encode(), f"rescore.{name}": model}
        opened = asr.load(rewritten(tmp_path / "new.asr", tmp_path / "old.asr", changes))
        assert opened.cfg.decoder.rescore_order == order
        assert bool(opened.searcher.second.paths) == (name == "trie" if order is None else order > 0)


def test_a_calibration_holds_for_other_names_of_the_same_second_pass(recognizer, folder, caplog):
    """A neural model ranks readings by default, as with the order 0; for an n-gram model all other orders are one."""

    def calibrated(name, order):
        found = with_second(recognizer, folder, rescore=str(folder / name), rescore_order=order)
        return search_of(resolved(found.cfg.decoder, found.rescorer.scorer, found.space))

    for name, before, now, is_same in [
        ("lm.safetensors", 0, None, True), ("lm.safetensors", None, 0, True), ("lm.safetensors", None, 3, False),
        ("lm.trie", None, 3, True), ("lm.trie", 2, None, True), ("lm.trie", 0, None, False),
    ]:  # fmt: skip
        caplog.clear()
        _warn_once.cache_clear()
        options = {"rescore": str(folder / name), "rescore_order": now, "calibrated_for": calibrated(name, before)}
        with_second(recognizer, folder, **options)
        assert ("calibrated with" in caplog.text) != is_same, (name, before, now)


def test_a_bundle_cannot_name_a_language_model_outside(recognizer, folder, tmp_path):
    """The command line passes on the options in a bundle: a name would be opened, or downloaded."""
    second = with_second(recognizer, folder)
    bundle.write(tmp_path / "model.asr", second.model, second.cfg, TOKENS, folder / "graph", "")
    with zipfile.ZipFile(tmp_path / "model.asr") as archive:
        data = json.loads(archive.read("config.json"))
    data["decoder"]["rescore"] = str(folder / "lm.arpa")
    rewritten(tmp_path / "model.asr", tmp_path / "other.asr", {"config.json": json.dumps(data).encode()})
    with pytest.raises(InputError, match="disagree about decoder.rescore"):
        asr.load(tmp_path / "other.asr")


@pytest.mark.parametrize("name", ["lm.safetensors", "lm.trie"])
def test_retraining_keeps_the_second_pass(recognizer, folder, tmp_path, name):
    second = with_second(recognizer, folder, rescore=str(folder / name))
    bundle.write(tmp_path / "model.asr", second.model, second.cfg, TOKENS, folder / "graph", "")
    start = bundle.read(tmp_path / "model.asr")
    cfg = retrain._continued(Config(out=str(tmp_path / "next"), init=str(tmp_path / "model.asr")), start, None)
    run_folder.write_imported(cfg.out, start)
    bundle.unpack_graph(tmp_path / "model.asr", cfg.graph.dir)
    found = bundle.read(pipeline.bundle(cfg))
    assert found.cfg.decoder == start.cfg.decoder and found.rescorer
    assert found.rescorer.scorer.costs(["a b"]) == start.rescorer.scorer.costs(["a b"])


def test_results_of_another_language_model_are_not_mixed_in(folder, tmp_path):
    """Neither with those of an interrupted `asr transcribe`, nor with those of workers that have another file."""
    (tmp_path / "gpt2").mkdir()
    for path in (tmp_path / "lm.arpa", tmp_path / "gpt2" / "model.safetensors"):
        path.write_text("one")
        cfg = Config(bundle=str(folder / "lm.arpa"))
        cfg.decoder.rescore = str(path if path.suffix == ".arpa" else path.parent)
        before = fingerprint(cfg)
        assert fingerprint(cfg) == before
        path.write_text("another")
        assert fingerprint(cfg) != before


def test_tuning_finds_the_best_share_and_penalty(recognizer, folder, tmp_path):
    """Against decoding the dev set at each point of the grid."""
    second = with_second(recognizer, folder)
    dev = [("a b a", recognizer.log_probs([noise(0.8, seed)])[0]) for seed in range(5)]
    with ThreadPoolExecutor(1) as pool:
        found = tune_second_pass(second, second.cfg.decoder, dev, "wer", pool)
    errors = {}
    for point in found.points[:3] + found.points[-3:]:
        cfg = replace(second.cfg.decoder, rescore_share=point.share, rescore_penalty=point.penalty)
        at = second.with_decoder(cfg if point.share else replace(cfg, rescore=None))
        texts = [at.search("x", log_probs, 1.0).text for _, log_probs in dev]
        errors[point] = sum(error_counts(ref, text, "wer").errors for (ref, _), text in zip(dev, texts, strict=True))
        assert point.counts.errors == errors[point]
    assert len(found.points) == 1 + len(SHARES) * len(PENALTIES)
    assert min(errors.values()) == errors[found.points[0]]
    first = Point(1.0, 0.0, 0.0, found.points[0].counts)
    tuning, cfg = Tuning([first], None, 5, "wer", found), Config(out=str(tmp_path))
    assert "rescore_share" in tuning.table()
    tuning.write(run_folder.tuning_path(cfg), {})
    applied = tuning.apply(second.cfg.decoder)
    if found.points[0].share:
        chosen = run_folder.tuned(cfg).decoder
        assert (chosen.rescore, chosen.rescore_share) == (str(folder / "lm.safetensors"), found.points[0].share)
        assert (applied.rescore, applied.rescore_penalty) == (chosen.rescore, chosen.rescore_penalty)
    useless = replace(found, points=[p for p in found.points if not p.share] + found.points)
    tuning = replace(tuning, rescoring=useless)
    assert "makes no dev text better and is not used" in tuning.table()
    assert tuning.apply(second.cfg.decoder).rescore is None
    tuning.write(run_folder.tuning_path(cfg), {})
    assert run_folder.tuned(cfg).decoder.rescore is None
    given = Config(out=cfg.out, decoder=replace(cfg.decoder, rescore=str(folder / "lm.safetensors")))
    assert run_folder.tuned(given).decoder.rescore is None  # as in a retraining
    assert "decoder.rescore=null" in earlier.tuned_scales(cfg)
    odd = replace(found, model="/home/o'neil/a b=1,2/lm.arpa", points=sorted(found.points, key=lambda p: -p.share))
    replace(tuning, rescoring=odd).write(run_folder.tuning_path(cfg), {})
    assert compose(earlier.tuned_scales(cfg)).decoder.rescore == odd.model


def test_a_share_that_was_tuned_for_another_model_is_told(folder, tmp_path, caplog):
    model = tmp_path / "lm.arpa"
    model.write_bytes((folder / "lm.arpa").read_bytes())
    cfg = Config(out=str(tmp_path))
    tuned = Config(out=cfg.out, decoder=DecoderConfig(rescore=str(model)))
    second = Rescoring(str(model), 100, [SecondPoint(0.3, 0.0, Counts())], 6.0)
    tuning = Tuning([Point(1.0, 0.0, 0.0, Counts())], None, 5, "wer", second)
    tuning.write(run_folder.tuning_path(cfg), run_folder.made_with(tuned))
    found = run_folder.tuned(cfg).decoder
    assert (found.rescore_share, found.rescore_nbest, found.lattice_beam) == (0.3, 100, 6.0) and not caplog.text
    model.write_text("another")
    assert run_folder.tuned(cfg).decoder.rescore == str(model)
    assert "was made with another decoder.rescore; run `asr tune` again" in caplog.text


@pytest.mark.parametrize("found_by", [earlier.tuned, earlier.tuned_decoder, earlier.tuned_scales, run_folder.tuned])
def test_a_tuning_is_read_once(found_by, tmp_path, monkeypatch):
    """Not once for each thing in it: another `asr tune` that ends meanwhile would give a mixture of both."""
    cfg, files, read = Config(out=str(tmp_path)), [], run_folder._read_json
    Tuning([Point(0.7, 0.0, 0.0, Counts())], None, 5, adapt=cfg.adapt).write(run_folder.tuning_path(cfg), {})
    monkeypatch.setattr(run_folder, "_read_json", lambda path: files.append(path.name) or read(path))
    assert "0.7" in str(found_by(cfg))
    assert files == ["tune.json"]
