"""Nets on the states of HMMs: frame-wise cross-entropy, priors, and the way from an alignment to words."""

import dataclasses
import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_hmm_training import config, corpus, write_corpus  # noqa: F401, a fixture

from asr import manifest, pipeline
from asr.align.run import align
from asr.config import ModelConfig
from asr.criteria.ce import IGNORED, cross_entropy, frame_targets
from asr.data.alignments import read_alignments, write_alignments
from asr.data.sets import aligned as take_aligned
from asr.errors import InputError
from asr.hmm.model import Hmm
from asr.models import build_model
from asr.tokens import Tokens
from asr.training.criteria import FrameCriterion, StateLfmmiCriterion

TABLE = Tokens(["<blk>", *(f"A[0.{n}]" for n in range(1000))])
RANDOM = torch.Generator().manual_seed(0)


@pytest.mark.parametrize(("length", "frames"), [(6, 6), (6, 12), (6, 5), (7, 3), (1, 4), (5, 0)])
def test_targets_are_stretched_to_the_frames(length, frames):
    targets = torch.tensor([[*range(10, 10 + length), 99], [1, 2, *[99] * (length - 1)]])
    found = frame_targets(targets, torch.tensor([length, 2]), torch.tensor([frames, 1]), max(frames, 1) + 2)
    first = [10 + math.floor((f + 0.5) * length / frames) for f in range(frames)]
    assert found[0].tolist() == [*first, *[IGNORED] * (max(frames, 1) + 2 - frames)]
    assert found[1].tolist() == [2, *[IGNORED] * (max(frames, 1) + 1)]


def test_the_loss_is_the_sum_over_the_frames():
    log_probs = torch.randn(2, 3, 4, generator=RANDOM, dtype=torch.float64).log_softmax(2).requires_grad_()
    targets = torch.tensor([[1, 2, 3], [0, IGNORED, IGNORED]])
    expected = -sum(log_probs[0, f, t] for f, t in enumerate([1, 2, 3])) - log_probs[1, 0, 0]
    torch.testing.assert_close(cross_entropy(log_probs, targets), expected)
    assert torch.autograd.gradcheck(lambda x: cross_entropy(x, targets), log_probs)


def shifted(batch):
    """The targets where the blank is left out."""
    return SimpleNamespace(targets=batch.targets - 1, target_lengths=batch.target_lengths)


def test_a_finished_net_gives_scaled_likelihoods(corpus, tmp_path, monkeypatch):  # noqa: F811
    cfg = config(corpus[0], tmp_path, "mono")
    cfg.criterion.kind, cfg.criterion.alignments, cfg.model = (
        "ce",
        str(tmp_path / "alignments.npz"),
        ModelConfig(subsampling=1),
    )
    cfg.augment.silence_s = 0.0
    (tmp_path / "hmm.json").write_text('{"scale": 0.25}')
    targets = [torch.tensor([1, 1, 1, 2]), torch.tensor([3])]
    sets = SimpleNamespace(
        train=SimpleNamespace(targets=targets), tokens=Tokens(["<blk>", "A[0]", "A[1]", "A[2]", "A[3]"])
    )
    criterion = FrameCriterion(cfg, sets)
    priors = torch.tensor([1, 4, 2, 2, 1]) / 10  # each state once more than it occurs
    torch.testing.assert_close(criterion.priors, priors)
    net = build_model(ModelConfig(kind="fc", hidden=8, layers=1, subsampling=1), 3, 5).eval()
    x, lengths = torch.randn(1, 6, 3, generator=RANDOM), torch.tensor([6])
    with torch.inference_mode():
        before = net(x, lengths)[0][0]
        criterion.finish(SimpleNamespace(net=net))
        after = net(x, lengths)[0][0]
    wanted = (0.25 * (before - priors.log()))[:, 1:].log_softmax(1)  # the blank is in no path
    torch.testing.assert_close(after[:, 1:], wanted, atol=1e-4, rtol=1e-4)
    assert after[:, 0].max() < -1000
    batch = SimpleNamespace(targets=torch.tensor([[1, 1, 2, 3]]), target_lengths=torch.tensor([4]), texts=["a"])
    monkeypatch.setattr("asr.training.criteria.lfmmi_loss", lambda *arguments: torch.tensor([7.0]))
    graphs = SimpleNamespace(numerator=lambda text: None, denominator=SimpleNamespace(label=[]))
    cfg.criterion.auxiliary_weight = 0.5
    found = StateLfmmiCriterion(cfg, sets, graphs).loss(after[None], lengths, batch)
    share = 0.5 * criterion.loss(before[None, :, 1:].log_softmax(2), lengths, shifted(batch))
    torch.testing.assert_close(found, 7.0 + share, atol=1e-3, rtol=1e-4)  # that of the net before it was finished
    (tmp_path / "hmm.json").write_text('{"scale": 0.7}')  # of other options than those that the net was finished with
    FrameCriterion(cfg, sets).undo_finish(SimpleNamespace(net=net))
    with torch.inference_mode():
        torch.testing.assert_close(net(x, lengths)[0][0][:, 1:], before[:, 1:].log_softmax(1), atol=1e-3, rtol=1e-4)
    for scale in ("NaN", "-0.1", "0", "Infinity", '"x"'):
        (tmp_path / "hmm.json").write_text(f'{{"scale": {scale}}}')
        with pytest.raises(InputError, match="cannot read .*hmm.json beside the alignments"):
            FrameCriterion(cfg, sets)


@pytest.fixture(scope="module")
def aligned(corpus, tmp_path_factory):  # noqa: F811
    cfg = config(corpus[0], tmp_path_factory.mktemp("aligned"), "tri")
    pipeline.train_hmm(cfg)
    return Path(cfg.out) / "train"


def net_config(corpus, aligned, out):  # noqa: F811
    cfg = config(corpus, out, "tri")
    cfg.criterion.kind, cfg.criterion.alignments = "ce", str(aligned / "alignments.npz")
    cfg.augment.speeds, cfg.augment.silence_s, cfg.augment.freq_masks, cfg.augment.time_masks = (
        [0.9, 1.0, 1.1],
        0.0,
        0,
        0,
    )
    cfg.model = ModelConfig(kind="fc", hidden=32, layers=1, subsampling=1, kernel=5, dropout=0.0)
    cfg.optim.epochs, cfg.optim.lr, cfg.optim.batch_s, cfg.optim.average = 8, 1e-2, 10, 1
    return cfg


def test_a_net_takes_the_place_of_the_mixtures(corpus, aligned, tmp_path):  # noqa: F811
    cfg = net_config(corpus[0], aligned, tmp_path)
    pipeline.train(cfg)
    pipeline.train_lm(cfg)
    pipeline.build_graph(cfg)
    pipeline.decode(cfg)
    assert pipeline.score(cfg).wer < 0.05
    recognizer = pipeline.open_recognizer(cfg)
    utterance = manifest.read(cfg.data.test)[0]
    found = recognizer.transcribe(utterance.features)
    np.testing.assert_allclose(found.words[0].start_s, corpus[1][utterance.id][1] / 100, atol=0.04)
    assert (tmp_path / "train" / "hmm.json").read_text() == (aligned / "hmm.json").read_text()
    assert Tokens.read(tmp_path / "train" / "tokens.txt") == Tokens.read(aligned / "tokens.txt")
    moved = shutil.copytree(aligned, tmp_path / "moved")
    cfg.criterion.alignments = str(moved / "alignments.npz")  # files are compared by content
    assert pipeline.train(cfg) == tmp_path / "train" / "final.safetensors"


def test_a_finished_net_is_trained_further(corpus, aligned, tmp_path, capsys):  # noqa: F811
    cfg = net_config(corpus[0], aligned, tmp_path / "net")
    pipeline.train(cfg)
    printed = "".join(capsys.readouterr())
    assert "dev token errors" not in printed
    ended = float(printed.split("dev frame errors ")[-1].split("%")[0])
    further = net_config(corpus[0], aligned, tmp_path / "further")
    further.init, further.optim.epochs, further.optim.lr = cfg.out, 1, 1e-6
    pipeline.train(further)
    assert float("".join(capsys.readouterr()).split("dev frame errors ")[-1].split("%")[0]) <= ended + 0.5
    other = config(corpus[0], tmp_path / "mono", "mono")
    other.hmm.rounds = 1
    further.criterion.alignments = str(pipeline.train_hmm(other).with_name("alignments.npz"))
    further.out = str(tmp_path / "other")
    with pytest.raises(InputError, match="other HMMs than those of criterion.alignments|has other outputs"):
        pipeline.train(further)


def test_what_does_not_fit_frames_is_refused(corpus, aligned, tmp_path):  # noqa: F811
    def refused(match, **options):
        cfg = net_config(corpus[0], aligned, tmp_path / "net")
        for name, value in options.items():
            group, option = name.split("__")
            setattr(getattr(cfg, group), option, value)
        with pytest.raises(InputError, match=match):
            pipeline.train(cfg)

    refused("model.subsampling=3: a phone of 3 states", model__subsampling=3)
    refused("augment.silence_s=1 moves the frames", augment__silence_s=1.0)
    refused("criterion.alignments=FILE", criterion__alignments=None)
    refused("no.npz", criterion__alignments=str(tmp_path / "no.npz"))
    refused("criterion.alignments=.* is for criterion=ce, lfmmi, mwer and smbr", criterion__kind="ctc")


def test_alignments_of_other_hmms_are_refused(corpus, aligned, tmp_path):  # noqa: F811
    paths = read_alignments(aligned / "alignments.npz")
    for name in ("tokens.txt", "hmm.json"):
        (tmp_path / name).write_text((aligned / name).read_text())
    write_alignments(tmp_path / "alignments.npz", {id: path + 5 for id, path in paths.items()})
    cfg = dataclasses.replace(net_config(corpus[0], tmp_path, tmp_path / "net"))
    with pytest.raises(InputError, match="has other outputs than the tokens.txt beside it"):
        pipeline.train(cfg)


def test_alignments_of_other_recordings_are_set_aside(corpus, aligned, tmp_path):  # noqa: F811
    """The same ids for other sound, or frames of another length: stretched, they would be targets of nothing."""
    for name in ("tokens.txt", "hmm.json"):
        (tmp_path / name).write_text((aligned / name).read_text())
    paths = read_alignments(aligned / "alignments.npz")
    write_alignments(tmp_path / "alignments.npz", paths | {"train0": np.repeat(paths["train0"], 2)})
    aside = {}
    cfg = net_config(corpus[0], tmp_path, tmp_path / "net")
    read = {"train": manifest.read(cfg.data.train)}
    kept, targets = take_aligned(cfg, read, TABLE, aside)["train"]
    seconds = len(paths["train0"]) / 100
    assert f"its alignment lasts {2 * seconds:.2f} s and its sound {seconds:.2f} s" in aside["train0"]
    assert len(kept) == len(targets) == 59
    cfg.features.shift_ms = 20.0
    assert not take_aligned(cfg, read, TABLE, aside)["train"][0]


def test_a_graph_of_hmms_needs_their_lexicon(corpus, aligned, tmp_path):  # noqa: F811
    shutil.copytree(aligned, tmp_path / "train")
    data = json.loads((tmp_path / "train" / "config.json").read_text())
    data["tokens"]["lexicon"] = None
    (tmp_path / "train" / "config.json").write_text(json.dumps(data))
    cfg = config(corpus[0], tmp_path, "tri")
    pipeline.train_lm(cfg)
    cfg.tokens.lexicon = cfg.graph.lexicon = None
    with pytest.raises(InputError, match="graph.lexicon=FILE"):
        pipeline.build_graph(cfg)


def test_a_net_of_every_second_frame(tmp_path):
    """Phones of one state: each frame of the net takes the state in its middle, and its HMMs have their steps."""
    write_corpus(tmp_path, states=1)
    hmms = config(tmp_path, tmp_path / "hmm", "mono")
    hmms.hmm.states, hmms.hmm.rounds = 1, 4
    folder = pipeline.train_hmm(hmms).parent
    for kind in ("ce", "lfmmi"):
        cfg = net_config(tmp_path, folder, tmp_path / kind)
        cfg.criterion.kind, cfg.model.subsampling, cfg.augment.speeds = kind, 2, [1.0]
        pipeline.train(cfg)
        before, after = Hmm.read(folder / "hmm.json"), Hmm.read(tmp_path / kind / "train" / "hmm.json")
        stays = before.steps[0][1, 0] ** 2
        np.testing.assert_allclose(after.steps[0], [[1, 0], [stays, 1 - stays]])
        log = (tmp_path / kind / "train" / "log.jsonl").read_text().splitlines()
        assert json.loads(log[-1])["dev_ter"] < 0.3  # of frames, most of which are at an edge of a phone
        pipeline.train_lm(cfg)
        pipeline.build_graph(cfg)
        assert len(pipeline.decode(cfg)) == 20
    cfg = dataclasses.replace(cfg, bundle=cfg.out, input=[cfg.data.test], output=str(tmp_path / "again/x.npz"))
    with pytest.raises(
        InputError, match="the net has frames of 20 ms, and states are targets for those of the features"
    ):
        align(cfg)
    assert not (tmp_path / "again").exists()
    cfg.output = str(tmp_path / "x.jsonl")
    assert not align(cfg).set_aside
