"""LDA, MLLT and speaker adaptation in training and decoding, on speech drawn from known HMMs by several speakers."""

import dataclasses
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from test_hmm_training import DIM, LEXICON, config, speak
from tqdm import tqdm

import asr
from asr import manifest, pipeline
from asr.cli import earlier
from asr.cli.overrides import compose
from asr.config import AdaptConfig, ModelConfig
from asr.errors import InputError
from asr.features.spectra import delta_kernels
from asr.hmm.corpus import Corpus
from asr.hmm.model import Hmm
from asr.hmm.resume import ResumePoint
from asr.hmm.speakers import Adaptation, Tally, adapted, pull_of, speech_of
from asr.hmm.spliced import Spliced
from asr.hmm.stages import stages_of
from asr.hmm.training import Stage
from asr.manifest import Utterance
from asr.models.mixtures import MixtureNet
from asr.recognizer import adapted_features
from asr.recognizer.adapted_features import write_features
from asr.recognizer.speakers import STEPS, for_speaker, score_by_speaker, scored
from asr.search.decoder import Decoder
from asr.states import States

RANDOM = torch.Generator().manual_seed(0)


@pytest.fixture
def stage():
    """Two utterances of one speaker with given paths, correlated dimensions and two Gaussians per output."""
    rng = np.random.default_rng(3)
    hmm = Hmm.monophone(["A"], None, states=2)
    paths = [np.repeat([1, 2], [40, 60]).astype(np.int32), np.repeat([1, 2], [70, 30]).astype(np.int32)]
    x = (rng.normal(0, 1, (200, 3)) + 2 * np.concatenate(paths)[:, None]) @ rng.normal(0, 1, (3, 3))
    features = torch.from_numpy(x.astype(np.float32))
    corpus = Corpus(["u", "v"], [["a"], ["a"]], np.array([0, 100, 200]), features, 2, ["s", "s"])
    found = Stage(hmm, corpus, paths)
    found.reestimate(4)
    return found


def likelihood(stage):
    return sum(stage.mixtures[n].log_likelihood(x) for n, x in enumerate(stage.by_output(), 1))


def test_mllt_raises_the_likelihood(stage):
    spliced = Spliced(stage.corpus, 1)
    spliced.discriminate(stage, 4)
    stage = stage.over(spliced.corpus())
    stage.reestimate(4)
    before, start = likelihood(stage), spliced.matrix
    for _ in range(4):
        spliced.refine(stage)
        turn = spliced.matrix @ torch.linalg.pinv(start)  # of all steps
        after = likelihood(stage) + 200 * float(torch.linalg.slogdet(turn).logabsdet)
        assert after > before - 1e-3
        before = after
    assert torch.linalg.slogdet(turn).logabsdet.abs() > 1e-3


def test_fmllr_raises_the_likelihood(stage, monkeypatch):
    monkeypatch.setattr("asr.hmm.speakers.FEWEST", 10)
    plain = stage.corpus
    stage.corpus = plain.with_features([1.5 * plain.features + 0.7])
    speakers = Adaptation(stage.corpus)
    values = [likelihood(stage)]
    for _ in range(4):
        speakers.refine(stage)
        transform = speakers.transforms[True, "s"]
        log_det = float(torch.linalg.slogdet(transform[:, :-1]).logabsdet)
        prior = -0.5 * float((transform - torch.eye(3, 4)).square().sum())
        values.append(likelihood(stage) + 200 * log_det + prior)
        torch.testing.assert_close(stage.corpus.features, adapted(speakers.plain.features, transform))
    assert all(after > before - 1e-3 for before, after in zip(values, values[1:], strict=False))
    assert values[-1] > values[0] + 50
    torch.testing.assert_close(transform[:, :-1], torch.eye(3).double() / 1.5, atol=0.15, rtol=0)


def test_too_little_speech_is_not_adapted_to(stage):
    before = stage.corpus.features
    speakers = Adaptation(stage.corpus)
    speakers.refine(stage)
    assert speakers.transforms == {(True, "s"): None}
    assert torch.equal(stage.corpus.features, before)


def test_the_first_matrix_takes_derivatives(stage):
    x = stage.corpus.features[:100]
    found = Spliced(stage.corpus, 4).corpus().features[:100]
    for order, kernel in enumerate(delta_kernels(2), start=1):
        expected = x.double().unfold(0, 9, 1) @ kernel  # of the frames with all neighbours
        torch.testing.assert_close(found[4:-4, order::3].double(), expected, atol=1e-5, rtol=0)
    assert torch.equal(found[:, ::3], x)


def net_of_speakers():
    cfg = ModelConfig(kind="gmm", subsampling=1, gaussians=2, splice=2, projected=3, speakers=True)
    net = MixtureNet(cfg, 4, 5)
    for layer in (net.output, net.adapted):
        layer.log_weights[1:] = -0.7
        layer.means.copy_(torch.randn(layer.means.shape, generator=RANDOM))
    return net


def test_the_net_of_a_speaker_has_the_transform_in_its_matrix():
    net, x, lengths = net_of_speakers(), torch.randn(2, 9, 4, generator=RANDOM), torch.tensor([9, 6])
    transform = torch.randn(3, 4, generator=RANDOM).double()
    before = net(x, lengths)[0]
    found = net.for_speaker(transform)(x, lengths)[0]
    scored = net.scored(x, lengths)[0]
    expected = net.adapted(adapted(scored.flatten(0, 1), transform).unflatten(0, scored.shape[:2]))
    torch.testing.assert_close(found, expected)
    assert torch.equal(net(x, lengths)[0], before)


@torch.no_grad()
def test_a_stream_sees_the_same_frames():
    net, x = net_of_speakers(), torch.randn(1, 9, 4, generator=RANDOM)
    state, found = net.begin(1), []
    for first, last in ((0, 1), (1, 5), (5, 9)):
        log_probs, state = net.advance(x[:, first:last], state, is_last=last == 9)
        found.append(log_probs)
    torch.testing.assert_close(torch.cat(found, 1), net(x, torch.tensor([9]))[0])
    assert net.lookahead == 2


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Manifests of speakers whose features are turned and shifted, each in a way of its own."""
    folder = tmp_path_factory.mktemp("speakers")
    rng = np.random.default_rng(5)
    for split, speakers in (("train", "abcd"), ("dev", "g"), ("test", "ij")):
        utterances = []
        for speaker in speakers:
            turn, shift = np.eye(DIM) + rng.normal(0, 0.2, (DIM, DIM)), rng.normal(0, 1.2, DIM)
            for n in range(8):
                words = rng.choice(list(LEXICON.pronunciations), rng.integers(1, 4)).tolist()
                x = (speak(words, rng)[0] @ turn + shift).astype(np.float32)
                id, path = f"{speaker}{n}", folder / f"{speaker}{n}.npy"
                np.save(path, x)
                utterances.append(Utterance(id, features=str(path), duration_s=len(x) / 100, text=" ".join(words),
                                            speaker=speaker))  # fmt: skip
        manifest.write(folder / f"{split}.jsonl", utterances)
    LEXICON.write(folder / "lexicon.txt")
    return folder


def sat(corpus, out):
    cfg = config(corpus, out, "mono")
    cfg.hmm.splice, cfg.hmm.dim, cfg.hmm.speakers, cfg.hmm.rounds = 1, 6, True, 4
    return cfg


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("asr.hmm.speakers.FEWEST", 60)
        cfg = sat(corpus, tmp_path_factory.mktemp("sat"))
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


def test_a_pass_over_a_speaker_ends_when_enough_was_heard(trained, monkeypatch):
    recognizer = pipeline.open_recognizer(trained)
    own = [u for u in manifest.read(trained.data.test) if u.speaker == "i"]

    def matrix_of(utterances, frames=150):
        return for_speaker(recognizer, utterances, 1, frames).model.net.project.conv.weight

    monkeypatch.setattr("asr.hmm.speakers.FEWEST", 20)
    monkeypatch.setattr("asr.recognizer.speakers.SPREAD", 4)
    first = [own[n] for n in (0, 4, 1, 5, 2, 6, 3, 7)]
    heard = next(n for n in range(1, 9) if torch.equal(matrix_of(own), matrix_of(first[:n])))
    assert 1 < heard < 8
    assert not torch.equal(matrix_of(own, np.inf), matrix_of(first[:heard]))


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
    found = for_speaker(recognizer, own, 2, np.inf).model.net
    torch.testing.assert_close(found.project.conv.weight, net.for_speaker(transform).project.conv.weight)


def test_tuning_adapts_and_a_bundle_keeps_both_mixtures(trained, tmp_path):
    adapted_to, alike = (pipeline.tune(cfg).points[0].counts for cfg in (trained, unnamed(trained, "dev", tmp_path)))
    assert adapted_to.errors < alike.errors
    pipeline.bundle(trained)
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


def test_dev_speakers_change_nothing_in_the_model(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("asr.hmm.speakers.FEWEST", 60)
    found = []
    np.save(tmp_path / "loud.npy", np.random.default_rng(0).normal(0, 100, (150, DIM)).astype(np.float32))
    for name, change in (("quiet", {}), ("loud", {"features": str(tmp_path / "loud.npy"), "speaker": "a"})):
        cfg = sat(corpus, tmp_path / name)
        cfg.hmm.rounds = 3
        cfg.data.dev = str(tmp_path / f"{name}.jsonl")
        utterances = manifest.read(Path(corpus, "dev.jsonl"))[:2]
        manifest.write(cfg.data.dev, [dataclasses.replace(u, **change) for u in utterances])
        found.append(pipeline.train_hmm(cfg).read_bytes())
    assert found[0] == found[1]


def test_a_training_that_is_killed_goes_on_to_the_same_bits(corpus, tmp_path, monkeypatch, capsys):
    """Killed after each stage in turn, then with a damaged resume point, and with one of other options."""
    monkeypatch.setattr("asr.hmm.speakers.FEWEST", 60)

    def options(out, rounds=2):
        cfg = sat(corpus, tmp_path / out)
        cfg.hmm.rounds, cfg.hmm.context = rounds, "tri"
        cfg.threads = 1  # a forked process cannot use the threads of this one
        return cfg

    def train_and_kill(cfg):
        write = ResumePoint.write

        def write_and_die(*arguments):
            write(*arguments)
            os.kill(os.getpid(), signal.SIGKILL)

        ResumePoint.write = write_and_die
        pipeline.train_hmm(cfg)

    whole = pipeline.train_hmm(options("whole"))
    names = stages_of(options("whole").hmm)
    killed = options("killed")
    place = tmp_path / "killed" / "train" / "resume.npz"
    for name in names[:-1]:
        process = multiprocessing.get_context("fork").Process(target=train_and_kill, args=(killed,))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL and [file.name for file in place.parent.iterdir()] == [place.name]
        with np.load(place) as data:
            assert str(data["name"]) == name
    capsys.readouterr()
    kept = place.read_bytes()
    final = pipeline.train_hmm(killed)
    assert f"after the stage: {names[-2]}" in "".join(capsys.readouterr())
    for name in ("final.safetensors", "hmm.json", "alignments.npz"):
        assert final.with_name(name).read_bytes() == whole.with_name(name).read_bytes()
    assert not place.exists()
    with pytest.raises(InputError, match=r"holds a training with hmm\.rounds=2; choose another folder with out="):
        pipeline.train_hmm(options("whole", rounds=1))
    one, other = ResumePoint(place, "key"), tmp_path / "other" / "train" / "resume.npz"
    place.write_bytes(kept[:-100])
    assert one.read(None) is None and "cannot be read" in "".join(capsys.readouterr())
    other.parent.mkdir(parents=True)
    other.write_bytes(kept)
    pipeline.train_hmm(options("other", rounds=1))
    assert "resuming" not in "".join(capsys.readouterr()) and not other.exists()


def test_options_that_do_not_fit_are_refused(corpus, tmp_path):
    def refused(match, change):
        cfg = sat(corpus, tmp_path / "run")
        change(cfg)
        with pytest.raises(InputError, match=match):
            pipeline.train_hmm(cfg)
        assert not (tmp_path / "run" / "train").exists()

    def without_speakers(cfg):
        cfg.data.train = str(tmp_path / "train.jsonl")
        utterances = manifest.read(corpus / "train.jsonl")
        manifest.write(cfg.data.train, [dataclasses.replace(u, speaker=None) for u in utterances])

    refused("features.deltas=2: the matrix", lambda cfg: setattr(cfg.features, "deltas", 2))
    refused("hmm.speakers=true needs the matrix of hmm.splice", lambda cfg: setattr(cfg.hmm, "splice", 0))
    refused("no training utterance has a speaker", without_speakers)
    refused("hmm.dim=13, but 3 frames have 12 dimensions", lambda cfg: setattr(cfg.hmm, "dim", 13))
