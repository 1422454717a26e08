"""LDA, MLLT and speaker adaptation in training and decoding, on speech drawn from known HMMs by several speakers."""

import dataclasses
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from test_hmm_training import DIM, LEXICON, config, speak

from asr import manifest, pipeline
from asr.config import ModelConfig
from asr.errors import InputError
from asr.features.spectra import delta_kernels
from asr.hmm.corpus import Corpus
from asr.hmm.model import Hmm
from asr.hmm.resume import ResumePoint
from asr.hmm.speakers import Adaptation, adapted
from asr.hmm.spliced import Spliced
from asr.hmm.stages import stages_of
from asr.hmm.training import Stage
from asr.manifest import Utterance
from asr.models.mixtures import MixtureNet

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


def write_corpus(folder):
    """Manifests of speakers whose features are turned and shifted, each in a way of its own."""
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


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("speakers"))


def sat(corpus, out):
    cfg = config(corpus, out, "mono")
    cfg.hmm.splice, cfg.hmm.dim, cfg.hmm.speakers, cfg.hmm.rounds = 1, 6, True, 4
    return cfg


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
    said = "".join(capsys.readouterr())
    assert f"after the stage: {names[-2]}" in said and f"stage 4 of 4: {names[-1]}" in said
    assert "stage 3 of 4" not in said
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
