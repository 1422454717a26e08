"""Trainings with LF-MMI, MWER and sMBR, and MWER's gradient against enumeration."""

import dataclasses
import itertools
import json
import math
import re
from pathlib import Path

import pytest
import tiny
import tones
import torch

from asr import manifest, pipeline
from asr.config import Config, DecoderConfig
from asr.criteria.ctc import ctc_loss_reference
from asr.criteria.mwer import Hypothesis, expected_errors
from asr.errors import InputError
from asr.graph.opened import Graph
from asr.search.nbest import TrainingSearch
from asr.search.searchers import make_decoder
from asr.search.space import SearchSpace
from asr.text.lexicon import Lexicon


def draw(frames, batch, outputs, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(frames, batch, outputs, generator=generator, dtype=torch.float64).log_softmax(2)


def test_expected_errors_are_those_of_the_enumerated_list():
    """And so is their gradient. The second utterance has one hypothesis, the third none, one of the first is empty."""
    x = draw(6, 3, 4).requires_grad_()
    lists = [[Hypothesis(["a", "b"], [1, 2], 0.5), Hypothesis([], [], 2.0), Hypothesis(["c"], [3, 3], 1.1)],
             [Hypothesis(["a"], [1], 0.0)], []]  # fmt: skip
    errors, frames, scale = [[0, 2, 1], [1], []], [6, 4, 5], 0.7
    found = expected_errors(x, frames, lists, errors, scale)
    scores = torch.stack([-scale * ctc_loss_reference(x[:6, 0], h.tokens) - h.cost for h in lists[0]])
    wanted = (scores.exp() / scores.exp().sum() * torch.tensor([0.0, 2.0, 1.0])).sum()
    torch.testing.assert_close(found, torch.stack([wanted, torch.ones_like(wanted), torch.zeros_like(wanted)]))
    gradient = torch.autograd.grad(found.sum(), x)[0]
    torch.testing.assert_close(gradient, torch.autograd.grad(wanted, x, retain_graph=True)[0])
    mean = torch.tensor([0.0, 2.0, 1.0]) - 1  # the paper's form has the same gradient
    paper = (scores.softmax(0) * mean).sum()
    torch.testing.assert_close(gradient, torch.autograd.grad(paper, x)[0], atol=1e-9, rtol=1e-7)
    assert torch.autograd.gradcheck(lambda x: expected_errors(x, frames, lists, errors, scale), x)


def test_probabilities_are_those_of_the_search_with_its_blank_penalty(tmp_path):
    """Each word sequence of two frames, summed over the paths with the costs that the search gives them; those with one
    path have the probabilities of the search itself."""
    folder = tiny.graph_dir(tmp_path / "graph")
    space = SearchSpace(Graph.open(folder / "graph.bin"), ["<eps>", "a", "b"], Lexicon.read(folder / "lexicon.txt"))
    options = DecoderConfig(beam=50.0, acoustic_scale=1.0, blank_penalty=1.3, word_penalty=0.4)
    x = draw(2, 1, 4, seed=8).float()
    log_probs = x[:, 0].numpy()
    found = TrainingSearch(options, space).nbest(log_probs, 100)
    costs: dict[tuple[str, ...], list[float]] = {}
    for path in itertools.product((0, 2, 3), repeat=2):
        words = tuple("-ab"[k - 1] for k, _ in itertools.groupby(path) if k)
        net = float(-sum(log_probs[t, k] for t, k in enumerate(path)))
        costs.setdefault(words, []).append(net + 1.3 * path.count(0) + 0.4 * len(words))
    lattice = (
        make_decoder(space.graph, dataclasses.replace(options, lattice_beam=50.0)).decode_lattice(log_probs).lattice
    )
    assert [r.cost for r in lattice.nbest(100)] == pytest.approx(sorted(map(min, costs.values())), abs=1e-4)
    sums = torch.tensor([sum(math.exp(-cost) for cost in costs[tuple(h.words)]) for h in found])
    wrong = [float(number) for number in range(len(found))]
    risk = expected_errors(x, [2], [found], [wrong], 1.0, options.blank_penalty)
    assert len(found) == len(costs) and risk.item() == pytest.approx(float(sums / sums.sum() @ torch.tensor(wrong)))
    for scale in (0.5, 2.0):  # a path's penalties do not grow with the scale of the net
        halved = expected_errors(x, [2], [found], [wrong], scale, options.blank_penalty)
        blank = torch.tensor([options.blank_penalty / scale, 0, 0, 0])
        torch.testing.assert_close(halved, expected_errors(x - blank, [2], [found], [wrong], scale))


def test_no_hypotheses_at_all():
    x = draw(2, 2, 3).requires_grad_()
    found = expected_errors(x, [2, 2], [[], []], [[], []], 1.0)
    assert found.tolist() == [0, 0] and not torch.autograd.grad(found.sum(), x)[0].any()


def test_the_list_is_that_of_the_search(tmp_path):
    """All word sequences of three frames, in the order of their best path's cost, with the path's tokens."""
    folder = tiny.graph_dir(tmp_path / "graph")
    space = SearchSpace(Graph.open(folder / "graph.bin"), ["<eps>", "a", "b"], Lexicon.read(folder / "lexicon.txt"))
    log_probs = draw(3, 1, 4, seed=5)[:, 0].float().numpy()
    best: dict[tuple[str, ...], float] = {}
    for path in itertools.product((0, 2, 3), repeat=3):
        words = tuple("-ab"[k - 1] for k, _ in itertools.groupby(path) if k)
        score = float(sum(log_probs[t, k] for t, k in enumerate(path)))
        best[words] = max(best.get(words, -math.inf), score)
    found = TrainingSearch(DecoderConfig(beam=50.0, acoustic_scale=1.0), space).nbest(log_probs, 100)
    near = [
        words for words in sorted(best, key=best.__getitem__, reverse=True) if best[words] > max(best.values()) - 12
    ]
    assert [tuple(h.words) for h in found] == near and len(near) > 4
    assert all(h.tokens == [{"a": 2, "b": 3}[word] for word in h.words] for h in found)
    assert [h.cost for h in found] == pytest.approx([0.0] * len(found), abs=1e-6)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("tones")
    tones.write(folder, "train", 24)
    tones.write(folder, "dev", 6, seed=1)
    return folder


def config(corpus: Path, out: str, kind: str) -> Config:
    cfg = tones.config(corpus, out)
    cfg.criterion.kind, cfg.data.test = kind, str(corpus / "dev.jsonl")
    return cfg


def errors(run: Path) -> list[float]:
    return [json.loads(line)["dev_ter"] for line in (run / "train" / "log.jsonl").read_text().splitlines()]


def finish(cfg: Config) -> float:
    """The word error rate; leaves a bundle."""
    words = sorted(
        {u.transcript for name in ("train", "dev") for u in manifest.read(f"{Path(cfg.out).parent}/{name}.jsonl")}
    )
    lexicon = Path(cfg.out) / "words.txt"
    lexicon.write_text("".join(f"{word} {' '.join(word)}\n" for word in words))
    cfg.graph.lexicon, cfg.lm.order = str(lexicon), 1
    cfg.decoder.acoustic_scale = 0.5
    pipeline.train_lm(cfg)
    pipeline.build_graph(cfg)
    pipeline.decode(cfg)
    pipeline.bundle(cfg)
    return pipeline.score(cfg).wer


@pytest.fixture(scope="module")
def trained(corpus: Path) -> Path:
    """LF-MMI from nothing."""
    cfg = config(corpus, "lfmmi", "lfmmi")
    cfg.optim.epochs, cfg.optim.lr, cfg.optim.average, cfg.criterion.auxiliary_weight = 25, 2e-2, 1, 0.1
    pipeline.train(cfg)
    return corpus / "lfmmi"


def test_lfmmi_learns_from_nothing(corpus, trained):
    assert errors(trained)[-1] < 0.1 < errors(trained)[0]
    cfg = config(corpus, "lfmmi", "lfmmi")
    assert finish(cfg) < 0.2


def test_lfmmi_continues_a_net_and_resumes_to_the_same_bits(corpus, trained, monkeypatch):
    """Also with another number of processes."""
    from asr.training.trainer import Trainer

    def continued(out: str) -> Config:
        cfg = config(corpus, out, "lfmmi")
        cfg.init, cfg.optim.lr, cfg.optim.epochs = str(trained), 1e-3, 3
        return cfg

    whole = pipeline.train(continued("whole")).read_bytes()
    assert max(errors(corpus / "whole")) < 0.2
    finish_epoch = Trainer.finish_epoch

    def stop(self, *arguments):
        finish_epoch(self, *arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "finish_epoch", stop)
    with pytest.raises(KeyboardInterrupt):
        pipeline.train(continued("halves"))
    monkeypatch.undo()
    cfg = continued("halves")
    cfg.threads = 2
    assert pipeline.train(cfg).read_bytes() == whole


@pytest.mark.parametrize("kind", ["mwer", "smbr"])
def test_expected_errors_fall(corpus, trained, kind):
    """Those of words or of frames, without CTC."""
    cfg = config(corpus, kind, kind)
    finish(config(corpus, "lfmmi", "lfmmi"))
    cfg.init, cfg.optim.lr, cfg.optim.epochs = str(trained / "model.asr"), 5e-3, 8
    cfg.criterion.auxiliary_weight = 0.0
    if kind == "mwer":
        cfg.criterion.nbest = 8
    pipeline.train(cfg)
    losses = [
        json.loads(line)["train_loss"] for line in (corpus / kind / "train" / "log.jsonl").read_text().splitlines()
    ]
    assert losses[-1] < 0.8 * losses[0]
    assert 0 <= min(errors(corpus / kind)) <= 1


@pytest.mark.parametrize("kind", ["mwer", "smbr"])
def test_what_a_search_needs_is_told(corpus, trained, kind):
    cfg = config(corpus, "refused", kind)
    sentence = re.escape("name the bundle of one for CTC with init=FILE")
    with pytest.raises(InputError, match=sentence):
        pipeline.train(cfg)
    assert not (corpus / "refused" / "train" / "config.json").exists()
    cfg.init = str(trained)  # a run folder
    with pytest.raises(InputError, match=sentence):
        pipeline.train(cfg)


def test_a_token_model_that_is_too_large_is_refused(corpus, monkeypatch):
    monkeypatch.setattr("asr.training.token_lm.MOST_ARCS", 5)
    with pytest.raises(InputError, match="lower criterion.ngram_order"):
        pipeline.train(config(corpus, "large", "lfmmi"))
