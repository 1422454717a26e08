"""MWER over HMMs against the enumeration of all word sequences and their paths."""

from collections.abc import Iterable

import pytest
import torch
from hmm_reference import best_passage, graph_paths
from rapidfuzz.distance import Levenshtein
from test_hmm import HMMS, language

from asr.config import DecoderConfig
from asr.criteria.mwer import Hypothesis, expected_path_errors
from asr.graph.opened import Graph
from asr.graph.pack import to_bytes
from asr.hmm.graph import expand
from asr.search.nbest import TrainingSearch
from asr.search.space import SearchSpace
from asr.text.lexicon import Lexicon
from asr.training.discriminative import word_risk

FRAMES, SCALE = 6, 0.8
WORDS = ["<eps>", "u", "v"]


def every_reading(hmm, x) -> Iterable[tuple[str, torch.Tensor]]:
    """The cost of each word sequence on its cheapest path for log-probs x (F, V), differentiable in x."""
    best: dict[tuple[int, ...], tuple[float, float, tuple[int, ...]]] = {}
    values = x.detach().numpy()
    for phones, words, graph in graph_paths(language(), FRAMES // 2, most_arcs=8):
        if phones:
            cost, outputs = best_passage(hmm, phones, values, scale=SCALE)
            steps = cost + SCALE * sum(float(values[f, v]) for f, v in enumerate(outputs))
            best[words] = min(best.get(words, (float("inf"), 0.0, ())), (graph + cost, graph + steps, outputs))
    for words, (cost, fixed, outputs) in best.items():
        if cost < float("inf"):
            yield " ".join(WORDS[w] for w in words), fixed - SCALE * sum(x[f, v] for f, v in enumerate(outputs))


@pytest.mark.parametrize("name", ["mono", "tri"])
def test_expected_word_errors_are_those_of_all_word_sequences(name):
    """And so is their gradient; the net's outputs are not normalised."""
    hmm, text = HMMS[name], "v u"
    x = torch.randn(FRAMES, len(hmm.tokens), generator=torch.Generator().manual_seed(3)).requires_grad_()
    costs = dict(every_reading(hmm, x))
    assert len(costs) > 4
    p = (-torch.stack([*costs.values()])).softmax(0)
    errors = [Levenshtein.distance(text.split(), heard.split()) for heard in costs]
    wanted = (p * p.new_tensor(errors)).sum()
    space = SearchSpace(Graph.from_bytes(to_bytes(expand(language(), hmm).arrays())), WORDS, Lexicon({"u": ["A"]}))
    search = TrainingSearch(DecoderConfig(beam=1000.0, lattice_beam=500.0, acoustic_scale=SCALE), space)
    assert {" ".join(h.words) for h in search.nbest(x.detach().numpy(), 1000)} == set(costs)
    padded = torch.cat([x, x[:2]])[None].expand(2, -1, -1)
    frames = torch.tensor([FRAMES, FRAMES])
    risk = word_risk(search, padded, frames, [text, text], 1000, SCALE)
    assert risk.item() == pytest.approx(2 * wanted.item(), abs=1e-5) and 0.1 < wanted.item()
    found, true = (torch.autograd.grad(loss, x, retain_graph=True)[0] for loss in (risk, 2 * wanted))
    torch.testing.assert_close(found, true, atol=1e-6, rtol=1e-4)


def test_the_gradient_of_a_list_is_that_of_its_differences():
    x = torch.randn(4, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    paths = torch.tensor([[1, 1, 2, 2], [2, 2, 2, 1], [1, 2, 2, 1]]).numpy()
    lists = [[Hypothesis([], [], cost, path) for cost, path in zip((0.1, 0.7, 0.2), paths, strict=True)],
             [Hypothesis([], [], 0.3, paths[0][:2])], []]  # fmt: skip
    errors = [[0, 2, 1], [1], []]
    assert torch.autograd.gradcheck(lambda x: expected_path_errors(x, lists, errors, 0.6), x)
    assert expected_path_errors(x, lists, errors, 0.6)[1:].tolist() == [1, 0]
    assert expected_path_errors(x[:, :0], [], [], 1.0).shape == (0,)
