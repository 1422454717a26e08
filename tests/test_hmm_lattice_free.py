"""LF-MMI over HMMs against the enumeration of all phone sequences and all their paths; trainings with it and sMBR."""

import dataclasses
import itertools
import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hmm_reference import splits, state_paths
from test_hmm import HMMS
from test_hmm_nets import aligned, net_config  # noqa: F401, a fixture
from test_hmm_training import corpus  # noqa: F401, a fixture

from asr import manifest, pipeline
from asr.config import Config, ModelConfig
from asr.criteria.lfmmi import lfmmi_loss
from asr.criteria.totals import log_totals
from asr.data.alignments import read_alignments
from asr.data.sets import aligned as take_aligned
from asr.errors import InputError
from asr.hmm.lattice_free import HmmGraphs, phones_of
from asr.hmm.model import Hmm, Split
from asr.models import build_model
from asr.text.lexicon import Lexicon
from asr.tokens import Tokens
from asr.training.criteria import StateRiskCriterion
from asr.training.token_lm import estimate

TABLE = Tokens(["<blk>", *(f"A[0.{n}]" for n in range(1000))])
LEXICON = Lexicon({"ab": [("A", "B"), ("B",)], "a": [("A",)]})


def draw_hmm(has_contexts):
    """Two states per phone; the first one of A and B depends on the phone before, the last one of A on that after."""
    hmm = Hmm.monophone(["A", "B", "SIL"], "SIL", states=2, scale=0.3)
    steps = list(hmm.steps)
    steps[0] = np.array([[0.7, 0.3, 0.0], [0.4, 0.5, 0.1], [0.0, 0.2, 0.8]])
    steps[2] = np.array([[1.0, 0.0], [0.5, 0.5]])
    trees = [list(of_phone) for of_phone in hmm.trees]
    trees[2] = trees[2][:1]
    if has_contexts:
        trees = [
            [Split(0, frozenset([2]), 1, 2), Split(1, frozenset([1, 3]), 3, 4)],
            [Split(0, frozenset([1]), 5, 6), 7],
            [8],
        ]
    else:
        trees = [[1, 2], [3, 4], [5]]
    return dataclasses.replace(hmm, steps=tuple(steps), trees=tuple(map(tuple, trees)))


def weight_of(hmm, phones, x):
    """The log of the summed weight of all paths of a phone sequence through x (F, V)."""
    around, found = [0, *phones, 0], []
    for lengths in splits(len(x), len(phones)) if phones else ():
        weight, at = 0.0, 0
        for n, (phone, length) in enumerate(zip(phones, lengths, strict=True)):
            outputs = hmm.outputs(around[n], phone, around[n + 2])
            weight += np.logaddexp.reduce(
                [log_p + sum(x[at + f, outputs[s]] for f, s in enumerate(states))
                 for states, log_p in state_paths(hmm.steps[phone - 1], length)] or [-math.inf]
            )  # fmt: skip
            at += length
        found.append(weight)
    return np.logaddexp.reduce(found) if found else -math.inf


@pytest.mark.parametrize("has_contexts", [False, True])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_equals_the_sum_over_all_phone_sequences(has_contexts, order):
    hmm, frames = draw_hmm(has_contexts), 4
    model = estimate([[1, 2], [3, 1, 2, 3], [1], [2, 2], [3, 1]], 4, order)
    graphs = HmmGraphs(hmm, LEXICON, model)
    x = np.random.default_rng(order).normal(size=(frames, len(hmm.tokens)))
    sequences = [s for n in range(1, frames + 1) for s in itertools.product((1, 2, 3), repeat=n)]
    weights = {s: model.score(s) + weight_of(hmm, s, x) for s in sequences}
    own = torch.from_numpy(x)[:, None]
    total = log_totals(own, [frames], graphs.denominator)
    assert total.item() == pytest.approx(np.logaddexp.reduce(list(weights.values())), abs=1e-5)
    said = {
        s
        for s in sequences
        if tuple(p for p in s if p != 3) in ((1, 2, 1), (2, 1)) and "33" not in "".join(map(str, s))
    }
    found = log_totals(own, [frames], [graphs.numerator("ab a")])
    assert found.item() == pytest.approx(np.logaddexp.reduce([weights[s] for s in said]), abs=1e-5)
    loss = lfmmi_loss(own, [frames], [graphs.numerator("ab a")], graphs.denominator)
    assert loss.item() == pytest.approx(total.item() - found.item(), abs=1e-9) and loss > 0
    silence = log_totals(own, [frames], [graphs.numerator("")])  # nothing said
    assert silence.item() == pytest.approx(weights[(3,)], abs=1e-5)
    assert lfmmi_loss(own, [1], [graphs.numerator("ab a")], graphs.denominator).item() == math.inf
    with pytest.raises(InputError, match="'c' is not in the lexicon"):
        graphs.numerator("ab c")


def test_texts_without_a_numerator_are_set_aside(corpus, aligned, tmp_path):  # noqa: F811
    cfg, aside = net_config(corpus[0], aligned, tmp_path), {}
    cfg.criterion.kind = "lfmmi"
    first, second, *rest = (u for u in manifest.read(cfg.data.train) if u.id.startswith("train"))
    read = {"train": [dataclasses.replace(first, text=None), dataclasses.replace(second, text="ab xyz"), *rest]}
    kept, _ = take_aligned(cfg, read, TABLE, aside, Lexicon.read(cfg.tokens.lexicon))["train"]
    assert kept == rest and "xyz" in aside[second.id] and "text" in aside[first.id]


def test_the_limit_of_the_denominator(monkeypatch):
    monkeypatch.setattr("asr.hmm.lattice_free.MOST_ARCS", 5)
    graphs = HmmGraphs(draw_hmm(False), LEXICON, estimate([[1, 2]], 4, 2))
    with pytest.raises(InputError, match="lower criterion.ngram_order"):
        _ = graphs.denominator


def test_a_net_is_trained_over_the_states(corpus, aligned, tmp_path):  # noqa: F811
    """From nothing, then from that net, to words."""
    cfg = net_config(corpus[0], aligned, tmp_path / "first")
    cfg.criterion.kind, cfg.criterion.ngram_order, cfg.optim.epochs = "lfmmi", 2, 4
    pipeline.train(cfg)
    records = [json.loads(line) for line in (tmp_path / "first" / "train" / "log.jsonl").read_text().splitlines()]
    assert records[-1]["train_loss"] < 0.7 * records[0]["train_loss"]
    hmm = Hmm.read(tmp_path / "first" / "train" / "hmm.json")
    assert hmm == dataclasses.replace(Hmm.read(aligned / "hmm.json"), steps=hmm.steps, scale=1.0)
    again = net_config(corpus[0], aligned, tmp_path / "second")
    again.criterion, again.init, again.optim.epochs = cfg.criterion, str(tmp_path / "first"), 1
    pipeline.train(again)
    pipeline.train_lm(again)
    pipeline.build_graph(again)
    pipeline.decode(again)
    assert pipeline.score(again).wer < 0.1
    pipeline.bundle(again)

    def refused(init):
        other = net_config(corpus[0], aligned, init / "ce")  # which would make posteriors of its outputs
        other.init = str(init / "model.asr")
        with pytest.raises(InputError, match="was trained with criterion=lfmmi"):
            pipeline.train(other)

    refused(tmp_path / "second")
    for kind in ("mwer", "smbr"):
        risk = net_config(corpus[0], aligned, tmp_path / kind)
        risk.criterion.kind, risk.init = kind, str(tmp_path / "second" / "model.asr")
        risk.optim.epochs, risk.optim.lr = 1, 1e-4
        risk.criterion.auxiliary_weight = 0.001
        pipeline.train(risk)
        folder = tmp_path / kind / "train"
        assert Hmm.read(folder / "hmm.json").scale == 1 and '"outputs": "lfmmi"' in (folder / "config.json").read_text()
        risk.graph.dir = again.graph.dir
        pipeline.decode(risk)
        assert pipeline.score(risk).wer < 0.1
        pipeline.bundle(risk)
        refused(tmp_path / kind)


@pytest.mark.parametrize("kind", ["mwer", "smbr"])
def test_the_search_of_a_training_hears_the_finished_net(kind, tmp_path):
    """Behind cross-entropy, whose outputs are posteriors until it ends, and behind LF-MMI."""
    (tmp_path / "hmm.json").write_text('{"scale": 0.25}')
    cfg, heard = Config(), []
    cfg.criterion.kind, cfg.criterion.alignments = kind, str(tmp_path / "alignments.npz")
    targets = torch.tensor([[1, 1, 2, 3, 3, 3]])
    sets = SimpleNamespace(
        train=SimpleNamespace(targets=list(targets)), tokens=Tokens(["<blk>", "A[0]", "A[1]", "A[2]", "A[3]"])
    )
    search = SimpleNamespace(lattice=heard.append, nbest=lambda x, number: heard.append(x) or [])
    criterion = StateRiskCriterion(cfg, sets, search, 1.0, "ce")
    net = build_model(ModelConfig(kind="fc", hidden=8, layers=1, subsampling=1), 3, 5).eval()
    x, lengths = torch.randn(1, 6, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([6])
    with torch.inference_mode():
        log_probs = net(x, lengths)[0]
        batch = SimpleNamespace(targets=targets, target_lengths=lengths, texts=["a"])
        loss = criterion.loss(log_probs, lengths, batch)
        criterion.finish(SimpleNamespace(net=net))
        searched = net(x, lengths)[0][0]
        behind = StateRiskCriterion(cfg, sets, search, 1.0, "lfmmi")
        again = behind.loss(searched[None], lengths, batch)
        behind.finish(SimpleNamespace(net=net))
        torch.testing.assert_close(net(x, lengths)[0][0], searched)
    without_blank = log_probs[0] - (1 - log_probs[0, :, :1].exp()).log()  # no output stands for it when it is finished
    differences = (torch.from_numpy(heard[0]) - searched)[:, 1:]  # the same for all states of a frame
    torch.testing.assert_close(differences, differences[:, :1].expand(-1, 4), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(torch.from_numpy(heard[1]), searched)
    share = [-0.1 * sum(x[f, v].item() for f, v in enumerate(targets[0])) for x in (log_probs[0], without_blank)]
    assert [loss.item(), again.item()] == pytest.approx(share, 1e-4)


@pytest.mark.parametrize("kind", ["mwer", "smbr"])
def test_expected_errors_of_a_net_of_states_fall(kind, corpus, aligned, tmp_path):  # noqa: F811
    cfg = net_config(corpus[0], aligned, tmp_path / "net")
    cfg.optim.epochs = 2
    pipeline.train(cfg)
    pipeline.train_lm(cfg)
    pipeline.build_graph(cfg)
    pipeline.bundle(cfg)
    before, wer = pipeline.decode(cfg), pipeline.score(cfg).wer
    risk = net_config(corpus[0], aligned, tmp_path / "risk")
    risk.criterion.kind, risk.init, risk.optim.lr = kind, str(tmp_path / "net" / "model.asr"), 1e-2
    risk.optim.epochs, risk.graph.dir = 2, cfg.graph.dir
    pipeline.train(risk)
    records = [json.loads(line) for line in (tmp_path / "risk" / "train" / "log.jsonl").read_text().splitlines()]
    assert records[-1]["train_loss"] < records[0]["train_loss"]
    assert (tmp_path / "risk" / "train" / "hmm.json").read_text() == (aligned / "hmm.json").read_text()
    after = pipeline.decode(risk)
    assert pipeline.score(risk).wer <= wer + 0.02 and [h.id for h in after] == [h.id for h in before]
    risk.init, risk.out = str(tmp_path / "net"), str(tmp_path / "refused")  # a run folder has no graph at hand
    with pytest.raises(InputError, match="name the bundle of one for HMMs with init=FILE"):
        pipeline.train(risk)


def test_phones_of_alignments(aligned):  # noqa: F811
    hmm, paths = Hmm.read(aligned / "hmm.json"), read_alignments(aligned / "alignments.npz")
    texts = [hmm.phones.decode(phones) for phones in phones_of(hmm, paths, {}, LEXICON)]
    assert all(text[0] == text[-1] == "SIL" and len(text) > 3 for text in texts)


def test_phones_of_one_state_that_the_text_has_not_count_once():
    """As fillers of `asr align`, or words that were corrected since."""
    hmm, paths = HMMS["one state"], {"u": np.array([1, 1, 1, 2, 2], np.int32)}  # A A A B B
    lexicon = Lexicon({"ab": [("A", "B")], "a": [("A",)]})
    for text, phones in (("a ab", "AAB"), ("a a ab", "AAAB"), ("a a", "AB"), ("ab ab", "AB"), ("", "AB")):
        assert hmm.phones.decode(next(iter(phones_of(hmm, paths, {"u": text}, lexicon)))) == [*phones]


def test_faults_of_options_are_named(corpus, aligned, tmp_path):  # noqa: F811
    cfg = net_config(corpus[0], aligned, tmp_path / "run")
    cfg.criterion.kind = "lfmmi"
    for change, sentence in [
        (lambda c: setattr(c.tokens, "lexicon", None), "needs tokens.lexicon"),
        (lambda c: setattr(c.criterion, "alignments", str(Path(tmp_path) / "no.npz")), "no.npz"),
        (lambda c: setattr(c.criterion, "kind", "mwer"), "name the bundle of one for HMMs with init=FILE"),
        (lambda c: setattr(c.model, "subsampling", 3), "model.subsampling=3: a phone of 3 states"),
    ]:
        other = dataclasses.replace(
            cfg, **{g: dataclasses.replace(getattr(cfg, g)) for g in ("tokens", "criterion", "model")}
        )
        change(other)
        with pytest.raises(InputError, match=sentence):
            pipeline.train(other)
