"""The recogniser's public interface: the same words from any form of input and in any thread."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from tiny import TOKENS, config, model, noise, write_bundle

from asr.cli.earlier import tuned
from asr.config import Config
from asr.errors import InputError
from asr.evaluation.calibrate import calibrate
from asr.evaluation.tune import Tuning, tune
from asr.hypothesis import read as read_hypotheses
from asr.manifest import Utterance
from asr.recognizer import opening as api
from asr.recognizer import run_folder
from asr.recognizer.manifests import decode_manifest
from asr.recognizer.options import DecodingOptions
from asr.recognizer.recognizer import Recognizer
from asr.recognizer.requests import requested
from asr.search.confidence import Calibration
from asr.search.searchers import GreedySearcher, make_decoder

SECONDS = (1.3, 0.4, 2.1, 0.9, 0.01, 1.7)


@pytest.fixture(scope="module")
def bundle_path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api")
    return write_bundle(folder / "model.asr")


@pytest.fixture(scope="module")
def recognizer(bundle_path):
    return api.load(bundle_path)


@pytest.fixture(scope="module")
def waves(bundle_path):
    paths = []
    for number, seconds in enumerate(SECONDS):
        paths.append(bundle_path.parent / f"w{number}.wav")
        soundfile.write(paths[-1], noise(seconds, number), 16000, subtype="PCM_16")
    return paths


def test_all_forms_of_one_recording_agree(recognizer, waves):
    path = waves[0]
    hypo = recognizer.transcribe(path)
    assert hypo.id == "w0" and hypo.duration_s == 1.3 and len(hypo.words) > 1
    samples, rate = soundfile.read(path, dtype="int16")
    data = path.read_bytes()
    forms = [str(path), data, samples, samples.astype(np.float32) / 32768, samples.astype(np.float64) / 32768]
    for form in forms:
        assert replace(recognizer.transcribe(form, sample_rate_hz=rate), id="w0") == hypo
    many = recognizer.transcribe(forms, sample_rate_hz=rate)
    assert [h.id for h in many] == ["w0", "1", "2", "3", "4"]
    assert all(h.words == hypo.words for h in many)
    assert recognizer.transcribe([]) == []


def test_words_are_in_order_within_the_recording(recognizer, waves):
    for hypo in recognizer.transcribe(waves):
        assert hypo.text == " ".join(w.word for w in hypo.words)
        edges = [t for w in hypo.words for t in (w.start_s, w.end_s)]
        assert edges == sorted(edges) and all(0 < w.confidence <= 1 for w in hypo.words)
        assert not edges or edges[-1] <= hypo.duration_s + recognizer.frame_s


def test_a_list_equals_one_by_one(recognizer, waves, monkeypatch):
    alone = [recognizer.transcribe(path) for path in waves]
    assert alone[4].text == ""  # shorter than one window
    for batch_s in (60.0, 2.5, 0.1):
        monkeypatch.setattr("asr.recognizer.recognizer.BATCH_S", batch_s)
        together = recognizer.transcribe(waves)
        assert [(h.id, h.text) for h in together] == [(h.id, h.text) for h in alone]


def test_eight_threads_equal_serial(recognizer, waves):
    jobs = [waves[i % len(waves)] for i in range(48)]
    serial = [recognizer.transcribe(job) for job in jobs]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(recognizer.transcribe, jobs)) == serial


def test_arrays_are_resampled(recognizer):
    t = np.arange(32000) / 32000
    at_32k = (0.3 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)
    hypo = recognizer.transcribe(at_32k, sample_rate_hz=32000)
    assert hypo.duration_s == pytest.approx(1.0, abs=1e-3)
    assert hypo.text == recognizer.transcribe(at_32k[::2], sample_rate_hz=16000).text


def test_options_of_the_decoder(bundle_path, waves):
    greedy = api.load(bundle_path, kind="greedy")
    assert isinstance(greedy.searcher, GreedySearcher)
    silent = api.load(bundle_path, word_penalty=1e6)
    assert silent.transcribe(waves[0]).text == ""
    with pytest.raises(InputError, match="no option 'beem'; did you mean beam"):
        api.load(bundle_path, beem=3)
    with pytest.raises(InputError, match="expected one of graph, greedy"):
        api.load(bundle_path, kind="gredy")
    with pytest.raises(InputError, match="no CUDA"):
        api.load(bundle_path, device="cuda:7")


@pytest.mark.parametrize(
    ("x", "rate", "says"),
    [
        ("nowhere.wav", None, "nowhere.wav"),
        (b"this is text", None, "not audio"),
        (b"", None, "empty"),
        (np.zeros(100, np.float32), None, "give sample_rate_hz="),
        (np.zeros((100, 2), np.float32), 16000, "average channels"),
        (np.zeros(0, np.float32), 16000, "shape"),
        (np.zeros(100, np.int64), 16000, "dtype"),
        (np.full(100, np.nan, np.float32), 16000, "NaN"),
        (np.full(100, 3000.0), 16000, "outside"),
        (np.zeros(16000 * 6, np.float32), 16000, "lasts 6.0 s, more than 5 s"),
    ],
)
def test_bad_recordings_are_refused(bundle_path, x, rate, says):
    with pytest.raises(InputError, match=says):
        api.load(bundle_path, max_audio_s=5).transcribe(x, sample_rate_hz=rate)


def test_long_files_are_refused(bundle_path):
    file = io.BytesIO()
    soundfile.write(file, np.zeros(16000 * 6, np.float32), 16000, format="WAV")
    with pytest.raises(InputError, match="5 s"):
        api.load(bundle_path, max_audio_s=5).transcribe(file.getvalue())


def test_stored_features(tmp_path):
    cfg = config(kind="stored")
    recognizer = Recognizer(model(cfg), cfg, TOKENS)
    features = np.random.default_rng(1).normal(size=(200, 8)).astype(np.float32)
    np.save(tmp_path / "u1.npy", features)
    hypo = recognizer.transcribe(features)
    assert hypo.duration_s == 2.0 and hypo.text
    from_file = recognizer.transcribe([tmp_path / "u1.npy", features[:50]])
    assert from_file[0].id == "u1" and from_file[0].text == hypo.text
    for bad, says in ((features[:, :5], "shape"), (b"abc", "not bytes"), (np.zeros((9000, 8)), "lasts 90.0 s")):
        with pytest.raises(InputError, match=says):
            recognizer.transcribe(bad)


def utterances(waves):
    return [
        Utterance(id=f"u{i}", audio=str(path), features=None, text="", speaker=None, lang=None, duration_s=seconds)
        for i, (path, seconds) in enumerate(zip(waves, SECONDS, strict=True))
    ]


def test_manifest_sets_bad_utterances_aside(recognizer, waves, tmp_path, capsys):
    (tmp_path / "text.wav").write_text("not audio")
    bad = [replace(utterances(waves)[0], id="bad1", audio=str(tmp_path / "text.wav"), duration_s=None)]
    bad += [replace(bad[0], id="bad2", audio=str(tmp_path / "gone.wav"))]
    path = tmp_path / "hyp.jsonl"
    found = decode_manifest(recognizer, [bad[0], *utterances(waves), bad[1]], path, threads=2)
    assert [h.id for h in found] == [f"u{i}" for i in range(len(waves))]
    assert read_hypotheses(path) == found
    assert [h.text for h in found] == [h.text for h in recognizer.transcribe(waves)]
    said = capsys.readouterr()
    assert "decoded 6 of 8 utterances, 6.4 s of audio" in said.out and "real-time factor" in said.out
    assert "'bad1'" in said.out + said.err and "gone.wav" in said.out + said.err
    path.unlink()
    with pytest.raises(InputError, match="none of the 2"):
        decode_manifest(recognizer, bad, path)
    assert not path.exists()


def test_alternatives_come_with_their_costs(recognizer, waves):
    several = recognizer.with_decoder(replace(recognizer.cfg.decoder, nbest=4))
    hypo, plain = several.transcribe(waves[2]), recognizer.transcribe(waves[2])
    assert (hypo.text, plain.alternatives) == (plain.text, [])
    assert 1 <= len(hypo.alternatives) <= 3
    costs = [hypo.cost, *(a.cost for a in hypo.alternatives)]
    assert costs == sorted(costs) and len({hypo.text, *(a.text for a in hypo.alternatives)}) == len(costs)
    assert type(hypo).from_dict(hypo.as_dict()) == hypo


def test_phrases_are_favoured(recognizer, waves):
    plain = recognizer.transcribe(waves[2])
    several = recognizer.with_decoder(replace(recognizer.cfg.decoder, nbest=20, lattice_beam=16.0))
    other = next(a for a in several.transcribe(waves[2]).alternatives if a.text)
    phrases = {other.text: other.cost - plain.cost + 0.5}
    if plain.text not in other.text:
        assert recognizer.transcribe(waves[2], options=DecodingOptions(phrases=phrases)).text != plain.text
    assert recognizer.transcribe(waves[2], options=DecodingOptions(phrases={})).text == plain.text
    with pytest.raises(InputError, match="'zebra'"):
        recognizer.transcribe(waves[2], options=DecodingOptions(phrases={"zebra": 1.0}))
    greedy = Recognizer(recognizer.model, recognizer.cfg, TOKENS)
    said = greedy.transcribe(waves[2]).text
    boosted = greedy.transcribe(waves[2], options=DecodingOptions(phrases={"bbab": 500.0})).text
    assert "bbab" not in said and "bbab" in boosted  # a word outside the graph's vocabulary


def test_unsure_words_are_rejected(recognizer, waves):
    strict = recognizer.with_decoder(replace(recognizer.cfg.decoder, reject_below=0.5))
    hypo, plain = strict.transcribe(waves[2]), recognizer.transcribe(waves[2])
    assert [w.word for w in hypo.words] == [w.word for w in plain.words]
    assert [w.accepted for w in hypo.words] == [w.confidence >= 0.5 for w in plain.words]
    assert hypo.text == " ".join(w.word for w in plain.words if w.confidence >= 0.5)
    assert all(w.accepted for w in plain.words)
    for option in ({"reject_below": 1.5}, {"nbest": 0}):
        with pytest.raises(InputError, match=f"decoder.{next(iter(option))}=.*: expected a"):
            recognizer.with_decoder(replace(recognizer.cfg.decoder, **option))


def test_calibration_is_fitted_written_and_used(recognizer, waves, tmp_path, drawn):
    cfg = replace(recognizer.cfg, out=str(tmp_path))
    dev = utterances(waves)
    texts = [recognizer.transcribe(str(path)).text.split() for path in waves]
    dev = [replace(u, text=" ".join(t[: len(t) // 2])) for u, t in zip(dev, texts, strict=True)]
    result = calibrate(recognizer, dev)
    assert len(result.correct) == sum(map(len, texts)) and 0 < result.correct.sum() < len(result.correct)
    result.write(run_folder.calibration_path(cfg))
    assert run_folder.calibration_path(cfg).with_suffix(".png").stat().st_size > 1000
    assert "expected calibration error" in result.table()
    found = dict(override.split("=", 1) for override in tuned(cfg))
    scale, offset, clarity = (float(found[f"decoder.confidence_{name}"]) for name in ("scale", "offset", "clarity"))
    assert Calibration(scale, offset, clarity) == result.calibration
    options = replace(
        recognizer.cfg.decoder, confidence_scale=scale, confidence_offset=offset, confidence_clarity=clarity
    )
    after = recognizer.with_decoder(options).transcribe(waves[2])
    before = recognizer.transcribe(waves[2])
    wanted = result.calibration.apply([w.confidence for w in before.words])
    assert [w.confidence for w in after.words] == pytest.approx(wanted, abs=1e-3)


def test_tuning_finds_the_point_that_wrote_the_references(recognizer, waves, tmp_path):
    asked = replace(recognizer.cfg.decoder, acoustic_scale=0.5, word_penalty=2.0)
    space = recognizer.space
    decoder = make_decoder(space.graph, asked)
    dev = []
    for utterance, path in zip(utterances(waves), waves, strict=True):
        log_probs = recognizer.log_probs([soundfile.read(path, dtype="float32")[0]])[0]
        text = " ".join(space.words[label] for label in decoder.decode(log_probs).labels)
        dev.append(replace(utterance, text=text))
    grid = {"acoustic_scales": (1.0, 0.5), "word_penalties": (0.0, 2.0), "blank_penalties": (0.0, 0.5)}
    result = tune(recognizer, dev, **grid)
    assert 4 <= len(result.points) <= 8 and result.utterances == 5
    best = result.best
    assert (best.acoustic_scale, best.word_penalty, best.blank_penalty) == (0.5, 2.0, 0.0)
    assert best.counts.errors == 0 and result.points[-1].counts.errors > 0
    assert result.apply(recognizer.cfg.decoder) == asked
    for point in result.points:  # the recogniser itself makes the same number of errors at each point
        options = replace(recognizer.cfg.decoder, acoustic_scale=point.acoustic_scale,
                          word_penalty=point.word_penalty, blank_penalty=point.blank_penalty)  # fmt: skip
        cfg = replace(recognizer.cfg, decoder=options)
        texts = [h.text for h in Recognizer(recognizer.model, cfg, TOKENS, space).transcribe(waves)]
        assert (texts == [u.text for u in dev]) == (point.counts.errors == 0)
    result.write(tmp_path / "tune.json")
    assert json.loads((tmp_path / "tune.json").read_text())["points"][0]["wer"] == 0.0
    assert "acoustic_scale" in result.table() and "greedy" in result.table()


def test_tuning_ties_go_to_the_defaults_and_losing_to_greedy_gives_a_warning(recognizer, waves):
    greedy = Recognizer(recognizer.model, recognizer.cfg, TOKENS)
    texts = [h.text for h in greedy.transcribe(waves)]  # words of several letters, which the graph does not know
    dev = [replace(u, text=t) for u, t in zip(utterances(waves), texts, strict=True)]
    result = tune(recognizer, dev, acoustic_scales=(1.01, 1.0, 0.99), word_penalties=(0.0,), blank_penalties=(0.0,))
    assert result.greedy.errors == 0 and result.best.counts.errors > 0
    assert "makes dev worse" in result.warning() and "warning" in result.table()
    ties = [p for p in result.points if p.counts.errors == result.best.counts.errors]
    assert result.best.distance == min(p.distance for p in ties)
    assert Tuning(result.points, None, 5).warning() is None
    with pytest.raises(InputError, match="without a graph"):
        tune(greedy, dev)


def test_audio_for_a_model_of_stored_features_is_explained(tmp_path):
    cfg = config(kind="stored")
    with pytest.raises(InputError, match="x.wav: this model takes stored features .*num_bins=8.* not audio"):
        Recognizer(model(cfg), cfg, TOKENS).transcribe(tmp_path / "x.wav")
    with pytest.raises(InputError, match="x.npy does not exist; check the path$"):
        Recognizer(model(cfg), cfg, TOKENS).transcribe(tmp_path / "x.npy")


def test_lists_and_grammars_of_a_caller(recognizer, bundle_path, waves):
    listed = recognizer.with_list(["a b", "b"])
    assert {h.text for h in listed.transcribe(waves[:3])} <= {"a b", "b"}
    assert listed.with_list({"b": 1.0}).transcribe(waves[0]).text == "b"
    text = "#JSGF V1.0;\ngrammar g;\npublic <g> = b;\n"
    (bundle_path.parent / "g.jsgf").write_text(text)
    for grammar in (text, bundle_path.parent / "g.jsgf"):
        assert recognizer.with_grammar(grammar).transcribe(waves[0]).text == "b"
    for empty in ([], ["a", " "]):
        with pytest.raises(InputError, match="the list is empty or has an empty entry"):
            recognizer.with_list(empty)
    with pytest.raises(InputError, match="units: C; it has no C; leave them out"):
        recognizer.with_list(["C"])
    with pytest.raises(InputError, match="must be a list of strings, not the text 'ab'"):
        recognizer.with_list("ab")
    with pytest.raises(InputError, match="must be a list of strings, not the text 'ab'"):
        recognizer.transcribe(waves[0], options=DecodingOptions(new_words="ab"))
    greedy = api.load(bundle_path, kind="greedy")
    with pytest.raises(InputError, match="greedy search takes no word list"):
        greedy.with_list(["a"])


def test_a_recognizers_configuration_equals_what_it_was_made_from(bundle_path):
    features = api.load(bundle_path).cfg.features
    plain = replace(features)
    assert features == plain and plain == features
    assert features != replace(features, num_bins=9) and features != "features"


def test_an_empty_file_of_new_words_still_needs_a_dynamic_graph(recognizer, tmp_path):
    (tmp_path / "none.txt").touch()
    with pytest.raises(InputError, match="new words need a dynamic graph"):
        requested(recognizer, Config(new_words=str(tmp_path / "none.txt")))
