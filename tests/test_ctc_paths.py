"""Cross-entropy on the paths of a CTC net: the best path against all paths, a net trained on them, frames left out."""

import dataclasses
import itertools
import json
from itertools import groupby
from types import SimpleNamespace

import numpy as np
import pytest
import tones
import torch

from asr import manifest, pipeline
from asr.align.ctc_paths import best_path
from asr.align.run import align
from asr.config import DecoderConfig, TokensConfig
from asr.data.alignments import read_timed, write_alignments
from asr.errors import InputError
from asr.states import every_nth
from asr.tokens import Tokens
from asr.training.criteria import PathCriterion


@pytest.mark.parametrize("text", ["ab", "aa", "a b", "b", ""])
def test_the_path_is_the_best_of_all(text):
    table = Tokens(["<blk>", "a", "b", "<space>"])
    recognizer = SimpleNamespace(
        tokens=table, frame_s=0.03, cfg=SimpleNamespace(tokens=TokensConfig(unit="char"), decoder=DecoderConfig())
    )
    log_probs = np.random.default_rng(len(text)).normal(0, 2, (5, 4)).astype(np.float32)
    wanted = table.encode("<space>" if c == " " else c for c in text)
    paths = [
        path
        for path in itertools.product(range(4), repeat=5)
        if [token for token, _ in groupby(path) if token] == wanted
    ]
    best = max(paths, key=lambda path: sum(log_probs[f, v] for f, v in enumerate(path)))
    assert tuple(best_path(recognizer, None, text, log_probs)) == best
    with pytest.raises(InputError, match="too short for its text: 1 frames, 5 tokens"):
        best_path(recognizer, None, "ababa", log_probs[:1])
    with pytest.raises(InputError, match="not in the token table: c"):
        best_path(recognizer, None, "abc", log_probs)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """The folder of a CTC net on every third frame, and its paths."""
    folder = tones.corpus(tmp_path_factory.mktemp("paths"), train=24, dev=6)
    cfg = tones.config(folder, "ctc")
    cfg.model = dataclasses.replace(cfg.model, subsampling=3)
    cfg.optim = dataclasses.replace(cfg.optim, epochs=20, lr=2e-2)
    pipeline.train(cfg)
    cfg.bundle, cfg.output = cfg.out, str(folder / "paths" / "alignments.npz")
    cfg.input = [cfg.data.train, cfg.data.dev]
    assert align(cfg).table() == "paths of CTC for 30 utterances; 0 set aside\n"
    return folder, cfg


def test_a_net_is_trained_on_the_paths_of_another(paths):
    folder, cfg = paths
    found, frame_s = read_timed(cfg.output)
    table = Tokens.read(folder / "paths" / "tokens.txt")
    assert frame_s == 0.03 and len(found) == 30
    for utterance in manifest.read(cfg.data.train):
        tokens = [token for token, _ in groupby(found[utterance.id].tolist()) if token]
        assert "".join(table.decode(tokens)) == utterance.text
    for subsampling in (3, 2):  # a frame of 20 ms takes the output in its middle
        other = tones.config(folder, f"ce{subsampling}")
        other.model = dataclasses.replace(other.model, subsampling=subsampling)
        other.criterion = dataclasses.replace(other.criterion, kind="ce", alignments=cfg.output)
        other.optim = dataclasses.replace(other.optim, epochs=8, lr=2e-2)
        pipeline.train(other)
        records = [json.loads(line) for line in (folder / other.out / "train/log.jsonl").read_text().splitlines()]
        assert records[-1]["dev_ter"] < 0.2
        assert not (folder / other.out / "train/hmm.json").exists()
        other.data.test, other.decoder = other.data.dev, DecoderConfig(kind="greedy")
        pipeline.decode(other)
        assert pipeline.score(other).cer < 0.2


@pytest.mark.parametrize("frames", [120, 99, 90, 60, 45])
def test_no_token_of_one_frame_is_lost_where_the_net_has_fewer_frames(frames):
    """As at another speed, or with more subsampling. The tokens are three frames apart."""
    rng = np.random.default_rng(frames)
    path = np.zeros((2, 120), int)
    path[0, 3 * rng.choice(33, 20, replace=False)] = rng.permutation(20) + 1
    path[1, :100] = path[0, :100]  # a shorter one, padded
    lengths = torch.tensor([frames, round(frames * 100 / 120)])
    batch = SimpleNamespace(targets=torch.from_numpy(path), target_lengths=torch.tensor([120, 100]))
    criterion = PathCriterion()
    log_probs = torch.full((2, frames, 21), -9.0)
    found = criterion._targets(log_probs, lengths, batch).numpy()
    for own, length, source in zip(found, lengths.tolist(), path, strict=True):
        assert [token for token, _ in groupby(own[:length]) if token] == [token for token in source if token]
        assert (own[length:] < 0).all()
    assert criterion.errors(log_probs, lengths, batch)[1] == lengths.sum()


def test_what_does_not_fit_paths_of_ctc_is_refused(paths, tmp_path):
    folder, cfg = paths
    other = tones.config(folder, "refused")
    for kind, why in (("lfmmi", "paths of CTC, which only criterion=ce takes"), ("ctc", "is for criterion=ce, lfmmi")):
        other.criterion = dataclasses.replace(other.criterion, kind=kind, alignments=cfg.output)
        other.tokens.lexicon = "lexicon.txt"
        with pytest.raises(InputError, match=why):
            pipeline.train(other)
    with pytest.raises(InputError, match="fillers and min_score are for the words"):
        align(dataclasses.replace(cfg, align=dataclasses.replace(cfg.align, min_score=0.5)))
    found, _ = read_timed(cfg.output)
    for wrong in (-0.03, float("nan")):
        write_alignments(tmp_path / "alignments.npz", found, wrong)
        with pytest.raises(InputError, match="do not fit each other"):
            read_timed(tmp_path / "alignments.npz")


@pytest.mark.parametrize("n", [1, 2])
def test_a_state_that_cannot_leave_has_no_step_out_of_every_nth_frame(n):
    """Rounding once left a step of -2e-16, which no bundle or graph takes."""
    stay = [0.0, 0.9240516975524966, 0.06675264235050044, 0.005410860971712131, 0.003784799125290869, 0.0]
    steps = np.array([[1.0, 0, 0, 0, 0, 0], stay, stay, stay, stay, [0, 0, 0, 0, 0.5, 0.5]])
    found = every_nth(steps, n)
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(1), 1)
    if n == 1:
        np.testing.assert_array_equal(found, steps)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_steps_of_every_nth_frame_are_those_of_all_paths(n):
    """From a state that is seen to the next that is seen: summed over the states of the frames between."""
    steps = np.array([[1.0, 0, 0, 0], [0.6, 0.3, 0, 0.1], [0, 0.5, 0.4, 0.1], [0.2, 0, 0.3, 0.5]])
    found = every_nth(steps, n)
    np.testing.assert_allclose(found.sum(1), 1)
    np.testing.assert_array_equal(found[0], steps[0])
    for before, after in itertools.product(range(3), repeat=2):
        between = itertools.product(range(3), repeat=n - 1)
        total = sum(np.prod([steps[a + 1, b] for a, b in itertools.pairwise((before, *p, after))]) for p in between)
        assert found[before + 1, after] == pytest.approx(total)
