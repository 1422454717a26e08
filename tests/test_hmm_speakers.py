"""Decoding, tuning and storing features with models that adapt to speakers, on speech drawn from known HMMs."""

import dataclasses
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from test_hmm_adaptation import sat, write_corpus
from tqdm import tqdm

import asr
from asr import manifest, pipeline
from asr.cli import earlier
from asr.cli.overrides import compose
from asr.config import AdaptConfig
from asr.errors import InputError
from asr.hmm.speakers import Tally, adapted, pull_of, speech_of
from asr.manifest import Utterance
from asr.recognizer import adapted_features
from asr.recognizer.adapted_features import write_features
from asr.recognizer.speakers import STEPS, for_speaker, score_by_speaker, scored, transform_of
from asr.search.decoder import Decoder
from asr.search.second_pass import Rescorer
from asr.states import States


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("asr.hmm.speakers.FEWEST", 60)
        cfg = sat(write_corpus(tmp_path_factory.mktemp("speakers")), tmp_path_factory.mktemp("sat"))
        pipeline.train_hmm(cfg)
        pipeline.train_lm(cfg)
        pipeline.build_graph(cfg)
        yield cfg


def unnamed(cfg, split, folder):
    """`cfg` with a manifest whose utterances have no speaker."""
    path = folder / f"{split}.jsonl"
    manifest.write(path, [dataclasses.replace(u, speaker=None) for u in manifest.read(getattr(cfg.data, split))])
    return dataclasses.replace(cfg, data=dataclasses.replace(cfg.data, **{split: str(path)}))


def test_decoding_adapts_to_each_speaker(trained, tmp_path, capsys):
    pipeline.decode(trained)
    adapted_to = pipeline.score(trained)
    other = unnamed(trained, "test", tmp_path)
    other.score = dataclasses.replace(trained.score, hyp=str(tmp_path / "hyp.jsonl"))
    capsys.readouterr()
    pipeline.decode(other, output=tmp_path / "hyp.jsonl")
    assert "16 of 16 utterances are recognised without adaptation" in "".join(capsys.readouterr())
    assert adapted_to.wer < 0.6 * pipeline.score(other).wer


def test_speakers_are_adapted_to_under_a_bar_of_their_own(trained, capsys):
    """Whose time does not count in the time left of the bar after it."""
    recognizer, utterances = pipeline.open_recognizer(trained), manifest.read(trained.data.test)
    with tqdm(total=len(utterances), desc="decode") as bar:
        began_s = bar.start_t
        next(score_by_speaker(recognizer, utterances, bar))
        assert bar.start_t - began_s > 0.5 * (time.time() - began_s) and bar.n == 0
    assert re.search(r"adapt: 100%.* 2/2 .*speaker", capsys.readouterr().err)


def test_a_pass_over_a_speaker_ends_when_enough_was_heard(trained, monkeypatch):
    recognizer = pipeline.open_recognizer(trained)
    own = [u for u in manifest.read(trained.data.test) if u.speaker == "i"]

    def found_in(utterances, frames=150):
        return transform_of(recognizer, utterances, 1, frames).float()

    monkeypatch.setattr("asr.hmm.speakers.FEWEST", 20)
    monkeypatch.setattr("asr.recognizer.speakers.SPREAD", 4)
    first = [own[n] for n in (0, 4, 1, 5, 2, 6, 3, 7)]
    heard = next(n for n in range(1, 9) if torch.equal(found_in(own), found_in(first[:n])))
    assert 1 < heard < 8
    assert not torch.equal(found_in(own, np.inf), found_in(first[:heard]))


def test_a_second_pass_hears_what_the_adapted_mixtures_recognise(trained, monkeypatch):
    """The truth decodes with the recogniser of the first pass and continues from its transform."""
    monkeypatch.setattr("asr.hmm.speakers.FEWEST", 20)
    recognizer = pipeline.open_recognizer(trained)
    own = [u for u in manifest.read(trained.data.test) if u.speaker == "i"]
    net, frames = recognizer.model.net, [scored(recognizer, u) for u in own]
    states = States.of(recognizer.tokens)
    is_speech = speech_of(states, recognizer.space.silence)
    decoder, transform = Decoder(recognizer.space.graph), None
    for number in range(2):
        paths = [decoder.decode((net.adapted if number else net.output)(adapted(x, transform)[None])[0].numpy())
                 .alignment for x in frames]  # fmt: skip
        for step in range(STEPS):
            tally = Tally(net.output.means.shape[2])
            for x, path in zip(frames, paths, strict=True):
                x, path = x[is_speech[path]], path[is_speech[path]]
                heard = net.adapted if number or step else net.output
                tally.add(x, pull_of(path, adapted(x, transform), heard, net.adapted))
            transform = tally.transform(transform)
    found = for_speaker(recognizer, transform_of(recognizer, own, 2, np.inf)).model.net
    torch.testing.assert_close(found.project.conv.weight, net.for_speaker(transform).project.conv.weight)


def test_the_recogniser_of_a_speaker_keeps_the_hmm_and_the_second_pass(trained):
    opened = pipeline.open_recognizer(trained)
    rescorer = Rescorer("x.arpa", object())  # which is not asked for
    recognizer = asr.Recognizer(
        opened.model, opened.cfg, opened.tokens, opened.space, rescorer=rescorer, hmm=opened.hmm
    )
    values = opened.model.net.output.means.shape[2]
    of_speaker = for_speaker(recognizer, torch.eye(values, values + 1))
    for same in (recognizer, of_speaker, recognizer.with_decoder(opened.cfg.decoder)):
        assert same.hmm is opened.hmm and same.searcher.states is opened.hmm.states and same.rescorer is rescorer


def test_tuning_adapts_and_a_bundle_keeps_both_mixtures(trained, tmp_path, caplog):
    adapted_to, alike = (pipeline.tune(cfg).points[0].counts for cfg in (trained, unnamed(trained, "dev", tmp_path)))
    assert adapted_to.errors < alike.errors
    caplog.set_level("INFO", "asr")
    pipeline.bundle(trained)
    assert "a bundle does not adapt these HMMs to speakers; asr decode does" in caplog.text
    net = asr.load(trained.bundle).model.net
    assert net.adapted is not None and not torch.equal(net.adapted.means, net.output.means)


def test_decoding_adapts_as_the_tuning_did(trained, tmp_path, caplog, capsys):
    """Passes and seconds of `asr tune` hold for the verbs behind it; what a command line sets itself comes first."""
    out = tmp_path / "run"
    shutil.copytree(trained.out, out)
    cfg = dataclasses.replace(trained, out=str(out), adapt=AdaptConfig(2, np.inf))
    pipeline.tune(cfg)
    plain = dataclasses.replace(cfg, adapt=AdaptConfig())
    assert pipeline.tuned(plain).adapt == AdaptConfig(2, np.inf) and plain.adapt == AdaptConfig()
    assert pipeline.tuned(dataclasses.replace(cfg, adapt=AdaptConfig(3))).adapt == AdaptConfig(3, np.inf)
    assert "tune.json was made with another adapt" in caplog.text
    caplog.clear()
    pipeline.calibrate(pipeline.tuned(plain))
    capsys.readouterr()
    found = earlier.tuned(plain)
    assert "adapt.passes=2 adapt.speech_s=inf\n" in capsys.readouterr().err and not caplog.text
    assert compose(found).adapt == AdaptConfig(2, np.inf)
    assert compose([*found, "adapt.passes=1"]).adapt == AdaptConfig(1, np.inf)
    assert compose(earlier.tuned(plain, {"adapt.passes"})).adapt == AdaptConfig(1, np.inf) and caplog.text
    assert "adapt.passes" not in f"{earlier.tuned_decoder(plain)} {capsys.readouterr().err}"
    (out / "tune.json").write_text((out / "tune.json").read_text().replace('"passes": 2', '"passes": "many"'))
    with pytest.raises(InputError, match="tune.json is not what `asr tune` writes"):
        pipeline.tuned(plain)


def test_stored_features_are_those_that_decoding_scores(trained, tmp_path):
    """The mixtures of adapted speech score the stored frames as `score_by_speaker` does; words and order are kept."""
    given, recognizer = manifest.read(trained.data.test), pipeline.open_recognizer(trained)
    path = write_features(recognizer, trained.data.test, tmp_path / "stored.jsonl")
    stored = manifest.read(path)
    assert [(u.id, u.text, u.speaker) for u in stored] == [(u.id, u.text, u.speaker) for u in given]
    with tqdm(disable=True) as bar:
        expected = {id: scores for batch in score_by_speaker(recognizer, given, bar) for id, scores, _ in batch}
    for u in stored:
        x = torch.from_numpy(np.load(u.features))
        assert x.shape[1] == trained.hmm.dim
        np.testing.assert_allclose(recognizer.model.net.adapted(x[None])[0], expected[u.id], atol=1e-4)
    same = [Path(u.features).read_bytes() for u in stored]
    write_features(recognizer, trained.data.test, path)  # a second run may replace the first
    assert [Path(u.features).read_bytes() for u in stored] == same


def test_features_that_were_stopped_leave_no_manifest_and_are_stored_again(trained, tmp_path, monkeypatch):
    """Of ids that name folders, too. The manifest of an earlier model would name features of two models."""
    recognizer, source = pipeline.open_recognizer(trained), tmp_path / "given.jsonl"
    manifest.write(
        source, [dataclasses.replace(u, id=f"día/{u.id}", speaker=None) for u in manifest.read(trained.data.test)]
    )
    path = write_features(recognizer, source, tmp_path / "stored.jsonl")
    whole, compute, calls = path.read_bytes(), adapted_features.scored, []

    def stopped(*given):
        if calls:
            raise KeyboardInterrupt
        calls.append(given)
        return compute(*given)

    monkeypatch.setattr(adapted_features, "scored", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_features(recognizer, source, path)
    assert not path.exists()
    monkeypatch.setattr(adapted_features, "scored", compute)
    assert write_features(recognizer, source, path).read_bytes() == whole


def test_features_of_other_models_and_into_other_folders_are_refused(trained, tmp_path):
    recognizer = pipeline.open_recognizer(trained)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="does not write .notes.txt"):
        write_features(recognizer, trained.data.test, tmp_path / "mine.jsonl")
    with pytest.raises(InputError, match="has no suffix"):
        write_features(recognizer, trained.data.test, tmp_path / "mine")
    silent = tmp_path / "silent.jsonl"
    manifest.write(silent, [Utterance("u", features=str(tmp_path / "gone.npy"), duration_s=1, text="a")])
    with pytest.raises(InputError, match="no utterance of .* could be read"):
        write_features(recognizer, silent, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()
